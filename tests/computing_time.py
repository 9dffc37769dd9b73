"""Limits on computing time that hold on slow and on busy machines too."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

YARDSTICK = 0.06
"""Computing seconds of `_yardstick` on an idle machine of the kind that the limits in the tests are meant for."""


def _yardstick() -> object:
    """Fixed work of the kinds that the product does: Python objects, sorting, small matrices."""
    words = {f"{i % 997}:{i}": i for i in range(40_000)}
    total = sum(value for word, value in sorted(words.items()) if "7" in word)
    numbers = np.random.default_rng(0).integers(0, 1 << 40, 200_000)
    matrix = (numbers[:40_000] % 1000).reshape(200, 200).astype(float)
    return total, np.unique(numbers), (matrix * matrix.T).sum(axis=0)


def seconds_of(work: Callable[[], object], *, times: int = 3) -> float:
    """Computing seconds of this process in the fastest of several runs."""
    spent: list[float] = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def seconds_of_children(work: Callable[[], object], *, times: int = 3) -> float:
    """Computing seconds of the processes that the work starts and waits for, in the fastest of several runs."""
    spent: list[float] = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        work()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def within(seconds: float, limit: float) -> bool:
    """Whether computing seconds are within a limit that is set for the meant machine.

    The limit grows with how much slower than that one this machine is just now (a neighbour on the other half of a
    core slows computing time down as well), and never shrinks.
    """
    now = statistics.median(seconds_of(_yardstick, times=1) for _ in range(5))
    return seconds < limit * max(1.0, now / YARDSTICK)
