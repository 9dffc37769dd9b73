"""Zero-cost scores and latency: against values worked out by hand, published values, and faults."""

# pyright: reportPrivateUsage=false, reportCallIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import copy
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from vitruvius.cli.commands import app
from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.evaluation import latency as timing
from vitruvius.generator.evaluation.latency import find_device, measure_latency
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.scored import NAMES, Setup, ZeroCost
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Draw, Measurement, Status, stream
from vitruvius.generator.evaluation.timed import Timed
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.zero_cost import SCORES, score_network
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import Architecture, SearchSpace, get_space
from vitruvius.testing.evaluators import EvaluatorContract

SPACE = get_space("nasbench201")
CHAIN = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
NOTHING = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
TINY = Setup(batch=8, width=4, cells=1, device="cpu")


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, 8, 8, generator=rng), torch.randint(0, 3, (n,), generator=rng)


class TestZeroCost(EvaluatorContract):
    @pytest.fixture(scope="class")
    def evaluator(self) -> ZeroCost:
        return ZeroCost("synflow", setup=TINY)

    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE


class TestTimed(EvaluatorContract):
    n = 2

    @pytest.fixture(scope="class")
    def evaluator(self) -> Iterator[Timed]:
        train = Train(recipe=Recipe(epochs=1, width=2, batch=128), device="cpu", workers=1)
        yield Timed(train, batch=2, device="cpu")
        train.close()

    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE


# ---- the scores ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "synflow"),
    [
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|none~1|skip_connect~2|", 31.212),
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|none~2|", 31.512),
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|", 60.878),
    ],
)  # fmt: skip
def test_synflow_is_what_nas_bench_suite_zero_published(arch: str, synflow: float):
    torch.manual_seed(0)
    network = build_network(SPACE.parse(arch), classes=10)
    x, y = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    assert score_network(network, x, y, ["synflow"])["synflow"] == pytest.approx(synflow, abs=0.4)


def test_synflow_of_two_layers_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1, bias=False)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
        network[3].weight.copy_(torch.tensor([[-5.0, 7.0]]))
    x = torch.zeros(1, 1, 1, 1)
    flow = 2 * 5 + 3 * 7  # the sum over paths; each of two layers sees all of it
    assert score_network(network, x, torch.zeros(1), ["synflow"])["synflow"] == pytest.approx(
        math.log(2 * flow)
    )


def test_nwot_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    x = torch.tensor([[1.0, 1, -1, 1], [1, -1, -1, -1], [-1, -1, 1, 1]]).view(3, 1, 2, 2)
    alike = np.array([[4, 2, 1], [2, 4, 1], [1, 1, 4]])
    found = score_network(network, x, torch.zeros(3), ["nwot"])["nwot"]
    assert found == pytest.approx(np.linalg.slogdet(alike)[1])


def test_jacov_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.ReLU())  # the gradient of an image is where it is above zero
    x = torch.tensor([[1.0, 1, -1, 1], [1, -1, -1, -1], [-1, -1, 1, 1]]).view(3, 1, 2, 2)
    values = np.linalg.eigvalsh(np.corrcoef((x > 0).flatten(1).numpy().astype(float))).clip(0) + 1e-5
    found = score_network(network, x, torch.zeros(3), ["jacov"])["jacov"]
    assert found == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-4)


def test_grad_norm_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x, y = batch()
    nn.functional.cross_entropy(network(x), y).backward()
    wanted = float(network[1].weight.grad.norm())
    network.zero_grad()
    assert score_network(network, x, y, ["grad_norm"])["grad_norm"] == pytest.approx(wanted)


