"""What failures of endpoints mean, as they are told; and prices by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import Endpoint, endpoint, refuses

from vitruvius.agents.failures import failure_of
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.prices import price_of
from vitruvius.testing.reasoners import example_brief

_ = endpoint  # the fixture, for pytest to find
NO_ACCESS = "Your project does not have access to model gpt-6"
NO_QUOTA = "You exceeded your current quota, please check your plan and billing details."


class Status(Exception):
    """An error as the clients of endpoints raise it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status_code = status


@pytest.mark.parametrize(
    ("status", "text", "reason", "told", "transient"),
    [
        (401, "Incorrect API key", "not authorised", "refused the key (401): check it", False),
        (403, NO_ACCESS, "not authorised", "may not use this model", False),
        (429, "Rate limit reached", "rate limited", "Rate limit reached", True),
        (429, NO_QUOTA, "no credit", "waiting does not help", False),
        (429, "{'type': 'insufficient_quota'}", "no credit", "no credit left", False),
        (402, "Insufficient credits", "no credit", "no credit left", False),
        (503, "overloaded", "endpoint error", "overloaded", True),
        (400, "maximum context length is 8192 tokens", "request refused", "give less with --set", False),
    ],
)
def test_statuses(status: int, text: str, reason: str, told: str, transient: bool) -> None:
    found = failure_of(Status(status, text), "openai:m", asked_for_more=True)
    assert (found.reason, found.transient) == (reason, transient)
    assert told in found.sentence
    assert status != 403 or "key (4" not in found.sentence


@pytest.mark.parametrize("behaviour", [refuses(429, NO_QUOTA, "insufficient_quota"), refuses(403, NO_ACCESS)])
def test_what_waiting_does_not_mend_is_not_tried_again(
    endpoint: Callable[..., Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Any
) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    served = endpoint(behaviour)
    reasoner = LanguageReasoner("openai:m")
    reflection = reasoner.reflect(example_brief())
    reasoner.close()
    assert len(served.requests) == 1 and reflection.failed


@pytest.mark.parametrize(
    ("spec", "as_"),
    [
        ("openai:anthropic/claude-opus-5", "anthropic:claude-opus-5"),
        ("openai:openai/gpt-5", "openai:gpt-5"),
        ("openai:google/gemini-2.5-pro", "google_genai:gemini-2.5-pro"),
        ("openrouter:openai/gpt-5-2025-08-07", "openai:gpt-5"),
    ],
)
def test_prices_of_models_behind_a_gateway(spec: str, as_: str) -> None:
    assert price_of(spec) == price_of(as_) is not None


@pytest.mark.parametrize("spec", ["openai:me/gpt-0", "openai:claude-opus-5", "openai:openai/", "mine:gpt-5"])
def test_prices_that_are_not_known(spec: str) -> None:
    assert price_of(spec) is None
