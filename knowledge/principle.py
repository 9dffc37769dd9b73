"""Design principles: a sentence, a predicate that a machine can check, a scope, and evidence.

These are plain records; `predicate` checks them, `evidence` measures them, `ledger` keeps them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vitruvius.errors import InvalidPredicateError
from vitruvius.knowledge.wording import printable, shortened

LONGEST_SENTENCE = 400
"""Characters of a principle's sentence, at most: it stands in lists, reports, packs and prompts."""

Label = tuple[str, str]
"""(space, data set): where evidence comes from."""


class PrincipleStatus(StrEnum):
    """What the evidence says of a principle, all thresholds in `evidence.Thresholds`."""

    PROPOSED = "proposed"  # not enough fresh evidence yet
    SUPPORTED = "supported"
    CONTESTED = "contested"  # fresh evidence points different ways on different tasks
    REFUTED = "refuted"
    SUPERSEDED = "superseded"  # replaced by a revision
    RETRACTED = "retracted"  # taken back by who proposed it


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a principle came from.

    Attributes:
        reasoner: "statistics", "openai:gpt-5", "person" ...
        template: Content hash of the prompt template, empty where none was used.
        session: Id of the session that proposed it, empty where it came in a pack.
        call: Id of the model call in the ledger, None where none was made.
        labels: (space, data set) of everything that it was mined from; of what came in a pack, also of
            everything that it was tested on before.
        pack: Hash of the pack that it came in, empty where it was proposed in this ledger.
    """

    reasoner: str
    template: str = ""
    session: str = ""
    call: int | None = None
    labels: frozenset[Label] = frozenset()
    pack: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a reasoner hands in: not believed until measured.

    Attributes:
        sentence: One sentence for people.
        predicate: JSON form of the predicate (see `knowledge.predicate`).
        space: Name of the space it speaks of, or "any" for portable predicates.
        task: Name of the task it speaks of, or "any".
        direction: +1 if architectures that satisfy it should do better, -1 if worse.
        expected: Expected difference of mean quantile, None if not stated.
    """

    sentence: str
    predicate: Mapping[str, Any]
    space: str
    task: str = "any"
    direction: int = 1
    expected: float | None = None

    def __post_init__(self) -> None:
        """One printable line of bounded length, whoever wrote it: no escape sequence reaches a terminal."""
        sentence = printable(self.sentence or "").strip()
        object.__setattr__(self, "sentence", shortened(sentence, LONGEST_SENTENCE))

    @property
    def toward(self) -> str:
        """The direction in a word that is right for accuracies and losses: "better" or "worse"."""
        return "better" if self.direction > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Effect:
    """Difference of mean quantile between architectures that satisfy a predicate and those that do not.

    Attributes:
        estimate: Holding minus not holding, in quantile units of the task's frozen reference: [-1, 1].
        low: Lower end of the interval, valid under repeated looks.
        high: Upper end.
        holding: Number of measured architectures that satisfy the predicate.
        lacking: Number that do not.
        evalue: Evidence against "no effect in the stated direction"; 1 means none.
        naive: The same difference over everything measured, "as sampled": biased by the search.
    """

    estimate: float
    low: float
    high: float
    holding: int
    lacking: int
    evalue: float = 1.0
    naive: float | None = None


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """What one task says of one principle.

    Attributes:
        task: Name of the task.
        seen: Effect on what was in the ledger, and visible to the reasoner, when it was proposed.
        fresh: Effect on what was measured afterwards or held back; only this can support.
        supporting: Ids of measured architectures that agree (hold and above the median, or lack and below).
        contradicting: Ids that speak against it, most telling first.
        agreeing: Number of measured architectures that agree; `supporting` may list only the most telling.
        opposing: Number that speak against it.
    """

    task: str
    seen: Effect | None
    fresh: Effect | None
    supporting: tuple[str, ...] = ()
    contradicting: tuple[str, ...] = ()
    agreeing: int = 0
    opposing: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything measured about a principle: by task, and joined by a random-effects mean over tasks."""

    tasks: tuple[TaskEvidence, ...] = ()
    joined: Effect | None = None

    @property
    def n_for(self) -> int:
        """Measured architectures that agree."""
        return sum(max(t.agreeing, len(t.supporting)) for t in self.tasks)

    @property
    def n_against(self) -> int:
        """Measured architectures that speak against it."""
        return sum(max(t.opposing, len(t.contradicting)) for t in self.tasks)


@dataclass(frozen=True, slots=True)
class Principle:
    """A design principle as kept: what was proposed, where it came from, and what was measured of it."""

    id: str
    proposal: Proposal
    origin: Origin
    status: PrincipleStatus = PrincipleStatus.PROPOSED
    evidence: Evidence = field(default_factory=Evidence)
    supersedes: str | None = None

    @property
    def sentence(self) -> str:
        """The sentence for people."""
        return self.proposal.sentence

    @property
    def told(self) -> str:
        """The sentence; behind words that somebody chose freely, what is really measured of it."""
        from vitruvius.knowledge.predicate import predicate_from_json

        try:
            predicate = predicate_from_json(self.proposal.predicate)
        except InvalidPredicateError:
            return self.sentence
        if predicate.clause() in self.sentence:
            return self.sentence
        return f"{self.sentence} ({predicate.text()}: {self.proposal.toward})"


def principle_id(proposal: Proposal) -> str:
    """Content id "p" + 10 hex digits of predicate, scope and direction: the same claim gets the same id."""
    body = [proposal.predicate, proposal.space, proposal.task, proposal.direction]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return f"p{digest[:10]}"
