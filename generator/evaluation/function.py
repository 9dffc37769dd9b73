"""The evaluator that calls a function of the user's: it gets an architecture and returns its score."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.layouts import own_metrics
from vitruvius.generator.evaluation.memory import out_of_memory
from vitruvius.generator.evaluation.source_hash import source_hash
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.evaluation.theirs import named_object, told_of
from vitruvius.generator.space import Architecture, Choices, SearchSpace

Measure = Callable[..., float | Mapping[str, Any]]
"""Gets an `Architecture`, and `seed=`, `dataset=` if it takes them; returns a score, or `RESULTS` by name."""

Costs = Callable[[Architecture], Mapping[str, Any]]
"""Gets an `Architecture`; returns a mapping with `COSTS`, the same ones for all, without measuring."""

COSTS = ("params", "flops", "latency")
"""What is known before: params and flops in millions, latency a mapping device -> milliseconds."""

_MOST_KNOWN = 1_000_000  # architectures whose costs are kept in memory
_TRIES = 20
RESULTS = ("score", *COSTS, "seconds")
"""What a measuring function may tell."""


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
        costs: Costs | str | None = None,
        dataset: str = "mine",
        metric: str = "score",
        unit: str = "",
        maximize: bool = True,
        version: str | None = None,
    ) -> None:
        """Describe; a function given by name is imported when it is first needed.

        Args:
            measure: The function, or where it stands: MODULE:NAME or FILE.py:NAME.
            costs: A function, likewise, that tells costs without measuring, for constraints and objectives;
                it is asked of up to the whole space, so it must be quick.
            dataset: Name for what it measures on, where the space's own description names no tasks.
            metric: What the scores mean, likewise.
            unit: Their unit, likewise.
            maximize: Whether larger is better, likewise.
            version: What tells the function from others of its name, and from itself once it was changed:
                nothing measured with another one is taken for it. None takes a hash of its source, with what
                is bound to it; what it calls in turn is not seen.

        Raises:
            UserError: A class, or nothing tells the function from others and there is no `version`.
        """
        self.measure, self.costs, self.dataset = measure, costs, dataset
        if inspect.isclass(measure):
            raise _no_class(measure)
        self.pinned = version is not None
        self.version = source_hash(measure) if version is None else version
        if self.version == "no-source" and not isinstance(measure, str):
            raise UserError(f"Nothing tells {measure!r:.100} from other functions: give it a `version`.")
        self.metric = Metric(metric, unit, maximize)
        self._opened = set[str]()

    def datasets(self, space: SearchSpace) -> list[str]:
        """The tasks that the space's description names, else the one given."""
        return list(own_metrics(space)) or [self.dataset]

    def open(self, space: SearchSpace, dataset: str) -> FunctionBench:
        """Set up for one space.

        Raises:
            UnknownNameError: Neither a task of the space nor the data set given.
            UserError: The function cannot be imported or called, or is to measure a second data set and does
                not take `dataset`.
        """
        if dataset not in self.datasets(space):
            raise unknown_name("data set", dataset, self.datasets(space))
        edited = isinstance(self.measure, str) and source_hash(self.measure) != self.version
        if edited and not self.pinned:
            raise UserError(f"{self!r} was edited since it was named: begin anew, with a folder of its own.")
        bench = FunctionBench(self, space, dataset)
        opened = {*self._opened, dataset}
        if len(opened) > 1 and not bench.knows_dataset:
            raise UserError(
                f"{self!r} would measure {' and '.join(sorted(opened))} alike: give it a parameter "
                "called `dataset`, or each task a function of its own."
            )
        self._opened = opened
        return bench

    def __repr__(self) -> str:
        """How it was made."""
        return f"Function({self.measure!r})"


