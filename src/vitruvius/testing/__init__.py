"""What tests of Vitruvius, and of your own parts for it, are made of.

Contracts are classes of tests: subclass one, give it the fixtures that it names, and pytest runs them
on your part.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitruvius.testing.chat import ScriptedChatModel
    from vitruvius.testing.embedders import EmbedderContract
    from vitruvius.testing.evaluators import EvaluatorContract
    from vitruvius.testing.proposers import ProposerContract
    from vitruvius.testing.reasoners import ReasonerContract

_HOMES = {
    "EmbedderContract": "embedders",
    "EvaluatorContract": "evaluators",
    "ProposerContract": "proposers",
    "ReasonerContract": "reasoners",
    "ScriptedChatModel": "chat",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: each needs other heavy packages."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "EmbedderContract",
    "EvaluatorContract",
    "ProposerContract",
    "ReasonerContract",
    "ScriptedChatModel",
]
