"""Latency on a device where little was timed: the prediction, the files, the evaluator, the commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr
from typer.testing import CliRunner

from vitruvius.agents.session import Session
from vitruvius.building import build_sources, build_task
from vitruvius.cli.commands import app
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import SettingsError, TableError, UserError
from vitruvius.generator.evaluation.latency_files import (
    read_keys,
    read_latencies,
    write_latencies,
    write_proposals,
)
from vitruvius.generator.evaluation.latency_predictor import LatencySources
from vitruvius.generator.evaluation.revealed import optimum
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Task, stream
from vitruvius.generator.evaluation.with_latency import BenchWithLatency, WithLatency
from vitruvius.generator.space import Choices, SearchSpace, get_space
from vitruvius.testing.evaluators import EvaluatorContract

SPACE = get_space("nasbench201")
KEYS = [
    "0011:gat,arma,gcn,cheb", "0123:gcn,cheb,fc,arma", "0011:gat,gcn,gat,gcn", "0111:gat,gat,gat,gat",
    "0012:sage,gin,graph,skip",
]  # fmt: skip


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    found: Any = spearmanr(x, y)
    return float(found.statistic)


def operation_times(rows: Choices, times: NDArray[np.float64], depth: float) -> NDArray[np.float64]:
    """Milliseconds: a stem, a time for each operation, and more where the last ones are heavy."""
    return 1.0 + times[rows].sum(axis=1) + depth * times[rows[:, -1]] ** 2


def devices(rows: Choices, n: int = 6) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(5)
    return {
        f"latency[d{i}]": operation_times(rows, rng.gamma(1.0, size=5), rng.uniform(0, 0.5)) for i in range(n)
    }


def costs(rows: Choices) -> Mapping[str, NDArray[np.float64]]:
    return devices(rows)


@pytest.fixture(scope="module")
def sources() -> LatencySources:
    return LatencySources(SPACE, costs)


def new_device(rows: Choices) -> NDArray[np.float64]:
    return 7.0 * operation_times(rows, np.array([0.1, 0.2, 1.5, 3.0, 0.4]), 0.2)


def test_ten_tell_the_space(sources: LatencySources) -> None:
    timed, everything = sources.telling(10), SPACE.enumerate()
    found = sources.fit(timed, new_device(timed), costs(timed))
    guess, truth = found.predict(everything, costs(everything)), new_device(everything)
    agreement = spearman(guess, truth)
    assert agreement > 0.95
    off = np.median(np.abs(guess / truth - 1))
    assert off < 0.1 and 0.3 * off < found.error < 5 * off + 0.02
    assert "10 timed architectures and 6 other devices" in found.describe()
    alone = LatencySources(SPACE, lambda rows: {})
    lonely = alone.fit(timed, new_device(timed), {})
    assert spearman(lonely.predict(everything, {}), truth) < agreement
    assert "10 timed architectures and no other device;" in lonely.describe()


def test_no_prediction_is_below_half_of_the_least_that_was_timed(sources: LatencySources) -> None:
    """Even where the line through the roots would cross zero, and its square come up again."""
    rows = sources.telling(8)
    steep = np.where(new_device(rows) > np.median(new_device(rows)), 400.0, 1.0)
    found = sources.fit(rows, steep, costs(rows))
    everything = SPACE.enumerate()
    roots = found.centre + sources.features(everything, costs(everything)) @ found.weights
    assert roots.min() < -found.floor
    guess = found.predict(everything, costs(everything))
    assert guess.min() == pytest.approx(0.5) and (guess[roots < found.floor] == guess.min()).all()


def test_proposals_are_different_lean_and_the_same_again(sources: LatencySources) -> None:
    chosen = sources.telling(12)
    assert len(np.unique(SPACE.numbers(chosen))) == 12
    assert (sources.telling(12) == LatencySources(SPACE, costs).telling(12)).all()
    assert (sources.telling(5) == chosen[:5]).all(), "fewer are the first of more"

    def convolutions(rows: Choices) -> Mapping[str, NDArray[np.float64]]:
        return {"params": 0.1 + ((rows == 2) | (rows == 3)).sum(axis=1)}

    lean = LatencySources(SPACE, convolutions)
    everything, classes = SPACE.enumerate(), SPACE.classes(SPACE.enumerate())
    params = convolutions(everything)["params"]
    for number in SPACE.numbers(lean.telling(12)):
        place = int(np.flatnonzero(SPACE.numbers(everything) == number)[0])
        assert params[place] == params[classes == classes[place]].min(), "no idle convolution"


@settings(max_examples=20, deadline=None)
@given(speed=st.floats(0.01, 100.0), order=st.permutations(range(8)))
def test_units_and_order_do_not_matter(speed: float, order: list[int]) -> None:
    known = LatencySources(SPACE, costs)
    rows = SPACE.sample(8, np.random.default_rng(1))
    asked = SPACE.sample(50, np.random.default_rng(2))
    once = known.fit(rows, new_device(rows), costs(rows)).predict(asked, costs(asked))
    turned = rows[order]
    again = known.fit(turned, speed * new_device(turned), costs(turned)).predict(asked, costs(asked))
    np.testing.assert_allclose(again, speed * once, rtol=1e-6)
    assert (once > 0).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows, ms: (rows[:2], ms[:2]), "2 timed architectures are too few"),
        (lambda rows, ms: (rows, np.where(np.arange(len(ms)) == 1, 0.0, ms)), "no positive number"),
        (lambda rows, ms: (np.concatenate([rows, rows[:1]]), np.append(ms, 1.0)), "timed twice"),
    ],
)
def test_what_cannot_be_learned_from(sources: LatencySources, change: Any, told: str) -> None:
    rows = sources.telling(4)
    rows, milliseconds = change(rows, new_device(rows))
    with pytest.raises(UserError, match=told):
        sources.fit(rows, milliseconds, costs(rows))
    with pytest.raises(UserError, match="2 architectures cannot be proposed"):
        sources.telling(2)


def test_gaps_in_a_source_stay_gaps() -> None:
    def gappy(rows: Choices) -> Mapping[str, NDArray[np.float64]]:
        found = dict(devices(rows))
        found["latency[d1]"] = np.where(rows[:, 0] == 4, np.nan, found["latency[d1]"])
        return found | {"flops": np.zeros(len(rows))}  # tells nothing

    known = LatencySources(SPACE, gappy)
    assert "flops" not in known.names and "latency[d1]" in known.names
    timed, everything = known.telling(6), SPACE.enumerate()
    found = known.fit(timed, new_device(timed), gappy(timed)).predict(everything, gappy(everything))
    assert (np.isnan(found) == (everything[:, 0] == 4)).all()
    hidden = everything[everything[:, 0] == 4][:4]
    with pytest.raises(UserError, match="leave that one out"):
        known.fit(hidden, new_device(hidden), gappy(hidden))


# ---- files -----------------------------------------------------------------------------------


def test_files_come_back(tmp_path: Path) -> None:
    table, sheet = tmp_path / "mine.parquet", tmp_path / "mine.csv"
    write_latencies(table, KEYS, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert read_latencies(table)[0] == KEYS and read_latencies(table)[1].tolist() == [1, 2, 3, 4, 5]
    write_proposals(sheet, KEYS)
    assert read_keys(sheet) == KEYS and read_latencies(sheet)[0] == []
    lines = sheet.read_text().splitlines()
    sheet.write_text("\n".join([*lines[:2], f"{lines[2]}3.25", *lines[3:]]))
    assert read_latencies(sheet)[0] == [KEYS[1]] and read_latencies(sheet)[1].tolist() == [3.25]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,ms\na,1\n", "no column of architectures"),
        ("key,ms\na,fast\n", "holds a text where a number is needed"),
        ("key,cold,warm\na,1,2\n", "'cold', 'warm' of numbers"),
        ("key\na\n", "no column of numbers"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=told):
        read_latencies(path)
    with pytest.raises(TableError, match="There is no file"):
        read_latencies(tmp_path / "other.csv")


# ---- the evaluator ---------------------------------------------------------------------------


def timed_file(folder: Path, name: str = "mine.csv") -> Path:
    """Five of NAS-Bench-Graph, timed: three times what the benchmark's device takes."""
    plain = Task("nasbench-graph/cora")
    rows = plain.space.rows(map(plain.space.parse, KEYS))
    took = 3.0 * plain.bench.costs(rows)["latency[benchmark]"]
    path = folder / name
    path.write_text("key,ms\n" + "".join(f'"{k}",{ms}\n' for k, ms in zip(KEYS, took, strict=True)))
    return path


class TestWithLatency(EvaluatorContract):
    @pytest.fixture(scope="class")
    def evaluator(self, tmp_path_factory: pytest.TempPathFactory) -> WithLatency:
        return WithLatency(Table(), {"mine": timed_file(tmp_path_factory.mktemp("timed"))})

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("nasbench-graph")


def test_timed_stay_and_others_are_foretold(tmp_path: Path) -> None:
    plain = Task("nasbench-graph/cora")
    task = Task("nasbench-graph/cora", WithLatency(Table(), {"mine": timed_file(tmp_path)}))
    bench = task.bench
    assert isinstance(bench, BenchWithLatency) and bench.devices == ("benchmark", "mine")
    rows = task.space.rows(map(task.space.parse, KEYS))
    known = bench.costs(rows)
    np.testing.assert_allclose(known["latency[mine]"], 3.0 * known["latency[benchmark]"], rtol=1e-9)
    everything = bench.costs(task.space.enumerate())
    assert spearman(everything["latency[mine]"], everything["latency[benchmark]"]) > 0.6
    drawn = task.space.architectures(task.space.sample(3, np.random.default_rng(0)))
    waiting = list(drawn)
    streamed = stream(bench, lambda free: [waiting.pop() for _ in range(min(free, len(waiting)))])
    for found in (*bench.measure(drawn), *streamed):
        expected = bench.costs(task.space.parse(found.key).row)["latency[mine]"][0]
        assert found.latency["mine"] == expected and "benchmark" in found.latency
    assert bench.evaluator == plain.bench.evaluator and optimum(task) == optimum(plain)


def test_files_and_names_that_do_not_fit(tmp_path: Path) -> None:
    path = timed_file(tmp_path)
    with pytest.raises(UserError, match="known already"):
        Task("nasbench-graph/cora", WithLatency(Table(), {"benchmark": path}))
    with pytest.raises(UserError, match="cannot name a device"):
        WithLatency(Table(), {"my phone": path})
    path.write_text("key,ms\nnonsense,1.0\n")
    with pytest.raises(TableError, match="is not one of nasbench-graph"):
        Task("nasbench-graph/cora", WithLatency(Table(), {"mine": path}))


def test_a_session_keeps_to_a_foretold_limit(tmp_path: Path) -> None:
    given = load_settings(
        None, {"latency_files": [f"mine={timed_file(tmp_path)}"], "sources": ["nasbench-graph/pubmed"]}
    )
    (tmp_path / "again.toml").write_text(dump_settings(given))
    assert load_settings(tmp_path / "again.toml", {}) == given
    task = build_task(given)
    assert isinstance(build_sources(given, task)[0].bench, BenchWithLatency)
    rows = task.space.enumerate()
    limit = float(np.nanquantile(task.bench.costs(rows)["latency[mine]"], 0.3))
    said: list[str] = []
    with Session(
        task, where=f"latency[mine] < {limit:.6f}ms", proposer="uniform", reasoner="none", finetune_every=0,
        progress=said.append,
    ) as session:  # fmt: skip
        session.run(10)
        assert all(x.measurement.latency["mine"] < limit for x in session.journal.learned())
    assert any("latency[mine] is predicted from 5 timed" in line for line in said)
    with pytest.raises(SettingsError, match="not DEVICE=FILE"):
        build_task(load_settings(None, {"latency_files": ["mine.csv"]}))


# ---- the commands ----------------------------------------------------------------------------


def command(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_propose_fill_in_predict(tmp_path: Path) -> None:
    task, sheet, out = "nasbench-graph/cora", tmp_path / "phone.csv", tmp_path / "all.parquet"
    proposed = command("latency", "propose", "--task", task, "-n", "6", "--out", str(sheet))
    assert proposed.splitlines()[:6] == read_keys(sheet)
    with pytest.raises(UserError, match="exists already"):
        command("latency", "propose", "--task", task, "--out", str(sheet))
    with pytest.raises(UserError, match="0 timed architectures are too few"):
        command("latency", "predict", str(sheet), "--task", task)
    first, *lines = sheet.read_text().splitlines()
    sheet.write_text("\n".join([first, *(f"{line}{i + 1}" for i, line in enumerate(lines))]))
    told = command(
        "latency", "predict", str(sheet), "--task", task, "-a", read_keys(sheet)[2], "--out", str(out)
    )
    assert "latency[phone] is predicted from 6 timed architectures and 1 other device;" in told
    assert f"         3 ms  {read_keys(sheet)[2]}" in told
    assert f"--latency-file phone={sheet}" in told
    written = pq.read_table(out).to_pydict()
    assert len(written["key"]) == 26_206 and min(written["ms"]) > 0


def test_run_and_show_say_what_is_foretold(tmp_path: Path) -> None:
    run, file = str(tmp_path / "run"), timed_file(tmp_path)
    words = (
        "--proposer",
        "uniform",
        "--reasoner",
        "none",
        "--source",
        "none",
        "--evaluations",
        "8",
        "--quiet",
    )
    told = command(
        "run", "--run", run, *words, "--latency-file", f"mine={file}", "--objectives", "latency[mine]"
    )
    assert "latency[mine] is predicted from 5 timed" in told and "latency[mine], ms" in told
    assert "latency[mine] is predicted from 5 timed" in command("show", run)