class FunctionBench:
    """`Function` set up for one space; what happens to a candidate becomes its status.

    Attributes:
        seconds_each: What asking the costs function took, of one architecture.
    """

    fidelity = "one call"

    def __init__(self, given: Function, space: SearchSpace, dataset: str) -> None:
        """Set up; see `Function.open` for the errors."""
        self.space, self.dataset = space, dataset
        self.metric = own_metrics(space).get(dataset, given.metric)
        name = given.measure if isinstance(given.measure, str) else _name_of(given.measure)
        self.evaluator, self.fingerprint = f"function:{name.rpartition(':')[2]}", given.version
        self._measure: Measure = _found(given.measure)
        self._given = _parameters(self._measure)
        self._costs: Costs | None = None if given.costs is None else _found(given.costs)
        self._known: dict[int, tuple[float, ...]] = {}
        self._failed, self._failures = "", 0
        self.seconds_each = 0.0
        self._names = () if self._costs is None else self._first_names()
        self.devices = tuple(name[8:-1] for name in self._names if name.startswith("latency["))

    @property
    def failures(self) -> str:
        """How often the costs function failed so far, and how the last time; "" if never."""
        return f"failed on {self._failures:,} architectures, the last: {self._failed}" * bool(self._failures)

    @property
    def knows_dataset(self) -> bool:
        """Whether the function is told which data set it measures."""
        return "dataset" in self._given

    def representative(self, architecture: Architecture) -> Architecture:
        """The architecture that the identity of the class spells out."""
        return architecture if self.space.form is not None else self.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """What the costs function tells of each row, (n,) each; it is asked once for each architecture.

        Not-a-number where it fails: such an architecture is within no limit.

        Raises:
            UserError: It told something else than a mapping with `COSTS`, or not the same ones as before.
        """
        if not self._names:
            return {}
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        numbers = self.space.numbers(choices).tolist()
        for number, place in {n: i for i, n in enumerate(numbers) if n not in self._known}.items():
            told = self._told(choices[place : place + 1])
            if told is not None and told.keys() != set(self._names):
                raise UserError(
                    f"The costs function told {', '.join(told) or 'nothing'} of one architecture and "
                    f"{', '.join(self._names)} of another: it must tell the same of all."
                )
            self._known[number] = tuple(np.nan if told is None else told[name] for name in self._names)
        table = np.array([self._known[number] for number in numbers]).reshape(len(numbers), len(self._names))
        return {name: table[:, column] for column, name in enumerate(self._names)}

    def _first_names(self) -> tuple[str, ...]:
        """What the costs function tells, found out by asking it of some architectures."""
        names, times = tuple[str, ...](), list[float]()
        for row in self.space.sample(_TRIES, np.random.default_rng(0)):
            start = time.monotonic()
            if (told := self._told(row[None])) is not None:
                names, times = tuple(told), [*times, time.monotonic() - start]
            if len(times) == 3:  # the first may load what it needs
                break
        if not times:
            raise UserError(f"The costs function failed on each of {_TRIES} architectures: {self._failed}.")
        self.seconds_each = min(times)
        return names

    def _told(self, row: Choices) -> dict[str, float] | None:
        """What the costs function tells of one architecture, as constraints name it; None if it fails."""
        assert self._costs is not None, "asked where there is none"
        try:
            found: Any = self._costs(self.space.architectures(row)[0])
        except Exception as error:  # of one that cannot be built, say
            self._failed, self._failures = told_of(error), self._failures + 1
            return None
        if not isinstance(found, Mapping):
            raise UserError(
                f"The costs function returned {found!r:.100}: give a mapping with {', '.join(COSTS)}."
            )
        return _results(found, COSTS)

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Call the function for each architecture, yielding its measurement as it is done.

        What it raises, and what it returns that is neither a number nor a mapping with `RESULTS`, costs that
        one measurement.
        """
        for architecture in architectures:
            yield self._measurement(self.representative(architecture), seed)

    def _measurement(self, architecture: Architecture, seed: int) -> Measurement:
        start = time.monotonic()
        status, reason, told = Status.OK, "", dict[str, Any]()
        try:
            more = {"seed": seed, "dataset": self.dataset}
            found: Any = self._measure(architecture, **{n: v for n, v in more.items() if n in self._given})
        except (Exception, SystemExit) as error:  # whatever it raises costs this candidate alone
            status, reason = _failure(error), told_of(error)
        else:
            try:
                told = _returned(found)
            except UserError as error:  # of one architecture: the next may be told of as it should
                status, reason = Status.FAILED, str(error)
            else:
                if not math.isfinite(told["score"]):
                    status, reason = Status.DIVERGED, f"The score is {told['score']}."
        # What the costs function tells counts: a constraint is checked with it, and must hold afterwards too.
        before = {name: float(values[0]) for name, values in self.costs(architecture.row).items()}
        told |= {name: value for name, value in before.items() if math.isfinite(value)}
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.dataset}",
            key=architecture.key, id=architecture.id, status=status,
            score=told["score"] if status is Status.OK else None, reason=reason,
            seconds=told.get("seconds", time.monotonic() - start),
            params=told.get("params"), flops=told.get("flops"),
            latency={name[8:-1]: value for name, value in told.items() if name.startswith("latency[")},
            seed=seed, fidelity=self.fidelity, evaluator=self.evaluator, fingerprint=self.fingerprint,
        )  # fmt: skip


def _name_of(function: Any) -> str:
    """What a function is called: that which a partial wraps, or the class of an object."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[Any]", function).func
    return getattr(function, "__name__", type(function).__name__)


