"""LAPT's chain of questions (arXiv 2408.11330), answered by a language model: an adviser of `_lapt`."""

from __future__ import annotations

import atexit
import functools
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _lapt import LISTED, Lists
from numpy.typing import NDArray

from vitruvius.agents.asking import Asker
from vitruvius.agents.exhibits import as_program
from vitruvius.agents.models import Chat, chat_model
from vitruvius.agents.spending import Limits
from vitruvius.errors import ModelError
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.prompts.library import Message, Template

CHAIN = Path(__file__).with_name("lapt_chain.toml")
LIMITS = Limits(calls=24, seconds=900.0, reply_tokens=600)
SMALL_REPLY = 160
"""Tokens of a reply of a model with a short memory; it has to keep the whole conversation in mind."""


@dataclass
class Asked:
    """The paper's chain: flow, patterns, principles, restriction; and its two ways to adapt.

    A list that a reply lacks, or that names no choice, stays what it was: at first, all choices. The paper's
    authors read replies by hand.

    Attributes:
        space: The search space.
        kept: Most choices that are left at each decision.
        best: (n, D) best architectures of the sources; no score is shown, as in the paper.
        asker: Asks the model.
        unusable: Lists that no reply gave.
    """

    space: SearchSpace
    kept: int
    best: Choices
    asker: Asker
    unusable: int = 0
    _lists: Lists = field(default_factory=list[NDArray[np.intp]])
    _said: list[Message] = field(default_factory=list[Message])
    _original: list[Message] = field(default_factory=list[Message])

    def begin(self) -> Lists:
        """See `Adviser`.

        Raises:
            ModelError: The model gave no reply at all.
        """
        decisions = self.space.decisions
        self._lists = [np.arange(len(decision.choices)) for decision in decisions]
        texts = _texts()
        self._said = [Message("system", texts["system"])]
        self._tell(texts["flow"].format(
            space=self.space.name, n=len(decisions), decisions=self._names(), choices=self._choices(),
            program=as_program(self.space, self.best[:1]),
        ))  # fmt: skip
        self._tell(texts["patterns"].format(n=len(self.best), best=_numbers(self.best)))
        self._tell(texts["principles"])
        lists = self._restrict(texts["restriction"].format(kept=self.kept, decisions=self._names()))
        if all(call.outcome != "ok" for call in self.asker.calls):
            why = self.asker.failures[-1].sentence if self.asker.failures else "no reply"
            raise ModelError(f"LAPT's chain with {self.asker.chat.name}: {why}")
        self._original = list(self._said)
        return lists

    def improved(self, best: Choices) -> Lists:
        """See `Adviser`."""
        return self._restrict(_texts()["better"].format(n=len(best), best=_numbers(best), kept=self.kept))

    def stuck(self) -> Lists:
        """See `Adviser`; asked in the original conversation, as in the paper's scripts."""
        adapted, self._said = self._said, list(self._original)
        lists = self._restrict(_texts()["stuck"].format(kept=self.kept))
        self._said = adapted
        return lists

    def _tell(self, text: str) -> None:
        """One turn in words."""
        self._said.append(Message("user", text.strip()))
        self.asker.structured = False
        reply = self.asker.ask(_template(), self._said, {})
        self._said.append(Message("assistant", reply or "-"))

    def _restrict(self, text: str) -> Lists:
        """One turn that is answered with lists."""
        self._said.append(Message("user", text.strip()))
        schema = self._schema()
        self.asker.structured = True
        reply = self.asker.ask(_template(), self._said, schema)
        if reply is None and self.asker.refused():
            self.asker.structured = False
            reply = self.asker.ask(_template(), self._said, schema)
        self._said.append(Message("assistant", reply or "-"))
        given = _read(reply or "")
        for i, decision in enumerate(self.space.decisions):
            listed = given.get(decision.name)
            wanted = listed if isinstance(listed, list) else []
            inside = [c for c in wanted if isinstance(c, int) and 0 <= c < len(decision.choices)]
            kept = list(dict.fromkeys(inside))[: self.kept]
            self.unusable += not kept
            self._lists[i] = np.array(kept, dtype=np.intp) if kept else self._lists[i]
        return list(self._lists)

    def _schema(self) -> dict[str, Any]:
        lists = {
            decision.name: {
                "type": "array", "minItems": 1, "maxItems": self.kept,
                "items": {"type": "integer", "enum": list(range(len(decision.choices)))},
            }
            for decision in self.space.decisions
        }  # fmt: skip
        return {
            "type": "object", "properties": lists, "required": list(lists), "additionalProperties": False,
        }  # fmt: skip

    def _names(self) -> str:
        return ", ".join(decision.name for decision in self.space.decisions)

    def _choices(self) -> str:
        """What the numbers mean, once for all decisions with the same choices."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for decision in self.space.decisions:
            groups.setdefault(tuple(decision.choices), []).append(decision.name)
        lines = [
            f"{', '.join(names)}: {', '.join(f'{i} is {choice}' for i, choice in enumerate(choices))}"
            for choices, names in groups.items()
        ]
        return "\n".join(lines)


def asked(space: SearchSpace, best: Choices, model: str, seed: int) -> Asked:
    """The chain with a language model, named as everywhere; started once for all runs of this process."""
    chat = _chat(model)
    return Asked(space, LISTED.get(space.name, 3), best, Asker(chat, LIMITS, seed))


@functools.cache
def _chat(model: str) -> Chat:
    small = model == "vllm:smollm2"
    chat = chat_model(
        model, reply_tokens=SMALL_REPLY if small else LIMITS.reply_tokens, seconds=LIMITS.seconds
    )
    atexit.register(chat.close)
    return chat


@functools.cache
def _texts() -> dict[str, str]:
    return tomllib.loads(CHAIN.read_text(encoding="utf-8"))


@functools.cache
def _template() -> Template:
    """The chain as the record of a call names it."""
    return Template("lapt_chain", CHAIN, CHAIN.read_text(encoding="utf-8"))


def _numbers(rows: Choices) -> str:
    return "\n".join(str(row) for row in rows.tolist())


def _read(text: str) -> dict[str, Any]:
    """The object in a reply; empty where there is none."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : end + 1]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
