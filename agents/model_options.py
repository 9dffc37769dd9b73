"""The setting `model_options`: what a chat model is told beside what we tell it ourselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

EXAMPLE = '{"reasoning_effort": "low", "temperature": 0.6, "extra_body": {"top_k": 20}}'
OURS = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "set reply_tokens"),
    **dict.fromkeys(("timeout", "request_timeout"), "set reflection_seconds"),
    **dict.fromkeys(("model", "model_name", "model_provider"), "the reasoner names it"),
    **dict.fromkeys(("base_url", "openai_api_base"), "OPENAI_BASE_URL holds it"),
    **dict.fromkeys(
        ("n", "streaming", "stream", "max_retries", "rate_limiter", "cache"), "it is ours to choose"
    ),
}
"""Names that are refused, and what to do instead."""
_SECRET = re.compile(r"key|secret|password|header|organization|proxy|http_", re.IGNORECASE)


def checked_options(given: object) -> dict[str, Any]:
    """Options of a chat model as plain data, from a mapping or from its JSON, as a command line has it.

    Raises:
        ValueError: No mapping of plain data, or a name that is not theirs to set.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({error}); write for example {EXAMPLE}") from None
    if not isinstance(given, Mapping):
        raise ValueError(f"it is a mapping of names to values, for example {EXAMPLE}")
    options = dict(cast("Mapping[str, Any]", given))
    try:
        plain = json.loads(json.dumps(options, allow_nan=False)) == options
    except (TypeError, ValueError):
        plain = False
    if not plain:
        raise ValueError("its values are plain data: texts, numbers, true, false, null, lists, mappings")
    for name in options:
        if name in OURS:
            raise ValueError(f"{name} does not belong here: {OURS[name]}")
        if _SECRET.search(name):
            raise ValueError(f"{name} does not belong here: settings are written down, take the environment")
    return options


__all__ = ["EXAMPLE", "checked_options"]
