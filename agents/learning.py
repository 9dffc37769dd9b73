"""What a session learns between batches: principles re-scored, proposed, and turned into a restriction."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitruvius.agents.aims import Aims
from vitruvius.agents.engine import Engine
from vitruvius.agents.failures import UNREADABLE
from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Author, Brief, Experiment, Reasoner, Reflection
from vitruvius.agents.spending import spent
from vitruvius.errors import ModelError
from vitruvius.generator.space import Architecture, Choices
from vitruvius.knowledge.evidence import agrees, assess
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.principle import Label, Origin, Principle, PrincipleStatus, principle_id
from vitruvius.knowledge.pruning import Restriction, prune, reopen
from vitruvius.knowledge.share import Share

Say = Callable[[str], None]


ALWAYS = 250
"""Evaluations up to which every change of evidence is written down."""
GROWTH = 1.02
"""Beyond, evidence is written where a status changed, or the target's measurements grew by so much: else the
ledger would grow with the square of the evaluations."""


def rescore(journal: Journal, *, keep_all: bool = False) -> list[Principle]:
    """Score every principle of the session on everything measured, without a model call.

    Changed statuses and evidence are appended to the ledger.

    Args:
        journal: The session's facts.
        keep_all: Whether even small changes of evidence are written down.

    Returns:
        All principles with their evidence of now.
    """
    ledger = journal.ledger
    births = ledger.births(journal.session)
    measured = tuple(len(journal.learned(name)) for name in journal.tasks)
    facts = (measured, births, journal.retracted(), journal.event("reference", 0) is None)
    if journal.scored is not None and journal.scored[0] == facts and not keep_all:
        return list(journal.scored[1])  # asked again before anything was measured
    known = ledger.principles(session=journal.session)
    if not known:
        return []
    born = [(principle, births.get(principle.id, 0)) for principle in known]
    scored = assess(born, [journal.observations(name) for name in journal.tasks], told=journal.told)
    scored = revised(scored, journal.retracted())
    keep_all = keep_all or journal.counted() <= ALWAYS
    changed = [
        after
        for before, after in zip(known, scored, strict=True)
        if before != after and (keep_all or _has_moved(before, after, journal.task.name))
    ]
    if changed:
        ledger.update_principles(changed, session=journal.session)
    journal.scored = facts, scored
    return list(scored)


def _has_moved(before: Principle, after: Principle, target: str) -> bool:
    """Whether a change is worth a new row in the principle's history."""

    def measured(principle: Principle) -> int:
        return sum(t.agreeing + t.opposing for t in principle.evidence.tasks if t.task == target)

    return before.status is not after.status or measured(after) >= GROWTH * measured(before)


def reflect(
    journal: Journal,
    reasoner: Reasoner,
    options: Options,
    number: int,
    say: Say,
    warn: Say,
    aims: Aims = Aims(),
) -> list[str]:
    """Let the reasoner propose principles, once for each number.

    Returns:
        Ids of the principles that are new to the session.

    Raises:
        ModelError: The language model has not given one reply in this session that can be read. Nothing is
            written down but the calls, so whoever comes back asks it again.
    """
    done = journal.event("reflection", number)
    if done is not None:
        return list(done["proposed"])
    started = time.monotonic()
    old = {identity for event in journal.events("reflection") for identity in event.data["proposed"]}
    brief = _brief(journal, options, aims, old, options.seed * 1000 + number)
    reflection, origins = _asked(journal, reasoner, brief, warn)
    replaced = {r.replacement: r.principle for r in reflection.revisions if r.replacement is not None}
    new: list[str] = []
    for proposal in reflection.proposals[: options.principles]:
        identity = principle_id(proposal)
        if identity not in old and identity not in new:
            principle = Principle(identity, proposal, origins[identity], supersedes=replaced.get(identity))
            journal.ledger.add_principle(principle, session=journal.session)
            new.append(identity)
    for note in reflection.notes:
        say(note)
    journal.log(
        "reflection",
        {
            "proposed": new,
            "refused": dict(reflection.refused),
            "notes": reflection.notes,
            "seconds": round(time.monotonic() - started, 2),
            "revisions": [dataclasses.asdict(one) for one in reflection.revisions],
            "experiments": [dataclasses.asdict(one) for one in reflection.experiments],
        },
        number=number,
    )
    return new


