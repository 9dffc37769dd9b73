"""The setting `model_options`: checked, written down, sent, and part of what a reply is kept under."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from language_replies import GOOD
from scripted_endpoint import Endpoint, endpoint, says

from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.options import Options, build_options
from vitruvius.agents.reasoners import session_reasoner
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import SettingsError
from vitruvius.testing.chat import ScriptedChatModel
from vitruvius.testing.reasoners import example_brief

_ = endpoint  # the fixture, for pytest to find
GIVEN = {"reasoning_effort": "low", "temperature": 0.6, "extra_body": {"top_k": 20}}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("given", [GIVEN, json.dumps(GIVEN)])
def test_they_are_a_mapping_or_its_json(given: Any) -> None:
    assert build_options(None, {"model_options": given}).model_options == GIVEN
    assert Options().model_options == {}


def test_they_are_written_down_and_read_again(tmp_path: Path) -> None:
    settings = load_settings(None, {"model_options": json.dumps(GIVEN)})
    file = tmp_path / "settings.toml"
    file.write_text(dump_settings(settings))
    assert load_settings(file, {}).options.model_options == GIVEN
    file.write_text("[options.model_options]\ntemperature = 0.6\n")
    assert load_settings(file, {}).options.model_options == {"temperature": 0.6}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("low", "not JSON"),
        ([1], "mapping of names"),
        ({"temperature": float("nan")}, "plain data"),
        ({"stop": {1, 2}}, "plain data"),
        ({"extra_body": {1: 2}}, "plain data"),
        ({"max_tokens": 5}, "set reply_tokens"),
        ({"model": "gpt-5"}, "the reasoner names it"),
        ({"api_key": "sk-1"}, "take the environment"),
        ({"default_headers": {}}, "take the environment"),
    ],
)
def test_what_is_not_theirs_to_set_is_refused(given: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=r"Setting model_options = ") as refused:
        build_options(None, {"model_options": given})
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"top_k": 20}, "extra_body"), ({"temperature": "hot"}, "temperature = 'hot' is not allowed")],
)
def test_what_the_model_does_not_know_is_refused_before_anything_is_sent(
    endpoint: Callable[..., Endpoint], given: Any, told: str
) -> None:
    served = endpoint(says(GOOD))
    with pytest.raises(SettingsError, match="model_options") as refused:
        LanguageReasoner("openai:m", model_options=given)
    assert told in str(refused.value) and not served.requests
    with pytest.raises(SettingsError, match="set them on the object"):
        LanguageReasoner(ScriptedChatModel(replies=[GOOD]), model_options=GIVEN)


def test_they_are_sent_and_another_asks_anew(endpoint: Callable[..., Endpoint]) -> None:
    served = endpoint(says(GOOD))
    for options, requests in ((GIVEN, 1), (GIVEN, 1), ({**GIVEN, "temperature": 0.7}, 2), ({}, 3)):
        reasoner = session_reasoner(Options(reasoner="openai:m", reasoning="chain", model_options=options))
        assert len(reasoner.reflect(example_brief()).proposals) == 3
        reasoner.close()
        assert len(served.requests) == requests
    sent = served.requests[0]
    assert (sent["reasoning_effort"], sent["temperature"], sent["top_k"]) == ("low", 0.6, 20)
