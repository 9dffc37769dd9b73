"""Any evaluator in several processes of this machine, one for each GPU or several to one."""

from __future__ import annotations

import queue
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.around import Around
from vitruvius.generator.evaluation.child import STARTS, Child, Inbox
from vitruvius.generator.evaluation.crew import CrewBench, Done, Failed
from vitruvius.generator.evaluation.place import from_plain, packed
from vitruvius.generator.evaluation.task import Evaluator, Status
from vitruvius.generator.space import SearchSpace

START_LIMIT = 300.0
"""Seconds for a process to open the evaluator."""

WORKER = (sys.executable, "-P", "-m", "vitruvius.generator.evaluation.pool_worker")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a crew's workers are, and within what limits.

    Attributes:
        workers: How many.
        gpus: How many GPUs they share, in turn; 0 shows them what this process sees.
        threads: CPU threads of each.
        time_limit: Seconds that one order may take; None leaves it to the evaluator.
    """

    workers: int
    gpus: int = 0
    threads: int = 1
    time_limit: float | None = None


class Pool(Around):
    """Measures with another evaluator, in `workers` processes side by side.

    A measurement is the same fact whether it was made here, alone or on a cluster. A worker that dies is
    replaced, and what it held is measured again by another one; after `retries` of them it has failed. What
    they print appears on standard error.

    Example:
        ```python
        task = vt.Task("nasbench201", evaluator=vt.Pool(vt.Train((x, y)), workers=2))
        ```
    """

    def __init__(
        self,
        evaluator: Evaluator,
        workers: int = 2,
        *,
        gpus: int | None = None,
        threads: int = 1,
        time_limit: float | None = None,
        retries: int = 2,
        each: int = 1,
    ) -> None:
        """Describe; nothing is started yet.

        Args:
            evaluator: What measures in each process; it must be possible to pickle it.
            workers: Processes. With more workers than GPUs several share one, with fewer some stay idle.
            gpus: GPUs to give out in turn, one to a worker; None takes all that torch sees, 0 gives out none.
            threads: CPU threads of each process.
            time_limit: Seconds for what a process is sent; it is killed then. None leaves limits to the
                evaluator, as `Train` has its own.
            retries: How many more workers may be lost over a candidate before it counts as failed.
            each: Candidates that a process is sent at a time, for evaluators that measure several at once.

        Raises:
            UserError: A value that is not allowed.
        """
        for what, value, least in (("workers", workers, 1), ("each", each, 1), ("threads", threads, 1),
                                   ("retries", retries, 0), ("gpus", gpus or 0, 0)):  # fmt: skip
            if value < least:
                raise UserError(f"{what}={value} is not allowed; it must be at least {least}.")
        if time_limit is not None and time_limit <= 0:
            raise UserError(f"time_limit={time_limit} is not allowed; it must be above 0.")
        self.evaluator, self.workers, self.gpus, self.retries, self.each = (
            evaluator, workers, gpus, retries, each,
        )  # fmt: skip
        self._threads, self._time_limit = threads, time_limit
        self._benches: dict[tuple[str, str], CrewBench] = {}

    def open(self, space: SearchSpace, dataset: str) -> CrewBench:
        """Set up for one space and data set; the same bench, with its warm processes, each time.

        Raises:
            UnknownNameError: The evaluator does not have this data set.
            UserError: The evaluator cannot measure this space, or cannot be sent to a process.
        """
        if (space.name, dataset) not in self._benches:
            inner = self.evaluator.open(space, dataset)
            places = Places(self.workers, _gpus(self.gpus), self._threads, self._time_limit)
            crew = Processes(packed(self.evaluator, space, dataset), places, echo=_said)
            self._benches[space.name, dataset] = CrewBench(
                inner, space, dataset, crew, retries=self.retries, each=self.each
            )
        return self._benches[space.name, dataset]

    def close(self) -> None:
        """End all processes; measuring again starts new ones."""
        for bench in self._benches.values():
            bench.close()

    def __repr__(self) -> str:
        """What, and how many."""
        return f"Pool({self.evaluator!r}, workers={self.workers})"


def _said(line: str) -> None:
    """What an evaluator prints, in whichever process, is seen where the search was started."""
    print(line, file=sys.stderr)


def _gpus(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    import torch

    return torch.cuda.device_count()  # asks the driver, and holds no memory of the card


@dataclass(slots=True)
class _Order:
    """What a process was given: sent when it is ready, over at the deadline (monotonic seconds)."""

    ticket: int
    message: dict[str, Any]
    gpu: int | None
    started: float
    deadline: float
    sent: bool = False


class Processes:
    """A crew of child processes of this one."""

    def __init__(
        self,
        payload: bytes,
        places: Places,
        command: Sequence[str] = WORKER,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        """Set up; processes start when they are needed.

        Args:
            payload: As `place.packed` made it.
            places: How many, and where.
            command: What to start as a worker.
            echo: Takes each line that a process prints.
        """
        self._payload, self._where, self._command, self._echo = payload, places, command, echo
        self._inbox: Inbox = queue.Queue()
        self._idle: list[tuple[Child, int | None]] = []
        self._busy: dict[Child, _Order] = {}
        self._all: list[Child] = []
        self._lost_starts = 0
        weakref.finalize(self, _kill_all, self._all)

    @property
    def places(self) -> int:
        """As many as were asked for."""
        return self._where.workers

    def send(self, ticket: int, keys: Sequence[str], seed: int) -> None:
        """Give the order to a process that is idle, or to a new one."""
        child, gpu = self._take()
        now = time.monotonic()
        order = _Order(ticket, {"keys": list(keys), "seed": seed}, gpu, now, now + START_LIMIT)
        self._busy[child] = order
        if child.device:
            self._hand_over(child, order)

    def receive(self, seconds: float) -> tuple[int, Done | Failed] | None:
        """The next order that ended; a process that died or whose time is up is killed with its children.

        Raises:
            UserError: A process does not start, or refuses the evaluator.
        """
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            late = [child for child, order in self._busy.items() if order.deadline <= now]
            if late:
                return self._overdue(late[0])
            try:
                deadline = min([until, *(order.deadline for order in self._busy.values())])
                child, message = self._inbox.get(timeout=max(0.0, deadline - now))
            except queue.Empty:
                continue
            if child in self._busy and (ended := self._heard(child, message)) is not None:
                return ended
        return None

    def drop(self) -> None:
        """Kill what is busy."""
        for child in list(self._busy):
            self._end(child)

    def close(self) -> None:
        """Kill everything."""
        self._busy.clear()
        self._idle.clear()
        _kill_all(self._all)

    def _take(self) -> tuple[Child, int | None]:
        """An idle process that still lives, or a new one on the GPU that has the fewest."""
        while self._idle:
            child, gpu = self._idle.pop()
            if child.lives:
                return child, gpu
            self._end(child)
        gpu = None
        if self._where.gpus:
            taken = [order.gpu for order in self._busy.values()] + [gpu for _, gpu in self._idle]
            gpu = min(range(self._where.gpus), key=taken.count)
        settings = {"threads": self._where.threads, "gpu": gpu}
        child = Child(settings, self._payload, self._inbox, self._command, echo=self._echo, whole=True)
        self._all.append(child)
        return child, gpu

    def _hand_over(self, child: Child, order: _Order) -> None:
        order.started = time.monotonic()
        limit = self._where.time_limit
        order.deadline = order.started + (float("inf") if limit is None else limit)
        order.sent = child.send(order.message)

    def _heard(self, child: Child, message: dict[str, Any] | None) -> tuple[int, Done | Failed] | None:
        """What a message of a busy process, or its end, means; None if the order is still out."""
        order = self._busy[child]
        if message is not None and "ready" in message:
            child.device, self._lost_starts = message["ready"], 0
            self._hand_over(child, order)
            return None
        if message is not None and "refused" in message:
            self._end(child)
            raise UserError(str(message["refused"]))
        took = time.monotonic() - order.started
        if message is None:
            ending = self._end(child)
            if not order.sent:
                self._lost_starts += 1
                if not (ending.startswith("signal") or child.device) or self._lost_starts >= STARTS:
                    raise _no_start(ending)
                self.send(order.ticket, **order.message)
                return None
            return order.ticket, Failed(Status.FAILED, f"The worker process died ({ending}).", True, took)
        ended = outcome(message, took)
        if _spoilt(ended):
            self._end(child)
        else:
            del self._busy[child]
            self._idle.append((child, order.gpu))
        return order.ticket, ended

    def _overdue(self, child: Child) -> tuple[int, Failed]:
        order = self._busy[child]
        self._end(child)
        if not order.sent:
            raise _no_start(f"it was not ready after {START_LIMIT:g} s")
        reason = f"Took longer than the limit of {self._where.time_limit:g} s."
        return order.ticket, Failed(Status.TIMED_OUT, reason, False, time.monotonic() - order.started)

    def _end(self, child: Child) -> str:
        """Kill a process; how it ended."""
        self._busy.pop(child, None)
        self._all.remove(child)
        return child.kill()


def outcome(reply: dict[str, Any], seconds: float) -> Done | Failed:
    """What the reply of a `Place` means."""
    if "failed" in reply:
        return Failed(Status.FAILED, str(reply["failed"]), False, seconds)
    return Done([from_plain(one) for one in reply["measurements"]])


def _spoilt(ended: Done | Failed) -> bool:
    """Whether a GPU refuses everything from now on in the process that had this."""
    reasons = [ended.reason] if isinstance(ended, Failed) else [m.reason for m in ended.measurements]
    return any("CUDA error" in reason for reason in reasons)


def _no_start(why: str) -> UserError:
    return UserError(
        f"A worker process did not start ({why}). Check that it has room in memory, and that the module of "
        "the evaluator can be imported."
    )


def _kill_all(children: list[Child]) -> None:
    while children:
        children.pop().kill()
