"""An evaluator that also foretells latencies of devices on which only a few architectures were timed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, TableError, UserError
from vitruvius.generator.evaluation.around import Around
from vitruvius.generator.evaluation.latency_files import read_latencies
from vitruvius.generator.evaluation.latency_predictor import LatencyPredictor, LatencySources
from vitruvius.generator.evaluation.task import Bench, Draw, Evaluator, Measurement, Metric, stream
from vitruvius.generator.space import Architecture, Choices, SearchSpace


class WithLatency(Around):
    """Another evaluator that knows `latency[DEVICE]` beside: `WithLatency(Table(), {"mine": "mine.csv"})`.

    What the file has is taken as timed, all else is predicted from it, with the latencies of other devices
    that the evaluator inside knows as sources, and parameters and FLOPs.
    """

    def __init__(self, evaluator: Evaluator, timed: Mapping[str, str | Path]) -> None:
        """Name the files; they are read when a task is opened.

        Args:
            evaluator: What measures.
            timed: Device -> CSV or Parquet file with `key` and `ms`, three rows at least.

        Raises:
            UserError: A name that a predicate could not hold.
        """
        for device in timed:
            if not re.fullmatch(r'[^\[\]"\\\s]{1,64}', device):
                raise UserError(
                    f"{device!r} cannot name a device: no spaces, brackets, quotes or backslashes."
                )
        self.evaluator = evaluator
        self.timed = {device: Path(path).expanduser() for device, path in timed.items()}

    def open(self, space: SearchSpace, dataset: str) -> BenchWithLatency:
        """Set up for one space and data set.

        Raises:
            UnknownNameError: The evaluator does not have this data set.
            TableError: A file that cannot be used, or of another space.
            UserError: The evaluator knows the device already, or too little was timed.
        """
        inner = self.evaluator.open(space, dataset)
        return BenchWithLatency(inner, space, self.timed)


class BenchWithLatency:
    """`WithLatency` set up for one space; everything but costs is that of the bench inside.

    Attributes:
        inner: The bench inside.
        predictors: What is known of each device.
    """

    def __init__(self, inner: Bench, space: SearchSpace, timed: Mapping[str, Path]) -> None:
        """Read what was timed and learn from it; see `WithLatency.open` for the errors."""
        self.inner, self.space = inner, space
        self.metric: Metric = inner.metric
        self.evaluator, self.fingerprint, self.fidelity = inner.evaluator, inner.fingerprint, inner.fidelity
        self.devices: tuple[str, ...] = (*inner.devices, *timed)
        self.predictors: dict[str, LatencyPredictor] = {}
        self._timed: dict[str, dict[int, float]] = {}
        sources = LatencySources(space, inner.costs)
        for device, path in timed.items():
            if device in inner.devices:
                raise UserError(f"The latency of {device!r} is known already: give your device another name.")
            rows, milliseconds = _timed_rows(space, path)
            self.predictors[device] = sources.fit(rows, milliseconds, inner.costs(rows))
            numbers = space.numbers(rows).tolist()
            self._timed[device] = dict(zip(numbers, milliseconds.tolist(), strict=True))

    def representative(self, architecture: Architecture) -> Architecture:
        """As the bench inside says."""
        return self.inner.representative(architecture)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """What the bench inside knows, and a latency of each device: timed, else predicted."""
        rows = self.space.normalise(choices)
        known = dict(self.inner.costs(rows))
        numbers = self.space.numbers(rows).tolist()
        foretold: dict[str, NDArray[np.float64]] = {}
        for device, predictor in self.predictors.items():
            timed = np.array([self._timed[device].get(number, np.nan) for number in numbers])
            predicted = predictor.predict(rows, known)
            foretold[f"latency[{device}]"] = np.where(np.isnan(timed), predicted, timed)
        return known | foretold

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """As the bench inside, with these latencies beside those that it knows."""
        for measurement in self.inner.measure(architectures, seed=seed):
            yield self._added(measurement)

    def stream(self, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        """As the bench inside, side by side where it can; see `StreamingBench`."""
        for measurement in stream(self.inner, draw, seed=seed):
            yield self._added(measurement)

    def describe(self) -> list[str]:
        """A line for each device: how its latency is known, and how well."""
        return [
            f"latency    latency[{name}] is {known.describe()}" for name, known in self.predictors.items()
        ]

    def _added(self, measurement: Measurement) -> Measurement:
        costs = self.costs(self.space.parse(measurement.key).row)
        foretold = {device: float(costs[f"latency[{device}]"][0]) for device in self.predictors}
        return replace(measurement, latency={**measurement.latency, **foretold})


def _timed_rows(space: SearchSpace, path: Path) -> tuple[Choices, NDArray[np.float64]]:
    keys, milliseconds = read_latencies(path)
    try:
        return space.parse_many(keys), milliseconds
    except InvalidArchitectureError as error:
        raise TableError(
            f"Latency file {str(path)!r} is not one of {space.name}: {error.__cause__ or error}"
        ) from error
