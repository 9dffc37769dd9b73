"""Tests of templates: what a `.test.toml` file can say, and that ours hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.rehearsal import judge_reply, room_of, too_long
from vitruvius.errors import TemplateError, UnknownNameError, UserError
from vitruvius.prompts import library
from vitruvius.prompts.cases import Verdict, cases_file, run_cases
from vitruvius.prompts.inputs import samples
from vitruvius.prompts.tokens import estimated_tokens
from vitruvius.testing.chat import ScriptedChatModel
from vitruvius.testing.reasoners import example_brief

HEAD = "---\ndescription: A test.\ninputs: [task]\nreply: principles\nversion: 1\n---\n"
GOOD = (
    '{"principles": [{"sentence": "Convolutions help.", "predicate": "conv3x3 >= 2", "direction": "better"}]}'
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def outcomes(
    tmp_path: Path, cases: str, body: str = "user:\nThe task is {{ task }}."
) -> list[tuple[str, ...]]:
    (tmp_path / "mine.md").write_text(HEAD + body)
    (tmp_path / "mine.test.toml").write_text(cases)
    template = library.find("mine", tmp_path)
    file = tmp_path / "mine.test.toml"
    assert cases_file(template) == file
    return [outcome.failures for outcome in run_cases(template, file, judge_reply)]


@pytest.mark.parametrize("name", library.names())
def test_every_template_of_ours_passes_tests_of_its_own(name: str) -> None:
    template = library.find(name)
    file = library.BUILT_IN / f"{name}.test.toml"
    assert file.is_file(), f"write tests for {name}: {file.name}"
    found = run_cases(template, file, judge_reply)
    assert found
    assert [outcome for outcome in found if not outcome.passed] == []


def test_what_a_rendered_template_must_hold(tmp_path: Path) -> None:
    [good, lacking, holding, long] = outcomes(
        tmp_path,
        """
        [[prompt]]
        name = "good"
        contains = ["The task is moon."]
        lacks = ["sun"]
        most_tokens = 20
        inputs = { task = "moon", known = [] }
        [[prompt]]
        name = "lacking"
        contains = ["moon"]
        [[prompt]]
        name = "holding"
        lacks = ["The task"]
        [[prompt]]
        name = "long"
        most_tokens = 3
        """,
    )
    assert good == ()
    assert lacking == ("lacks 'moon'",)
    assert holding == ("contains 'The task'",)
    assert "more than 3" in long[0]


def test_a_case_with_data_on_which_the_template_fails(tmp_path: Path) -> None:
    [failures] = outcomes(tmp_path, '[[prompt]]\nname = "x"\ninputs = { task = "t" }', "user:\n{{ task[7] }}")
    assert "does not render" in failures[0]
    [failures] = outcomes(tmp_path, '[[prompt]]\nname = "x"\ninputs = { tusk = "t" }')
    assert "Unknown input 'tusk'" in failures[0]


def test_what_becomes_of_replies(tmp_path: Path) -> None:
    case = "[[reply]]\nname = 'x'\ntext = '''{}'''\nprinciples = {}\n"
    assert outcomes(tmp_path, case.format(GOOD, 1)) == [()]
    assert outcomes(tmp_path, case.format(GOOD, 2)) == [("gave 1 principles, not 2",)]
    assert outcomes(tmp_path, case.format("no", 0) + 'refused = { "not JSON" = 1 }') == [()]
    assert outcomes(tmp_path, case.format("no", 0)) == [("refused {'not JSON': 1}, not nothing",)]


def test_replies_are_judged_in_their_space() -> None:
    assert judge_reply(GOOD, "nasbench201") == Verdict(1, {})
    assert judge_reply(GOOD, "nasbench-graph") == Verdict(0, {"unknown name": 1})
    with pytest.raises(UnknownNameError):
        judge_reply(GOOD, "nasbench2001")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[promt]]\nname = 'x'", "promt"),
        ("[[prompt]]\nname = 'x'\ncontain = ['x']", "contain"),
        ("[[reply]]\nname = 'x'\ntext = ''", "principles"),
        ("[[prompt]\n", "TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=rf"mine\.test\.toml.*{reason}"):
        outcomes(tmp_path, text)


def test_replies_in_free_text_cannot_be_judged(tmp_path: Path) -> None:
    (tmp_path / "plain_json.test.toml").write_text("[[reply]]\nname = 'x'\ntext = ''\nprinciples = 0")
    with pytest.raises(TemplateError, match="free text"):
        run_cases(library.find("plain_json"), tmp_path / "plain_json.test.toml", judge_reply)


OTHERS = {
    "German": "Es folgen gemessene Architekturen. Nenne Regeln, die ein Programm prüfen kann.",
    "Chinese": "以下是已经测量过的架构。请提出程序可以检验的设计原则。",
}


@pytest.mark.parametrize("language", OTHERS)
def test_a_template_in_another_language_passes_our_tests(tmp_path: Path, language: str) -> None:
    """Ours hold for whatever says the same: a user who translates needs no other tests."""
    ours = library.find("principles")
    system, rest = ours.text.split("user:\n", 1)
    lines = [line for line in rest.splitlines() if "{" in line or "<" in line]
    own = f"{system.split('system:')[0]}system:\n{OTHERS[language]}\n\nuser:\n" + "\n".join(lines)
    (tmp_path / "principles.md").write_text(own, encoding="utf-8")
    template = library.find("principles", tmp_path)
    assert template.hash != ours.hash
    assert template.render(**samples(template.inputs))[0].content == OTHERS[language]
    assert [o for o in run_cases(template, cases_file(template), judge_reply) if not o.passed] == []  # type: ignore[arg-type]


def test_a_principle_in_another_language_is_kept_as_it_was_said(tmp_path: Path) -> None:
    """From a template in Chinese to proposals: nothing on the way expects English."""
    ours = library.find("principles")
    (tmp_path / "principles.md").write_text(
        ours.text.replace("Propose 1 to", "请提出 1 至"), encoding="utf-8"
    )
    said = [
        ("跳跃连接有帮助。", "skip >= 2"),
        ("Zu tiefe Zellen schaden.", "depth >= 3"),
        ("深度有益", "depth >= 2"),
    ]
    items = [
        {"sentence": sentence, "predicate": predicate, "direction": "better", "expected": 0.2}
        for sentence, predicate in said
    ]
    model = ScriptedChatModel(replies=[json.dumps({"analysis": "", "principles": items}, ensure_ascii=False)])
    reflection = LanguageReasoner(model, templates_folder=tmp_path, road="chain").reflect(example_brief())
    assert [proposal.sentence for proposal in reflection.proposals] == [sentence for sentence, _ in said]
    assert "请提出 1 至" in str(model.asked[0][-1].content)
    assert reflection.calls[0].template_hash == library.find("principles", tmp_path).hash


# ---- tokens -------------------------------------------------------------------------------


def test_tokens_are_estimated_for_every_language() -> None:
    assert estimated_tokens("") == 0
    english = estimated_tokens("Two convolutions in a row help more than one of them.")
    assert 11 <= english <= 20
    assert 8 <= estimated_tokens("两个连续的卷积更好。") <= 20
    assert estimated_tokens("x" * 4000) >= 900  # no text is free for want of spaces
    assert estimated_tokens("Ж" * 4000) >= 900


def test_a_prompt_must_leave_room_for_the_reply() -> None:
    found = library.find("principles")
    messages = found.render(**samples(found.inputs))
    assert too_long(found, messages, room_of()) == []
    [problem] = too_long(found, messages, room_of(context=2500))
    assert "2,500" in problem.reason and problem.file == str(found.path)


def test_the_context_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512}')
    assert room_of(f"vllm:{tmp_path}").context == 512
    assert room_of("vllm:smollm2") == room_of() and room_of().context == 8192
    with pytest.raises(UserError, match="--context"):
        room_of("openai:gpt-5")
