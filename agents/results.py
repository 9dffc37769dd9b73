"""What a session gives back, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.agents.aims import Aims, unit
from vitruvius.agents.pareto import nondominated
from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.principle import Principle, PrincipleStatus

if TYPE_CHECKING:
    from vitruvius.agents.journal import Journal
    from vitruvius.agents.options import Options


class Results:
    """The part of a session that tells what came of it."""

    journal: Journal
    options: Options
    aims: Aims

    def curve(self) -> list[Measurement]:
        """The counted measurements of the target, in order."""
        return self.journal.curve()

    def table(self) -> list[dict[str, Any]]:
        """Everything measured on the target, a row each, as for `pandas.DataFrame`; see `table` below."""
        return table(self.journal)

    def principles(self, status: str | None = None) -> list[Principle]:
        """The session's principles with their evidence, supported ones first; of one status if named.

        Raises:
            UnknownNameError: There is no such status.
        """
        return principles(self.journal, status)

    def best(self) -> Best:
        """The best architecture by validation score.

        Raises:
            UserError: Nothing has been measured.
        """
        return best(self.journal)

    def front(self) -> tuple[FrontPoint, ...]:
        """What nothing measured beats in score and all objectives, cheapest first.

        Raises:
            UserError: The session has no objectives beside the score.
        """
        return front(self.journal, self.aims)

    def compare(self, evaluations: int) -> dict[str, list[float | None]]:
        """Best-so-far curves of random search and regularised evolution at the same budget.

        They run on ledgers of their own, and only where scores are looked up; elsewhere nothing is run.
        """
        return compare(self.journal, evaluations, self.options.seed, self.aims)


@dataclass(frozen=True, slots=True)
class Best:
    """The best architecture by validation score.

    Attributes:
        architecture: The architecture that was measured.
        measurement: Its measurement.
        principles: Supported principles that it satisfies.
    """

    architecture: Architecture
    measurement: Measurement
    principles: tuple[Principle, ...]

    def __str__(self) -> str:
        """Drawing, score and cost as a few lines."""
        m = self.measurement
        cost = f", {m.params:.3f} M parameters" if m.params is not None else ""
        lines = [self.architecture.key, self.architecture.space.draw(self.architecture)]
        lines.append(f"score {m.score}{cost}")
        lines += [f"satisfies {p.id}: {p.told}" for p in self.principles]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A measured architecture that no other beats in everything.

    Attributes:
        architecture: The architecture that was measured.
        measurement: Its measurement.
        costs: The costs that were objectives, by name.
    """

    architecture: Architecture
    measurement: Measurement
    costs: Mapping[str, float]

    def __str__(self) -> str:
        """Score, costs and key on a line."""
        costs = ", ".join(f"{name} {cost:.4g} {unit(name)}" for name, cost in self.costs.items())
        return f"{self.measurement.score:.4g}  {costs}  {self.architecture.key}"


def table(journal: Journal) -> list[dict[str, Any]]:
    """Everything measured on the target, in order.

    Returns:
        A row each: evaluation (its number among those that count, else None), key, id, score, status,
        reason (of a failure), share, batch, params, flops, latency by device, seconds, choices by decision.
    """
    rows: list[dict[str, Any]] = []
    counted = 0
    for learned in journal.learned():
        m, architecture = learned.measurement, journal.architecture(learned.measurement.key)
        counted += learned.counted
        rows.append(
            {"evaluation": counted if learned.counted else None, "key": m.key, "id": m.id, "score": m.score,
             "status": str(m.status), "reason": m.reason, "share": str(learned.share), "batch": learned.batch,
             "params": m.params, "flops": m.flops,
             **{f"latency[{device}]": ms for device, ms in m.latency.items()}, "seconds": m.seconds,
             **architecture.named()}
        )  # fmt: skip
    return rows


def principles(journal: Journal, status: str | None = None) -> list[Principle]:
    """The principles of a session: supported ones first, the largest joined effect first within each status.

    Raises:
        UnknownNameError: There is no such status.
    """
    if status is not None and status not in [*PrincipleStatus]:
        raise unknown_name("status", status, [*PrincipleStatus])
    found = journal.ledger.principles(session=journal.session)
    effects = {p.id: abs(p.evidence.joined.estimate) if p.evidence.joined else 0.0 for p in found}
    first = PrincipleStatus.SUPPORTED
    found.sort(key=lambda p: (p.status is not first, [*PrincipleStatus].index(p.status), -effects[p.id]))
    return [one for one in found if status in (None, one.status)]


def front(journal: Journal, aims: Aims) -> tuple[FrontPoint, ...]:
    """The Pareto front of what was measured, cheapest first.

    Raises:
        UserError: The session has no objectives beside the score.
    """
    if aims.objectives is None:
        raise UserError(
            "This session has one objective: give it objectives=['params'] to trade the score for it."
        )
    good = [m for m in journal.curve() if m.ok]
    architectures = [journal.architecture(m.key) for m in good]
    scores = journal.task.better(np.array([m.score for m in good], dtype=np.float64))
    costs = aims.objectives.of(journal.task.space.rows(architectures))
    kept = np.flatnonzero(nondominated(scores, costs))
    return tuple(
        FrontPoint(
            architectures[i], good[i], dict(zip(aims.objectives.names, costs[i].tolist(), strict=True))
        )
        for i in kept[np.lexsort((scores[kept], costs[kept, 0]))]
    )


class Clock:
    """Adds the time of a block to a part's sum; what is timed inside of it stays there."""

    def __init__(self, spent: dict[str, float], part: str) -> None:
        self._spent, self._part = spent, part

    def __enter__(self) -> None:
        self._start = time.monotonic()
        self._others = sum(self._spent.values())

    def __exit__(self, *_: object) -> None:
        inside = sum(self._spent.values()) - self._others
        self._spent[self._part] = self._spent.get(self._part, 0.0) + time.monotonic() - self._start - inside


def best(journal: Journal) -> Best:
    """The best architecture by validation score.

    Raises:
        UserError: Nothing has been measured.
    """
    from vitruvius.agents import learning

    measurement = journal.best
    if measurement is None:
        raise UserError("Nothing has been measured yet: run the session, or tell it a score.")
    architecture = journal.architecture(measurement.key)
    return Best(architecture, measurement, learning.satisfied(journal, architecture))


def compare(
    journal: Journal, evaluations: int, seed: int, aims: Aims = Aims()
) -> dict[str, list[float | None]]:
    """Best-so-far curves of the baselines at the same budget, on ledgers of their own; logged once.

    They keep to the session's constraint. With objectives, score and costs of what they measured are kept.

    Returns:
        Method -> curve; empty where scores are not looked up, since each baseline would be paid for.
    """
    from vitruvius.agents.baselines import random_search, regularised_evolution

    if not journal.task.evaluator.tabular:
        return {}
    curves: dict[str, list[float | None]] = {}
    for number, method in enumerate((random_search, regularised_evolution)):
        curve = method(journal.task, evaluations, seed, aims.feasible)
        name = method.__name__.replace("_", " ")
        curves[name] = list(curve.best_so_far)
        facts: dict[str, Any] = {"method": name, "curve": curves[name]}
        if aims.objectives is not None:
            rows = journal.task.space.rows(journal.architecture(key) for key in curve.keys)
            facts |= {"scores": curve.scores, "costs": aims.objectives.of(rows)}
        journal.log("baseline", facts, number=10 * evaluations + number)
    return curves
