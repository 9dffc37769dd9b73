"""The search benchmark: runs, resumes, and ends with one JSON object."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.columns import write_columns
from vitruvius.generator.evaluation.table import Table, TableBench
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
        assert f"4 runs, {4 - done} of them to do" in again.stderr
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


def test_ag_net_moves_towards_what_scores_well() -> None:
    module, task = benchmark_module("_ag_net"), Task("nasbench-graph/cora")
    curve, again = module.ag_net(task, 64, 0), module.ag_net(task, 64, 0)
    assert len(set(curve.ids)) == len(curve.ids) == 64 and curve.ids == again.ids
    assert curve.ids[:16] == benchmark_module("_methods").random_search(task, 16, 0).ids
    scores = np.array(curve.scores, dtype=np.float64)
    assert scores[48:].mean() > scores[:16].mean() + 0.002


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
    both = {**regrets, "two": regrets["one"]}  # the same again tells nothing more
    wide, alone = (against(r, "ours", [10])["random"]["average"]["10"] for r in (both, regrets))
    assert wide == alone and alone[1] < alone[2]
    theirs[0, :20] = np.inf
    assert list(against(regrets, "ours", [10, 50])["theirs"]["tasks"]["one"]) == ["50"]


def test_curves_of_runs() -> None:
    paired = benchmark_module("_paired")
    found = paired.as_curves([[None, 3.0, 2.0], [4.0], []], 4)
    assert found.tolist() == [[np.inf, 3, 2, 2], [4, 4, 4, 4], [np.inf] * 4]
    assert paired.interval_of_all(found[:, 1]) is None
    assert paired.interval_of_all([1.0, None]) is None
    assert paired.interval_of_all(found[:2, 1]) == paired.interval([3.0, 4.0])


def test_the_same_in_disguise() -> None:
    common = ("--evaluations", "16", "--seeds", "1", "--methods", "random,gp-hamming")
    assert record(search(*common, "--rename"))["results"] == record(search(*common))["results"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "magic"), "unknown name 'magic'; allowed:"),
        (("--task", "nasbench-graph/coral", "--methods", "random"), "cora"),
        (("--set", "poool=3", "--methods", "vitruvius", "--seeds", "1"), "poool"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = search(*arguments)
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr


def test_free_scores_cost_no_evaluation(tables: Path) -> None:
    free = benchmark_module("_free_scores")
    task = Task("transnasbench101-micro/class_scene", evaluator=Table(tables))
    assert isinstance(task.bench, TableBench)
    zen = free.known_scores(task, "zen")
    curve = free.run_free("zen", task, 8, 0)
    places = task.bench.positions(task.space.parse_many(curve.keys))
    assert len(set(curve.ids)) == 8 and (np.diff(zen[places]) <= 0).all() and zen[places[0]] == zen.max()
    first = free.run_free("all-3x3", task, 3, 0).keys[0]
    assert first == "64-41414-3_33_333"
    source = free.source_of(task, "zen")
    assert source.label != task.label
    some = task.space.architectures(task.space.enumerate()[:5])
    assert [one.score for one in source.bench.measure(some)] == zen[:5].tolist()
    with pytest.raises(UserError, match="Allowed: zen"):
        source.sibling("cifar10")
    with pytest.raises(UserError, match="read no images"):
        free.flops(Task("nasbench-graph/cora").space)


def test_mean_curves_are_in_units_of_random_search() -> None:
    mean_curves = benchmark_module("_paired").mean_curves
    random = np.full((3, 50), 2.0)
    ours = random.copy()
    ours[0, 0], ours[:, 1:] = np.inf, 1.0
    found = mean_curves({"a": {"ours": ours, "random": random}, "b": {"ours": ours, "random": 2 * random}})
    assert found["ours"][:2] == [None, 0.375] and found["random"] == [1.0] * 50
    assert mean_curves({"a": {"ours": ours}}) == {}


def test_ablation_takes_parts_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = benchmark_module("ablation")
    monkeypatch.setitem(ablation.STARTS, "nothing", (("nasbench-graph/cs", ()),))
    small = {"reasoner": "none", "proposer": "uniform", "finetune_every": 0, "pool": 32, "local": 32}
    monkeypatch.setattr(ablation, "WHOLE", small)
    jobs = ablation.jobs_of("nothing", ["surrogate", "pruning", "fine-tuning"], 14, 2, 0)
    assert {job.part for job in jobs} == {"whole", "random", "surrogate"}  # the others need sources, or seeds
    assert jobs[-1].options == {**small, "selection": "random"} and len({job.key for job in jobs}) == 6
    done = {job.key: ablation.execute(job) for job in jobs}
    found = ablation.summarise(jobs, done, 14)
    mean, low, high, p = found["against"]["surrogate"]["tasks"]["nasbench-graph/cs"]["10"]
    whole, without = (found["regret"]["nasbench-graph/cs"][name]["10"][0] for name in ("whole", "surrogate"))
    assert mean == pytest.approx(whole - without, abs=1e-4) and low <= mean <= high and 0 < p <= 1


def test_a_space_described_in_a_file_is_searched(tmp_path: Path) -> None:
    """NAS-Bench-Macro's script, on numbers in its table's form: it writes the files a user would write."""
    texts = [np.base_repr(place, 3).zfill(8) for place in range(3**8)]
    score = np.array([sum(map(int, text)) for text in texts], dtype=np.float64)
    columns = {"arch": texts, "mean_acc": score, "params": score * 1e6, "flops": score * 1e6}
    write_columns(tmp_path / "nasbench_macro.parquet", columns)
    done = subprocess.run(
        [sys.executable, str(SEARCH.with_name("nasbench_macro.py")), "--methods", "random,local",
         "--evaluations", "20", "--seeds", "2"],
        capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path,
        env={**os.environ, "VITRUVIUS_TABLES": str(tmp_path)},
    )  # fmt: skip
    found = record(done)["results"]["nasbench-macro/cifar10"]
    assert found["local"]["20"]["valid_regret"][0] <= found["random"]["20"]["valid_regret"][0]
    assert found["random"]["20"]["valid_regret"][0] > 0


@pytest.mark.parametrize("method", ["gp-hamming", "nas-bowl", "tpe"])
def test_rivals_keep_to_what_a_table_has(method: str) -> None:
    if method == "tpe":
        pytest.importorskip("optuna")
    curve = benchmark_module("_methods").run_method(method, Task("nasbench-graph/proteins"), 14, 0, {})
    assert len(set(curve.ids)) == 14 and None not in curve.scores
