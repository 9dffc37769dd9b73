"""Asking a chat model within limits: retries, time, tokens, money, a record of every call, no exception."""

from __future__ import annotations

import contextvars
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vitruvius.agents.failures import Failure, failure_of, redacted
from vitruvius.agents.models import Chat
from vitruvius.agents.reasoner import ModelCall
from vitruvius.agents.reply_cache import ReplyCache, cache_key
from vitruvius.agents.spending import BYTES_PER_TOKEN, Allowance, Limits, Spent, over, too_dear
from vitruvius.prompts.library import Message, Template

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

MOST_REPLY = 20_000
"""Characters of a reply that are kept in the record."""
RETRIES = 2
BACKOFF = 1.0
"""Seconds before the first retry, doubled for the second, where the endpoint does not say how long."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is recorded and cached.

    Attributes:
        template: What it was rendered from.
        body: The conversation as text: what is hashed, and whose length bounds the cost.
        beside: What else the reply depends on: a schema, tools.
    """

    template: Template
    body: str
    beside: str = ""

    @property
    def hash(self) -> str:
        """Hash of the conversation: 12 hex digits."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:12]


@dataclass(slots=True)
class Asker:
    """Asks one model during one reflection.

    Attributes:
        chat: The model.
        limits: What may be spent now.
        seed: Passed on where the endpoint takes one; other seeds get other replies from the cache.
        structured: Whether the endpoint is asked to hold replies to a schema; turned off when it refuses.
        allowance: What the session may spend.
        before: What its earlier reflections have spent.
        cache: Replies that were paid for; None asks anew.
        most: Requests that may be sent; None takes `limits.calls`.
        calls: A record of each request.
        failures: Each request that brought no text.
    """

    chat: Chat
    limits: Limits
    seed: int
    structured: bool = True
    allowance: Allowance = field(default_factory=Allowance)
    before: Spent = field(default_factory=Spent)
    cache: ReplyCache | None = None
    most: int | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    failures: list[Failure] = field(default_factory=list[Failure])
    _started: float | None = None
    _replayed: float = 0.0
    _kept: list[str] = field(default_factory=list[str])

    def ask(self, template: Template, messages: Sequence[Message], schema: dict[str, Any]) -> str | None:
        """Ask for text that fits a schema, with retries where waiting may help.

        Args:
            template: What the messages were rendered from, for the record.
            messages: The whole conversation.
            schema: The JSON schema that the reply should fit.

        Returns:
            The text of the reply, or None; `failures` tells why.
        """
        beside = json.dumps(schema, sort_keys=True) if self.structured else ""
        question = Question(template, _body(messages), beside)
        answer = self.send(question, lambda: _invoke(self, messages, schema))
        if answer is None:
            cut = self.failures[-1].text if self.failures else ""
            return cut or None
        return text_of(answer)

    def send(self, question: Question, request: Callable[[], AIMessage]) -> AIMessage | None:
        """Send a request, with retries where waiting may help.

        Args:
            question: What is asked.
            request: Sends it once; may raise whatever a provider's package raises.

        Returns:
            The reply, or None; `failures` tells why.
        """
        if self._started is None:
            self._started = self.clock()
        for attempt in range(RETRIES + 1):
            limit = self.reached(question)
            if limit:
                self.failures.append(Failure("limit", limit))
                return None
            answer = self._once(question, request)
            if not isinstance(answer, Failure):
                return answer
            self.failures.append(answer)
            delay = answer.wait if answer.wait is not None else BACKOFF * 2**attempt
            if answer.text or not answer.transient or attempt == RETRIES:
                return None
            if delay >= self.left():
                sentence = (
                    f"{self.chat.name} asks to wait {delay:.0f} s, longer than this reflection may take."
                )
                self.failures.append(Failure("limit", sentence))
                return None
            self.sleep(delay)
        return None

    def refused(self) -> bool:
        """Whether the last request failed because the endpoint cannot do what was asked for beyond text."""
        return bool(self.failures) and self.failures[-1].unsupported

    def mark(self, outcome: str) -> None:
        """Set the outcome of the last call, once the reply was judged."""
        self.calls[-1] = replace(self.calls[-1], outcome=outcome)

    def forget(self) -> None:
        """Drop from the cache what this reflection put there: nothing of it could be read."""
        if self.cache is not None:
            self.cache.forget(self._kept)

    @property
    def budget(self) -> int:
        """Requests that may be sent."""
        return self.limits.calls if self.most is None else self.most

    @property
    def now(self) -> Spent:
        """What this reflection has spent."""
        return sum((Spent(c.seconds, c.tokens_in, c.tokens_out) for c in self.calls), Spent())

    def left(self) -> float:
        """Seconds that this reflection may still take."""
        started = self.clock() if self._started is None else self._started
        return self.limits.seconds - (self.clock() - started) - self._replayed

    def reached(self, question: Question) -> str:
        """Which limit forbids this request, as a sentence; empty for none."""
        if self.left() <= 0:
            return f"The limit of {self.limits.seconds:.0f} s for one reflection is reached."
        now, price = self.now, self.chat.price
        limit = over(self.limits, self.allowance, now, self.before, len(self.calls), self.budget)
        if limit or price is None:
            return limit
        tokens = len((question.body + question.beside).encode()) // BYTES_PER_TOKEN
        next_one = price.cost(tokens, self.limits.reply_tokens)
        return self._too_dear(next_one)

    def _too_dear(self, next_one: float) -> str:
        price = self.chat.price
        return too_dear(
            self.limits, self.allowance, self.now.money(price), self.before.money(price), next_one
        )

    def nearly_spent(self) -> bool:
        """Whether one more request like the last, but perhaps not two, stays within all limits."""
        if len(self.calls) >= self.budget - 1:
            return True
        if not self.calls:
            return False
        last, now, price = self.calls[-1], self.now, self.chat.price
        tokens = now.tokens + 2 * (last.tokens_in + last.tokens_out)
        if self.left() < self.limits.seconds / 5 or tokens > self.limits.tokens:
            return True
        if self.before.tokens + tokens > self.allowance.tokens:
            return True
        both = 2 * price.cost(last.tokens_in + last.tokens_out, self.limits.reply_tokens) if price else 0.0
        return bool(self._too_dear(both))

    def _once(self, question: Question, request: Callable[[], AIMessage]) -> AIMessage | Failure:
        """One request, out of the cache if it is there, written down."""
        chat = self.chat
        key = cache_key(
            chat.name, chat.address, question.template.hash, question.body, question.beside, self.seed,
            self.limits.reply_tokens,
        )  # fmt: skip
        found = self.cache.get(key) if self.cache is not None and chat.address is not None else None
        if found is not None:
            self._replayed += found[1]
            self._note(question, found[0], 0.0, cached=True)
            return found[0]
        began = self.clock()
        answer = _within(self.left(), lambda: _answer(self, request), chat.name)
        seconds = round(self.clock() - began, 3)
        self._note(question, answer, seconds, cached=False)
        if self.cache is not None and chat.address is not None and not isinstance(answer, Failure):
            self.cache.put(key, answer, seconds)
            self._kept.append(key)
        return answer

    def _note(self, question: Question, answer: AIMessage | Failure, seconds: float, *, cached: bool) -> None:
        price, template = self.chat.price, question.template
        if isinstance(answer, Failure):
            said, tokens, outcome = answer.text, None, answer.reason
            cost = 0.0 if answer.charged is False or (price is not None and price.free) else None
        else:
            said, tokens, outcome = text_of(answer), _tokens(answer), "ok"
            cost = price.cost(*tokens) if price is not None and tokens is not None else None
            cost = 0.0 if cached or (price is not None and price.free) else cost
        self.calls.append(
            ModelCall(
                model=redacted(self.chat.name),
                template=template.name,
                template_hash=template.hash,
                inputs_hash=question.hash,
                reply=redacted(said)[:MOST_REPLY],
                tokens_in=tokens[0] if tokens is not None else 0,
                tokens_out=tokens[1] if tokens is not None else 0,
                seconds=seconds,
                outcome=outcome,
                cost=cost,
                cached=cached,
            )
        )


def inputs_hash(messages: Sequence[Message]) -> str:
    """Hash of rendered messages: 12 hex digits. With template, model and seed it names a reply."""
    return hashlib.sha256(_body(messages).encode()).hexdigest()[:12]


def text_of(message: AIMessage) -> str:
    """What a model said: its text, or the tool calls that it made, as JSON."""
    text = str(message.text)
    calls = [{"tool": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    calls += [{"tool": call["name"], "arguments": call["args"]} for call in message.invalid_tool_calls]
    if not calls:
        return text
    said = json.dumps(calls, ensure_ascii=False, default=str)
    return f"{text}\n{said}" if text.strip() else said


def _body(messages: Sequence[Message]) -> str:
    return json.dumps([[m.role, m.content] for m in messages], ensure_ascii=False)


def _tokens(message: AIMessage) -> tuple[int, int] | None:
    usage = message.usage_metadata
    return (usage["input_tokens"], usage["output_tokens"]) if usage is not None else None


def _invoke(asker: Asker, messages: Sequence[Message], schema: dict[str, Any]) -> AIMessage:
    """One request for text, held to the schema where the endpoint can do that."""
    chat = asker.chat
    model = chat.connect()
    asked = [(message.role, message.content) for message in messages]
    extra = chat.settings(asker.seed)
    if not asker.structured:
        return model.invoke(asked, **extra)
    titled = {"title": "reply", "description": "The reply.", **schema}
    runnable = model.with_structured_output(titled, include_raw=True, **chat.structured, **extra)
    answer: Any = runnable.invoke(asked)
    message, parsed = answer["raw"], answer["parsed"]
    if str(message.text).strip():
        return message
    # Some providers answer a schema with a tool call.
    arguments = message.tool_calls[0]["args"] if message.tool_calls else parsed
    text = json.dumps(arguments) if arguments is not None else ""
    return message.model_copy(update={"content": text, "tool_calls": [], "invalid_tool_calls": []})


def _answer(asker: Asker, request: Callable[[], AIMessage]) -> AIMessage | Failure:
    """The request in whatever thread; an exception becomes a failure."""
    from langchain_core.messages import AIMessage

    name = asker.chat.name
    try:
        message: Any = request()
    except Exception as error:  # whatever a provider's package raises, the session goes on without the reply
        return failure_of(error, name, asked_for_more=asker.structured)
    if not isinstance(message, AIMessage):
        return Failure("endpoint error", f"{name} answered with a {type(message).__name__}.")
    refusal = message.additional_kwargs.get("refusal")
    if refusal and not str(message.text).strip() and not message.tool_calls:
        said = f"{name} refused to answer: {redacted(str(refusal))[:200]}"
        return Failure("model refused", said, charged=None)
    return message


def _within(seconds: float, call: Callable[[], Any], name: str) -> Any:
    """Run the call in a thread for at most so long; the thread of a call that hangs is left behind."""
    result: queue.SimpleQueue[Any] = queue.SimpleQueue()
    context = contextvars.copy_context()  # an agent's request looks its surroundings up there
    threading.Thread(target=lambda: result.put(context.run(call)), daemon=True).start()
    try:
        return result.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        said = f"{name} did not answer within {seconds:.0f} s."
        return Failure("endpoint slow", said, charged=None)


__all__ = ["RETRIES", "Asker", "Failure", "Limits", "Question", "inputs_hash", "redacted", "text_of"]
