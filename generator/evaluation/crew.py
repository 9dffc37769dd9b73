"""Candidates measured side by side by a crew of workers: one loop for processes here and for a cluster.

A `Crew` hands work to workers and says how it ended. `CrewBench` does the rest, for every crew alike: it
fills free places, sends what a lost worker held to another one, and turns every end into a measurement.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.task import Bench, Draw, Measurement, Metric, Status
from vitruvius.generator.space import Architecture, Choices, SearchSpace

POLL = 5.0
"""Seconds after which a crew that says nothing is asked again how many places it has."""


@dataclass(frozen=True, slots=True)
class Done:
    """A worker measured what it was sent: one measurement for each candidate."""

    measurements: Sequence[Measurement]


@dataclass(frozen=True, slots=True)
class Failed:
    """What a worker was sent has no result.

    Attributes:
        status: How each of the candidates ended.
        reason: One sentence, for people.
        lost: Whether the worker is to blame, not the candidates: then they are sent to another.
        seconds: How long the worker had them.
    """

    status: Status
    reason: str
    lost: bool
    seconds: float = 0.0


class Crew(Protocol):
    """Workers that each measure what they are sent, and may be lost."""

    @property
    def places(self) -> int:
        """How many workers may be busy at the same time: it may change while they work."""
        ...

    def send(self, ticket: int, keys: Sequence[str], seed: int) -> None:
        """Give a free worker candidates of the space by their keys; does not wait."""
        ...

    def receive(self, seconds: float) -> tuple[int, Done | Failed] | None:
        """The next ticket that ended, and how; None if none ended within so many seconds.

        Raises:
            UserError: Workers cannot start, or refuse the evaluator.
        """
        ...

    def drop(self) -> None:
        """Stop what is being measured at once; idle workers stay."""
        ...

    def close(self) -> None:
        """End all workers; sending again starts new ones. Calling twice is allowed."""
        ...


@dataclass(slots=True)
class _Order:
    """Candidates that are out together, and how many workers were lost over them."""

    architectures: Sequence[Architecture]
    losses: int = 0


class CrewBench:
    """A bench whose candidates are measured by a crew; everything else is that of the bench inside."""

    def __init__(
        self, inner: Bench, space: SearchSpace, dataset: str, crew: Crew, *, retries: int, each: int
    ) -> None:
        """Set up; workers start with the first measurement.

        Args:
            inner: The bench as this process opened it; it does not measure.
            space: The space of its candidates.
            dataset: Name of the data set.
            crew: What measures.
            retries: So many workers more may be lost over a candidate before it counts as failed.
            each: Candidates that a worker is sent at a time.
        """
        self.inner, self.space, self.dataset, self.crew = inner, space, dataset, crew
        self.retries, self.each = retries, each
        self.metric: Metric = inner.metric
        self.evaluator, self.fingerprint, self.fidelity = inner.evaluator, inner.fingerprint, inner.fidelity
        self.devices: tuple[str, ...] = inner.devices
        self._tickets = itertools.count()

    def representative(self, architecture: Architecture) -> Architecture:
        """As the bench inside says."""
        return self.inner.representative(architecture)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """As the bench inside says."""
        return self.inner.costs(choices)

    def measure(self, architectures: Iterable[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Measure the representative of each architecture, yielding each measurement as it is done.

        Closing the iterator early, Ctrl-C too, stops what is still being measured.

        Raises:
            UserError: Workers cannot start, refuse the evaluator, or measure something else than asked for.
        """
        waiting = iter(architectures)
        return self.stream(lambda free: list(itertools.islice(waiting, free)), seed=seed)

    def stream(self, draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        """Measure what is drawn whenever a place is free; see `StreamingBench`.

        Raises:
            UserError: As in `measure`.
        """
        out: dict[int, _Order] = {}
        try:
            while True:
                self._fill(out, draw, seed)
                if not out:
                    return
                ended = self.crew.receive(POLL)
                if ended is None:
                    continue
                ticket, outcome = ended
                order = out.pop(ticket)
                if isinstance(outcome, Failed) and outcome.lost and order.losses < self.retries:
                    order.losses += 1
                    self._send(out, order, seed)
                    continue
                # What is not taken yet is measured, but not recorded: the rest of a pack is yielded at once.
                yield from self._measurements(order, outcome, seed)
        finally:
            if out:
                self.crew.drop()

    def close(self) -> None:
        """End all workers; measuring again starts new ones."""
        self.crew.close()

    def _fill(self, out: dict[int, _Order], draw: Draw, seed: int) -> None:
        """Draw for all places that are free."""
        while (free := self.crew.places - len(out)) > 0:
            drawn = draw(free * self.each)
            for start in range(0, len(drawn), self.each):
                pack = drawn[start : start + self.each]
                self._send(out, _Order([self.representative(one) for one in pack]), seed)
            if not drawn:
                return

    def _send(self, out: dict[int, _Order], order: _Order, seed: int) -> None:
        ticket = next(self._tickets)
        out[ticket] = order
        self.crew.send(ticket, [architecture.key for architecture in order.architectures], seed)

    def _measurements(self, order: _Order, outcome: Done | Failed, seed: int) -> Iterator[Measurement]:
        if isinstance(outcome, Failed):
            yield from (self._failed(one, outcome, order.losses, seed) for one in order.architectures)
            return
        wanted = sorted(architecture.key for architecture in order.architectures)
        for found in outcome.measurements:
            if (found.evaluator, found.fingerprint) != (self.evaluator, self.fingerprint):
                raise UserError(
                    f"A worker measured with {found.evaluator} on data {found.fingerprint}, but this process "
                    f"has {self.evaluator} on {self.fingerprint}: install the same versions, and give the "
                    "same data, where the workers run."
                )
        if sorted(found.key for found in outcome.measurements) != wanted:
            raise UserError(
                f"A worker was sent {', '.join(wanted)} and measured "
                f"{', '.join(found.key for found in outcome.measurements) or 'nothing'}: the evaluator "
                f"{self.evaluator} does not give one measurement for each architecture."
            )
        yield from outcome.measurements

    def _failed(self, architecture: Architecture, outcome: Failed, losses: int, seed: int) -> Measurement:
        costs = self.inner.costs(self.space.rows([architecture]))
        params, flops = (float(costs[name][0]) if name in costs else None for name in ("params", "flops"))
        times = f" ({losses + 1} workers were lost over it)" if losses else ""
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.dataset}",
            key=architecture.key, id=architecture.id, status=outcome.status, score=None,
            reason=outcome.reason + times, seconds=outcome.seconds, seed=seed, fidelity=self.fidelity,
            evaluator=self.evaluator, fingerprint=self.fingerprint, params=params, flops=flops,
        )  # fmt: skip
