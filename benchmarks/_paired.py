"""Methods compared in pairs over tasks and budgets: differences, intervals, tests held to one level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

Array = NDArray[np.float64]
Regrets = Mapping[str, Mapping[str, Array]]
"""Task -> method -> (seeds, evaluations) regret of the best so far; seeds in the same order for all."""

RESAMPLES = 10_000
UNIT_MARK = 50
"""Regret is put into units of random search's mean regret after so many evaluations, task by task."""


def interval(values: Sequence[float] | Array, digits: int = 5, resamples: int = RESAMPLES) -> list[float]:
    """[mean, low, high] with the percentile bootstrap, 95 %."""
    numbers = np.array(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(numbers), size=(resamples, len(numbers)))
    low, high = np.percentile(numbers[picks].mean(axis=1), [2.5, 97.5])
    return [round(float(x), digits) for x in (numbers.mean(), low, high)]


def interval_of_all(values: Sequence[float | None] | Array) -> list[float] | None:
    """As `interval`; None where a run had nothing yet: its value is missing, or its regret infinite."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return interval(known) if len(known) == len(values) else None


def as_curves(regrets: Sequence[Sequence[float | None]], evaluations: int = 0) -> Array:
    """Regret of the best so far (seeds, evaluations) from that of each run, None where it had no score.

    Before the first score regret is infinite; a run that ended early keeps its last.

    Args:
        regrets: One list for each seed.
        evaluations: The array is at least so wide.
    """
    width = max(evaluations, *map(len, regrets))
    rows = [[*row, *(list(row[-1:]) or [None]) * (width - len(row))] for row in regrets]
    return np.array([[np.inf if x is None else x for x in row] for row in rows], dtype=np.float64)


def line(mean: Array) -> list[float | None]:
    """A mean curve as a record keeps it; None where some seed has nothing yet."""
    return [round(float(x), 5) if np.isfinite(x) else None for x in mean]


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family (Holm, 1979): below a level they bound the chance of any false claim."""
    order = np.argsort(values, kind="stable")
    adjusted, highest = np.empty(len(values)), 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = highest
    return [round(float(p), 5) for p in adjusted]


def units(regrets: Regrets) -> dict[str, float]:
    """What one unit of regret is on each task: random search's mean at `UNIT_MARK`, if it has one."""
    found: dict[str, float] = {}
    for task, methods in regrets.items():
        if "random" not in methods or methods["random"].shape[1] < UNIT_MARK:
            return {}
        found[task] = float(methods["random"][:, UNIT_MARK - 1].mean())
    return found if np.isfinite(list(found.values())).all() else {}


def mean_curves(regrets: Regrets) -> dict[str, list[float | None]]:
    """Mean regret over tasks and seeds in units, after each evaluation; empty without random search.

    None where some seed has nothing yet.
    """
    scale = units(regrets)
    found: dict[str, list[float | None]] = {}
    for method in dict.fromkeys(name for methods in regrets.values() for name in methods) if scale else ():
        curves = [regrets[task][method].mean(axis=0) / scale[task] for task in regrets]
        width = min(map(len, curves))
        mean = np.mean([curve[:width] for curve in curves], axis=0)
        found[method] = line(mean)
    return found


def against(regrets: Regrets, ours: str, marks: Sequence[int]) -> dict[str, Any]:
    """Compare one method with each other, task by task and on the average of all tasks.

    Returns:
        Other method -> "tasks" -> task -> mark -> [mean of ours minus theirs, low, high, Holm-adjusted p of
        Wilcoxon's signed-rank test over all tasks and marks of this pair]; and, where random search gives
        the unit, "average" -> mark -> [mean over tasks of the difference in units, low, high]: whole seeds
        are resampled, for one begins with the same draws on all tasks of a space. Marks at which some run had
        no score yet are left out.
    """
    found: dict[str, Any] = {}
    scale = units(regrets)
    for other in sorted({name for methods in regrets.values() for name in methods} - {ours}):
        shared = [task for task, methods in regrets.items() if {ours, other} <= set(methods)]
        apart = {task: _difference(regrets[task][ours], regrets[task][other]) for task in shared}
        cells = [(task, mark) for task in shared for mark in marks if _is_known(apart[task], mark)]
        tested = holm([_signed_rank(apart[task][:, mark - 1]) for task, mark in cells])
        rows: dict[str, dict[str, list[float]]] = {task: {} for task in shared}
        for (task, mark), p in zip(cells, tested, strict=True):
            rows[task][str(mark)] = [*interval(apart[task][:, mark - 1]), p]
        found[other] = {"tasks": rows}
        if scale:
            found[other]["average"] = {
                str(mark): interval(np.mean([apart[t][:, mark - 1] / scale[t] for t in shared], axis=0))
                for mark in marks
                if all(_is_known(apart[t], mark) for t in shared)
            }
    return found


def _difference(ours: Array, theirs: Array) -> Array:
    width = min(ours.shape[1], theirs.shape[1])
    with np.errstate(invalid="ignore"):  # where neither has a score
        return ours[:, :width] - theirs[:, :width]


def _is_known(apart: Array, mark: int) -> bool:
    return mark <= apart.shape[1] and bool(np.isfinite(apart[:, mark - 1]).all())


def _signed_rank(apart: Array) -> float:
    """Two-sided p-value; 1 where all pairs are equal."""
    if not apart.any():
        return 1.0
    few = len(apart) < 14  # with ties SciPy would go through all permutations, a second for each test
    result: Any = wilcoxon(apart, zero_method="zsplit", method="approx" if few else "auto")
    return float(result.pvalue)
