"""Principles that cannot both be right: told apart by what was measured where they meet.

Two kinds. *Pairs*: two principles whose predicates hold for much the same architectures and claim
opposite effects. "A is worse" is the same claim as "not A is better", so overlap is told by the correlation
of the predicates, which does not care which side is named. *Tasks*: one principle that fresh evidence
supports on one task and refutes on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitruvius.knowledge.evidence import Thresholds, in_scope
from vitruvius.knowledge.measured import Measured
from vitruvius.knowledge.population import Mask, Population
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Effect, Principle, PrincipleStatus

OVERLAP = 0.5
"""Least correlation of two predicates over measured architectures to speak of the same thing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the architectures that were drawn uniformly on one task.

    Attributes:
        number: How many.
        quantile: Their mean quantile; nan where there are none.
    """

    number: int
    quantile: float


@dataclass(frozen=True, slots=True)
class Opposed:
    """Two principles with opposite claims about much the same architectures.

    Attributes:
        first: The one that was proposed earlier.
        second: The other.
        task: Where the figures were measured.
        overlap: Correlation of the predicates there, over everything measured, turned so that claims that
            speak against each other are positive: 1 where each says the contrary of the other.
        groups: Uniform draws for which both predicates hold, the first only, the second only, and neither.
    """

    first: Principle
    second: Principle
    task: str
    overlap: float
    groups: tuple[Group, Group, Group, Group]


@dataclass(frozen=True, slots=True)
class Divided:
    """A principle that holds on some tasks and is refuted on others, by fresh evidence.

    Attributes:
        principle: The principle.
        holds: Task -> effect, where the whole interval lies on the side claimed.
        refuted: Task -> effect, where it excludes a useful effect on that side.
    """

    principle: Principle
    holds: dict[str, Effect]
    refuted: dict[str, Effect]


def opposed(
    principles: Sequence[Principle], places: Sequence[Measured], overlap: float = OVERLAP
) -> list[Opposed]:
    """Pairs with opposite claims, the largest overlap first; each on the task where it is largest.

    Args:
        principles: What is compared; those that were superseded or retracted are left out.
        places: What was measured.
        overlap: Least overlap, above 0 and at most 1.
    """
    gone = (PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED)
    standing = [principle for principle in principles if principle.status not in gone]
    found: dict[tuple[str, str], Opposed] = {}
    for place in places:
        for pair in _opposed_on(standing, place, overlap):
            names = (pair.first.id, pair.second.id)
            if names not in found or found[names].overlap < pair.overlap:
                found[names] = pair
    return sorted(found.values(), key=lambda pair: -pair.overlap)


def _opposed_on(principles: Sequence[Principle], place: Measured, least: float) -> list[Opposed]:
    observed = place.observations
    population = Population(observed.space, observed.choices, observed.costs)
    claims: list[Principle] = []
    masks: list[Mask] = []
    for principle in principles:
        predicate = predicate_from_json(principle.proposal.predicate)
        if in_scope(principle.proposal, predicate, observed):
            mask = predicate.holds(population)
            if 0 < mask.sum() < len(mask):
                claims.append(principle)
                masks.append(mask)
    if len(claims) < 2:
        return []
    turned = np.corrcoef(np.array(masks)) * np.array([p.proposal.direction for p in claims])
    against = -turned * np.array([p.proposal.direction for p in claims])[:, None]
    return [
        Opposed(claims[i], claims[j], place.task, float(against[i, j]), _groups(place, masks[i], masks[j]))
        for i, j in np.argwhere(np.triu(against >= least, k=1)).tolist()
    ]


def _groups(place: Measured, first: Mask, second: Mask) -> tuple[Group, Group, Group, Group]:
    quantiles, uniform = place.observations.quantiles, place.observations.uniform

    def group(mask: Mask) -> Group:
        values = quantiles[mask & uniform]
        return Group(len(values), float(values.mean()) if len(values) else float("nan"))

    return group(first & second), group(first & ~second), group(~first & second), group(~first & ~second)


def divided(principles: Sequence[Principle], thresholds: Thresholds = Thresholds()) -> list[Divided]:
    """Principles that hold on one task and are refuted on another, in the order given."""
    found: list[Divided] = []
    for principle in principles:
        sign = 1.0 if principle.proposal.direction > 0 else -1.0
        holds: dict[str, Effect] = {}
        refuted: dict[str, Effect] = {}
        for told in principle.evidence.tasks:
            if told.fresh is None:
                continue
            low, high = sorted((sign * told.fresh.low, sign * told.fresh.high))
            if low > 0:
                holds[told.task] = told.fresh
            elif high < thresholds.useful:
                refuted[told.task] = told.fresh
        if holds and refuted:
            found.append(Divided(principle, holds, refuted))
    return found
