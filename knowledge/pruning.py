"""Pruning: what the supported principles leave of a space.

Every supported principle becomes a soft term: architectures that follow it weigh more. A well supported
one also cuts, strongest first, for as long as enough of the space remains. What is cut stays reachable
through the open share of the budget, which is drawn from the whole space; a hit there re-opens it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.proposers.base import Guide
from vitruvius.generator.space import Architecture, Choices, SearchSpace, get_space
from vitruvius.knowledge import intervals
from vitruvius.knowledge.conditions import Bound
from vitruvius.knowledge.evidence import Thresholds
from vitruvius.knowledge.population import CostSource, Mask, Population
from vitruvius.knowledge.predicate import Not, Predicate
from vitruvius.knowledge.principle import Effect, Principle, PrincipleStatus
from vitruvius.knowledge.steering import Encodes, all_rows, guide_towards


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """How far principles may cut.

    Attributes:
        smallest_share: Least share of the space that stays.
        per_remaining: Least number of architectures that stay, for each evaluation left in the budget.
        hard_low: A principle cuts when its effect, in its direction, is at least this even at the lower
            end of the interval.
        least_cut: A cut that removes less than this share of what is left is not worth making.
        largest_cut: Nor may one principle remove more than this: an effect on the mean says little about the
            best of what would be lost.
        sharpness: An architecture against every principle weighs exp(-sharpness).
    """

    smallest_share: float = 0.01
    per_remaining: int = 20
    hard_low: float = 0.05
    least_cut: float = 0.01
    largest_cut: float = 0.5
    sharpness: float = 3.0

    def minimum(self, space: SearchSpace, remaining: int, part: float = 1.0) -> float:
        """Least share of a part of the space that must stay with so many evaluations remaining; at most 1."""
        size = part * (space.size or math.prod(space.cardinalities.tolist()))
        return min(1.0, max(self.smallest_share, self.per_remaining * max(remaining, 0) / size))


@dataclass(frozen=True, slots=True)
class Term:
    """One principle at work.

    Attributes:
        principle: Its id.
        predicate: Its predicate.
        wanted: Whether the predicate should hold, or should not, where the principle warns.
        strength: Lower end of its effect in its direction, in quantile units.
        hard: Whether architectures against it are cut.
    """

    principle: str
    predicate: Predicate
    wanted: bool
    strength: float
    hard: bool = False

    def follows(self, population: Population) -> Mask:
        """Which architectures follow the principle: (n,)."""
        return self.predicate.holds(population) == self.wanted

    def text(self) -> str:
        """What should hold, as text."""
        return self.predicate.text() if self.wanted else f"not ({self.predicate.text()})"


@dataclass(frozen=True, slots=True)
class Restriction:
    """What principles leave of a space: a mask from the hard terms, weights from all.

    Attributes:
        space_name: The space.
        terms: Strongest first.
        share: Share inside; exact where the space can be enumerated, else from a fixed sample.
        sharpness: See `PruneSettings`.
    """

    space_name: str
    terms: tuple[Term, ...] = ()
    share: float = 1.0
    sharpness: float = 3.0

    @property
    def space(self) -> SearchSpace:
        """The space."""
        return get_space(self.space_name)

    @property
    def hard(self) -> tuple[Term, ...]:
        """The terms that cut."""
        return tuple(term for term in self.terms if term.hard)

    def inside(self, choices: Choices, costs: CostSource | None = None) -> Mask:
        """Which rows (n, D) no term cuts: (n,).

        Args:
            choices: Legal, normal rows.
            costs: Needed where a term bounds a cost: their costs by name, or `task.bench.costs`.

        Raises:
            UnknownNameError: A term bounds a cost that `costs` does not have.
        """
        return _inside(self.hard, Population(self.space, choices, costs))

    def weights(self, choices: Choices, costs: CostSource | None = None) -> NDArray[np.float64]:
        """How much rows (n, D) agree with the principles: (n,), from exp(-sharpness) to 1 for full agreement.

        Raises:
            UnknownNameError: A term bounds a cost that `costs` does not have.
        """
        population = Population(self.space, choices, costs)
        total = sum(term.strength for term in self.terms)
        against = np.zeros(len(choices))
        for term in self.terms:
            against += term.strength / total * ~term.follows(population)
        return np.exp(-self.sharpness * against)

    def guide(
        self, codec: Encodes, costs: CostSource | None = None, among: Mask | None = None
    ) -> Guide | None:
        """What leads a proposer to architectures inside, and `among` those given; None where nothing is cut.

        See `guide_towards`; what is decoded is to be checked with `inside` all the same, since codecs and
        learned guides may err. Without `costs`, terms that bound a cost are left out here.
        """
        wanted = self.wanted(costs, among)
        return None if wanted is None else guide_towards(codec, self.space, wanted)

    def wanted(self, costs: CostSource | None = None, among: Mask | None = None) -> Mask | None:
        """Which of `steering.all_rows(space)` are inside and `among` those given; None if nothing is cut."""
        if not self.hard and among is None:
            return None
        inside = _inside(_checkable(self.hard, costs), _everything(self.space, costs))
        return inside if among is None else inside & among

    def describe(self, whole: str = "") -> list[str]:
        """What it does, one line for each term and one for the whole, which may have a name of its own."""
        lines = [
            f"{'only' if term.hard else 'rather'} {term.text()}  "
            f"[{term.principle}, at least {term.strength:+.2f}]"
            for term in self.terms
        ]
        kept, whole = "exactly" if self.space.size is not None else "about", whole or self.space_name
        if not self.hard:
            return [*lines, f"nothing is cut from {whole}"]
        return [*lines, f"{kept} {100 * self.share:.2f} % of {whole} is left"]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        terms = [
            {
                "principle": term.principle,
                "predicate": term.predicate.to_json(),
                "wanted": term.wanted,
                "strength": term.strength,
                "hard": term.hard,
            }
            for term in self.terms
        ]
        return {"space": self.space_name, "share": self.share, "sharpness": self.sharpness, "terms": terms}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Restriction:
        """Read what `to_json` wrote.

        Raises:
            UserError: The data is not of that form.
        """
        try:
            terms = [
                Term(
                    t["principle"],
                    Predicate.parse(t["predicate"]),
                    t["wanted"],
                    float(t["strength"]),
                    t["hard"],
                )
                for t in data["terms"]
            ]
            return cls(str(data["space"]), tuple(terms), float(data["share"]), float(data["sharpness"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"This is no restriction as `to_json` writes it: {error!r}.") from None


def prune(
    space: SearchSpace,
    principles: Sequence[Principle],
    *,
    remaining: int,
    costs: CostSource | None = None,
    settings: PruneSettings = PruneSettings(),
    among: Mask | None = None,
) -> Restriction:
    """Turn supported principles into a restriction.

    Args:
        space: The space.
        principles: Those that speak of the task at hand; only supported ones that fit the space count.
        remaining: Evaluations left in the budget.
        costs: `task.bench.costs`; principles that bound costs are left out without it.
        settings: How far principles may cut.
        among: Which of `steering.all_rows(space)` there are to choose from; None for all.

    Returns:
        The restriction; it keeps at least max(1 %, 20 x remaining) of these with default settings.
    """
    everything = _everything(space, costs)
    terms = [term for p in principles if (term := _term(p, everything)) is not None]
    terms.sort(key=lambda term: (-term.strength, term.principle))
    inside = np.ones(len(everything), dtype=np.bool_) if among is None else among
    whole = float(inside.mean())
    least = settings.minimum(space, remaining, whole)
    for at, term in enumerate(terms):
        if term.strength < settings.hard_low:
            break
        left = inside & term.follows(everything)
        removed = 1.0 - left.sum() / inside.sum()
        if left.mean() >= least * whole and settings.least_cut <= removed <= settings.largest_cut:
            inside, terms[at] = left, replace(term, hard=True)
    return Restriction(space.name, tuple(terms), float(inside.mean()) / whole, settings.sharpness)


def reopen(
    restriction: Restriction,
    architecture: Architecture,
    costs: CostSource | None = None,
    among: Mask | None = None,
) -> Restriction:
    """Take back the cuts that exclude an architecture which turned out well.

    Args:
        restriction: What is cut now.
        architecture: The hit from the open share.
        costs: Its costs by name, or `task.bench.costs` (then the new share counts cost bounds as well).
        among: As for `prune`.

    Returns:
        The restriction with those terms soft; the share left never shrinks.
    """
    one = Population(restriction.space, architecture.row, costs)
    terms = tuple(replace(term, hard=term.hard and bool(term.follows(one)[0])) for term in restriction.terms)
    if terms == restriction.terms:
        return restriction
    everywhere = costs if callable(costs) else None
    hard = _checkable([term for term in terms if term.hard], everywhere)
    inside = _inside(hard, _everything(restriction.space, everywhere))
    share = float((inside if among is None else inside[among]).mean())
    return replace(restriction, terms=terms, share=max(share, restriction.share))


@dataclass(frozen=True, slots=True)
class PruningCost:
    """What pruning cost, judged by the uniform draws of the open share.

    Attributes:
        effect: Mean quantile of draws outside minus inside, None where one of them has no draws.
    """

    effect: Effect | None

    @property
    def verdict(self) -> str:
        """One of "paid off", "cost something" and "cannot be told"."""
        if self.effect is None or self.effect.low <= 0.0 <= self.effect.high:
            return "cannot be told"
        return "paid off" if self.effect.high < 0.0 else "cost something"

    def sentence(self) -> str:
        """The verdict with its figures."""
        if self.effect is None:
            return "Whether pruning cost anything cannot be told: no uniform draws both inside and outside."
        e = self.effect
        return (
            f"Whether pruning cost anything: {self.verdict}; what was cut differs from what was kept by "
            f"{e.estimate:+.2f} in mean quantile (95 % interval {e.low:+.2f} to {e.high:+.2f}; "
            f"{e.holding} draws outside, {e.lacking} inside)."
        )


def pruning_cost(
    quantiles: NDArray[np.float64], inside: Mask, thresholds: Thresholds = Thresholds()
) -> PruningCost:
    """Compare what was cut with what was kept.

    Args:
        quantiles: (n,) scores of uniform draws from the whole space, as quantiles of the task's reference.
        inside: (n,) whether the restriction in force at the draw had each of them inside.
        thresholds: For the level of the interval.
    """
    shares = intervals.spread(quantiles)
    cut, kept = shares[~inside].sum(axis=0, keepdims=True), shares[inside].sum(axis=0, keepdims=True)
    if inside.all() or not inside.any():
        return PruningCost(None)
    low, high = intervals.difference(cut, kept, thresholds.level)
    estimate = float(intervals.means(cut)[0] - intervals.means(kept)[0])
    evalue = float(np.exp(intervals.log_evalue(cut, kept).clip(-600.0, 600.0))[0])
    counts = int((~inside).sum()), int(inside.sum())
    return PruningCost(Effect(estimate, float(low[0]), float(high[0]), *counts, evalue))


def _term(principle: Principle, everything: Population) -> Term | None:
    """The soft term of a principle; None where it must not act here."""
    joined, proposal = principle.evidence.joined, principle.proposal
    predicate = Predicate.parse(proposal.predicate)
    if principle.status is not PrincipleStatus.SUPPORTED or joined is None:
        return None
    costs = everything.costs if _bounds_cost(predicate) else {}  # not asked where nothing speaks of them
    if proposal.space not in ("any", everything.space.name) or not predicate.fits(everything.space, costs):
        return None
    strength = joined.low if proposal.direction >= 0 else -joined.high
    if strength <= 0.0:
        return None
    return Term(principle.id, predicate, proposal.direction >= 0, strength)


def _inside(hard: Sequence[Term], population: Population) -> Mask:
    inside = np.ones(len(population), dtype=np.bool_)
    for term in hard:
        inside &= term.follows(population)
    return inside


def _checkable(terms: Sequence[Term], costs: CostSource | None) -> list[Term]:
    """Terms that can be checked on any row: without a cost function, those that bound no cost."""
    return [term for term in terms if callable(costs) or not _bounds_cost(term.predicate)]


def _bounds_cost(predicate: Predicate) -> bool:
    parts = [*getattr(predicate, "parts", ()), *([predicate.part] if isinstance(predicate, Not) else [])]
    return isinstance(predicate, Bound) or any(_bounds_cost(part) for part in parts)


def _everything(space: SearchSpace, costs: CostSource | None) -> Population:
    return Population(space, all_rows(space), costs if callable(costs) else None)
