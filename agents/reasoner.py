"""The seam between the session and whatever proposes principles: brief in, reflection out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vitruvius.agents.spending import Spent
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.principle import Principle, Proposal


@dataclass(frozen=True, slots=True)
class Brief:
    """What a reasoner gets to work with; never anything held back, never a test metric.

    Attributes:
        space: The space of the target.
        target: Name of the target task.
        observations: Visible measurements by task; the target's own may be among them.
        known: Principles so far, with their evidence and status.
        limit: Most principles that may be proposed.
        seed: All randomness of the reflection comes from here.
        spent: What the session's earlier reflections have cost.
        where: The constraint on what may be measured, in words; empty without one.
        objectives: Costs that should be small as well.
        allowed: Uniform draws of what may be measured; None where that is the whole space.
        asked: What was asked for in the session's earlier reflections.
    """

    space: SearchSpace
    target: str
    observations: Sequence[Observations]
    known: Sequence[Principle]
    limit: int = 12
    seed: int = 0
    spent: Spent = field(default_factory=Spent)
    where: str = ""
    objectives: Sequence[str] = ()
    allowed: Population | None = None
    asked: Sequence[Experiment] = ()


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a language model, as the ledger keeps it.

    Attributes:
        model: Name as given, for example "openai:gpt-5".
        template: Name of the prompt template.
        template_hash: Content hash of the template.
        inputs_hash: Hash of the rendered messages.
        reply: Text of the reply, shortened to 20,000 characters.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        seconds: Wall time.
        outcome: "ok", "repaired", or why it was refused.
        cost: US dollars paid for it; None if the price is not known, or whether it was paid for at all.
        cached: Whether the reply was paid for in an earlier run and came from the cache.
        estimated: Whether the endpoint did not tell its tokens, so that they are estimated.
    """

    model: str
    template: str
    template_hash: str
    inputs_hash: str
    reply: str
    tokens_in: int
    tokens_out: int
    seconds: float
    outcome: str
    cost: float | None = None
    cached: bool = False
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """Who proposed a principle.

    Attributes:
        reasoner: "statistics", or the name of a model.
        call: Position in `Reflection.calls` of the reply that holds it, None where no model was asked.
    """

    reasoner: str
    call: int | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """What a reasoner takes back or replaces.

    Attributes:
        action: "narrow", "supersede" or "retract".
        principle: Id of the known principle.
        reason: A sentence.
        replacement: Id of the proposal of the same reflection that replaces it; None for "retract".
    """

    action: str
    principle: str
    reason: str
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """An architecture that a reasoner would like to see measured.

    Attributes:
        key: Its key in the space of the target.
        reason: What its score would tell.
    """

    key: str
    reason: str


@dataclass(slots=True)
class Reflection:
    """What came of it.

    Attributes:
        proposals: Principles to be tested, at most `brief.limit`, all valid for their scope.
        refused: Reason -> how many proposals or replies were refused for it.
        calls: Model calls that were made, in order.
        notes: Sentences for the user, for example why the model was given up.
        failed: Why nothing came of it: no reply could be read, nothing was handed in, or a limit forbade to
            ask; empty otherwise.
        authors: Id of a proposal -> who proposed it; the reasoner itself where it is missing.
        revisions: What becomes of known principles.
        experiments: Architectures that would tell principles apart, for the session to measure if it likes.
    """

    proposals: list[Proposal] = field(default_factory=list[Proposal])
    refused: Counter[str] = field(default_factory=Counter[str])
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    notes: list[str] = field(default_factory=list[str])
    failed: str = ""
    authors: dict[str, Author] = field(default_factory=dict[str, Author])
    revisions: list[Revision] = field(default_factory=list[Revision])
    experiments: list[Experiment] = field(default_factory=list[Experiment])


class Reasoner(Protocol):
    """Proposes principles from measurements. All implementations pass `vitruvius.testing.ReasonerContract`.

    Attributes:
        name: "statistics", or the model as given: "openai:gpt-5", "vllm:PATH", "both:openai:gpt-5".
        uses_templates: Whether prompt templates have an effect.
    """

    name: str
    uses_templates: bool

    def reflect(self, brief: Brief) -> Reflection:
        """Propose principles; model failures become notes and refusals, not exceptions."""
        ...

    def close(self) -> None:
        """Free memory and stop processes; calling twice is allowed."""
        ...
