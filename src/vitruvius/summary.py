"""What a session found, spent and decided, gathered from its ledger alone.

`vitruvius show`, the end of `vitruvius run` and `vitruvius report` all print this one record. Nothing here
reads a test metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.errors import UnknownNameError, UserError
from vitruvius.findings import CallLine, Cut, PrincipleLine, PruningCost, Summary, TaskLine, Winner
from vitruvius.generator.space import Architecture, get_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Principle, PrincipleStatus
from vitruvius.knowledge.records import CallRecord, Event, Learned, SessionRecord

LEDGER_FILE = "ledger.db"
SETTINGS_FILE = "settings.toml"
SHOWN = 5
"""Number of best architectures in a summary."""
POOL = ("asked", "unfinished", "invalid", "duplicate", "known", "outside", "kept")
"""What a batch counts of the sequences that were written for it."""
REFUSED = {
    "unfinished": "sequence not finished",
    "invalid": "codes that decode to no architecture",
    "duplicate": "written twice in one batch",
    "known": "measured before",
    "outside": "outside what was left after pruning",
}
STATUS_ORDER = (
    PrincipleStatus.SUPPORTED,
    PrincipleStatus.CONTESTED,
    PrincipleStatus.PROPOSED,
    PrincipleStatus.REFUTED,
    PrincipleStatus.SUPERSEDED,
    PrincipleStatus.RETRACTED,
)


def summarise(run: str | Path) -> Summary:
    """Gather what the last session of a run folder found.

    Args:
        run: The run folder.

    Returns:
        The summary; of an unfinished session too.

    Raises:
        UserError: There is no session in this folder.
        LedgerError: The ledger cannot be read.
    """
    folder = Path(run)
    path = folder / LEDGER_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} is no run folder: it has no {LEDGER_FILE}. `vitruvius run` starts a session and names its folder."
        )
    settings = folder / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8") if settings.is_file() else ""
    ledger = Ledger(path)
    try:
        return summarise_session(ledger, run=str(run), settings=text)
    finally:
        ledger.close()


def summarise_session(
    ledger: Ledger, session: str | None = None, *, run: str = "", settings: str = ""
) -> Summary:
    """Gather what one session of an open ledger found.

    Args:
        ledger: The ledger.
        session: Id of the session; None takes the latest.
        run: Name of the run folder, for the reader.
        settings: Text of the settings file, for the reader; empty takes the ledger's.

    Raises:
        UserError: The ledger does not hold this session.
    """
    records = {record.id: record for record in ledger.sessions()}
    if not records:
        raise UserError(f"The ledger of {run or 'this run'} holds no session yet.")
    record = records.get(session) if session is not None else max(records.values(), key=lambda r: r.started)
    if record is None:
        raise UserError(f"The ledger holds no session {session!r}. It holds: {', '.join(records)}.")
    return _Gathering(ledger, record).summary(run, settings)


class _Gathering:
    """One reading of one session."""

    def __init__(self, ledger: Ledger, record: SessionRecord) -> None:
        self.record = record
        self.events: list[Event] = ledger.events(record.id)
        self.learned: list[Learned] = [
            x for x in ledger.learned(record.id) if x.measurement.task == record.task
        ]
        self.counted = [x for x in self.learned if x.counted]
        self.principles: list[Principle] = ledger.principles(session=record.id)
        self.calls: list[CallRecord] = ledger.calls(record.id)
        self.maximize = bool(record.settings.get("maximize", True))

    def of_kind(self, kind: str) -> list[Event]:
        """All events of a kind, in order."""
        return [event for event in self.events if event.kind == kind]

    def summary(self, run: str, settings: str) -> Summary:
        """Everything in one record."""
        plans = self.of_kind("plan")
        plan: Mapping[str, Any] = plans[-1].data if plans else {}
        used = self.record.settings
        return Summary(
            run=run,
            session=self.record.id,
            task=self.record.task,
            metric=str(used.get("metric", "score")),
            unit=str(plan.get("unit", "")),
            maximize=self.maximize,
            finished=bool(self.of_kind("done")),
            planned=plan.get("evaluations"),
            counted=len(self.counted),
            paid=sum(x.paid for x in self.learned),
            failures=Counter(str(x.measurement.status) for x in self.learned if not x.measurement.ok),
            reasoner=str(used.get("reasoner", "")),
            proposer=str(plan.get("proposer", used.get("proposer", ""))),
            model=str(plan.get("model", "")),
            sources=tuple(plan.get("sources", ())),
            plan=tuple(plan.get("lines", ())),
            winners=self.winners(),
            curve=best_so_far((x.measurement.score for x in self.counted), maximize=self.maximize),
            baselines={
                event.data["method"]: tuple(event.data["curve"]) for event in self.of_kind("baseline")
            },
            principles=_principle_lines(self.principles),
            cuts=self.cuts(),
            pruning_cost=self.pruning_cost(),
            refused=self.refused(),
            pool={name: self._pool(name) for name in POOL},
            timing=self.timing(),
            warnings=tuple(dict.fromkeys(str(event.data["text"]) for event in self.of_kind("warning"))),
            calls=_call_lines(self.calls),
            notes=tuple(note for event in self.of_kind("reflection") for note in event.data.get("notes", ())),
            settings=settings or "\n".join(f"{name} = {value!r}" for name, value in sorted(used.items())),
        )

    def winners(self) -> tuple[Winner, ...]:
        """The best architectures, best first; the earlier of equals first."""
        sign = -1.0 if self.maximize else 1.0
        scored = [(i, x) for i, x in enumerate(self.counted, start=1) if x.measurement.score is not None]
        scored.sort(key=lambda pair: sign * (pair[1].measurement.score or 0.0))
        supported = [p for p in self.principles if p.status is PrincipleStatus.SUPPORTED]
        return tuple(_winner(i, x, supported) for i, x in scored[:SHOWN])

    def cuts(self) -> tuple[Cut, ...]:
        """Restrictions and re-openings in the order in which they happened."""
        cuts: list[Cut] = []
        for event in self.events:
            if event.kind == "restriction":
                cuts.append(Cut(event.data["share"], False, tuple(event.data["lines"])))
            elif event.kind == "reopened":
                line = f"{event.data['principle']} no longer cuts: the open draw {event.data['key']} did well"
                cuts.append(Cut(None, True, (line,)))
        return tuple(cuts)

    def pruning_cost(self) -> PruningCost:
        """What pruning may have cost, or that it cannot be told."""
        return PruningCost("nothing was pruned")

    def refused(self) -> dict[str, int]:
        """How much was refused, by reason: sequences of the code model, then replies of the reasoner."""
        counts = Counter({text: self._pool(name) for name, text in REFUSED.items()})
        for event in self.of_kind("reflection"):
            counts.update({f"principle: {reason}": n for reason, n in event.data["refused"].items()})
        return {reason: n for reason, n in counts.items() if n}

    def _pool(self, name: str) -> int:
        return sum(int(event.data.get("pool", {}).get(name, 0)) for event in self.of_kind("batch"))

    def timing(self) -> dict[str, float]:
        """Seconds by part, the longest first."""
        seconds: Counter[str] = Counter()
        for event in self.of_kind("timing"):
            seconds[str(event.data["part"])] += event.data["seconds"]
        return dict(seconds.most_common())


def best_so_far(scores: Iterable[float | None], *, maximize: bool) -> tuple[float | None, ...]:
    """Best score after each evaluation; None until the first score.

    Args:
        scores: Scores in the order in which they were learned; None where an evaluation failed.
        maximize: Whether larger is better.
    """
    better = max if maximize else min
    best: float | None = None
    curve: list[float | None] = []
    for score in scores:
        if score is not None:
            best = score if best is None else better(best, score)
        curve.append(best)
    return tuple(curve)


def _winner(evaluation: int, learned: Learned, supported: Sequence[Principle]) -> Winner:
    """The record of one architecture; without drawing where its space is not known to this process."""
    m = learned.measurement
    drawing, satisfied = "", ()
    try:
        architecture = get_space(m.space).parse(m.key)
    except UnknownNameError:
        pass
    else:
        drawing = architecture.space.draw(architecture)
        known = {"params": m.params, "flops": m.flops}
        known |= {f"latency[{device}]": value for device, value in m.latency.items()}
        costs = {name: np.array([value]) for name, value in known.items() if value is not None}
        satisfied = tuple(p.sentence for p in supported if _agrees(p, architecture, costs))
    return Winner(
        key=m.key,
        id=m.id,
        score=float(m.score or 0.0),
        evaluation=evaluation,
        share=learned.share,
        params=m.params,
        flops=m.flops,
        drawing=drawing,
        principles=satisfied,
    )


def _agrees(principle: Principle, architecture: Architecture, costs: Mapping[str, Any]) -> bool:
    """Whether an architecture does what a principle advises."""
    holds = Predicate.parse(principle.proposal.predicate).holds_one(architecture, costs)
    return holds == (principle.proposal.direction > 0)


def _principle_lines(principles: Sequence[Principle]) -> tuple[PrincipleLine, ...]:
    """Principles as shown: by status, then by the size of the fresh effect."""

    def rank(principle: Principle) -> tuple[int, float]:
        joined = principle.evidence.joined
        return STATUS_ORDER.index(principle.status), -abs(joined.estimate) if joined else 0.0

    return tuple(
        PrincipleLine(
            id=p.id,
            sentence=p.sentence,
            scope=p.proposal.task if p.proposal.task != "any" else p.proposal.space,
            direction=p.proposal.direction,
            status=p.status.value,
            reasoner=p.origin.reasoner,
            fresh=p.evidence.joined,
            tasks=tuple(
                TaskLine(t.task, t.seen, t.fresh, len(t.supporting), len(t.contradicting))
                for t in p.evidence.tasks
            ),
            n_for=p.evidence.n_for,
            n_against=p.evidence.n_against,
        )
        for p in sorted(principles, key=rank)
    )


def _call_lines(records: Sequence[CallRecord]) -> tuple[CallLine, ...]:
    """Model calls, joined by model and template."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record.call["model"], record.call["template"]), []).append(record.call)
    return tuple(
        CallLine(
            model=model,
            template=template,
            calls=len(calls),
            outcomes=Counter(str(call["outcome"]) for call in calls),
            tokens_in=sum(int(call["tokens_in"]) for call in calls),
            tokens_out=sum(int(call["tokens_out"]) for call in calls),
            seconds=sum(float(call["seconds"]) for call in calls),
        )
        for (model, template), calls in groups.items()
    )
