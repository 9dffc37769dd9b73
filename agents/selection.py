"""Chooses a batch out of a pool: where the surrogate expects the largest improvement, and why.

Scores enter as normal scores of their ranks, so that outliers at the bottom and compression at the top do no
harm. A batch is built one by one: each chosen architecture is believed to score what is predicted of it
(kriging believer; Ginsbourger, Le Riche and Carraro, 2010), which lowers the uncertainty of its like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import Features, distances, extract
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.errors import UserError
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

MEMORY = 400
"""Most measurements that the surrogate is fitted to: the better half of these, the others at random."""
TRUST = 10.0
"""Prior weights enter with exponent TRUST / n after n measurements (Hvarfner et al., ICLR 2022)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen, in order.

    Attributes:
        rows: Positions in the pool.
        reasons: One sentence for each.
        mean: (k,) predicted quantile among what was measured, 1 is best.
        std: (k,) standard deviation of the prediction, in normal scores of the ranks.
    """

    rows: list[int]
    reasons: list[str]
    mean: Array
    std: Array


class Selector:
    """Chooses what to measure next, from measurements alone.

    Uses no knowledge of particular operations or positions, and no cost: the choice is the same after
    operations are renamed and decisions are permuted.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        """A selector for one space; it keeps nothing between two choices.

        Args:
            space: The search space.
            seed: Breaks ties, together with the seed of each choice.
        """
        self.space = space
        self.seed = seed

    def choose(
        self,
        measured: Choices,
        scores: NDArray[np.float64],
        pool: Choices,
        weights: NDArray[np.float64] | None,
        k: int,
        seed: int,
        expected: tuple[Array, Array] | None = None,
    ) -> Selection:
        """Choose k of the pool.

        Args:
            measured: (n, D) rows that have a score.
            scores: (n,) their scores, larger is better.
            pool: (m, D) candidates.
            weights: (m,) positive prior weights of the candidates, or None for equal ones.
            k: How many to choose.
            seed: Breaks ties; the same arguments give the same choice.
            expected: Normal scores that sources expect of the measured (n,) and of the pool (m,): the mean
                of the process before anything is measured. None expects the same of all.

        Returns:
            min(k, m) different positions in the pool, best first.

        Raises:
            UserError: Shapes that do not belong together, scores or weights that are not usable numbers.
        """
        _check(measured, scores, pool, weights)
        rng = np.random.default_rng([self.seed, seed])
        k = min(k, len(pool))
        if k <= 0:
            return Selection([], [], np.empty(0), np.empty(0))
        if len(scores) == 0 and expected is not None:
            rows = np.argsort(-expected[1], kind="stable")[:k].tolist()
            return Selection(rows, ["expected to be the best"] * k, ndtr(expected[1][rows]), np.ones(k))
        if len(scores) == 0:
            rows = rng.permutation(len(pool))[:k].tolist()
            reason = "drawn at random: nothing has been measured yet"
            return Selection(rows, [reason] * k, np.full(k, 0.5), np.ones(k))
        kept = _remembered(scores, rng)
        measured, scores = measured[kept], scores[kept]
        bonus = np.zeros(len(pool)) if weights is None else np.log(weights) * min(TRUST / len(scores), 1.0)
        both = extract(self.space, np.concatenate([measured, pool]))
        known, candidates = both.take(slice(None, len(measured))), both.take(slice(len(measured), None))
        # Many small matrices: on several threads they take ten times as long, and round differently.
        with threadpool_limits(1, user_api="blas"):
            across = distances(known, candidates)
            prior = prior_weights(across.mean(axis=(1, 2)), measured.shape[1])
            targets = normal_scores(scores)
            here, there = (0.0, 0.0) if expected is None else _centred(expected[0][kept], expected[1])
            process = GaussianProcess.fit(distances(known, known), targets - here, prior)
            return _believe(process, across, candidates, targets, bonus, k, rng, here, there)


def _centred(here: Array, there: Array) -> tuple[Array, Array]:
    """What is expected of the measured and of the pool, less the mean of the first: targets have mean 0."""
    return here - here.mean(), there - here.mean()


