"""Asking a chat model within limits: retries, time, tokens, a record of every call, never an exception."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any

from vitruvius.agents.models import Chat
from vitruvius.agents.reasoner import ModelCall
from vitruvius.errors import VitruviusError
from vitruvius.prompts.library import Message, Template

MOST_REPLY = 20_000
"""Characters of a reply that are kept in the record."""
RETRIES = 2
BACKOFF = 1.0
"""Seconds before the first retry, doubled for the second, where the endpoint does not say how long."""
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|pk|hf|gsk|xai)[-_][A-Za-z0-9_\-*]{6,}|(?i:bearer)\s+\S+|(?<=://)[^/\s@]+(?=@)"
)
_UNSUPPORTED = (400, 404, 405, 415, 422, 501)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reflection may spend.

    Attributes:
        calls: Requests, retries included.
        seconds: Wall time of all requests and waits together; the start of a server is not counted.
        reply_tokens: Tokens of one reply.
        tokens: Tokens of all prompts and replies together; checked before each request.
    """

    calls: int = 6
    seconds: float = 180.0
    reply_tokens: int = 2000
    tokens: int = 60_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought no text: a short reason to count, and a sentence."""

    reason: str
    sentence: str
    transient: bool = False
    unsupported: bool = False
    wait: float | None = None
    text: str = ""


@dataclass(slots=True)
class Asker:
    """Asks one model during one reflection.

    Attributes:
        chat: The model.
        limits: What may be spent.
        seed: Passed on where the endpoint takes one.
        structured: Whether the endpoint is asked to hold replies to a schema; turned off when it refuses.
        calls: A record of each request.
        failures: Each request that brought no text.
    """

    chat: Chat
    limits: Limits
    seed: int
    structured: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    failures: list[Failure] = field(default_factory=list[Failure])
    _started: float | None = None

    def ask(self, template: Template, messages: Sequence[Message], schema: dict[str, Any]) -> str | None:
        """Ask, with retries where waiting may help.

        Args:
            template: What the messages were rendered from, for the record.
            messages: The whole conversation.
            schema: The JSON schema that the reply should fit.

        Returns:
            The text of the reply, or None; `failures` tells why.
        """
        if self._started is None:
            self._started = self.clock()
        for attempt in range(RETRIES + 1):
            spent = self._spent()
            if spent is not None:
                self.failures.append(Failure("limit", spent))
                return None
            answer = self._request(template, messages, schema)
            if isinstance(answer, str):
                return answer
            self.failures.append(answer)
            if answer.text:
                return answer.text
            delay = answer.wait if answer.wait is not None else BACKOFF * 2**attempt
            if not answer.transient or attempt == RETRIES:
                return None
            if delay >= self._left():
                sentence = (
                    f"{self.chat.name} asks to wait {delay:.0f} s, longer than this reflection may take."
                )
                self.failures.append(Failure("limit", sentence))
                return None
            self.sleep(delay)
        return None

    def refused_schema(self) -> bool:
        """Whether the last request failed because the endpoint cannot hold replies to a schema."""
        return self.structured and bool(self.failures) and self.failures[-1].unsupported

    def mark(self, outcome: str) -> None:
        """Set the outcome of the last call, once the reply was judged."""
        self.calls[-1] = replace(self.calls[-1], outcome=outcome)

    def _left(self) -> float:
        started = self.clock() if self._started is None else self._started
        return self.limits.seconds - (self.clock() - started)

    def _spent(self) -> str | None:
        if len(self.calls) >= self.limits.calls:
            return f"The limit of {self.limits.calls} requests for one reflection is reached."
        if self._left() <= 0:
            return f"The limit of {self.limits.seconds:.0f} s for one reflection is reached."
        if sum(call.tokens_in + call.tokens_out for call in self.calls) >= self.limits.tokens:
            return f"The limit of {self.limits.tokens} tokens for one reflection is reached."
        return None

    def _request(
        self, template: Template, messages: Sequence[Message], schema: dict[str, Any]
    ) -> str | Failure:
        began = self.clock()
        answer = _within(self._left(), lambda: _invoke(self, messages, schema), self.chat.name)
        failed = isinstance(answer, Failure)
        said, tokens = (answer.text, (0, 0)) if isinstance(answer, Failure) else answer
        self.calls.append(
            ModelCall(
                model=redacted(self.chat.name),
                template=template.name,
                template_hash=template.hash,
                inputs_hash=inputs_hash(messages),
                reply=redacted(said)[:MOST_REPLY],
                tokens_in=tokens[0],
                tokens_out=tokens[1],
                seconds=round(self.clock() - began, 3),
                outcome=answer.reason if failed else "ok",
            )
        )
        return answer if failed else said


def inputs_hash(messages: Sequence[Message]) -> str:
    """Hash of rendered messages: 12 hex digits. With template, model and seed it names a reply."""
    body = json.dumps([[m.role, m.content] for m in messages], ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def redacted(text: str) -> str:
    """The text without keys: values of secret variables of the environment, and what looks like a key."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return _SECRET_TEXT.sub("***", text)


