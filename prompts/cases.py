"""Tests of a template, kept beside it: `NAME.test.toml` says what it must hold, and what replies are worth.

    [[prompt]]
    name = "the part about known principles is left out where there are none"
    lacks = ["<known>"]
    most_tokens = 1500
    [prompt.inputs]                      # instead of the sample data
    known = []

    [[reply]]
    name = "an operation that the space does not have"
    space = "nasbench201"
    text = '{"principles": [{"sentence": "...", "predicate": "conv9x9 >= 1", ...}]}'
    principles = 0
    refused = { "unknown name" = 1 }

No model is asked. What a reply is worth is judged by a function that the caller brings: this room knows
nothing of predicates.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitruvius.errors import TemplateError, unknown_name
from vitruvius.prompts.inputs import INPUTS, samples
from vitruvius.prompts.library import BUILT_IN, Template
from vitruvius.prompts.tokens import estimated_tokens


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a reply: how many principles were taken, and the others by reason."""

    principles: int
    refused: Mapping[str, int]


Judge = Callable[[str, str], Verdict]
"""Takes the text of a reply and the name of a space."""


class PromptCase(BaseModel):
    """What the rendered template must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    inputs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Inputs that differ from the sample data."""
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    most_tokens: int | None = Field(None, ge=1)
    """As `estimated_tokens` counts, over all messages."""

    def failures(self, template: Template) -> list[str]:
        """What does not hold, as sentences; empty if all does."""
        unknown = sorted(set(self.inputs) - set(INPUTS))
        if unknown:
            return [str(unknown_name("input", unknown[0], INPUTS))]
        given = {name: value for name, value in self.inputs.items() if name in template.inputs}
        try:
            messages = template.render(**{**samples(template.inputs), **given})
        except TemplateError as error:
            return [str(error)]
        text = "\n\n".join(message.content for message in messages)
        failures = [f"lacks {wanted!r}" for wanted in self.contains if wanted not in text]
        failures += [f"contains {unwanted!r}" for unwanted in self.lacks if unwanted in text]
        tokens = estimated_tokens(text)
        if self.most_tokens is not None and tokens > self.most_tokens:
            failures.append(f"has about {tokens:,} tokens, more than {self.most_tokens:,}")
        return failures


class ReplyCase(BaseModel):
    """What must become of a recorded reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    text: str
    space: str = "nasbench201"
    """The space that its predicates speak of."""
    principles: int = Field(ge=0)
    refused: dict[str, int] = Field(default_factory=dict[str, int])

    def failures(self, judge: Judge) -> list[str]:
        """What does not hold, as sentences; empty if all does."""
        found = judge(self.text, self.space)
        failures: list[str] = []
        if found.principles != self.principles:
            failures.append(f"gave {found.principles} principles, not {self.principles}")
        if dict(found.refused) != self.refused:
            failures.append(f"refused {dict(found.refused) or 'nothing'}, not {self.refused or 'nothing'}")
        return failures


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: list[PromptCase] = Field(default_factory=list[PromptCase])
    reply: list[ReplyCase] = Field(default_factory=list[ReplyCase])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case: what it is called, and what of it does not hold."""

    case: str
    failures: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        return not self.failures


def cases_file(template: Template) -> Path | None:
    """The file with a template's tests: beside it, else ours for the template of that name, else None."""
    beside = template.path.with_name(f"{template.name}.test.toml")
    ours = BUILT_IN / beside.name
    return next((file for file in (beside, ours) if file.is_file()), None)


def run_cases(template: Template, file: Path, judge: Judge) -> list[Outcome]:
    """Hold a template to the cases of a file.

    Args:
        template: Free of problems.
        file: A `.test.toml` file.
        judge: Says what becomes of a reply.

    Raises:
        TemplateError: The file cannot be read or has other keys; the message names it.
    """
    cases = _load(file)
    if cases.reply and template.reply == "text":
        raise TemplateError(f"{file}: the replies to {template.name} are free text, so none can be judged.")
    found = [Outcome(case.name, tuple(case.failures(template))) for case in cases.prompt]
    return found + [Outcome(case.name, tuple(case.failures(judge))) for case in cases.reply]


def _load(file: Path) -> _Cases:
    try:
        return _Cases.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TemplateError(f"The tests in {file} cannot be read as TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TemplateError(f"{file}: {where}: {first['msg']}.") from None


__all__ = ["Judge", "Outcome", "PromptCase", "ReplyCase", "Verdict", "cases_file", "run_cases"]
