"""The road for models that cannot call tools: one prompt, one reply held to a schema, one repair.

The prompt leads through the steps of LAPT (arXiv 2408.11330: information flow, common patterns, principles)
inside one reply, in its "analysis"; why not in four requests: docs/decisions/0011.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitruvius.agents.admission import Admission
from vitruvius.agents.asking import Asker
from vitruvius.agents.reasoner import Reflection
from vitruvius.agents.replies import Refusal, parse_reply, predicate_pattern, reply_schema
from vitruvius.agents.tools import REPAIRABLE
from vitruvius.errors import TemplateError
from vitruvius.prompts.library import Message, Template
from vitruvius.prompts.quoting import quote


@dataclass(slots=True)
class PromptRoad:
    """Asks with the templates `principles`, `repair` and `plain_json` in one reflection.

    Attributes:
        templates: The templates by name.
        asker: Asks the model.
        admission: Takes principles or refuses them.
        inputs: What templates may show.
        reflection: Gets refusals and notes.
        authors: For each proposal of the admission, the number of the model call that brought it.
    """

    templates: Mapping[str, Template]
    asker: Asker
    admission: Admission
    inputs: dict[str, Any]
    reflection: Reflection
    authors: list[int] = field(default_factory=list[int])

    def go(self) -> None:
        """Ask, and ask once for a repair if something can be mended."""
        limit = self.inputs["limit"]
        messages = rendered(self.templates["principles"], self.inputs)
        problems = self._turn("principles", messages, limit)
        if problems and len(self.admission.proposals) < limit:
            self._repair(messages, problems)

    def _turn(self, name: str, messages: Sequence[Message], limit: int) -> list[Refusal]:
        """Ask once and judge the reply; returns what a repair could mend."""
        asker, template = self.asker, self.templates[name]
        pattern = predicate_pattern(self.admission.space) if asker.chat.small else None
        schema = reply_schema(limit, bounded=asker.chat.bounded, pattern=pattern)
        if not asker.structured:
            messages = self._with_schema(messages, schema)
        text = asker.ask(template, messages, schema)
        if text is None and asker.structured and asker.refused():
            asker.structured = False
            self.reflection.notes.append(
                f"{asker.chat.name} cannot be held to a JSON schema; it is asked in words instead."
            )
            text = asker.ask(template, self._with_schema(messages, schema), schema)
        return [] if text is None else self._judge(name, text)

    def _judge(self, name: str, text: str) -> list[Refusal]:
        """Take what can be taken of a reply; returns what a repair could mend."""
        reply = parse_reply(text)
        before = len(self.admission.proposals)
        refusals = [*reply.refusals, *self.admission.judge(reply.principles)]
        gained = len(self.admission.proposals) - before
        self.authors += [len(self.asker.calls) - 1] * gained
        self.reflection.refused.update(refusal.reason for refusal in refusals)
        if self.asker.calls[-1].outcome == "ok":
            good = "repaired" if name == "repair" else "ok"
            self.asker.mark(good if gained else refusals[0].reason if refusals else "no principles")
        return [refusal for refusal in refusals if refusal.reason in REPAIRABLE]

    def _repair(self, messages: Sequence[Message], problems: list[Refusal]) -> None:
        """The one repair turn: the conversation so far, and what was wrong."""
        limit = max(min(len(problems), self.inputs["limit"] - len(self.admission.proposals)), 1)
        told = [{"item": p.item, "reason": p.detail} for p in problems[: self.inputs["limit"]]]
        said = quote(
            self.asker.calls[-1].reply[:4000]
        )  # as data: it may hold control tokens of the chat format
        values = {**self.inputs, "problems": told, "limit": limit}
        turn = [Message("assistant", said or "{}"), *rendered(self.templates["repair"], values)]
        self._turn("repair", [*messages, *turn], limit)

    def _with_schema(self, messages: Sequence[Message], schema: dict[str, Any]) -> list[Message]:
        """The schema in words, added to the last message."""
        added = rendered(self.templates["plain_json"], {"schema": json.dumps(schema)})[-1].content
        return [*messages[:-1], Message(messages[-1].role, f"{messages[-1].content}\n\n{added}")]


def rendered(template: Template, inputs: Mapping[str, Any]) -> list[Message]:
    """The template with those inputs that it declares.

    Raises:
        TemplateError: It declares one that is not there.
    """
    missing = [name for name in template.inputs if name not in inputs]
    if missing:
        raise TemplateError(
            f"{template.path}, line 1: the input {missing[0]!r} is not available for the template "
            f"{template.name!r}. Allowed: {', '.join(sorted(inputs))}."
        )
    return template.render(**{name: inputs[name] for name in template.inputs})


__all__ = ["PromptRoad", "rendered"]
