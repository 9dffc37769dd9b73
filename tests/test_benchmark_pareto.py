"""The benchmarks of trade-offs and of overhead: run, resume, and end with one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def record(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_pareto_runs_resumes_and_draws(tmp_path: Path) -> None:
    out, picture = tmp_path / "runs.jsonl", tmp_path / "curves.svg"
    common = (
        "--tasks",
        "nasbench-graph/cora",
        "--devices",
        "benchmark",
        "--evaluations",
        "20",
        "--seeds",
        "2",
    )
    first = record(
        run("pareto.py", *common, "--methods", "random", "--out", str(out), "--picture", str(picture))
    )
    cell = first["results"]["nasbench-graph/cora"]["benchmark"]
    mean, low, high = cell["random"]["20"]
    assert 0 < low <= mean <= high <= cell["attainable"] <= 1
    curve = first["results"]["curves"]["random"]
    assert len(curve) == 20 and curve == sorted(curve)
    assert picture.read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg" ')  # else it is not drawn
    again = run("pareto.py", *common, "--methods", "random", "--out", str(out))
    assert "2 runs, 0 of them to do" in again.stderr and record(again)["results"] == first["results"]


def test_pareto_compares_in_pairs(tmp_path: Path) -> None:
    pytest.importorskip("pymoo")
    pytest.importorskip("optuna")
    common = (
        "--tasks",
        "nasbench-graph/cora",
        "--devices",
        "benchmark",
        "--evaluations",
        "12",
        "--seeds",
        "2",
    )
    results = record(run("pareto.py", *common, "--out", str(tmp_path / "runs.jsonl")))["results"]
    assert set(results["compared"]) == {
        f"nasbench-graph/cora benchmark {m}" for m in ("random", "nsga2", "motpe")
    }
    assert all(0 <= pair["holm_p"] <= 1 and 0 <= pair["won"] <= 2 for pair in results["compared"].values())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("pareto.py", ("--methods", "magic"), "unknown name 'magic'; allowed:"),
        ("pareto.py", ("--tasks", "nasbench-graph/cora", "--devices", "toaster"), "no device 'toaster'"),
        ("overhead.py", ("--sizes", "100,few"), "whole numbers"),
    ],
)
def test_bad_arguments_are_one_sentence(name: str, arguments: tuple[str, ...], said: str) -> None:
    result = run(name, *arguments)
    assert result.returncode == 2 and said in result.stderr and "Traceback" not in result.stderr


def test_overhead_times_batches_and_a_pool() -> None:
    results = record(
        run(
            "overhead.py",
            "--sizes",
            "40",
            "--batches",
            "1",
            "--principles",
            "20",
            "--pool",
            "3000",
            "--measured",
            "200",
        )
    )["results"]
    assert results["batches"]["40"]["principles"] == 20 and results["batches"]["40"]["seconds"] > 0
    assert results["pool"]["candidates"] == 3000 and results["pool"]["correlation"] > 0.8
