r"""What a session costs beside generation and evaluation, and how fast a very large pool is scored.

`results.batches["10000"]` is one batch of a session that has measured so many architectures of the DARTS
space and keeps 500 principles: seconds of everything but the generator's draw and the evaluations, the median
and the longest of `--batches`, and the seconds of opening the session again. Measurements are simulated: the
scores are made up, uniform draws stand in for the code model, all else is what a session writes down.
`results.pool` is the time in which a million candidates are drawn and scored by a surrogate that has seen 100
measurements.

    python benchmarks/overhead.py --sizes 100,1000,10000,100000 --pool 1000000
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pool_scores import score_pool
from _record import print_record
from numpy.typing import NDArray

from vitruvius.agents.session import Session
from vitruvius.agents.statistics import candidates
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Measurement, Status, Task
from vitruvius.generator.space import Choices, SearchSpace, get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.principle import Origin, Principle, Proposal, principle_id
from vitruvius.knowledge.share import Share

SPACE = "darts"
SHARES = (Share.OPEN, *[Share.LOCAL] * 9)
"""Of the batches that are written down, in turn."""
REASON = "largest expected improvement: predicted above 98 % of 95 measured (94 % to 99 %)"
OPTIONS: dict[str, Any] = {"reasoner": "none", "proposer": "uniform", "finetune_every": 0}


def made_up(space: SearchSpace, rows: Choices) -> NDArray[np.float64]:
    """A score between 0 and 1 that depends on every decision."""
    effects = np.random.default_rng(7).normal(size=(rows.shape[1], int(space.cardinalities.max())))
    total = effects[np.arange(rows.shape[1]), rows].sum(axis=1)
    return 1.0 / (1.0 + np.exp(-total / np.sqrt(rows.shape[1])))


def fill(session: Session, n: int, principles: int) -> None:
    """Write down what a session with n measurements and so many principles has written."""
    task, space = session.task, session.task.space
    session.journal.log("plan", {"lines": []})
    rng = np.random.default_rng(0)
    rows = space.sample(n + n // 10 + 10, rng)
    scores = made_up(space, rows)
    found: dict[str, Measurement] = {}
    for architecture, score in zip(space.architectures(rows), scores.tolist(), strict=True):
        if len(found) < n and architecture.id not in found:
            found[architecture.id] = Measurement(
                space.name, task.name, architecture.key, architecture.id, Status.OK, score,
                evaluator=f"told:{task.bench.evaluator}", fingerprint=task.bench.fingerprint,
                fidelity=task.bench.fidelity,
            )  # fmt: skip
    measured = list(found.values())
    ledger, identity, size = session.ledger, session.id, session.options.batch
    first = session.options.initial
    for number, start in enumerate(range(0, n, size)):
        part = measured[start : start + size]
        keys = [m.key for m in part]
        share = Share.INITIAL if start < first else SHARES[number % len(SHARES)]
        ledger.record_all(part, session=identity, batch=number, share=share)
        batch = {"keys": keys, "shares": dict.fromkeys(keys, share), "reasons": dict.fromkeys(keys, REASON)}
        session.journal.log("batch", {**batch, "pool": {}, "codes": {}}, number=number)
        session.journal.log("settled", {"counted": start + size}, number=number)
    reference = sorted(m.score for m in measured[:first] if m.score is not None)
    session.journal.log("reference", {"task": task.name, "scores": reference, "maximize": True}, number=0)
    for principle in some_principles(space, rows[:200], principles, task.name):
        ledger.add_principle(principle, session=identity)


def some_principles(space: SearchSpace, rows: Choices, n: int, task: str) -> list[Principle]:
    """The first n of what the statistics reasoner considers, in random order."""
    predicates = candidates(space, [Population(space, rows)])
    order = np.random.default_rng(1).permutation(len(predicates))[:n]
    proposals = [
        Proposal(f"{predicates[i].clause()}.", predicates[i].to_json(), space.name, task, 1) for i in order
    ]
    return [Principle(principle_id(one), one, Origin("made up")) for one in proposals]


def batches(n: int, principles: int, repeats: int) -> dict[str, float | int]:
    """Overhead of batches of a session that has measured n architectures."""
    task = Task(f"{SPACE}/mine", Manual(metric="made up"))
    with tempfile.TemporaryDirectory() as folder:
        with Session(task, Path(folder), **OPTIONS) as session:
            fill(session, n, principles)
        began = time.perf_counter()
        session = Session(task, Path(folder), **OPTIONS)
        opened = time.perf_counter() - began
        with session:
            spent: list[float] = []
            busy: list[float] = []
            for _ in range(1 + repeats):  # the first fills caches, and is told apart
                began, working = time.perf_counter(), time.process_time()
                asked = session.ask(session.options.batch)
                for architecture in asked:
                    session.tell(architecture, float(made_up(task.space, architecture.row)[0]))
                busy.append(time.process_time() - working)
                last = session.journal.last("batch")
                assert last is not None and len(asked) == session.options.batch
                spent.append(time.perf_counter() - began - float(last[1]["pool"]["seconds"]))
            kept = len(session.ledger.principles(session=session.id))
    return {
        "seconds": round(statistics.median(spent[1:]), 3), "cpu": round(statistics.median(busy[1:]), 3),
        "longest": round(max(spent[1:]), 3),
        "first": round(spent[0], 3), "opening": round(opened, 3), "principles": kept,
    }  # fmt: skip


def pool(size: int, measured: int, workers: int) -> dict[str, float | int]:
    """Time to score a pool of so many candidates."""
    space = get_space(SPACE)
    rng = np.random.default_rng(0)
    known = space.sample(measured, rng)
    began = time.perf_counter()
    rows = space.sample(size, rng)
    drawn = time.perf_counter() - began
    found = score_pool(space, known, made_up(space, known), rows, workers=workers)
    seconds = time.perf_counter() - began
    truth = made_up(space, rows[:20_000])
    agreement = float(np.corrcoef(found.mean[:20_000], truth)[0, 1])
    return {
        "candidates": size, "measured": measured, "workers": workers, "seconds": round(seconds, 1),
        "drawing": round(drawn, 1), "correlation": round(agreement, 3),
    }  # fmt: skip


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="100,1000,10000,100000", help="measurements, with commas")
    parser.add_argument("--principles", type=int, default=500)
    parser.add_argument("--batches", type=int, default=5, help="batches timed at each size")
    parser.add_argument("--pool", type=int, default=1_000_000, help="candidates scored; 0 for none")
    parser.add_argument("--measured", type=int, default=100, help="what the surrogate has seen")
    parser.add_argument("--workers", type=int, default=2, help="threads that score the pool")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sizes = _sizes(parser, given.sizes)
    results: dict[str, Any] = {"batches": {}, "pool": None}
    for n in sizes:
        results["batches"][str(n)] = batches(n, given.principles, given.batches)
        print(f"{n} measured: {results['batches'][str(n)]}", file=sys.stderr, flush=True)
    if given.pool:
        results["pool"] = pool(given.pool, given.measured, given.workers)
    settings = {**vars(given), "space": SPACE, "options": OPTIONS}
    print_record("overhead", [0], settings, results)


def _sizes(parser: argparse.ArgumentParser, text: str) -> Sequence[int]:
    sizes = [int(part) for part in text.split(",") if part.isdigit()]
    if len(sizes) != len(text.split(",")) or min(sizes, default=0) < 20:
        parser.error(f"--sizes {text!r}: whole numbers of at least 20, with commas between them")
    return sizes


if __name__ == "__main__":
    main()
