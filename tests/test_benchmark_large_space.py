"""The benchmark on a space that cannot be listed: its simulated task, its sessions, its record."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vitruvius.generator.space import get_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SPACE = get_space("darts")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("large_space")
    sys.path.remove(str(BENCHMARKS))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "large_space.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.usefixtures("benchmark")
def test_what_the_trees_see_depends_on_the_class_alone() -> None:
    features = importlib.import_module("_simulated_darts").features
    rows = SPACE.sample(300, np.random.default_rng(0))
    twins = SPACE.parse_many(SPACE.ids(rows))
    assert (twins != rows).any() and (features(twins) == features(rows)).all()
    others = SPACE.neighbours(rows[:1])
    assert (features(others) != features(rows[:1])).any(axis=1).mean() > 0.9


@pytest.mark.tables
@pytest.mark.slow
def test_runs_resumes_and_compares(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    common = ("--tables", str(tables), "--evaluations", "20", "--seeds", "2", "--out", str(out))
    first = run(*common, "--methods", "random,local")
    assert first.returncode == 0, first.stderr[-2000:]
    results: dict[str, Any] = json.loads(first.stdout.splitlines()[-1])["results"]
    simulation = results["simulation"]
    assert simulation["genotypes"] == 1218 and simulation["r2"] > 0.85 and simulation["kendall"] > 0.75
    assert simulation["best of 20,000"] < simulation["climbed, best"] == results["reference"]
    for marks in results["darts/simulated"].values():
        mean, low, high = marks["20"]["valid_regret"]
        assert 0 < low <= mean <= high
    again = run(*common, "--methods", "random")
    assert "2 runs, 0 of them to do" in again.stderr


@pytest.mark.tables
def test_a_session_says_where_its_evaluations_came_from(benchmark: ModuleType, tables: Path) -> None:
    few = {"pool": 16, "local": 16}
    runs = {
        name: [benchmark.execute(benchmark.Job(tables, name, 24, seed, few)) for seed in range(2)]
        for name in ("random", "no-generator")
    }
    one, two = runs["no-generator"]
    assert len(one["scores"]) == len(one["shares"]) == 24 and one["scores"] != two["scores"]
    assert one["shares"][:6] == ["initial"] * 6
    assert {"drawn", "local", "open"} == set(one["shares"][6:])
    found = benchmark.summarise(runs, "darts/simulated", 90.0, 24)
    best = max(max(run["scores"]) for group in runs.values() for run in group)
    assert found["reference"] == pytest.approx(best, abs=1e-4), "a run that beats the climbs is the reference"
    assert sum(count for count, _ in found["shares"]["no-generator"].values()) == pytest.approx(24)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "magic"), "unknown name 'magic'; allowed:"),
        (("--tables", "nowhere"), "nowhere holds no nasbench_"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr
