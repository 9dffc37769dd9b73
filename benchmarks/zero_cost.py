"""How zero-cost scores agree with NAS-Bench-201's CIFAR-10 accuracy, beside parameters and multiply-adds.

    python benchmarks/zero_cost.py --tables FOLDER --cells 300

Cells of `nasbench_suite_zero_subset.parquet` (NAS-Bench-Suite-Zero, whose authors published scores for them)
are scored on one batch of real CIFAR-10 images (`cifar10_jpeg.parquet`). Recorded are Spearman correlations
with the validation accuracy, with bootstrap 95 % intervals over cells; the same for the published scores on
the same cells; and how far our ranks are those of the published scores. The record is printed after every 50
cells, over all cells so far.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from _record import print_record
from numpy.typing import NDArray
from scipy.stats import rankdata

from vitruvius.generator.evaluation.scored import NAMES, Setup, ZeroCost
from vitruvius.generator.space import get_space

Array = NDArray[np.float64]
CONTROLS = ("params", "flops")
AT_ONCE = 50
"""Cells after which the record is printed anew."""


def images(folder: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first images of CIFAR-10's training part, (n, 3, 32, 32), and their labels; classes alternate."""
    from PIL import Image

    rows = pq.read_table(folder / "cifar10_jpeg.parquet", filters=[("split", "=", "train")]).slice(0, count)
    pictures = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in rows["jpeg"].to_pylist()]
    return np.stack(pictures).transpose(0, 3, 1, 2), np.array(rows["label"].to_pylist())


def published(folder: Path, count: int, draw: int) -> list[dict[str, Any]]:
    """Random NAS-Bench-201 cells of the suite with their CIFAR-10 validation accuracy and scores."""
    table = pq.read_table(
        folder / "nasbench_suite_zero_subset.parquet",
        filters=[("space", "=", "nasbench201"), ("dataset", "=", "cifar10")],
    ).to_pylist()
    rows = np.random.default_rng(draw).permutation(len(table))[:count]
    return [table[row] for row in rows]


def ranks(values: Array) -> Array:
    """Ranks; what is not defined is last, since such a network cannot learn."""
    return rankdata(np.where(np.isfinite(values), values, -np.inf))


def spearman(first: Array, second: Array) -> float:
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def given(score: Array, accuracy: Array, control: Array) -> float:
    """Partial Spearman correlation of score and accuracy given a control."""
    a, b, c = spearman(score, accuracy), spearman(score, control), spearman(accuracy, control)
    return (a - b * c) / float(np.sqrt((1 - b**2) * (1 - c**2)))


def with_interval(statistic: Any, *columns: Array) -> list[float]:
    """[estimate, low, high] by bootstrap over cells."""
    n, rng = len(columns[0]), np.random.default_rng(0)
    rows = [rng.integers(n, size=n) for _ in range(1000)]
    drawn = [statistic(*(column[row] for column in columns)) for row in rows]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(value), 3) for value in (statistic(*columns), low, high)]


def scored(cell: dict[str, Any], bench: Any, seconds: dict[str, float]) -> dict[str, float]:
    """Every score of a cell; the seconds that it took are added up by score."""
    architecture, found = bench.space.parse(cell["arch"]), dict[str, float]()
    for name in NAMES:
        start = time.perf_counter()
        found.update(bench.scores(architecture, [name]))
        seconds[name] += time.perf_counter() - start
    return found


def summary(cells: list[dict[str, Any]], ours: dict[str, Array], seconds: dict[str, float]) -> dict[str, Any]:
    """Correlations of our scores with accuracy, and beside the published ones."""
    accuracy = np.array([cell["val_accuracy"] for cell in cells])
    entries: dict[str, Any] = {}
    for name in NAMES:
        entry: dict[str, Any] = {
            "spearman": with_interval(spearman, ours[name], accuracy),
            "undefined": int((~np.isfinite(ours[name])).sum()),
            "seconds a cell": round(seconds[name] / len(cells), 3),
        }
        if name not in CONTROLS:
            entry["given params"] = with_interval(given, ours[name], accuracy, ours["params"])
            entry["minus params"] = with_interval(
                lambda s, a, p: spearman(s, a) - spearman(p, a), ours[name], accuracy, ours["params"]
            )
        theirs = np.array([np.nan if c[name] is None else c[name] for c in cells], dtype=np.float64)
        both = np.isfinite(theirs)
        if both.sum() > 2:
            entry["published"] = {
                "cells": int(both.sum()),
                "spearman": round(spearman(theirs[both], accuracy[both]), 3),
                "ours on the same": round(spearman(ours[name][both], accuracy[both]), 3),
                "our ranks with theirs": round(spearman(ours[name][both], theirs[both]), 4),
            }
        entries[name] = entry
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", default=os.environ.get("VITRUVIUS_TABLES"), help="folder of the tables")
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--draw", type=int, default=0, help="seed of the drawn cells")
    options = parser.parse_args()
    if options.tables is None:
        parser.error("give --tables FOLDER, or set VITRUVIUS_TABLES")
    folder = Path(options.tables)
    torch.set_num_threads(1)
    setup = Setup(batch=options.batch)
    # Half of these images are the training part that the batch is drawn from.
    evaluator = ZeroCost(
        "nwot", images(folder, 20 * options.batch), name="cifar10", setup=setup, split=(0.5, 0.5, 0.0)
    )
    bench = evaluator.open(get_space("nasbench201"), "cifar10")
    cells = published(folder, options.cells, options.draw)
    rows: list[dict[str, float]] = []
    seconds: dict[str, float] = {name: 0.0 for name in NAMES}
    settings = {"cells": options.cells, "batch": options.batch, "draw": options.draw}
    for cell in cells:
        rows.append(scored(cell, bench, seconds))
        print(len(rows), cell["val_accuracy"], json.dumps(rows[-1]), flush=True)
        if len(rows) % AT_ONCE == 0 or len(rows) == len(cells):
            ours = {name: np.array([row[name] for row in rows]) for name in NAMES}
            results = {
                "cells": len(rows), "device": bench.device,
                "scores": summary(cells[: len(rows)], ours, seconds),
            }  # fmt: skip
            print_record("zero_cost", [0], settings, results)


if __name__ == "__main__":
    main()
