"""Builds a batch one by one: what is chosen is believed to score what was predicted of it.

That leaves all predicted means as they are, and lowers the uncertainty of its like (kriging believer;
Ginsbourger, Le Riche and Carraro, 2010).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.features import Features, distances
from vitruvius.agents.surrogate import GaussianProcess, prior_weights

Array = NDArray[np.float64]


class Believer:
    """Predictions for a pool while a batch is taken out of it.

    Attributes:
        mean: (m,) predicted target of each candidate.
    """

    def __init__(
        self, known: Features, candidates: Features, targets: Array, rng: np.random.Generator
    ) -> None:
        """Fit the process to what was measured and predict the pool.

        Args:
            known: Features of n measured architectures.
            candidates: Features of the pool (m), comparable with these.
            targets: (n,) values of mean near 0 and variance near 1.
            rng: Breaks ties.
        """
        across = distances(known, candidates)
        prior = prior_weights(across.mean(axis=(1, 2)), known.choices.shape[1])
        self._process = GaussianProcess.fit(distances(known, known), targets, prior)
        self._candidates = candidates
        self._white = self._process.whiten(self._process.covariance(across))
        self._variance = np.maximum(2.0 - (self._white * self._white).sum(axis=0), 1e-9)
        self.mean: Array = self._process.whiten(targets[:, None])[:, 0] @ self._white
        self._ties = rng.permutation(len(self.mean))
        self._free = np.ones(len(self.mean), dtype=np.bool_)

    @property
    def std(self) -> Array:
        """Standard deviation of each prediction, given what is measured and believed: (m,)."""
        return np.sqrt(self._process.scale * self._variance)

    def take(self, value: Array) -> int:
        """The candidate with the largest value (m,) of those not taken yet, believed from now on."""
        row = int(self._ties[np.argmax(np.where(self._free, value, -np.inf)[self._ties])])
        self._free[row] = False
        one = self._candidates.take(np.array([row]))
        column = self._process.covariance(distances(one, self._candidates))[0]
        share = (column - self._white[:, row] @ self._white) / np.sqrt(
            self._variance[row] + self._process.noise
        )
        self._white = np.concatenate([self._white, share[None]])
        self._variance = np.maximum(self._variance - share * share, 1e-9)
        return row
