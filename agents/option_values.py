"""The settings of a session as arguments of its own: what an editor completes and a type checker checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from vitruvius.knowledge.predicate import Predicate


class OptionValues(TypedDict, total=False):
    """Any of `Options` by name, but `reasoner`, which `Session` takes itself.

    What each means and its default stand in `Options`; a test holds the two to the same names and types.
    """

    seed: int
    reasoning: Literal["auto", "agent", "chain"]
    reflection_money: float
    session_money: float
    reflection_tokens: int
    session_tokens: int
    reflection_seconds: float | None
    session_seconds: float
    reply_tokens: int | None
    model_options: Mapping[str, Any]
    price_in: float | None
    price_out: float | None
    cache_replies: bool
    proposer: Literal["auto", "vllm", "vllm-server", "transformers", "ngram", "uniform"]
    proposer_url: str | None
    initial: int
    batch: int
    asynchronous: bool
    open_share: float
    open_minimum: int
    pool: int
    temperature: float
    local: int
    where: str | Predicate | None
    objectives: Sequence[str] | str
    selection: Literal["surrogate", "random"]
    prune: bool
    finetune_every: int
    reflect_every: int
    principles: int
    source_size: int
    transfer: bool
    held_share: float
