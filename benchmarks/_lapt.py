"""LAPT (Zhou et al., AAAI 2025, arXiv 2408.11330) without a leak: lists of allowed choices, evolution inside.

Who makes the lists, and makes them anew when the search is due for adaptation, is an adviser: counting, which
is what the lists of a language model amount to, or a language model that goes through the paper's chain
(`_lapt_chain`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.baselines import Curve, Purse
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices

T = TypeVar("T")
Row = NDArray[np.int8]
Lists = list[NDArray[np.intp]]
"""For each decision, the positions of the choices that are allowed."""

LISTED = {"nasbench201": 2}
"""Choices that are left at each decision: at most 2 on NAS-Bench-201, at most 3 elsewhere."""
EVOLUTION = {20: (5, 2), 50: (10, 5)}
"""Population and tournament of the search by budget."""
ADAPTATIONS = {20: (5, (10, 15)), 50: (15, (20, 30, 40))}
"""How many of the best found are shown, and after which evaluations, by budget."""


class Adviser(Protocol):
    """Makes the lists."""

    def begin(self) -> Lists:
        """From the best of the sources."""
        ...

    def improved(self, best: Choices) -> Lists:
        """The search has found better since the last advice; `best` (n, D) are the best so far."""
        ...

    def stuck(self) -> Lists:
        """It has not."""
        ...


def search(task: Task, adviser: Adviser, evaluations: int, seed: int) -> Curve:
    """Regularised evolution among what the lists leave, with adaptation after the paper's evaluations."""
    size, tournament = by_budget(EVOLUTION, evaluations)
    shown, when = by_budget(ADAPTATIONS, evaluations)
    lists = adviser.begin()
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    population: deque[tuple[float, Row]] = deque()
    best, found, due = -np.inf, list[tuple[float, Row]](), list(when)
    while purse.open:
        if due and len(purse.curve.keys) >= due[0]:
            due.pop(0)
            top = max(score for score, _ in found)
            order = sorted(found, key=lambda one: -one[0])[:shown]
            lists = adviser.improved(np.array([row for _, row in order])) if top > best else adviser.stuck()
            best = top
        child = _child(task, lists, population if len(population) >= size else None, tournament, rng)
        found.append((age(task, purse, population, child, size), child))
    return purse.curve


def _child(
    task: Task,
    lists: Lists,
    population: Sequence[tuple[float, Row]] | None,
    tournament: int,
    rng: np.random.Generator,
) -> Row:
    """A legal row (D,) out of the lists: drawn, or the winner of a tournament with one decision changed."""
    parent = None if population is None else winner(population, tournament, rng)
    for _ in range(200):
        row = np.array([rng.choice(allowed) for allowed in lists], dtype=np.int8)
        if parent is not None:
            column = int(rng.integers(len(row)))
            row, changed = parent.copy(), row[column]
            row[column] = changed
        if task.space.legal(row[None])[0]:
            return row
    return task.space.sample(1, rng)[0]


def winner(population: Sequence[tuple[float, Row]], tournament: int, rng: np.random.Generator) -> Row:
    """The best of some that are drawn."""
    rivals = rng.choice(len(population), size=min(tournament, len(population)), replace=False)
    return max((population[int(i)] for i in rivals), key=lambda one: one[0])[1]


def age(task: Task, purse: Purse, population: deque[tuple[float, Row]], row: Row, size: int) -> float:
    """Measure a legal row (D,), let it join, and let the oldest die."""
    score = purse.score(task.space.architectures(task.space.normalise(row[None]))[0])
    population.append((score, row))
    if len(population) > size:
        population.popleft()
    return score


def by_budget(settings: Mapping[int, T], evaluations: int) -> T:
    """The setting of the smaller or of the larger budget of the paper."""
    return settings[20] if evaluations <= 20 else settings[50]


def frequent(rows: Choices, column: int, choices: int) -> NDArray[np.float64]:
    """How often each choice of a decision occurs."""
    return np.bincount(rows[:, column], minlength=choices).astype(np.float64)


def ranked(often: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions, most frequent first."""
    return np.argsort(-often, kind="stable")


@dataclass(frozen=True)
class Counted:
    """The 2 or 3 most frequent choices of each decision among the best of the source.

    Where the best has improved, they are counted again among the best found; where it has not, the choice
    that was counted least makes room for the next one of the source.

    Attributes:
        kept: Choices that are left at each decision.
        original: How often each choice occurs among the best of the sources, by decision.
    """

    kept: int
    original: Sequence[NDArray[np.float64]]

    def begin(self) -> Lists:
        """See `Adviser`."""
        return [ranked(often)[: self.kept] for often in self.original]

    def improved(self, best: Choices) -> Lists:
        """See `Adviser`."""
        counted = [frequent(best, i, len(c)) + c / 1e6 for i, c in enumerate(self.original)]
        return [ranked(often)[: self.kept] for often in counted]

    def stuck(self) -> Lists:
        """See `Adviser`."""
        kept = self.kept
        return [np.append(ranked(c)[: kept - 1], ranked(c)[kept : kept + 1]) for c in self.original]
