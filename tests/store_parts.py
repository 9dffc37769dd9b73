"""What the tests of the store share: principles to put in, and what a search finds."""

from __future__ import annotations

from typing import Any

from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import (
    Evidence,
    Origin,
    Principle,
    Proposal,
    TaskEvidence,
    principle_id,
)
from vitruvius.knowledge.store import Store

TASK = "nasbench201/cifar10"
OPERATIONS = ("conv3x3", "conv1x1", "skip", "avgpool3x3", "none")


def principle(operation: str, at_least: int = 2, *, support: int = 0, **proposal: Any) -> Principle:
    predicate = {"kind": "count", "operations": [operation], "comparison": ">=", "value": at_least}
    facts: dict[str, Any] = {
        "sentence": predicate_from_json(predicate).sentence(),
        "space": "nasbench201",
    } | proposal
    proposed = Proposal(predicate=predicate, **facts)
    for_it = tuple(f"id{n}" for n in range(support))
    measured = Evidence((TaskEvidence(TASK, None, None, for_it),) if support else ())
    return Principle(principle_id(proposed), proposed, Origin("statistics"), evidence=measured)


def add(ledger: Ledger, *principles: Principle) -> None:
    for each in principles:
        ledger.add_principle(each, session="s")


def found(store: Store, text: str = "architectures", **filters: Any) -> set[str]:
    return {match.principle.id for match in store.search(text, **filters)}
