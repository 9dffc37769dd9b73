"""The evaluator that trains: one's own images, or scikit-learn's digits, in a child process with limits."""

from __future__ import annotations

import io
import queue
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.child import WORKER, Child, Inbox
from vitruvius.generator.evaluation.images import Images, Source, load_images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.networks import check_networks
from vitruvius.generator.networks.costs import Shape, nasbench201_costs
from vitruvius.generator.space import Architecture, Choices, SearchSpace

START_LIMIT = 300.0
"""Seconds for a child process to load torch and take the images."""


class Train:
    """Measures by training: `Train()` on digits, `Train((x, y))` or `Train(my_dataset)` on one's own images.

    Every candidate is trained in a child process without keys in its environment. A crash, a time-out,
    too small memory or a diverging loss costs that one measurement; the process is started anew.

    Example:
        ```python
        task = vt.Task("nasbench201", evaluator=vt.Train((x, y), name="leaves"))
        ```
    """

    name = "train"
    tabular = False

    def __init__(
        self,
        dataset: Source = "digits",
        *,
        name: str | None = None,
        recipe: Recipe | None = None,
        device: str = "auto",
        time_limit: float = 300.0,
        memory: float | None = None,
        workers: int = 1,
        threads: int = 1,
        split: tuple[float, float, float] = (0.4, 0.4, 0.2),
    ) -> None:
        """Describe; nothing is read or started yet.

        Args:
            dataset: "digits"; a pair (x, y) with images (n, H, W) or (n, C, H, W) and whole-number labels
                (n,); or a torch data set that gives (image, label).
            name: Name for one's own data; otherwise "data-" and the start of its hash.
            recipe: How to train; None is a small fast one, meant to tell cells apart in seconds.
            device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
            time_limit: Seconds that one candidate may take.
            memory: Gigabytes that a training process may take (torch itself takes about half of one), on a
                GPU of the card's memory; None sets no limit.
            workers: Candidates trained at the same time, each in a process of its own.
            threads: CPU threads of each process. Scores are reproducible for a given number.
            split: Shares for training, validation and test. Scores are taken on the validation part, which
                is as large as the training part so that chance decides little; the test part is set aside
                and never handed to a training process.

        Raises:
            UserError: A value that is not allowed.
        """
        if device not in ("auto", "cpu", "cuda") and not device.removeprefix("cuda:").isdecimal():
            raise UserError(f"Unknown device {device!r}; allowed: 'auto', 'cpu', 'cuda', 'cuda:N'.")
        for what, value in (
            ("time_limit", time_limit),
            ("memory", memory),
            ("workers", workers),
            ("threads", threads),
        ):
            if value is not None and value <= 0:
                raise UserError(f"{what}={value} is not allowed; it must be above 0.")
        if name is not None and (not name or "/" in name):
            raise UserError(f"The name {name!r} is not allowed: it must not be empty or hold '/'.")
        self.recipe = recipe or Recipe()
        self.limits = Limits(device, time_limit, memory, workers, threads)
        self._source, self._name, self._split = dataset, name, split
        self._benches: dict[str, TrainBench] = {}

    @cached_property
    def images(self) -> Images:
        """The data, read and split when first needed."""
        return load_images(self._source, self._name, self._split)

    def datasets(self, space: SearchSpace) -> list[str]:
        """The one data set.

        Raises:
            UserError: The space has no networks to train.
        """
        check_networks(space)
        return [self.images.name]

    def open(self, space: SearchSpace, dataset: str) -> TrainBench:
        """Set up for one space; the same bench, with its warm process, each time.

        Raises:
            UnknownNameError: Another data set than the one given.
            UserError: The space has no networks to train.
        """
        known = self.datasets(space)
        if dataset not in known:
            raise unknown_name("data set", dataset, known)
        if space.name not in self._benches:
            self._benches[space.name] = TrainBench(space, self.images, self.recipe, self.limits)
        return self._benches[space.name]

    def close(self) -> None:
        """End all training processes; measuring again starts new ones."""
        for bench in self._benches.values():
            bench.close()

    def __repr__(self) -> str:
        """Data set and recipe."""
        source = self._source if isinstance(self._source, str) else self._name or type(self._source).__name__
        return f"Train({source!r}, recipe={self.recipe.digest})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Where and within what candidates are trained; see `Train`."""

    device: str
    time_limit: float
    memory: float | None
    workers: int
    threads: int


@dataclass(slots=True)
class _Run:
    """A candidate in a child: sent when the child is ready, killed at the deadline (monotonic seconds)."""

    architecture: Architecture
    deadline: float
    sent: bool = False


