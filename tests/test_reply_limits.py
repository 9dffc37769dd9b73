"""What a reply may take: replies that were cut off, limits that are kept and told, endpoints with habits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from language_replies import GOOD, item
from scripted_endpoint import (
    Behaviour,
    Endpoint,
    asks,
    completion,
    cut_off,
    endpoint,
    refuses,
    says,
    send,
)

from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.reasoner import Reflection
from vitruvius.agents.spending import Allowance, Limits, Price, Spent, spent
from vitruvius.agents.tools import SUBMIT
from vitruvius.exam import take_exam
from vitruvius.testing.reasoners import example_brief

_ = endpoint  # the fixture, for pytest to find
Endpoints = Callable[..., Endpoint]
PROBE = asks(("answer", '{"number": 7}'))
LOOKS = asks(("show_architectures", '{"which": "pairs"}'), tokens=(3000, 300))
HANDED_IN = json.dumps({"principles": [item("skip >= 2")], "revisions": []})
SUBMITS = asks((SUBMIT, HANDED_IN), tokens=(3000, 300))
ASTRA = Price(10.0, 50.0)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)


def reflect(model: str = "openai:m", spent_before: Spent = Spent(), **more: Any) -> Reflection:
    more.setdefault("road", "agent")
    reasoner = LanguageReasoner(model, **more)
    try:
        return reasoner.reflect(replace(example_brief(), spent=spent_before))
    finally:
        reasoner.close()


def looks_on(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """An agent that goes on for ever, and hands in when it must."""
    n = sum(message["role"] == "tool" for message in body["messages"])
    tested = ("test_predicate", json.dumps({"predicate": f"skip >= {n % 6} and depth >= {n % 5}"}))
    asks((SUBMIT, HANDED_IN) if len(body["tools"]) == 1 else tested, tokens=(3000, 300))(handler, body)


# ---- cut off before an answer -------------------------------------------------------------------


@pytest.mark.parametrize(("road", "good"), [("agent", SUBMITS), ("chain", says(GOOD))])
def test_one_that_was_cut_off_is_asked_again_with_more_room(
    endpoint: Endpoints, road: str, good: Behaviour
) -> None:
    served = endpoint(cut_off, good)
    reflection = reflect(road=road)
    assert [request["max_completion_tokens"] for request in served.requests] == [8000, 16_000]
    assert [call.outcome for call in reflection.calls] == ["cut off", "ok"]
    assert reflection.calls[0].tokens_out == 8000
    assert reflection.proposals and not reflection.failed
    assert any("cut off at 8,000 tokens" in n and "reply_tokens=16000" in n for n in reflection.notes)


@pytest.mark.parametrize("road", ["agent", "chain"])
def test_one_that_is_always_cut_off_says_what_gives_it_more(endpoint: Endpoints, road: str) -> None:
    served = endpoint(cut_off)
    reflection = reflect(road=road, price=Price(1.0, 1.0))
    assert len(served.requests) == 2 and reflection.proposals == []
    assert "cut off at 16,000 tokens, before an answer" in reflection.failed
    assert "--set reply_tokens=32000" in reflection.failed
    assert reflection.notes[-1] == reflection.failed
    assert [call.cost for call in reflection.calls] == [pytest.approx(0.011), pytest.approx(0.019)]


def test_where_money_is_left_for_no_more_that_is_said(endpoint: Endpoints) -> None:
    served = endpoint(cut_off)
    reflection = reflect(price=ASTRA)
    assert [request["max_completion_tokens"] < 8000 for request in served.requests] == [False]
    assert "cut off at 8,000" in reflection.failed
    served = endpoint(cut_off)
    reflection = reflect(price=ASTRA, limits=Limits(money=0.2))
    assert served.requests[0]["max_completion_tokens"] < 4000 and len(served.requests) == 1
    assert "money for no more (set reflection_money" in reflection.failed
    assert sum(call.cost or 0 for call in reflection.calls) <= 0.2


def test_what_is_whole_of_a_reply_held_to_a_schema_is_taken_and_paid(endpoint: Endpoints) -> None:
    endpoint(says(GOOD[:200], finish="length", tokens=(500, 8000)), says("{}", tokens=(500, 5)))
    reflection = reflect(road="chain", price=Price(1.0, 1.0))
    assert len(reflection.proposals) == 1 and not reflection.failed
    assert (reflection.calls[0].outcome, reflection.calls[0].tokens_out) == ("ok", 8000)
    assert reflection.calls[0].cost == pytest.approx(0.0085)
    nothing = GOOD[:40]
    endpoint(says(nothing, finish="length", tokens=(500, 8000)))
    reflection = reflect(road="chain")
    assert {call.outcome for call in reflection.calls} == {"cut off"} and reflection.failed


@pytest.mark.parametrize("text", ["<think>Let me see", "<think>well</think>\n"])
def test_thoughts_are_no_answer(endpoint: Endpoints, text: str) -> None:
    served = endpoint(says(text, finish="length"), SUBMITS)
    assert len(reflect().proposals) == 1
    assert [request["max_completion_tokens"] for request in served.requests] == [8000, 16_000]


def test_the_responses_api_is_cut_off_as_well(endpoint: Endpoints) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        usage = {"input_tokens": 3000, "output_tokens": body["max_output_tokens"],
                 "input_tokens_details": {"cached_tokens": 0}, "total_tokens": 3000,
                 "output_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip
        said = {
            "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"}, "error": None, "instructions": None,
            "output": [{"type": "reasoning", "id": "rs", "summary": []}], "parallel_tool_calls": True,
            "metadata": {}, "temperature": 1, "tool_choice": "auto", "tools": [], "top_p": 1, "usage": usage,
        }  # fmt: skip
        send(handler, json.dumps(said).encode())

    served = endpoint(answer)
    reflection = reflect(model_options={"use_responses_api": True})
    assert [request["max_output_tokens"] for request in served.requests] == [8000, 16_000]
    assert "cut off at 16,000" in reflection.failed


def test_the_exam_says_why_it_could_not_judge(endpoint: Endpoints) -> None:
    endpoint(PROBE, cut_off)
    reasoner = LanguageReasoner("openai:m")
    report = take_exam(reasoner, trials=1, tasks=("nasbench-graph/cora",))
    reasoner.close()
    assert "could not be judged" in report.verdict and "cut off at 16,000 tokens" in report.verdict
    assert "of no use" not in report.verdict


# ---- money, tokens, time ------------------------------------------------------------------------


def test_a_dear_model_investigates_within_the_default_caps(endpoint: Endpoints) -> None:
    served = endpoint(looks_on)
    reflection = reflect(price=ASTRA)
    assert len(reflection.proposals) == 1
    assert len(served.requests) >= 6, "the reserve goes by what replies took, not by what they might"
    assert sum(call.cost or 0 for call in reflection.calls) <= Limits().money
    rooms = [request["max_completion_tokens"] for request in served.requests]
    assert rooms == sorted(rooms, reverse=True) and rooms[-1] < rooms[0]
    note = reflection.notes[-1]
    assert f"cut short by reflection_money after {len(served.requests) - 1} of 14 requests: " in note


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ({"limits": Limits(tokens=15_000)}, "reflection_tokens"),
        ({"allowance": Allowance(tokens=15_000)}, "session_tokens"),
        ({"allowance": Allowance(money=0.2), "price": ASTRA}, "session_money"),
    ],
)
def test_what_ends_an_investigation_is_named(endpoint: Endpoints, more: dict[str, Any], setting: str) -> None:
    endpoint(looks_on)
    reflection = reflect(**more)
    assert len(reflection.proposals) == 1
    assert any(f"cut short by {setting} after" in note for note in reflection.notes)


def test_time_that_runs_out_is_named(endpoint: Endpoints) -> None:
    def slow(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        import time

        time.sleep(0.4)
        LOOKS(handler, body)

    endpoint(slow)
    reflection = reflect(limits=Limits(seconds=1.0))
    assert any("cut short by reflection_seconds after" in note for note in reflection.notes)
    assert "handed in nothing" in reflection.failed


def test_time_is_kept_back_for_handing_in_by_what_replies_took(endpoint: Endpoints) -> None:
    def slow(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        import time

        time.sleep(1.2)
        looks_on(handler, body)

    served = endpoint(slow)
    reflection = reflect(limits=Limits(seconds=4.0))
    assert len(reflection.proposals) == 1 and len(served.requests) <= 3
    assert any("cut short by reflection_seconds after" in note for note in reflection.notes)


def test_all_requests_are_no_cut_and_the_probe_is_not_counted(endpoint: Endpoints) -> None:
    served = endpoint(PROBE, looks_on)
    reflection = reflect(road="auto", limits=Limits(agent_calls=5))
    assert len(served.requests) == 6 and len(reflection.proposals) == 1
    assert "in at most 5 requests" in served.requests[1]["messages"][1]["content"]
    assert not any("cut short" in note for note in reflection.notes)


def test_a_reply_that_passes_a_cap_is_told_with_figures(endpoint: Endpoints) -> None:
    endpoint(asks(("coverage", "{}"), tokens=(3000, 200_000)))
    reflection = reflect(price=Price(1.0, 10.0))
    told = next(note for note in reflection.notes if "more than was left" in note)
    assert "203,000 tokens spent, reflection_tokens is 150,000" in told
    assert "$2.00 spent, reflection_money is $0.50" in told


def test_one_that_hands_in_nothing_has_failed_and_says_so(endpoint: Endpoints) -> None:
    endpoint(asks(("coverage", "{}")))
    reflection = reflect(limits=Limits(agent_calls=3))
    assert reflection.failed.startswith("it handed in nothing in 3 of 3 requests. The limit of 3 requests")


# ---- endpoints that do not say what they took ---------------------------------------------------


def test_without_figures_estimates_keep_the_caps(endpoint: Endpoints) -> None:
    def silent(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        n = sum(message["role"] == "tool" for message in body["messages"])
        tested = ("test_predicate", json.dumps({"predicate": f"skip >= {n % 6} and depth >= {n % 5}"}))
        asks(tested, tokens=None, thought="hm, " * 500)(handler, body)

    served = endpoint(silent)
    reflection = reflect(price=Price(1.0, 10.0), limits=Limits(money=0.05))
    assert 2 <= len(served.requests) < Limits().agent_calls
    assert all(call.tokens_in > 500 and call.tokens_out > 500 and call.cost for call in reflection.calls)
    assert sum(call.cost or 0.0 for call in reflection.calls) <= 0.05
    assert sum("are estimated" in note for note in reflection.notes) == 1
    served = endpoint(silent)
    reflect(limits=Limits(tokens=8000))
    assert len(served.requests) < Limits().agent_calls


# ---- endpoints with habits ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        refuses(400, "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead."),
        refuses(422, "body.max_completion_tokens: Extra inputs are not permitted"),
    ],
)
@pytest.mark.parametrize("road", ["auto", "chain"])
def test_an_endpoint_that_knows_the_old_limit_only(
    endpoint: Endpoints, refusal: Behaviour, road: str
) -> None:
    def old(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if "max_completion_tokens" in body:
            refusal(handler, body)
        elif body.get("tools") is None:
            says(GOOD)(handler, body)
        else:
            (SUBMITS if len(body["tools"]) > 1 else PROBE)(handler, body)

    served = endpoint(old)
    reflection = reflect(road=road)
    assert reflection.proposals and not reflection.failed
    assert [request.get("max_tokens") for request in served.requests][:2] == [None, 8000]
    assert sum("max_completion_tokens" in request for request in served.requests) == 1, "once"


def test_a_limit_that_is_too_high_is_no_old_one(endpoint: Endpoints) -> None:
    served = endpoint(refuses(400, "max_completion_tokens is too large: 8000. At most 4096 are possible."))
    reflection = reflect(road="chain")
    assert all("max_completion_tokens" in request for request in served.requests)
    assert "give less with --set reply_tokens" in reflection.failed


def test_hidden_reasoning_goes_back_with_its_tool_calls(endpoint: Endpoints) -> None:
    def deep(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        called = [message for message in body["messages"] if message.get("tool_calls")]
        if any(message.get("reasoning_content") != "I wonder." for message in called):
            refuses(400, "Missing `reasoning_content` field in the assistant message.")(handler, body)
            return
        tools = [(SUBMIT, HANDED_IN)] if called else [("coverage", "{}")]
        send(handler, completion(None, tools=tools, thought="I wonder."))

    endpoint(deep)
    assert len(reflect().proposals) == 1


# ---- what a session has spent -------------------------------------------------------------------


def test_what_a_session_paid_for_counts_once_when_the_cache_brings_it_again() -> None:
    paid = {"template_hash": "t", "inputs_hash": "a", "seconds": 1.0, "tokens_in": 10, "tokens_out": 5}
    again, other = {**paid, "cached": True}, {**paid, "inputs_hash": "b", "cached": True}
    assert spent([paid, again, again]) == Spent(1.0, 10, 5)
    assert spent([paid, other]) == Spent(2.0, 20, 10)
    assert spent([paid, {**paid, "cached": False}]).tokens == 30
