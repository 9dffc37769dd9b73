"""Trade-offs between a score that should be large and costs that should be small.

The hypervolume of what was measured is the best score that each budget buys, above the worst score, summed
over all budgets. So its expected growth by a candidate whose costs are known is an ordinary expected
improvement, over the best that is within a budget, averaged over the budgets that pay for the candidate:

    growth(x) = mean over budgets b of  [cost(x) <= b]  E[ max(score(x) - best(b), 0) ]

which needs a model of the score alone (Emmerich, Giannakoglou and Naujoks, 2006, with certain costs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vitruvius.agents.believer import Believer
from vitruvius.agents.features import extract
from vitruvius.agents.selection import MEMORY, Selection, foretold, normal_scores, remembered
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

BUDGETS = 512
"""Budgets that growth is averaged over where there is one cost; twice as many where there are more."""
_CHANCES = np.linspace(-3.0, 6.0, 37)
_SHARES = np.exp(-0.5 * _CHANCES**2) / np.exp(-0.5 * _CHANCES**2).sum()
"""Deviations from a prediction, and how likely each is. Far up, so that of candidates which will hardly make
the front grow one is still likelier to than another."""
"""Normal quantiles in the middle of equally likely parts: what an expectation is averaged over."""


def nondominated(scores: Array, costs: Array) -> NDArray[np.bool_]:
    """The Pareto front: where nothing else scores as high at no higher cost; of equals the first: (n,).

    Args:
        scores: (n,) larger is better.
        costs: (n, d) smaller is better.
    """
    kept: list[int] = []
    for i in np.lexsort((*costs.T[::-1], -scores)).tolist():
        if not (costs[kept] <= costs[i]).all(axis=1).any():
            kept.append(i)
    front = np.zeros(len(scores), dtype=np.bool_)
    front[kept] = True
    return front


def hypervolume(scores: Array, costs: Array, worst_score: float, worst_costs: Array) -> float:
    """The volume between a point that is worst in everything and the front, exactly.

    Args:
        scores: (n,) larger is better.
        costs: (n, d) smaller is better.
        worst_score: What scores count above.
        worst_costs: (d,) what costs count below.
    """
    inside = (scores > worst_score) & (costs < worst_costs).all(axis=1)
    inside[inside] = nondominated(scores[inside], costs[inside])
    return _volume(scores[inside] - worst_score, costs[inside], worst_costs)


def _volume(gains: Array, costs: Array, worst: Array) -> float:
    """Sum over slices of the last cost; without costs, the largest gain."""
    if not costs.shape[1]:
        return float(gains.max(initial=0.0))
    last = costs[:, -1]
    edges = np.append(np.unique(last), worst[-1])
    return sum(
        (right - left) * _volume(gains[last <= left], costs[last <= left, :-1], worst[:-1])
        for left, right in pairwise(edges.tolist())
    )


def spread_budgets(lowest: Array, highest: Array) -> Array:
    """Budgets spread evenly between the lowest and the highest costs (d,): (b, d), in a fixed order."""
    if len(lowest) == 1:
        return np.linspace(lowest, highest, BUDGETS)
    from scipy.stats import qmc  # here: it loads for half a second

    even = qmc.Sobol(len(lowest), scramble=False).random(2 * BUDGETS)
    return lowest + even * (highest - lowest)


def best_within(scores: Array, costs: Array, budgets: Array) -> Array:
    """Best score that each budget (b, d) buys; the lowest of all where it buys nothing: (b,)."""
    front = nondominated(scores, costs)
    bought = (costs[front][:, None, :] <= budgets[None]).all(axis=2)
    return np.where(bought, scores[front][:, None], scores.min()).max(axis=0)


@dataclass(frozen=True, slots=True)
class FrontSelector:
    """Chooses what to measure next where the front should grow.

    Attributes:
        space: The search space.
        names: Name of each cost, for the reasons given.
        budgets: (b, d) budgets that growth is averaged over.
        seed: Breaks ties, together with the seed of each choice.
    """

    space: SearchSpace
    names: Sequence[str]
    budgets: Array
    seed: int = 0

    def choose(
        self,
        measured: Choices,
        scores: Array,
        costs: Array,
        pool: Choices,
        pool_costs: Array,
        k: int,
        seed: int,
    ) -> Selection:
        """Choose k of the pool, one by one, each time believing what was predicted of those before.

        Args:
            measured: (n, D) rows that have a score.
            scores: (n,) their scores, larger is better.
            costs: (n, d) their costs.
            pool: (m, D) candidates.
            pool_costs: (m, d) their costs, known without measuring.
            k: How many to choose.
            seed: Breaks ties; the same arguments give the same choice.

        Returns:
            min(k, m) different positions in the pool, the largest expected growth first.
        """
        rng = np.random.default_rng([self.seed, seed])
        k = min(k, len(pool))
        if k <= 0 or not len(scores):
            rows = rng.permutation(len(pool))[:k].tolist()
            return Selection(
                rows, ["drawn at random: nothing is measured yet"] * k, np.full(k, 0.5), np.ones(k)
            )
        front = nondominated(scores, costs)
        kept = remembered(np.flatnonzero(front), np.flatnonzero(~front), MEMORY, rng)
        both = extract(self.space, np.concatenate([measured[kept], pool]))
        known, candidates = both.take(slice(None, len(kept))), both.take(slice(len(kept), None))
        targets, best = normal_scores(scores[kept]), best_within(scores, costs, self.budgets)
        pays: NDArray[np.bool_] = np.asarray((pool_costs[:, None, :] <= self.budgets[None]).all(axis=2))
        # Small matrices: more threads are slower, and round differently.
        with threadpool_limits(1, user_api="blas"):
            picked = _one_by_one(
                Believer(known, candidates, targets, rng), targets, scores[kept], best, pays, k
            )
        reasons = [self._reason(mean, std, len(kept), pool_costs[row]) for row, mean, std in picked]
        return Selection.of(picked, reasons)

    def _reason(self, mean: float, std: float, n: int, costs: Array) -> str:
        price = ", ".join(f"{name} {cost:.4g}" for name, cost in zip(self.names, costs, strict=True))
        return f"largest expected growth of the front: {price}, {foretold(mean, std, n)}"


def _one_by_one(
    believer: Believer, targets: Array, scores: Array, best: Array, pays: NDArray[np.bool_], k: int
) -> list[tuple[int, float, float]]:
    """Position, predicted mean and deviation of k candidates, each believed before the next is chosen."""
    units, mean = _Units(targets, scores), believer.mean
    picked: list[tuple[int, float, float]] = []
    for _ in range(k):
        std = believer.std
        values = units.back(mean[:, None] + std[:, None] * _CHANCES)
        row = believer.take(_growth(values, best, pays))
        picked.append((row, float(mean[row]), float(std[row])))
        best = np.where(pays[row], np.maximum(best, units.back(mean[row])), best)
    return picked


class _Units:
    """From normal scores back to scores: linear between what was measured, and beyond the best.

    The front is judged in the units of the score: at its top an even step in rank is worth little.
    """

    def __init__(self, targets: Array, scores: Array) -> None:
        self._at, first = np.unique(targets, return_index=True)
        self._scores = scores[first]
        half = len(self._at) // 2
        rise = self._at[-1] - self._at[half - 1] if half else 0.0
        self._slope = (self._scores[-1] - self._scores[half - 1]) / rise if half else 1.0

    def back(self, predicted: Array | float) -> Array:
        beyond = np.maximum(np.asarray(predicted) - self._at[-1], 0.0)
        return np.interp(predicted, self._at, self._scores) + self._slope * beyond


def _growth(values: Array, best: Array, pays: NDArray[np.bool_]) -> Array:
    """Expected growth of the hypervolume, up to a constant factor: (m,).

    Args:
        values: (m, q) scores of each candidate at the deviations of `_CHANCES`.
        best: (b,) best score that each budget buys.
        pays: (m, b) which budgets pay for which candidate.
    """
    growth = np.zeros(len(values))
    for level in np.unique(best):
        growth += pays[:, best == level].sum(axis=1) * (np.maximum(values - level, 0.0) @ _SHARES)
    return growth
