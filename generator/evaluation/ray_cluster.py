"""Any evaluator on every machine of a Ray cluster, a share of a GPU or of a CPU for each candidate.

Ray runs whatever it is sent: who reaches the port of a cluster without a token runs programs there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vitruvius.errors import MissingPartError, UserError
from vitruvius.generator.evaluation.around import Around
from vitruvius.generator.evaluation.crew import CrewBench, Done, Failed
from vitruvius.generator.evaluation.place import Place, packed
from vitruvius.generator.evaluation.pool import outcome
from vitruvius.generator.evaluation.task import Evaluator, Status
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import SearchSpace

PATIENCE = 20.0
"""Seconds in which a cluster must take a connection."""
LOOK = 2.0
"""Seconds after which the size of the cluster is looked up again."""


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker takes of the cluster.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs; 0.25 puts four workers on each.
        workers: Most workers; None: as many as fit, also when the cluster grows.
        time_limit: Seconds that one order may take; None leaves it to the evaluator.
    """

    cpus: float
    gpus: float
    workers: int | None
    time_limit: float | None


class Ray(Around):
    """Measures with another evaluator on a Ray cluster.

    A worker whose machine is lost is replaced, and what it held is measured again elsewhere; after `retries`
    of them it has failed. Machines that join are used. The same Vitruvius must be installed on all of them.

    Example:
        ```python
        task = vt.Task("nasbench201", evaluator=vt.Ray(vt.Train((x, y)), address="10.0.0.5:6379", gpus=0.25))
        ```
    """

    def __init__(
        self,
        evaluator: Evaluator,
        address: str | None = None,
        *,
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float | None = None,
        time_limit: float | None = None,
        retries: int = 2,
        each: int = 1,
    ) -> None:
        """Describe; nothing is started or connected yet.

        Args:
            evaluator: What measures on each machine; it must be possible to pickle it.
            address: "host:6379", "ray://host:10001", or "auto" for the cluster that this machine is part of.
                None starts one on this machine for this process alone, behind a secret token.
            workers: Most workers; None takes as many as fit.
            cpus: CPU cores of each worker.
            gpus: GPUs of each worker, as 0.25; None takes 1 where the cluster has GPUs, else 0.
            time_limit: Seconds for what a worker is sent; it is ended then. None leaves limits to the
                evaluator.
            retries: How many more workers may be lost over a candidate before it counts as failed.
            each: Candidates that a worker is sent at a time, for evaluators that measure several at once.

        Raises:
            UserError: A value that is not allowed.
        """
        for what, value, least in (("workers", workers, 1), ("each", each, 1), ("retries", retries, 0)):
            if value is not None and value < least:
                raise UserError(f"{what}={value} is not allowed; it must be at least {least}.")
        if cpus < 0 or (gpus or 0) < 0 or (cpus == 0 and gpus == 0):
            raise UserError(f"cpus={cpus}, gpus={gpus} is not allowed: a worker takes some of either.")
        if time_limit is not None and time_limit <= 0:
            raise UserError(f"time_limit={time_limit} is not allowed; it must be above 0.")
        self.evaluator, self.address, self.retries, self.each = evaluator, address, retries, each
        self._workers, self._cpus, self._gpus, self._time_limit = workers, cpus, gpus, time_limit
        self._benches: dict[tuple[str, str], CrewBench] = {}

    def open(self, space: SearchSpace, dataset: str) -> CrewBench:
        """Set up for one space and data set; connects, or starts the local cluster.

        Raises:
            UnknownNameError: The evaluator does not have this data set.
            UserError: The evaluator cannot measure this space or be sent, or the cluster does not answer.
            MissingPartError: Ray is not installed.
        """
        if (space.name, dataset) not in self._benches:
            inner = self.evaluator.open(space, dataset)
            payload = packed(self.evaluator, space, dataset)
            connect(self.address)
            gpus = self._gpus if self._gpus is not None else float(resources().get("GPU", 0) > 0)
            if isinstance(self.evaluator, Train):  # measurements are named by the workers' kind of device
                train = self.evaluator.placed(gpu=gpus > 0)
                inner, payload = train.open(space, dataset), packed(train, space, dataset)
            crew = RayCrew(payload, Share(self._cpus, gpus, self._workers, self._time_limit))
            self._benches[space.name, dataset] = CrewBench(
                inner, space, dataset, crew, retries=self.retries, each=self.each
            )
        return self._benches[space.name, dataset]

    def close(self) -> None:
        """End the workers; the cluster stays connected until this process ends."""
        for bench in self._benches.values():
            bench.close()

    def __repr__(self) -> str:
        """What, and where."""
        return f"Ray({self.evaluator!r}, address={self.address!r})"