def _brief(journal: Journal, options: Options, aims: Aims, old: Collection[str], seed: int) -> Brief:
    """What a reasoner gets to work with; `old` are the principles of earlier reflections."""
    visible = [journal.observations(name).visible() for name in journal.tasks]
    known = [p for p in journal.ledger.principles(session=journal.session) if p.id in old or p.origin.pack]
    asked = [one for event in journal.events("reflection") for one in event.data.get("experiments", ())]
    return Brief(
        space=journal.task.space,
        target=journal.task.name,
        observations=[one for one in visible if len(one)],
        known=known,
        limit=options.principles,
        seed=seed,
        spent=spent(call.call for call in journal.ledger.calls(journal.session)),
        where=aims.words,
        objectives=() if aims.objectives is None else aims.objectives.names,
        allowed=aims.draws(seed),
        asked=[Experiment(**one) for one in asked],
    )


def keep_restriction(journal: Journal, restriction: Restriction, aims: Aims) -> list[str]:
    """Write a restriction down if it is another than the last one; returns it in words."""
    last = journal.last("restriction")
    lines, plain = restriction.describe(aims.whole), restriction.to_json()
    if last is None or last[1]["restriction"] != plain:
        data = {"share": restriction.share, "lines": lines, "restriction": plain}
        journal.log("restriction", data, number=last[0] + 1 if last else 0)
    return lines


def revised(principles: Sequence[Principle], retracted: Collection[str]) -> list[Principle]:
    """Principles with the statuses that revisions give them.

    What is retracted says so. What is replaced steers on until its replacement is supported; where it is not
    supported itself, it makes room at once, unless the replacement was refuted.
    """
    found = {principle.id: principle for principle in principles}
    final = (PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED)
    for new in principles:
        old = found.get(new.supersedes) if new.supersedes is not None else None
        if old is None or old.status in final or new.status is PrincipleStatus.REFUTED:
            continue
        if new.status is PrincipleStatus.SUPPORTED or old.status is not PrincipleStatus.SUPPORTED:
            found[old.id] = replace(old, status=PrincipleStatus.SUPERSEDED)
    for identity in retracted:
        if identity in found:
            found[identity] = replace(found[identity], status=PrincipleStatus.RETRACTED)
    return list(found.values())


def _asked(
    journal: Journal, reasoner: Reasoner, brief: Brief, warn: Say
) -> tuple[Reflection, dict[str, Origin]]:
    """What the reasoner brought, and where it comes from; calls of models are written down.

    A model that fails before it has ever answered is a mistake to be mended. One that fails later, or may not
    be asked within the limits, must not end a long search: the statistical reasoner stands in for it.
    """
    ledger, session = journal.ledger, journal.session
    try:
        reflection = reasoner.reflect(brief)
    except BaseException:  # Ctrl-C above all: what was asked until then has to be paid for
        for call in getattr(reasoner, "calls", ()):
            ledger.add_call(session, call)
        raise
    calls = [ledger.add_call(session, call) for call in reflection.calls]
    outcomes = [call.call["outcome"] for call in ledger.calls(session)]
    asked = {call.outcome for call in reflection.calls} - {"tools", "no tools"}
    over_limit = not asked and reflection.refused["limit"] > 0
    answered = over_limit or any(outcome not in UNREADABLE for outcome in outcomes)
    labels = frozenset(one.label for one in brief.observations)
    if not reflection.failed:
        return reflection, _origins(reflection, Author(reasoner.name), calls, session, labels)
    if not answered:
        raise ModelError(
            f"{reflection.failed.rstrip('.')}. Nothing measured is lost: mend it and run the same again, or "
            "start a new folder with the reasoner `statistics`, which needs no model."
        )
    from vitruvius.agents.statistics import StatisticsReasoner

    warn(f"{reasoner.name} could not be used in a reflection, statistics stood in: {reflection.failed}")
    other = StatisticsReasoner()
    instead = other.reflect(brief)
    instead.refused += reflection.refused
    instead.calls, instead.notes = reflection.calls, [*reflection.notes, *instead.notes]
    return instead, _origins(instead, Author(other.name), calls, session, labels)


def _origins(
    reflection: Reflection, default: Author, calls: Sequence[int], session: str, labels: frozenset[Label]
) -> dict[str, Origin]:
    """Origin of each proposal: who said it, in which call, asked with which template."""
    found: dict[str, Origin] = {}
    for identity in map(principle_id, reflection.proposals):
        author = reflection.authors.get(identity, default)
        template = "" if author.call is None else reflection.calls[author.call].template_hash
        call = None if author.call is None else calls[author.call]
        found[identity] = Origin(author.reasoner, template, session, call, labels)
    return found


