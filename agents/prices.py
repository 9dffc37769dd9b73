"""Prices of models: a dated table, which a user can override."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from vitruvius.agents.spending import Price

TABLE = Path(__file__).parent / "prices.toml"
FREE = Price(0.0, 0.0, "served by this machine")
_DATE = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8})\Z")


def price_of(spec: str) -> Price | None:
    """The price of a model as it is named for a reasoner, None if the table does not hold it.

    Args:
        spec: "openai:gpt-5", "vllm:FOLDER", "anthropic:claude-opus-5" ..., or as gateways name models that
            others serve: "openai:anthropic/claude-opus-5".
    """
    provider, _, model = spec.partition(":")
    if provider in ("vllm", "ollama"):
        return FREE
    table = _table()
    _, slash, behind = model.rpartition("/")
    if slash:  # each name is in one list only
        model, found = behind, {name: pair for each in _providers(table) for name, pair in each.items()}
    else:
        found = table.get(provider, {})
    pair = found.get(model) or found.get(_DATE.sub("", model))
    return None if pair is None else Price(pair[0], pair[1], f"{table['source']}, {table['date']}")


def _providers(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in table.values() if isinstance(value, dict)]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


__all__ = ["FREE", "TABLE", "price_of"]
