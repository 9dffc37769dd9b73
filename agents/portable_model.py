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
        """Expected normal scores of rows (n, D): (n,)."""
        population = Population(self._space, rows, self._costs)
        total = np.zeros(len(rows))
        for predicate, effect in self._claims:
            total += effect * predicate.holds(population)
        return (total - self._mean) * self._scale


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