class TrainBench:
    """`Train` set up for one space: trains candidates and yields each as it is done."""

    devices: tuple[str, ...] = ()

    def __init__(
        self,
        space: SearchSpace,
        images: Images,
        recipe: Recipe,
        limits: Limits,
        command: Sequence[str] = WORKER,
    ) -> None:
        """Set up; processes start with the first measurement.

        Args:
            space: A space with networks.
            images: What to train and validate on.
            recipe: How to train.
            limits: Where and within what.
            command: What to start as a training process.
        """
        self.space, self.images, self.recipe, self.limits = space, images, recipe, limits
        self.metric = Metric("validation accuracy", "%", True)
        self.evaluator = f"train:{recipe.digest}"
        self.fingerprint = images.fingerprint
        self.fidelity = recipe.fidelity
        self._command = command
        self._idle: list[Child] = []
        weakref.finalize(self, _kill_all, self._idle)

    @cached_property
    def _first(self) -> dict[str, int]:
        """Row of the first member of each class in the space's order."""
        ids = self.space.ids(self.space.enumerate())
        return {identity: row for row, identity in reversed(list(enumerate(ids)))}

    @cached_property
    def _packed(self) -> bytes:
        """The images as the child reads them."""
        buffer = io.BytesIO()
        parts = ("train_x", "train_y", "valid_x", "valid_y")
        np.savez(buffer, **{part: getattr(self.images, part) for part in parts})
        return buffer.getvalue()

    def representative(self, architecture: Architecture) -> Architecture:
        """The first member of the class in the space's order."""
        row = self._first[architecture.id]
        return self.space.architectures(self.space.enumerate()[row : row + 1])[0]

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Parameters and multiply-adds of the networks as the recipe builds them, in millions."""
        channels, height, width = self.images.size
        shape = Shape(self.images.classes, channels, height, width, self.recipe.width, self.recipe.cells)
        return nasbench201_costs(self.space, choices, shape)

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Train the representative of each architecture, yielding its measurement as it is done.

        Closing the iterator early, Ctrl-C too, kills what is still training.

        Raises:
            UserError: The training process cannot start: no such device, or not enough memory for it.
        """
        waiting, running = deque(map(self.representative, architectures)), dict[Child, _Run]()
        inbox: Inbox = queue.Queue()
        try:
            while waiting or running:
                while waiting and len(running) < self.limits.workers:
                    child = self._take(inbox)
                    running[child] = _Run(waiting.popleft(), time.monotonic() + START_LIMIT)
                    if child.device:
                        self._send(child, running[child], seed)
                for child, message in self._hear(inbox, running):
                    if message is not None and "ready" in message:
                        child.device = message["ready"]
                        self._send(child, running[child], seed)
                        continue
                    run = running.pop(child)
                    yield self._measurement(child, run, seed, message)
        finally:
            _kill_all(list(running))

    def close(self) -> None:
        """End the warm processes; measuring again starts new ones."""
        _kill_all(self._idle)

    def _take(self, inbox: Inbox) -> Child:
        """A warm process that still lives, or a new one."""
        while self._idle:
            child = self._idle.pop()
            child.inbox = inbox
            if not child.ended:
                return child
            child.kill()
        settings: dict[str, Any] = {
            "recipe": self.recipe.model_dump(),
            "classes": self.images.classes,
            "device": self.limits.device,
            "threads": self.limits.threads,
            "memory": self.limits.memory,
        }
        return Child(settings, self._packed, inbox, self._command)

    def _send(self, child: Child, run: _Run, seed: int) -> None:
        """Hand over the candidate; its time begins now."""
        run.sent, run.deadline = True, time.monotonic() + self.limits.time_limit
        child.send({"space": self.space.name, "key": run.architecture.key, "seed": seed})

    def _hear(
        self, inbox: Inbox, running: Mapping[Child, _Run]
    ) -> Iterator[tuple[Child, Mapping[str, Any] | None]]:
        """The next message of a running child, or those children whose time is up."""
        wait = min(run.deadline for run in running.values()) - time.monotonic()
        try:
            child, message = inbox.get(timeout=max(0.0, wait))
        except queue.Empty:
            now = time.monotonic()
            overdue = [child for child, run in running.items() if run.deadline <= now]
            yield from ((child, {"overdue": True}) for child in overdue)
        else:
            if child in running:
                yield child, message

    def _measurement(
        self, child: Child, run: _Run, seed: int, message: Mapping[str, Any] | None
    ) -> Measurement:
        """What a child's last message, its silence or its death means; keeps the child if it is well."""
        if message is not None and "status" in message:
            self._idle.append(child)
            status, score = Status(message["status"]), message["score"]
            reason, seconds = message["reason"], message["seconds"]
        else:
            ending = child.kill()
            seconds = self.limits.time_limit - max(0.0, run.deadline - time.monotonic())
            status, score, reason = self._ended(run, ending, message)
        costs = self.costs(self.space.rows([run.architecture]))
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.images.name}",
            key=run.architecture.key, id=run.architecture.id,
            status=status, score=score, reason=reason, seconds=seconds,
            params=float(costs["params"][0]), flops=float(costs["flops"][0]),
            seed=seed, fidelity=self.fidelity, evaluator=self.evaluator,
            fingerprint=self.fingerprint, device=child.device,
        )  # fmt: skip

    def _ended(
        self, run: _Run, ending: str, message: Mapping[str, Any] | None
    ) -> tuple[Status, float | None, str]:
        """Status and reason for a child that was killed or died.

        Raises:
            UserError: It never became ready.
        """
        if message is not None and "refused" in message:
            raise UserError(str(message["refused"]))
        if not run.sent:
            raise UserError(
                f"The training process did not start ({ending}). Check that torch loads in this environment"
                " and that memory= leaves room for it and the images."
            )
        if message is not None:
            return Status.TIMED_OUT, None, f"Took longer than the limit of {self.limits.time_limit:g} s."
        return Status.FAILED, None, f"The training process died ({ending})."


def _kill_all(children: list[Child]) -> None:
    """End these processes and empty the list."""
    while children:
        children.pop().kill()
