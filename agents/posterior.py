"""What measurements say about all other architectures: how good, how sure, how likely among the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import brentq
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import Features, distances, extract
from vitruvius.agents.selection import normal_scores
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.errors import UserError
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

LEAST = 10
"""Fewest measurements from which anything is predicted."""
SHARPNESS = 4
"""Power of the chance to be among the best, see `Posterior.wanted`; benchmarks/control.py compares others."""
_FITTED = 400  # measurements that the length scales are learned from; all count in the prediction
_TYPICAL = 2000  # architectures that say how far apart two are on average
_PART = 1000  # architectures predicted at a time


@dataclass(frozen=True, slots=True)
class Posterior:
    """Predictions for n architectures, in normal scores of the measured ranks.

    Attributes:
        mean: (n,) predicted.
        std: (n,) standard deviation of the prediction, noise apart.
    """

    mean: Array
    std: Array

    def chance(self, share: float) -> Array:
        """How likely each is among the best `share` of all n: (n,).

        The threshold is where the chances add up to share * n.

        Raises:
            UserError: The share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise UserError(
                f"The best {share:.0%} were asked for, but a share above 0 % and below 100 % is needed."
            )

        def excess(threshold: float) -> float:
            return float(ndtr((self.mean - threshold) / self.std).mean()) - share

        low, high = (float(f(self.mean + sign * 10 * self.std)) for f, sign in ((np.min, -1), (np.max, 1)))
        threshold = brentq(excess, low, high)
        assert isinstance(threshold, float)  # else it was asked for more than the root
        return ndtr((self.mean - threshold) / self.std)

    def wanted(self, share: float, sharpness: float = SHARPNESS) -> Array:
        """How much each is wanted by who asks for the best `share`: (n,), 1 for the likeliest.

        The chance to a power: drawn in proportion to the chance itself, most would be doubtful ones, of which
        there are many.
        """
        chance = self.chance(share)
        return (chance / chance.max()) ** sharpness


def predict(
    space: SearchSpace, measured: Choices, scores: NDArray[np.float64], rows: Choices, *, seed: int = 0
) -> Posterior:
    """Predict from what was measured.

    Args:
        space: The space.
        measured: (m, D) rows that have a score.
        scores: (m,) their scores, larger is better.
        rows: (n, D) what to predict: the whole space, or a sample of it.
        seed: Chooses what the length scales are learned from, where much was measured.

    Raises:
        UserError: Fewer than `LEAST` measurements, or a score that is no number.
    """
    if len(scores) < LEAST or len(scores) != len(measured) or not np.isfinite(scores).all():
        raise UserError(
            f"{len(scores)} scores of {len(measured)} architectures: at least {LEAST} architectures with one "
            "finite score each are needed to tell which others are promising."
        )
    rng = np.random.default_rng(seed)
    both = extract(space, np.concatenate([measured, rows]))
    known, asked = both.take(slice(None, len(measured))), both.take(slice(len(measured), None))
    targets = normal_scores(scores)
    with threadpool_limits(1, user_api="blas"):  # rounds the same everywhere
        process = _fit(known, targets, asked, rng)
        factor = np.linalg.cholesky(_covariance(process, known, known) + process.noise * np.eye(len(targets)))
        half = solve_triangular(factor, targets, lower=True)
        scale = float(half @ half + 1.0) / (len(targets) + 1.0)
        mean, std = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), _PART):
            part = slice(start, start + _PART)
            white = solve_triangular(factor, _covariance(process, known, asked.take(part)), lower=True)
            mean[part] = half @ white
            std[part] = np.sqrt(scale * np.maximum(2.0 - np.einsum("ij,ij->j", white, white), 1e-9))
    return Posterior(mean, std)


def _fit(known: Features, targets: Array, asked: Features, rng: np.random.Generator) -> GaussianProcess:
    """Length scales from a part of what was measured."""
    part = rng.permutation(len(targets))[:_FITTED]
    few = known.take(part)
    others = asked.take(rng.permutation(len(asked.choices))[:_TYPICAL])
    prior = prior_weights(distances(few, others).mean(axis=(1, 2)), few.choices.shape[1])
    return GaussianProcess.fit(distances(few, few), targets[part], prior)


def _covariance(process: GaussianProcess, left: Features, right: Features) -> Array:
    """Prior covariance (n, m), a few columns at a time: the distances alone would fill the memory."""
    found = np.empty((len(left.choices), len(right.choices)))
    for start in range(0, len(right.choices), _PART // 4):
        part = slice(start, start + _PART // 4)
        found[:, part] = process.covariance(distances(left, right.take(part)))
    return found
