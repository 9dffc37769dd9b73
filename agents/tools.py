"""The tools of an agent: what a model may call, how its arguments are read, and how answers are written.

An answer is JSON whose texts are quoted as data. Whatever is wrong with a call comes back as one sentence
in "error"; a call never raises. Descriptions here are what the model reads: they are the documentation of
the tools.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vitruvius.agents.admission import Admission
from vitruvius.agents.replies import (
    MOST_ITEMS,
    ProposedPrinciple,
    ProposedRevision,
    Refusal,
    parse_reply,
    shortened,
)
from vitruvius.agents.workbench import MOST_EXPERIMENTS, MOST_SHOWN, Workbench
from vitruvius.errors import VitruviusError
from vitruvius.prompts.quoting import quoted

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

Item = TypeVar("Item", bound=BaseModel)
SUBMIT = "submit_principles"
CUT_OFF = "arguments that are not JSON"
"""Name under which the text of broken arguments is passed on."""
MOST_ANSWER = 10_000
"""Characters of one answer."""
MOST_CALLS = 60
"""Tool calls that are answered in one reflection."""
AT_ONCE = 8
"""Tool calls of one reply that are answered."""
REPAIRABLE = frozenset(
    {"not JSON", "cut off", "wrong schema", "bad predicate", "unknown name", "tautology", "unknown id",
     "bad revision"}
)  # fmt: skip
"""Refusals that a model can mend if it is told what was wrong."""

_TASK = "Name of a task; leave it out for the target, or for all tasks."
_PREDICATE = "One line in the predicate language."


def _absent(value: object) -> object:
    """Some models write an empty text where they mean to leave something out."""
    return None if isinstance(value, str) and not value.strip() else value


Optional = Annotated[str | None, BeforeValidator(_absent)]


class Arguments(BaseModel):
    """What all arguments share: unknown ones are refused by name."""

    model_config = ConfigDict(extra="forbid")


class DescribeSpace(Arguments):
    """The search space: decisions and choices, one architecture as text, program and drawing, tasks."""


class ShowArchitectures(Arguments):
    """Measured architectures with their costs and score quantiles (1 best of the task): top, poor, or pairs.

    Pairs differ in as few decisions as any and score far apart: they tell most.
    """

    which: Literal["top", "poor", "pairs"]
    task: Optional = Field(default=None, description=_TASK)
    where: Optional = Field(default=None, description=f"Only those that satisfy a predicate. {_PREDICATE}")
    n: int = Field(default=6, ge=1, le=MOST_SHOWN)


class TestPredicate(Arguments):
    """Effect of a predicate on the uniform draws you may see: mean quantile with it minus without it.

    Gives interval and counts for each task, and architectures that speak against it. What the search chose
    does not count, since it visits what it likes: counts are smaller than what was measured.
    """

    __test__ = False  # not a test, whatever pytest thinks of its name

    predicate: str = Field(description=_PREDICATE)
    task: Optional = Field(default=None, description=_TASK)


class SearchPrinciples(Arguments):
    """Principles that are known already, with their status and their effect on what you may see."""

    text: str = Field(default="", description="Words to look for; empty lists all.")
    operation: Optional = Field(default=None, description="Only those that name this operation.")


class Coverage(Arguments):
    """What has hardly been tried on the target: choices and operations with the fewest architectures."""


class ProposeExperiment(Arguments):
    """Ask for architectures to be measured for which exactly one of two predicates holds.

    Use it where two explanations fit what you see. Some are measured before the next reflection, which shows
    their scores.
    """

    first: str = Field(description=_PREDICATE)
    second: str = Field(description=_PREDICATE)
    reason: str = Field(min_length=4, max_length=300, description="What the scores would tell.")
    n: int = Field(default=2, ge=1, le=MOST_EXPERIMENTS)


class SubmitPrinciples(Arguments):
    """Hand in your principles and revisions of known ones. This ends the work, but for corrections.

    What is refused and can be mended may be sent once more: send only that.
    """

    principles: list[ProposedPrinciple] = Field(description="The surest first.")
    revisions: list[ProposedRevision] = Field(default=[], description="What becomes of known principles.")


TOOLS: dict[str, type[Arguments]] = {
    "describe_space": DescribeSpace,
    "show_architectures": ShowArchitectures,
    "test_predicate": TestPredicate,
    "search_principles": SearchPrinciples,
    "coverage": Coverage,
    "propose_experiment": ProposeExperiment,
    SUBMIT: SubmitPrinciples,
}


class Toolbox:
    """Answers the tool calls of one reflection.

    Attributes:
        refused: Reason -> how many calls or proposals were refused for it.
        submissions: How often principles were handed in.
        answered: How many calls were answered.
        done: Whether the work has ended: nothing is left that a further turn could mend.
        authors: For each proposal of the admission, the number of the model call that brought it.
        outcome: What became of the last submission, for the record of its call.
    """

    def __init__(self, bench: Workbench, admission: Admission) -> None:
        """Answer from a workbench, hand in to an admission."""
        self.bench = bench
        self.admission = admission
        self.refused: Counter[str] = Counter()
        self.submissions = 0
        self.done = False
        self.authors: list[int] = []
        self.outcome = "ok"
        self._asked: set[str] = set()
        self._by_reply: Counter[int] = Counter()
        self.answered = 0
        self._lock = Lock()

    def answer(self, name: str, arguments: Mapping[str, Any], call: int = 0) -> str:
        """Answer a tool call.

        Args:
            name: Name of the tool, as the model wrote it.
            arguments: Its arguments, as the model wrote them.
            call: Number of the model call, for the record of who proposed what.

        Returns:
            JSON, at most `MOST_ANSWER` characters.
        """
        with self._lock:
            try:
                found = self._found(name, arguments, call)
            except ValidationError as error:
                found = self._wrong("wrong arguments", f"{name}: {_first(error)}")
            except VitruviusError as error:
                found = self._wrong("wrong arguments", str(error))
        text = json.dumps(quoted(found, name), ensure_ascii=False)
        return text if len(text) <= MOST_ANSWER else f"{text[:MOST_ANSWER]}... (cut: ask for less)"

    def take_text(self, text: str, call: int) -> bool:
        """Take principles that a model wrote as text in place of a tool call; whether there were any."""
        reply = parse_reply(text)
        if not reply.principles:
            return False
        self._submit(reply.principles, [], reply.refusals, call)
        return True

    def _found(self, name: str, arguments: Mapping[str, Any], call: int) -> dict[str, Any]:
        self.answered += 1
        self._by_reply[call] += 1
        if name not in TOOLS:
            return self._wrong("unknown tool", f"There is no tool {name!r}. There are: {', '.join(TOOLS)}.")
        if name == SUBMIT:
            return self._submitted(arguments, call)
        if CUT_OFF in arguments:
            return self._wrong("cut off", f"The arguments of {name} are no JSON object: send them again.")
        if self._by_reply[call] > AT_ONCE:
            return self._wrong("over the limit", f"At most {AT_ONCE} tool calls in one reply are answered.")
        if self.answered > MOST_CALLS:
            return self._wrong("over the limit", f"You have asked enough: call {SUBMIT} now.")
        same = json.dumps([name, arguments], sort_keys=True, default=str)
        if same in self._asked:
            return self._wrong("asked twice", f"You asked just this before. Ask something else, or {SUBMIT}.")
        self._asked.add(same)
        return self._ask(TOOLS[name].model_validate(arguments))

    def _ask(self, asked: Arguments) -> dict[str, Any]:
        bench = self.bench
        match asked:
            case ShowArchitectures():
                return bench.architectures(asked.which, asked.task, asked.where, asked.n)
            case TestPredicate():
                return bench.test(asked.predicate, asked.task)
            case SearchPrinciples():
                return bench.principles(asked.text, asked.operation)
            case Coverage():
                return bench.coverage()
            case ProposeExperiment():
                return bench.experiment(asked.first, asked.second, asked.reason, asked.n)
            case _:
                return bench.space()

    def _submitted(self, arguments: Mapping[str, Any], call: int) -> dict[str, Any]:
        """Read a submission item by item: a bad one costs only itself, a cut-off one keeps what is whole."""
        if CUT_OFF in arguments:
            reply = parse_reply(str(arguments[CUT_OFF]))
            return self._submit(reply.principles, [], reply.refusals, call)
        refusals: list[Refusal] = []
        given = arguments.get("principles", [] if arguments.get("revisions") else None)
        principles = _items(ProposedPrinciple, given, refusals)
        revisions = _items(ProposedRevision, arguments.get("revisions", []), refusals)
        return self._submit(principles, revisions, refusals, call)

    def _submit(
        self,
        principles: Sequence[ProposedPrinciple],
        revisions: Sequence[ProposedRevision],
        refusals: Sequence[Refusal],
        call: int,
    ) -> dict[str, Any]:
        before = len(self.admission.proposals)
        refused = [*refusals, *self.admission.revise(revisions), *self.admission.judge(principles)]
        self.refused.update(refusal.reason for refusal in refused)
        self.submissions += 1
        gained = len(self.admission.proposals) - before
        self.authors += [call] * gained
        good = "ok" if self.submissions == 1 else "repaired"
        self.outcome = good if gained else refused[0].reason if refused else "no principles"
        mendable = [refusal for refusal in refused if refusal.reason in REPAIRABLE]
        self.done = not mendable or self.submissions > (1 if self.admission.proposals else 2)
        return {
            "taken": gained,
            "refused": [{"item": refusal.item, "why": refusal.detail} for refusal in refused],
            "next": f"Send corrected replacements, of what was refused only, with {SUBMIT}."
            if not self.done
            else "Done.",
        }

    def _wrong(self, reason: str, sentence: str) -> dict[str, Any]:
        self.refused[reason] += 1
        return {"error": sentence}


def langchain_tools() -> list[BaseTool]:
    """The tools as LangChain shows them to a model; calls are answered by a `Toolbox`."""
    from langchain_core.tools import StructuredTool

    def unreachable(**_: Any) -> str:
        raise NotImplementedError("Tool calls are answered by the toolbox.")

    return [
        StructuredTool.from_function(
            unreachable, name=name, description=_description(schema), args_schema=_plain(schema)
        )
        for name, schema in TOOLS.items()
    ]


def _description(schema: type[Arguments]) -> str:
    return " ".join((schema.__doc__ or "").split())


def _plain(schema: type[Arguments]) -> dict[str, Any]:
    """JSON schema without titles, references and class docstrings: what every endpoint understands."""
    raw = schema.model_json_schema()
    parts = raw.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        fields = cast("dict[str, Any]", node)
        if "$ref" in fields:
            inner = {k: v for k, v in parts[fields["$ref"].rpartition("/")[2]].items() if k != "description"}
            fields = {**inner, **{k: v for k, v in fields.items() if k != "$ref"}}
        return {
            k: {name: walk(v) for name, v in value.items()} if k == "properties" else walk(value)
            for k, value in fields.items()
            if k != "title"
        }

    plain = walk(raw)
    plain.pop("description", None)
    return plain


def _items(model: type[Item], given: object, refusals: list[Refusal]) -> list[Item]:
    """The items of a list that fit; the others are refused one by one."""
    if isinstance(given, str):  # some models write the list as text
        with suppress(json.JSONDecodeError, RecursionError):
            given = json.loads(given)
    if not isinstance(given, list):
        refusals.append(
            Refusal("wrong schema", shortened(json.dumps(given, default=str)), "It must be a list.")
        )
        return []
    found: list[Item] = []
    for item in cast("list[object]", given)[:MOST_ITEMS]:
        try:
            found.append(model.model_validate(item))
        except ValidationError as error:
            refusals.append(Refusal("wrong schema", shortened(json.dumps(item, default=str)), _first(error)))
    return found


def _first(error: ValidationError) -> str:
    what = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in what["loc"]) or "arguments"
    return f"{where}: {what['msg']}."


__all__ = ["CUT_OFF", "REPAIRABLE", "SUBMIT", "TOOLS", "Toolbox", "langchain_tools"]
