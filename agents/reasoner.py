"""The seam between the session and whatever proposes principles: brief in, reflection out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.principle import Principle, Proposal

UNREADABLE = frozenset(
    {
        "endpoint error",
        "endpoint slow",
        "not authorised",
        "rate limited",
        "request refused",
        "no schema",
        "not JSON",
    }
)
"""Outcomes of calls that brought nothing at all: the endpoint is at fault, not the ideas of its model."""


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
    """

    space: SearchSpace
    target: str
    observations: Sequence[Observations]
    known: Sequence[Principle]
    limit: int = 12
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a language model, as the ledger keeps it.

    Attributes:
        model: Name as given, for example "openai:gpt-5".
        template: Name of the prompt template.
        template_hash: Content hash of the template.
        inputs_hash: Hash of the rendered messages.
        reply: Text of the reply, shortened to 20,000 characters.
        tokens_in: Prompt tokens, 0 if the endpoint does not tell.
        tokens_out: Completion tokens, 0 if the endpoint does not tell.
        seconds: Wall time.
        outcome: "ok", "repaired", or why it was refused.
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


@dataclass(slots=True)
class Reflection:
    """What came of it.

    Attributes:
        proposals: Principles to be tested, at most `brief.limit`, all valid for their scope.
        refused: Reason -> how many proposals or replies were refused for it.
        calls: Model calls that were made, in order.
        notes: Sentences for the user, for example why the model was given up.
        failed: Why no reply could be read at all; empty if one was, or if no model was asked.
    """

    proposals: list[Proposal] = field(default_factory=list[Proposal])
    refused: Counter[str] = field(default_factory=Counter[str])
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    notes: list[str] = field(default_factory=list[str])
    failed: str = ""


class Reasoner(Protocol):
    """Proposes principles from measurements. All implementations pass `vitruvius.testing.ReasonerContract`.

    Attributes:
        name: "statistics", or the model as given: "openai:gpt-5", "vllm:PATH".
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
