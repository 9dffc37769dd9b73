"""The evaluator that calls a function of the user's: it gets an architecture and returns its score."""

from __future__ import annotations

import inspect
import math
import numbers
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.evaluation.theirs import named_object
from vitruvius.generator.space import Architecture, Choices, SearchSpace
from vitruvius.generator.spaces.described import DescribedSpace

Measure = Callable[..., float | Mapping[str, Any]]
"""Gets an `Architecture`, and `seed=` where it takes one; returns a score, or a mapping with `RESULTS`."""

RESULTS = ("score", "params", "flops", "latency", "seconds")
"""What a function may tell: params and flops in millions, latency a mapping device -> milliseconds."""


class Function:
    """Measures by a function: `Function(measure)`, or `Function("train.py:measure")`.

    It is called in this process, one architecture after the other. `Pool(Function(...), workers=4)` calls it
    in processes, where a crash or a hang costs one measurement and not the session.

    Example:
        ```python
        def measure(architecture):
            net = build(**architecture.named())  # {"block1": "mb3x3", ...}
            return train_and_validate(net)


        task = vt.Task("mobile.toml/flowers", evaluator=vt.Function(measure))
        ```
    """

    name = "function"
    tabular = False

    def __init__(
        self,
        measure: Measure | str,
        *,
        dataset: str = "mine",
        metric: str = "score",
        unit: str = "",
        maximize: bool = True,
        version: str = "",
    ) -> None:
        """Describe; a function given by name is imported when it is first needed.

        Args:
            measure: The function, or where it stands: MODULE:NAME or FILE.py:NAME.
            dataset: Name for what it measures on, where the space's own description names no tasks.
            metric: What the scores mean, likewise.
            unit: Their unit, likewise.
            maximize: Whether larger is better, likewise.
            version: Part of a measurement's identity: change it when the function measures something else.
        """
        self.given = measure
        self.dataset, self.metric, self.version = dataset, Metric(metric, unit, maximize), version

    def datasets(self, space: SearchSpace) -> list[str]:
        """The tasks that the space's description names, else the one given."""
        return list(_tasks(space)) or [self.dataset]

    def open(self, space: SearchSpace, dataset: str) -> FunctionBench:
        """Set up for one space.

        Raises:
            UnknownNameError: Neither a task of the space nor the data set given.
            UserError: The function cannot be imported, or cannot be called.
        """
        if dataset not in self.datasets(space):
            raise unknown_name("data set", dataset, self.datasets(space))
        metric = _tasks(space).get(dataset, self.metric)
        return FunctionBench(self._function, self._label, space, dataset, metric)

    @cached_property
    def _function(self) -> Measure:
        found = named_object("function", self.given) if isinstance(self.given, str) else self.given
        if not callable(found):
            raise UserError(f"{self.given!r} is no function: it must be called with an architecture.")
        return found

    @property
    def _label(self) -> str:
        named = self.given if isinstance(self.given, str) else getattr(self.given, "__name__", "function")
        return f"function:{named.rpartition(':')[2]}" + (f":{self.version}" if self.version else "")

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: a function given by name is imported there again."""
        state = dict(self.__dict__)
        if isinstance(self.given, str):
            state.pop("_function", None)
        return state

    def __repr__(self) -> str:
        """How it was made."""
        return f"Function({self.given!r})"


class FunctionBench:
    """`Function` set up for one space; what happens to a candidate becomes its status."""

    fingerprint = ""
    fidelity = ""
    devices: tuple[str, ...] = ()

    def __init__(
        self, function: Measure, evaluator: str, space: SearchSpace, dataset: str, metric: Metric
    ) -> None:
        """Set up."""
        self.function, self.evaluator, self.space, self.dataset, self.metric = (
            function, evaluator, space, dataset, metric,
        )  # fmt: skip
        self._seeded = "seed" in inspect.signature(function).parameters

    def representative(self, architecture: Architecture) -> Architecture:
        """The architecture that the identity of the class spells out."""
        return self.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Nothing is known without measuring."""
        return {}

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Call the function for each architecture, yielding its measurement as it is done.

        Raises:
            UserError: It returned something else than a number or a mapping with `RESULTS`.
        """
        for architecture in architectures:
            yield self._measurement(self.representative(architecture), seed)

    def _measurement(self, architecture: Architecture, seed: int) -> Measurement:
        start = time.monotonic()
        status, reason, told = Status.OK, "", dict[str, Any]()
        try:
            found = self.function(architecture, **({"seed": seed} if self._seeded else {}))
        except Exception as error:  # whatever a function of the user's raises costs this candidate alone
            status, reason = _failure(error), f"{type(error).__name__}: {error}"[:500]
        else:
            told = _results(found)
            if not math.isfinite(told["score"]):
                status, reason = Status.DIVERGED, f"The score is {told['score']}."
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.dataset}",
            key=architecture.key, id=architecture.id, status=status,
            score=told["score"] if status is Status.OK else None, reason=reason,
            seconds=told.get("seconds", time.monotonic() - start),
            params=told.get("params"), flops=told.get("flops"), latency=told.get("latency", {}),
            seed=seed, fidelity=self.fidelity, evaluator=self.evaluator, fingerprint=self.fingerprint,
        )  # fmt: skip


def _tasks(space: SearchSpace) -> dict[str, Metric]:
    """The tasks that a description names, and what their scores mean."""
    if not isinstance(space, DescribedSpace):
        return {}
    tasks = space.given.tasks.items()
    return {name: Metric(one.metric, one.unit, one.maximize) for name, one in tasks}


def _failure(error: Exception) -> Status:
    """How a candidate ended whose function raised."""
    short = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return Status.OUT_OF_MEMORY if short else Status.FAILED


def _results(found: object) -> dict[str, Any]:
    """What a function returned, checked: a score, and any of the other `RESULTS` that it told.

    Raises:
        UserError: Something else.
    """
    told = cast(Mapping[str, Any], found) if isinstance(found, Mapping) else {"score": found}
    for name in told:
        if name not in RESULTS:
            raise unknown_name("result of the function", str(name), RESULTS)
    if "score" not in told:
        raise UserError("The function returned a mapping without 'score': put the number there.")
    plain: dict[str, Any] = {name: _number(name, one) for name, one in told.items() if name != "latency"}
    latency = told.get("latency", {})
    if not isinstance(latency, Mapping):
        raise UserError(
            f"The function returned latency = {latency!r}: give a mapping device -> milliseconds."
        )
    devices = cast(Mapping[str, Any], latency)
    return plain | {"latency": {name: _number(f"latency[{name}]", one) for name, one in devices.items()}}


def _number(name: str, value: object) -> float:
    """A number of any kind that stands for one, a tensor with one element included."""
    item = getattr(value, "item", None)
    try:
        plain = item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):
        plain = value
    if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
        raise UserError(f"The function returned {name} = {value!r:.100}: give a number.")
    return float(plain)


__all__ = ["RESULTS", "Function", "FunctionBench", "Measure"]
