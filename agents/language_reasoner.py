"""The reasoner with a language model: one prompt, one reply held to a schema, one repair, no exception."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvius.agents.admission import Admission
from vitruvius.agents.asking import Asker, Limits, redacted
from vitruvius.agents.exhibits import Sizes, exhibits
from vitruvius.agents.models import Chat, chat_model
from vitruvius.agents.reasoner import UNREADABLE, Brief, Reflection
from vitruvius.agents.replies import Refusal, parse_reply, predicate_pattern, reply_schema
from vitruvius.errors import TemplateError, VitruviusError
from vitruvius.prompts.library import Message, Template, find
from vitruvius.prompts.quoting import quote

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

SMALL = Sizes(top=6, poor=4, contrasts=3, effects=8, counts=8, known=4)
SMALL_LIMIT = 4
"""A tiny model gets less to read and writes fewer principles: on a CPU each takes seconds."""
REPAIRABLE = frozenset({"not JSON", "cut off", "wrong schema", "bad predicate", "unknown name", "tautology"})

SERVED_HERE = 600.0
"""Seconds for a reflection of a model that this machine serves: it costs nothing, and a busy CPU is slow."""


class LanguageReasoner:
    """Proposes principles by asking a language model with the templates `principles` and `repair`.

    Attributes:
        name: The model as given.
        uses_templates: True.
    """

    uses_templates = True

    def __init__(
        self,
        model: str | BaseChatModel | Chat,
        *,
        templates_folder: Path | None = None,
        limits: Limits | None = None,
        sizes: Sizes | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Check templates and model; nothing is started or sent yet.

        Args:
            model: A name as in `agents.models`, or a LangChain chat model.
            templates_folder: Folder whose templates override ours by name.
            limits: What one reflection may spend.
            sizes: How much of the measurements is shown.
            say: Takes one line of progress.

        Raises:
            TemplateError: A template has problems; with file, line and reason.
            UnknownNameError: Not the name of a model.
            SettingsError: The endpoint needs a key.
            MissingPartError: A package is missing.
        """
        self._templates = {
            name: find(name, templates_folder) for name in ("principles", "repair", "plain_json")
        }
        for name in ("principles", "repair"):
            if self._templates[name].reply != "principles":
                template = self._templates[name]
                raise TemplateError(f"{template.path}, line 1: reply must be 'principles' for this template.")
        served_here = isinstance(model, str) and model.startswith("vllm:")
        self._limits = limits or (Limits(seconds=SERVED_HERE) if served_here else Limits())
        if isinstance(model, str):
            model = chat_model(
                model,
                reply_tokens=self._limits.reply_tokens,
                seconds=self._limits.seconds,
                on_line=say,
            )
        elif not isinstance(model, Chat):
            given = model
            model = Chat(f"object:{type(given).__name__}", lambda: given)
        self._chat = model
        self._sizes = sizes or (SMALL if model.small else Sizes())
        self._structured = True
        self._failed = ""
        self.name = redacted(model.name)

    def reflect(self, brief: Brief) -> Reflection:
        """Propose principles; whatever the endpoint does becomes notes and refusals.

        Raises:
            TemplateError: The user's template fails on the real data.
        """
        reflection = Reflection()
        if not any(len(one.visible()) for one in brief.observations):
            reflection.notes.append("Nothing is measured yet, so the language model was not asked.")
            return reflection
        limit = min(brief.limit, SMALL_LIMIT) if self._chat.small else brief.limit
        inputs = {**exhibits(brief, self._sizes), "limit": limit}
        messages = _rendered(self._templates["principles"], inputs)
        if not self._connected(reflection):
            return reflection
        asker = Asker(self._chat, self._limits, brief.seed, structured=self._structured)
        admission = Admission(brief)
        problems = self._turn("principles", asker, messages, admission, limit, reflection)
        if problems and len(admission.proposals) < limit:
            self._repair(asker, messages, admission, inputs, problems, reflection)
        self._finish(asker, admission, reflection)
        return reflection

    def close(self) -> None:
        """Stop the model's server if there is one; calling twice is allowed."""
        self._chat.close()

    def _connected(self, reflection: Reflection) -> bool:
        """Start what has to be started, before the clock runs; a start that failed is not tried again."""
        if not self._failed:
            try:
                self._chat.connect()
                return True
            except VitruviusError as error:
                self._failed = redacted(str(error))
        reflection.refused["endpoint error"] += 1
        reflection.notes.append(self._failed)
        reflection.failed = self._failed
        return False

    def _turn(
        self,
        name: str,
        asker: Asker,
        messages: Sequence[Message],
        admission: Admission,
        limit: int,
        reflection: Reflection,
    ) -> list[Refusal]:
        """Ask once and judge the reply; returns what a repair could mend."""
        template = self._templates[name]
        pattern = predicate_pattern(admission.space) if self._chat.small else None
        schema = reply_schema(limit, bounded=self._chat.bounded, pattern=pattern)
        if not asker.structured:
            messages = self._with_schema(messages, schema)
        text = asker.ask(template, messages, schema)
        if text is None and asker.refused_schema():
            asker.structured = self._structured = False
            reflection.notes.append(
                f"{self.name} cannot be held to a JSON schema; it is asked in words instead."
            )
            text = asker.ask(template, self._with_schema(messages, schema), schema)
        if text is None:
            return []
        reply = parse_reply(text)
        before = len(admission.proposals)
        refusals = [*reply.refusals, *admission.judge(reply.principles)]
        reflection.refused.update(refusal.reason for refusal in refusals)
        if asker.calls[-1].outcome == "ok":
            gained = len(admission.proposals) > before
            repaired = "repaired" if name == "repair" else "ok"
            asker.mark(repaired if gained else refusals[0].reason if refusals else "no principles")
        return [refusal for refusal in refusals if refusal.reason in REPAIRABLE]

    def _repair(
        self,
        asker: Asker,
        messages: Sequence[Message],
        admission: Admission,
        inputs: dict[str, Any],
        problems: list[Refusal],
        reflection: Reflection,
    ) -> None:
        """The one repair turn: the conversation so far, and what was wrong."""
        limit = min(len(problems), inputs["limit"] - len(admission.proposals))
        told = [{"item": p.item, "reason": p.detail} for p in problems[: inputs["limit"]]]
        said = quote(asker.calls[-1].reply[:4000])  # as data: it may hold control tokens of the chat format
        values = {
            **inputs,
            "problems": told,
            "limit": max(limit, 1),
        }
        turn = [Message("assistant", said or "{}"), *_rendered(self._templates["repair"], values)]
        self._turn("repair", asker, [*messages, *turn], admission, max(limit, 1), reflection)

    def _with_schema(self, messages: Sequence[Message], schema: dict[str, Any]) -> list[Message]:
        """The schema in words, added to the last message."""
        added = _rendered(self._templates["plain_json"], {"schema": json.dumps(schema)})[-1].content
        return [*messages[:-1], Message(messages[-1].role, f"{messages[-1].content}\n\n{added}")]

    def _finish(self, asker: Asker, admission: Admission, reflection: Reflection) -> None:
        reflection.proposals = admission.proposals
        reflection.calls = asker.calls
        recovered = bool(admission.proposals)
        for failure in asker.failures:
            reflection.refused[failure.reason] += 1
        told = [failure.sentence for failure in asker.failures if not failure.unsupported]
        if told and not recovered:
            reflection.notes.append(told[-1])
        if not recovered and not told:
            reflection.notes.append(f"{self.name} proposed nothing that could be used.")
        if asker.calls and all(call.outcome in UNREADABLE for call in asker.calls):
            why = ", ".join(dict.fromkeys(call.outcome for call in asker.calls))
            reflection.failed = told[-1] if told else f"{self.name} gave no reply that can be read ({why})."


def _rendered(template: Template, inputs: dict[str, Any]) -> list[Message]:
    """The template with those inputs that it declares."""
    missing = [name for name in template.inputs if name not in inputs]
    if missing:
        raise TemplateError(
            f"{template.path}, line 1: the input {missing[0]!r} is not available for the template "
            f"{template.name!r}. Allowed: {', '.join(sorted(inputs))}."
        )
    return template.render(**{name: inputs[name] for name in template.inputs})


__all__ = ["REPAIRABLE", "SMALL", "LanguageReasoner"]
