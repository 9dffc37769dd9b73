"""Principles that are known, for tests of reasoners."""

from __future__ import annotations

from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Origin, Principle, PrincipleStatus, Proposal, principle_id


def known(text: str, status: PrincipleStatus = PrincipleStatus.PROPOSED, direction: int = 1) -> Principle:
    proposal = Proposal("It is known.", parse_predicate(text).to_json(), "nasbench201", direction=direction)
    return Principle(principle_id(proposal), proposal, Origin("pack"), status)
