"""From figures of each training seed to mean and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

Interval = list[float | None]
"""[mean, low, high]; the ends are None where there is one seed only."""


def mean_interval(values: Sequence[float | None]) -> Interval | None:
    """Mean and Student's 95 % interval over training seeds; None where a figure does not exist for all.

    Shares of 0 to 1 in all seeds keep an interval within 0 to 1.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean = float(np.mean(known))
    if len(known) == 1:
        return [round(mean, 6), None, None]
    half = float(student.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / np.sqrt(len(known)))
    low, high = mean - half, mean + half
    if all(0 <= value <= 1 for value in known):
        low, high = max(0.0, low), min(1.0, high)
    return [round(value, 6) for value in (mean, low, high)]


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Equal nested dictionaries of numbers, one for each seed, as one of intervals.

    Lists of numbers become lists of intervals; what is in the first run only is left out.
    """
    found: dict[str, Any] = {}
    for key, first in runs[0].items():
        if not all(key in run for run in runs):
            continue
        values = [run[key] for run in runs]
        if isinstance(first, Mapping):
            found[key] = summarise(values)
        elif isinstance(first, (int, float)) or first is None:
            found[key] = mean_interval(values)
    return found