def test_scores_leave_the_network_and_the_random_state_alone():
    network = build_network(CHAIN, classes=3, in_channels=1, width=4, cells=1)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    x, y = batch()
    first = score_network(network, x, y, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert set(first) == set(SCORES) and all(math.isfinite(value) for value in first.values())
    assert score_network(network, x, y, seed=1) == first
    changed = score_network(network, x, y, seed=2)
    assert {name for name in first if first[name] != changed[name]} == {"snip", "zen"}, "these draw weights"


def test_a_network_that_does_not_see_its_input_has_no_score():
    evaluator = ZeroCost("nwot", setup=TINY)
    (found,) = evaluator.open(SPACE, "digits").measure([NOTHING])
    assert found.status is Status.INVALID and "does not depend on its input" in found.reason
    scores = evaluator.open(SPACE, "digits").scores(NOTHING)
    assert {name for name, value in scores.items() if math.isnan(value)} == {
        "nwot",
        "synflow",
        "jacov",
        "zen",
    }
    assert scores["params"] > 0


def test_params_and_flops_are_those_of_training():
    scored, trained = (e.open(SPACE, "digits") for e in (
        ZeroCost("flops", setup=Setup(batch=8, width=8, cells=1)), Train(recipe=Recipe(width=8, cells=1))))  # fmt: skip
    (m,) = scored.measure([CHAIN])
    wanted = trained.costs(CHAIN.row)
    assert (m.score, m.params) == (wanted["flops"][0], wanted["params"][0])


@pytest.mark.parametrize("space", ["darts", "nasbench101", "transnasbench101-micro"])
def test_other_spaces_are_scored(space: str):
    there = get_space(space)
    bench = ZeroCost("nwot", setup=Setup(batch=4, width=4, cells=1, device="cpu")).open(there, "digits")
    (one,) = there.architectures(there.sample(1, np.random.default_rng(1)))
    assert set(bench.scores(one)) == set(NAMES)


def test_what_cannot_be_scored_is_refused():
    x, y = batch()
    with pytest.raises(UnknownNameError, match=r"zero-cost score 'nwt'.*'nwot'"):
        score_network(nn.Flatten(), x, y, ["nwt"])
    with pytest.raises(UserError, match=r"has none"):
        score_network(nn.Flatten(), x, y, ["nwot"])
    with pytest.raises(UnknownNameError, match="'synflo'"):
        ZeroCost("synflo")
    with pytest.raises(UserError, match="batch=1"):
        ZeroCost(setup=Setup(batch=1))


# ---- latency ---------------------------------------------------------------------------------


class Slow(nn.Module):
    """Moves a clock of the test forward by what it was told."""

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        super().__init__()
        self.clock, self.seconds, self.passes = clock, seconds, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training and torch.is_inference_mode_enabled()
        self.clock[0] += self.seconds[min(self.passes, len(self.seconds) - 1)]
        self.passes += 1
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_the_warm_up_is_not_timed_and_the_median_is_told_with_its_spread(clock: list[float]):
    network = Slow(clock, [1.0] * 3 + [0.1] * 7 + [0.001, 0.002, 0.003, 0.004, 0.1])
    taken = measure_latency(network, (1, 4, 4), batch=3, device="cpu", runs=5)
    assert (taken.median, taken.low, taken.high) == pytest.approx((3.0, 2.0, 4.0))
    assert (taken.runs, taken.batch, taken.energy) == (5, 3, None) and taken.name.endswith(", batch 3")
    assert "3.000 ms [2.000, 4.000]" in str(taken)


def test_a_slow_network_is_timed_three_times_at_least_and_no_more(clock: list[float]):
    network = Slow(clock, [30.0])
    taken = measure_latency(network, (1, 4, 4), device="cpu")
    assert taken.runs == 3 and network.passes == 6


def test_devices_are_checked():
    assert find_device("cpu") == "cpu"
    with pytest.raises(UserError, match="Unknown device 'tpu'"):
        find_device("tpu")
    with pytest.raises(UserError, match="'cuda:99' is not there"):
        find_device("cuda:99")
    with pytest.raises(UserError, match="batch=0"):
        measure_latency(nn.Flatten(), (1, 4, 4), batch=0, device="cpu")


def test_energy_is_what_the_driver_counts_over_many_passes(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
):
    joules = iter([0.0, 100.0, 100.0 + 8 * 5.0])  # asked once whether it counts, then before and after
    nvml: Any = types.SimpleNamespace(
        NVMLError=RuntimeError, nvmlInit=lambda: None, nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: {"GPU-abc": 1}[uuid],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(joules),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="abc"))
    network = Slow(clock, [0.25]).eval()
    with torch.inference_mode():
        x = torch.zeros(1)
        assert timing._energy(lambda: network(x), "cuda:0") == 5.0
    assert network.passes == 8

    def silent(handle: int) -> float:
        raise RuntimeError("not supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = silent
    assert timing._energy(lambda: None, "cuda:0") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert timing._energy(lambda: None, "cuda:0") is None


def test_latency_is_kept_in_the_measurement_by_device_and_batch():
    timed = Timed(ZeroCost("synflow", setup=TINY), batch=2, device="cpu").open(SPACE, "digits")
    (found,) = timed.measure([CHAIN])
    ((name, milliseconds),) = found.latency.items()
    assert name == f"{timing.device_name('cpu')}, batch 2" and milliseconds > 0
    (plain,) = ZeroCost("synflow", setup=TINY).open(SPACE, "digits").measure([CHAIN])
    assert found.identity == plain.identity and found.score == plain.score
    with pytest.raises(UserError, match="builds no networks"):
        Timed(Table()).open(get_space("nasbench-graph"), "cora")


def test_what_is_measured_side_by_side_is_timed_while_nothing_is(monkeypatch: pytest.MonkeyPatch):
    """Both places of the bench inside are used, and none is timed while another one is being measured."""
    timed = Timed(ZeroCost("params", setup=TINY), device="cpu").open(SPACE, "digits")
    plain, events, left = (
        timed.inner,
        list[str](),
        SPACE.architectures(SPACE.sample(5, np.random.default_rng(0))),
    )

    def side_by_side(draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
        out = list(draw(2))
        while out:
            events.append(f"{len(out)} out")
            yield next(iter(plain.measure([out.pop(0)], seed=seed)))
            out += draw(2 - len(out))

    def draw(places: int) -> list[Architecture]:
        taken = left[:places]
        del left[:places]
        return taken

    monkeypatch.setattr(plain, "stream", side_by_side, raising=False)
    monkeypatch.setattr(timed, "_build", lambda architecture: events.append("timed"))
    monkeypatch.setattr(
        timing, "measure_latency", lambda *_, **__: types.SimpleNamespace(name="here", median=2.0)
    )
    found = list(stream(timed, draw))
    assert [dict(m.latency) for m in found] == [{"here": 2.0}] * 5
    assert events == ["timed"] * 2 + ["2 out", "1 out"] + ["timed"] * 2 + ["2 out", "1 out", "timed", "1 out"]


# ---- the command line ------------------------------------------------------------------------


def test_score_prints_and_writes_a_table(tmp_path: Path):
    import pyarrow.parquet as pq

    out = tmp_path / "scores.parquet"
    common = ["score", "nasbench201", "--images", "8", "--width", "4", "--cells", "1", "--device", "cpu"]
    done = CliRunner().invoke(
        app, [*common, "-a", CHAIN.key, "-a", NOTHING.key, "--sample", "1", "--latency", "2", "--out", str(out)],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["nwot", "synflow", "params", "flops", "ms,", "batch", "2", "architecture"]
    assert lines[2].endswith(CHAIN.key) and "undefined" in lines[3]
    kept = pq.read_table(out).to_pydict()
    assert kept["key"][:2] == [CHAIN.key, NOTHING.key] and len(kept["key"]) == 3
    assert kept["ms, batch 2"][0] > 0
    for arguments, message in (
        ([], "Nothing to score"),
        (["-a", CHAIN.key, "--out", str(out)], "exists already"),
    ):
        with pytest.raises(UserError, match=message):
            CliRunner().invoke(app, [*common, *arguments], catch_exceptions=False)
