"""How far cheap scores on small data agree with NAS-Bench-201's CIFAR-10 table.

    python benchmarks/proxy.py --cells 60 --draw 8
    python benchmarks/proxy.py --cells 60 --draw 8 --dataset cifar10_jpeg.parquet --limit 2000
    python benchmarks/proxy.py --cells 60 --draw 8 --evaluator zero-cost --dataset mnist

Random cells are trained with a recipe of `Train`, or scored untrained; rank correlations with the table's
validation accuracy stand beside those of parameters and multiply-adds on the same cells, with 95 % intervals
by paired bootstrap over cells. A cell without a score (diverged, or blind to its input) counts as the worst.
The table's test metrics are not read.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _record import print_record
from numpy.typing import NDArray
from scipy.stats import rankdata

from vitruvius.generator.evaluation.scored import ZeroCost
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import get_space

Columns = dict[str, NDArray[np.float64]]


def correlations(columns: Columns, rows: NDArray[np.intp]) -> dict[str, float]:
    """Spearman correlations with the table over these rows, and those of the score given the size."""
    ranks = np.array([rankdata(columns[name][rows]) for name in ("table", "score", "params", "flops")])
    r = np.corrcoef(ranks)
    found = {"score": r[0, 1], "params": r[0, 2], "flops": r[0, 3]}
    for place, name in ((2, "params"), (3, "flops")):
        found[f"score minus {name}"] = r[0, 1] - r[0, place]
        both = np.sqrt((1 - r[0, place] ** 2) * (1 - r[1, place] ** 2))
        found[f"score given {name}"] = (r[0, 1] - r[0, place] * r[1, place]) / both
    return found


def with_intervals(columns: Columns, draws: int) -> dict[str, list[float]]:
    """Each correlation as [estimate, low, high], by bootstrap over cells."""
    n = len(columns["table"])
    rng = np.random.default_rng(0)
    drawn = [correlations(columns, rng.integers(n, size=n)) for _ in range(draws)]
    found: dict[str, list[float]] = {}
    for name, estimate in correlations(columns, np.arange(n)).items():
        low, high = np.quantile([d[name] for d in drawn], [0.025, 0.975])
        found[name] = [round(float(value), 3) for value in (estimate, low, high)]
    return found


def measured(evaluator: Train | ZeroCost, cells: int, draw: int) -> tuple[list[Measurement], float]:
    """Random cells, measured, and the wall time that it took."""
    space = get_space("nasbench201")
    rows = space.sample(cells, np.random.default_rng(draw))
    start = time.monotonic()
    found: list[Measurement] = []
    for measurement in evaluator.open(space, evaluator.images.name).measure(space.architectures(rows)):
        found.append(measurement)
        print(f"{len(found):3} {measurement.status} {measurement.score} {measurement.key}", flush=True)
    return found, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--table", default=None, help="the Parquet table; by default through VITRUVIUS_TABLES"
    )
    parser.add_argument("--cells", type=int, default=30)
    parser.add_argument("--draw", type=int, default=7, help="seed of the random cells")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dataset", default="digits", help="as `Train` takes it")
    parser.add_argument("--limit", type=int, default=None, help="most images for training")
    parser.add_argument("--recipe", default="fast", help="name or TOML file")
    parser.add_argument("--evaluator", choices=("train", "zero-cost"), default="train")
    parser.add_argument("--score", default="nwot", help="of zero-cost")
    options = parser.parse_args()
    space = get_space("nasbench201")
    evaluator: Train | ZeroCost
    how: dict[str, Any]
    if options.evaluator == "train":
        evaluator = Train(
            options.dataset, recipe=options.recipe, workers=options.workers, limit=options.limit
        )
        how = {"recipe": evaluator.recipe.model_dump(), "limit": options.limit}
    else:
        evaluator = ZeroCost(options.score, options.dataset)
        how = {"score": options.score}
    found, seconds = measured(evaluator, options.cells, options.draw)
    table = Table(options.table).open(space, "cifar10")
    cells = [space.parse(m.key) for m in found]
    # by class: the table and training may take different members of one
    known = {m.id: m.score for m in table.measure(cells)}
    costs = table.costs(space.rows(cells))
    columns = {
        "table": np.array([known[m.id] for m in found], dtype=np.float64),
        "score": np.array([-np.inf if m.score is None else m.score for m in found]),
        "params": costs["params"],
        "flops": costs["flops"],
    }
    settings = {
        "cells": options.cells, "draw": options.draw, "evaluator": options.evaluator,
        "dataset": evaluator.images.name, **how,
    }  # fmt: skip
    scored = [m.score for m in found if m.score is not None]
    results = {
        "spearman": with_intervals(columns, 2000),
        "score quantiles": np.quantile(scored, [0, 0.25, 0.5, 0.75, 1]).round(2).tolist(),
        "distinct scores": len(set(scored)),
        "seconds": round(seconds, 1),
        "seconds in training": round(sum(m.seconds for m in found), 1),
        "failed": len(found) - len(scored),
    }
    if isinstance(evaluator, Train):
        evaluator.close()
    print_record("proxy", [0], settings, results)


if __name__ == "__main__":
    main()
