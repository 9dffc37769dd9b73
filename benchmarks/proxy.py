"""How far scores of short training on small data agree with NAS-Bench-201's CIFAR-10 table.

    python benchmarks/proxy.py --table tables/nasbench201.parquet --cells 60
    python benchmarks/proxy.py --dataset cifar10_jpeg.parquet --limit 2000 --cells 60

Random cells are trained with a recipe of `Train` on a small data set; rank correlations with the table's
validation accuracy stand beside those of parameters and multiply-adds on the same cells, with bootstrap 95 %
intervals over cells. The table's test metrics are not read.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _record import print_record
from numpy.typing import NDArray
from scipy.stats import rankdata

from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import get_space

Columns = dict[str, NDArray[np.float64]]


def correlations(columns: Columns, rows: NDArray[np.intp]) -> dict[str, float]:
    """Spearman correlations with the table over these rows, and that of the score given parameters."""
    ranks = np.array([rankdata(columns[name][rows]) for name in ("table", "score", "params", "flops")])
    r = np.corrcoef(ranks)
    given = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    return {
        "score": r[0, 1], "params": r[0, 2], "flops": r[0, 3],
        "score minus params": r[0, 1] - r[0, 2], "score minus flops": r[0, 1] - r[0, 3],
        "score given params": given,
    }  # fmt: skip


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


def trained(train: Train, cells: int, draw: int) -> tuple[list[Measurement], float]:
    """Random cells, trained, and the wall time that it took."""
    space = get_space("nasbench201")
    rows = space.sample(cells, np.random.default_rng(draw))
    start = time.monotonic()
    found: list[Measurement] = []
    for measurement in train.open(space, train.images.name).measure(space.architectures(rows)):
        found.append(measurement)
        print(f"{len(found):3} {measurement.status} {measurement.score} {measurement.key}", flush=True)
    return [m for m in found if m.ok], time.monotonic() - start


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
    options = parser.parse_args()
    space = get_space("nasbench201")
    train = Train(options.dataset, recipe=options.recipe, workers=options.workers, limit=options.limit)
    found, seconds = trained(train, options.cells, options.draw)
    table = Table(options.table).open(space, "cifar10")
    cells = [space.parse(m.key) for m in found]
    # by class: the table and training may take different members of one
    known = {m.id: m.score for m in table.measure(cells)}
    columns = {
        "table": np.array([known[m.id] for m in found], dtype=np.float64),
        "score": np.array([m.score for m in found], dtype=np.float64),
        "params": np.array([m.params for m in found], dtype=np.float64),
        "flops": np.array([m.flops for m in found], dtype=np.float64),
    }
    settings = {
        "cells": options.cells, "draw": options.draw, "recipe": train.recipe.model_dump(),
        "dataset": train.images.name, "limit": options.limit,
    }  # fmt: skip
    results = {
        "spearman": with_intervals(columns, 2000),
        "score quantiles": np.quantile(columns["score"], [0, 0.25, 0.5, 0.75, 1]).round(2).tolist(),
        "distinct scores": len(set(columns["score"].tolist())),
        "seconds": round(seconds, 1),
        "failed": options.cells - len(found),
    }
    train.close()
    print_record("proxy", [0], settings, results)


if __name__ == "__main__":
    main()
