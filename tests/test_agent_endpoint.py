"""The agent over HTTP, with a loopback endpoint: a good day, bad ones, what it costs, and not paying twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from language_replies import GOOD, item, reply
from scripted_endpoint import (
    Behaviour,
    Endpoint,
    asks,
    completion,
    drips,
    endpoint,
    fails,
    floods,
    hangs_up,
    says,
    send,
)

from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.prices import price_of
from vitruvius.agents.reasoner import Reflection
from vitruvius.agents.spending import Allowance, Limits, Price, Spent
from vitruvius.agents.tools import SUBMIT, TOOLS
from vitruvius.testing.reasoners import example_brief

_ = endpoint  # the fixture, for pytest to find
Endpoints = Callable[..., Endpoint]
SUBMITTED = json.dumps({"principles": [item("skip >= 2"), item("depth < 2", "worse")], "revisions": []})


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)


PROBE = asks(("answer", '{"number": 7}'))
LOOKS = asks(("show_architectures", '{"which": "pairs"}'), ("test_predicate", '{"predicate": "skip >= 2"}'))
SUBMITS = asks((SUBMIT, SUBMITTED))


def reflect(model: str = "openai:m", **more: Any) -> Reflection:
    more.setdefault("limits", Limits(seconds=20, money=100))
    more.setdefault("road", "agent")
    spent = more.pop("spent", Spent())
    from dataclasses import replace

    reasoner = LanguageReasoner(model, **more)
    try:
        return reasoner.reflect(replace(example_brief(), spent=spent))
    finally:
        reasoner.close()


def test_a_good_day(endpoint: Endpoints) -> None:
    served = endpoint(PROBE, LOOKS, SUBMITS)
    reflection = reflect(road="auto")
    assert [call.template for call in reflection.calls] == ["probe", "investigate", "investigate"]
    assert [call.outcome for call in reflection.calls] == ["tools", "ok", "ok"]
    assert len(reflection.proposals) == 2 and not reflection.refused
    assert {tool["function"]["name"] for tool in served.requests[1]["tools"]} == set(TOOLS)
    sent = served.requests[2]["messages"]
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert "effect" in sent[-1]["content"]
    assert "works as an agent" in reflection.notes[0]


@pytest.mark.parametrize("probe", [fails(400), says("7"), asks(("answer", '{"number": 6}')), fails(404)])
def test_a_model_without_tools_is_asked_with_prompts(endpoint: Endpoints, probe: Behaviour) -> None:
    endpoint(probe, says(GOOD))
    reflection = reflect(road="auto")
    assert [call.template for call in reflection.calls] == ["probe", "principles"]
    assert len(reflection.proposals) == 3
    assert "fixed prompts" in reflection.notes[0]


def test_a_model_that_stumbles_over_answers_of_tools_is_asked_with_prompts(endpoint: Endpoints) -> None:
    endpoint(PROBE, LOOKS, fails(400), says(GOOD))
    reflection = reflect(road="auto")
    assert [call.template for call in reflection.calls][-1] == "principles"
    assert len(reflection.proposals) == 3
    assert "fixed prompts from now on" in reflection.notes[-1]


def test_an_endpoint_that_is_down_is_probed_no_further(endpoint: Endpoints) -> None:
    served = endpoint(fails(500, Retry_After="0"))
    reflection = reflect(road="auto")
    assert len(served.requests) == 3 and reflection.failed
    assert not any("tools" in note for note in reflection.notes)


def loops(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    n = sum(message["role"] == "tool" for message in body["messages"])
    asks(("test_predicate", json.dumps({"predicate": f"skip >= {n % 6 + 1}"})))(handler, body)


def endless(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, completion("skip " * 200_000, finish="length"))


@pytest.mark.parametrize(
    ("script", "proposals", "reason"),
    [
        ([fails(429, Retry_After="0"), SUBMITS], 2, "rate limited"),
        ([fails(500, Retry_After="0"), LOOKS, fails(503, Retry_After="0"), SUBMITS], 2, "endpoint error"),
        ([LOOKS, fails(500, Retry_After="0")], 0, "endpoint error"),
        ([fails(429, Retry_After="3600")], 0, "limit"),
        ([LOOKS, fails(401)], 0, "not authorised"),
        ([fails(400)], 0, "request refused"),
        ([loops], 0, "limit"),
        ([endless], 0, None),
        ([floods], 0, "endpoint error"),
        ([hangs_up], 0, "endpoint error"),
        ([asks(("run_python", '{"code": "1"}')), SUBMITS], 2, "unknown tool"),
        ([asks(("", "{}")), SUBMITS], 2, "unknown tool"),
        ([asks(("test_predicate", '{"predicate": "skip >')), SUBMITS], 2, "cut off"),
        ([asks((SUBMIT, SUBMITTED[:130])), says("That is all.")], 1, "cut off"),
        ([asks((SUBMIT, "[]")), SUBMITS], 2, "wrong schema"),
        ([asks((SUBMIT, '"skip"')), SUBMITS], 2, "wrong arguments"),
        ([asks((SUBMIT, "7")), SUBMITS], 2, "wrong arguments"),
        ([asks((SUBMIT, '{"principles": 7}')), SUBMITS], 2, "wrong schema"),
        ([asks((SUBMIT, "{}")), SUBMITS], 2, "wrong schema"),
        ([asks((SUBMIT, '{"principles": []}')), SUBMITS], 0, None),
        ([asks(("test_predicate", '{"predicate": "warp >= 2"}')), SUBMITS], 2, "wrong arguments"),
        ([says(None, refusal="I cannot help with that")], 0, "model refused"),
        ([LOOKS, says(None, refusal="I cannot help with that")], 0, "model refused"),
        ([says(reply(item("skip >= 2")))], 1, None),
        ([says("I like turtles")], 0, None),
        ([lambda handler, body: send(handler, b"<html>gateway</html>", Content_Type="text/html")], 0, None),
        ([lambda handler, body: send(handler, b'{"choices": []}')], 0, None),
        ([asks((SUBMIT, '{"principles": [], "revisions": [{"principle": "p0", "action": "retract", '
                        '"reason": "It is wrong."}]}')), says("Well.")], 0, "unknown id"),
    ],
)  # fmt: skip
def test_bad_days(endpoint: Endpoints, script: list[Behaviour], proposals: int, reason: str | None) -> None:
    served = endpoint(*script)
    began = time.monotonic()
    reflection = reflect()
    assert time.monotonic() - began < 15
    assert len(reflection.proposals) == proposals
    assert reason is None or reflection.refused[reason] >= 1, reflection
    assert "tool error" not in reflection.refused and "agent error" not in reflection.refused, (
        reflection.notes
    )
    assert proposals or reflection.notes
    assert len(served.requests) == len(reflection.calls) <= Limits().agent_calls


def test_slow(endpoint: Endpoints) -> None:
    endpoint(LOOKS, drips)
    began = time.monotonic()
    reflection = reflect(limits=Limits(seconds=1.5))
    assert time.monotonic() - began < 8
    assert reflection.refused["endpoint slow"] >= 1 and reflection.notes


# ---- money --------------------------------------------------------------------------------------


def test_each_call_knows_its_cost(endpoint: Endpoints) -> None:
    endpoint(LOOKS, SUBMITS)
    price = price_of("openai:gpt-5")
    assert price is not None
    known = reflect("openai:gpt-5-2025-08-07")
    assert [call.cost for call in known.calls] == [price.cost(11, 7)] * 2
    assert [call.cost for call in reflect("openai:nobody-knows-me").calls] == [None]
    own = reflect("openai:nobody-knows-me", price=Price(1.0, 2.0))
    assert [call.cost for call in own.calls] == [pytest.approx(25e-6)]


@pytest.mark.parametrize(
    ("more", "says_"),
    [
        ({"limits": Limits(money=0.0)}, "set reflection_money"),
        ({"allowance": Allowance(money=0.0)}, "set session_money"),
        ({"allowance": Allowance(money=0.9), "spent": Spent(0, 899_990, 0)}, "set session_money"),
        ({"allowance": Allowance(tokens=100), "spent": Spent(0, 50, 50)}, "set session_tokens"),
        ({"allowance": Allowance(seconds=9.0), "spent": Spent(9.0, 0, 0)}, "set session_seconds"),
        ({"limits": Limits(money=float("inf")), "allowance": Allowance(money=0.0)}, "set session_money"),
    ],
)
def test_a_cap_is_kept_before_anything_is_sent(endpoint: Endpoints, more: dict[str, Any], says_: str) -> None:
    served = endpoint(LOOKS)
    reflection = reflect(price=Price(1.0, 1.0), **more)
    assert served.requests == [] and reflection.proposals == []
    assert says_ in reflection.notes[-1] and reflection.refused["limit"] == 1


def test_when_money_runs_out_it_hands_in(endpoint: Endpoints) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        tested = ("test_predicate", json.dumps({"predicate": f"skip >= {len(body['messages']) % 6}"}))
        last = len(body["tools"]) == 1
        asks((SUBMIT, SUBMITTED) if last else tested, tokens=(3000, 1000))(handler, body)

    served = endpoint(answer)
    # A request may cost 4,000 tokens of reply at $10 a million: $0.04, more for the prompt.
    reflection = reflect(price=Price(1.0, 10.0), limits=Limits(money=0.15))
    assert len(reflection.proposals) == 2
    assert 2 <= len(served.requests) < Limits().agent_calls
    assert sum(call.cost or 0 for call in reflection.calls) <= 0.15


# ---- not paying twice ---------------------------------------------------------------------------


@pytest.mark.parametrize("road", ["auto", "chain"])
def test_the_same_again_costs_nothing(endpoint: Endpoints, tmp_path: Path, road: str) -> None:
    served = endpoint(PROBE, LOOKS, SUBMITS) if road == "auto" else endpoint(says(GOOD))
    price = Price(1.0, 1.0)
    first = reflect(road=road, cache=tmp_path / "replies", price=price)
    paid = len(served.requests)
    second = reflect(road=road, cache=tmp_path / "replies", price=price)
    assert len(served.requests) == paid == len(second.calls)
    assert second.proposals == first.proposals
    assert [c.inputs_hash for c in second.calls] == [c.inputs_hash for c in first.calls]
    assert all(c.cached and c.cost == 0.0 for c in second.calls)
    assert all(not c.cached and c.cost for c in first.calls)
    assert [c.tokens_in for c in second.calls] == [c.tokens_in for c in first.calls]


def test_other_questions_are_asked(endpoint: Endpoints, tmp_path: Path) -> None:
    from dataclasses import replace

    served = endpoint(says(GOOD))
    folder = tmp_path / "replies"
    brief = example_brief()
    for number, (model, given) in enumerate(
        [
            ("m", brief),
            ("m", replace(brief, seed=7)),
            ("n", brief),
            ("m", example_brief(seed=3)),
            ("m", brief),
        ]
    ):
        reasoner = LanguageReasoner(f"openai:{model}", road="chain", cache=folder)
        reasoner.reflect(given)
        reasoner.close()
        assert len(served.requests) == min(number + 1, 4)


def test_what_failed_is_not_kept(endpoint: Endpoints, tmp_path: Path) -> None:
    served = endpoint(fails(401), says("I like turtles"), says("I like turtles"), says(GOOD))
    outcomes: list[int] = []
    for _ in range(3):
        outcomes.append(len(reflect(road="chain", cache=tmp_path / "replies").proposals))
    assert outcomes == [0, 0, 3] and len(served.requests) == 4


def test_a_damaged_or_closed_cache_does_no_harm(endpoint: Endpoints, tmp_path: Path) -> None:
    served = endpoint(says(GOOD))
    folder = tmp_path / "replies"
    assert len(reflect(road="chain", cache=folder).proposals) == 3
    for file in folder.iterdir():
        file.write_text("{")
    assert len(reflect(road="chain", cache=folder).proposals) == 3
    (tmp_path / "file").write_text("")
    closed = reflect(road="chain", cache=tmp_path / "file")
    assert len(closed.proposals) == 3 and len(served.requests) == 3
    assert "could not be kept" in closed.notes[-1]


def test_keys_stay_out_of_the_cache(endpoint: Endpoints, tmp_path: Path) -> None:
    endpoint(says(GOOD))
    reflect(road="chain", cache=tmp_path / "replies")
    files = list((tmp_path / "replies").iterdir())
    assert files and all("key-of-the-test" not in file.read_text() for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
