"""The agent: what it hands in, which road is taken, and how it ends when the model behaves badly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from known_principles import known
from language_replies import item, reply

from vitruvius.agents.asking import Limits
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.models import Chat
from vitruvius.agents.reasoner import Brief, Reasoner, Reflection
from vitruvius.agents.tools import SUBMIT, TOOLS
from vitruvius.knowledge.principle import PrincipleStatus, principle_id
from vitruvius.testing.chat import ScriptedChatModel, calls
from vitruvius.testing.reasoners import ReasonerContract, example_brief


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def submit(*items: dict[str, Any], revisions: Sequence[dict[str, Any]] = ()) -> Any:
    return calls((SUBMIT, {"principles": list(items), "revisions": list(revisions)}))


def ask(
    *replies: Any, brief: Brief | None = None, limits: Limits | None = None, **more: Any
) -> tuple[Reflection, ScriptedChatModel]:
    model = ScriptedChatModel(replies=list(replies), tools=True)
    reasoner = LanguageReasoner(model, limits=limits, road="agent", **more)
    return reasoner.reflect(brief or example_brief()), model


class Thinks(ScriptedChatModel):
    """Calls a tool, looks at the answer, and hands in what it found there: as a model does."""

    def _generate(self, messages: Any, *rest: Any, **more: Any) -> Any:
        said = [message for message in messages if message.type == "tool"]
        space = "gat" if "gat" in messages[1].text else "conv3x3"
        if not said:
            step: Any = calls(("show_architectures", {"which": "top"}), ("coverage", {}))
        elif len(said) == 2:
            tested = [(f"{name} >= 2",) for name in ("skip", space)]
            step = calls(*(("test_predicate", {"predicate": text}) for (text,) in tested))
        else:
            found = [json.loads(message.text) for message in said[2:]]
            best = max(found, key=lambda one: abs(one["all tasks"]["effect"]))
            direction = "better" if best["all tasks"]["effect"] > 0 else "worse"
            step = submit(item(best["predicate"], direction), item("depth < 2", "worse"))
        self.replies = [step]
        return super()._generate(messages, *rest, **more)


class TestContract(ReasonerContract):
    @pytest.fixture
    def reasoner(self) -> Reasoner:
        return LanguageReasoner(Thinks(replies=[""], tools=True), road="agent")


class TestBothContract(ReasonerContract):
    @pytest.fixture
    def reasoner(self) -> Reasoner:
        return LanguageReasoner(Thinks(replies=[""], tools=True), road="agent", with_statistics=True)


# ---- what is handed in --------------------------------------------------------------------------


def test_it_investigates_and_hands_in() -> None:
    reflection, model = ask(
        calls(("show_architectures", {"which": "pairs"}), ("test_predicate", {"predicate": "skip >= 2"})),
        submit(item("skip >= 2"), item("depth < 2", "worse")),
    )
    assert [p.direction for p in reflection.proposals] == [1, -1]
    assert [c.outcome for c in reflection.calls] == ["ok", "ok"]
    assert model.count == 2 and set(model.offered[0]) == set(TOOLS)
    assert {author.call for author in reflection.authors.values()} == {1}
    assert not reflection.refused and not reflection.failed
    assert [m.type for m in model.asked[1]] == ["system", "human", "ai", "tool", "tool"]


def test_one_repair_with_the_reasons() -> None:
    reflection, model = ask(submit(item("skip >= 2"), item("skpi >= 3")), submit(item("skip >= 3")))
    assert len(reflection.proposals) == 2 and reflection.refused == {"unknown name": 1}
    assert [c.outcome for c in reflection.calls] == ["ok", "repaired"]
    assert "Did you mean 'skip'" in model.asked[1][-1].text
    again, model = ask(*(submit(item(f"{wrong} >= 3")) for wrong in ("skpi", "spik", "kips", "piks")))
    assert again.proposals == [] and model.count == 3, "twice while nothing is taken, then it goes on without"


def test_scopes() -> None:
    mine = {**item("skip >= 2"), "scope": "nasbench201/made-up"}
    everywhere = {**item("skip >= 3"), "scope": "every space"}
    wrong = {**item("op(0->1) = skip"), "scope": "every space"}
    nowhere = {**item("depth >= 2"), "scope": "the moon"}
    reflection, _ = ask(submit(mine, everywhere, wrong, nowhere), "ok")
    assert [(p.space, p.task) for p in reflection.proposals] == [
        ("nasbench201", "nasbench201/made-up"), ("any", "any"),
    ]  # fmt: skip
    assert reflection.refused == {"bad predicate": 1, "unknown name": 1}


def test_principles_written_as_text_are_taken() -> None:
    reflection, model = ask("I think so:\n" + reply(item("skip >= 2")))
    assert len(reflection.proposals) == 1 and model.count == 1


def test_a_model_that_only_talks_is_told_once_to_hand_in() -> None:
    reflection, model = ask("Skip connections are great!", submit(item("skip >= 2")))
    assert len(reflection.proposals) == 1
    assert model.offered[1] == [SUBMIT]
    assert "submit_principles" in model.asked[1][-1].text
    silent, model = ask("Skip connections are great!")
    assert silent.proposals == [] and model.count == 2
    assert "no reply that can be read" in silent.failed


def test_experiments_come_back() -> None:
    asked = {"first": "skip >= 2", "second": "depth >= 2", "reason": "which one it is", "n": 2}
    reflection, _ = ask(calls(("propose_experiment", asked)), submit(item("skip >= 2")))
    assert len(reflection.experiments) == 2
    assert all("which one it is" in one.reason for one in reflection.experiments)


def test_revisions() -> None:
    wide, wrong = known("skip >= 1"), known("conv1x1 >= 2")
    brief = replace(example_brief(), known=[wide, wrong])
    change = [
        {
            "principle": wide.id,
            "action": "narrow",
            "reason": "Only with many.",
            "replacement": item("skip >= 3"),
        },
        {"principle": wrong.id, "action": "retract", "reason": "It does not hold."},
    ]
    reflection, _ = ask(submit(revisions=change), brief=brief)
    new = principle_id(reflection.proposals[0])
    assert [(r.action, r.principle, r.replacement) for r in reflection.revisions] == [
        ("narrow", wide.id, new), ("retract", wrong.id, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"principle": "p000", "action": "retract"}, "proposed", "unknown id"),
        ({"action": "retract"}, "supported", "bad revision"),
        ({"action": "narrow"}, "proposed", "bad revision"),
        ({"action": "narrow", "replacement": item("conv3x3 >= 1")}, "proposed", "bad revision"),
        ({"action": "narrow", "replacement": item("skip >= 2", "worse")}, "proposed", "bad revision"),
        ({"action": "supersede", "replacement": item("skpi >= 1")}, "proposed", "unknown name"),
        ({"action": "explode"}, "proposed", "wrong schema"),
    ],
)
def test_wrong_revisions(change: dict[str, Any], status: str, reason: str) -> None:
    old = known("skip >= 1", PrincipleStatus(status))
    brief = replace(example_brief(), known=[old])
    asked = {"principle": old.id, "reason": "Because I say so.", **change}
    reflection, _ = ask(submit(revisions=[asked]), "ok", brief=brief)
    assert reflection.revisions == [] and reflection.refused == {reason: 1}


# ---- bad days -----------------------------------------------------------------------------------


def test_a_tool_call_loop_ends_with_what_is_there() -> None:
    turns = [calls(("test_predicate", {"predicate": f"skip >= {n % 5 + 1}"})) for n in range(5)]
    reflection, model = ask(*turns, limits=Limits(agent_calls=9))
    assert model.count == 9 and model.offered[-1] == [SUBMIT]
    assert reflection.proposals == [] and reflection.refused["asked twice"] >= 3
    assert reflection.refused["limit"] == 1
    assert "limit of 9 requests" in reflection.notes[-1]


def test_a_loop_that_hands_in_when_it_must() -> None:
    def loops(messages: Any) -> Any:
        if "Your investigation ends here" in messages[-1].text:
            return submit(item("skip >= 2"))
        return calls(("coverage", {}))

    reflection, model = ask(loops, limits=Limits(agent_calls=5))
    assert len(reflection.proposals) == 1 and model.count == 5


def test_hundreds_of_calls_at_once() -> None:
    many = calls(*(("test_predicate", {"predicate": f"skip >= {n}"}) for n in range(300)))
    reflection, _ = ask(many, submit(item("skip >= 2")))
    assert len(reflection.proposals) == 1
    assert reflection.refused["over the limit"] == 292


def test_an_error_in_the_middle_keeps_what_was_handed_in() -> None:
    reflection, _ = ask(submit(item("skip >= 2"), item("skpi >= 2")), RuntimeError("gone"))
    assert len(reflection.proposals) == 1
    assert reflection.refused["endpoint error"] == 3 and not reflection.failed


def test_the_same_script_gives_the_same_reflection() -> None:
    script = [calls(("coverage", {}), ("show_architectures", {"which": "top"})), submit(item("skip >= 2"))]
    first, second = ask(*script)[0], ask(*script)[0]
    assert [c.inputs_hash for c in first.calls] == [c.inputs_hash for c in second.calls]
    assert first.proposals == second.proposals


# ---- which road ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "probe", "road"),
    [
        (True, calls(("answer", {"number": 7})), "investigate"),
        (True, calls(("answer", {"number": "7"})), "investigate"),
        (True, calls(("answer", {"number": 8})), "principles"),
        (True, "The number is 7.", "principles"),
        (False, None, "principles"),
    ],
)
def test_the_road_is_found_out_once(tools: bool, probe: Any, road: str) -> None:
    def answer(messages: Any) -> Any:
        return submit(item("skip >= 2")) if road == "investigate" else reply(item("skip >= 2"))

    script = [answer] if probe is None else [probe, answer]
    model = ScriptedChatModel(replies=script, tools=tools)
    reasoner = LanguageReasoner(model)
    reflection = reasoner.reflect(example_brief())
    assert [call.template for call in reflection.calls][-1] == road
    assert len(reflection.proposals) == 1
    assert sum("tools" in note for note in reflection.notes) == 1
    second = reasoner.reflect(example_brief())
    assert [call.template for call in second.calls] == [road] and not second.notes


def test_a_model_too_small_to_be_probed_is_told_once() -> None:
    model = ScriptedChatModel(replies=[reply(item("skip >= 2"))], tools=True)
    reasoner = LanguageReasoner(Chat("vllm:tiny", lambda: model, small=True))
    first = reasoner.reflect(example_brief())
    assert "vllm:tiny is too small to call tools: it is asked with fixed prompts." in first.notes
    assert not any("too small" in note for note in reasoner.reflect(example_brief()).notes)


def test_both_shows_what_statistics_found_and_adds_to_it() -> None:
    brief = example_brief(n=400)
    reflection, model = ask(submit(item("conv1x1 feeds skip")), brief=brief, with_statistics=True)
    by_model = [p for p in reflection.proposals if reflection.authors[principle_id(p)].call is not None]
    first = reflection.proposals[0]
    assert len(by_model) == 1 < len(reflection.proposals)
    assert reflection.authors[principle_id(first)].reasoner == "statistics"
    assert f"{first.sentence}" in model.asked[0][1].text
    repeated, _ = ask(submit(item("skip >= 2"), item("skip >= 1")), brief=brief, with_statistics=True)
    assert repeated.refused["duplicate"] >= 1
