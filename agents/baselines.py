"""Baselines at equal budget: what a search must be compared with.

Each sees validation scores only and pays for every `id` it first learns; repeats cost nothing and give
nothing. Measurements are kept apart from every session's ledger.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from vitruvius.agents.aims import Feasible, limited
from vitruvius.errors import BudgetError
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Architecture, Choices

POPULATION, TOURNAMENT = 30, 10
"""Of regularised evolution, for budgets near 100; below 60 evaluations the population is half the budget."""
PATIENCE = 200
"""Tries for each evaluation after which a space counts as used up."""


@dataclass(slots=True)
class Curve:
    """What a method learned, in the order in which it paid.

    Attributes:
        maximize: Whether larger scores are better.
        keys: Exact architecture of each evaluation.
        ids: Its canonical identity.
        scores: Its validation score; None where the measurement failed.
    """

    maximize: bool
    keys: list[str] = field(default_factory=list[str])
    ids: list[str] = field(default_factory=list[str])
    scores: list[float | None] = field(default_factory=list[float | None])

    @property
    def incumbents(self) -> list[int | None]:
        """Position of the best so far after each evaluation; None before the first score."""
        best: int | None = None
        found: list[int | None] = []
        for position, score in enumerate(self.scores):
            if score is not None:
                held = None if best is None else self.scores[best]
                if held is None or (score > held if self.maximize else score < held):
                    best = position
            found.append(best)
        return found

    @property
    def best_so_far(self) -> list[float | None]:
        """Score of the best so far after each evaluation; None before the first score."""
        return [None if i is None else self.scores[i] for i in self.incumbents]


class Purse:
    """Measures for a baseline, and pays once for each identity.

    Attributes:
        curve: What was paid for, in order.
    """

    def __init__(self, task: Task, evaluations: int, feasible: Feasible | None = None) -> None:
        """A purse with so many evaluations; what is not feasible, or not in the table, is never bought."""
        self.task = task
        self.feasible = limited(task) if feasible is None else feasible
        self.curve = Curve(task.metric.maximize)
        self._left = evaluations
        space = task.space
        if self.feasible is not None and space.size is not None:
            most = int(self.feasible.everywhere.sum())
        else:
            most = space.size or evaluations
        self._tries = PATIENCE * min(evaluations, most)
        self._known: dict[str, float] = {}

    @property
    def open(self) -> bool:
        """Whether something can still be bought."""
        return self._left > 0 and self._tries > 0

    def score(self, architecture: Architecture) -> float:
        """The score turned so that larger is better; minus infinity where it failed, or not feasible."""
        self._tries -= 1
        identity = architecture.id
        if self.feasible is not None and not self.feasible.allows(architecture.row)[0]:
            return -math.inf
        if identity not in self._known:
            representative = self.task.bench.representative(architecture)
            measurement = next(iter(self.task.bench.measure([representative])))
            self._left -= 1
            score = measurement.score if measurement.ok else None
            self.curve.keys.append(measurement.key)
            self.curve.ids.append(identity)
            self.curve.scores.append(score)
            value = -math.inf if score is None else float(self.task.better(np.array([score]))[0])
            self._known[identity] = value
        return self._known[identity]

    def draw(self, rng: np.random.Generator) -> Architecture:
        """One feasible architecture, uniformly."""
        space = self.task.space
        if self.feasible is None:
            return space.architectures(space.sample(1, rng))[0]
        for _ in range(PATIENCE):
            rows = self.feasible.sample(8, rng)
            if len(rows):
                return space.architectures(rows[:1])[0]
        raise BudgetError(f"Nothing could be drawn that satisfies {self.feasible.text()}.")


def random_search(task: Task, evaluations: int, seed: int, feasible: Feasible | None = None) -> Curve:
    """Uniform draws from the space, without repeats.

    Args:
        task: What is measured.
        evaluations: Budget.
        seed: All randomness comes from here.
        feasible: The part of the space to draw from; None for all of it.

    Returns:
        The curve; shorter than the budget only where the space is used up.
    """
    purse, rng = Purse(task, evaluations, feasible), np.random.default_rng(seed)
    while purse.open:
        purse.score(purse.draw(rng))
    return purse.curve


def regularised_evolution(task: Task, evaluations: int, seed: int, feasible: Feasible | None = None) -> Curve:
    """Evolution with ageing (Real et al., AAAI 2019): best of a tournament, one mutation, the oldest dies.

    The published population of 100 is meant for thousands of evaluations; see `POPULATION`.

    Args:
        task: What is measured.
        evaluations: Budget.
        seed: All randomness comes from here.
        feasible: The part of the space to stay in, None for all of it: other children die unmeasured.

    Returns:
        The curve; shorter than the budget only where the method finds nothing new any more.
    """
    purse, rng = Purse(task, evaluations, feasible), np.random.default_rng(seed)
    size = min(POPULATION, max(evaluations // 2, 2))
    tournament = max(1, round(size * TOURNAMENT / POPULATION))
    population: deque[tuple[float, Architecture]] = deque()
    while purse.open:
        if len(population) < size:
            child = purse.draw(rng)
        else:
            rivals = rng.choice(len(population), size=tournament, replace=False)
            child = _mutant(max((population[i] for i in rivals), key=_first)[1], rng)
            population.popleft()
        population.append((purse.score(child), child))
    return purse.curve


def local_search(task: Task, evaluations: int, seed: int) -> Curve:
    """Best of 10 random architectures, then always to the best of all neighbours; starts again at an optimum.

    The protocol of White, Nolen and Savani, UAI 2021.

    Args:
        task: What is measured.
        evaluations: Budget.
        seed: All randomness comes from here.

    Returns:
        The curve; shorter than the budget only where the space is used up.
    """
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    while purse.open:
        here = max(((purse.score(a), a) for a in _several(rng, 10, purse)), key=_first)
        while purse.open:
            near = task.space.architectures(task.space.neighbours(here[1].row))
            around = [(purse.score(near[i]), near[i]) for i in rng.permutation(len(near)) if purse.open]
            best = max(around, key=_first, default=here)
            if best[0] <= here[0]:
                break
            here = best
    return purse.curve


METHODS: dict[str, Callable[[Task, int, int], Curve]] = {
    "random": random_search,
    "evolution": regularised_evolution,
    "local": local_search,
}
"""Baselines by their short names."""


def _first(pair: tuple[float, Architecture]) -> float:
    return pair[0]


def _several(rng: np.random.Generator, n: int, purse: Purse) -> Iterator[Architecture]:
    """Draws one by one, as long as they can be paid for."""
    for _ in range(n):
        if purse.open:
            yield purse.draw(rng)


def _mutant(parent: Architecture, rng: np.random.Generator) -> Architecture:
    """One decision changed, uniformly among the ways that give another legal architecture."""
    space = parent.space
    changed = np.repeat(parent.row, 32, axis=0)
    columns = rng.integers(len(space.decisions), size=32)
    changed[np.arange(32), columns] = rng.integers(space.cardinalities[columns])
    usable: Choices = space.normalise(changed[space.legal(changed)])
    usable = usable[space.numbers(usable) != space.numbers(parent.row)]
    if len(usable):
        return space.architectures(usable[:1])[0]
    near = space.neighbours(parent.row)
    return space.architectures(near[[int(rng.integers(len(near)))]])[0]
