"""What the measurements of a source task say of any architecture of its space.

Half of it is a Gaussian process on normal scores of the source's ranks, so that tasks in different units can
be compared. The other half is how common an architecture's choices are among the source's best: no single
cell stands out there, and that carries over to another task better than the details of the process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import distances, extract
from vitruvius.agents.selection import normal_scores, remembered
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.generator.space import Choices
from vitruvius.knowledge.observations import Observations

Array = NDArray[np.float64]

MEMORY = 1000
"""Most measurements of a source that its model keeps: the better half of these, the others at random."""
FITTED = 300
"""Most measurements that the length scales are learned from."""
BEST_SHARE = 0.2
"""Share of the measurements that count as the source's best."""
_PART = 1000  # architectures predicted at a time


class SourceModel:
    """Predicts normal scores of one source task.

    Attributes:
        name: For people.
        measured: How many measurements it was made from.
    """

    def __init__(self, observed: Observations, seed: int = 0) -> None:
        """Fit to everything that was measured on the source, what is held back from reasoners included.

        Args:
            observed: Measurements of a source in the target's space, at least one.
            seed: Chooses what is kept, where much was measured.
        """
        self.name = f"source {observed.task}"
        self.measured = len(observed)
        self._space = observed.space
        rng = np.random.default_rng(seed)
        targets = normal_scores(observed.scores)
        order = np.argsort(-observed.scores, kind="stable")
        kept = remembered(order[: MEMORY // 2], order[MEMORY // 2 :], MEMORY, rng)
        self._rows, targets = observed.choices[kept], targets[kept]
        self._common = _Common(observed)
        known = extract(self._space, self._rows)
        with threadpool_limits(1, user_api="blas"):  # rounds the same everywhere
            few = rng.permutation(len(kept))[:FITTED]
            apart = distances(known.take(few), known.take(few))
            prior = prior_weights(apart.mean(axis=(1, 2)), self._rows.shape[1])
            self._process = GaussianProcess.fit(apart, targets[few], prior)
            covariance = self._process.covariance(distances(known, known))
            factor = cho_factor(covariance + self._process.noise * np.eye(len(kept)), lower=True)
            self._solved = cho_solve(factor, targets)

    def predict(self, rows: Choices) -> Array:
        """Expected normal scores of rows (n, D): (n,); 0 is the source's middle."""
        return (self._by_process(rows) + self._common.predict(rows)) / 2.0

    def _by_process(self, rows: Choices) -> Array:
        found, n = np.empty(len(rows)), len(self._rows)
        with threadpool_limits(1, user_api="blas"):
            for start in range(0, len(rows), _PART):
                part = slice(start, start + _PART)
                both = extract(self._space, np.concatenate([self._rows, rows[part]]))
                apart = distances(both.take(slice(None, n)), both.take(slice(n, None)))
                found[part] = self._solved @ self._process.covariance(apart)
        return found


class _Common:
    """How common choices are among the best: log of the product of their frequencies, standardised."""

    def __init__(self, observed: Observations) -> None:
        order = np.argsort(-observed.scores, kind="stable")
        best = observed.choices[order[: max(round(BEST_SHARE * len(order)), 1)]]
        sizes = [len(decision.choices) for decision in observed.space.decisions]
        counts = [np.bincount(column, minlength=size) for column, size in zip(best.T, sizes, strict=True)]
        self._logs = [np.log((count + 1.0) / (count + 1.0).sum()) for count in counts]
        said = self._likelihood(observed.choices)
        self._middle, self._spread = float(said.mean()), max(float(said.std()), 1e-9)

    def predict(self, rows: Choices) -> Array:
        """Of rows (n, D): (n,), with mean 0 and variance 1 over what was measured."""
        return (self._likelihood(rows) - self._middle) / self._spread

    def _likelihood(self, rows: Choices) -> Array:
        return np.array([log[column] for log, column in zip(self._logs, rows.T, strict=True)]).sum(axis=0)
