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
from numpy.typing import NDArray

from vitruvius.agents.opening import session_id
from vitruvius.agents.relatedness import Relatedness
from vitruvius.errors import UnknownNameError, UserError
from vitruvius.findings import CallLine, Cut, FrontLine, PrincipleLine, Summary, TaskLine, Winner
from vitruvius.generator.space import get_space
from vitruvius.knowledge.evidence import agrees
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.observations import midranks
from vitruvius.knowledge.predicate import Predicate, costs_in
from vitruvius.knowledge.principle import Principle, PrincipleStatus
from vitruvius.knowledge.pruning import PruningCost, Restriction, pruning_cost
from vitruvius.knowledge.records import CallRecord, Event, Learned, SessionRecord
from vitruvius.knowledge.run_folder import SETTINGS_FILE, open_ledger, shared_ledger
from vitruvius.knowledge.share import Share
from vitruvius.tradeoff import Tradeoff, known_costs, of_baseline, volumes

SHOWN = 5
"""Number of best architectures in a summary."""
NEEDLESS = ("fraction", "score")
"""Units that say nothing behind a number."""
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
        UserError: There is no session in this folder, or its settings cannot be read.
        LedgerError: The ledger cannot be read.
    """
    folder = Path(run)
    settings = folder / SETTINGS_FILE
    # Only shown here: bytes that are no text hide nothing else.
    text = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
    with open_ledger(folder) as ledger:
        session = session_id(folder) if shared_ledger(folder) else None
        return summarise_session(ledger, session, run=str(run), settings=text)


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
        cost = self.pruning_cost()
        aims: Mapping[str, Any] = plan.get("aims", {})
        front, volume = self.tradeoff(aims)
        unit, feasible, where = str(plan.get("unit", "")), str(aims.get("feasible", "")), used.get("where")
        return Summary(
            run=run,
            session=self.record.id,
            task=self.record.task,
            metric=str(used.get("metric", "score")),
            unit="" if unit in NEEDLESS else unit,
            maximize=self.maximize,
            finished=bool(self.of_kind("done")),
            planned=plan.get("evaluations"),
            counted=len(self.counted),
            paid=sum(x.paid for x in self.learned),
            failures=dict(Counter(str(x.measurement.status) for x in self.learned if not x.measurement.ok)),
            reasoner=str(used.get("reasoner", "")),
            proposer=str(plan.get("proposer", used.get("proposer", ""))),
            sources=tuple(plan.get("sources", ())),
            plan=tuple(plan.get("lines", ())),
            winners=self.winners(),
            curve=best_so_far((x.measurement.score for x in self.counted), maximize=self.maximize),
            baselines={
                event.data["method"]: tuple(event.data["curve"]) for event in self.of_kind("baseline")
            },
            principles=_principle_lines(self.principles),
            cuts=self.cuts(),
            pruning_cost=cost.sentence() if cost else "nothing was cut, so nothing was lost",
            pruning_effect=cost.effect if cost else None,
            refused=self.refused(),
            pool={name: self._pool(name) for name in POOL},
            timing=self.timing(),
            warnings=tuple(dict.fromkeys(str(event.data["text"]) for event in self.of_kind("warning"))),
            calls=_call_lines(self.calls),
            notes=tuple(note for event in self.of_kind("reflection") for note in event.data.get("notes", ())),
            settings=settings or "\n".join(f"{name} = {value!r}" for name, value in sorted(used.items())),
            constraint=feasible if where else "",
            tabled="" if where else feasible,
            asked=_asked(aims.get("objectives", ()), where),
            foretold=tuple(plan.get("latency", ())),
            front=front,
            volumes=volume,
            believed=self.believed(),
            dear=tuple(aims.get("costs", ())),
        )

    def believed(self) -> tuple[str, ...]:
        """How far sources and packs were believed before the last batch, and what the target contradicted."""
        events, against = self.of_kind("relatedness"), self.of_kind("contradicted")
        if not events:
            return ()
        lines = Relatedness.from_json(events[-1].data).lines()
        dropped = against[-1].data["principles"] if against else []
        if dropped:
            lines.append(f"principles that the target contradicts: {', '.join(dropped)}")
        return tuple(lines)

    def tradeoff(self, aims: Mapping[str, Any]) -> tuple[tuple[FrontLine, ...], dict[str, tuple[float, ...]]]:
        """Pareto front and hypervolume by method; nothing without objectives beside the score."""
        names = aims.get("objectives")
        if not names:
            return (), {}
        mine = Tradeoff.of(self.counted, names, maximize=self.maximize)
        others = {
            event.data["method"]: of_baseline(event.data, names, maximize=self.maximize)
            for event in self.of_kind("baseline")
        }
        curves = volumes({"vitruvius": mine, **others}, aims["lowest"], aims["highest"])
        return mine.front(self.counted), curves

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
                opened = ", ".join(event.data["principles"])
                line = f"{opened} no longer cuts: the open draw {event.data['key']} did well"
                cuts.append(Cut(None, True, (line,)))
        return tuple(cuts)

    def pruning_cost(self) -> PruningCost | None:
        """What cutting cost, told by the open draws made meanwhile; None where nothing was cut."""
        drawn: dict[int, Restriction] = {}
        now: Restriction | None = None
        for event in self.events:
            if event.kind == "restriction":
                now = Restriction.from_json(event.data["restriction"])
            elif event.kind == "batch" and event.number is not None and now is not None and now.hard:
                drawn[event.number] = now
        if not drawn:
            return None
        draws = [x for x in self.counted if x.share is Share.OPEN and x.measurement.ok and x.batch in drawn]
        inside = [_is_inside(drawn[x.batch], x) for x in draws]
        return pruning_cost(self.quantiles(draws), np.array(inside, dtype=np.bool_))

    def quantiles(self, learned: Sequence[Learned]) -> NDArray[np.float64]:
        """Mid-rank quantiles (n,) of scores in the target's frozen reference."""
        frozen = [e.data["scores"] for e in self.of_kind("reference") if e.data["task"] == self.record.task]
        reference = np.array(frozen[0] if frozen else [], dtype=np.float64)
        sign = 1.0 if self.maximize else -1.0
        scores = np.array([sign * (x.measurement.score or 0.0) for x in learned], dtype=np.float64)
        return midranks(reference, scores)

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
    """The record of one architecture; without choices and drawing where its space is not known here."""
    m = learned.measurement
    drawing, satisfied, choices = "", (), dict[str, str]()
    try:
        architecture = get_space(m.space).parse(m.key)
    except UnknownNameError:
        pass
    else:
        drawing, choices = architecture.space.draw(architecture), architecture.named()
        costs = known_costs(learned)
        satisfied = tuple(p.told for p in supported if agrees(p, architecture, costs))
    return Winner(
        key=m.key,
        id=m.id,
        score=float(m.score or 0.0),
        evaluation=evaluation,
        share=learned.share,
        params=m.params,
        latency=dict(m.latency),
        flops=m.flops,
        choices=choices,
        drawing=drawing,
        principles=satisfied,
    )


