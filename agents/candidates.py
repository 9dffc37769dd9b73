"""From a restriction to the next batch: draw codes, decode, choose, and always keep a share open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.aims import Aims, Feasible
from vitruvius.agents.engine import Engine
from vitruvius.agents.offspring import mutate
from vitruvius.agents.options import Options
from vitruvius.agents.pareto import FrontSelector, nondominated
from vitruvius.agents.prior import Prior
from vitruvius.agents.selection import Selector
from vitruvius.generator.code_text import format_codes
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.pool import Pool, fill_pool, uniform_pool
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.pruning import Restriction
from vitruvius.knowledge.share import Share

PROMISING = 256
"""Candidates in each pool of a session with sources that these think best."""


@dataclass(slots=True)
class Batch:
    """What is to be measured next, and why.

    Attributes:
        number: Position in the session, from 0.
        keys: Exact architectures, in order.
        shares: Key -> why it is to be measured.
        reasons: Key -> why it was chosen.
        pool: Counts of the generator's draw.
        codes: Key -> the codes as drawn, for architectures that the code model wrote.
    """

    number: int
    keys: list[str] = field(default_factory=list[str])
    shares: dict[str, Share] = field(default_factory=dict[str, Share])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    pool: dict[str, Any] = field(default_factory=dict[str, Any])
    codes: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, task: Task, row: NDArray[np.int8], share: Share, reason: str) -> None:
        """Append the architecture that is measured for the class of this row (D,)."""
        key = task.bench.representative(task.space.architectures(row[None])[0]).key
        self.keys.append(key)
        self.shares[key] = share
        self.reasons[key] = reason


def stream(seed: int, batch: int, purpose: int) -> np.random.Generator:
    """The random stream of one purpose in one batch: independent of how often the session was stopped."""
    return np.random.default_rng([seed, batch, purpose])


def draw_new(
    space: SearchSpace,
    n: int,
    known: set[str],
    rng: np.random.Generator,
    tries: int = 50,
    *,
    feasible: Feasible | None = None,
) -> Choices:
    """Draw up to n feasible architectures uniformly whose ids are new, each id once: (m, D), m <= n."""
    found: list[NDArray[np.int8]] = []
    taken = set(known)
    for _ in range(tries if n > 0 else 0):
        rows = (feasible or space).sample(max(n, 16), rng)
        for row, identity in zip(rows, space.ids(rows), strict=True):
            if len(found) < n and identity not in taken:
                taken.add(identity)
                found.append(row)
        if len(found) == n:
            break
    return np.array(found, dtype=np.int8).reshape(-1, len(space.decisions))


def batch_size(options: Options, counted: int) -> int:
    """How many architectures are chosen at a time: few while little is known, since each tells much."""
    return min(options.batch, max(counted // 5, 1))


def open_due(options: Options, counted: int, evaluations: int, opened: int, size: int) -> int:
    """How many of the next `size` evaluations belong to the open share.

    The share is spread evenly over what follows the initial design, each draw in the middle of its part: the
    first evaluations that know something go where it points.
    """
    at_least = min(options.open_minimum, (evaluations - options.initial) / 8)  # not much of a tiny budget
    wanted = math.ceil(max(options.open_share * evaluations, at_least) - 1e-9)
    span = max(evaluations - options.initial, 1)
    progress = min(max(counted + size - options.initial, 0) / span, 1.0)
    return min(size, max(0, math.floor(wanted * progress + 0.5) - opened))


def open_share(
    options: Options, shares: Sequence[Share], wanted: Sequence[tuple[str, str]], evaluations: int, size: int
) -> tuple[int, list[tuple[str, str]]]:
    """How many of the next `size` evaluations belong to the open share, and which of them are experiments.

    Experiments that a reasoner asked for may take up to half of the open share: the rest stays uniform, and
    evidence is estimated on it.

    Args:
        options: Settings of the session.
        shares: The share of each counted evaluation so far.
        wanted: Key and reason of each experiment that was asked for.
        evaluations: The whole budget.
        size: Evaluations in the next batch.
    """
    opened = sum(share.unpruned for share in shares)
    due = open_due(options, len(shares), evaluations, opened, size)
    room = (opened + due) // 2 - shares.count(Share.EXPERIMENT)
    return due, list(wanted[: min(max(room, 0), due)])


def initial_batch(
    task: Task, options: Options, known: set[str], size: int, number: int, aims: Aims = Aims()
) -> Batch:
    """A part of the uniform design that a session starts with."""
    batch = Batch(number)
    rows = draw_new(task.space, size, known, stream(options.seed, number, 0), feasible=aims.feasible)
    for row in rows:
        batch.add(task, row, Share.INITIAL, "uniform initial design")
    return batch


@dataclass(slots=True)
class _Pool:
    """Candidates for one batch: rows (m, D), code text of each (empty if no model wrote it), and counts."""

    rows: Choices
    codes: list[str]
    shares: list[Share]
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drafter:
    """Draws batches after the initial design: generator and selection, and the open share beside them.

    Attributes:
        task: The target.
        options: Settings of the session.
        engine: The code model and what serves it.
        aims: The constraint, which no candidate leaves, and objectives beside the score.
        prior: What the sources make one expect; None without any.
    """

    task: Task
    options: Options
    engine: Engine
    aims: Aims = field(default_factory=Aims)
    prior: Prior | None = None

    def next_batch(
        self,
        number: int,
        observed: Observations,
        restriction: Restriction,
        known: set[str],
        *,
        size: int,
        open_size: int,
        experiments: Sequence[tuple[str, str]] = (),
    ) -> Batch:
        """Draw a pool, choose from it, and add the open share.

        Args:
            number: Number of the batch.
            observed: What was measured on the target.
            restriction: What the principles leave of the space.
            known: Ids that need no further evaluation.
            size: Architectures in the batch.
            open_size: How many of them belong to the open share.
            experiments: Key and reason of architectures that take places of the open share; the others are
                drawn from the whole space.

        Returns:
            The batch; smaller than `size` only where the space is used up.
        """
        batch, space, feasible = Batch(number), self.task.space, self.aims.feasible
        asked = space.rows(space.parse(key) for key, _ in experiments)
        wanted = np.ones(len(asked), dtype=np.bool_) if feasible is None else feasible.allows(asked)
        asked, experiments = (
            asked[wanted],
            [one for one, is_in in zip(experiments, wanted, strict=True) if is_in],
        )
        for row, (_, why) in zip(asked, experiments, strict=True):
            batch.add(self.task, row, Share.EXPERIMENT, f"asked for by the reasoner: {why}")
        taken = known | set(space.ids(asked))
        drawn = stream(self.options.seed, number, 1)
        rows = draw_new(space, open_size - len(asked), taken, drawn, feasible=feasible)
        taken |= set(space.ids(rows))
        for row in rows:
            batch.add(self.task, row, Share.OPEN, f"open share: uniform over {self.aims.everywhere}")
        pool = self._pool(number, observed, restriction, taken)
        batch.pool = pool.counts
        for i, reason in self._choose(number, observed, restriction, pool.rows, size - len(batch.keys)):
            taken.update(space.ids(pool.rows[i : i + 1]))
            batch.add(self.task, pool.rows[i], pool.shares[i], reason)
            if pool.codes[i]:
                batch.codes[batch.keys[-1]] = pool.codes[i]
        missing = size - len(batch.keys)
        for row in draw_new(space, missing, taken, stream(self.options.seed, number, 4), feasible=feasible):
            batch.add(
                self.task, row, Share.OPEN, f"the pool had nothing new: uniform over {self.aims.everywhere}"
            )
        return batch

    def _choose(
        self, number: int, observed: Observations, restriction: Restriction, pool: Choices, k: int
    ) -> list[tuple[int, str]]:
        """Positions in the pool, each with the reason why it was chosen."""
        if k <= 0 or not len(pool):
            return []
        if self.options.selection == "random":
            picks = stream(self.options.seed, number, 3).permutation(len(pool))[:k]
            return [(int(i), "drawn at random from the pool") for i in picks]
        if self.aims.objectives is not None:
            aim = self.aims.objectives
            front = FrontSelector(self.task.space, aim.names, aim.budgets, self.options.seed)
            measured, costs = observed.choices, aim.of(observed.choices)
            chosen = front.choose(measured, observed.scores, costs, pool, aim.of(pool), k, number)
            return list(zip(chosen.rows, chosen.reasons, strict=True))
        weights = restriction.weights(pool, self.task.bench.costs)
        selector = Selector(self.task.space, seed=self.options.seed)
        expected = None
        if self.prior is not None:
            expected = (self.prior.mean(observed.choices), self.prior.mean(pool))
        chosen = selector.choose(
            observed.choices, observed.scores, pool, weights, k, seed=number, expected=expected
        )
        return list(zip(chosen.rows, chosen.reasons, strict=True))

    def _pool(self, number: int, observed: Observations, restriction: Restriction, taken: set[str]) -> _Pool:
        """What the code model writes (or is drawn uniformly), and neighbours of the best."""
        known = set(taken)
        rows: list[Choices] = []
        codes: list[str] = []
        counts: dict[str, Any] = {}
        for drawn in self._drawn(number, restriction, known):
            known.update(self.task.space.ids(drawn.choices))
            rows.append(drawn.choices)
            codes += format_codes(drawn.codes) if self.engine.writes else [""] * len(drawn.choices)
            _add_counts(counts, drawn)
        local = self._local(number, observed, restriction, known)
        theirs = self._promising(restriction, known | set(self.task.space.ids(local)))
        counts["local"] = len(local)
        if self.prior is not None:
            counts["transfer"] = len(theirs)
        shares = (
            [Share.MODEL if self.engine.writes else Share.DRAWN] * len(codes)
            + [Share.LOCAL] * len(local)
            + [Share.TRANSFER] * len(theirs)
        )
        codes += [""] * (len(local) + len(theirs))
        return _Pool(np.concatenate([*rows, local, theirs]), codes, shares, counts)

    def _drawn(self, number: int, restriction: Restriction, known: set[str]) -> Iterator[Pool]:
        """Two halves of what is drawn; of the code model the second is asked for the best tenth."""
        costs, half = self.task.bench.costs, self.options.pool // 2
        first = int(stream(self.options.seed, number, 2).integers(2**31))

        def inside(choices: Choices) -> NDArray[np.bool_]:
            return self._inside(restriction, choices)

        if not self.engine.writes:
            space, limited = (
                self.task.space,
                inside if restriction.hard or self.aims.mask is not None else None,
            )
            wanted = restriction.wanted(costs, self.aims.mask) if space.size is not None else None
            for seed in (first, first + 1):
                yield uniform_pool(space, half, seed, wanted=wanted, inside=limited, known_ids=known)
            return
        codec = self.engine.model.codec
        guide = restriction.guide(codec, costs, self.aims.mask)
        for seed, quantile in ((first, None), (first + 1, 9)):
            request = Request(half, seed, self.options.temperature, quantile, guide)
            yield fill_pool(self.engine.proposer, codec, request, inside=inside, known_ids=known)

    def _promising(self, restriction: Restriction, known: set[str]) -> Choices:
        """New architectures inside the restriction of which the sources expect most."""
        if self.prior is None:
            return np.empty((0, len(self.task.space.decisions)), dtype=np.int8)
        rows = self.prior.promising(PROMISING + len(known))
        rows = rows[[identity not in known for identity in self.task.space.ids(rows)]]
        return rows[self._inside(restriction, rows)][:PROMISING]

    def _local(
        self, number: int, observed: Observations, restriction: Restriction, known: set[str]
    ) -> Choices:
        """New architectures inside the restriction, a step or two from the best five, or from the front."""
        space = self.task.space
        if not self.options.local or not len(observed):
            return np.empty((0, len(space.decisions)), dtype=np.int8)
        best = observed.choices[np.argsort(-observed.scores, kind="stable")[:5]]
        if self.aims.objectives is not None:
            costs = self.aims.objectives.of(observed.choices)
            best = observed.choices[nondominated(observed.scores, costs)]
        rows = mutate(space, best, self.options.local, stream(self.options.seed, number, 5))
        rows = rows[self._inside(restriction, rows)]
        first = {identity: i for i, identity in reversed(list(enumerate(space.ids(rows))))}
        return rows[sorted(i for identity, i in first.items() if identity not in known)]

    def _inside(self, restriction: Restriction, rows: Choices) -> NDArray[np.bool_]:
        """Which rows (n, D) neither a principle nor the constraint rules out: (n,)."""
        inside = restriction.inside(rows, self.task.bench.costs)
        if self.aims.feasible is not None:
            inside[inside] = self.aims.feasible.allows(rows[inside])
        return inside


def _add_counts(counts: dict[str, Any], pool: Pool) -> None:
    for name in ("asked", "unfinished", "invalid", "duplicate", "known", "outside", "seconds"):
        counts[name] = counts.get(name, 0) + getattr(pool, name)
    counts["kept"] = counts.get("kept", 0) + len(pool.choices)
