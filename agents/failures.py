"""What went wrong with a request to a language model: a reason to count, a sentence, whether to try again."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from vitruvius.errors import VitruviusError

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

UNREADABLE = frozenset(
    {
        "endpoint error",
        "endpoint slow",
        "not authorised",
        "no credit",
        "rate limited",
        "request refused",
        "no schema",
        "not JSON",
        "cut off",
        "interrupted",
        "tools",
        "no tools",
    }
)
"""Outcomes of calls that brought nothing at all: the endpoint is at fault, or a limit, not the ideas of its
model. What probing for tools brought, `tools` or `no tools`, is among them."""

NOT_ITS_OWN = UNREADABLE - {"no schema", "not JSON", "tools", "no tools"}
"""Those that say nothing of what the model can do."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|pk|hf|gsk|xai)[-_][A-Za-z0-9_\-*]{6,}|(?i:bearer)\s+\S+|(?<=://)[^/\s@]+(?=@)"
)
_UNSUPPORTED = (400, 404, 405, 415, 422, 501)
_NO_CREDIT = re.compile(r"insufficient_quota|exceeded your current quota|insufficient balance", re.IGNORECASE)
_NOT_KNOWN = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|extra|not (?:supported|permitted|allowed)"
    r"|use 'max_tokens'",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"too large|maximum context|context length|max_(?:completion_)?tokens", re.IGNORECASE)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought no whole reply.

    Attributes:
        reason: Short, to be counted.
        sentence: For people.
        transient: Waiting may help.
        unsupported: The endpoint cannot do what was asked for beyond text.
        old_limit: The endpoint knows `max_tokens` only, not `max_completion_tokens`.
        wait: Seconds that it asks to wait.
        charged: Whether it was paid for all the same; None if that is not known.
        tokens: Of its prompt and reply, where the endpoint told.
    """

    reason: str
    sentence: str
    transient: bool = False
    unsupported: bool = False
    old_limit: bool = False
    wait: float | None = None
    charged: bool | None = False
    tokens: tuple[int, int] | None = None


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
    whole = redacted(f"{type(error).__name__}: {error}".replace("\n", " "))
    said = whole[:300]
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
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
    refused = _refused(status, name, whole, asked_for_more)
    if refused is not None:
        return refused
    if status == 429:
        return Failure("rate limited", f"{name}: {said}", transient=True, wait=_retry_after(response))
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


def _refused(status: int | None, name: str, whole: str, asked_for_more: bool) -> Failure | None:
    """What a status means that waiting does not mend; None for the others."""
    said = whole[:300]
    if status == 401:
        return Failure("not authorised", f"{name} refused the key (401): check it. {said}")
    if status == 403:
        why = "the key may not use this model, or not from here: ask its owner, or take another model"
        return Failure("not authorised", f"{name} refused access (403): {why}. {said}")
    if status == 402 or (status == 429 and _NO_CREDIT.search(whole)):
        why = "the account has no credit left, and waiting does not help: see its plan and billing"
        return Failure("no credit", f"{name} ({status}): {why}. {said}")
    if status not in _UNSUPPORTED:
        return None
    sentence = f"{name} refused the request: {said}"
    if status in (400, 422) and "max_completion_tokens" in whole and _NOT_KNOWN.search(whole):
        return Failure("request refused", sentence, old_limit=True)
    if status in (400, 422) and _TOO_LONG.search(whole):
        hint = "if replies are too long for it, give less with --set reply_tokens=2000"
        return Failure("request refused", f"{sentence} ({hint})", unsupported=asked_for_more)
    return Failure("request refused", sentence, unsupported=asked_for_more)


def cut_message(error: Exception) -> AIMessage | None:
    """The reply, with its tokens, that an exception about the token limit carries; None for any other."""
    from langchain_core.messages import AIMessage

    completion = getattr(error, "completion", None)
    if "LengthFinishReason" not in type(error).__name__:
        return None
    choices, usage = getattr(completion, "choices", None) or [], getattr(completion, "usage", None)
    text = str(getattr(getattr(choices[0], "message", None), "content", None) or "") if choices else ""
    told: Any = None
    if usage is not None:
        tokens_in, tokens_out = int(usage.prompt_tokens), int(usage.completion_tokens)
        told = {
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        }
    return AIMessage(text, usage_metadata=told, response_metadata={"finish_reason": "length"})


def is_cut(message: AIMessage) -> bool:
    """Whether the token limit ended a reply, as the providers say that."""
    told = message.response_metadata
    ends = {str(told.get(name)).lower() for name in ("finish_reason", "stop_reason", "done_reason")}
    incomplete = told.get("incomplete_details") or {}
    return bool(ends & {"length", "max_tokens"}) or incomplete.get("reason") == "max_output_tokens"


def says_nothing(message: AIMessage) -> bool:
    """Whether a reply is empty, but for thoughts."""
    called = message.tool_calls or message.invalid_tool_calls
    return not called and not _THOUGHT.sub("", str(message.text)).strip()


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


__all__ = [
    "NOT_ITS_OWN", "UNREADABLE", "Failure", "cut_message", "failure_of", "is_cut", "redacted",
    "says_nothing",
]  # fmt: skip
