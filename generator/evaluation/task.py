"""Tasks, measurements, and the seam between them: the evaluator.

A `Task` is a space plus what is measured on it. Its evaluator turns architectures into
`Measurement`s. Scores are *validation* metrics; test metrics are not reachable from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UnknownNameError, UserError, unknown_name
from vitruvius.generator.space import DESCRIBED, Architecture, Choices, SearchSpace, get_space, space_names


class Status(StrEnum):
    """How an evaluation ended."""

    OK = "ok"
    INVALID = "invalid"  # the architecture cannot be built or is not in the table: permanent
    DIVERGED = "diverged"  # a score that is not finite
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    FAILED = "failed"  # an exception, a lost worker, a full disk
    STOPPED = "stopped"  # before its end, because it learned more slowly than others: only within a rung

    @property
    def permanent(self) -> bool:
        """Whether it holds for all sessions; another one tries anything else again."""
        return self in (Status.OK, Status.INVALID)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score means.

    Attributes:
        name: For example "validation accuracy".
        unit: For example "%" or "fraction"; empty where the name says it.
        maximize: Whether larger is better.
    """

    name: str
    unit: str
    maximize: bool = True

    def __post_init__(self) -> None:
        """Raises UserError where the direction is no truth value: a search would go the wrong way."""
        if not isinstance(self.maximize, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"maximize={self.maximize!r} is not allowed: give True or False.")

    def format(self, score: float) -> str:
        """The score with its unit, for people."""
        return f"{score:.2f} %" if self.unit == "%" else f"{score:.4f}"

    def best(self, scores: NDArray[np.float64]) -> float:
        """The best of some scores."""
        return float(scores.max() if self.maximize else scores.min())


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an evaluator returned for one architecture.

    Identity, never paid for twice: `key`, `task`, `fingerprint`, `evaluator`, `fidelity`, `seed`.

    Attributes:
        space: Name of the space.
        task: Name of the task, `space/dataset`.
        key: Exact architecture that was measured (the representative of its class).
        id: Canonical identity of the class that learns this score.
        status: How it ended.
        score: Validation metric in the task's unit; None unless status is ok.
        reason: One sentence where status is not ok.
        seconds: Cost of the evaluation in seconds: as the benchmark reports it, or as it took here.
        params: Number of parameters, in millions; None if not known.
        flops: Multiply-adds as the benchmark counts them, in millions; None if not known.
        latency: Milliseconds by device, empty if not known.
        seed: Seed of the training run; tables that hold means use 0.
        fidelity: What was run, for example "200 epochs".
        evaluator: Name and recipe hash, for example "table:3f9a1c2b".
        fingerprint: Hash of the data.
        device: Where it ran; empty for tables.
    """

    space: str
    task: str
    key: str
    id: str
    status: Status
    score: float | None
    reason: str = ""
    seconds: float = 0.0
    params: float | None = None
    flops: float | None = None
    latency: Mapping[str, float] = field(default_factory=dict[str, float])
    seed: int = 0
    fidelity: str = ""
    evaluator: str = ""
    fingerprint: str = ""
    device: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a score."""
        return self.status is Status.OK

    @property
    def identity(self) -> tuple[str, str, str, str, str, int]:
        """What makes two measurements the same fact."""
        return (self.key, self.task, self.fingerprint, self.evaluator, self.fidelity, self.seed)


class Bench(Protocol):
    """An evaluator set up for one space and data set: where measuring happens.

    Attributes:
        metric: What the scores mean.
        evaluator: Name and recipe hash, as in `Measurement.evaluator`.
        fingerprint: Hash of the data that is measured on.
        fidelity: As in `Measurement.fidelity`.
        devices: Names of devices whose latency `costs` knows.
    """

    metric: Metric
    evaluator: str
    fingerprint: str
    fidelity: str
    devices: tuple[str, ...]

    def representative(self, architecture: Architecture) -> Architecture:
        """The member of the architecture's class that is measured for all of them.

        Tables take the first member by the benchmark's index, others by the space's order.
        """
        ...

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Measure architectures, yielding each as it is done, in any order.

        A failure of one is a measurement with a status, not an exception.
        """
        ...

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """What is known without measuring, by exact key: arrays (n,).

        Names: "params" and "flops" in millions, "latency[DEVICE]" in milliseconds. Empty if nothing is known.
        """
        ...


Draw = Callable[[int], Sequence[Architecture]]
"""Gives up to so many architectures to measure next; none: nothing now, perhaps after the next result."""


@runtime_checkable
class StreamingBench(Bench, Protocol):
    """A bench that measures several candidates side by side, and takes new ones whenever a place is free."""

    def stream(self, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        """Measure what is drawn, yielding each measurement as it is done.

        `draw` is called with the number of free places at the start and after each measurement was taken;
        the stream ends when it gives nothing and nothing is being measured any more.
        """
        ...


def stream(bench: Bench, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
    """Measure what is drawn: with all places of a bench that has several, else one after the other."""
    if isinstance(bench, StreamingBench):
        yield from bench.stream(draw, seed=seed)
        return
    while architectures := draw(1):
        yield from bench.measure(architectures, seed=seed)


@runtime_checkable
class OuterBench(Bench, Protocol):
    """A bench around another one of the same space, which says what is measured for what."""

    inner: Bench


@runtime_checkable
class TabledBench(Bench, Protocol):
    """A bench that knows beforehand what it can measure, and for many architectures at once: a table."""

    def has(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows (n, D) have a score, that of the member measured for them: (n,)."""
        ...

    def representatives(self, choices: Choices) -> Choices:
        """The member that is measured for the class of each row: (n, D)."""
        ...


