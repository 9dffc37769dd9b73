"""Replies of language models: the schema they are held to, and what is made of what really comes back.

Nothing a model writes is trusted. A reply is JSON or it is nothing; each principle in it is taken or refused
for itself, with a reason, so that one bad item costs only itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitruvius.generator.space import SearchSpace

MOST_ITEMS = 50
"""Principles of one reply that are looked at; more are refused unread."""
_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


EVERY_TASK, EVERY_SPACE = "every task", "every space"
"""Scopes beside the names of tasks."""


class ProposedPrinciple(BaseModel):
    """One principle as a model writes it."""

    model_config = ConfigDict(extra="ignore")

    sentence: str = Field(min_length=4, max_length=400, description="One sentence for people.")
    predicate: str = Field(min_length=1, max_length=600, description="One line in the predicate language.")
    direction: Literal["better", "worse"] = Field(description="How architectures that satisfy it score.")
    expected: float | None = Field(
        default=None, ge=-1, le=1, allow_inf_nan=False, description="Size of the effect on the score, 0 to 1."
    )
    scope: str = Field(
        default=EVERY_TASK,
        max_length=100,
        description=f'Where it should hold: "{EVERY_TASK}", the name of a task, or "{EVERY_SPACE}" if the '
        "predicate names no decision.",
    )

    @field_validator("sentence", "predicate")
    @classmethod
    def _one_line(cls, value: str) -> str:
        return " ".join(value.split())


class ProposedRevision(BaseModel):
    """What a model would change about a known principle."""

    model_config = ConfigDict(extra="ignore")

    principle: str = Field(max_length=40, description="Id of the known principle.")
    action: Literal["narrow", "supersede", "retract"] = Field(
        description="narrow: it holds in a part; supersede: another says it better; retract: it is wrong."
    )
    reason: str = Field(min_length=4, max_length=400, description="One sentence: what the measurements say.")
    replacement: ProposedPrinciple | None = Field(
        default=None, description="For narrow and supersede: the principle that takes its place."
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something in a reply that cannot be used.

    Attributes:
        reason: Short and countable: "not JSON", "wrong schema", "bad predicate" ...
        item: The text that was refused, shortened.
        detail: A sentence that helps to repair it.
    """

    reason: str
    item: str
    detail: str


@dataclass(slots=True)
class Reply:
    """A reply taken apart."""

    principles: list[ProposedPrinciple] = field(default_factory=list[ProposedPrinciple])
    refusals: list[Refusal] = field(default_factory=list[Refusal])


def reply_schema(limit: int, *, bounded: bool = False, pattern: str | None = None) -> dict[str, Any]:
    """The JSON schema of a reply with principles.

    Args:
        limit: Most principles.
        bounded: Also bound lengths and numbers: our own vLLM holds a model to that, some endpoints refuse a
            schema that tries.
        pattern: Regular expression for the predicates, for models too small to keep to the language; such a
            model is not asked for an analysis either.

    Returns:
        The schema; each object lists all its keys as required and allows no others.
    """
    text: dict[str, Any] = {"type": "string"}
    sentence = {**text, "minLength": 8, "maxLength": 160} if bounded else text
    predicate = {**text, "maxLength": 240} if bounded else text
    number: dict[str, Any] = {"type": "number"}
    if pattern is not None:
        predicate = {**text, "pattern": pattern}
        number = {"type": "number", "enum": [0.1, 0.2, 0.3]}
    item = _object(
        {
            "sentence": sentence,
            "predicate": predicate,
            "direction": {**text, "enum": ["better", "worse"]},
            "expected": number,
        }
    )
    items: dict[str, Any] = {"type": "array", "items": item}
    if bounded:
        items |= {"minItems": 1, "maxItems": limit}
    if pattern is not None:
        return _object({"principles": items})
    analysis = {**text, "maxLength": 900} if bounded else text
    return _object({"analysis": analysis, "principles": items})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def predicate_pattern(space: SearchSpace) -> str:
    """A regular expression for simple predicates of a space: counts, depth and choices, two at most."""
    operations = "|".join(re.escape(name) for name in space.operations)
    decisions = "|".join(re.escape(d.name) for d in space.decisions if len(d.choices) > 1)
    choices = sorted({choice for d in space.decisions if len(d.choices) > 1 for choice in d.choices})
    chosen = "|".join(re.escape(name) for name in choices)
    nodes = min(len(space.decisions), 9)
    one = rf"(({operations}|depth) (>=|<=|==) [0-{nodes}]|op\(({decisions})\) = ({chosen}))"
    return rf"^{one}( and {one})?$"


