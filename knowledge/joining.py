"""Joining tasks and principles: random-effects means, and control of false discoveries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNTOLD = 0.5
"""Half width of an interval, on the quantile scale, from which on a task says nothing about any effect."""


def random_effects(
    estimates: Floats, lows: Floats, highs: Floats, level: float
) -> tuple[float, float, float]:
    """Mean effect over tasks of which those measured are a sample.

    The variance between tasks is DerSimonian and Laird's (1986); the interval is Hartung and Knapp's with
    t quantiles, never narrower than the plain one (Roever et al., BMC Med. Res. Methodol. 15:99, 2015).
    A task's own variance is read off its confidence sequence, so that repeated looks are paid for. With
    two tasks that interval says nothing, and the two are covered instead, each as far as it tells: half the
    width is the weighted mean of their own half widths and of how far they lie from the joint estimate. With
    equal weights that is the hull of both; one that tells little widens it little. With one task it is the
    task's own. Tasks on which hardly anything was measured yet (`UNTOLD`) stay out while there are others:
    they neither agree nor disagree, and the t quantiles would count them in full.

    Args:
        estimates: (k,) effects, k >= 1.
        lows: (k,) lower ends of their intervals.
        highs: (k,) upper ends.
        level: Chance of missing, for example 0.05.

    Returns:
        Estimate, lower and upper end.
    """
    weights = task_weights(estimates, lows, highs, level)
    told = weights > 0
    estimates, lows, highs, weights = estimates[told], lows[told], highs[told], weights[told]
    if len(estimates) == 1:
        return float(estimates[0]), float(lows[0]), float(highs[0])
    mean = float((weights @ estimates) / weights.sum())
    if len(estimates) == 2:
        reach = float(weights @ ((highs - lows) / 2.0 + np.abs(estimates - mean)) / weights.sum())
        return mean, max(mean - reach, -1.0), min(mean + reach, 1.0)
    degrees = len(estimates) - 1
    excess = max(1.0, float(weights @ (estimates - mean) ** 2) / degrees)
    half = _t_quantile(level, degrees) * np.sqrt(excess / weights.sum())
    return mean, max(mean - half, -1.0), min(mean + half, 1.0)


def task_weights(estimates: Floats, lows: Floats, highs: Floats, level: float) -> Floats:
    """What each task weighs in `random_effects`, whose arguments these are; 0 for what stays out: (k,)."""
    told = tell(lows, highs)
    halves = (highs - lows) / 2.0
    variances = np.maximum(halves[told], 1e-6) ** 2 / _normal_quantile(level) ** 2
    between = _between(estimates[told], variances) if told.sum() > 1 else 0.0
    weights = np.zeros(len(estimates))
    weights[told] = 1.0 / (variances + between)
    return weights


def tell(lows: Floats, highs: Floats) -> NDArray[np.bool_]:
    """Which tasks enter `random_effects`, by their intervals: (k,); the others have measured too little."""
    halves = (highs - lows) / 2.0
    return halves <= max(UNTOLD, float(halves.min()))


def joined_log_evalue(log_evalues: Floats, draws: Sequence[int]) -> float:
    """Log e-value against "no task has an effect in the stated direction".

    Independent e-values are multiplied. Tasks measured on the same draws are not independent; the mean of
    their e-values is an e-value all the same, so they are averaged first (Vovk and Wang, E-values:
    calibration, combination and applications, Ann. Stat. 2021).

    Args:
        log_evalues: (k,) log e-value of each task.
        draws: (k,) number of the draw that each task was measured on.
    """
    numbers = np.asarray(draws)
    total = 0.0
    for number in np.unique(numbers):
        mine = log_evalues[numbers == number]
        total += float(np.logaddexp.reduce(mine) - np.log(len(mine)))
    return total


def discoveries(log_evalues: Floats, level: float) -> NDArray[np.bool_]:
    """Which hypotheses the e-BH procedure rejects: (m,), false discovery rate at most `level`.

    Valid for e-values that depend on each other in any way (Wang and Ramdas, False discovery rate control
    with e-values, JRSS B 2022): the k largest are rejected, k the largest with e_(k) >= m / (level k).
    """
    m = len(log_evalues)
    if m == 0:
        return np.zeros(0, dtype=np.bool_)
    ranked = np.sort(log_evalues)[::-1]
    enough = np.flatnonzero(ranked >= np.log(m / (level * np.arange(1, m + 1))))
    if len(enough) == 0:
        return np.zeros(m, dtype=np.bool_)
    return log_evalues >= ranked[enough[-1]]


def _between(estimates: Floats, variances: Floats) -> float:
    weights = 1.0 / variances
    mean = (weights @ estimates) / weights.sum()
    spread = weights @ (estimates - mean) ** 2
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    return max(0.0, float((spread - (len(estimates) - 1)) / scale))


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(1.0 - level / 2.0))


def _t_quantile(level: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1.0 - level / 2.0))
