"""The benchmark of asking for what one wants: by principle, by score, resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from vitruvius.generator.library import CodeModel

CONTROL = Path(__file__).parents[1] / "benchmarks" / "control.py"


def control(model: CodeModel, out: Path, *arguments: str) -> dict[str, Any]:
    """Run it with the n-gram engine; the results of its record."""
    common = ("--engine", "ngram", "--model", f"nasbench201={model.folder}", "--out", str(out))
    command = [sys.executable, str(CONTROL), *common, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["benchmark"] == "control"
    return record["results"]


def test_by_principle(code_model: CodeModel, tmp_path: Path) -> None:
    """One predicate and one pair, about a tenth of the space each; what is finished is not run again."""
    arguments = ("--tasks", "", "--spaces", "nasbench201", "--predicates", "1", "--draws", "400")
    out = tmp_path / "out.jsonl"
    found = control(code_model, out, *arguments)["principle"]["nasbench201"]
    single, pair = found["predicates"]
    assert " and " not in single["predicate"] and " and " in pair["predicate"]
    for trial in (single, pair):
        assert 0.07 <= trial["share"] <= 0.13 and trial["rejection"] < 0.25
        assert trial["guide"] == trial["valid"] == 1.0
        assert 0.8 < trial["of_ceiling"] < 1.2
    assert len(out.read_text().splitlines()) == 2
    assert control(code_model, out, *arguments)["principle"]["nasbench201"] == found
    assert len(out.read_text().splitlines()) == 2


def test_by_score(code_model: CodeModel, tmp_path: Path, tables: Path) -> None:
    """Ranks of all methods beside the controls; what is led to the best is better than uniform draws."""
    arguments = ("--spaces", "", "--tasks", "nasbench201/cifar10", "--labels", "60", "--seeds", "2")
    few = ("--sharpness", "4", "--tuned-seeds", "0", "--score-draws", "100")
    found = control(code_model, tmp_path / "out.jsonl", *arguments, *few)["score"]["nasbench201/cifar10"]
    assert set(found) == {"60 labels, top 10%", "60 labels, top 1%"}
    for methods in found.values():
        assert methods["guide 4"]["mean"] > methods["uniform"]["mean"] + 0.1
        assert set(methods["guide 4"]) >= {"above plain", "above our", "low", "high"}
