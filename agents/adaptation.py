"""Principles from elsewhere on the target: believed as far as it follows, dropped where it objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitruvius.knowledge.observations import Observations, midranks
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Principle, PrincipleStatus

FEWEST = 3
"""Measurements that must hold, and that must lack, before the target can contradict a principle."""
CLEAR = 1.0
"""Standard errors on the wrong side from which it does."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What was measured on the target says the opposite of a principle.

    Attributes:
        principle: Its id.
        effect: Mean rank of what holds minus what lacks, in the principle's direction: negative.
        measured: How many measurements say so.
    """

    principle: str
    effect: float
    measured: int

    def line(self) -> str:
        """For people."""
        return (
            f"principle {self.principle} is dropped for now: the target says the opposite "
            f"({self.effect:+.2f} on {self.measured} measured architectures)"
        )


def contradiction(principle: Principle, observed: Observations) -> Contradiction | None:
    """Whether everything measured on the target, uniform or not, speaks clearly against a principle.

    A caution, no verdict: its status is a matter of evidence from uniform draws. What was said of another
    task of the space only acts here too, so it can be contradicted here.
    """
    proposal, predicate = principle.proposal, Predicate.parse(principle.proposal.predicate)
    speaks = proposal.space in ("any", observed.space.name) and predicate.fits(observed.space, observed.costs)
    if not len(observed) or not speaks:
        return None
    holds = predicate.holds(Population(observed.space, observed.choices, observed.costs))
    ranks = midranks(observed.scores, observed.scores)
    sides = ranks[holds], ranks[~holds]
    if min(map(len, sides)) < FEWEST:
        return None
    sign = 1.0 if principle.proposal.direction > 0 else -1.0
    effect = sign * float(sides[0].mean() - sides[1].mean())
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    error = np.sqrt(squares / (len(ranks) - 2) * sum(1.0 / len(side) for side in sides))
    return Contradiction(principle.id, effect, len(ranks)) if effect < -CLEAR * error else None


def adapted(
    principles: Sequence[Principle], observed: Observations, trust: float
) -> tuple[list[Principle], list[Contradiction]]:
    """Supported principles as they should act on the target, and what it contradicts.

    Args:
        principles: The session's.
        observed: What was measured on the target.
        trust: How far the target follows the sources, 0 to 1: what they say counts by so much. What fresh
            evidence of the target's own says counts whole.
    """
    acting: list[Principle] = []
    against: list[Contradiction] = []
    for principle in principles:
        if principle.status is not PrincipleStatus.SUPPORTED:
            continue
        wrong = contradiction(principle, observed)
        if wrong is not None:
            against.append(wrong)
        else:
            acting.append(_believed(principle, observed.task, trust))
    return acting, against


def _believed(principle: Principle, target: str, trust: float) -> Principle:
    """A principle with its joined effect scaled by trust, but never below what the target alone has shown."""
    joined = principle.evidence.joined
    if joined is None:
        return principle
    scaled = replace(
        joined, estimate=trust * joined.estimate, low=trust * joined.low, high=trust * joined.high
    )
    own = next((one.fresh for one in principle.evidence.tasks if one.task == target), None)
    sign = principle.proposal.direction
    if own is not None and _strength(own.low, own.high, sign) > _strength(scaled.low, scaled.high, sign):
        scaled = own
    return replace(principle, evidence=replace(principle.evidence, joined=scaled))


def _strength(low: float, high: float, direction: int) -> float:
    return low if direction > 0 else -high
