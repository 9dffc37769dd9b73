"""Training set up for one space: candidates go to child processes, measurements come back."""

from __future__ import annotations

import io
import itertools
import math
import os
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

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.child import STARTS, WORKER, Child, Inbox
from vitruvius.generator.evaluation.images import Images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Draw, Measurement, Metric, Status
from vitruvius.generator.networks import family, network_costs
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, Choices, SearchSpace

START_LIMIT = 300.0
"""Seconds for a child process to load torch and take the images."""

MOST_WORKERS = 8
"""Processes that are started at most where nobody said how many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where and within what candidates are trained; see `Train`."""

    device: str
    time_limit: float
    memory: float | None
    workers: int | None
    threads: int
    pack: int = 1
    graphs: bool = False
    deterministic: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether training is on a GPU, by what this process sees where nobody said so."""
        if self.device != "auto":
            return self.device != "cpu"
        import torch

        return torch.cuda.is_available()

    def processes(self) -> int:
        """How many processes train at the same time: as said, else one for a GPU, or one for each core."""
        if self.workers is not None:
            return self.workers
        if self.on_gpu:
            return 1
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MOST_WORKERS, cores // self.threads))


@dataclass(slots=True)
class _Run:
    """A pack in a child: sent when the child is ready, killed at the deadline (monotonic seconds)."""

    pack: list[Architecture]
    deadline: float
    sent: bool = False


class TrainBench:
    """`Train` set up for one space: trains candidates and yields each as it is done.

    Attributes:
        curves: Mean training loss of each epoch, by the key of what was trained here.
    """

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

        Raises:
            UserError: The recipe asks for what networks of this space do not have.
        """
        networks, recipe = family(space), recipe.resolved(gpu=limits.on_gpu)
        if recipe.drop_path and "auxiliary" not in networks.extras:
            raise UserError(f"Networks of {networks.title} drop no paths: set drop_path = 0.")
        size = Shape(images.classes, *images.size, recipe.width, recipe.cells, recipe.extras)
        self.shape = networks.complete(size)
        self.space, self.images, self.recipe, self.limits = space, images, recipe, limits
        self.metric = Metric("validation accuracy", "%", True)
        self.evaluator = f"train:{recipe.digest}"
        self.fingerprint = images.fingerprint
        self.fidelity = recipe.fidelity_of(len(images.train_y))
        self._command = command
        self.curves: dict[str, tuple[float, ...]] = {}
        self._idle: list[Child] = []
        self._lost_starts = 0
        weakref.finalize(self, _kill_all, self._idle)

    @cached_property
    def _packed(self) -> bytes:
        """The images as the child reads them."""
        buffer = io.BytesIO()
        parts = ("train_x", "train_y", "valid_x", "valid_y")
        np.savez(buffer, **{part: getattr(self.images, part) for part in parts})
        return buffer.getvalue()

    def representative(self, architecture: Architecture) -> Architecture:
        """The architecture that the identity of the class spells out: its first in the space's order."""
        return self.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Parameters and multiply-adds of the networks as the recipe builds them, in millions."""
        return network_costs(self.space, choices, self.shape)

    def measure(
        self, architectures: Sequence[Architecture], *, seed: int = 0, bar: Sequence[float] = ()
    ) -> Iterator[Measurement]:
        """Train the representative of each architecture, yielding its measurement as it is done.

        Closing the iterator early, Ctrl-C too, kills what is still training.

        Args:
            architectures: What to train.
            seed: Of weights, order and augmentation.
            bar: Highest training loss after each epoch; what is above it is stopped (see `stopping`).

        Raises:
            UserError: The training process cannot start: no such device, or not enough memory for it.
        """
        rest = iter(architectures)
        return self.stream(lambda places: list(itertools.islice(rest, places)), seed=seed, bar=bar)

    def stream(self, draw: Draw, *, seed: int = 0, bar: Sequence[float] = ()) -> Iterator[Measurement]:
        """Train what is drawn, as `measure`; more is drawn whenever a process is free.

        Raises:
            UserError: The training process cannot start.
        """
        workers, pack = self.limits.processes(), self._pack_size()
        waiting = deque[list[Architecture]]()
        running, inbox = dict[Child, _Run](), queue.Queue[tuple[Child, dict[str, Any] | None]]()
        job = {"space": self.space.name, "seed": seed, "bar": list(bar)}
        try:
            while True:
                while (free := workers - len(running)) > 0:
                    if not waiting:
                        waiting.extend(self._packs(draw(free * pack), free))
                    if not waiting:
                        break
                    child = self._take(inbox)
                    running[child] = _Run(waiting.popleft(), time.monotonic() + START_LIMIT)
                    if child.device:
                        self._send(child, running[child], job)
                if not running:
                    return
                for child, message in self._hear(inbox, running):
                    if message is not None and "ready" in message:
                        child.device, self._lost_starts = message["ready"], 0
                        self._send(child, running[child], job)
                        continue
                    run = running.pop(child)
                    ends = self._ends(child, run, message)
                    waiting.extendleft([one] for one in reversed(run.pack[len(ends) :]))
                    for architecture, end in zip(run.pack, ends, strict=False):
                        self.curves[architecture.key] = tuple(end.get("losses", ()))
                        yield self._measurement(architecture, child.device, seed, end)
        finally:
            _kill_all(list(running))

    def _pack_size(self) -> int:
        """How many one process trains at most at a time."""
        # layers dropped at random draw from one source: side by side they would not be those of one alone
        return 1 if self.recipe.drop_path else self.limits.pack

    def _packs(self, architectures: Sequence[Architecture], processes: int) -> Iterator[list[Architecture]]:
        """What goes to each of so many free processes: the architectures dealt out evenly."""
        asked = list(map(self.representative, architectures))
        size = math.ceil(len(asked) / processes)
        for begin in range(0, len(asked), size or 1):
            yield asked[begin : begin + size]

    def close(self) -> None:
        """End the warm processes; measuring again starts new ones."""
        _kill_all(self._idle)

    def _take(self, inbox: Inbox) -> Child:
        """A warm process that still lives, or a new one."""
        while self._idle:
            child = self._idle.pop()
            child.inbox = inbox
            if child.lives:
                return child
            child.kill()
        settings: dict[str, Any] = {
            "recipe": self.recipe.model_dump(),
            "classes": self.images.classes,
            "device": self.limits.device,
            "threads": self.limits.threads,
            "memory": self.limits.memory,
            "graphs": self.limits.graphs,
            "deterministic": self.limits.deterministic,
        }
        return Child(settings, self._packed, inbox, self._command)

    def _send(self, child: Child, run: _Run, job: Mapping[str, Any]) -> None:
        """Hand over the candidates; their time begins now."""
        run.deadline = time.monotonic() + self.limits.time_limit * len(run.pack)
        run.sent = child.send({**job, "keys": [architecture.key for architecture in run.pack]})

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

    def _ends(self, child: Child, run: _Run, message: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
        """What a child's last message, its silence or its death means, for its candidates in order.

        A child that is well is kept; one in which something failed is not, for the next candidate would be
        charged with what is broken there, as a GPU that refuses everything after a fault. Candidates without
        an end are each to be trained alone, so that a fault of one costs one measurement: all of those that
        went down together, and of one that was killed before it began with them.

        Raises:
            UserError: The child never became ready.
        """
        if message is not None and "results" in message:
            ends: list[Mapping[str, Any]] = message["results"]
            if len(ends) == len(run.pack) and all(end["status"] != Status.FAILED for end in ends):
                self._idle.append(child)
            else:
                child.kill()
            return ends
        ending = child.kill()
        if message is not None and "refused" in message:
            raise UserError(str(message["refused"]))
        if not run.sent:
            self._lost_starts += 1
            if (ending.startswith("signal") or child.device) and self._lost_starts < STARTS:
                return []
            raise UserError(
                f"The training process did not start ({ending}). Check that torch loads in this environment"
                " and that memory= leaves room for it and the images."
            )
        if len(run.pack) > 1:
            return []
        limit = self.limits.time_limit
        end: dict[str, Any] = {"score": None, "seconds": limit - max(0.0, run.deadline - time.monotonic())}
        if message is not None:
            return [
                end | {"status": Status.TIMED_OUT, "reason": f"Took longer than the limit of {limit:g} s."}
            ]
        return [end | {"status": Status.FAILED, "reason": f"The training process died ({ending})."}]

    def _measurement(
        self, architecture: Architecture, device: str, seed: int, end: Mapping[str, Any]
    ) -> Measurement:
        """The measurement of one candidate that ended in this way."""
        costs = self.costs(self.space.rows([architecture]))
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.images.name}",
            key=architecture.key, id=architecture.id,
            status=Status(end["status"]), score=end["score"], reason=end["reason"], seconds=end["seconds"],
            params=float(costs["params"][0]), flops=float(costs["flops"][0]),
            seed=seed, fidelity=self.fidelity, evaluator=self.evaluator,
            fingerprint=self.fingerprint, device=device,
        )  # fmt: skip


def _kill_all(children: list[Child]) -> None:
    """End these processes and empty the list."""
    while children:
        children.pop().kill()
