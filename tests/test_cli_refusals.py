"""What the command line refuses before anything is spent, and what a refused run leaves behind: nothing."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import vitruvius as vt
from vitruvius.agents.reasoners import FORMS
from vitruvius.agents.rehearsal import room_of
from vitruvius.building import build_evaluator, build_session
from vitruvius.cli.commands import app
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import LedgerError, SettingsError, UnknownNameError, UserError
from vitruvius.generator.evaluation.pictures import read_folder
from vitruvius.generator.evaluation.ray_cluster import connect
from vitruvius.generator.networks import SPACES_WITH_NETWORKS, check_networks, family
from vitruvius.generator.space import get_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.run_folder import LEDGER_FILE, newest_run

QUICK = ("--proposer", "uniform", "--reasoner", "none", "--quiet")


def call(*arguments: str) -> Result:
    """Run the command; errors of ours come out as they are."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- run folders -------------------------------------------------------------------------------


def test_a_refused_run_leaves_nothing_and_is_not_the_newest(here: Path) -> None:
    with pytest.raises(UnknownNameError, match="statistic"):
        call("run", "--reasoner", "statistic", "--proposer", "uniform")
    assert not list((here / "runs").iterdir())
    begun, refused = here / "runs" / "begun", here / "runs" / "refused"
    with Ledger(begun / LEDGER_FILE) as ledger:
        ledger.start_session("s", task="nasbench201/a", seed=0, settings={}, labels=[])
    Ledger(refused / LEDGER_FILE).close()  # written last
    for file in begun.iterdir():
        os.utime(file, (1, 1))
    assert newest_run(here / "runs") == begun


@pytest.mark.parametrize("name", ["table", "templates"])
def test_paths_in_settings_hold_from_any_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = load_settings(None, {name: "mine/there"})
    assert getattr(settings, name) == str(here / "mine" / "there")
    (here / "kept.toml").write_text(dump_settings(settings))
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert load_settings(here / "kept.toml", {}) == settings


def test_what_was_there_before_stays(here: Path) -> None:
    folder = here / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UnknownNameError):
        call("run", "--run", "mine", "--reasoner", "statistic", "--proposer", "uniform")
    assert (folder / "notes.txt").read_text() == "mine"
    call("run", "--run", "done", "--evaluations", "6", "--source", "none", *QUICK)
    with pytest.raises(SettingsError, match="other settings"):
        call("run", "--run", "done", "--evaluations", "6", "--seed", "1", *QUICK)
    assert newest_run(here) == here / "done"