def connect(address: str | None) -> None:
    """Connect to the cluster, or start one here that asks for a secret; nothing if that was done before.

    Raises:
        MissingPartError: Ray is not installed.
        UserError: No cluster answers there.
    """
    # Before the import, which reads them.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise MissingPartError("Ray is not installed: pip install 'vitruvius[ray]'.") from None
    if ray.is_initialized():
        return
    if address is not None:
        _check_answers(address)
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is None:
            ray.init("local", include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_answer(address or "this machine", error) from error


def _check_answers(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself would try for minutes.

    Raises:
        UserError: It names no host and port, or nothing answers there.
    """
    if address in ("auto", "local"):  # looked up on this machine
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise UserError(f"{address!r} is no address of a Ray cluster: host:6379, ray://host:10001 or auto.")
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> UserError:
    told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"No Ray cluster answers at {address} ({told}): start one with `ray start --head` and give its "
        "address, with the same versions of Ray and Python."
    )


def resources() -> dict[str, float]:
    """What the cluster has in all, by name: "CPU", "GPU"."""
    import ray

    return dict(ray.cluster_resources())


@dataclass(slots=True)
class _Order:
    """What an actor was given; its time runs from when the evaluator is open there (monotonic seconds)."""

    ticket: int
    actor: Any
    started: float = field(default_factory=time.monotonic)
    deadline: float = float("inf")


class RayCrew:
    """A crew of Ray actors, each a `Place`."""

    def __init__(self, payload: bytes, share: Share) -> None:
        """Set up in the cluster that is connected; actors start when they are needed.

        Args:
            payload: As `place.packed` made it; put into the cluster's store once.
            share: What each worker takes.
        """
        import ray

        self._ray, self._share = ray, share
        self._payload = ray.put(payload)
        # What is lost is sent again by `CrewBench`, which counts it: Ray itself does not try again.
        self._actor: Any = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0)(Place)
        self._idle: list[Any] = []
        self._busy: dict[Any, _Order] = {}
        self._starting: dict[Any, Any] = {}  # what an actor says when it is there -> its reply
        self._seen = (0.0, 0)

    @property
    def places(self) -> int:
        """As many as fit into the cluster now, but not more than asked for; looked up every two seconds."""
        now = time.monotonic()
        if now - self._seen[0] > LOOK or self._seen[1] == 0:
            there = resources()
            wanted = {"CPU": self._share.cpus, "GPU": self._share.gpus}
            fit = min(int(there.get(name, 0.0) / part + 1e-9) for name, part in wanted.items() if part > 0)
            self._seen = (now, fit)
        fit = self._seen[1]
        if fit == 0 and not self._busy:
            raise UserError(
                f"The cluster has no place for a worker with {self._share.cpus:g} CPUs and "
                f"{self._share.gpus:g} GPUs: it has {resources()}. Ask for less with cpus= and gpus=."
            )
        return fit if self._share.workers is None else min(fit, self._share.workers)

    def send(self, ticket: int, keys: Sequence[str], seed: int) -> None:
        """Give the order to an idle actor, or to a new one."""
        new = not self._idle
        actor = self._actor.remote(self._payload) if new else self._idle.pop()
        there = actor.open.remote() if new else None  # an actor answers in the order of the calls
        reply = actor.measure.remote(list(keys), seed)
        self._busy[reply] = _Order(ticket, actor)
        if there is not None:
            self._starting[there] = reply
        else:
            self._begin(reply)

    def receive(self, seconds: float) -> tuple[int, Done | Failed] | None:
        """The next order that ended; an actor whose time is up is ended.

        Raises:
            UserError: An actor refuses the evaluator.
        """
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            late = next((reply for reply, order in self._busy.items() if order.deadline <= now), None)
            if late is not None:
                order = self._stop(late)
                reason = f"Took longer than the limit of {self._share.time_limit:g} s."
                return order.ticket, Failed(Status.TIMED_OUT, reason, False, now - order.started)
            next_end = min([until, *(order.deadline for order in self._busy.values())])
            heard = [*self._busy, *self._starting]
            ready, _ = self._ray.wait(heard, num_returns=1, timeout=max(0.0, next_end - now))
            if ready and ready[0] in self._busy:
                return self._ended(ready[0])
            if ready:
                self._begin(self._starting.pop(ready[0]))
        return None

    def drop(self) -> None:
        """End the actors that are busy."""
        for reply in list(self._busy):
            self._stop(reply)

    def close(self) -> None:
        """End all actors."""
        if not self._ray.is_initialized():  # the cluster went first, and the actors with it
            return
        self.drop()
        while self._idle:
            self._ray.kill(self._idle.pop())

    def _begin(self, reply: Any) -> None:
        """The actor is there: the time of its order begins, if that is still out."""
        order, limit = self._busy.get(reply), self._share.time_limit
        if order is not None:
            order.started = time.monotonic()
            order.deadline = order.started + (float("inf") if limit is None else limit)

    def _ended(self, reply: Any) -> tuple[int, Done | Failed]:
        took = time.monotonic() - self._busy[reply].started
        try:
            answer: dict[str, Any] = self._ray.get(reply)
        except self._ray.exceptions.RayError as error:  # actor, worker, machine or object lost
            order = self._stop(reply)
            told = str(error).strip().splitlines()[0][:300]
            return order.ticket, Failed(Status.FAILED, f"The worker was lost ({told}).", True, took)
        if "refused" in answer:
            self._stop(reply)
            raise UserError(str(answer["refused"]))
        order = self._busy.pop(reply)
        self._idle.append(order.actor)
        return order.ticket, outcome(answer, took)

    def _stop(self, reply: Any) -> _Order:
        order = self._busy.pop(reply)
        self._starting = {sign: other for sign, other in self._starting.items() if other is not reply}
        with contextlib.suppress(self._ray.exceptions.RayError):  # it is gone already
            self._ray.kill(order.actor)
        return order
