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
_THOUGHT = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z", re.DOTALL)
"""Up to the last closing tag, since chat templates may have written the opening one; or never closed."""
_WORDS = {"higher": "better", "positive": "better", "good": "better", "lower": "worse", "negative": "worse"}
_MOST_TRIED = 50
"""Places of a reply at which JSON may begin that are looked at."""


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

    @field_validator("direction", mode="before")
    @classmethod
    def _in_our_words(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        word = value.strip().lower()
        return _WORDS.get(word, word)

    @field_validator("expected", mode="before")
    @classmethod
    def _on_our_scale(cls, value: object) -> object:
        """None where it is on another scale, as points of accuracy: it is only noted, never used."""
        return None if isinstance(value, int | float) and not abs(value) <= 1 else value


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

    Thoughts in tags, code fences, and text or other JSON around the principles are passed over. Of JSON that
    is cut off, the principles that are complete are taken.

    Args:
        text: The reply.

    Returns:
        The principles that fit the schema, and a refusal for each that does not or for the whole.
    """
    reply = Reply()
    items = _find_items(_THOUGHT.sub("", text), reply)
    for item in items[:MOST_ITEMS]:
        try:
            reply.principles.append(ProposedPrinciple.model_validate(item))
        except ValidationError as error:
            reply.refusals.append(Refusal("wrong schema", shortened(json.dumps(item)), _first(error)))
    for item in items[MOST_ITEMS:]:
        detail = f"At most {MOST_ITEMS} principles of a reply are read."
        reply.refusals.append(Refusal("too many", shortened(json.dumps(item)), detail))
    return reply


def _find_items(text: str, reply: Reply) -> list[object]:
    """The list of principles in the text, wherever it stands; a refusal is noted where there is none."""
    decoder, place, read, broken = json.JSONDecoder(), 0, False, ""
    for _ in range(_MOST_TRIED):
        begin = re.compile(r"[{\[]").search(text, place)
        if begin is None:
            break
        try:
            found, place = decoder.raw_decode(text, begin.start())
        except (json.JSONDecodeError, RecursionError) as error:
            place, broken = begin.end(), broken or str(error)
            continue
        read = True
        items = _principles_in(found)
        if items is not None:
            return items
    complete = _complete_items(text)
    if complete or (broken and text.rstrip()[-1:] not in ("}", "]", "`")):
        reply.refusals.append(Refusal("cut off", shortened(text), f"The JSON is broken: {broken}."))
    elif read and '"principles"' not in text:
        detail = 'The reply must be an object with a list "principles".'
        reply.refusals.append(Refusal("wrong schema", shortened(text), detail))
    elif broken:
        reply.refusals.append(Refusal("not JSON", shortened(text), f"The JSON is broken: {broken}."))
    else:
        reply.refusals.append(Refusal("not JSON", shortened(text), "The reply holds no JSON object."))
    return complete


def _principles_in(value: object, depth: int = 2) -> list[object] | None:
    """The list of principles in decoded JSON: bare, under its name, or in an object around it."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        return items if any(isinstance(one, dict) and "predicate" in one for one in items) else None
    if not isinstance(value, dict) or depth == 0:
        return None
    fields = cast("dict[str, object]", value)
    for name, inner in fields.items():
        if name.lower() == "principles" and isinstance(inner, list):
            return cast("list[object]", inner)
    found = (_principles_in(inner, depth - 1) for inner in fields.values())
    return next((items for items in found if items is not None), None)


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
