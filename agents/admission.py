"""What of a model's reply becomes a proposal: predicates that parse, fit, say something, and are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vitruvius.agents.reasoner import Brief
from vitruvius.agents.replies import ProposedPrinciple, Refusal
from vitruvius.errors import InvalidPredicateError, UnknownNameError
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate, predicate_from_json
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Proposal

SAMPLE = 2000
"""Architectures on which a predicate must hold for some and not for all."""


class Admission:
    """Judges proposed principles one after the other; remembers what was admitted.

    Two principles are the same where their predicates hold for the same architectures of a sample of the
    space, or for exactly the others with the opposite direction.
    """

    def __init__(self, brief: Brief) -> None:
        """Draw the sample and take note of the principles that are known."""
        rng = np.random.default_rng(brief.seed)
        visible = [one.visible() for one in brief.observations]
        self.space = brief.space
        self.limit = brief.limit
        self.proposals: list[Proposal] = []
        self._costs = frozenset(name for one in visible for name in one.costs)
        self._sample = Population(self.space, self.space.sample(SAMPLE, rng))
        self._measured = [Population(self.space, one.choices, one.costs) for one in visible if len(one)]
        self._claims: set[tuple[bytes, int]] = set()
        for principle in brief.known:
            self._remember(predicate_from_json(principle.proposal.predicate), principle.proposal.direction)

    def judge(self, items: Iterable[ProposedPrinciple]) -> list[Refusal]:
        """Admit what can be admitted.

        Args:
            items: As a model wrote them.

        Returns:
            A refusal for each that was not admitted.
        """
        judged = (self._judge(item) for item in items)
        return [refusal for refusal in judged if refusal is not None]

    def _judge(self, item: ProposedPrinciple) -> Refusal | None:
        try:
            predicate = parse_predicate(item.predicate).check(self.space, self._costs)
        except InvalidPredicateError as error:
            return Refusal("bad predicate", item.predicate, str(error))
        except UnknownNameError as error:
            return Refusal("unknown name", item.predicate, str(error))
        share = self._share(predicate)
        if share in (0.0, 1.0):
            which = "all" if share else "none"
            detail = f"It holds for {which} of the architectures, so it tells nothing."
            return Refusal("tautology", item.predicate, detail)
        direction = 1 if item.direction == "better" else -1
        if not self._remember(predicate, direction):
            return Refusal("duplicate", item.predicate, "The same was proposed before, or is known.")
        if len(self.proposals) >= self.limit:
            return Refusal("over the limit", item.predicate, f"At most {self.limit} principles are taken.")
        expected = None if item.expected is None else direction * abs(item.expected)
        form, space = predicate.to_json(), self.space.name
        self.proposals.append(Proposal(item.sentence, form, space, direction=direction, expected=expected))
        return None

    def _populations(self, predicate: Predicate) -> Sequence[Population]:
        """Where it can be evaluated: the sample, or what was measured if it speaks of costs."""
        if predicate.fits(self.space, ()):
            return [self._sample]
        return [one for one in self._measured if predicate.fits(self.space, one.costs)]

    def _share(self, predicate: Predicate) -> float:
        masks = [predicate.holds(population) for population in self._populations(predicate)]
        return float(np.concatenate(masks).mean()) if masks else 0.0

    def _remember(self, predicate: Predicate, direction: int) -> bool:
        """Note what is claimed; false if the same is claimed already."""
        masks = [predicate.holds(population) for population in self._populations(predicate)]
        if not masks:
            return True
        mask = np.concatenate(masks)
        if mask[0]:  # one form for "A is better" and "not A is worse"
            mask, direction = ~mask, -direction
        claim = (np.packbits(mask).tobytes(), direction)
        if claim in self._claims:
            return False
        self._claims.add(claim)
        return True


__all__ = ["SAMPLE", "Admission"]
