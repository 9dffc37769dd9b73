"""An evaluator that also takes the latency of what it measures, on the device at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.around import Around
from vitruvius.generator.evaluation.scored import ZeroCostBench
from vitruvius.generator.evaluation.task import Bench, Draw, Evaluator, Measurement, Metric, innermost, stream
from vitruvius.generator.evaluation.train_bench import TrainBench
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import Architecture, Choices, SearchSpace

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[Architecture], "nn.Module"]


class Timed(Around):
    """Another evaluator, whose measurements also say how long the network takes: `Timed(Train(), batch=1)`.

    The latencies of a batch of candidates are taken before any of them is measured, one after the other, so
    that nothing of ours runs on the device meanwhile; `stream` draws anew when all before are done. They are
    no part of a measurement's identity: what the ledger has without a latency stays without.
    """

    def __init__(self, evaluator: Evaluator, batch: int = 1, *, device: str = "auto") -> None:
        """Describe; nothing is started yet.

        Args:
            evaluator: `Train` or `ZeroCost`, whose networks are known, or a `Pool` of one.
            batch: Images in a pass.
            device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".

        Raises:
            UserError: `batch` is below 1.
        """
        if batch < 1:
            raise UserError(f"batch={batch} is not allowed; it must be at least 1.")
        self.evaluator, self.batch, self.device = evaluator, batch, device

    def open(self, space: SearchSpace, dataset: str) -> TimedBench:
        """Set up for one space and data set.

        Raises:
            UnknownNameError: The evaluator does not have this data set.
            UserError: It builds no networks, as a table.
        """
        bench = self.evaluator.open(space, dataset)
        inner = innermost(bench)
        if isinstance(inner, TrainBench):
            width, cells, extras = inner.recipe.width, inner.recipe.cells, inner.recipe.extras
        elif isinstance(inner, ZeroCostBench):
            width, cells, extras = inner.setup.width, inner.setup.cells, ()
        else:
            raise UserError(
                f"The evaluator {self.name!r} builds no networks here that could be timed: use train or "
                "zero-cost, or time single ones with `vitruvius score --latency`."
            )
        classes, channels = inner.images.classes, inner.images.size[0]

        def build(architecture: Architecture) -> nn.Module:
            return build_network(
                architecture, classes=classes, in_channels=channels, width=width, cells=cells, extras=extras
            )

        return TimedBench(bench, build, inner.images.size, self.batch, self.device)


class TimedBench:
    """`Timed` set up for one space."""

    def __init__(
        self, inner: Bench, build: Build, size: tuple[int, int, int], batch: int, device: str
    ) -> None:
        """Set up.

        Args:
            inner: What measures.
            build: Builds the network of an architecture.
            size: Channels, height and width of the images.
            batch: Images in a pass.
            device: Where passes are timed.
        """
        self.inner, self._build, self._size, self._batch, self._device = inner, build, size, batch, device
        self.metric: Metric = inner.metric
        self.evaluator, self.fingerprint, self.fidelity = inner.evaluator, inner.fingerprint, inner.fidelity
        self.devices: tuple[str, ...] = inner.devices

    def representative(self, architecture: Architecture) -> Architecture:
        """As the bench inside says."""
        return self.inner.representative(architecture)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """As the bench inside says."""
        return self.inner.costs(choices)

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Time the representative of each architecture, then measure, yielding each as it is done.

        Raises:
            UserError: The device is not there.
        """
        taken = dict(map(self._timed, architectures))
        for measurement in self.inner.measure(architectures, seed=seed):
            yield _with(measurement, taken[measurement.key])

    def stream(self, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        """Measure what is drawn, in all places of the bench inside; drawn again when all of them are free.

        Raises:
            UserError: The device is not there.
        """
        taken: dict[str, Mapping[str, float]] = {}
        out = 0

        def together(places: int) -> Sequence[Architecture]:
            nonlocal out
            if out:  # something is being measured: what is timed now would be slower than it is
                return []
            drawn = draw(places)
            taken.update(map(self._timed, drawn))
            out = len(drawn)
            return drawn

        for measurement in stream(self.inner, together, seed=seed):
            out -= 1
            yield _with(measurement, taken[measurement.key])

    def _timed(self, architecture: Architecture) -> tuple[str, Mapping[str, float]]:
        """The key of what is measured for an architecture, and its latency."""
        from vitruvius.generator.evaluation.latency import measure_latency

        measured = self.representative(architecture)
        network = self._build(measured)
        found = measure_latency(network, self._size, batch=self._batch, device=self._device, energy=False)
        return measured.key, {found.name: found.median}


def _with(measurement: Measurement, latency: Mapping[str, float]) -> Measurement:
    return replace(measurement, latency={**measurement.latency, **latency})
