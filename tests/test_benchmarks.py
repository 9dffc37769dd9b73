"""The search benchmark: runs, resumes, and ends with one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEARCH = Path(__file__).parents[1] / "benchmarks" / "search.py"


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SEARCH), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def record(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_baselines_then_resume(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    common = ("--task", "nasbench-graph/cora", "--evaluations", "20", "--seeds", "2", "--out", str(out))
    one = record(search(*common, "--methods", "random,evolution"))
    assert set(one) == {"benchmark", "commit", "device", "seeds", "settings", "results"}
    assert one["seeds"] == [0, 1] and one["benchmark"] == "search"
    assert set(one["results"]) == {"random", "evolution"} and set(one["results"]["random"]) == {"10", "20"}
    for marks in one["results"].values():
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
    results = record(search("--methods", "vitruvius", "--evaluations", "16", "--seeds", "1", *options))[
        "results"
    ]
    assert 0 <= results["vitruvius"]["10"]["valid_regret"][0] < 0.7


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
