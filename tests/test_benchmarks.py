"""The search benchmark: runs, resumes, and ends with one JSON object."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vitruvius.generator.evaluation.task import Task

SEARCH = Path(__file__).parents[1] / "benchmarks" / "search.py"


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SEARCH), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def benchmark_module(name: str) -> ModuleType:
    """A module of the benchmarks' folder, which is no package."""
    sys.path.insert(0, str(SEARCH.parent))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SEARCH.parent))


def record(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_baselines_then_resume(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    common = ("--task", "nasbench-graph/cora", "--evaluations", "20", "--seeds", "2", "--out", str(out))
    one = record(search(*common, "--methods", "random,evolution"))
    assert set(one) == {"benchmark", "commit", "device", "seeds", "settings", "results"}
    assert one["seeds"] == [0, 1] and one["benchmark"] == "search"
    found = one["results"]["nasbench-graph/cora"]
    assert set(found) == {"random", "evolution"} and set(found["random"]) == {"10", "20"}
    for marks in found.values():
        for mean, low, high in (values[k] for values in marks.values() for k in ("valid_regret", "test")):
            assert low <= mean <= high
        assert marks["20"]["valid_regret"][0] <= marks["10"]["valid_regret"][0]
    lines = out.read_text().splitlines()
    assert len(lines) == 4
    out.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    for done in (3, 4):
        again = search(*common, "--methods", "random,evolution")
        assert f"4 runs, {done} of them done before" in again.stderr
        assert record(again)["results"] == one["results"]


def test_session_runs(tmp_path: Path) -> None:
    options = ("--set", "finetune_every=0", "--set", "pool=32", "--set", "local=32", "--proposer", "uniform")
    results = record(
        search("--methods", "vitruvius,random", "--evaluations", "16", "--seeds", "2", *options)
    )["results"]
    ours, random = (
        results["nasbench-graph/cora"][name]["10"]["valid_regret"] for name in ("vitruvius", "random")
    )
    assert 0 <= ours[0] < 0.7
    mean, low, high, p = results["against"]["random"]["tasks"]["nasbench-graph/cora"]["10"]
    assert abs(mean - (ours[0] - random[0])) < 1e-4 and low <= mean <= high and 0 < p <= 1


@pytest.mark.parametrize("name", ["tpe", "bananas", "nas-bowl"])
def test_peers_pay_for_each_identity_once(name: str) -> None:
    if name == "tpe":
        pytest.importorskip("optuna", reason="optuna is not installed: pip install 'vitruvius[benchmarks]'")
    method, task = benchmark_module("_peers").PEERS[name], Task("nasbench-graph/cora")
    curve, again = method(task, 16, 0), method(task, 16, 0)
    assert len(set(curve.ids)) == len(curve.ids) == 16
    assert curve.ids == again.ids != method(task, 16, 1).ids


def test_holm_and_pairs() -> None:
    paired = benchmark_module("_paired")
    against, holm = paired.against, paired.holm
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    rng = np.random.default_rng(0)
    theirs = rng.random((30, 50)) + 1.0
    regrets = {"one": {"ours": theirs - 0.5, "theirs": theirs, "random": theirs * 2}}
    found = against(regrets, "ours", [10, 50])
    mean, low, high, p = found["theirs"]["tasks"]["one"]["10"]
    assert mean == low == high == pytest.approx(-0.5) and p < 0.001
    unit = float(theirs[:, 49].mean() * 2)
    assert found["theirs"]["average"]["50"][0] == pytest.approx(-0.5 / unit, abs=1e-4)


def test_the_same_in_disguise() -> None:
    common = ("--evaluations", "16", "--seeds", "1", "--methods", "random,gp-hamming")
    assert record(search(*common, "--rename"))["results"] == record(search(*common))["results"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "magic"), "unknown method 'magic'"),
        (("--task", "nasbench-graph/coral", "--methods", "random"), "cora"),
        (("--set", "poool=3", "--methods", "vitruvius", "--seeds", "1"), "poool"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = search(*arguments)
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr
