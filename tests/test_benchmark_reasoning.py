"""The benchmark of reasoners: all methods on the same draws, controls in their order, disguise, resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "reasoning.py"


def reasoning(out: Path, *arguments: str) -> dict[str, Any]:
    """Run it; the results of its record."""
    command = [sys.executable, str(BENCHMARK), "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["benchmark"] == "reasoning"
    return record["results"]


def test_all_methods_on_the_same_draws(tmp_path: Path) -> None:
    out, arguments = tmp_path / "out.jsonl", ("--tasks", "nasbench-graph/cs", "--seeds", "4")
    found = reasoning(out, *arguments)
    assert set(found) == {"nasbench-graph/cs plain", "nasbench-graph/cs renamed"}
    for methods in found.values():
        assert list(methods) == ["counting", "random", "nothing", "statistics"]
        statistics = methods["statistics"]
        assert methods["nothing"]["area"] == [0.5, 0.5, 0.5] and methods["nothing"]["useful"] is None
        assert statistics["area less counting"][1] > 0, "statistics is ahead on this task in every draw"
        assert statistics["regret20 less nothing"][2] < 0
        assert statistics["regret50"][0] < statistics["regret20"][0]
        assert 0 < statistics["beyond"][0] <= statistics["useful"][0] <= 1
    plain, renamed = found.values()
    assert renamed["counting"]["area"] == plain["counting"]["area"], "counting reads no names"
    lines = out.read_text().splitlines()
    assert len(lines) == 2 * 4 * 4
    assert reasoning(out, *arguments) == found, "what is finished is read again"
    assert out.read_text().splitlines() == lines


def test_an_unknown_reasoner_is_told_in_a_sentence(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARK),
        "--tasks",
        "nasbench-graph/cs",
        "--seeds",
        "1",
        "--reasoners",
        "oracle",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: Unknown reasoner 'oracle'")