def fate(name: str, new: Sequence[Principle]) -> str:
    """What became of the principles that were just proposed, as a line."""
    authors = {principle.origin.reasoner for principle in new}
    name = authors.pop() if len(authors) == 1 else name  # another one may have stood in
    undecided = {PrincipleStatus.PROPOSED: "not decided yet"}
    fates = Counter(undecided.get(principle.status, principle.status.value) for principle in new)
    counts = ", ".join(f"{count} {status}" for status, count in fates.most_common())
    plural = "principle" if len(new) == 1 else "principles"
    return f"{len(new) or 'no'} {plural} from {name}" + (f": {counts}" if counts else "")


def restrict(
    journal: Journal, principles: Sequence[Principle], options: Options, remaining: int, aims: Aims = Aims()
) -> Restriction:
    """What the supported principles leave of the space; everything if pruning is off.

    Cuts that an open draw has proved wrong in this session stay open. Principles speak of the score alone:
    where something cheap is wanted as well they cut nothing.
    """
    usable = [p for p in principles if options.prune and aims.objectives is None]
    costs = journal.task.bench.costs
    restriction = prune(journal.task.space, usable, remaining=remaining, costs=costs, among=aims.mask)
    for event in journal.events("reopened"):
        restriction = reopen(restriction, journal.architecture(event.data["key"]), costs, aims.mask)
    return restriction


def reopen_after(journal: Journal, restriction: Restriction, batch: int, say: Say) -> None:
    """Open again what was cut, where an open draw outside reached the session's top decile."""
    observed = journal.observations()
    if not restriction.hard or len(observed) < 10:
        return
    limit = np.quantile(observed.scores, 0.9)
    for hit in journal.learned():
        if hit.batch != batch or hit.share is not Share.OPEN or hit.measurement.score is None:
            continue
        architecture = journal.architecture(hit.measurement.key)
        score = journal.task.better(np.array([hit.measurement.score]))[0]
        smaller = reopen(restriction, architecture, journal.task.bench.costs)
        if score < limit or len(smaller.hard) == len(restriction.hard):
            continue
        kept = {term.principle for term in smaller.hard}
        opened = [term.principle for term in restriction.hard if term.principle not in kept]
        key = hit.measurement.key
        journal.log("reopened", {"principles": opened, "batch": batch, "key": key}, number=hit.order)
        say(f"re-opened what {', '.join(opened)} had cut: {key}, drawn there, is in the top tenth")


def finetune_model(
    journal: Journal, engine: Engine, options: Options, number: int, folder: Path, say: Say
) -> None:
    """Fine-tune the code model on what was measured and put it into the running engine, once per number."""
    done = journal.event("model", number)
    if done is not None:
        return
    from vitruvius.generator.language_model import finetune

    started = time.monotonic()
    say("fine-tuning the code model on what was measured")
    rows, deciles = training_rows(journal)
    codes = engine.model.codec.encode(rows)
    labels = [task.label for task in journal.tasks.values() if task.space.name == journal.task.space.name]
    out = finetune(
        engine.model.language_model,
        codes,
        deciles,
        folder / "models" / f"batch{number}",
        seed=options.seed * 1000 + number,
        labels=labels,
    )
    seconds = round(time.monotonic() - started, 2)
    journal.log(
        "model",
        {"folder": str(out.relative_to(folder)), "rows": len(rows), "seconds": seconds},
        number=number,
    )
    engine.reload(out)


def training_rows(journal: Journal) -> tuple[Choices, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """What the code model learns from: rows (n, D) and score tenths (n,), 9 the best.

    Sources give what reasoners may see as well; the target's own measurements come four times, they are
    few and they are what counts.
    """
    rows: list[Choices] = []
    tenths: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for name, task in journal.tasks.items():
        observed = journal.observations(name).visible()
        if task.space.name != journal.task.space.name or not len(observed):
            continue
        ranks = _ranks(observed)
        for _ in range(4 if name == journal.task.name else 1):
            rows.append(observed.choices)
            tenths.append(np.minimum((ranks * 10).astype(np.int64), 9))
    return np.concatenate(rows), np.concatenate(tenths)


def _ranks(observed: Observations) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    order = np.argsort(np.argsort(observed.scores, kind="stable"), kind="stable")
    return order / max(len(observed), 1)


def satisfied(journal: Journal, architecture: Architecture) -> tuple[Principle, ...]:
    """Supported principles that an architecture satisfies, or rightly does not where they warn."""
    row = architecture.row
    costs = {name: float(values[0]) for name, values in journal.task.bench.costs(row).items()}
    supported = journal.ledger.principles(session=journal.session, status=PrincipleStatus.SUPPORTED)
    return tuple(principle for principle in supported if agrees(principle, architecture, costs))
