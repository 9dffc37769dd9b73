"""The transfer benchmark: methods see what they may, runs resume, comparisons are corrected."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vitruvius.agents.baselines import Curve
from vitruvius.generator.evaluation.task import Task

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
METHODS = ("copy", "counting", "lapt", "warm-evolution", "rgpe", "random")


@pytest.fixture(scope="module")
def methods() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("_transfer_methods")
    sys.path.remove(str(BENCHMARKS))


def transfer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "transfer.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_every_method_runs_once_and_is_compared(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    common = (
        "--protocol", "wrong", "--targets", "nasbench-graph/pubmed", "--size", "50", "--evaluations", "10",
        "--seeds", "2", "--out", str(out), "--set", "pool=32", "--set", "local=32", "--reasoner", "none",
    )  # fmt: skip
    first = transfer(*common, "--methods", ",".join(("session", "no-source", *METHODS)))
    assert first.returncode == 0, first.stderr[-2000:]
    record: dict[str, Any] = json.loads(first.stdout.splitlines()[-1])
    results = record["results"]
    (pair,) = (name for name in results["regret"] if name != "average")
    assert pair == "photo -> nasbench-graph/pubmed"
    for marks in results["regret"][pair].values():
        assert all(low <= mean <= high for mean, low, high in marks.values())
        assert 0 <= marks["10"][0] <= marks["5"][0] <= marks["1"][0]
    assert set(results["session against"]) == {"no-source", *METHODS}
    assert set(results["evaluations to reach no-source"][pair]) == {"1", "2", "5", "10"}
    again = transfer(*common, "--methods", "copy,random")
    assert "4 runs, 0 of them to do" in again.stderr
    assert (
        json.loads(again.stdout.splitlines()[-1])["results"]["regret"][pair]["copy"]
        == results["regret"][pair]["copy"]
    )


def test_methods_pay_once_and_start_where_they_should(methods: ModuleType) -> None:
    task = Task("nasbench-graph/cora")
    sources = methods.measure([task.sibling("citeseer"), task.sibling("cs")], 60, 0)
    best = [source.rows[source.order[0]] for source in sources]
    for name in METHODS[:-2]:
        curve = methods.METHODS[name](task, sources, 12, 0)
        assert len(curve.ids) == len(set(curve.ids)) == 12
        if name in ("copy", "warm-evolution"):
            assert curve.ids[:2] == task.space.ids(np.array(best))


def test_lapt_stays_in_its_lists_before_it_adapts(methods: ModuleType) -> None:
    task = Task("nasbench-graph/cora")
    sources = methods.measure([task.sibling("citeseer")], 60, 0)
    lists = [np.argsort(-counts, kind="stable")[:3].tolist() for counts in methods.counts(sources)]
    rows = np.array(list(product(*lists)), dtype=np.int8)
    ids = set(task.space.ids(task.space.normalise(rows[task.space.legal(rows)])))
    assert 0 < len(ids) < 4000
    assert set(methods.lapt(task, sources, 9, 0).ids) <= ids


def test_an_inverted_source_is_upside_down(methods: ModuleType) -> None:
    right, wrong = (
        methods.measure([Task("nasbench-graph/cs", maximize=up)], 50, 0)[0] for up in (True, False)
    )
    assert np.array_equal(right.rows, wrong.rows) and np.array_equal(right.scores, -wrong.scores)


def test_a_session_can_be_given_nothing_but_the_principles_of_an_earlier_one(methods: ModuleType) -> None:
    task = Task("nasbench-graph/cora")
    options = {"reasoner": "statistics", "proposer": "uniform", "finetune_every": 0, "pool": 32, "local": 32}
    curves = [
        methods.run_method(
            name, task, [task.sibling("citeseer")], 200, 8, 0, options, task.sibling("cs")
        ).curve
        for name in ("session", "no-source")
    ]
    assert all(len(curve.ids) == 8 for curve in curves)
    assert curves[0].ids != curves[1].ids


def test_ranking_weights_go_to_who_ranks_best(methods: ModuleType) -> None:
    weights = importlib.import_module("vitruvius.agents.relatedness").ranking_weights
    rng = np.random.default_rng(0)
    target = rng.normal(size=20)
    found = weights(np.column_stack([-target, target, rng.normal(size=20)]), target, rng)
    assert found[1] > 0.99 and found.sum() == pytest.approx(1.0)


def test_delay(methods: ModuleType) -> None:
    delay = importlib.import_module("transfer").delay
    fast, slow = np.array([[3.0, 1.0, 1.0, 0.0]]), np.array([[4.0, 3.0, 2.0, 1.0]])
    assert delay(fast, slow, 4) == -2 and delay(slow, fast, 2) == 2
    assert delay(slow, fast, 4) is None
    assert delay(fast, np.array([[np.inf, 3.0, 2.0, 1.0]]), 1) is None


def test_before_its_first_score_a_run_is_credited_with_none(
    methods: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, pairs = importlib.import_module("transfer"), importlib.import_module("_transfer_pairs")
    pair = pairs.PROTOCOLS["nasbench-graph"].pairs[0]
    runs: dict[tuple[str, int], list[float | None]] = {
        ("session", 0): [None, 0.2, 0.3], ("session", 1): [0.1, 0.2], ("random", 0): [0.1, 0.2, 0.2],
        ("random", 1): [None, None, None],
    }  # fmt: skip

    def run_method(name: str, _: Task, __: object, ___: int, ____: int, seed: int, *_____: object) -> object:
        return methods.Run(Curve(maximize=True, scores=runs[name, seed]))

    monkeypatch.setattr(module, "run_method", run_method)
    done = {key: module.execute(module.Job(pair, key[0], 50, 3, key[1], {})) for key in runs}
    assert [x is None for x in done["session", 0]["regret"]] == [True, False, False]
    assert done["random", 1]["regret"] == [None] * 3
    assert "nothing found" in done["random", 1]["said"]
    curves = {
        (pair, name): module.as_curves([done[name, seed]["regret"] for seed in (0, 1)], 3)
        for name in ("session", "random")
    }
    found = module.summarise([pair], ["session", "random"], curves, 3)
    regret = found["regret"][pair.name]
    assert regret["session"]["1"] is None and regret["session"]["2"] is not None
    assert regret["random"] == {"1": None, "2": None}
    assert found["curves"]["session"][0] is None and found["curves"]["session"][2] > 0
    assert found["session against"]["random"]["tasks"] == {pair.name: {}}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