def parse_reply(text: str) -> Reply:
    """Make principles out of a model's text.

    A thought in `<think>` tags, a code fence and text around the JSON are passed over. Of JSON that is cut
    off, the principles that are complete are taken.

    Args:
        text: The reply.

    Returns:
        The principles that fit the schema, and a refusal for each that does not or for the whole.
    """
    reply = Reply()
    found = _find_json(_THOUGHT.sub("", text), reply)
    if isinstance(found, dict):
        found = cast("dict[str, Any]", found).get("principles")
    if not isinstance(found, list):
        if not reply.refusals:
            detail = 'The reply must be an object with a list "principles".'
            reply.refusals.append(Refusal("wrong schema", shortened(text), detail))
        return reply
    items = cast("list[object]", found)
    for item in items[:MOST_ITEMS]:
        try:
            reply.principles.append(ProposedPrinciple.model_validate(item))
        except ValidationError as error:
            reply.refusals.append(Refusal("wrong schema", shortened(json.dumps(item)), _first(error)))
    for item in items[MOST_ITEMS:]:
        detail = f"At most {MOST_ITEMS} principles of a reply are read."
        reply.refusals.append(Refusal("too many", shortened(json.dumps(item)), detail))
    return reply


def _find_json(text: str, reply: Reply) -> object:
    """The first JSON object or list in the text; refusals are noted in the reply."""
    fenced = _FENCE.search(text)
    body = fenced[1] if fenced else text
    start = min((place for place in (body.find("{"), body.find("[")) if place >= 0), default=-1)
    if start < 0:
        reply.refusals.append(Refusal("not JSON", shortened(text), "The reply holds no JSON object."))
        return None
    try:
        return json.JSONDecoder().raw_decode(body[start:])[0]
    except (json.JSONDecodeError, RecursionError) as error:
        complete = _complete_items(body[start:])
        cut = body.rstrip()[-1:] not in ("}", "]") or bool(complete)
        reason = "cut off" if cut else "not JSON"
        reply.refusals.append(Refusal(reason, shortened(body[start:]), f"The JSON is broken: {error}."))
        return complete or None


def _complete_items(body: str) -> list[object]:
    """The complete objects of a list "principles" that is cut off."""
    begin = re.search(r'"principles"\s*:\s*\[', body)
    decoder, place, items = json.JSONDecoder(), begin.end() if begin else len(body), list[object]()
    while True:
        rest = re.compile(r"[\s,]*").match(body, place)
        place = rest.end() if rest else place
        try:
            item, place = decoder.raw_decode(body, place)
        except (json.JSONDecodeError, RecursionError):
            return items
        items.append(item)


def _first(error: ValidationError) -> str:
    what = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in what['loc']) or 'principle'}: {what['msg']}."


def shortened(text: str, most: int = 200) -> str:
    """The text, cut at so many characters."""
    return text if len(text) <= most else f"{text[:most]}..."


__all__ = [
    "EVERY_SPACE", "EVERY_TASK", "MOST_ITEMS", "ProposedPrinciple", "ProposedRevision", "Refusal", "Reply",
    "parse_reply", "predicate_pattern", "reply_schema", "shortened",
]  # fmt: skip
