"""A cluster in virtual time: what a search would do on many workers, known in seconds.

`SimulatedCluster` wraps an evaluator that looks up. Its bench has as many places as it is told, and a
candidate is done when the clock of the simulation has passed its cost; nothing waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.evaluation.around import Around
from vitruvius.generator.evaluation.task import Bench, Draw, Evaluator, Measurement, Metric
from vitruvius.generator.space import Architecture, Choices, SearchSpace

Seconds = Callable[[Measurement], float]


class SimulatedCluster(Around):
    """An evaluator whose measurements take virtual time on so many workers.

    Attributes:
        benches: The benches that were opened, by data set; their clocks can be read.
    """

    def __init__(self, evaluator: Evaluator, workers: int, seconds: Seconds) -> None:
        """Describe.

        Args:
            evaluator: What measures, at once.
            workers: Places side by side.
            seconds: What a measurement costs, in virtual seconds.
        """
        self.evaluator, self.workers, self.seconds = evaluator, workers, seconds
        self.benches: dict[str, SimulatedBench] = {}

    def open(self, space: SearchSpace, dataset: str) -> SimulatedBench:
        """Set up for one space and data set; the clock starts at zero once."""
        if dataset not in self.benches:
            inner = self.evaluator.open(space, dataset)
            self.benches[dataset] = SimulatedBench(inner, self.workers, self.seconds)
        return self.benches[dataset]


class SimulatedBench:
    """A bench of the cluster.

    Attributes:
        clock: Virtual seconds so far.
        busy: Virtual seconds that workers spent on what was finished, in all.
        finished: (clock, measurement) of everything, in the order in which it ended.
        most: Most candidates that were out at the same time.
    """

    def __init__(self, inner: Bench, workers: int, seconds: Seconds) -> None:
        """Set up with free workers."""
        self.inner, self.workers, self.seconds = inner, workers, seconds
        self.metric: Metric = inner.metric
        self.evaluator, self.fingerprint, self.fidelity = inner.evaluator, inner.fingerprint, inner.fidelity
        self.devices: tuple[str, ...] = inner.devices
        self.clock, self.busy, self.most = 0.0, 0.0, 0
        self.finished: list[tuple[float, Measurement]] = []

    def representative(self, architecture: Architecture) -> Architecture:
        """As the bench inside says."""
        return self.inner.representative(architecture)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """As the bench inside says."""
        return self.inner.costs(choices)

    def measure(self, architectures: Iterable[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Measure side by side, each yielded when it is done."""
        waiting = iter(architectures)
        return self.stream(lambda free: list(islice(waiting, free)), seed=seed)

    def stream(self, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        """Measure what is drawn whenever a worker is free; see `StreamingBench`."""
        out: list[tuple[float, int, Measurement]] = []
        started = 0
        while True:
            drawn = draw(self.workers - len(out)) if len(out) < self.workers else ()
            for measurement in self.inner.measure(drawn, seed=seed):
                started += 1  # first come first served where two end together
                heapq.heappush(out, (self.clock + self.seconds(measurement), started, measurement))
                self.busy += self.seconds(measurement)
            self.most = max(self.most, len(out))
            if not out:
                return
            self.clock, _, measurement = heapq.heappop(out)
            self.finished.append((self.clock, measurement))
            yield measurement
