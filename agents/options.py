"""The settings of a session, with their defaults: the one place where they stand."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitruvius.errors import SettingsError


class Options(BaseModel):
    """How a session works; every field has a default that was chosen on the development tasks.

    The same options, seed and task give the same session (with engines that are deterministic).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    """All randomness comes from here."""
    reasoner: str = "statistics"
    """"statistics", "openai:MODEL", "vllm:PATH-OR-NAME", or "none"."""
    proposer: Literal["auto", "vllm", "vllm-server", "transformers", "ngram", "uniform"] = "auto"
    """What writes codes; "auto" is vllm where it imports, else transformers with a warning."""
    proposer_url: str | None = None
    """Address of an OpenAI-compatible server, for "vllm-server"."""
    initial: int = Field(default=10, ge=3)
    """Size of the first, uniform design."""
    batch: int = Field(default=5, ge=1)
    """Architectures chosen at a time."""
    open_share: float = Field(default=0.10, ge=0, le=1)
    """Share of the budget drawn uniformly from the whole space, whatever was pruned."""
    open_minimum: int = Field(default=5, ge=0)
    """The same as a number of evaluations: the larger of the two counts."""
    pool: int = Field(default=384, ge=16)
    """Code sequences written for each batch."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of the code model."""
    local: int = Field(default=256, ge=0)
    """Local candidates in each pool: neighbours of the best, one or two decisions away."""
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
    held_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of each source that is held back from the reasoner, to judge what it proposes."""

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
        raise SettingsError(
            f"Setting {'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}."
        ) from None
