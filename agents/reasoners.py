"""Reasoners by name.

statistics          contrasts between measured architectures; no model, nothing is paid
openai:MODEL        a language model behind an endpoint, and all other names of `agents.models`
both:openai:MODEL   the model sees what statistics found, and adds its principles to those
FILE.py:NAME        one of the user's own, see `agents.own_reasoner`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Reasoner
from vitruvius.agents.spending import Allowance, Limits, Price
from vitruvius.errors import SettingsError, unknown_name

FORMS = ("statistics", "none", "openai:MODEL", "vllm:PATH-OR-NAME", "both:openai:MODEL", "FILE.py:NAME")
BOTH = "both:"


def make_reasoner(
    spec: str,
    *,
    templates: Path | None = None,
    say: Callable[[str], None] | None = None,
    **more: Any,
) -> Reasoner:
    """The reasoner with this name.

    Args:
        spec: "statistics"; a language model: "openai:MODEL", "vllm:PATH-OR-NAME", or what LangChain's
            `init_chat_model` understands; or one with "both:" before it; or FILE.py:NAME.
        templates: Folder whose prompt templates override ours by name.
        say: Takes one line of progress.
        more: Further arguments of `LanguageReasoner`, for a language model.

    Raises:
        UnknownNameError: No such reasoner.
        TemplateError: A template is broken; raised here, before a model is asked.
        MissingPartError: A package that the model needs is not installed.
        UserError: A file that holds no reasoner of that name.
    """
    if spec == "statistics":
        from vitruvius.agents.statistics import StatisticsReasoner

        return StatisticsReasoner()
    if spec.rpartition(":")[0].endswith(".py"):
        from vitruvius.agents.own_reasoner import reasoner_from_file

        return reasoner_from_file(spec)
    both = spec.startswith(BOTH)
    model = spec.removeprefix(BOTH)
    if ":" not in model:
        raise unknown_name("reasoner", spec, FORMS)
    from vitruvius.agents.language_reasoner import LanguageReasoner

    return LanguageReasoner(model, templates_folder=templates, say=say, with_statistics=both, **more)


def session_reasoner(
    options: Options, *, templates: Path | None = None, say: Callable[[str], None] | None = None
) -> Reasoner:
    """The reasoner that the settings of a session name, with their limits.

    Raises:
        SettingsError: Half a price.
        UnknownNameError, TemplateError, MissingPartError: As `make_reasoner`.
    """
    from vitruvius.generator.files import cache_folder

    return make_reasoner(
        options.reasoner,
        templates=templates,
        say=say,
        road=options.reasoning,
        limits=limits_of(options),
        allowance=Allowance(options.session_seconds, options.session_tokens, options.session_money),
        price=own_price(options),
        model_options=options.model_options,
        cache=cache_folder() / "replies" if options.cache_replies else None,
    )


def limits_of(options: Options) -> Limits:
    """What one reflection may spend."""
    from vitruvius.agents.models import SERVED_HERE, served_here

    base = SERVED_HERE if served_here(options.reasoner.removeprefix(BOTH)) else Limits()
    return Limits(
        seconds=options.reflection_seconds or base.seconds,
        reply_tokens=options.reply_tokens or base.reply_tokens,
        tokens=options.reflection_tokens,
        money=options.reflection_money,
    )


def own_price(options: Options) -> Price | None:
    """The price that the user gave, None if none.

    Raises:
        SettingsError: Only one half of it.
    """
    if options.price_in is None and options.price_out is None:
        return None
    if options.price_in is None or options.price_out is None:
        raise SettingsError(
            "A price has two parts: set price_in and price_out, in US dollars a million tokens."
        )
    return Price(options.price_in, options.price_out, "your settings")


__all__ = ["BOTH", "FORMS", "limits_of", "make_reasoner", "own_price", "session_reasoner"]
