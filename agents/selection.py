"""Chooses a batch out of a pool: where the surrogate expects the largest improvement, and why.

Scores enter as normal scores of their ranks, so that outliers at the bottom and compression at the top do no
harm. A batch is built one by one (`believer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from threadpoolctl import threadpool_limits

from vitruvius.agents.believer import Believer
from vitruvius.agents.features import extract
from vitruvius.errors import UserError
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.knowledge.observations import midranks

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

    @staticmethod
    def of(picked: Sequence[tuple[int, float, float]], reasons: list[str]) -> Selection:
        """From position, predicted mean and deviation in normal scores, of each."""
        rows, means, deviations = zip(*picked, strict=True)
        return Selection(list(rows), reasons, ndtr(np.array(means)), np.array(deviations))


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
        order = np.argsort(-scores, kind="stable")
        kept = remembered(order[: MEMORY // 2], order[MEMORY // 2 :], MEMORY, rng)
        measured, scores = measured[kept], scores[kept]
        bonus = np.zeros(len(pool)) if weights is None else np.log(weights) * min(TRUST / len(scores), 1.0)
        both = extract(self.space, np.concatenate([measured, pool]))
        known, candidates = both.take(slice(None, len(measured))), both.take(slice(len(measured), None))
        # Many small matrices: on several threads they take ten times as long, and round differently.
        with threadpool_limits(1, user_api="blas"):
            targets = normal_scores(scores)
            here, there = (0.0, 0.0) if expected is None else _centred(expected[0][kept], expected[1])
            believer = Believer(known, candidates, targets - here, rng)
            return _one_by_one(believer, believer.mean + there, targets, bonus, k)


def _centred(here: Array, there: Array) -> tuple[Array, Array]:
    """What is expected of the measured and of the pool, less the mean of the first: targets have mean 0."""
    return here - here.mean(), there - here.mean()


def normal_scores(scores: NDArray[np.float64]) -> Array:
    """Normal quantile of each score's mid-rank: (n,); all zero where the scores are equal."""
    return ndtri(midranks(scores, scores))


def _one_by_one(believer: Believer, mean: Array, targets: Array, bonus: Array, k: int) -> Selection:
    """Choose where the largest improvement is expected over the best that was measured or is believed."""
    best = float(targets.max())
    picked: list[tuple[int, float, float]] = []
    for _ in range(k):
        std = believer.std
        row = believer.take(np.round(log_improvement(mean - best, std) + bonus, 6))
        picked.append((row, float(mean[row]), float(std[row])))
        best = max(best, float(mean[row]))
    reasons = [f"largest expected improvement: {foretold(m, s, len(targets))}" for _, m, s in picked]
    return Selection.of(picked, reasons)


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


def remembered(
    first: NDArray[np.intp], others: NDArray[np.intp], most: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Positions of what a process is fitted to, in order: the first, then others at random, up to `most`."""
    if len(first) + len(others) <= most:
        return np.sort(np.concatenate([first, others]))
    return np.sort(np.concatenate([first, rng.permutation(others)])[:most])


def foretold(mean: float, std: float, n: int) -> str:
    """A prediction in normal scores of n measured, in words."""
    low, middle, high = (float(ndtr(mean + z * std)) for z in (-1.0, 0.0, 1.0))
    return f"predicted above {middle:.0%} of {n} measured ({low:.0%} to {high:.0%})"


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
