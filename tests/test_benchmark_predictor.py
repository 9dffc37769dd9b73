"""The benchmarks of predictors: of scores, and of latencies on a new device."""

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
from scipy.stats import kendalltau

from vitruvius.generator.space import get_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SPACE = get_space("nasbench201")


def module(name: str) -> ModuleType:
    """A module of the benchmarks' folder, which is no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


def record(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "name",
    ["surrogate", "gp-hamming", "gp-wl", "trees", "mlp-mse", "mlp-hinge", "gcn-hinge", "nn-former-hinge"],
)
def test_every_predictor_learns_what_is_easy(name: str) -> None:
    rows = SPACE.sample(160, np.random.default_rng(0))
    truth = np.array([0.0, 0.2, 0.6, 1.0, 0.1])[rows].sum(axis=1)
    predictor = module("_predictors").PREDICTORS[name]
    mean, deviation = predictor(SPACE, rows[:100], truth[:100] - truth.mean(), rows[100:], 3)
    agreement: Any = kendalltau(mean, truth[100:])
    assert mean.shape == deviation.shape == (60,) and (deviation >= 0).all()
    assert agreement.statistic > 0.5
    again, _ = predictor(SPACE, rows[:100], truth[:100] - truth.mean(), rows[100:], 3)
    np.testing.assert_array_equal(mean, again)


def test_embeddings_are_of_the_space_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    predictors = module("_predictors")
    monkeypatch.setattr(predictors, "ARCH2VEC_STEPS", 20)
    rows = SPACE.sample(40, np.random.default_rng(0))
    mean, _ = predictors.arch2vec(SPACE, rows[:30], (rows[:30] == 3).sum(axis=1) - 1.0, rows[30:], 0)
    assert np.isfinite(mean).all() and mean.std() > 0
    predictors._arch2vec.cache_clear()


def test_hinge_wants_a_margin_and_no_more() -> None:
    import torch

    networks = module("_graph_networks")
    targets = torch.tensor([0.0, 1.0, 2.0])
    apart = networks.MARGIN * torch.tensor([0.0, 1.1, 2.2])
    assert networks.hinge(apart, targets) == 0 and networks.hinge(10 * apart, targets) == 0
    assert networks.hinge(-apart, targets) > networks.hinge(0 * apart, targets) > 0


def test_predictors_rank_and_search(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    common = ("--tasks", "nasbench-graph/proteins", "--predictors", "surrogate,gp-hamming", "--seeds", "2")
    ranked = record("predictor.py", *common, "--labels", "20,40", "--out", str(out))
    cell = ranked["results"]["nasbench-graph/proteins"]["surrogate"]
    low, middle, high = (cell["40"]["tau"][i] for i in (1, 0, 2))
    assert 0 < low <= middle <= high < 1 and len(out.read_text().splitlines()) == 8
    found = record("predictor.py", "--part", "search", *common, "--labels", "6,11")["results"]
    first = [found["nasbench-graph/proteins"][name]["6"] for name in ("surrogate", "gp-hamming")]
    assert first[0] == first[1], "the first are the same for all"
    assert found["nasbench-graph/proteins"]["surrogate"]["11"][0] <= first[0][0]
    assert "6" in found["against"]["gp-hamming"]["tasks"]["nasbench-graph/proteins"]


def test_protocols_leave_out_what_they_say() -> None:
    latency = module("latency")
    devices = ["1080ti_1", "1080ti_32", "titanx_1", "fpga", "pixel2", "pixel3", "gold_6226"]
    assert latency.sources_of("1080ti_1", "one", devices) == devices[1:]
    assert latency.sources_of("1080ti_1", "kind", devices) == ["fpga", "pixel2", "pixel3", "gold_6226"]
    assert latency.sources_of("fpga", "kind", devices) == [d for d in devices if d != "fpga"]
    assert latency.sources_of("1080ti_1", "help", devices) is None
    sources = latency.sources_of("fpga", "help", devices)
    assert len(sources) == 9 and not set(sources) & set(latency.HELP_TEST)


@pytest.mark.tables
def test_latency_of_a_new_device(tables: Path) -> None:
    assert tables
    found = record("latency.py", "--protocols", "help", "--devices", "fpga", "--seeds", "1")["results"]
    methods = found["help"]["10"]
    assert methods["vitruvius, chosen"]["spearman"] > 0.98 > methods["FLOPs, chosen"]["spearman"] > 0.9
    assert methods["devices"]["fpga"]["HELP's rows"] == methods["vitruvius, chosen"]["spearman_help"]
