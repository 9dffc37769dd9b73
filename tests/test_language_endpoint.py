"""The reasoner over HTTP, with a loopback endpoint: a good day, and what bad ones cannot do to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from language_replies import GOOD, item, reply
from scripted_endpoint import (
    Behaviour,
    Endpoint,
    drips,
    endpoint,
    fails,
    floods,
    hangs_up,
    no_schemas,
    says,
    send,
)

from vitruvius.agents.asking import Limits
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.reasoner import Reflection
from vitruvius.testing.reasoners import example_brief

_ = endpoint  # the fixture, for pytest to find


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def reflect(limits: Limits | None = None) -> Reflection:
    reasoner = LanguageReasoner("openai:m", limits=limits or Limits(seconds=20), road="chain")
    try:
        return reasoner.reflect(example_brief())
    finally:
        reasoner.close()


def test_http_good(endpoint: Callable[..., Endpoint]) -> None:
    served = endpoint(says(GOOD))
    reflection = reflect()
    assert len(reflection.proposals) == 3
    assert (reflection.calls[0].tokens_in, reflection.calls[0].tokens_out) == (11, 7)
    sent = served.requests[0]
    assert sent["response_format"]["type"] == "json_schema"
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]
    assert sent["max_completion_tokens"] == Limits().reply_tokens
    assert served.keys == ["Bearer key-of-the-test"]
    assert "key-of-the-test" not in repr(reflection)


@pytest.mark.parametrize(
    ("script", "proposals", "reason"),
    [
        ([fails(429, Retry_After="0"), says(GOOD)], 3, "rate limited"),
        ([fails(500, Retry_After="0"), says(GOOD)], 3, "endpoint error"),
        ([fails(500, Retry_After="0")], 0, "endpoint error"),
        ([fails(429, Retry_After="3600")], 0, "limit"),
        ([fails(401)], 0, "not authorised"),
        ([no_schemas], 3, "request refused"),
        ([says(GOOD[:200], finish="length"), says("{}")], 1, "cut off"),
        ([says('{"principles": [{"wrong": 1}]}')], 0, "wrong schema"),
        ([says(reply(item("op(7->8) = skip"), item("warp >= 1")))], 0, "unknown name"),
        ([says("", refusal="I cannot help with that")], 0, "model refused"),
        ([lambda handler, body: send(handler, b"<html>gateway</html>", Content_Type="text/html")], 0, None),
        ([lambda handler, body: send(handler, b'{"choices": []}')], 0, None),
        ([lambda handler, body: send(handler, b"null")], 0, None),
        ([floods], 0, None),
        ([hangs_up], 0, None),
    ],
)  # fmt: skip
def test_http_bad_days(
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    script: list[Behaviour],
    proposals: int,
    reason: str | None,
) -> None:
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)
    served = endpoint(*script)
    reflection = reflect()
    assert len(reflection.proposals) == proposals
    assert sum(reflection.refused.values()) >= 1
    assert reason is None or reflection.refused[reason] >= 1, reflection
    assert proposals or reflection.notes
    assert len(served.requests) == len(reflection.calls) <= 6


@pytest.mark.parametrize("script", [drips, lambda handler, body: time.sleep(1.5)])
def test_http_slow(endpoint: Callable[..., Endpoint], script: Behaviour) -> None:
    endpoint(script)
    began = time.monotonic()
    reflection = reflect(Limits(seconds=0.6))
    assert time.monotonic() - began < 8
    assert reflection.proposals == [] and reflection.notes
    assert reflection.refused["endpoint slow"] >= 1


def test_http_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    reflection = reflect()
    assert reflection.refused == {"endpoint error": 3}
    assert len(reflection.notes) == 1
    assert "OPENAI_BASE_URL" in reflection.failed


def test_a_page_in_place_of_an_answer_says_to_check_the_address(endpoint: Callable[..., Endpoint]) -> None:
    endpoint(lambda handler, body: send(handler, b"<html>gateway</html>", Content_Type="text/html"))
    assert "no chat completion" in reflect().failed


@pytest.mark.parametrize(
    ("script", "failed"),
    [([says("I like turtles")], True), ([says(GOOD)], False), ([says(reply(item("warp >= 1")))], False)],
)
def test_only_what_cannot_be_read_counts_as_failed(
    endpoint: Callable[..., Endpoint], script: list[Behaviour], failed: bool
) -> None:
    endpoint(*script)
    assert bool(reflect().failed) == failed
