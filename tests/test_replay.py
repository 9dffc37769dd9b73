"""Replaying a recorded reflection: the same prompt again, other templates and models, judged on what was unseen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage
from language_replies import item, reply
from typer.testing import CliRunner, Result

import vitruvius as vt
from vitruvius.agents import reasoners
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.models import Chat
from vitruvius.agents.options import Options
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.cli.prompts import app
from vitruvius.errors import ModelError, SettingsError, TemplateError, UserError
from vitruvius.knowledge.principle import principle_id
from vitruvius.knowledge.run_folder import open_ledger
from vitruvius.prompts import library
from vitruvius.prompts.versions import version
from vitruvius.replay import folder_with, recorded, render_recorded, replay, stands_for
from vitruvius.testing.chat import ScriptedChatModel

GRAPH = reply(item("gcn >= 2"), item("count(graph|fc) >= 1", "worse"), item("resnet >= 1"))
OPTIONS = Options(proposer="uniform", finetune_every=0, source_size=60, pool=40, reflect_every=10, seed=3)


@pytest.fixture(scope="module", params=["statistics", "scripted"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two reflections, on one source and the target."""
    folder = tmp_path_factory.mktemp("replay") / request.param
    task = vt.Task("nasbench-graph/cora")
    reasoner = scripted_reasoner() if request.param == "scripted" else "statistics"
    sources = [task.sibling("citeseer")]
    with vt.Session(task, folder, sources=sources, reasoner=reasoner, options=OPTIONS) as session:
        session.run(evaluations=30)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


def scripted_reasoner(templates: Path | None = None, asked: list[str] | None = None) -> LanguageReasoner:
    """A model that gives one reply to `principles`, and repairs nothing; what it was asked is noted."""

    def answer(messages: Sequence[BaseMessage]) -> str:
        if asked is not None:
            asked.append(str(messages[-1].content))
        return '{"principles": []}' if "cannot be used" in str(messages[-1].content) else GRAPH

    return LanguageReasoner(ScriptedChatModel(replies=[answer]), templates_folder=templates, road="chain")


def reflections(run: Path) -> dict[int, list[str]]:
    with open_ledger(run) as ledger:
        events = ledger.events("session", "reflection")
        return {number: event.data["proposed"] for number, event in enumerate(events, start=1)}


def test_the_same_measurements_are_shown_again(run: Path) -> None:
    """Statistics proposes exactly what it did then; a language model gets the very prompt that it got."""
    with open_ledger(run) as ledger:
        asked = [
            call.call["inputs_hash"]
            for call in ledger.calls("session")
            if call.call["template"] == "principles"
        ]
    hashes: list[str] = []
    for number, proposed in reflections(run).items():
        record = recorded(run, number)
        assert record.proposed == tuple(proposed)
        assert record.unseen > 0
        if run.name == "statistics":
            again = StatisticsReasoner().reflect(record.brief).proposals
            assert [principle_id(proposal) for proposal in again] == proposed
        else:
            calls = scripted_reasoner().reflect(record.brief).calls
            hashes += [call.inputs_hash for call in calls if call.template == "principles"]
    assert len(reflections(run)) >= 2
    assert hashes == asked


def test_nothing_held_back_or_measured_later_is_shown(run: Path) -> None:
    first, *between, last = sorted(reflections(run))
    early, late = recorded(run, first), recorded(run)
    assert late.number == last
    assert early.shown < late.shown and early.unseen > late.unseen
    assert early.brief.known == []
    before = [id for number in (first, *between) for id in reflections(run)[number]]
    assert {known.id for known in late.brief.known} == set(before)
    for one in early.brief.observations:
        assert not one.held.any()
        assert (one.order < early.born).all()


