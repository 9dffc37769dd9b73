"""Everything that a ledger holds of each task, all sessions together: what questions are answered from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UnknownNameError
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.space import Architecture, SearchSpace, get_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.records import Learned
from vitruvius.knowledge.share import Share


@dataclass(frozen=True)
class Measured:
    """What is known of one task.

    Attributes:
        observations: The measured architectures, each class once, in the order of the ledger.
        scores: Id -> validation score as it was measured.
        target: Whether some session searched this task; else it was only learned from.
    """

    observations: Observations
    scores: Mapping[str, float]
    target: bool

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.observations.task

    @cached_property
    def _places(self) -> dict[str, int]:
        return {id: place for place, id in enumerate(self.scores)}

    def architecture(self, id: str) -> Architecture | None:
        """The measured architecture with this id; None where it was not measured here."""
        place = self._places.get(id)
        if place is None:
            return None
        return self.observations.space.architectures(self.observations.choices[place : place + 1])[0]

    def quantile(self, id: str) -> float:
        """Quantile of the score of a measured architecture in the task's reference, 1 the best."""
        return float(self._quantiles[self._places[id]])

    @cached_property
    def _quantiles(self) -> NDArray[np.float64]:
        return self.observations.quantiles


@dataclass
class _Gathered:
    """One task while the sessions are read."""

    target: bool = False
    maximize: bool = True
    reference: list[float] = field(default_factory=list[float])
    learned: dict[str, Learned] = field(default_factory=dict[str, Learned])
    drawn: dict[str, set[str]] = field(
        default_factory=dict[str, set[str]]
    )  # by the constraint of the session
    held: set[str] = field(default_factory=set[str])

    @property
    def uniform(self) -> set[str]:
        """What was drawn uniformly: from the whole space, or where nothing was, from one part of it."""
        if "" in self.drawn:
            return self.drawn[""]
        return max(self.drawn.values(), key=len, default=set())

    def add(self, learned: Learned, where: str) -> None:
        """Take a measurement of a session under a constraint in; whichever is first gives the score."""
        id = learned.measurement.id
        self.learned.setdefault(id, learned)
        if learned.share.uniform:
            self.drawn.setdefault(where, set()).add(id)
        if learned.share is Share.HELD:
            self.held.add(id)


def measured(ledger: Ledger) -> tuple[list[Measured], list[str]]:
    """What the sessions of a ledger measured, by task.

    A class of architectures counts once for each task, and as drawn uniformly if any session drew it so;
    draws of sessions under a constraint only where no session drew from the whole space.
    Quantiles are taken against the longest reference that a session froze for the task.

    Returns:
        The tasks, searched ones first; and a sentence for each that could not be read as a whole.
    """
    gathered: dict[_Way, _Gathered] = {}
    for session in ledger.sessions():
        maximize = bool(session.settings.get("maximize", True))
        mine: dict[str, _Gathered] = {}
        for learned in ledger.learned(session.id):
            if learned.measurement.ok:
                way = _way(learned.measurement)
                mine[way[0]] = gathered.setdefault(way, _Gathered(maximize=maximize))
                mine[way[0]].add(learned, str(session.settings.get("where") or ""))
        if session.task in mine:
            mine[session.task].target = True
        for event in ledger.events(session.id, "reference"):
            facts = event.data
            if facts["task"] in mine and len(facts["scores"]) > len(mine[facts["task"]].reference):
                mine[facts["task"]].reference = list(facts["scores"])
                mine[facts["task"]].maximize = bool(facts.get("maximize", maximize))
    return _arrays(gathered)


_Way = tuple[str, str, str, str]
"""Task, evaluator, fidelity and data: only scores that agree in all of them can be compared."""


def _way(measurement: Measurement) -> _Way:
    return (measurement.task, measurement.evaluator, measurement.fidelity, measurement.fingerprint)


def _arrays(gathered: Mapping[_Way, _Gathered]) -> tuple[list[Measured], list[str]]:
    found: list[Measured] = []
    notes: list[str] = []
    largest: dict[str, _Gathered] = {}
    for (task, *_), facts in gathered.items():
        if task in largest:
            few, many = sorted((facts, largest[task]), key=lambda each: len(each.learned))
            notes.append(
                f"{task} was measured in several ways that cannot be compared: {len(few.learned)} "
                f"measurements were left out, the {len(many.learned)} of the most used one count."
            )
            largest[task] = many
        else:
            largest[task] = facts
    for task, facts in sorted(largest.items(), key=lambda pair: not pair[1].target):
        rows = [learned.measurement for learned in facts.learned.values()]
        try:
            space = get_space(rows[0].space)
        except UnknownNameError as error:
            notes.append(f"{task} was left out: {error}")
            continue
        found.append(Measured(_observations(task, space, facts, rows), _scores(rows), facts.target))
    return found, notes


def _observations(
    task: str, space: SearchSpace, facts: _Gathered, rows: Sequence[Measurement]
) -> Observations:
    scores = np.array([row.score for row in rows], dtype=np.float64) * (1.0 if facts.maximize else -1.0)
    uniform = np.array([row.id in facts.uniform for row in rows], dtype=np.bool_)
    reference = facts.reference or (scores[uniform] if uniform.any() else scores)
    return Observations(
        space=space,
        task=task,
        label=(space.name, task.removeprefix(f"{space.name}/")),
        choices=space.parse_many([row.key for row in rows]),
        scores=scores,
        uniform=uniform,
        held=np.array([row.id in facts.held for row in rows], dtype=np.bool_),
        order=np.arange(len(rows), dtype=np.int64),
        reference=np.sort(np.asarray(reference, dtype=np.float64)),
        costs=_costs(rows),
    )


def _costs(rows: Sequence[Measurement]) -> dict[str, NDArray[np.float64]]:
    """Costs by name as predicates name them, nan where a measurement does not tell; (n,) each."""
    known: dict[str, Iterable[float | None]] = {
        "params": [row.params for row in rows],
        "flops": [row.flops for row in rows],
    }
    for device in sorted({device for row in rows for device in row.latency}):
        known[f"latency[{device}]"] = [row.latency.get(device) for row in rows]
    arrays = {name: np.array(list(values), dtype=np.float64) for name, values in known.items()}
    return {name: values for name, values in arrays.items() if not np.isnan(values).all()}


def _scores(rows: Sequence[Measurement]) -> dict[str, float]:
    return {row.id: float(row.score or 0.0) for row in rows}