def _invoke(
    asker: Asker, messages: Sequence[Message], schema: dict[str, Any]
) -> tuple[str, tuple[int, int]] | Failure:
    """One request, in whatever thread; returns text and tokens, or the failure."""
    from langchain_core.messages import AIMessage

    chat = asker.chat
    try:
        model = chat.connect()
        asked = [(message.role, message.content) for message in messages]
        extra: dict[str, Any] = {"seed": asker.seed % 2**31} if chat.seeded else {}
        if asker.structured:
            titled = {"title": "reply", "description": "The reply.", **schema}
            runnable = model.with_structured_output(titled, include_raw=True, **chat.structured, **extra)
            answer: Any = runnable.invoke(asked)
            message, parsed = answer["raw"], answer["parsed"]
        else:
            message, parsed = model.invoke(asked, **extra), None
    except Exception as error:  # whatever a provider's package raises, the session goes on without the reply
        return _failure(error, chat.name, asker.structured)
    if not isinstance(message, AIMessage):
        return Failure("endpoint error", f"{chat.name} answered with a {type(message).__name__}.")
    usage = message.usage_metadata
    tokens = (usage["input_tokens"], usage["output_tokens"]) if usage is not None else (0, 0)
    text = str(message.text)
    if not text.strip():
        arguments = message.tool_calls[0]["args"] if message.tool_calls else parsed
        text = json.dumps(arguments) if arguments is not None else ""
    refusal = message.additional_kwargs.get("refusal")
    if refusal and not text.strip():
        return Failure("model refused", f"{chat.name} refused to answer: {redacted(str(refusal))[:200]}")
    return text, tokens


def _within(seconds: float, call: Callable[[], Any], name: str) -> Any:
    """Run the call in a thread for at most so long; the thread of a call that hangs is left behind."""
    result: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=lambda: result.put(call()), daemon=True).start()
    try:
        return result.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        return Failure("endpoint slow", f"{name} did not answer within {seconds:.0f} s.")


def _failure(error: Exception, name: str, structured: bool) -> Failure:
    """What an exception of a provider's package means."""
    said = redacted(f"{type(error).__name__}: {error}".replace("\n", " "))[:300]
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if "LengthFinishReason" in type(error).__name__:
        return Failure("cut off", f"{name} was cut off at the token limit.", text=_partial(error))
    if "ContentFilter" in type(error).__name__:
        return Failure("model refused", f"{name}: the endpoint's content filter stopped the reply.")
    if isinstance(error, NotImplementedError | TypeError | AttributeError) and structured and status is None:
        return Failure("no schema", f"{name} cannot be held to a schema ({said}).", unsupported=True)
    if status in (401, 403):
        return Failure("not authorised", f"{name} refused the key ({status}): check it. {said}")
    if status == 429:
        return Failure("rate limited", f"{name}: {said}", transient=True, wait=_retry_after(response))
    if status in _UNSUPPORTED:
        return Failure("request refused", f"{name} refused the request: {said}", unsupported=structured)
    if isinstance(error, VitruviusError):
        return Failure("endpoint error", redacted(str(error)))
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return Failure("endpoint slow", f"{name} did not answer in time: {said}", transient=True)
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


__all__ = ["RETRIES", "Asker", "Failure", "Limits", "inputs_hash", "redacted"]
