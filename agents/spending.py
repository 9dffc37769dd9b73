"""What asking a language model may cost, in tokens, seconds and money, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

BYTES_PER_TOKEN = 3
"""A cautious guess of a prompt's tokens before it is sent: English has about four bytes to a token."""


class Cap(NamedTuple):
    """A limit that is reached.

    Attributes:
        setting: What raises it; empty for the number of requests, which is no setting.
        sentence: For people.
    """

    setting: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in US dollars for a million tokens.

    Attributes:
        tokens_in: Of prompts.
        tokens_out: Of replies, hidden reasoning included.
        source: Where the price comes from, in words.
    """

    tokens_in: float
    tokens_out: float
    source: str = ""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars for so many tokens."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6

    @property
    def free(self) -> bool:
        """Whether nothing is charged."""
        return self.tokens_in == 0 and self.tokens_out == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reflection may spend.

    Attributes:
        calls: Requests of the fixed chain, retries included.
        agent_calls: Requests of an agent, retries included.
        seconds: Wall time of all requests and waits together; the start of a server is not counted.
        reply_tokens: Tokens of one reply, hidden reasoning included; one that was cut off before an answer
            is asked for once more with twice as many.
        tokens: Tokens of all prompts and replies together; checked before each request.
        money: US dollars. A reply gets no more tokens than are left to be paid for.
    """

    calls: int = 6
    agent_calls: int = 14
    seconds: float = 600.0
    reply_tokens: int = 8000
    tokens: int = 150_000
    money: float = 0.5


@dataclass(frozen=True, slots=True)
class Allowance:
    """What all reflections of a session may spend together.

    Attributes:
        seconds: Wall time of all requests.
        tokens: Tokens of all prompts and replies.
        money: US dollars.
    """

    seconds: float = 3600.0
    tokens: int = 1_000_000
    money: float = 2.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls have cost.

    Replies that came from the cache count as if they had been paid for: so a session that is run again
    stops asking at the same places.

    Attributes:
        seconds: Wall time of the requests.
        tokens_in: Tokens of prompts.
        tokens_out: Tokens of replies.
    """

    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and replies."""
        return self.tokens_in + self.tokens_out

    def money(self, price: Price | None) -> float:
        """US dollars; 0 where the price is not known."""
        return price.cost(self.tokens_in, self.tokens_out) if price is not None else 0.0

    def __add__(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.seconds + other.seconds,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )


def spent(calls: Iterable[Mapping[str, Any]]) -> Spent:
    """What calls of a session have cost, given as the ledger keeps them.

    A reflection that was interrupted is asked again, and its replies then come from the cache: what the
    session paid for before counts once.
    """
    total, paid = Spent(), set[tuple[str, str]]()
    for call in calls:
        name = call["template_hash"], call["inputs_hash"]
        if not (call.get("cached") and name in paid):
            total += Spent(call["seconds"], call["tokens_in"], call["tokens_out"])
        paid.add(name)
    return total


def told_cost(known: float, unknown: int) -> str:
    """What was paid, in words: dollars, and that there were calls whose cost is not known."""
    if not unknown:
        return f"${known:.4f}"
    return f"at least ${known:.4f}" if known else "not known"


def over(
    limits: Limits, allowance: Allowance, now: Spent, before: Spent, requests: int, most: int
) -> Cap | None:
    """Which limit is reached.

    Args:
        limits: Of this reflection.
        allowance: Of the session.
        now: Spent in this reflection.
        before: Spent in the session's earlier reflections.
        requests: Sent in this reflection.
        most: How many may be sent.
    """
    if requests >= most:
        return Cap("", f"The limit of {most} requests for one reflection is reached.")
    total = now + before
    for setting, amount, most_of_it, what in (
        ("reflection_tokens", now.tokens, limits.tokens, "tokens for one reflection"),
        ("session_tokens", total.tokens, allowance.tokens, "tokens for the session"),
        ("session_seconds", total.seconds, allowance.seconds, "s for the session"),
    ):
        if amount >= most_of_it:
            sentence = f"The limit of {most_of_it:,.0f} {what} is reached (set {setting})."
            return Cap(setting, sentence)
    return None


def too_dear(
    limits: Limits, allowance: Allowance, now: float, before: float, more: float, what: str
) -> Cap | None:
    """Which limit forbids to spend so many dollars more.

    Args:
        limits: Of this reflection.
        allowance: Of the session.
        now: Dollars spent in this reflection.
        before: Dollars spent in the session's earlier reflections.
        more: What is to be spent.
        what: On what, as the beginning of a sentence.
    """
    told = f"{what} could cost ${more:.3f} and pass the"
    if now + more > limits.money:
        sentence = f"{told} ${limits.money:.2f} of one reflection (set reflection_money)."
        return Cap("reflection_money", sentence)
    if now + before + more > allowance.money:
        return Cap("session_money", f"{told} ${allowance.money:.2f} of the session (set session_money).")
    return None


def overshot(limits: Limits, allowance: Allowance, now: Spent, before: Spent, price: Price | None) -> str:
    """Which limits were passed, as a sentence with figures; empty for none.

    What a reply costs is known only once it is there, so one alone may pass a limit.
    """
    total = now + before
    paid, all_paid = now.money(price), now.money(price) + before.money(price)
    passed = [
        f"{form.format(amount)} spent, {setting} is {form.format(most)}"
        for setting, amount, most, form in (
            ("reflection_tokens", now.tokens, limits.tokens, "{:,} tokens"),
            ("session_tokens", total.tokens, allowance.tokens, "{:,} tokens"),
            ("reflection_money", paid, limits.money, "${:.2f}"),
            ("session_money", all_paid, allowance.money, "${:.2f}"),
        )
        if amount > most
    ]
    return f"A reply took more than was left: {'; '.join(passed)}." if passed and now.tokens else ""


__all__ = [
    "BYTES_PER_TOKEN", "Allowance", "Cap", "Limits", "Price", "Spent", "over", "overshot", "spent",
    "told_cost", "too_dear",
]  # fmt: skip
