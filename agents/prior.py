"""What to expect of a target before it is measured: what its sources predict, as far as they are believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.relatedness import Relatedness
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

MOST_REMEMBERED = 200_000
"""Architectures after which an adviser is asked anew."""


class Adviser(Protocol):
    """Whatever can say what to expect of an architecture."""

    name: str

    def predict(self, rows: Choices) -> Array:
        """Expected normal scores of rows (n, D): (n,)."""
        ...


class Remembered:
    """An adviser that is asked once for each architecture: most are looked at before many batches."""

    def __init__(self, adviser: Adviser, space: SearchSpace) -> None:
        """Ask this adviser, about rows of this space."""
        self.name = adviser.name
        self._adviser, self._space = adviser, space
        self._known: dict[int, float] = {}

    def predict(self, rows: Choices) -> Array:
        """What the adviser says, to six decimals, so that it does not matter what is asked together: (n,)."""
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        numbers = self._space.numbers(rows).tolist()
        new = {number: i for i, number in enumerate(numbers) if number not in self._known}
        if new:
            said = self._adviser.predict(rows[list(new.values())]).round(6).tolist()
            self._known.update(zip(new, said, strict=True))
        return np.array([self._known[number] for number in numbers], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Prior:
    """What to expect of the target before it is measured, as the sources are believed now.

    Attributes:
        relatedness: How far each source is believed.
        advisers: The sources.
        candidates: (m, D) rows among which promising ones are looked for.
        expected: (m,) their expected normal scores.
    """

    relatedness: Relatedness
    advisers: Sequence[Adviser]
    candidates: Choices
    expected: Array

    def mean(self, rows: Choices) -> Array:
        """Expected normal scores of rows (n, D): (n,)."""
        believed = [(one, w) for one, w in zip(self.advisers, self.relatedness.weights, strict=True) if w > 0]
        return sum((w * one.predict(rows) for one, w in believed), np.zeros(len(rows)))

    def promising(self, n: int) -> Choices:
        """The n candidates of which most is expected, best first; none where no source is believed."""
        if not self.relatedness.weights.any():
            return self.candidates[:0]
        return self.candidates[np.argsort(-self.expected, kind="stable")[:n]]
