"""What can be carried to an architecture of another space: whatever predicates say that name no decision.

A source in another space shares no decision with the target, but operations: how often they occur, which
feeds which, paths made of them, depth. Ridge regression on all such predicates that both spaces know is
fitted to the source and asked of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from vitruvius.agents.selection import normal_scores
from vitruvius.agents.statistics import candidates
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import CostSource, Population
from vitruvius.knowledge.predicate import Predicate

Array = NDArray[np.float64]

PENALTIES = np.logspace(-1, 3, 13)
"""Ridge penalties that are compared by the error of leaving one out, in units of the mean eigenvalue."""
_PART = 500  # architectures whose neighbours are looked at together
SPREAD = 0.6
"""Standard deviation of what a pack expects of the architectures of a space, in normal scores."""


class PortableModel:
    """Predicts normal scores of a source task for architectures of another space.

    Attributes:
        name: For people.
        predicates: What it looks at.
    """

    def __init__(self, observed: Observations, space: SearchSpace) -> None:
        """Fit to everything that was measured on the source.

        Args:
            observed: Measurements of a source in any space.
            space: The target's; where it shares no predicate with the source, everything is expected alike.
        """
        self.name = f"source {observed.task}"
        self._space = space
        population = Population(observed.space, observed.choices)
        shared = [p for p in candidates(observed.space, [population]) if p.portable and p.fits(space)]
        held = np.column_stack([p.holds(population) for p in shared] or [np.zeros(len(observed))])
        telling = held.std(axis=0) > 0
        self.predicates = [p for p, tells in zip(shared, telling, strict=False) if tells]
        design = held[:, telling].astype(np.float64)
        self._mean = design.mean(axis=0)
        self._slopes = _ridge(design - self._mean, normal_scores(observed.scores))

    def predict(self, rows: Choices) -> Array:
        """Expected normal scores of rows (n, D) of the target's space: (n,)."""
        if not self.predicates:
            return np.zeros(len(rows))
        population = Population(self._space, rows)
        held = np.column_stack([p.holds(population) for p in self.predicates])
        return (held - self._mean) @ self._slopes


class PackModel:
    """What the principles of a pack make one expect of architectures of the target's space.

    A few statements expect the same of many architectures. These are told apart by what is expected of their
    neighbours: an architecture that follows a principle by a wide margin has more neighbours that follow it.

    Attributes:
        name: For people.
    """

    def __init__(
        self,
        name: str,
        claims: Sequence[tuple[Predicate, float]],
        space: SearchSpace,
        typical: Choices,
        costs: CostSource | None = None,
    ) -> None:
        """Add the effects of a pack's principles up.

        Args:
            name: Of the pack.
            claims: Each predicate with its effect where it was learned, holding minus lacking.
            space: The target's.
            typical: (n, D) rows that say what is usual there.
            costs: `task.bench.costs`, for predicates that bound a cost.
        """
        self.name = f"pack {name}"
        self._claims, self._space, self._costs = claims, space, costs
        self._mean, self._scale = 0.0, 1.0
        usual = self.predict(typical)
        self._mean, spread = float(usual.mean()), float(usual.std())
        self._scale = SPREAD / spread if spread > 0 else 0.0

    def predict(self, rows: Choices) -> Array:
        """Expected normal scores of rows (n, D), half their own and half their neighbours': (n,)."""
        said = np.empty(len(rows))
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            near, of = _one_away(self._space, part)
            own, counts = self._claimed(part), np.bincount(of, minlength=len(part))
            around = np.bincount(of, weights=self._claimed(near), minlength=len(part)) / np.maximum(counts, 1)
            said[start : start + _PART] = np.where(counts > 0, (own + around) / 2.0, own)
        return (said - self._mean) * self._scale

    def _claimed(self, rows: Choices) -> Array:
        """Sum of the effects of all claims that hold: (n,)."""
        population = Population(self._space, rows, self._costs)
        total = np.zeros(len(rows))
        for predicate, effect in self._claims:
            total += effect * predicate.holds(population)
        return total


def _one_away(space: SearchSpace, rows: Choices) -> tuple[Choices, NDArray[np.intp]]:
    """All that is legal with one decision of rows (n, D) changed: (m, D), and the row each comes from: (m,).

    For many rows at once; `SearchSpace.neighbours` gives those of one row, each once.
    """
    found: list[Choices] = []
    of: list[NDArray[np.intp]] = []
    every = np.arange(len(rows))
    for column, cardinality in enumerate(space.cardinalities.tolist()):
        for step in range(1, cardinality):
            changed = rows.copy()
            changed[:, column] = (changed[:, column] + step) % cardinality
            legal = space.legal(changed)
            found.append(space.normalise(changed[legal]))
            of.append(every[legal])
    near, owner = np.concatenate(found), np.concatenate(of)
    other = (near != rows[owner]).any(axis=1)
    return near[other], owner[other]


def _ridge(design: Array, targets: Array) -> Array:
    """Slopes (p,) with the penalty that predicts best what is left out, for centred columns (n, p)."""
    if not design.shape[1]:
        return np.zeros(0)
    values, vectors = eigh(design @ design.T)
    values = values.clip(min=0.0)
    turned = vectors.T @ targets
    errors: list[float] = []
    penalties = PENALTIES * max(float(values.mean()), 1e-9)
    for penalty in penalties:
        solved = vectors @ (turned / (values + penalty))
        errors.append(float(((solved / ((vectors**2) @ (1.0 / (values + penalty)))) ** 2).sum()))
    penalty = penalties[int(np.argmin(errors))]
    return design.T @ (vectors @ (turned / (values + penalty)))
