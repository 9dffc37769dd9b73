"""Own the loop: ask for architectures, measure them yourself, tell the scores, query what was learned."""

from __future__ import annotations

import vitruvius as vt


def my_measurement(architecture: vt.Architecture) -> float:
    """Stands for your training: here, a score that likes attention and dislikes doing nothing."""
    names = list(architecture.named().values())
    return names.count("gat") - 0.5 * names.count("skip")


task = vt.Task("nasbench-graph", evaluator=vt.Manual(metric="my score"))
with vt.Session(task, seed=0, proposer="ngram", finetune_every=0) as session:
    for _ in range(6):
        for architecture in session.ask(5):
            session.tell(architecture, my_measurement(architecture))
    session.reflect()
    print(session.best())
    for match in session.store.search("attention", limit=3):
        print(f"{match.similarity:.2f} {match.principle.status:10} {match.principle.sentence}")
