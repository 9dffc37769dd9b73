"""What went wrong with a request to a language model: a reason to count, a sentence, whether to try again."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from vitruvius.errors import VitruviusError

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|pk|hf|gsk|xai)[-_][A-Za-z0-9_\-*]{6,}|(?i:bearer)\s+\S+|(?<=://)[^/\s@]+(?=@)"
)
_UNSUPPORTED = (400, 404, 405, 415, 422, 501)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought no whole reply.

    Attributes:
        reason: Short, to be counted.
        sentence: For people.
        transient: Waiting may help.
        unsupported: The endpoint cannot do what was asked for beyond text.
        wait: Seconds that it asks to wait.
        text: What of a reply came all the same.
        charged: Whether it was paid for all the same; None if that is not known.
    """

    reason: str
    sentence: str
    transient: bool = False
    unsupported: bool = False
    wait: float | None = None
    text: str = ""
    charged: bool | None = False


def redacted(text: str) -> str:
    """The text without keys: values of secret variables of the environment, and what looks like a key."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return _SECRET_TEXT.sub("***", text)


def failure_of(error: Exception, name: str, *, asked_for_more: bool) -> Failure:
    """What an exception of a provider's package means.

    Args:
        error: The exception.
        name: Name of the model.
        asked_for_more: Whether the request asked for what not every endpoint can do: a schema, tools.
    """
    said = redacted(f"{type(error).__name__}: {error}".replace("\n", " "))[:300]
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if "LengthFinishReason" in type(error).__name__:
        return Failure(
            "cut off", f"{name} was cut off at the token limit.", text=_partial(error), charged=None
        )
    if "ContentFilter" in type(error).__name__:
        return Failure(
            "model refused", f"{name}: the endpoint's content filter stopped the reply.", charged=None
        )
    if (
        isinstance(error, NotImplementedError | TypeError | AttributeError)
        and asked_for_more
        and status is None
    ):
        return Failure("no schema", f"{name} has no structured replies or tools ({said}).", unsupported=True)
    if status in (401, 403):
        return Failure("not authorised", f"{name} refused the key ({status}): check it. {said}")
    if status == 429:
        return Failure("rate limited", f"{name}: {said}", transient=True, wait=_retry_after(response))
    if status in _UNSUPPORTED:
        return Failure("request refused", f"{name} refused the request: {said}", unsupported=asked_for_more)
    if isinstance(error, VitruviusError):
        return Failure("endpoint error", redacted(str(error)))
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return Failure(
            "endpoint slow", f"{name} did not answer in time: {said}", transient=True, charged=None
        )
    if type(error).__name__ == "ValidationError" and "tool_calls" in said:
        why = f"{name} called a tool with arguments that are no JSON object."
        return Failure("wrong arguments", why, transient=True, wait=0.0, charged=None)
    if isinstance(error, TypeError | AttributeError | KeyError | ValueError) and (status or 200) < 400:
        return Failure(
            "endpoint error",
            f"{name} answered with something that is no chat completion ({said}): check the address, for "
            "example OPENAI_BASE_URL=http://HOST:PORT/v1.",
        )
    transient = status is None or status >= 500 or status in (408, 409, 425)
    if transient and status is None:
        said = f"not reached: {said} Check that it runs, and its address (OPENAI_BASE_URL, OPENAI_PROXY)."
    return Failure("endpoint error", f"{name}: {said}", transient=transient, wait=_retry_after(response))


def _partial(error: Exception) -> str:
    """The text that came before the limit, if the error carries it."""
    choices = getattr(getattr(error, "completion", None), "choices", None) or []
    return str(getattr(getattr(choices[0], "message", None), "content", None) or "") if choices else ""


def _retry_after(response: object) -> float | None:
    """Seconds that an endpoint asks to wait: a number, or a date."""
    headers: Any = getattr(response, "headers", None)
    told = headers.get("retry-after") if headers is not None else None
    if told is None:
        return None
    try:
        return max(float(told), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


__all__ = ["Failure", "failure_of", "redacted"]