def test_principles_are_judged_on_what_was_not_shown(run: Path) -> None:
    record = recorded(run, min(reflections(run)))  # later ones know these principles
    found = replay(record, scripted_reasoner(), "a model", repeat=2)
    assert len(found.principles) == 4
    assert found.refused["unknown name"] == 2
    assert found.cost is None  # nobody knows the price of a script
    plain = found.as_json()
    statuses = [one["status"] for one in plain["principles"]]
    assert plain["supported"] == statuses.count("supported") and len(statuses) == 4
    assert statuses[:2] == statuses[2:], "the same principles are judged alike"
    assert json.loads(json.dumps(plain)) == plain


def test_statistics_costs_nothing(run: Path) -> None:
    found = replay(recorded(run), StatisticsReasoner(), "statistics")
    assert (found.tokens, found.cost) == ((0, 0), 0.0)


def test_the_run_is_left_as_it_is(run: Path) -> None:
    before = {file: file.read_bytes() for file in run.glob("*.toml")}
    with open_ledger(run) as ledger:
        calls, principles = len(ledger.calls("session")), len(ledger.principles())
    replay(recorded(run), StatisticsReasoner(), "x")
    with open_ledger(run) as ledger:
        assert (len(ledger.calls("session")), len(ledger.principles())) == (calls, principles)
    assert {file: file.read_bytes() for file in run.glob("*.toml")} == before


def test_a_template_with_the_data_of_a_run(run: Path) -> None:
    messages, missing = render_recorded(library.find("principles"), recorded(run))
    assert "nasbench-graph/citeseer" in messages[-1].content and "conv3x3" not in messages[-1].content
    assert missing == []
    assert render_recorded(library.find("plain_json"), recorded(run))[1] == ["schema"]


def test_no_such_reflection_and_no_run(run: Path, tmp_path: Path) -> None:
    count = len(reflections(run))
    for wrong in (0, count + 1):
        with pytest.raises(UserError, match=rf"has no reflection {wrong}: it made {count}, 1 to {count}\."):
            recorded(run, wrong)
    with pytest.raises(UserError, match="no run folder"):
        recorded(tmp_path)


def test_other_data_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(name: str, *_: object) -> vt.Task:
        task = vt.Task(name)
        monkeypatch.setattr(task.bench, "fingerprint", "another table")
        return task

    monkeypatch.setattr("vitruvius.replay.Task", other)
    with pytest.raises(SettingsError, match="other data"):
        recorded(run)


# ---- versions -----------------------------------------------------------------------------


def test_a_version_takes_the_place_of_the_template(tmp_path: Path) -> None:
    mine = tmp_path / "ideas" / "shorter.md"
    mine.parent.mkdir()
    ours = library.find("principles")
    mine.write_text(ours.text.replace("Propose 1 to", "Name 1 to"))
    changed = version(str(mine))
    assert stands_for(ours, changed) == "principles"
    with folder_with(changed, "principles") as folder:
        assert library.find("principles", folder).hash == changed.hash
        assert library.find("repair", folder).hash == library.find("repair").hash
    with pytest.raises(UserError, match="not two versions"):
        stands_for(ours, library.find("repair"))
    with pytest.raises(UserError, match="not two versions"):
        stands_for(changed, changed)


# ---- on the command line ------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """`script:NAME` is a model whose principles tell which template it was asked with."""
    asked: list[str] = []

    def make(spec: str, *, templates: Path | None = None, **_: object) -> object:
        return StatisticsReasoner() if spec == "statistics" else scripted_reasoner(templates, asked)

    monkeypatch.setattr(reasoners, "make_reasoner", make)
    yield asked


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


def test_two_templates_with_one_model(run: Path, tmp_path: Path, scripted: list[str]) -> None:
    mine = tmp_path / "principles.md"
    mine.write_text(library.find("principles").text.replace("Propose 1 to", "Name 1 to"))
    result = compare("principles", str(mine), "--on", str(run), "--reasoner", "script:x")
    assert result.exit_code == 0, result.output
    assert "Propose 1 to" in scripted[0] and "Name 1 to" in scripted[2]
    assert f"principles {library.find('principles').hash}" in result.output
    assert f"principles {library.load(mine).hash}" in result.output
    assert "nasbench-graph/cora" in result.output and "judge the principles" in result.output


