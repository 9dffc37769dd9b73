"""What of a model's reply becomes a proposal: predicates that parse, fit, say something, and are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vitruvius.agents.reasoner import Brief, Revision
from vitruvius.agents.replies import EVERY_SPACE, EVERY_TASK, ProposedPrinciple, ProposedRevision, Refusal
from vitruvius.errors import InvalidPredicateError, UnknownNameError
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate, predicate_from_json
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Principle, PrincipleStatus, Proposal, principle_id

SAMPLE = 2000
"""Architectures on which a predicate must hold for some and not for all."""


class Admission:
    """Judges proposed principles one after the other; remembers what was admitted.

    Two principles are the same where their predicates hold for the same architectures of a sample of the
    space, or for exactly the others with the opposite direction.
    """

    def __init__(self, brief: Brief, found: Sequence[Proposal] = ()) -> None:
        """Draw the sample and take note of what is known.

        Args:
            brief: What the reasoner got.
            found: What was proposed before by somebody else in the same reflection: not to be repeated.
        """
        rng = np.random.default_rng(brief.seed)
        visible = [one.visible() for one in brief.observations]
        self.space = brief.space
        self.limit = brief.limit - len(found)
        self.proposals: list[Proposal] = []
        self.revisions: list[Revision] = []
        self._known = {principle.id: principle for principle in brief.known}
        self._tasks = {brief.target, *(one.task for one in visible)}
        self._costs = frozenset(name for one in visible for name in one.costs)
        self._sample = brief.allowed or Population(self.space, self.space.sample(SAMPLE, rng))
        self._measured = [Population(self.space, one.choices, one.costs) for one in visible if len(one)]
        self._claims: set[tuple[bytes, int]] = set()
        for proposal in (*(principle.proposal for principle in brief.known), *found):
            self._remember(predicate_from_json(proposal.predicate), proposal.direction)

    @property
    def sample(self) -> Population:
        """Architectures drawn uniformly from what may be measured; none of their scores is known."""
        return self._sample

    def judge(self, items: Iterable[ProposedPrinciple]) -> list[Refusal]:
        """Admit what can be admitted.

        Args:
            items: As a model wrote them.

        Returns:
            A refusal for each that was not admitted.
        """
        judged = (self._judge(item) for item in items)
        return [refusal for refusal in judged if refusal is not None]

    def revise(self, items: Iterable[ProposedRevision]) -> list[Refusal]:
        """Admit what becomes of known principles, and the principles that replace them.

        Returns:
            A refusal for each that was not admitted; with a replacement its revision is refused.
        """
        judged = (self._revise(item) for item in items)
        return [refusal for refusal in judged if refusal is not None]

    def _revise(self, item: ProposedRevision) -> Refusal | None:
        old = self._known.get(item.principle)
        if old is None or any(one.principle == item.principle for one in self.revisions):
            detail = f"Open to revision: {', '.join(self._known) or 'none, nothing is known yet'}; each once."
            return Refusal("unknown id", item.principle, detail)
        if item.action == "retract":
            if old.status is PrincipleStatus.SUPPORTED:
                detail = "Fresh evidence supports it, so only evidence can take it back: narrow it instead."
                return Refusal("bad revision", item.principle, detail)
            self.revisions.append(Revision(item.action, old.id, item.reason))
            return None
        new = item.replacement
        if new is None:
            return Refusal("bad revision", item.principle, f"To {item.action} it, give its replacement.")
        if item.action == "narrow" and (why := self._not_narrower(new, old)):
            return Refusal("bad revision", new.predicate, why)
        refusal = self._judge(new)
        if refusal is None:
            replacement = principle_id(self.proposals[-1])
            self.revisions.append(Revision(item.action, old.id, item.reason, replacement))
        return refusal

    def _not_narrower(self, new: ProposedPrinciple, old: Principle) -> str:
        """Why it does not narrow the old one; empty if it does, or if its predicate is refused anyway."""
        try:
            inner = parse_predicate(new.predicate).check(self.space, self._costs)
        except (InvalidPredicateError, UnknownNameError):
            return ""
        outer = predicate_from_json(old.proposal.predicate)
        if (new.direction == "better") != (old.proposal.direction > 0):
            return f"{old.id} points the other way: supersede it instead."
        populations = [one for one in self._populations(inner) if outer.fits(self.space, one.costs)]
        outside = any((inner.holds(one) & ~outer.holds(one)).any() for one in populations)
        if outside or not populations:
            return f"It also holds where {old.id} ({outer.text()}) does not: supersede it instead."
        return ""

    def _judge(self, item: ProposedPrinciple) -> Refusal | None:
        try:
            predicate = parse_predicate(item.predicate).check(self.space, self._costs)
        except InvalidPredicateError as error:
            return Refusal("bad predicate", item.predicate, str(error))
        except UnknownNameError as error:
            return Refusal("unknown name", item.predicate, str(error))
        if item.scope not in (EVERY_TASK, EVERY_SPACE, *self._tasks):
            allowed = ", ".join([EVERY_TASK, EVERY_SPACE, *sorted(self._tasks)])
            return Refusal(
                "unknown name", item.predicate, f"Unknown scope {item.scope!r}. Allowed: {allowed}."
            )
        if item.scope == EVERY_SPACE and not predicate.portable:
            detail = f'It names a decision of {self.space.name}, so its scope cannot be "{EVERY_SPACE}".'
            return Refusal("bad predicate", item.predicate, detail)
        share = self._share(predicate)
        if share in (0.0, 1.0):
            which = "all" if share else "none"
            detail = f"It holds for {which} of the architectures that may be measured, so it tells nothing."
            return Refusal("tautology", item.predicate, detail)
        direction = 1 if item.direction == "better" else -1
        if not self._remember(predicate, direction):
            return Refusal("duplicate", item.predicate, "The same was proposed before, or is known.")
        if len(self.proposals) >= self.limit:
            return Refusal("over the limit", item.predicate, f"At most {self.limit} principles are taken.")
        expected = None if item.expected is None else direction * abs(item.expected)
        space = "any" if item.scope == EVERY_SPACE else self.space.name
        task = item.scope if item.scope in self._tasks else "any"
        self.proposals.append(
            Proposal(
                item.sentence or predicate.sentence(),
                predicate.to_json(),
                space,
                task,
                direction=direction,
                expected=expected,
            )
        )
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
