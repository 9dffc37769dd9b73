"""`benchmarks/generator.py`: runs small, resumes, ends with one JSON object; and its helpers."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvius.generator.proposers.base import Request
from vitruvius.generator.space import get_space

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True, scope="module")
def _helpers() -> Iterator[None]:
    """The helpers beside the benchmarks can be imported, as they import each other."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "generator.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_small_run_then_resume(tmp_path: Path) -> None:
    common = ("--quick", "--space", "transnasbench101-micro", "--work", str(tmp_path), "--draws", "200")
    common += ("--train-fraction", "0.5", "--prior-fraction", "0.5", "--continuous", "gvae")
    first = benchmark(*common)
    assert first.returncode == 0, first.stderr
    record = json.loads(first.stdout.splitlines()[-1])
    assert record["benchmark"] == "generator" and record["seeds"] == [0]
    results: dict[str, Any] = record["results"]
    assert set(results["priors"]["0.5"]["codes"]) == {
        "uniform-codes", "independent", "ngram", "transformer",
        "transformer, masked positions", "transformer, masked pairs",
    }  # fmt: skip
    for kind in ("codes", "decisions"):
        for figures in results["priors"]["0.5"][kind].values():
            assert figures["strict"][0] == figures["valid"][0]
            assert 0 < figures["valid_unique"][0] <= figures["valid_unique_keys"][0] <= 1
            assert figures["nats"][0] > 0.9 * results["ideal_nats"]
    assert (
        results["continuous"]["gvae"]["exact"][0] < 1 and 0 < results["codec"]["0.5"]["relabelling"][0] <= 1
    )
    assert set(results["little"]["100"]["decisions"]) == {"ngram", "transformer"}
    assert set(results["temperatures"]) == {"0.7"}
    again = benchmark(*common)
    assert json.loads(again.stdout.splitlines()[-1])["results"] == results
    assert "seed 0" not in again.stdout  # all from the work folder


def test_an_unknown_space_is_one_sentence(tmp_path: Path) -> None:
    result = benchmark("--space", "nasbench202", "--work", str(tmp_path))
    assert result.returncode == 1
    assert "'nasbench202'. Did you mean 'nasbench201'?" in result.stderr and "Traceback" not in result.stderr


def test_interval_over_seeds() -> None:
    module = importlib.import_module("_summaries")
    mean_interval, summarise = module.mean_interval, module.summarise

    assert mean_interval([5.0, 7.0, 9.0]) == pytest.approx(
        [7, 7 - 4.302653 * 2 / 3**0.5, 7 + 4.302653 * 2 / 3**0.5]
    )
    assert mean_interval([0.9, 1.0]) == [0.95, pytest.approx(0.314690), 1.0]  # a share ends at 1
    assert mean_interval([0.5]) == [0.5, None, None]
    assert mean_interval([0.5, None]) is None and mean_interval([None]) is None
    assert summarise([{"a": {"b": 1}, "c": "x"}, {"a": {"b": 3}}])["a"]["b"][0] == 2


def test_decisions_as_codes() -> None:
    DecisionCodec = importlib.import_module("_decisions").DecisionCodec

    codec = DecisionCodec(get_space("nasbench101"))
    rows = codec.space.sample(50, np.random.default_rng(0))
    assert (codec.length, codec.codebook_size) == (26, 4)
    assert (codec.decode(codec.encode(rows)) == rows).all()
    foreign = codec.encode(rows)
    foreign[0, 0] = 3  # an edge is there or not: there is no third token
    assert codec.space.valid(codec.decode(foreign)).tolist() == [False] + [True] * 49


def test_independent_codes() -> None:
    Independent = importlib.import_module("_priors").Independent

    table = Independent(np.array([[0.9, 0.1], [0.5, 0.5]]))
    assert table.nats(np.array([[0, 1]], dtype=np.int16)) == pytest.approx([-np.log(0.45)])
    assert table.draw(Request(20_000, 0)).codes.mean(axis=0) == pytest.approx([0.1, 0.5], abs=0.02)
    assert table.draw(Request(20_000, 0, temperature=0.5)).codes[:, 0].mean() == pytest.approx(
        1 / 82, abs=0.005
    )


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201"])
def test_graphs_are_read_strictly(name: str) -> None:
    read_graphs = importlib.import_module("_continuous").read_graphs

    space = get_space(name)
    rows = space.sample(100, np.random.default_rng(1))
    graphs = space.graphs(rows)
    labels, edges = graphs.labels.copy(), graphs.adjacency.copy()
    assert (read_graphs(labels, edges, space) == rows).all()
    labels[:50, 3] = 0  # an input in the middle
    edges[50:, 0, -1] ^= True  # one edge more or less
    back = read_graphs(labels, edges, space)
    assert (back[:50] == -1).all()
    assert (back[50:] == -1).all() if name == "nasbench201" else (back[50:] != rows[50:]).any(axis=1).all()


def test_tables() -> None:
    module = importlib.import_module("_tables")
    share, tables = module.share, module.tables

    assert (
        share([0.7386, 0.7365, 0.7407]) == "73.86 ± 0.21" and share([0.5, None, None]) == "50.00 (one seed)"
    )
    assert share([1.0, 1.0, 1.0]) == "100.00" and share(None) == "-"
    figures = {"strict": [1.0, 1.0, 1.0], "nats": [9.7, 9.6, 9.8], "training_seconds": [5.0, 5.0, 5.0]}
    codec = {
        name: [1.0, None, None]
        for name in ("exact", "architectures", "perplexity", "used", "relabelling", "told", "seconds")
    }
    results = {
        "codec": {"0.5": codec},
        "priors": {"0.5": {"codes": {"ngram": figures}}},
        "ceilings": {"0.5": {"unique": [0.3559, 0.3559, 0.3559]}},
        "continuous": {}, "temperatures": {}, "little": {},
    }  # fmt: skip
    lines = list(tables(results))
    assert "| ngram, codes | 100.00 | - | - | - | - | - | - | - | - | 9.70 ± 0.10 | 5 |" in lines
    assert "| *perfect sampler* | - | - | 35.59 | - | - | - | - | - | - | - | - |" in lines


def test_a_convex_performance_network() -> None:
    """Convex along every line, and only while its weights are bounded; uphill is what scores better."""
    module, torch = importlib.import_module("_convex"), importlib.import_module("torch")
    torch.manual_seed(0)

    def bends(convex: bool) -> Any:
        f = module.Performance(convex)
        ends = 3 * torch.randn(2, 500, 16)
        return (f(ends[0]) + f(ends[1])) / 2 - f(ends.mean(0))

    assert bends(True).min() > -1e-5 and bends(False).min() < -1e-3
    space = get_space("nasbench201")
    rows = space.enumerate()
    scores = (rows == 3).sum(axis=1) / 6
    control = importlib.import_module("_continuous").Continuous(
        "cr-lso", space, rows, seed=0, steps=300, scores=scores
    )
    known = rows[np.random.default_rng(0).permutation(len(rows))[:50]]
    drawn = module.Steered(control).draw(known, (known == 3).sum(axis=1) / 6, 60, seed=0)
    fresh = drawn[~np.isin(space.numbers(drawn), space.numbers(known))]
    assert (fresh == 3).sum(axis=1).mean() > (rows == 3).sum(axis=1).mean() + 1
