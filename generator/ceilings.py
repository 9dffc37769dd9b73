"""The best that a perfect sampler could reach: what uniform, independent draws of a space score on average.

A generator that repeats itself as rarely as chance allows has these shares; more than that is possible only
by remembering what was drawn. N keys, classes of keys with one id each, n draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom


def drawn_at_all(weights: NDArray[np.number[Any]], draws: int) -> NDArray[np.float64]:
    """Chance of each class to be among the draws: 1 - (1 - w / N)^n.

    Args:
        weights: (C,) size of each class; N is their sum.
        draws: n, independent draws, each key equally likely.

    Returns:
        (C,). The sum is the expected number of distinct classes.
    """
    share = weights / weights.sum()
    with np.errstate(divide="ignore"):  # a single class: log 0, and the chance is 1
        return -np.expm1(draws * np.log1p(-share))


def unique_share(weights: NDArray[np.number[Any]], draws: int) -> float:
    """Expected distinct classes in n uniform draws, as a share of n.

    With all weights 1 that is N (1 - (1 - 1/N)^n) / n: 73.86 % for 10,000 draws of NAS-Bench-201's strings.
    """
    return float(drawn_at_all(weights, draws).sum()) / draws


def novel_share(weights: NDArray[np.number[Any]], trained: NDArray[np.bool_], draws: int) -> float:
    """Expected untrained classes among the distinct classes of n uniform draws (ratio of expectations)."""
    chance = drawn_at_all(weights, draws)
    return float(chance[~trained].sum() / chance.sum())


def sampling_distance(chances: NDArray[np.float64], draws: int) -> float:
    """Expected total variation between a distribution and the histogram of n draws from it.

    Half the sum of the mean absolute deviations of the bins' counts over n; de Moivre's closed form for a
    binomial count X: E|X - np| = 2 v (1 - p) P(X = v) with v = floor(np) + 1.
    """
    inside = chances[(chances > 0) & (chances < 1)]
    if not len(inside):
        return 0.0
    v = np.floor(draws * inside) + 1
    deviation = 2 * v * (1 - inside) * np.asarray(binom.pmf(v, draws, inside), dtype=np.float64)
    return float(deviation.sum()) / draws / 2