def innermost(bench: Bench) -> Bench:
    """The bench inside of all that are around it."""
    while isinstance(bench, OuterBench):
        bench = bench.inner
    return bench


def measurable(bench: Bench, choices: Choices) -> NDArray[np.bool_]:
    """Which rows (n, D) a bench can measure: all, but for what a table lacks: (n,)."""
    inner = innermost(bench)
    return inner.has(choices) if isinstance(inner, TabledBench) else np.ones(len(choices), dtype=np.bool_)


class Evaluator(Protocol):
    """A way to measure, not yet tied to a task: `Table(path)`, `Train(dataset)`."""

    @property
    def name(self) -> str:
        """What it is: "table", "train", "manual"."""
        ...

    @property
    def tabular(self) -> bool:
        """Whether scores are looked up: then baselines may run beside a session at no cost."""
        ...

    def open(self, space: SearchSpace, dataset: str) -> Bench:
        """Set up for one space and data set; cheap to call twice.

        Raises:
            UnknownNameError: The evaluator does not have this data set; the message lists those it has.
            UserError: The evaluator cannot measure this space.
        """
        ...

    def datasets(self, space: SearchSpace) -> list[str]:
        """Names of the data sets that it can measure for this space."""
        ...


def split_task(name: str) -> tuple[str, str]:
    """The space and the data set, "" where none is named, of SPACE/DATASET or FILE.toml/DATASET.

    A space that is named by its file is known by its name from then on.

    Raises:
        UserError: The file describes no space, or another one than is known by its name.
    """
    if found := re.fullmatch(rf"(.*{re.escape(DESCRIBED)})(?:/(.*))?", name):
        return get_space(found[1]).name, found[2] or ""
    space, _, dataset = name.partition("/")
    return space, dataset


def task_name(name: str) -> str:
    """The same task with its space by name, where that was given by its file.

    Raises:
        UserError: As `split_task`.
    """
    return "/".join(filter(None, split_task(name))) if DESCRIBED in name else name


class Task:
    """A space plus what is measured: `Task("nasbench201/cifar10", evaluator=Table(path))`.

    Attributes:
        space: The search space.
        dataset: Name of the data set.
        name: `space/dataset`.
        bench: The evaluator set up for it.
        metric: What is measured; `metric` and `maximize` arguments override the evaluator's.
    """

    def __init__(
        self,
        name: str | Path,
        evaluator: Evaluator | None = None,
        *,
        metric: str | None = None,
        maximize: bool | None = None,
    ) -> None:
        """Set up a task.

        Args:
            name: `space/dataset`, or just `space` where the evaluator has one data set. A space of one's own
                may be named by the file that describes it: `mine.toml/flowers`, as a path too.
            evaluator: What measures; None takes the table that comes with an installed package
                (NAS-Bench-Graph), or the one found through `VITRUVIUS_TABLES`.
            metric: Name for the score, where it is one's own.
            maximize: Whether larger is better, where it is not the evaluator's own.

        Raises:
            UnknownNameError: Unknown space or data set.
            UserError: The name is no text, the evaluator is none, or it has several data sets and none was
                named.
        """
        if not isinstance(name, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"A task is named by a text, SPACE/DATASET, not by {name!r:.100}.")
        name = str(name)
        if evaluator is None:
            from vitruvius.generator.evaluation.table import Table

            evaluator = Table()
        if isinstance(evaluator, type) or not hasattr(evaluator, "open"):
            raise UserError(
                f"{evaluator!r:.100} is no evaluator: give vt.Function(measure) for a function of yours, "
                "vt.Train(...), vt.Table(...) or vt.Manual(metric=...)."
            )
        space_name, dataset = split_task(name)
        if not dataset and space_name not in space_names():
            unknown = unknown_name("space", name, space_names())
            raise UnknownNameError(f"{unknown} A task is SPACE/DATASET, for example nasbench-graph/cora.")
        self.space = get_space(space_name)
        if not dataset:
            known = evaluator.datasets(self.space)
            if len(known) != 1:
                raise UserError(
                    f"Task {name!r} needs a data set: write {space_name}/NAME with NAME one of {known}."
                )
            dataset = known[0]
        self.dataset = dataset
        self.name = f"{self.space.name}/{dataset}"
        self.evaluator = evaluator
        self.bench = evaluator.open(self.space, dataset)
        base = self.bench.metric
        self.metric = Metric(metric or base.name, base.unit, base.maximize if maximize is None else maximize)

    @property
    def label(self) -> tuple[str, str]:
        """(space, data set): what evidence from this task is marked with."""
        return (self.space.name, self.dataset)

    def sibling(self, dataset: str) -> Task:
        """The task on another data set of the same evaluator."""
        return Task(f"{self.space.name}/{dataset}", self.evaluator)

    def better(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores turned so that larger is better: (n,)."""
        return scores if self.metric.maximize else -scores

    def __repr__(self) -> str:
        """Name and evaluator."""
        return f"Task({self.name!r}, {self.bench.evaluator})"
