"""The serving benchmark: it runs on a trained model, and ends with one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vitruvius.generator.library import CodeModel

SERVING = Path(__file__).parents[1] / "benchmarks" / "serving.py"


def serving(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SERVING), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_proposers_take_turns(code_model: CodeModel) -> None:
    names = "uniform,ngram,transformers"
    result = serving(
        "--models", str(code_model.folder), "--draws", "64", "--repeats", "2", "--proposers", names
    )
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout.splitlines()[-1])
    assert set(record) == {"benchmark", "commit", "device", "seeds", "settings", "results"}
    found = record["results"]
    assert list(found["proposers"]) == names.split(",") and "vllm" not in found
    for figures in found["proposers"].values():
        median, low, high = figures["per_second"]
        assert 0 < low <= median <= high and 0.5 < figures["valid_unique"][0] <= 1
    assert all(speed[0] > 1000 for name, speed in found["text"].items() if "per second" in name)
    assert found["device_limit"] == "no GPU: not measured" or found["device_limit"]["batches"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--proposers", "magic"), "unknown proposer 'magic'"),
        (("--space", "nasbench2"), "nasbench201"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = serving(*arguments)
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr
