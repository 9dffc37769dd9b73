"""`vitruvius generator sample`: what is asked for is what comes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from vitruvius.agents.posterior import predict
from vitruvius.cli.generator import app
from vitruvius.errors import InvalidPredicateError, UnknownNameError, UserError
from vitruvius.generator import library
from vitruvius.generator.evaluation.columns import read_columns
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.library import CodeModel
from vitruvius.generator.space import get_space
from vitruvius.knowledge import steering
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.run_folder import LEDGER_FILE
from vitruvius.knowledge.share import Share

SPACE = get_space("nasbench201")


@pytest.fixture(autouse=True)
def _trained(code_model: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: Any, **__: Any) -> CodeModel:
        return code_model

    monkeypatch.setattr(library, "load_or_train", trained)


def call(*arguments: str) -> Result:
    """Run the command; errors of ours come out as they are."""
    result = CliRunner().invoke(app, ["sample", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with 40 measurements, where 3x3 convolutions are what counts; smaller is better."""
    folder = tmp_path_factory.mktemp("run")
    rows = SPACE.sample(40, np.random.default_rng(0))
    with Ledger(folder / LEDGER_FILE) as ledger:
        ledger.start_session("s", task="nasbench201/mine", seed=0, settings={"maximize": False}, labels=[])
        for row, architecture in zip(rows, SPACE.architectures(rows), strict=True):
            error = 10.0 - int((row == 3).sum())
            key, identity = architecture.key, architecture.id
            found = Measurement("nasbench201", "nasbench201/mine", key, identity, Status.OK, error)
            ledger.record(found, session="s", batch=0, share=Share.INITIAL)
    return folder


@pytest.mark.parametrize("engine", ["ngram", "uniform", "transformers"])
def test_where(engine: str) -> None:
    """Every draw satisfies the predicate before anything is rejected."""
    text = "conv3x3 >= 2 and depth >= 3"
    result = call("nasbench201", "-n", "40", "--engine", engine, "--where", text)
    keys = [line[line.index("|") :] for line in result.stdout.splitlines()]
    assert len(keys) > 10
    assert all(Predicate.parse(text).holds_one(SPACE.parse(key)) for key in keys)
    assert "100.00% of the draws satisfied" in result.stderr
    assert re.search(r"^\d+\.\d+% of nasbench201 satisfies", result.stderr, re.MULTILINE)


def test_score(run: Path, tmp_path: Path) -> None:
    """What is asked for by score has what the measurements show to be good, and is new."""
    out = tmp_path / "best.jsonl"
    score = ("--score", "top10%", "--run", str(run))
    call("nasbench201", "-n", "60", "--engine", "ngram", *score, "--out", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) > 20 and set(rows[0]) == {"codes", "architecture", "id"}
    choices = SPACE.parse_many([row["architecture"] for row in rows])
    assert (choices == 3).sum(axis=1).mean() > 2.5  # 1.2 of 6 where nothing is asked for
    with Ledger(run / LEDGER_FILE) as ledger:
        measured = [learned.measurement for learned in ledger.learned("s")]
    assert not {one.id for one in measured} & {row["id"] for row in rows}
    scores = -np.array([one.score for one in measured], dtype=np.float64)
    both = np.concatenate([choices, SPACE.enumerate()[::10]])
    expected = predict(SPACE, SPACE.parse_many([one.key for one in measured]), scores, both).mean
    order = np.argsort(-expected[: len(choices)], kind="stable")
    assert np.corrcoef(order, np.arange(len(order)))[0, 1] > 0.95  # best first


def test_another_model_is_announced_and_other_draws_are_named(tmp_path: Path) -> None:
    out = tmp_path / "drawn.parquet"
    said = call("nasbench201", "-n", "5", "--engine", "uniform", "--seed", "7", "--out", str(out)).stderr
    assert "No model of nasbench201 has seed 7 yet: one is trained first" in said
    assert "--draw-seed 7" in said
    assert len(read_columns(out, ["codes", "architecture", "id"])["id"]) > 0
    assert "is trained first" not in call("nasbench201", "-n", "5", "--engine", "uniform").stderr


def test_both_as_a_table(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.csv"
    wish = ("--score", "top 20%", "--run", str(run), "--where", "skip >= 2")
    result = call("nasbench201", "-n", "30", "--engine", "ngram", *wish, "--out", str(out))
    with out.open(newline="") as file:
        choices = SPACE.parse_many([row["architecture"] for row in csv.DictReader(file)])
    assert ((choices == SPACE.operations.index("skip")).sum(axis=1) >= 2).all()
    assert f"{len(choices)} architectures written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--score", "top10%"), UserError, "name a run with --run"),
        (("--run", "somewhere"), UserError, "give --score"),
        (("--score", "best", "--run", "somewhere"), UserError, "looks like top10%"),
        (("--score", "top100%", "--run", "somewhere"), UserError, "looks like top10%"),
        (("--score", "top1%", "--run", "nowhere"), UserError, "is no run folder"),
        (("--where", "conv3x3 >= 7"), UserError, "Nothing in nasbench201 satisfies"),
        (("--where", "conv3x3 >"), InvalidPredicateError, "cannot be read"),
        (("--where", "conv7x7 >= 1"), UnknownNameError, "conv7x7"),
        (("--where", "params < 1M"), UserError, "name a run with --run whose table or networks tell it"),
        (("--where", "conv3x3 = 2"), UnknownNameError, "write conv3x3 == 2"),
        (("--out", "some.txt"), UserError, ".csv or .jsonl or .parquet"),
        (("--out", "no/such/folder.csv"), UserError, "make it"),
    ],
)
def test_wrong_wishes(arguments: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        call("nasbench201", *arguments)


def test_costs_are_those_of_a_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no settings\.toml, so it tells no costs"):
        call("nasbench201", "--where", "params < 1M", "--run", str(run))
    lettered = tmp_path / "letters.toml"
    lettered.write_text('name = "letters"\n[decisions]\na = ["x", "y"]\nb = ["x", "y"]\n')
    (tmp_path / "told.py").write_text(
        "def measure(a):\n    return 1.0\n\ndef costs(a):\n    return {'params': str(a).count('y') + 1}\n"
    )
    session = tmp_path / "session"
    session.mkdir()
    (session / "settings.toml").write_text(
        f'task = "{lettered}/mine"\nevaluator = "function"\nfunction = "{tmp_path}/told.py:measure"\n'
        f'costs = "{tmp_path}/told.py:costs"\n'
    )
    from vitruvius.cli.generator_sample import _costs, _wish  # pyright: ignore[reportPrivateUsage]
    from vitruvius.generator.space import get_space

    space = get_space(str(lettered))
    wish = _wish(space, "params <= 1M", None, session)
    assert wish.holds(space.enumerate()).tolist() == [True, False, False, False]
    assert wish.wanted is not None and wish.wanted.tolist() == [1, 0, 0, 0]
    with pytest.raises(UserError, match="tells no costs of nasbench201"):
        _costs(SPACE, session)


def test_a_run_on_another_space(run: Path) -> None:
    with pytest.raises(UserError, match="says nothing about nasbench-graph"):
        call("nasbench-graph", "--score", "top10%", "--run", str(run))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "foo"), "Unknown proposer"),
        (("--engine", "ngram", "--url", "http://127.0.0.1:1/v1"), "takes no URL"),
        (("--temperature", "5"), "temperature is 5"),
    ],
)
def test_wrong_options_are_refused_before_a_model_is_trained(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "load_or_train", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=said):
        call("nasbench201", *arguments)


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "drawn.jsonl"
    out.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        call("nasbench201", "-n", "5", "--engine", "uniform", "--out", str(out))
    assert out.read_text() == "mine"


def test_a_space_that_cannot_be_listed_is_not_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    few = get_space("darts").sample(500, np.random.default_rng(0))
    monkeypatch.setattr(steering, "all_rows", lambda space: few)
    with pytest.raises(UserError, match="None of 500 architectures drawn from darts satisfies"):
        call("darts", "--where", "skip >= 16", "--engine", "ngram")
