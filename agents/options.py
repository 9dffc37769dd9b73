"""The settings of a session, with their defaults: the one place where they stand."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from vitruvius.agents.model_options import checked_options
from vitruvius.errors import BudgetError, SettingsError
from vitruvius.generator.files import absolute
from vitruvius.knowledge.predicate import Predicate

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CHANGEABLE = frozenset(
    {"proposer_url", "reflection_money", "session_money", "reflection_tokens", "session_tokens",
     "reflection_seconds", "session_seconds", "reply_tokens", "model_options", "price_in", "price_out",
     "cache_replies"}
)  # fmt: skip
"""Settings that may change when a session is resumed: what asking a language model may cost, what it is told
beside its prompts, and where the server of the code model is."""


class Options(BaseModel):
    """How a session works; every field has a default that was chosen on the development tasks.

    The same options, seed and task give the same session (with engines that are deterministic).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**63)
    """All randomness comes from here."""
    reasoner: str = "statistics"
    """"statistics", "none", "openai:MODEL", "vllm:PATH-OR-NAME", "both:openai:MODEL" or "FILE.py:NAME"."""
    reasoning: Literal["auto", "agent", "chain"] = "auto"
    """How a language model is asked: as an agent with tools, with fixed prompts, or whichever it can."""
    reflection_money: float = Field(default=0.5, ge=0)
    """US dollars that one reflection may cost."""
    session_money: float = Field(default=2.0, ge=0)
    """US dollars that all reflections may cost together."""
    reflection_tokens: int = Field(default=150_000, ge=1)
    """Tokens of prompts and replies of one reflection."""
    session_tokens: int = Field(default=1_000_000, ge=1)
    """Tokens of prompts and replies of all reflections."""
    reflection_seconds: float | None = Field(default=None, gt=0)
    """Longest time of one reflection; None is 600."""
    session_seconds: float = Field(default=3600.0, gt=0)
    """Longest time of all reflections."""
    reply_tokens: int | None = Field(default=None, ge=16)
    """Longest reply with its hidden reasoning; None is 8,000, and 2,000 for what this machine serves."""
    model_options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Further arguments of the language model: {"reasoning_effort": "low", "extra_body": {...}}."""
    price_in: float | None = Field(default=None, ge=0)
    """US dollars for a million tokens of prompts, with price_out; None looks the model up in our table."""
    price_out: float | None = Field(default=None, ge=0)
    """US dollars for a million tokens of replies."""
    cache_replies: bool = True
    """Whether replies that were paid for are kept in the user's cache, and used when asked the same again."""
    proposer: Literal["auto", "vllm", "vllm-server", "transformers", "ngram", "uniform"] = "auto"
    """What writes codes; "auto" is vllm where it imports, else transformers with a warning."""
    proposer_url: str | None = None
    """Address of an OpenAI-compatible server, for "vllm-server"."""
    initial: int = Field(default=6, ge=3)
    """Size of the first, uniform design."""
    batch: int = Field(default=5, ge=1)
    """Most architectures chosen at a time; before 25 are measured, a fifth of what is."""
    asynchronous: bool = False
    """Whether a candidate is drawn whenever a worker is free; batches wait for their slowest."""
    open_share: float = Field(default=0.10, ge=0, le=1)
    """Share of the budget drawn uniformly from the whole space, whatever was pruned."""
    open_minimum: int = Field(default=5, ge=0)
    """The same as a number of evaluations; the larger of the two counts, of this at most an eighth."""
    pool: int = Field(default=384, ge=16)
    """Code sequences written for each batch."""
    temperature: float = Field(default=1.0, gt=0, le=2)
    """Sampling temperature of the code model."""
    local: int = Field(default=256, ge=0)
    """Local candidates in each pool: neighbours of the best, one or two decisions away."""
    where: str | None = None
    """Constraint that no candidate breaks, a predicate: "params < 1.0M and latency[pixel3] < 12ms"."""
    objectives: list[str] = Field(default_factory=list[str])
    """Costs that should be small beside a good score: "params", "flops", "latency[DEVICE]"."""
    selection: Literal["surrogate", "random"] = "surrogate"
    """What picks the batch out of the pool."""
    prune: bool = True
    """Whether supported principles restrict the space."""
    finetune_every: int = Field(default=20, ge=0)
    """Evaluations between two fine-tunings of the code model; 0 never."""
    reflect_every: int = Field(default=20, ge=0)
    """Evaluations between two reflections; 0 never."""
    principles: int = Field(default=12, ge=1)
    """Most principles proposed in one reflection."""
    source_size: int = Field(default=200, ge=10)
    """Architectures measured on each source task."""
    transfer: bool = True
    """Whether sources inform the first evaluations and the surrogate, as far as they are believed."""
    held_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of each source that is held back from the reasoner, to judge what it proposes."""

    @field_validator("reasoner")
    @classmethod
    def _from_anywhere(cls, value: str) -> str:
        """A run is resumed from any folder: a model folder is kept with its whole path."""
        head, served, model = value.strip().partition("vllm:")
        folder = served and head in ("", "both:") and model != "smollm2"
        if folder and os.path.isdir(os.path.expanduser(model)):
            return f"{head}{served}{absolute(model)}"
        file, _, name = value.rpartition(":")
        return f"{absolute(file)}:{name}" if file.endswith(".py") else value

    @field_validator("model_options", mode="before")
    @classmethod
    def _plain(cls, value: object) -> dict[str, Any]:
        return checked_options(value)

    @field_serializer("model_options")
    def _in_one_line(self, value: dict[str, Any]) -> str:
        """As JSON: so every place that keeps settings can keep it, and two that say the same are equal."""
        return json.dumps(value, sort_keys=True)

    @field_validator("objectives", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Names with commas between them, as a command line has them, are a list."""
        return [name for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        names = [name.strip() for name in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice, and counts once")
        return names

    @field_validator("proposer_url")
    @classmethod
    def _served(cls, value: str | None, info: ValidationInfo) -> str | None:
        """An address says nothing to what runs in this process, and must be one before anything is spent."""
        if value is not None and info.data.get("proposer") not in (None, "vllm-server"):
            raise ValueError('only proposer = "vllm-server" asks a server by its address')
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an address looks like http://host:8000/v1")
        return value

    @field_validator("where", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return value.text() if isinstance(value, Predicate) else value

    def check_budget(self, evaluations: int) -> None:
        """Refuse a budget that ends before the initial design does.

        Raises:
            BudgetError: No whole number, or fewer evaluations than the initial design has.
        """
        if not isinstance(evaluations, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BudgetError(f"A budget of {evaluations!r} evaluations is not allowed: give a whole number.")
        if evaluations < self.initial:
            raise BudgetError(
                f"A budget of {evaluations} ends before the initial design of {self.initial} does: allow "
                "more evaluations, or set `initial` lower, to 3 at least."
            )

    def digest(self) -> str:
        """Hash of all settings: 10 hex digits."""
        body = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:10]


def build_options(options: Options | None, settings: Mapping[str, Any]) -> Options:
    """Options with single settings replaced.

    Raises:
        SettingsError: A setting that does not exist, or a value that is not allowed.
    """
    base = (options or Options()).model_dump()
    for name in settings:
        if name not in base:
            near = difflib.get_close_matches(name, base, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"Unknown setting {name!r}.{hint} Allowed: {', '.join(sorted(base))}.")
    try:
        return Options.model_validate({**base, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise SettingsError(f"Setting {name} = {first['input']!r} is not allowed: {reason(first)}.") from None


def reason(error: ErrorDetails) -> str:
    """Why a value is not allowed, in the words of whoever refused it."""
    return error["msg"].removeprefix("Value error, ")
