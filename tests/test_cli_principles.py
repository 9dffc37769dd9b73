"""`vitruvius principles`: what a person sees, and what a program gets."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vitruvius.cli.principles import app
from vitruvius.errors import RunBusyError, SettingsError, StoreError, UnknownNameError, UserError
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.space import get_space
from vitruvius.knowledge.embedders import HashingEmbedder
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
    principle_id,
)
from vitruvius.knowledge.records import principle_from_json
from vitruvius.knowledge.share import Share
from vitruvius.knowledge.store import Store

TASK = "nasbench201/cifar10"
SEEN = Effect(0.30, 0.10, 0.50, 12, 20, naive=0.4)
FRESH = Effect(0.21, 0.05, 0.37, 9, 14, evalue=33.0, naive=0.35)


def make(
    sentence: str, operation: str, status: PrincipleStatus = PrincipleStatus.PROPOSED, **at: Any
) -> Principle:
    predicate = {"kind": "count", "operations": [operation], "comparison": ">=", "value": 2}
    proposal = Proposal(sentence, predicate, "nasbench201", TASK)
    origin = Origin(
        "openai:m", template="abcdef", session="s", call=1, labels=frozenset({("nasbench201", "cifar100")})
    )
    return Principle(principle_id(proposal), proposal, origin, status, **at)


EVIDENCE = Evidence(
    (TaskEvidence(TASK, SEEN, FRESH, tuple(f"good{n}" for n in range(7)), ("bad0", "bad1")),), FRESH
)
CALL = {
    "model": "openai:m", "template": "principles", "template_hash": "abcdef", "tokens_in": 900,
    "tokens_out": 80, "seconds": 2.5, "outcome": "ok", "reply": "the whole\x1b[2J reply", "cost": 0.01,
}  # fmt: skip
HELPS = make("Two [bold]convolutions[/bold] help.", "conv3x3", PrincipleStatus.SUPPORTED, evidence=EVIDENCE)
HURTS = make("Pooling lowers the score.", "avgpool3x3")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder under ./runs with two principles, indexed by hashing."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "demo"
    with Ledger(folder / "ledger.db") as ledger:
        labels = [("nasbench201", "cifar10"), ("nasbench201", "cifar100")]
        ledger.start_session("s", task=TASK, seed=0, settings={}, labels=labels)
        ledger.add_call("s", CALL)
        before = dataclasses.replace(HELPS, status=PrincipleStatus.PROPOSED, evidence=Evidence())
        ledger.add_principle(before, session="s")
        ledger.update_principles([HELPS], session="s")
        ledger.add_principle(HURTS, session="s")
        Store(ledger, folder / "chroma", embedder=HashingEmbedder()).close()
    return folder


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def output(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def data(*arguments: str | Path) -> list[dict[str, Any]]:
    return json.loads(output(*arguments, "--json"))


def test_list_says_in_two_lines_what_the_evidence_says(run: Path) -> None:
    first, second, *_, last, hint = output("list").splitlines()
    assert first.split()[:2] == [HELPS.id, "supported"]
    assert first.endswith("Two [bold]convolutions[/bold] help. (conv3x3 >= 2: better)")
    assert second.strip() == "cifar10: +0.21 [+0.05, +0.37]; 7 for, 2 against"
    assert last == "2 of 2 principles."
    assert hint.endswith("`vitruvius principles show ID`.")
    assert f"`vitruvius principles show ID --run {run}`." in output("list", "--run", run)
    assert len(output("list").splitlines()) == 2 * 2 + 2
    assert "1 of 2 principles" in output("list", "--limit", "1")


def test_free_words_come_with_what_is_measured_of_them(run: Path) -> None:
    derived = dataclasses.replace(
        HURTS.proposal, sentence="A cell that has at least 2 avgpool3x3 operations."
    )
    assert dataclasses.replace(HURTS, proposal=derived).told == derived.sentence
    said = call("list", "--run", run).stdout
    assert "Two [bold]convolutions[/bold] help. (conv3x3 >= 2: better)" in said
    assert "Pooling lowers the score. (avgpool3x3 >= 2: better)" in said  # the sentence says the opposite


def test_no_escape_sequence_reaches_the_terminal() -> None:
    hostile = make("Skips\x1b]0;owned\x07 help\x1b[2J.\nsupported\u202e", "skip")
    assert hostile.sentence == "Skips ]0;owned  help [2J. supported"
    assert len(make("word " * 1000, "skip").sentence) == len("word " * 79 + "word…")
    assert make("很" * 1000, "skip").sentence == "很" * 399 + "…"


def test_effects_stand_beside_the_task_that_was_asked_about(run: Path) -> None:
    other = TaskEvidence("nasbench201/cifar100", SEEN, dataclasses.replace(FRESH, estimate=0.11))
    both = Evidence((*EVIDENCE.tasks, other), dataclasses.replace(FRESH, estimate=0.16))
    anywhere = dataclasses.replace(HELPS.proposal, task="any")
    kept = dataclasses.replace(HELPS, id=principle_id(anywhere), proposal=anywhere, evidence=both)
    with Ledger(run / "ledger.db") as ledger:
        ledger.add_principle(kept, session="s")
    text = output("list", "--task", "nasbench201/cifar100")
    assert "cifar100: +0.11 [+0.05, +0.37]; all tasks: +0.16 [+0.05, +0.37]; 7 for" in text


def test_a_task_that_the_joined_effect_leaves_out_is_named(run: Path) -> None:
    few = TaskEvidence("nasbench201/cifar100", None, Effect(0.9, -0.1, 1.0, 1, 2))
    anywhere = dataclasses.replace(HELPS.proposal, task="any")
    evidence = Evidence((*EVIDENCE.tasks, few), FRESH)
    kept = dataclasses.replace(HELPS, id=principle_id(anywhere), proposal=anywhere, evidence=evidence)
    with Ledger(run / "ledger.db") as ledger:
        ledger.add_principle(kept, session="s")
    left = "without cifar100: too little measured there"
    assert f"all tasks: +0.21 [+0.05, +0.37], {left};" in output("list")
    assert f"9 with and 14 without; as sampled +0.350\n                {left}\n" in output("show", kept.id)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [HELPS, HURTS]),
        (("--status", "supported"), [HELPS]),
        (("--about", "avg_pool_3x3"), [HURTS]),
        (("--min-support", "7"), [HELPS]),
        (("--min-support", "8"), []),
        (("--task", TASK), [HELPS, HURTS]),
        (("--task", "nasbench201/cifar100"), []),
        (("--space", "nasbench-graph"), []),
    ],
)
def test_list_and_search_filter_alike(run: Path, options: tuple[str, ...], expected: list[Principle]) -> None:
    listed = data("list", "--run", run, *options)
    assert [principle_from_json(each) for each in listed] == expected
    searched = data("search", "what helps?", "--run", run, *options)
    assert {each["id"] for each in searched} == {each.id for each in expected}


def test_an_unknown_operation_is_told_which_operations_there_are(run: Path) -> None:
    link = Proposal("Late.", {"kind": "choice", "decision": "input4", "among": ["0"]}, "nasbench-graph")
    with Ledger(run / "ledger.db") as ledger:
        ledger.add_principle(Principle(principle_id(link), link, Origin("statistics")), session="s")
    for command in (("list",), ("search", "x")):
        told = str(call(*command, "--about", "gta").exception)
        assert told.startswith("Unknown operation 'gta'. Did you mean 'gat'? Allowed: arma, avgpool3x3, ")


def test_list_by_template(run: Path) -> None:
    assert len(data("list", "--template", "abcdef")) == 2
    result = CliRunner().invoke(app, ["list", "--template", "000000"])
    assert isinstance(result.exception, UnknownNameError) and "Allowed: abcdef" in str(result.exception)


def test_plain_data(run: Path) -> None:
    (best,) = data("search", "do convolutions help", "--limit", "1")
    assert principle_from_json(best) == HELPS
    assert (best["text"], best["n_for"], best["n_against"]) == ("conv3x3 >= 2", 7, 2)
    assert 0 < best["similarity"] <= 1


def test_search_puts_the_nearest_first(run: Path) -> None:
    text = output("search", "pooling")
    assert text.index(HURTS.id) < text.index(HELPS.id)
    assert "No principle passes" in output("search", "pooling", "--status", "refuted")
    Ledger(run.with_name("new") / "ledger.db").close()
    assert output("search", "pooling", "--run", run.with_name("new")) == "No principles.\n"


def test_show(run: Path) -> None:
    text = output("show", HELPS.id)
    for expected in (
        "conv3x3 >= 2: better",
        "The architecture has at least 2 conv3x3 operations.",
        '{"kind": "count", "operations": ["conv3x3"], "comparison": ">=", "value": 2}',
        "nasbench201/cifar10 (names no decision",
        "fresh       +0.210 [+0.050, +0.370] quantile, 9 with and 14 without; as sampled +0.350",
        "seen        +0.300 [+0.100, +0.500]",
        "openai:m",
        "nasbench201/cifar100",
        "principles, hash abcdef",
        "openai:m, call 1: ok",
        "900 tokens in, 80 out, 2.5 s, 0.0100 US dollars",
        "the whole [2J reply",
    ):
        assert expected in text
    history = text[text.index("  history") :].splitlines()[1:]
    assert [line.split()[2] for line in history] == ["proposed", "supported"]
    shown = json.loads(output("show", HELPS.id, "--json"))
    assert [step["n_for"] for step in shown["history"]] == [0, 7]
    assert shown["call"]["reply"] == "the whole\x1b[2J reply"
    error = call("show", HELPS.id[:-1] + "_").exception
    assert isinstance(error, UnknownNameError) and HELPS.id in str(error)


def test_show_draws_what_speaks_for_and_against(run: Path) -> None:
    space = get_space("nasbench201")
    good, bad = (space.architecture([n] * 6) for n in (3, 0))
    with Ledger(run / "ledger.db") as ledger:
        for number, (each, score) in enumerate(((good, 90.0), (bad, 95.0))):
            learned = Measurement("nasbench201", TASK, each.key, each.id, Status.OK, score)
            ledger.record(learned, session="s", batch=number, share=Share.INITIAL)
        told = TaskEvidence(TASK, SEEN, FRESH, (good.id, "not measured"), (bad.id,))
        ledger.update_principles([dataclasses.replace(HELPS, evidence=Evidence((told,), FRESH))], session="s")
    text = output("show", HELPS.id)
    assert space.draw(good).splitlines()[0].strip() in text
    assert text.index("for it") < text.index(good.key) < text.index("against it") < text.index(bad.key)
    assert f"{bad.key}  lacks it, score 95, quantile 0.75" in text
    assert good.key not in output("show", HELPS.id, "--drawn", "0")


def test_the_newest_run_is_the_default(run: Path) -> None:
    older = run.parent / "older"
    Ledger(older / "ledger.db").close()
    for file in older.iterdir():
        os.utime(file, (1, 1))
    assert len(data("list")) == 2
    assert data("list", "--run", older) == []


def test_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (("list",), "There is no run folder"),
        (("search", "x", "--run", "nowhere"), "nowhere is no run folder"),
        (("reindex", "nowhere"), "nowhere is no run folder"),
    ):
        error = call(*arguments).exception
        assert isinstance(error, UserError) and message in str(error)
    assert not (tmp_path / "nowhere").exists()


def test_a_shared_ledger_is_found_through_the_settings(run: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    settings = tmp_path / "second" / "settings.toml"
    settings.write_text(f'ledger = "sqlite:///{run}/ledger.db"\n')
    assert len(data("list", "--run", settings.parent)) == 2
    settings.write_text("ledger = ")
    assert isinstance(call("list", "--run", settings.parent).exception, SettingsError)


def _refuse() -> None:
    raise AssertionError("an embedder was named")


def test_reindex_for_another_embedder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(run / "ledger.db") as ledger:
        Store(ledger, run / "chroma", embedder=HashingEmbedder(32), rebuild=True).close()
        error = call("search", "pooling").exception
        assert isinstance(error, StoreError)
        monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", _refuse)
        command = str(error).split("`")[-2].split()
    assert command[:3] == ["vitruvius", "principles", "reindex"]
    assert "2 principles indexed by hashing" in output(*command[2:])
    assert len(data("search", "pooling")) == 2
    assert isinstance(call("reindex", run, "--embedder", "nosuch").exception, UnknownNameError)


def test_beside_a_session(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(run / "ledger.db") as ledger, Store(ledger, run / "chroma"):
        monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
        result = call("search", "pooling", "--json")
        assert len(json.loads(result.stdout)) == 2
        assert "made in memory" in result.stderr
        assert isinstance(call("reindex", run, "--embedder", "hashing").exception, RunBusyError)
