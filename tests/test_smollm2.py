"""The real road once: weights out of a package, vLLM on this machine, a reflection held to a schema."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import replace

import pytest

from vitruvius.agents.language_reasoner import SMALL_LIMIT, LanguageReasoner
from vitruvius.agents.reasoner import Reflection
from vitruvius.agents.replies import parse_reply
from vitruvius.agents.smollm2 import END_OF_TURN, PACKAGE, model_folder
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.testing.reasoners import example_brief


def _missing() -> str:
    try:
        importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return f"the package {PACKAGE} is not installed"
    absent = [name for name in ("gguf", "vllm") if importlib.util.find_spec(name) is None]
    return f"{absent[0]} is not installed" if absent else ""


pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(_missing()), reason=_missing() or "installed"),
    pytest.mark.timeout(600),
]


def test_the_converted_model_can_chat() -> None:
    folder = model_folder()
    assert model_folder() == folder  # from the cache
    made = {entry.name for entry in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= made
    assert END_OF_TURN in (folder / "chat_template.jinja").read_text()
    stop = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    assert {token["id"]: token["content"] for token in added}[stop] == END_OF_TURN


def test_one_reflection_over_vllm() -> None:
    lines: list[str] = []
    reasoner = LanguageReasoner("vllm:smollm2", say=lines.append)
    brief = example_brief("nasbench201", n=120, limit=12)
    # Eight tasks make a prompt longer than vLLM would read in one piece by default.
    several = [replace(one, task=f"{one.task}-{i}") for i in range(8) for one in brief.observations]
    brief = replace(brief, observations=several)
    try:
        reflection: Reflection = reasoner.reflect(replace(brief, limit=3))
    finally:
        reasoner.close()
        reasoner.close()
    assert any("starting vLLM" in line for line in lines)
    first = reflection.calls[0]
    assert first.outcome != "endpoint error" and first.tokens_in > 2048 and first.tokens_out > 0, reflection
    reply = parse_reply(first.reply)
    assert 1 <= len(reply.principles) <= min(3, SMALL_LIMIT) and not reply.refusals, first.reply
    assert reflection.proposals or reflection.refused
    for proposal in reflection.proposals:
        predicate_from_json(proposal.predicate).check(brief.space)