def test_the_model_is_started_once_for_two_templates(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def opened() -> ScriptedChatModel:
        happened.append("started")
        return ScriptedChatModel(replies=[GRAPH])

    def named(spec: str, **_: object) -> Chat:
        return Chat(spec, opened, lambda: happened.append("stopped"))

    monkeypatch.setattr("vitruvius.agents.language_reasoner.chat_model", named)
    mine = tmp_path / "principles.md"
    mine.write_text(library.find("principles").text.replace("Propose 1 to", "Name 1 to"))
    result = compare("principles", str(mine), "--on", str(run), "--reasoner", "vllm:a/model")
    assert result.exit_code == 0 and happened.count("started") == 1 and happened[-1] == "stopped"
    happened.clear()
    assert compare("vllm:a/model", "vllm:another/model", "--on", str(run)).exit_code == 0
    assert happened == ["started", "stopped", "started", "stopped"]


def test_an_endpoint_that_does_not_answer_is_no_result(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)

    def away(messages: Sequence[BaseMessage]) -> str:
        raise ConnectionError("nobody listens")

    model = LanguageReasoner(ScriptedChatModel(replies=[away]), road="chain")
    with pytest.raises(ModelError, match=r"^mine: no reply came from object:ScriptedChatModel, so .*nobody"):
        replay(recorded(run), model, "mine")

    def refused() -> ScriptedChatModel:
        raise ModelError("It does not start.")

    with pytest.raises(ModelError, match="It does not start"):
        replay(recorded(run), LanguageReasoner(Chat("vllm:x", refused), road="chain"), "mine")


def test_the_start_of_a_model_is_not_charged_to_the_first(run: Path) -> None:
    def slowly() -> ScriptedChatModel:
        time.sleep(0.5)
        return ScriptedChatModel(replies=[GRAPH])

    started = time.monotonic()
    found = replay(recorded(run), LanguageReasoner(Chat("vllm:x", slowly), road="chain"), "mine")
    assert found.seconds < time.monotonic() - started - 0.45


def test_a_broken_template_is_refused_before_any_model_is_asked(
    run: Path, tmp_path: Path, scripted: list[str]
) -> None:
    mine = tmp_path / "principles.md"
    mine.write_text(library.find("principles").text + "{{ nope }}")
    error = compare("principles", str(mine), "--on", str(run), "--reasoner", "script:x").exception
    assert isinstance(error, TemplateError) and str(error).startswith(f"{mine}, line") and not scripted


def test_two_models_and_as_data(run: Path, scripted: list[str]) -> None:
    first = str(min(reflections(run)))
    result = compare("statistics", "script:x", "--on", str(run), "--reflection", first, "--json")
    statistics, model = json.loads(result.stdout)
    assert (statistics["label"], model["label"]) == ("statistics", "script:x")
    assert model["refused"] == {"unknown name": 1} and statistics["principles"]


def test_what_cannot_be_compared(run: Path) -> None:
    mixed = compare("principles", "statistics", "--on", str(run)).exception
    assert isinstance(mixed, UserError) and "two of one kind" in str(mixed)
    without = compare("principles", "principles", "--on", str(run), "--reasoner", "statistics").exception
    assert isinstance(without, UserError) and "asks no template" in str(without)
    nothing = compare("statistics", "none", "--on", str(run)).exception
    assert isinstance(nothing, UserError) and "none proposes nothing" in str(nothing)


def test_show_and_check_with_a_run(run: Path) -> None:
    shown = CliRunner().invoke(app, ["show", "principles", "--run", str(run)])
    assert "Search space nasbench-graph" in shown.output
    assert CliRunner().invoke(app, ["check", "--run", str(run)]).exit_code == 0
    small = CliRunner().invoke(app, ["check", "principles", "--run", str(run), "--context", "3000", "--json"])
    assert small.exit_code == 1 and "3,000" in json.loads(small.stdout)[0]["reason"]
