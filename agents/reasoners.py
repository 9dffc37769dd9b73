"""Reasoners by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitruvius.agents.reasoner import Reasoner
from vitruvius.errors import unknown_name


def make_reasoner(
    spec: str, *, templates: Path | None = None, say: Callable[[str], None] | None = None
) -> Reasoner:
    """The reasoner with this name.

    Args:
        spec: "statistics", or a language model: "openai:MODEL", "vllm:PATH-OR-NAME", or what LangChain's
            `init_chat_model` understands.
        templates: Folder whose prompt templates override ours by name.
        say: Takes one line of progress.

    Raises:
        UnknownNameError: No such reasoner.
        TemplateError: A template is broken; raised here, before a model is asked.
        MissingPartError: A package that the model needs is not installed.
    """
    if spec == "statistics":
        from vitruvius.agents.statistics import StatisticsReasoner

        return StatisticsReasoner()
    if ":" not in spec:
        raise unknown_name("reasoner", spec, ["statistics", "none", "openai:MODEL", "vllm:PATH-OR-NAME"])
    from vitruvius.agents.language_reasoner import LanguageReasoner

    return LanguageReasoner(spec, templates_folder=templates, say=say)