def _asked(objectives: Sequence[str], where: str | None) -> tuple[str, ...]:
    """The costs that objectives or the constraint name, each once."""
    bounded = costs_in(Predicate.parse(where)) if where else ()
    return tuple(dict.fromkeys([*objectives, *bounded]))


def _is_inside(restriction: Restriction, learned: Learned) -> bool:
    """Whether a measured architecture lies in what a restriction left."""
    costs = {name: np.array([value]) for name, value in known_costs(learned).items()}
    row = restriction.space.parse(learned.measurement.key).row
    return bool(restriction.inside(row, costs)[0])


def _principle_lines(principles: Sequence[Principle]) -> tuple[PrincipleLine, ...]:
    """Principles as shown: by status, then by the size of the fresh effect."""

    def rank(principle: Principle) -> tuple[int, float]:
        joined = principle.evidence.joined
        return STATUS_ORDER.index(principle.status), -abs(joined.estimate) if joined else 0.0

    return tuple(
        PrincipleLine(
            id=p.id,
            sentence=p.told,
            scope=p.proposal.task if p.proposal.task != "any" else p.proposal.space,
            direction=p.proposal.direction,
            status=p.status.value,
            reasoner=p.origin.reasoner,
            imported=bool(p.origin.pack),
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


def _cost(calls: Sequence[Mapping[str, Any]]) -> float | None:
    """US dollars paid for calls; None if it is not known for all of them."""
    known = [call.get("cost") for call in calls]
    return None if None in known else sum(float(cost or 0.0) for cost in known)


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
            outcomes=dict(Counter(str(call["outcome"]) for call in calls)),
            tokens_in=sum(int(call["tokens_in"]) for call in calls),
            tokens_out=sum(int(call["tokens_out"]) for call in calls),
            seconds=sum(float(call["seconds"]) for call in calls),
            cost=_cost(calls),
            cached=sum(bool(call.get("cached")) for call in calls),
            paid=sum(float(call.get("cost") or 0.0) for call in calls),
            unpriced=sum(call.get("cost") is None for call in calls),
            estimated=sum(bool(call.get("estimated")) for call in calls),
        )
        for (model, template), calls in groups.items()
    )