def _parameters(function: Measure) -> set[str]:
    """Which of seed and dataset it takes; none of a function that does not tell.

    Raises:
        UserError: It cannot be called with an architecture and these.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return set()
    taken = {"seed", "dataset"} & signature.parameters.keys()
    try:
        signature.bind(None, **dict.fromkeys(taken))
    except TypeError as error:
        raise UserError(
            f"The function {function!r:.100} is called with an architecture, and with seed= and dataset= "
            f"if it takes them: {error}."
        ) from None
    return taken


def _failure(error: BaseException) -> Status:
    """How a candidate ended whose function raised."""
    return Status.OUT_OF_MEMORY if out_of_memory(error) else Status.FAILED


def _found(given: Any) -> Any:
    """The function itself, or the one that a text names.

    Raises:
        UserError: It cannot be imported, or cannot be called.
    """
    found = named_object("function", given) if isinstance(given, str) else given
    if inspect.isclass(found):
        raise _no_class(found)
    if not callable(found):
        raise UserError(f"{given!r} is no function: it must be called with an architecture.")
    return found


def _no_class(given: type) -> UserError:
    return UserError(f"{given.__name__} is a class: give a function, or an instance that can be called.")


def _returned(found: Any) -> dict[str, float]:
    """What a measuring function returned, checked.

    Raises:
        UserError: Neither a number nor a mapping with `RESULTS`, the score among them.
    """
    several: Mapping[str, Any] = found if isinstance(found, Mapping) else {"score": found}
    if "score" not in several:
        names = ", ".join(map(str, several)) or "nothing"
        raise UserError(f"The function returned {names}, and no 'score': put the number there.")
    return _results(several, RESULTS)


def _results(told: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, float]:
    """What a function told, checked: plain numbers, those of `latency` as latency[DEVICE].

    Raises:
        UserError: Something else.
    """
    for name in told:
        if name not in allowed:
            raise unknown_name("result of the function", str(name), allowed)
    latency = told.get("latency", {})
    if not isinstance(latency, Mapping):
        raise UserError(f"The function returned latency = {latency!r}: give device -> milliseconds.")
    by_device = {f"latency[{name}]": value for name, value in cast(Mapping[str, Any], latency).items()}
    plain = {name: value for name, value in told.items() if name != "latency"} | by_device
    return {name: _number(name, value) for name, value in plain.items()}


def _number(name: str, value: object) -> float:
    """A number of any kind, a tensor with one element included; of costs one that is not negative."""
    item = getattr(value, "item", None)
    try:
        plain = item() if callable(item) else value
        number = None if isinstance(plain, bool) or not isinstance(plain, numbers.Real) else float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = None
    if number is None:
        raise UserError(f"The function returned {name} = {value!r:.100}: give a number.")
    if name != "score" and not 0 <= number < math.inf:
        raise UserError(f"The function returned {name} = {number}: give a number that is not negative.")
    return number


__all__ = ["COSTS", "RESULTS", "Costs", "Function", "FunctionBench", "Measure"]
