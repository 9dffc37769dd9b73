"""What asking a language model may cost, in tokens, seconds and money, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BYTES_PER_TOKEN = 3
"""A cautious guess of a prompt's tokens before it is sent: English has about four bytes to a token."""


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
        reply_tokens: Tokens of one reply.
        tokens: Tokens of all prompts and replies together; checked before each request.
        money: US dollars. A request that could pass it is not sent.
    """

    calls: int = 6
    agent_calls: int = 14
    seconds: float = 180.0
    reply_tokens: int = 4000
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
    """What calls have cost, given as the ledger keeps them."""
    return sum((Spent(c["seconds"], c["tokens_in"], c["tokens_out"]) for c in calls), Spent())


def over(limits: Limits, allowance: Allowance, now: Spent, before: Spent, requests: int, most: int) -> str:
    """Which limit is reached, as a sentence; empty for none.

    Args:
        limits: Of this reflection.
        allowance: Of the session.
        now: Spent in this reflection.
        before: Spent in the session's earlier reflections.
        requests: Sent in this reflection.
        most: How many may be sent.
    """
    if requests >= most:
        return f"The limit of {most} requests for one reflection is reached."
    if now.tokens >= limits.tokens:
        return f"The limit of {limits.tokens} tokens for one reflection is reached."
    total = now + before
    if total.tokens >= allowance.tokens:
        return f"The limit of {allowance.tokens} tokens for the session is reached (set session_tokens)."
    if total.seconds >= allowance.seconds:
        return f"The limit of {allowance.seconds:.0f} s for the session is reached (set session_seconds)."
    return ""


def too_dear(limits: Limits, allowance: Allowance, now: float, before: float, next_one: float) -> str:
    """Why a request that may cost so many dollars is not sent, as a sentence; empty if it is.

    Args:
        limits: Of this reflection.
        allowance: Of the session.
        now: Dollars spent in this reflection.
        before: Dollars spent in the session's earlier reflections.
        next_one: Most that the request may cost.
    """
    if now + next_one > limits.money:
        return (
            f"The next request could cost ${next_one:.3f} and pass the ${limits.money:.2f} of one "
            "reflection (set reflection_money)."
        )
    if now + before + next_one > allowance.money:
        return (
            f"The next request could cost ${next_one:.3f} and pass the ${allowance.money:.2f} of the "
            "session (set session_money)."
        )
    return ""


__all__ = [
    "BYTES_PER_TOKEN", "Allowance", "Limits", "Price", "Spent", "over", "spent", "too_dear",
]  # fmt: skip
