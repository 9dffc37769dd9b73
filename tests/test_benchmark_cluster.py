"""The benchmark of many workers: runs, and its figures are those of what it simulated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[1] / "benchmarks" / "cluster.py"


@pytest.mark.tables
def test_side_by_side_is_faster_and_no_worker_waits_without_batches(tables: Path):
    command = [sys.executable, str(CLUSTER), "--tables", str(tables), "--workers", "4", "--evaluations", "24",
               "--seeds", "1", "--ways", "one worker,batches,asynchronous"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert results["cost fit R2"] > 0.98, "as the data's own description says"
    one, batches, free = (results["ways"][name] for name in ("one worker", "batches", "asynchronous"))
    assert one["speed-up"][0] == pytest.approx(1) and one["idle share"][0] == pytest.approx(0, abs=1e-6)
    assert 1 < batches["speed-up"][0] < free["speed-up"][0] <= 4
    assert free["idle share"][0] < 0.2 < batches["idle share"][0]
    assert free["hours"][0] < batches["hours"][0] < one["hours"][0]
    assert all(way["regret"][0] >= 0 for way in results["ways"].values())
