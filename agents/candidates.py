"""From a restriction to the next batch: draw codes, decode, choose, and always keep a share open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.engine import Engine
from vitruvius.agents.offspring import mutate
from vitruvius.agents.options import Options
from vitruvius.agents.selection import Selector
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.pool import Pool, fill_pool
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.pruning import Restriction


@dataclass(slots=True)
class Batch:
    """What is to be measured next, and why.

    Attributes:
        number: Position in the session, from 0.
        keys: Exact architectures, in order.
        shares: Key -> "initial", "open" or "model".
        reasons: Key -> why it was chosen.
        pool: Counts of the generator's draw.
        codes: Key -> code text, for architectures that the code model wrote.
    """

    number: int
    keys: list[str] = field(default_factory=list[str])
    shares: dict[str, str] = field(default_factory=dict[str, str])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    pool: dict[str, Any] = field(default_factory=dict[str, Any])
    codes: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, task: Task, row: NDArray[np.int8], share: str, reason: str) -> None:
        """Append the architecture that is measured for the class of this row (D,)."""
        key = task.bench.representative(task.space.architectures(row[None])[0]).key
        self.keys.append(key)
        self.shares[key] = share
        self.reasons[key] = reason


def stream(seed: int, batch: int, purpose: int) -> np.random.Generator:
    """The random stream of one purpose in one batch: independent of how often the session was stopped."""
    return np.random.default_rng([seed, batch, purpose])


def draw_new(
    space: SearchSpace, n: int, known: set[str], rng: np.random.Generator, tries: int = 50
) -> Choices:
    """Draw up to n architectures uniformly whose ids are new, each id once: (m, D), m <= n."""
    found: list[NDArray[np.int8]] = []
    taken = set(known)
    for _ in range(tries):
        rows = space.sample(max(n, 16), rng)
        for row, identity in zip(rows, space.ids(rows), strict=True):
            if len(found) < n and identity not in taken:
                taken.add(identity)
                found.append(row)
        if len(found) == n:
            break
    return np.array(found, dtype=np.int8).reshape(-1, len(space.decisions))


def open_due(options: Options, counted: int, evaluations: int, opened: int, size: int) -> int:
    """How many of the next `size` evaluations belong to the open share.

    The share is spread evenly over what follows the initial design, and never falls behind.
    """
    wanted = max(options.open_share * evaluations, min(options.open_minimum, evaluations - options.initial))
    span = max(evaluations - options.initial, 1)
    progress = min(max(counted + size - options.initial, 0) / span, 1.0)
    return min(size, max(0, math.ceil(wanted * progress - 1e-9) - opened))


def initial_batch(task: Task, options: Options, known: set[str], size: int, number: int) -> Batch:
    """A part of the uniform design that a session starts with."""
    batch = Batch(number)
    rows = draw_new(task.space, size, known, stream(options.seed, number, 0))
    for row in rows:
        batch.add(task, row, "initial", "uniform initial design")
    return batch


def next_batch(
    number: int,
    task: Task,
    options: Options,
    engine: Engine,
    observed: Observations,
    restriction: Restriction,
    known: set[str],
    *,
    size: int,
    open_size: int,
) -> Batch:
    """Draw a pool, choose from it, and add the open share.

    Args:
        number: Number of the batch.
        task: The target.
        options: Settings of the session.
        engine: The code model and what serves it.
        observed: What was measured on the target.
        restriction: What the principles leave of the space.
        known: Ids that need no further evaluation.
        size: Architectures in the batch.
        open_size: How many of them are drawn from the whole space.

    Returns:
        The batch; smaller than `size` only where the space is used up.
    """
    batch = Batch(number)
    space = task.space
    taken = set(known)
    rows = draw_new(space, open_size, taken, stream(options.seed, number, 1))
    taken.update(space.ids(rows))
    for row in rows:
        batch.add(task, row, "open", "open share: uniform over the whole space")
    wanted = size - len(batch.keys)
    pool, batch.pool = _pool(number, task, options, engine, observed, restriction, taken)
    for row, reason in _choose(number, task, options, observed, restriction, pool, min(wanted, len(pool))):
        taken.update(space.ids(row[None]))
        batch.add(task, row, "model", reason)
    _note_codes(batch, task, engine)
    missing = size - len(batch.keys)
    if missing > 0:
        rows = draw_new(space, missing, taken, stream(options.seed, number, 4))
        for row in rows:
            batch.add(task, row, "open", "the pool had nothing new: uniform over the whole space")
    return batch


def _note_codes(batch: Batch, task: Task, engine: Engine) -> None:
    """Write down the codes of what was chosen from the pool."""
    chosen = [key for key in batch.keys if batch.shares[key] == "model"]
    if not chosen:
        return
    from vitruvius.generator.codes import format_codes

    codes = engine.model.codec.encode(task.space.rows(task.space.parse(key) for key in chosen))
    batch.codes = {key: format_codes(row) for key, row in zip(chosen, codes, strict=True)}


def _choose(
    number: int,
    task: Task,
    options: Options,
    observed: Observations,
    restriction: Restriction,
    pool: Choices,
    k: int,
) -> list[tuple[NDArray[np.int8], str]]:
    if k <= 0:
        return []
    if options.selection == "random":
        picks = stream(options.seed, number, 3).permutation(len(pool))[:k]
        return [(pool[i], "drawn at random from the pool") for i in picks]
    weights = restriction.weights(pool, task.bench.costs)
    selector = Selector(task.space, seed=options.seed)
    chosen = selector.choose(observed.choices, observed.scores, pool, weights, k, seed=number)
    return [(pool[i], reason) for i, reason in zip(chosen.rows, chosen.reasons, strict=True)]


def _pool(
    number: int,
    task: Task,
    options: Options,
    engine: Engine,
    observed: Observations,
    restriction: Restriction,
    taken: set[str],
) -> tuple[Choices, dict[str, Any]]:
    """Candidates of the code model, half of them asked for the best tenth, and neighbours of the best."""

    def inside(choices: Choices) -> NDArray[np.bool_]:
        return restriction.inside(choices, task.bench.costs)

    codec = engine.model.codec
    allowed = restriction.codes(codec, task.bench.costs) if restriction.hard else None
    known = set(taken)
    parts: list[Choices] = []
    counts: dict[str, Any] = {}
    for half, quantile in enumerate((None, 9)):
        request = Request(
            n=options.pool // 2,
            seed=int(stream(options.seed, number, 2).integers(2**31)) + half,
            temperature=options.temperature,
            quantile=quantile,
            allowed=allowed,
        )
        pool = fill_pool(engine.proposer, codec, request, inside=inside, known_ids=known)
        known.update(task.space.ids(pool.choices))
        parts.append(pool.choices)
        _add_counts(counts, pool)
    if options.local and len(observed):
        parts.append(_local(number, task, options, observed, inside, known))
        counts["local"] = len(parts[-1])
    return np.concatenate(parts), counts


def _add_counts(counts: dict[str, Any], pool: Pool) -> None:
    for name in ("asked", "unfinished", "invalid", "duplicate", "known", "outside", "seconds"):
        counts[name] = counts.get(name, 0) + getattr(pool, name)
    counts["kept"] = counts.get("kept", 0) + len(pool.choices)


def _local(
    number: int, task: Task, options: Options, observed: Observations, inside: Any, known: set[str]
) -> Choices:
    best = observed.choices[np.argsort(-observed.scores, kind="stable")[:5]]
    rows = mutate(task.space, best, options.local, stream(options.seed, number, 5))
    rows = rows[inside(rows)]
    keep: list[int] = []
    taken = set(known)
    for i, identity in enumerate(task.space.ids(rows)):
        if identity not in taken:
            taken.add(identity)
            keep.append(i)
    return rows[keep]
