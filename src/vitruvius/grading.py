"""How good are the principles of a reasoner? Judged on tables in which every answer is known.

A reasoner is shown a few architectures of a table, drawn uniformly, and all others judge what it proposes:

- does a principle tell something beyond what came before it, and beyond what counting tells?
- does following all of them keep the best architectures while the space is cut?
- does a uniform sampler that follows them find better ones sooner?

`vitruvius.exam` asks this of one reasoner in a few minutes, `benchmarks/reasoning.py` of many, at length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.reasoner import Brief
from vitruvius.agents.statistics import candidates
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices
from vitruvius.knowledge.observations import Observations, midranks
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Proposal

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHOWN = 50
"""Architectures that a reasoner is shown."""
USEFUL = 0.1
"""Least effect, in quantile units, of a principle that tells something."""
TOP = 0.01
"""Share of the space that counts as the best."""
KEPT = 0.1
"""Share of the space that a sampler draws from, when principles steer it."""
SAME = 1e-3
"""A principle of which a smaller share of its variance is new says nothing new."""
TIES = 10
"""How often ties at the border of that share are broken anew."""


@dataclass(frozen=True)
class KnownTask:
    """A task with every score known, each class of architectures once; N of them.

    Attributes:
        task: The task.
        rows: (N, D) what is measured when a class is drawn.
        scores: (N,) validation scores turned so that larger is better.
    """

    task: Task
    rows: Choices
    scores: Floats

    @classmethod
    def open(cls, task: Task) -> KnownTask:
        """Look every class of a table up; takes seconds."""
        space, everything = task.space, task.space.enumerate()
        first: dict[str, int] = {}
        for place, identity in enumerate(space.ids(everything)):
            first.setdefault(identity, place)
        members = space.architectures(everything[list(first.values())])
        stand_ins = [task.bench.representative(member) for member in members]
        measured = {m.key: m.score for m in task.bench.measure(stand_ins) if m.score is not None}
        known = [one for one in stand_ins if one.key in measured]
        scores = task.better(np.array([measured[one.key] for one in known], dtype=np.float64))
        return cls(task, space.rows(known), scores)

    @cached_property
    def population(self) -> Population:
        """All architectures, as predicates see them."""
        return Population(self.task.space, self.rows, self.task.bench.costs)

    @cached_property
    def quantiles(self) -> Floats:
        """Mid-rank of each score among all: (N,), 1 is the best."""
        return midranks(self.scores, self.scores)

    @cached_property
    def best(self) -> Mask:
        """The best hundredth: (N,)."""
        return self.scores >= np.quantile(self.scores, 1 - TOP)


@dataclass(frozen=True)
class Draw:
    """What a reasoner is shown of a known task, and what is kept to judge it.

    Attributes:
        known: The task.
        seen: (n,) places of what is shown.
        brief: What the reasoner gets.
    """

    known: KnownTask
    seen: NDArray[np.int64]
    brief: Brief

    @classmethod
    def of(cls, known: KnownTask, seed: int, *, shown: int = SHOWN, limit: int = 12) -> Draw:
        """Draw uniformly among the classes of a task."""
        rng = np.random.default_rng([seed, 50])
        seen = np.sort(rng.choice(len(known.scores), size=shown, replace=False))
        scores, task = known.scores[seen], known.task
        nothing = np.zeros(shown, dtype=np.bool_)
        observed = Observations(
            task.space, task.name, task.label, known.rows[seen], scores, ~nothing, nothing,
            np.arange(shown), np.sort(scores), dict(task.bench.costs(known.rows[seen])),
        )  # fmt: skip
        return cls(known, seen, Brief(task.space, task.name, [observed], [], limit=limit, seed=seed))

    @property
    def observed(self) -> Observations:
        """What is shown."""
        return self.brief.observations[0]

    @cached_property
    def unseen(self) -> Mask:
        """What judges: (N,)."""
        mask = np.ones(len(self.known.scores), dtype=np.bool_)
        mask[self.seen] = False
        return mask

    @cached_property
    def simple(self) -> tuple[list[Predicate], Mask]:
        """Every simple predicate that splits what is shown, and where it holds there: (c, n)."""
        shown = Population(self.brief.space, self.observed.choices, self.observed.costs)
        found = candidates(self.brief.space, [shown])
        masks = np.stack([predicate.holds(shown) for predicate in found])
        usable = np.flatnonzero(masks.any(axis=1) & ~masks.all(axis=1))
        return [found[i] for i in usable], masks[usable]

    @cached_property
    def counted(self) -> Floats:
        """What counting says of every architecture, from what is shown: (N,).

        The control that needs no principles: how often each of its choices occurs among the ten best shown,
        as the sum of the logarithms.
        """
        rows, total = self.known.rows, np.zeros(len(self.known.rows))
        best = self.observed.choices[np.argsort(-self.observed.scores, kind="stable")[:10]]
        for column, size in enumerate(self.known.task.space.cardinalities.tolist()):
            counts = np.bincount(best[:, column], minlength=size) + 1.0 / size
            total += np.log(counts / counts.sum())[rows[:, column]]
        return _ties(total)


def holds(known: KnownTask, proposals: Sequence[Proposal]) -> Mask:
    """Where each principle's predicate holds: (p, N)."""
    masks = [Predicate.parse(proposal.predicate).holds(known.population) for proposal in proposals]
    return np.array(masks, dtype=np.bool_).reshape(len(masks), len(known.scores))


