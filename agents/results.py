"""What a session gives back, and where its time went."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.principle import Principle

if TYPE_CHECKING:
    from vitruvius.agents.journal import Journal


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
        lines += [f"satisfies {p.id}: {p.sentence}" for p in self.principles]
        return "\n".join(lines)


class Clock:
    """Adds the time of a block to a part's sum."""

    def __init__(self, spent: dict[str, float], part: str) -> None:
        self._spent, self._part = spent, part

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._spent[self._part] = self._spent.get(self._part, 0.0) + time.monotonic() - self._start


def compare(journal: Journal, evaluations: int, seed: int) -> dict[str, list[float | None]]:
    """Best-so-far curves of the baselines at the same budget, on ledgers of their own; logged once.

    Returns:
        Method -> curve; empty where scores are not looked up, since each baseline would be paid for.
    """
    from vitruvius.agents.baselines import random_search, regularised_evolution

    if not journal.task.evaluator.tabular:
        return {}
    curves: dict[str, list[float | None]] = {}
    for number, method in enumerate((random_search, regularised_evolution)):
        curve = method(journal.task, evaluations, seed)
        name = method.__name__.replace("_", " ")
        curves[name] = list(curve.best_so_far)
        journal.log("baseline", {"method": name, "curve": curves[name]}, number=10 * evaluations + number)
    return curves
