"""What can be said of prompts and replies before any model is asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitruvius.agents.admission import Admission
from vitruvius.agents.exhibits import Sizes
from vitruvius.agents.language_reasoner import SMALL
from vitruvius.agents.models import SERVED_HERE
from vitruvius.agents.reasoner import Brief
from vitruvius.agents.reasoners import BOTH, FORMS
from vitruvius.agents.replies import parse_reply
from vitruvius.agents.spending import Limits
from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.space import get_space
from vitruvius.prompts.cases import Verdict
from vitruvius.prompts.library import Message, Problem, Template
from vitruvius.prompts.tokens import estimated_tokens

LIMIT = 12
"""Principles of a reply that are taken, as in a session."""
SMALLEST = 8192
"""Tokens of context of SmolLM2, the smallest model that we serve."""


def judge_reply(text: str, space: str) -> Verdict:
    """Judge a reply with principles as a reflection would: parsed, checked against the space, none twice.

    Args:
        text: The reply as a model wrote it.
        space: Name of the space.

    Raises:
        UnknownNameError: No such space.
    """
    where = get_space(space)
    admission = Admission(Brief(where, f"{space}/any", [], [], limit=LIMIT))
    reply = parse_reply(text)
    refusals = [*reply.refusals, *admission.judge(reply.principles)]
    return Verdict(len(admission.proposals), Counter(refusal.reason for refusal in refusals))


@dataclass(frozen=True, slots=True)
class Room:
    """How much a model can take.

    Attributes:
        context: Tokens of prompt and reply together.
        reply: Tokens of it that are kept for the reply.
        sizes: How much of the measurements the model is shown.
    """

    context: int
    reply: int
    sizes: Sizes


def room_of(reasoner: str | None = None, context: int | None = None) -> Room:
    """How much a model can take, as far as this machine can tell.

    Args:
        reasoner: As in `agents.reasoners`; None takes the smallest language model that we serve.
        context: Its context in tokens, where that is known better.

    Raises:
        UnknownNameError: No such reasoner.
        UserError: It asks no language model, or only the endpoint knows its context.
    """
    if reasoner in ("statistics", "none"):
        raise UserError(f"{reasoner} asks no language model: leave it out, or name one, as openai:MODEL.")
    if reasoner is not None:
        named, reasoner = reasoner, reasoner.removeprefix(BOTH)
        if ":" not in reasoner:
            raise unknown_name("reasoner", named, FORMS)
    if context is not None:
        return Room(context, Limits().reply_tokens, Sizes())
    if reasoner in (None, "vllm:smollm2"):
        return Room(SMALLEST, SERVED_HERE.reply_tokens, SMALL)
    file = Path(reasoner.removeprefix("vllm:")).expanduser() / "config.json"
    if reasoner.startswith("vllm:") and file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        size = told.get("max_position_embeddings", told.get("text_config", {}).get("max_position_embeddings"))
        if isinstance(size, int):
            return Room(size, SERVED_HERE.reply_tokens, Sizes())
    raise UserError(f"The context of {reasoner} is not known here: give it in tokens with --context.")


def too_long(template: Template, messages: Sequence[Message], room: Room) -> list[Problem]:
    """The problem that messages and a reply need more tokens than a model has, if they do."""
    tokens = sum(estimated_tokens(message.content) for message in messages)
    if tokens + room.reply <= room.context:
        return []
    reason = (
        f"has about {tokens:,} tokens: with {room.reply:,} for the reply that is more than a context of "
        f"{room.context:,}"
    )
    return [Problem(str(template.path), 1, reason)]


__all__ = ["LIMIT", "SMALLEST", "Room", "judge_reply", "room_of", "too_long"]
