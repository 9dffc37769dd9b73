"""One session's view of the ledger: what was measured, as arrays, and what was decided, as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitruvius.generator.evaluation.task import Measurement, Task
from vitruvius.generator.space import Architecture, Choices
from vitruvius.knowledge.evidence import Told
from vitruvius.knowledge.ledger import Learned, Ledger
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.principle import Principle
from vitruvius.knowledge.records import Event
from vitruvius.knowledge.share import Share


class Journal:
    """Reads and writes the facts of one session.

    The session's state is a function of these facts alone: whoever opens the same ledger
    continues at the same place.
    """

    def __init__(self, ledger: Ledger, session: str, task: Task, sources: Sequence[Task]) -> None:
        """Read what is there.

        Args:
            ledger: The ledger.
            session: Id of the session.
            task: The target.
            sources: Source tasks, in order.
        """
        self.ledger = ledger
        self.session = session
        self.task = task
        self.tasks: dict[str, Task] = {task.name: task} | {source.name: source for source in sources}
        self._learned: dict[str, list[Learned]] = {name: [] for name in self.tasks}
        self._observed: dict[str, tuple[tuple[int, bool], Observations]] = {}
        self.told = Told()
        self.scored: tuple[object, list[Principle]] | None = None  # from what, what `rescore` found
        self._rows: dict[str, tuple[int, ...]] = {}
        self._events: dict[str, list[Event]] = {}
        self._orders: set[int] = set()
        self._open: dict[tuple[int, str], Share] | None = None  # batch and key -> share, of what is in flight
        self._counted = 0
        self.best: Measurement | None = None
        for learned in ledger.learned(session):
            self._add(learned)

    # ---- measurements ---------------------------------------------------------------------

    def record(self, measurement: Measurement, *, batch: int, share: Share) -> Learned:
        """Write one measurement down; what the session knew already is returned as it was."""
        learned = self.ledger.record(measurement, session=self.session, batch=batch, share=share)
        self._add(learned)
        return learned

    def record_all(self, measurements: Sequence[Measurement], *, share: Share) -> None:
        """Write measurements of a source task down in one transaction."""
        for learned in self.ledger.record_all(measurements, session=self.session, batch=0, share=share):
            self._add(learned)

    def _add(self, learned: Learned) -> None:
        """Take in what the ledger holds; once."""
        if learned.order in self._orders:
            return
        self._orders.add(learned.order)
        measurement = learned.measurement
        self._learned.setdefault(measurement.task, []).append(learned)
        if measurement.task != self.task.name:
            return
        if self._open is not None:
            self._open.pop((learned.batch, measurement.key), None)
        self._counted += learned.counted
        if learned.counted and measurement.ok and self._beats(measurement):
            self.best = measurement

    def _beats(self, measurement: Measurement) -> bool:
        """Whether a score is better than the best so far; the first of equals stays."""
        if self.best is None:
            return True
        new, old = measurement.score or 0.0, self.best.score or 0.0
        return new > old if self.task.metric.maximize else new < old

    def learned(self, task: str | None = None) -> list[Learned]:
        """What was learned on a task (the target by default), in order, failures included."""
        return list(self._learned.get(task or self.task.name, []))

    def counted(self) -> int:
        """Evaluations of the target that counted against the budget."""
        return self._counted

    def known_ids(self) -> set[str]:
        """Ids of the target that need no further evaluation: measured, failed here, or being measured."""
        known = {learned.measurement.id for learned in self._learned[self.task.name]}
        return known | {self.architecture(key).id for _, key, _ in self.in_flight()}

    def in_flight(self) -> list[tuple[int, str, Share]]:
        """Batch, key and share of what was drawn and has no measurement yet, in order."""
        if self._open is None:
            done = {(x.batch, x.measurement.key) for x in self._learned[self.task.name]}
            drawn = [one for event in self.events("batch") for one in _drawn(event)]
            self._open = {place: share for place, share in drawn if place not in done}
        return [(number, key, share) for (number, key), share in self._open.items()]

    def unsettled(self) -> list[int]:
        """Numbers of the batches that are measured, and whose results have not been worked in yet."""
        drawn = {event.number for event in self.events("batch")}
        settled = {event.number for event in self.events("settled")}
        flying = {number for number, _, _ in self.in_flight()}
        return sorted(number for number in drawn - settled - flying if number is not None)

    def architecture(self, key: str, task: Task | None = None) -> Architecture:
        """The architecture with this key."""
        space = (task or self.task).space
        name = f"{space.name} {key}"
        if name not in self._rows:
            self._rows[name] = space.parse(key).choices
        return Architecture(space, self._rows[name])

    def curve(self) -> list[Measurement]:
        """The counted measurements of the target, in order."""
        return [learned.measurement for learned in self._learned[self.task.name] if learned.counted]

    def observations(self, name: str | None = None) -> Observations:
        """Everything measured on a task, as arrays; the same object until something new is known of it."""
        task = self.tasks[name or self.task.name]
        frozen = any(event.data["task"] == task.name for event in self.events("reference"))
        state = (len(self._learned[task.name]), frozen)
        if task.name not in self._observed or self._observed[task.name][0] != state:
            self._observed[task.name] = (state, self._observe(task))
        return self._observed[task.name][1]

    def _observe(self, task: Task) -> Observations:
        rows = [x for x in self._learned[task.name] if x.measurement.ok and x.counted]
        choices = self._choices([x.measurement.key for x in rows], task)
        scores = task.better(np.array([x.measurement.score for x in rows], dtype=np.float64))
        share = [x.share for x in rows]
        uniform = np.array([s.uniform for s in share], dtype=bool)
        return Observations(
            space=task.space,
            task=task.name,
            label=task.label,
            choices=choices,
            scores=scores,
            uniform=uniform,
            held=np.array([s is Share.HELD for s in share], dtype=bool),
            order=np.array([x.order for x in rows], dtype=np.int64),
            reference=self.reference(task, scores, uniform),
            costs=dict(task.bench.costs(choices)) if len(choices) else {},
        )

    def _choices(self, keys: Sequence[str], task: Task) -> Choices:
        return task.space.rows(self.architecture(key, task) for key in keys)

    def reference(
        self, task: Task, scores: np.ndarray[Any, Any], uniform: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Sorted scores that quantiles are taken against: uniform draws, frozen once there are enough."""
        for event in self.events("reference"):
            if event.data["task"] == task.name:
                return np.array(event.data["scores"], dtype=np.float64)
        return np.sort(scores[uniform] if uniform.any() else scores)

    def uniform(self) -> int:
        """How many counted measurements of the target are uniform draws."""
        return sum(x.counted and x.share.uniform for x in self._learned[self.task.name])

    def freeze_reference(self, name: str) -> None:
        """Freeze the reference of a task at what was measured uniformly so far."""
        observed = self.observations(name)
        scores = np.sort(observed.scores[observed.uniform]).tolist()
        number = list(self.tasks).index(name)
        facts = {"task": name, "scores": scores, "maximize": self.tasks[name].metric.maximize}
        self.log("reference", facts, number=number)

    # ---- what reasoners asked for -----------------------------------------------------------

    def retracted(self) -> set[str]:
        """Ids of principles that a reasoner took back."""
        events = self.events("reflection")
        revisions = [one for event in events for one in event.data.get("revisions", ())]
        return {one["principle"] for one in revisions if one["action"] == "retract"}

    def experiments(self) -> list[tuple[str, str]]:
        """Architectures that a reasoner would like to see measured and that are not yet: key and reason."""
        events = self.events("reflection")
        found: list[tuple[str, str]] = []
        known = self.known_ids()
        for one in (one for event in events for one in event.data.get("experiments", ())):
            identity = self.architecture(one["key"]).id
            if identity not in known:
                known.add(identity)
                found.append((one["key"], one["reason"]))
        return found

    # ---- events ---------------------------------------------------------------------------

    def log(self, kind: str, data: Mapping[str, Any], *, number: int | None = None) -> None:
        """Write an event down; the same event twice is written once."""
        event = self.ledger.log(self.session, kind, dict(data), number=number)
        if event is None:
            return
        if kind in self._events:
            self._events[kind].append(event)
        if kind == "batch" and self._open is not None:
            self._open |= dict(_drawn(event))

    def events(self, kind: str) -> list[Event]:
        """What happened of one kind, in order; do not change the list."""
        if kind not in self._events:
            self._events[kind] = self.ledger.events(self.session, kind)
        return self._events[kind]

    def event(self, kind: str, number: int) -> dict[str, Any] | None:
        """The event of this kind with this number, None if it has not happened."""
        for event in self.events(kind):
            if event.number == number:
                return event.data
        return None

    def last(self, kind: str) -> tuple[int, dict[str, Any]] | None:
        """Number and data of the latest event of this kind."""
        events = [e for e in self.events(kind) if e.number is not None]
        if not events:
            return None
        latest = max(events, key=lambda event: event.number or 0)
        return latest.number or 0, latest.data


def _drawn(event: Event) -> list[tuple[tuple[int, str], Share]]:
    """Batch and key of what an event of a batch drew, with its share."""
    if event.number is None:
        return []
    return [((event.number, key), Share(event.data["shares"][key])) for key in event.data["keys"]]