def normal_scores(scores: NDArray[np.float64]) -> Array:
    """Normal quantile of each score's mid-rank: (n,); all zero where the scores are equal."""
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, scores, side="left")
    upto = np.searchsorted(ordered, scores, side="right")
    return ndtri((below + upto) / (2.0 * len(scores)))


def _believe(
    process: GaussianProcess,
    across: Array,
    candidates: Features,
    targets: Array,
    bonus: Array,
    k: int,
    rng: np.random.Generator,
    here: Array | float,
    there: Array | float,
) -> Selection:
    """Choose one by one, each time believing what was predicted of those before."""
    white = process.whiten(process.covariance(across))
    half = process.whiten((targets - here)[:, None])[:, 0]
    mean = half @ white + there
    variance = np.maximum(2.0 - (white * white).sum(axis=0), 1e-9)
    ties = rng.permutation(len(bonus))
    free = np.ones(len(bonus), dtype=np.bool_)
    best = float(targets.max())
    picked: list[tuple[int, float, float]] = []
    for _ in range(k):
        std = np.sqrt(process.scale * variance)
        value = np.where(free, np.round(log_improvement(mean - best, std) + bonus, 6), -np.inf)
        row = int(ties[np.argmax(value[ties])])
        picked.append((row, float(mean[row]), float(std[row])))
        free[row] = False
        best = max(best, float(mean[row]))
        column = process.covariance(distances(candidates.take(np.array([row])), candidates))[0]
        share = (column - white[:, row] @ white) / np.sqrt(variance[row] + process.noise)
        white = np.concatenate([white, share[None]])
        variance = np.maximum(variance - share * share, 1e-9)
    rows, means, deviations = zip(*picked, strict=True)
    quantiles = ndtr(np.array(means))
    return Selection(
        list(rows),
        [_reason(m, s, len(targets)) for m, s in zip(means, deviations, strict=True)],
        quantiles,
        np.array(deviations),
    )


def log_improvement(gain: Array, std: Array) -> Array:
    """Logarithm of the expected improvement, stable far below the best: (m,).

    Args:
        gain: (m,) predicted mean minus the best so far.
        std: (m,) standard deviation of the prediction.

    With u = gain / std it is log(std) + log(phi(u) + u Phi(u)); for u far below zero the sum tends to
    phi(u) / u^2 (Ament et al., NeurIPS 2023).
    """
    u = gain / std
    near = np.maximum(u, -6.0)
    density = np.exp(-0.5 * near * near) / np.sqrt(2.0 * np.pi)
    exact = np.log(density + near * np.exp(log_ndtr(near)))
    tail = -0.5 * u * u - 0.5 * np.log(2.0 * np.pi) - np.log(np.maximum(u * u + 3.0, 1.0))
    return np.log(std) + np.where(u > -6.0, exact, tail)


def _remembered(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Positions of what the surrogate is fitted to, in order."""
    if len(scores) <= MEMORY:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    others = rng.permutation(order[MEMORY // 2 :])[: MEMORY - MEMORY // 2]
    return np.sort(np.concatenate([order[: MEMORY // 2], others]))


def _reason(mean: float, std: float, n: int) -> str:
    low, middle, high = (float(ndtr(mean + z * std)) for z in (-1.0, 0.0, 1.0))
    return (
        f"largest expected improvement: predicted above {middle:.0%} of {n} measured "
        f"({low:.0%} to {high:.0%})"
    )


def _check(
    measured: Choices, scores: NDArray[np.float64], pool: Choices, weights: NDArray[np.float64] | None
) -> None:
    if len(measured) != len(scores):
        raise UserError(
            f"{len(measured)} measured architectures came with {len(scores)} scores: give one each."
        )
    if not np.isfinite(scores).all():
        raise UserError("A score is not a finite number: leave out what has no score.")
    if measured.ndim != 2 or pool.ndim != 2 or measured.shape[1] != pool.shape[1]:
        raise UserError(
            f"Measured {measured.shape} and pool {pool.shape} must be rows of the same decisions."
        )
    if weights is not None and (weights.shape != (len(pool),) or not (weights > 0).all()):
        raise UserError("Weights of candidates must be positive numbers, one for each row of the pool.")
