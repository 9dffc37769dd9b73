"""Reasoners of the user's own: what is needed of one, and what becomes of what it proposes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import vitruvius as vt
from vitruvius.agents.own_reasoner import OwnReasoner, own_reasoner
from vitruvius.agents.reasoner import Author, Brief, Reflection
from vitruvius.agents.reasoners import make_reasoner
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.cli.commands import app
from vitruvius.errors import TemplateError, UserError
from vitruvius.knowledge.principle import principle_id
from vitruvius.testing.reasoners import ReasonerContract, example_brief

QUICK: dict[str, Any] = {"proposer": "uniform", "finetune_every": 0, "pool": 16, "local": 16}
FILE = """
import vitruvius as vt

class Mine:
    def reflect(self, brief):
        return [vt.Proposal("", "gat >= 1", brief.space.name)]

def made():
    return Mine()

ready = Mine()
nothing = 3
"""


class Plain:
    """As little as a reasoner can be."""

    def __init__(self, returned: Any) -> None:
        self.returned = returned

    def reflect(self, brief: Brief) -> Any:
        return self.returned


class Names:
    """Proposes the first operation of any space."""

    def reflect(self, brief: Brief) -> list[vt.Proposal]:
        claims = [vt.Predicate.parse(f"{name} >= 2") for name in brief.space.operations]
        return [vt.Proposal("More is better.", claim.to_json(), brief.space.name) for claim in claims]


class TestOwnReasoner(ReasonerContract):
    @pytest.fixture
    def reasoner(self) -> OwnReasoner:
        found = own_reasoner(Names())
        assert isinstance(found, OwnReasoner)
        return found


def reflected(returned: Any) -> Reflection:
    found = own_reasoner(Plain(returned))
    assert found is not None and found.name == "Plain" and not found.uses_templates
    return found.reflect(example_brief())


def test_a_predicate_may_be_text_and_a_sentence_may_be_missing() -> None:
    (one,) = reflected([vt.Proposal("", "conv3x3 >= 2", "nasbench201")]).proposals  # type: ignore[arg-type]
    assert one.predicate == vt.Predicate.parse("conv3x3 >= 2").to_json()
    assert "conv3x3" in one.sentence
    (blank,) = reflected([vt.Proposal(" \n", one.predicate, "nasbench201")]).proposals
    assert blank.sentence == one.sentence
    assert reflected(()).proposals == []


def test_what_the_space_does_not_have_is_refused_and_counted() -> None:
    good = vt.Proposal("Good.", vt.Predicate.parse("skip >= 1").to_json(), "nasbench201")
    foreign = vt.Proposal("Foreign.", vt.Predicate.parse("gat >= 1").to_json(), "nasbench201")
    given = Reflection(proposals=[foreign, good], authors={principle_id(good): Author("me")})
    found = reflected(given)
    assert found.proposals == [good] and found.authors == {principle_id(good): Author("me")}
    assert found.refused == {"unknown name": 1} and found.notes[0].startswith("Refused: Foreign. Unknown")
    assert reflected([vt.Proposal("Bad.", "skip >>", "nasbench201")]).refused == {"bad predicate": 1}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Plain, "Plain is a class: give an object of it"),
        (3, "3 is no reasoner: it needs a method reflect"),
        (object(), "is no reasoner"),
    ],
)
def test_what_is_no_reasoner_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own_reasoner(given)


@pytest.mark.parametrize(
    ("returned", "message"),
    [(None, "Plain returned None from reflect"), ("gat", "returned 'gat'"), (["gat"], "proposed 'gat'")],
)
def test_what_is_no_reflection_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reflected(returned)


def test_ours_goes_through_unchanged_and_a_name_is_none() -> None:
    ours = StatisticsReasoner()
    assert own_reasoner(ours) is ours
    assert own_reasoner("statistics") is None and own_reasoner(None) is None


def test_closing_is_not_needed_and_passed_on() -> None:
    closed: list[int] = []
    plain = Plain([])
    found = own_reasoner(plain)
    assert found is not None
    found.close()  # there is nothing to close
    plain.close = lambda: closed.append(1)  # type: ignore[attr-defined]
    found.close()
    assert closed == [1]


@pytest.mark.parametrize("name", ["Mine", "made", "ready"])
def test_a_file_names_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    found = make_reasoner(f"{tmp_path}/mine.py:{name}")
    assert found.name == "Mine"
    assert [one.space for one in found.reflect(example_brief("nasbench-graph")).proposals] == [
        "nasbench-graph"
    ]


@pytest.mark.parametrize(("name", "message"), [("other", "has no 'other'"), ("nothing", "3 is no reasoner")])
def test_a_file_without_one_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    with pytest.raises(UserError, match=message):
        make_reasoner(f"{tmp_path}/mine.py:{name}")


def command(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_session_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    quick = ["--proposer", "uniform", "--set", "sources=none", "--set", "reflect_every=6"]
    begun = command("run", "--run", "r", "--reasoner", "mine.py:Mine", "--evaluations", "7", *quick)
    assert "Mine (an object of your own)" in begun and "1 principle from Mine: 1 " in begun
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "8 of 8 counted" in command("run", "--run", "../r", "--evaluations", "8")


def test_a_session_keeps_no_folder_that_is_none(tmp_path: Path) -> None:
    task = vt.Task("nasbench-graph/cora")
    with pytest.raises(TemplateError, match="nowhere"):
        vt.Session(task, tmp_path / "run", templates=tmp_path / "nowhere", reasoner="statistics", **QUICK)


def test_the_templates_of_an_object_are_kept(tmp_path: Path) -> None:
    from vitruvius.agents.language_reasoner import LanguageReasoner
    from vitruvius.prompts.library import find
    from vitruvius.testing.chat import ScriptedChatModel

    mine = tmp_path / "mine"
    mine.mkdir()
    text = find("principles").path.read_text()
    (mine / "principles.md").write_text(text.replace("description: ", "description: My own. ", 1))
    reasoner = LanguageReasoner(ScriptedChatModel(replies=["{}"]), templates_folder=mine)
    task = vt.Task("nasbench-graph/cora")
    vt.Session(task, tmp_path / "run", reasoner=reasoner, **QUICK).close()
    kept = tmp_path / "run" / "prompts" / f"principles.{find('principles', mine).hash}.md"
    assert kept.read_text() == (mine / "principles.md").read_text()
