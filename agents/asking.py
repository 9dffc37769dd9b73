"""Asking a chat model within limits: retries, time, tokens, money, a record of every call, no exception."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vitruvius.agents.failures import Failure, cut_message, failure_of, is_cut, redacted, says_nothing
from vitruvius.agents.models import Chat
from vitruvius.agents.one_request import THOUGHTS, invoke, text_of, tokens_of, within
from vitruvius.agents.reasoner import ModelCall
from vitruvius.agents.reply_cache import ReplyCache, cache_key
from vitruvius.agents.spending import BYTES_PER_TOKEN, Allowance, Cap, Limits, Spent, over, too_dear
from vitruvius.prompts.library import Message, Template
from vitruvius.prompts.tokens import estimated_tokens

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

MOST_REPLY = 20_000
"""Characters of a reply that are kept in the record."""
LEAST_ROOM = 1000
"""Tokens that a reply is thought to need, until one needed more: with less it is not asked for."""
RETRIES = 2
BACKOFF = 1.0
"""Seconds before the first retry, doubled for the second, where the endpoint does not say how long."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is recorded and cached.

    Attributes:
        template: What it was rendered from.
        body: The conversation as text: what is hashed. With what is beside it, it is what a prompt costs.
        beside: What else the reply depends on: a schema, tools.
    """

    template: Template
    body: str
    beside: str = ""

    @property
    def hash(self) -> str:
        """Hash of the conversation: 12 hex digits."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:12]

    @property
    def estimate(self) -> int:
        """About how many tokens it has."""
        return estimated_tokens(self.body + self.beside)


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
        calls: A record of each request.
        failures: Each request that brought no text.
        notes: Sentences for the user.
        cap: The limit that forbade the last request; None if none did.
        estimated: Whether the tokens of a reply had to be estimated.
    """

    chat: Chat
    limits: Limits
    seed: int
    structured: bool = True
    allowance: Allowance = field(default_factory=Allowance)
    before: Spent = field(default_factory=Spent)
    cache: ReplyCache | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    failures: list[Failure] = field(default_factory=list[Failure])
    notes: list[str] = field(default_factory=list[str])
    cap: Cap | None = None
    estimated: bool = False
    _first: int = 0
    _most: int | None = None
    _wider: bool = False
    _started: float | None = None
    _replayed: float = 0.0
    _longest: float = 0.0
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
        held = schema if self.structured else None
        question = Question(template, _body(messages), json.dumps(held, sort_keys=True) if held else "")
        answer = self.send(question, lambda model: invoke(self.chat, model, messages, held, self.seed))
        return None if answer is None else text_of(answer)

    def begin(self, most: int) -> None:
        """Begin what may take so many requests; what was sent before, to probe for tools, does not count."""
        self._first, self._most = len(self.calls), most

    def send(self, question: Question, request: Callable[[BaseChatModel], AIMessage]) -> AIMessage | None:
        """Send a request, with retries where something may help.

        Args:
            question: What is asked.
            request: Sends it once to a model; may raise whatever a provider's package raises.

        Returns:
            The reply, or None; `failures` tells why.
        """
        if self._started is None:
            self._started = self.clock()
        waited = 0
        while True:
            self.cap = self.reached(question)
            if self.cap is not None:
                self.failures.append(Failure("limit", self.cap.sentence))
                return None
            answer = self._once(question, request)
            if not isinstance(answer, Failure):
                return answer
            if answer.old_limit and self.chat.fall_back():
                continue
            self.failures.append(answer)
            if self._widen(answer, question):
                continue
            if not answer.transient or waited == RETRIES or not self._wait(answer, waited):
                return None
            waited += 1

    def _widen(self, failure: Failure, question: Question) -> bool:
        """Allow twice as long replies, once, where one was cut off and the limits leave so much."""
        if failure.reason != "cut off" or self._wider or self.chat.resize is None:
            return False
        before = self.allowed
        self._wider = True
        if self.reached(question) is not None or self._room(question) < self.allowed:
            self._wider = False
            return False
        self.notes.append(
            f"{self.chat.name} was cut off at {before:,} tokens, before an answer, so its replies may now "
            f"take {self.allowed:,}: begin with that by --set reply_tokens={self.allowed}."
        )
        return True

    def _wait(self, failure: Failure, waited: int) -> bool:
        """Wait before the next attempt; False if that would take too long."""
        delay = failure.wait if failure.wait is not None else BACKOFF * 2**waited
        if delay < self.left():
            self.sleep(delay)
            return True
        asks = f"{self.chat.name} asks to wait {delay:.0f} s, longer than this reflection may take."
        self.cap = self._out_of_time() if failure.wait is None else Cap("reflection_seconds", asks)
        self.failures.append(Failure("limit", self.cap.sentence))
        return False

    def _out_of_time(self) -> Cap:
        told = f"The limit of {self.limits.seconds:,.0f} s for one reflection is reached"
        return Cap("reflection_seconds", f"{told} (set reflection_seconds).")

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
        return self.limits.calls if self._most is None else self._most

    @property
    def sent(self) -> int:
        """Requests that were sent, since `begin`."""
        return len(self.calls) - self._first

    @property
    def now(self) -> Spent:
        """What this reflection has spent."""
        return sum((Spent(c.seconds, c.tokens_in, c.tokens_out) for c in self.calls), Spent())

    def left(self) -> float:
        """Seconds that this reflection may still take."""
        started = self.clock() if self._started is None else self._started
        return self.limits.seconds - (self.clock() - started) - self._replayed

    def reached(self, question: Question) -> Cap | None:
        """Which limit forbids this request; None if it may be sent."""
        if self.left() <= 0:
            return self._out_of_time()
        cap = over(self.limits, self.allowance, self.now, self.before, self.sent, self.budget)
        price = self.chat.price
        if cap is not None or price is None:
            return cap
        return self._too_dear(price.cost(_size(question), self._needed()), "The next request")

    def nearly_spent(self) -> Cap | None:
        """Which limit leaves one more request like those before, but perhaps not two; None if none does."""
        if self.sent >= self.budget - 1:
            return Cap("", "One request is left.")
        if not self.sent:
            return None
        last, now, price = self.calls[-1], self.now, self.chat.price
        if self.left() < max(self.limits.seconds / 5, 2 * self._longest):
            told = f"{self.left():.0f} s of {self.limits.seconds:.0f} s are left"
            return Cap("reflection_seconds", f"{told} (set reflection_seconds).")
        tokens = now.tokens + 2 * (last.tokens_in + last.tokens_out)
        for setting, amount, most in (
            ("reflection_tokens", tokens, self.limits.tokens),
            ("session_tokens", self.before.tokens + tokens, self.allowance.tokens),
        ):
            if amount > most:
                return Cap(setting, f"Two more requests could pass {most:,} tokens (set {setting}).")
        both = 2 * price.cost(last.tokens_in + last.tokens_out, self._needed()) if price else 0.0
        return self._too_dear(both, "Two more requests")

    def _too_dear(self, more: float, what: str) -> Cap | None:
        now, before = self.now.money(self.chat.price), self.before.money(self.chat.price)
        return too_dear(self.limits, self.allowance, now, before, more, what)

    @property
    def allowed(self) -> int:
        """Tokens that a reply may have: as set, twice as many once one was cut off before an answer."""
        return self.limits.reply_tokens * (2 if self._wider else 1)

    def _needed(self) -> int:
        """Tokens that the next reply may need: as the longest so far; all, where no limit can be set."""
        if self.chat.resize is None:
            return self.allowed
        return min(self.allowed, max([LEAST_ROOM, *(call.tokens_out for call in self.calls)]))

    def _room(self, question: Question) -> int:
        """Most tokens of the next reply: what is allowed, and no more than there is money left for."""
        price = self.chat.price
        if price is None or not price.tokens_out:
            return self.allowed
        now, before = self.now.money(price), self.before.money(price)
        left = min(self.limits.money - now, self.allowance.money - now - before)
        paid_for = (left - price.cost(_size(question), 0)) * 1e6 / price.tokens_out
        return int(max(min(self.allowed, paid_for), 1))

    def _once(self, question: Question, request: Callable[[BaseChatModel], AIMessage]) -> AIMessage | Failure:
        """One request, out of the cache if it is there, written down."""
        chat = self.chat
        key = cache_key(
            chat.name, chat.address, question.template.hash, question.body, question.beside, self.seed,
            self.limits.reply_tokens, chat.options,
        )  # fmt: skip
        found = self.cache.get(key) if self.cache is not None and chat.address is not None else None
        if found is not None:
            self._replayed += found[1]
            self._longest = max(self._longest, found[1])
            self._note(question, found[0], 0.0, cached=True)
            return found[0]
        began, room = self.clock(), self._room(question)
        answer: AIMessage | Failure = Failure("interrupted", "It was interrupted.", charged=None)
        try:
            answer = within(self.left(), lambda: _answer(self, question, request, room), chat.name)
        finally:  # Ctrl-C too: it may have to be paid for
            seconds = round(self.clock() - began, 3)
            self._longest = max(self._longest, seconds)
            self._note(question, answer, seconds, cached=False)
        if self.cache is not None and chat.address is not None and not isinstance(answer, Failure):
            self.cache.put(key, answer, seconds)
            self._kept.append(key)
        return answer

    def _note(self, question: Question, answer: AIMessage | Failure, seconds: float, *, cached: bool) -> None:
        price, template = self.chat.price, question.template
        if isinstance(answer, Failure):
            said, outcome, tokens, charged = "", answer.reason, answer.tokens, answer.charged
        else:
            said, outcome, tokens, charged = text_of(answer), "ok", tokens_of(answer), True
            self.estimated = self.estimated or tokens is None
        known = tokens is not None or charged is True
        estimated = tokens is None and charged is not False
        if estimated:
            # An estimate counts against the limits: what an endpoint does not tell is not free.
            thought = "" if isinstance(answer, Failure) else answer.additional_kwargs.get(THOUGHTS, "")
            tokens = (question.estimate, estimated_tokens(f"{said}{thought}"))
        tokens_in, tokens_out = tokens or (0, 0)
        cost = price.cost(tokens_in, tokens_out) if price is not None and known else None
        cost = 0.0 if cached or charged is False or (price is not None and price.free) else cost
        self.calls.append(
            ModelCall(
                model=redacted(self.chat.name),
                template=template.name,
                template_hash=template.hash,
                inputs_hash=question.hash,
                reply=redacted(said)[:MOST_REPLY],
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                seconds=seconds,
                outcome=outcome,
                cost=cost,
                cached=cached,
                estimated=estimated,
            )
        )


def _body(messages: Sequence[Message]) -> str:
    return json.dumps([[m.role, m.content] for m in messages], ensure_ascii=False)


def _size(question: Question) -> int:
    """Tokens of a prompt, before it is sent."""
    return len((question.body + question.beside).encode()) // BYTES_PER_TOKEN


def _answer(
    asker: Asker, question: Question, request: Callable[[BaseChatModel], AIMessage], room: int
) -> AIMessage | Failure:
    """The request in whatever thread; an exception becomes a failure."""
    from langchain_core.messages import AIMessage

    name = asker.chat.name
    try:
        message: Any = request(asker.chat.limited(room))
    except Exception as error:  # whatever a provider's package raises, the session goes on without the reply
        message = cut_message(error)
        if message is None:
            return failure_of(error, name, asked_for_more=asker.structured)
    if not isinstance(message, AIMessage):
        return Failure("endpoint error", f"{name} answered with a {type(message).__name__}.")
    if not says_nothing(message):
        return message
    tokens = tokens_of(message)
    if refusal := message.additional_kwargs.get("refusal"):
        said = f"{name} refused to answer: {redacted(str(refusal))[:200]}"
        return Failure("model refused", said, charged=None if tokens is None else True, tokens=tokens)
    if is_cut(message):
        tokens = tokens or (question.estimate, room)
        return Failure("cut off", _cut_off(asker, room), charged=True, tokens=tokens)
    return message


def _cut_off(asker: Asker, room: int) -> str:
    """That a reply was cut off before an answer, where, and what gives it more."""
    name = asker.chat.name
    if asker.chat.resize is None:
        return f"{name} was cut off at its limit of tokens, before an answer: give the model a higher one."
    told = f"{name} was cut off at {room:,} tokens, before an answer (hidden reasoning counts)"
    if room < asker.allowed:
        return f"{told}: there was money for no more (set reflection_money, session_money)."
    return f"{told}: give more with --set reply_tokens={2 * room}."


__all__ = [
    "RETRIES", "Asker", "Failure", "Limits", "Question", "redacted", "text_of",
]  # fmt: skip