def test_a_session_that_was_recorded_stays_whatever_fails_then(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UserError("no engine")

    monkeypatch.setattr("vitruvius.agents.session.Engine", fails)
    given = {"proposer": "uniform", "reasoner": "none", "sources": "none"}
    with pytest.raises(UserError, match="no engine"):
        build_session(load_settings(None, given), here / "run")
    with Ledger(here / "run" / LEDGER_FILE) as ledger:
        assert len(ledger.sessions()) == 1


def test_a_ledger_that_is_no_url_makes_no_file(here: Path) -> None:
    with pytest.raises(SettingsError, match=r"ledger = 'foo' is not allowed: a SQLAlchemy URL looks like"):
        call("run", "--ledger", "foo", *QUICK)
    with pytest.raises(LedgerError, match=r"'foo' is no address: a SQLAlchemy URL looks like sqlite:///"):
        vt.Session(vt.Task("nasbench-graph/cora"), ledger="foo")
    assert not list(here.iterdir())


# ---- settings ----------------------------------------------------------------------------------


def test_a_function_may_be_better_when_smaller(here: Path) -> None:
    (here / "mine.py").write_text("def measure(a):\n    return float(str(a).count('skip'))\n")
    asked = ("--task", "nasbench201/mine", "--evaluator", "function", "--function", "mine.py:measure")
    more = ("--set", "maximize=false", "--proposer", "uniform", "--reasoner", "none", "--evaluations", "6")
    said = call("run", "--run", "run", *asked, *more).output
    assert "score (smaller is better)" in said
    settings = load_settings(here / "run" / "settings.toml", {})
    assert settings.maximize is False and "maximize = false" in dump_settings(settings)
    with pytest.raises(SettingsError, match=r"maximize = False has no effect with evaluator = 'table'"):
        call("run", "--set", "maximize=false", *QUICK)


def test_the_description_of_a_space_says_what_is_better(here: Path) -> None:
    (here / "s.toml").write_text('name = "sides"\n[decisions]\na = ["x", "y"]\n[tasks.t]\nmaximize = false\n')
    (here / "mine.py").write_text("def measure(a):\n    return 1.0\n")
    given = {"task": "s.toml/t", "evaluator": "function", "function": "mine.py:measure"}
    with pytest.raises(SettingsError, match="description of sides says of t that smaller is better"):
        build_evaluator(load_settings(None, given | {"maximize": True}))
    assert build_evaluator(load_settings(None, given | {"maximize": False})).datasets(get_space("sides")) == [
        "t"
    ]


def test_an_objective_is_named_once() -> None:
    with pytest.raises(SettingsError, match="params is named twice"):
        load_settings(None, {"objectives": "params, params"})


def test_the_forms_of_reasoners_are_the_same_everywhere() -> None:
    plain = " ".join(re.sub(r"[│\n]", " ", call("run", "--help").output).split())
    for form in FORMS:
        assert form in plain
    assert "Larger is better" in plain and "--set maximize=false" in plain
    with pytest.raises(UnknownNameError, match=r"Unknown reasoner 'foo'.*both:openai:MODEL"):
        room_of("foo")
    with pytest.raises(UnknownNameError, match="both:foo"):
        room_of("both:foo")
    with pytest.raises(UserError, match="statistics asks no language model"):
        room_of("statistics")
    assert room_of("both:vllm:smollm2") == room_of()


def test_graphs_are_not_trained_and_that_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPACES_WITH_NETWORKS:
        if family(get_space(name)).images:
            check_networks(get_space(name))
            continue
        with pytest.raises(UserError, match="read graphs, not images"):
            check_networks(get_space(name))

    def loaded(*_: object) -> None:
        raise AssertionError("networks were loaded")

    monkeypatch.setattr("vitruvius.building.build_evaluator", loaded)
    with pytest.raises(UserError, match="read graphs, not images"):
        call("run", "--evaluator", "train", "--task", "nasbench-graph/cora", *QUICK)


def test_an_address_at_which_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # another test may have left it connected
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        port, began = taken.getsockname()[1], time.monotonic()
        with pytest.raises(UserError, match=f"No Ray cluster answers at 127.0.0.1:{port} .*refused"):
            connect(f"127.0.0.1:{port}")
    assert time.monotonic() - began < 60
    with pytest.raises(UserError, match="'here' is no address of a Ray cluster"):
        connect("here")


# ---- other commands ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("score nasbench201 --sample 1 --scores nwto", "Did you mean 'nwot'.*flops.*params"),
        ("score nasbench201 --sample 1 --scores none", "Nothing is asked of the networks"),
        ("spaces sample nasbench201 --out s.txt", r"ends with '\.txt': name a file that ends with \.csv or"),
        ("spaces enumerate nasbench201 --out s", "has no ending"),
        ("principles export --to pack.toml", r"ends with '\.toml': name a file that ends with \.json"),
        ("retrain winner --split 0.5,0.5", "The split 0.5,0.5 must be three shares"),
    ],
)
def test_refused(here: Path, arguments: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call(*arguments.split())
    assert not list(here.iterdir())


def test_costs_are_those_that_the_run_limits(here: Path) -> None:
    call("run", "--run", "run", "--evaluations", "6", "--source", "none", "--where", "params < 0.8M", *QUICK)
    said = call("principles", "costs", "--run", "run", "--limit", "1").output
    assert "params in nasbench-graph/cora" in said and "latency[benchmark] in" not in said
    assert "`--cost all` tells of each" in said
    everything = call("principles", "costs", "--run", "run", "--limit", "1", "--cost", "all").output
    assert "latency[benchmark] in nasbench-graph/cora" in everything


def test_class_folders_without_images_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("a", "b", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / name / "0.png")
    with caplog.at_level(logging.WARNING):
        parts, _ = read_folder(tmp_path, None)
    assert parts["train"][1].tolist() == [0, 1]
    assert "no images, so no classes, are in the folders empty" in caplog.text


def test_shares_reach_the_retraining(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def noted(*_: Any, split: Any, **__: Any) -> None:
        given.append(split)
        raise UserError("noted")

    monkeypatch.setattr("vitruvius.generator.export.retraining.retrain", noted)
    for more in ((), ("--split", "0.5,0.3,0.2")):
        with pytest.raises(UserError, match="noted"):
            call("retrain", "winner", *more)
    assert given == [None, (0.5, 0.3, 0.2)]
