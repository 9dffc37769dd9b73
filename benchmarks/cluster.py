"""A search on many workers, in virtual time with real costs: speed-up, idle share, and quality.

    python benchmarks/cluster.py --tables FOLDER --workers 64 --evaluations 256 --seeds 8

NAS-Bench-201 on CIFAR-10: scores are those of the table, and a cell takes as long as its published 200-epoch
training did (`natsbench_tss_sample1000_times.parquet`). For cells that are not among its 1,000 the time is a
linear function of the operations, fitted there, times the relative error of one of its cells. Compared are
the session one after the other, in batches and without batches (`asynchronous`), and random search, at the
same number of evaluations. The record is printed after every seed, over all seeds so far.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from _paired import interval
from _record import print_record
from numpy.typing import NDArray

from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Measurement, Task
from vitruvius.generator.space import get_space
from vitruvius.testing.clusters import SimulatedBench, SimulatedCluster

HOUR = 3600.0
OPERATIONS = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect")


class Costs:
    """Seconds of the published 200-epoch training on CIFAR-10, by cell.

    Attributes:
        explained: Share of the variance among the published cells that the fit explains.
    """

    def __init__(self, folder: Path) -> None:
        """Read the published times and fit the rest."""
        table = pq.read_table(
            folder / "natsbench_tss_sample1000_times.parquet",
            columns=["arch_str", "cifar10_200ep_train_time_s"],
        )
        keys = table["arch_str"].to_pylist()
        times = np.array(table["cifar10_200ep_train_time_s"].to_pylist(), dtype=np.float64)
        rows = np.array([self._counts(key) for key in keys])
        self._weights = np.linalg.lstsq(rows, times, rcond=None)[0]
        fitted = rows @ self._weights
        self._errors = times / fitted
        self._known = dict(zip(keys, times.tolist(), strict=True))
        self.explained = 1.0 - float(np.var(times - fitted) / np.var(times))

    @staticmethod
    def _counts(key: str) -> list[float]:
        return [1.0, *(float(key.count(name)) for name in OPERATIONS)]

    def __call__(self, measurement: Measurement) -> float:
        """Seconds of a cell: the same whenever it is asked for."""
        key = measurement.key
        if key not in self._known:
            error = self._errors[int(hashlib.sha256(key.encode()).hexdigest(), 16) % len(self._errors)]
            self._known[key] = float(np.dot(self._counts(key), self._weights) * error)
        return self._known[key]


@dataclass(frozen=True)
class Way:
    """One way to search: workers, and options that differ from the defaults."""

    workers: int
    options: Mapping[str, Any]


def ways(workers: int) -> dict[str, Way]:
    """What is compared. The wide design in batches is as large as the crew, as it is without batches."""
    wide = {"initial": workers, "batch": workers}
    return {
        "one worker": Way(1, {}),
        "batches": Way(workers, {}),
        "wide batches": Way(workers, wide),
        "asynchronous": Way(workers, {"asynchronous": True}),
        "random": Way(workers, {"initial": 3, "selection": "random", "local": 0, "asynchronous": True}),
    }


def run(way: Way, costs: Costs, table: Table, evaluations: int, seed: int) -> tuple[SimulatedBench, float]:
    """One search; the bench knows what happened when, and the real seconds that a draw took."""
    cluster = SimulatedCluster(table, way.workers, costs)
    settings: dict[str, Any] = {"proposer": "uniform", "finetune_every": 0, "reasoner": "none", **way.options}
    start = time.monotonic()
    with Session(Task("nasbench201/cifar10", cluster), seed=seed, **settings) as session:
        session.run(evaluations)
    return cluster.benches["cifar10"], (time.monotonic() - start) / evaluations


def best_at(bench: SimulatedBench, hours: Sequence[float]) -> list[float]:
    """Best validation accuracy after so many virtual hours."""
    ends = np.array([clock for clock, _ in bench.finished]) / HOUR
    best = np.maximum.accumulate([m.score or 0.0 for _, m in bench.finished])
    return [float(best[max(int(np.searchsorted(ends, hour, side="right")) - 1, 0)]) for hour in hours]


def told(values: Sequence[float], digits: int = 3) -> list[float]:
    """[mean, low, high]: 95 % bootstrap interval of the mean over seeds."""
    return interval(values, digits, resamples=2000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", default=os.environ.get("VITRUVIUS_TABLES"), help="folder of the tables")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--evaluations", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ways", default="", help="only these, with commas")
    options = parser.parse_args()
    if options.tables is None:
        parser.error("give --tables FOLDER, or set VITRUVIUS_TABLES")
    folder, seeds = Path(options.tables), list(range(options.seeds))
    costs, table = Costs(folder), Table(folder / "nasbench201.parquet")
    optimum = optimum_of(table)
    compared = ways(options.workers)
    chosen = options.ways.split(",") if options.ways else list(compared)
    found: dict[str, list[tuple[SimulatedBench, float]]] = {name: [] for name in chosen}
    settings = {"workers": options.workers, "evaluations": options.evaluations, "ways": chosen}
    for seed in seeds:
        for name in chosen:
            bench, draw = run(compared[name], costs, table, options.evaluations, seed)
            found[name].append((bench, draw))
            best = best_at(bench, [bench.clock / HOUR])[0]
            print(f"seed {seed} {name}: {bench.clock / HOUR:.1f} h, regret {optimum - best:.3f}", flush=True)
        results = {
            "optimum": optimum,
            "cost fit R2": round(costs.explained, 4),
            "ways": summary(found, compared, optimum, options.evaluations),
        }
        print_record("cluster", seeds[: seed + 1], settings, results)


def summary(
    found: Mapping[str, Sequence[tuple[SimulatedBench, float]]],
    compared: Mapping[str, Way],
    optimum: float,
    evaluations: int,
) -> dict[str, Any]:
    """What came out of each way, over seeds; `hours` of the fastest are where all are compared."""
    shortest = min(float(np.mean([b.clock for b, _ in runs])) for runs in found.values()) / HOUR
    hours = [shortest / 2, shortest]
    told_ways: dict[str, Any] = {}
    for name, runs in found.items():
        workers, benches = compared[name].workers, [bench for bench, _ in runs]
        told_ways[name] = {
            "workers": workers,
            "hours": told([b.clock / HOUR for b in benches], 2),
            "speed-up": told([b.busy / b.clock for b in benches], 2),
            "idle share": told([1 - b.busy / (b.clock * workers) for b in benches]),
            "regret": told([optimum - best_at(b, [b.clock / HOUR])[0] for b in benches]),
            "regret at hours": {
                f"{hour:.1f}": told([optimum - best_at(b, [hour])[0] for b in benches]) for hour in hours
            },
            "regret after evaluations": {
                str(n): told([optimum - max(m.score or 0.0 for _, m in b.finished[:n]) for b in benches])
                for n in (64, 128, 192, 256)
                if n <= evaluations
            },
            "real seconds an evaluation": round(float(np.median([draw for _, draw in runs])), 3),
        }
    return told_ways


def optimum_of(table: Table) -> float:
    """The best validation accuracy of the space."""
    space = get_space("nasbench201")
    bench = table.open(space, "cifar10")
    every: NDArray[np.float64] = np.array(
        [m.score for m in bench.measure(space.architectures(space.enumerate())) if m.ok], dtype=np.float64
    )
    return float(every.max())


if __name__ == "__main__":
    main()
