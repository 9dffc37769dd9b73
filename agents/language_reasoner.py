"""The reasoner with a language model: it takes the road that the model can go; no reply raises."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitruvius.agents.admission import Admission
from vitruvius.agents.asking import Asker
from vitruvius.agents.exhibits import Sizes, exhibits
from vitruvius.agents.failures import UNREADABLE, redacted
from vitruvius.agents.models import SERVED_HERE, Chat, chat_model, served_here
from vitruvius.agents.probe import can_call_tools
from vitruvius.agents.prompt_road import PromptRoad, rendered
from vitruvius.agents.reasoner import Author, Brief, ModelCall, Reflection
from vitruvius.agents.reply_cache import ReplyCache
from vitruvius.agents.spending import Allowance, Limits, Price, overshot
from vitruvius.agents.tools import Toolbox
from vitruvius.agents.workbench import Workbench
from vitruvius.errors import SettingsError, VitruviusError
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Proposal, principle_id
from vitruvius.prompts.library import Template, find

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

Road = Literal["auto", "agent", "chain"]
"""How a model is asked: as an agent with tools, with fixed prompts, or whichever it can."""

SMALL = Sizes(top=6, poor=4, contrasts=3, effects=8, counts=8, known=4)
SMALL_LIMIT = 4
"""A tiny model gets less to read and writes fewer principles: on a CPU each takes seconds."""
STATISTICS_PART = 2 / 3
"""Most of the principles of a reflection that statistics may take before the model is asked."""
_TEMPLATES = ("principles", "repair", "plain_json", "investigate", "submit_now", "probe")


class LanguageReasoner:
    """Proposes principles by asking a language model.

    A model that can call tools works as an agent (`agent_reasoner`), any other is asked with fixed prompts
    (`prompt_road`); one tiny request finds out which.

    Attributes:
        name: The model as given, with "both:" before it where statistics comes first.
        uses_templates: True.
        templates_folder: Folder whose templates override ours by name; None uses ours.
        calls: What was asked in the last reflection, as far as it came: an interrupted one has its price.
    """

    uses_templates = True

    def __init__(
        self,
        model: str | BaseChatModel | Chat,
        *,
        templates_folder: Path | None = None,
        limits: Limits | None = None,
        allowance: Allowance | None = None,
        price: Price | None = None,
        model_options: Mapping[str, Any] | None = None,
        cache: Path | None = None,
        road: Road = "auto",
        with_statistics: bool = False,
        sizes: Sizes | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Check templates and model; nothing is started or sent yet.

        Args:
            model: A name as in `agents.models`, or a LangChain chat model.
            templates_folder: Folder whose templates override ours by name.
            limits: What one reflection may spend.
            allowance: What all reflections of a session may spend together.
            price: What the model charges; None takes the price from our table, if it is there.
            model_options: Further arguments of a model that is given by its name.
            cache: Folder with replies that were paid for; None asks anew.
            road: How the model is asked; "auto" finds out whether it can call tools.
            with_statistics: Show the model what statistics finds, and add its principles to those.
            sizes: How much of the measurements is shown.
            say: Takes one line of progress.

        Raises:
            TemplateError: A template has problems; with file, line and reason.
            UnknownNameError: Not the name of a model.
            SettingsError: The endpoint needs a key, or options that the model cannot be given.
            MissingPartError: A package is missing.
        """
        self._templates, self.templates_folder = _found(templates_folder), templates_folder
        here = isinstance(model, str) and served_here(model)
        self._limits = limits or (SERVED_HERE if here else Limits())
        self._allowance = allowance or Allowance()
        self._chat = _chat(model, self._limits, model_options or {}, say)
        if price is not None:
            self._chat.price = price
        self._cache = ReplyCache(cache) if cache is not None else None
        self._sizes = sizes or (SMALL if self._chat.small else Sizes())
        self._road: Road = "chain" if road == "auto" and self._chat.small else road
        self._found_out = self._road == "auto"
        self._unprobed = road == "auto" and self._chat.small
        self._with_statistics = with_statistics
        self._structured = True
        self._failed = ""
        self._told_estimated = False
        self.calls: list[ModelCall] = []
        self.name = ("both:" if with_statistics else "") + redacted(self._chat.name)

    @property
    def price(self) -> Price | None:
        """What the model charges; None if that is not known."""
        return self._chat.price

    def reflect(self, brief: Brief) -> Reflection:
        """Propose principles; whatever the endpoint does becomes notes and refusals.

        Raises:
            TemplateError: The user's template fails on the real data.
        """
        reflection, self.calls = Reflection(), []
        if not any(len(one.visible()) for one in brief.observations):
            reflection.notes.append("Nothing is measured yet, so the language model was not asked.")
            return reflection
        found = self._statistics(brief, reflection) if self._with_statistics else []
        admission = Admission(brief, found)
        if admission.limit <= 0 or not self._connected(reflection):
            return reflection
        asker = Asker(
            self._chat, self._limits, brief.seed, structured=self._structured, allowance=self._allowance,
            before=brief.spent, cache=self._cache, calls=self.calls,
        )  # fmt: skip
        inputs = self._inputs(brief, found, admission.limit)
        road = self._choose(asker, reflection)
        authors: list[int] = []
        if road == "agent":
            authors = self._as_agent(brief, asker, admission, inputs, reflection)
            if self._found_out and not authors and asker.refused():
                road = self._road = "chain"
                reflection.notes.append(
                    f"{asker.failures[-1].sentence} So it is asked with fixed prompts from now on."
                )
        if road == "chain":
            authors = self._with_prompts(asker, admission, inputs, reflection)
        self._finish(asker, admission, authors, reflection)
        return reflection

    def connect(self) -> bool:
        """Start what has to be started, before a clock runs; a start that failed is not tried again.

        Returns:
            Whether the model can be asked; if not, `reflect` tells why.
        """
        if not self._failed:
            try:
                self._chat.connect()
                return True
            except VitruviusError as error:
                self._failed = redacted(str(error))
        return False

    def with_templates(self, folder: Path) -> LanguageReasoner:
        """The same model, started once, asked with other templates; closing either closes both."""
        other = copy.copy(self)
        other._templates, other.templates_folder = _found(folder), folder
        return other

    def close(self) -> None:
        """Stop the model's server if there is one; calling twice is allowed."""
        self._chat.close()

    def _statistics(self, brief: Brief, reflection: Reflection) -> list[Proposal]:
        """What statistics finds, at most a part of the limit; it is proposed whatever the model says."""
        from dataclasses import replace

        from vitruvius.agents.statistics import StatisticsReasoner

        other = StatisticsReasoner()
        most = max(round(brief.limit * STATISTICS_PART), 1)
        found = other.reflect(replace(brief, limit=most))
        reflection.proposals += found.proposals
        reflection.notes += found.notes
        reflection.authors |= {principle_id(one): Author(other.name) for one in found.proposals}
        return found.proposals

    def _inputs(self, brief: Brief, found: Sequence[Proposal], limit: int) -> dict[str, Any]:
        """Everything that a template may show."""
        return {
            **exhibits(brief, self._sizes),
            "limit": min(limit, SMALL_LIMIT) if self._chat.small else limit,
            "requests": self._limits.agent_calls,
            "findings": [
                {
                    "sentence": one.sentence,
                    "predicate": predicate_from_json(one.predicate).text(),
                    "direction": "better" if one.direction > 0 else "worse",
                    "effect": one.expected,
                }
                for one in found
            ],
        }

    def _connected(self, reflection: Reflection) -> bool:
        if self.connect():
            return True
        reflection.refused["endpoint error"] += 1
        reflection.notes.append(self._failed)
        reflection.failed = self._failed
        return False

    def _choose(self, asker: Asker, reflection: Reflection) -> Road:
        """The road, probed once; "auto" if the endpoint did not even answer that."""
        if self._unprobed:
            self._unprobed = False
            reflection.notes.append(
                f"{self.name} is too small to call tools: it is asked with fixed prompts."
            )
        if self._road == "auto":
            answer = can_call_tools(asker, self._templates["probe"])
            if answer == "failed":
                return "auto"
            if answer == "no":
                asker.failures.clear()  # that it cannot is no failure
            self._road = "agent" if answer == "yes" else "chain"
            reflection.notes.append(
                f"{self.name} calls tools: it works as an agent."
                if answer == "yes"
                else f"{self.name} does not call tools: it is asked with fixed prompts."
            )
        return self._road

    def _as_agent(
        self, brief: Brief, asker: Asker, admission: Admission, inputs: dict[str, Any], reflection: Reflection
    ) -> list[int]:
        """Let it investigate; returns for each proposal the call that brought it."""
        from vitruvius.agents.agent_reasoner import investigate

        asker.begin(self._limits.agent_calls)
        toolbox = Toolbox(Workbench(brief, admission.sample), admission)
        template = self._templates["investigate"]
        last = rendered(self._templates["submit_now"], inputs)[-1].content
        investigate(asker, template, rendered(template, inputs), last, toolbox)
        reflection.refused += toolbox.refused
        reflection.revisions = admission.revisions
        reflection.experiments = toolbox.bench.experiments
        if not toolbox.submissions:
            why = asker.failures[-1].sentence if asker.failures else "It stopped by itself."
            reflection.failed = f"it handed in nothing in {asker.sent} of {asker.budget} requests. {why}"
        return toolbox.authors

    def _with_prompts(
        self, asker: Asker, admission: Admission, inputs: dict[str, Any], reflection: Reflection
    ) -> list[int]:
        """Ask with fixed prompts; returns for each proposal the call that brought it."""
        asker.begin(self._limits.calls)
        reflection.failed = ""  # what an agent did not hand in may still be told in words
        road = PromptRoad(self._templates, asker, admission, inputs, reflection)
        road.go()
        self._structured = asker.structured
        return road.authors

    def _finish(
        self, asker: Asker, admission: Admission, authors: Sequence[int], reflection: Reflection
    ) -> None:
        reflection.proposals += admission.proposals
        reflection.calls = asker.calls
        for proposal, call in zip(admission.proposals, authors, strict=True):
            reflection.authors[principle_id(proposal)] = Author(redacted(self._chat.name), call)
        reflection.refused.update(failure.reason for failure in asker.failures)
        useful = bool(admission.proposals or admission.revisions)
        # That an endpoint cannot hold to a schema is no news, it was then asked in words; anything else is.
        told = [one.sentence for one in asker.failures if not one.unsupported or self._road == "agent"]
        reflection.notes += [*asker.notes, *self._spending_notes(asker)]
        if told and not useful and not any(told[-1] in note for note in asker.notes):
            reflection.notes.append(told[-1])
        if not useful and not told:
            reflection.notes.append(f"{self.name} proposed nothing that could be used.")
        if self._cache is not None and self._cache.broken:
            reflection.notes.append(self._cache.broken)
        if all(call.outcome in UNREADABLE for call in asker.calls):
            why = ", ".join(dict.fromkeys(call.outcome for call in asker.calls))
            reflection.failed = told[-1] if told else f"{self.name} gave no reply that can be read ({why})."
            asker.forget()

    def _spending_notes(self, asker: Asker) -> list[str]:
        """What is to be said of the cost: limits that one reply passed, and, once, that it is estimated."""
        price = self._chat.price
        passed = overshot(self._limits, self._allowance, asker.now, asker.before, price)
        notes = [passed] if passed else []
        if asker.estimated and price is not None and not price.free and not self._told_estimated:
            self._told_estimated = True
            notes.append(
                f"{self._chat.name} does not say how many tokens it used: they and their cost are estimated."
            )
        return notes


def _chat(
    model: str | BaseChatModel | Chat,
    limits: Limits,
    options: Mapping[str, Any],
    say: Callable[[str], None] | None,
) -> Chat:
    if isinstance(model, str):
        most = limits.reply_tokens
        return chat_model(model, reply_tokens=most, seconds=limits.seconds, options=options, on_line=say)
    if options:
        raise SettingsError(
            "model_options are for a model that is given by its name: set them on the object."
        )
    if isinstance(model, Chat):
        return model
    return Chat(f"object:{type(model).__name__}", lambda: model)


def _found(folder: Path | None) -> dict[str, Template]:
    """All templates by name, those of the folder first.

    Raises:
        TemplateError: One has problems.
    """
    return {name: find(name, folder) for name in _TEMPLATES}


__all__ = ["SMALL", "LanguageReasoner", "Road"]
