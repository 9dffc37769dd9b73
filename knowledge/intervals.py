"""Intervals and e-values for a difference of two means, valid however often one looks.

Values lie in [0, 1]. For a mean mu and a supposed value m, "capital" is what a gambler has who started
with 1 and bet on every value x that mu is above m: prod(1 + c (x / m - 1)), averaged over fixed fractions
c of the largest stake allowed. Where mu <= m it is a nonnegative supermartingale: by Ville's inequality it
ever reaches 1/a with probability at most a, whatever the distribution (Waudby-Smith and Ramdas, Estimating
means of bounded random variables by betting, JRSS B 2024). The capital against "mu above m" mirrors it.

For two groups of values the product of capitals, "the first mean is above a" times "the second is below
b", tests the pair (a, b); the smallest a - b that is not rejected is the lower end of the interval. For
"no effect" the least product over a = b is an e-value. Neither needs the share of the groups to be known.

The fixed mixture makes capital independent of the order of values, so values are kept as histograms. A
value between two bins is split in proportion: the mean stays exact and, log being concave, capital can
only be understated.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 128
"""Values are kept at 0, 1/128, ..., 1."""
_FRACTIONS = (0.05, 0.1, 0.25, 0.5, 0.75)
"""Fractions of the largest stake: small ones for many values, large ones for few."""
_MEANS = np.linspace(0.0, 1.0, 101)
"""Supposed means at which capital is computed; between them it is interpolated."""


def spread(values: Floats) -> NDArray[np.float32]:
    """Each value's share in each bin: (n, BINS + 1); rows sum to 1 and keep the mean."""
    place = np.clip(values, 0.0, 1.0) * BINS
    below = np.minimum(place.astype(np.int64), BINS - 1)
    rows = np.arange(len(values))
    shares = np.zeros((len(values), BINS + 1), dtype=np.float32)
    shares[rows, below] = 1.0 - (place - below)
    shares[rows, below + 1] = place - below
    return shares


def means(histograms: NDArray[np.floating]) -> Floats:
    """Mean value of each histogram: (p, BINS + 1) -> (p,)."""
    counts = histograms.astype(np.float64)
    return counts @ np.linspace(0.0, 1.0, BINS + 1) / counts.sum(axis=1)


def capitals(histograms: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Log capital of the bets that the mean is above, and below, each supposed mean.

    Args:
        histograms: (p, BINS + 1) weights of values in bins.

    Returns:
        Above: (p, 101), falling along the supposed means. Below: (p, 101), rising.
    """
    above, below = _log_gains()
    counts = histograms.astype(np.float64)
    return _mix(counts @ above), _mix(counts @ below)


def difference(
    first: NDArray[np.floating], second: NDArray[np.floating], level: float
) -> tuple[Floats, Floats]:
    """Confidence sequence for mean(first) - mean(second).

    Args:
        first: (p, BINS + 1) histograms of one group.
        second: (p, BINS + 1) histograms of the other.
        level: Chance that the interval ever misses the true difference, for example 0.05.

    Returns:
        Lower and upper ends, (p,) each, in [-1, 1].
    """
    first_above, first_below = capitals(first)
    second_above, second_below = capitals(second)
    needed = np.log(2.0 / level)  # half of the level for each side
    low = _least_difference(first_above, second_below, needed)
    high = -_least_difference(second_above, first_below, needed)
    return low, high


def log_evalue(larger: NDArray[np.floating], smaller: NDArray[np.floating]) -> Floats:
    """Log of an e-value against mean(larger) <= mean(smaller): (p,), at least log(tiny).

    It is an e-process: its expectation under that hypothesis is at most 1 at any stopping time.
    """
    above, _ = capitals(larger)
    _, below = capitals(smaller)
    return (above + below).min(axis=1)


@lru_cache(maxsize=1)
def _log_gains() -> tuple[Floats, Floats]:
    """Log gain of a value in each bin: two arrays (BINS + 1, fractions x means)."""
    bins = np.arange(BINS + 1)[:, None, None] / BINS
    stake = np.array(_FRACTIONS)[None, :, None]
    mean = np.clip(_MEANS, 1e-6, 1.0 - 1e-6)[None, None, :]
    above = np.log1p(stake * (bins / mean - 1.0))
    below = np.log1p(stake * ((1.0 - bins) / (1.0 - mean) - 1.0))
    return above.reshape(BINS + 1, -1), below.reshape(BINS + 1, -1)


def _mix(log_products: Floats) -> Floats:
    """Log of the average over fractions: (p, fractions x means) -> (p, means)."""
    each = log_products.reshape(len(log_products), len(_FRACTIONS), len(_MEANS))
    top = each.max(axis=1)
    return top + np.log(np.exp(each - top[:, None, :]).mean(axis=1))


def _least_difference(above: Floats, below: Floats, needed: float) -> Floats:
    """The smallest a - b with above(a) + below(b) < needed: (p,).

    Args:
        above: (p, 101) falling log capital of the first group over its supposed means a.
        below: (p, 101) rising log capital of the second group over its supposed means b.
        needed: Log capital at which a pair is rejected.
    """
    rows = np.arange(len(above))
    step, last = _MEANS[1], len(_MEANS) - 1
    least = np.full(len(above), 1.0)
    for index, b in enumerate(_MEANS):
        missing = needed - below[:, index]
        place = (above >= missing[:, None]).sum(axis=1)  # first supposed mean that is not rejected
        upper, lower = np.minimum(place, last), np.maximum(place - 1, 0)
        fall = above[rows, lower] - above[rows, upper]
        beyond = np.divide(above[rows, lower] - missing, fall, out=np.zeros_like(fall), where=fall > 0)
        a = _MEANS[lower] + np.where(place > 0, beyond.clip(0.0, 1.0), 0.0) * step
        least = np.minimum(least, np.where(place <= last, a - b, 1.0))
    return least.clip(-1.0, 1.0)