def own_effects(draw: Draw, proposals: Sequence[Proposal], *, beyond_counting: bool) -> list[float]:
    """What each principle tells of unseen architectures that was not known before it, in quantile units.

    The coefficient of its predicate, in its direction, in a regression of the quantile on the principles that
    were handed in before it; a principle that follows from these has none.

    Args:
        draw: What was shown and what judges.
        proposals: In the order in which they were handed in.
        beyond_counting: What counting says is known as well.
    """
    values = draw.known.quantiles[draw.unseen]
    columns = [draw.counted[draw.unseen]] if beyond_counting else []
    columns += [*holds(draw.known, proposals)[:, draw.unseen].astype(np.float64)]
    basis = np.zeros((1 + len(columns), len(values)))  # what is known so far, orthonormal
    basis[0] = 1.0 / np.sqrt(len(values))
    effects: list[float] = []
    for number, column in enumerate(columns, start=1):
        rest = column - (basis[:number] @ column) @ basis[:number]
        size = float(rest @ rest)
        new = size > SAME * len(values) * float(column.var())
        effects.append(float(rest @ values) / size if new else 0.0)
        if new:
            basis[number] = rest / np.sqrt(size)
    effects = effects[len(effects) - len(proposals) :]
    return [e if p.direction > 0 else -e for e, p in zip(effects, proposals, strict=True)]


def agreement(known: KnownTask, proposals: Sequence[Proposal]) -> Floats:
    """How much each architecture agrees with principles: the expected effects of those it follows, (N,).

    A principle without an expected effect counts as one of 0.1.
    """
    wanted = np.array([proposal.direction > 0 for proposal in proposals], dtype=np.bool_)
    sizes = np.array([abs(p.expected) if p.expected else USEFUL for p in proposals], dtype=np.float64)
    return _ties(sizes @ (holds(known, proposals) == wanted[:, None]))


def _ties(ranking: Floats) -> Floats:
    """Equals made equal again, that the order of a sum has set apart."""
    return ranking.round(9)


def area(known: KnownTask, ranking: Floats) -> float:
    """Area under "share of the best hundredth kept" over "share of the space cut", worst-ranked first.

    0.5 is chance, 1 is perfect; equals are cut in random order.
    """
    return float(midranks(ranking, ranking[known.best]).mean())


def regret(draw: Draw, ranking: Floats, evaluations: int) -> float:
    """Expected regret of a uniform sampler that a ranking steers, in units of the task's metric.

    It draws without repeats among the tenth of the space that ranks highest, what was shown left out. The
    expectation over its draws is exact; equals at the border are chosen at random, `TIES` times.
    """
    rng = np.random.default_rng([draw.brief.seed, 51])
    places = np.flatnonzero(draw.unseen)
    size = min(max(round(KEPT * len(draw.known.scores)), evaluations), len(places))
    later = np.arange(size - 1)
    ratios = (size - evaluations - later).clip(min=0) / (size - 1 - later)
    # The chance that the best of so many draws is the first, second ... best of the set.
    chance = evaluations / size * np.cumprod(np.r_[1.0, ratios])
    found = 0.0
    for _ in range(TIES):
        order = np.lexsort((rng.random(len(places)), -ranking[places]))
        scores = np.sort(draw.known.scores[places[order[:size]]])[::-1]
        found += float(chance @ scores) / TIES
    return float(draw.known.scores.max()) - found


def random_principles(draw: Draw, coverages: Sequence[float], rng: np.random.Generator) -> list[Proposal]:
    """The control by chance: simple predicates that hold for about so much, signs read from what is shown.

    Args:
        draw: What is shown.
        coverages: Share of the shown for which each should hold.
        rng: Chooses one of the ten nearest.
    """
    simple, masks = draw.simple
    shares, values = masks.mean(axis=1), draw.observed.quantiles
    found: list[Proposal] = []
    for coverage in coverages:
        nearest = np.lexsort((rng.random(len(simple)), np.abs(shares - coverage)))[:10]
        at = int(rng.choice(nearest))
        mask = masks[at]
        effect = float(values[mask].mean() - values[~mask].mean())
        direction = 1 if effect >= 0 else -1
        sentence, form = simple[at].sentence(), simple[at].to_json()
        found.append(Proposal(sentence, form, draw.brief.space.name, draw.brief.target, direction, effect))
    return found


__all__ = [
    "KEPT", "SHOWN", "TOP", "USEFUL", "Draw", "KnownTask", "agreement", "area", "holds", "own_effects",
    "random_principles", "regret",
]  # fmt: skip
