r"""Latency of all architectures on a new device, from a few that were timed and the tables of other devices.

Each device of NAS-Bench-201's latency table is the new one in turn. Protocols: `one`, all other devices are
sources; `kind`, those of its kind are left out too (GPUs, CPUs, phones: the same card at another batch size
is nearly the same device); `help`, HELP's own: nine devices are sources, six new (Lee et al., NeurIPS 2021).
The last line printed is one JSON object; `results[protocol][timed][method]` has means over devices of
Spearman's correlation over all that was not timed and over HELP's test rows, of the median relative error
(`off`), and of the error that the predictor expects of itself (`expected`, `left_out`).

    VITRUVIUS_TABLES=FOLDER python benchmarks/latency.py --timed 5,10,20,50 --seeds 10
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from _record import print_record
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import distances, extract
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.errors import UserError
from vitruvius.generator.evaluation.columns import read_columns
from vitruvius.generator.evaluation.latency_predictor import (
    ASSUMED,
    DECISIONS,
    NOISE,
    OFFSET,
    OPERATIONS,
    LatencySources,
)
from vitruvius.generator.evaluation.table import TableBench
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices

Array = NDArray[np.float64]
TASK = "nasbench201/cifar10"
HELP_TRAIN = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3",
    "essential_ph_1", "samsung_s7",
)  # fmt: skip
HELP_TEST = ("titan_rtx_256", "gold_6226", "pixel2", "raspi4", "eyeriss", "fpga")
GRAPH = "graph convolution from scratch"
HELP_ROWS = slice(900, 1900)
"""By the benchmark's index; of these HELP tests the middle 80 % by latency."""
KINDS = {
    "gpu": ("1080ti", "2080ti", "titan"),
    "cpu": ("silver", "gold"),
    "phone": ("samsung", "pixel", "essential"),
}


class Lab:
    """The table, and what a method may see of it when a device is new."""

    def __init__(self) -> None:
        """Read the table of `TASK`."""
        self.task = Task(TASK)
        bench = self.task.bench
        assert isinstance(bench, TableBench)
        self.rows = self.task.space.enumerate()
        self.costs = dict(bench.costs(self.rows))
        self.index = _index(bench, self.rows)
        self.devices = bench.devices

    def known(self, sources: Sequence[str]) -> Callable[[Choices], Mapping[str, Array]]:
        """What is known without measuring where these devices are sources."""
        names = ["params", "flops", *(f"latency[{device}]" for device in sources)]
        numbers = self.task.space.numbers(self.rows)

        def costs(rows: Choices) -> Mapping[str, Array]:
            places = np.searchsorted(numbers, self.task.space.numbers(rows))
            return {name: self.costs[name][places] for name in names}

        return costs

    def truth(self, device: str) -> Array:
        """Milliseconds of all rows."""
        return self.costs[f"latency[{device}]"]


def _index(bench: TableBench, rows: Choices) -> Array:
    """The benchmark's index of rows (n, D): (n,)."""
    read = read_columns(bench.path, ["arch_str", "index"])
    texts, index = read["arch_str"], read["index"]
    assert isinstance(texts, list) and not isinstance(index, list)
    named = dict(zip(texts, index.tolist(), strict=True))
    return np.array([named[key] for key in bench.space.keys(rows)], dtype=np.float64)


def sources_of(device: str, protocol: str, devices: Sequence[str]) -> list[str] | None:
    """Devices whose tables are sources, None where the protocol does not test this device."""
    if protocol == "help":
        return list(HELP_TRAIN) if device in HELP_TEST else None
    same = {device} if protocol == "one" else {other for other in devices if kind(other) == kind(device)}
    return [other for other in devices if other not in same]


def kind(device: str) -> str:
    """What a device is; those that are nothing else are of their own kind."""
    return next((name for name, starts in KINDS.items() if device.startswith(starts)), device)


def ours(
    known: LatencySources, lab: Lab, timed: NDArray[np.intp], truth: Array
) -> tuple[Array, dict[str, float]]:
    """The product: all predictions, and the errors that it expects."""
    rows = lab.rows[timed]
    costs = {name: lab.costs[name] for name in known.names}
    found = known.fit(rows, truth[timed], {name: column[timed] for name, column in costs.items()})
    return found.predict(lab.rows, costs), {"expected": found.error, "left_out": found.left_out}


def nearest(lab: Lab, sources: Sequence[str], timed: NDArray[np.intp], truth: Array) -> Array:
    """Control: the source that ranks what was timed most alike, scaled to it."""
    fits = [spearman(lab.truth(source)[timed], truth[timed]) for source in sources]
    return _scaled(lab.truth(sources[int(np.nanargmax(fits))]), timed, truth)


def mean_rank(lab: Lab, sources: Sequence[str], timed: NDArray[np.intp], truth: Array) -> Array:
    """Control: the mean rank over the sources, scaled to what was timed."""
    ranks = np.mean([rankdata(lab.truth(source)) for source in sources], axis=0)
    return _scaled(np.exp(ranks / len(ranks)), timed, truth)


def flops(lab: Lab, timed: NDArray[np.intp], truth: Array) -> Array:
    """Control: FLOPs, scaled to what was timed."""
    return _scaled(lab.costs["flops"], timed, truth)


def ridge(lab: Lab, timed: NDArray[np.intp], truth: Array) -> Array:
    """From scratch: ridge on one-hot decisions, penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    hot = np.concatenate(
        [lab.rows[:, [i]] == np.arange(lab.rows.max() + 1) for i in range(lab.rows.shape[1])], axis=1
    )
    model = RidgeCV(alphas=np.logspace(-2, 2, 9)).fit(hot[timed], np.log(truth[timed]))
    return np.exp(model.predict(hot))


def process(lab: Lab, timed: NDArray[np.intp], truth: Array) -> Array:
    """From scratch: the surrogate of a session, on log latency."""
    features = extract(lab.task.space, lab.rows)
    logs = np.log(truth[timed])
    centre, deviation = logs.mean(), max(float(logs.std()), 1e-9)
    known = features.take(timed)
    across = distances(known, features)
    prior = prior_weights(across.mean(axis=(1, 2)), lab.rows.shape[1])
    fitted = GaussianProcess.fit(distances(known, known), (logs - centre) / deviation, prior)
    white = fitted.whiten(fitted.covariance(across))
    return np.exp(centre + deviation * (fitted.whiten(((logs - centre) / deviation)[:, None])[:, 0] @ white))


def graph(lab: Lab, timed: NDArray[np.intp], truth: Array) -> Array:
    """From scratch: a graph convolution, as BRP-NAS (Dudziak et al., NeurIPS 2020), on log latency."""
    from _graph_networks import network_predictions

    logs = np.log(truth[timed])
    centre, deviation = logs.mean(), max(float(logs.std()), 1e-9)
    targets = (logs - centre) / deviation
    found = network_predictions("gcn", "mse", lab.task.space, lab.rows[timed], targets, lab.rows, 0)
    return np.exp(centre + deviation * found)


def _scaled(proxy: Array, timed: NDArray[np.intp], truth: Array) -> Array:
    """A line in logarithms through what was timed."""
    x, y = np.log(proxy), np.log(truth)
    spread = float(x[timed].var())
    slope = float(np.cov(x[timed], y[timed], bias=True)[0, 1]) / spread if spread > 0 else 0.0
    return np.exp(y[timed].mean() + max(slope, 1e-3) * (x - x[timed].mean()))


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation."""
    found: Any = spearmanr(x, y)
    return float(found.statistic)


def judge(predicted: Array, truth: Array, timed: NDArray[np.intp], index: Array) -> dict[str, float]:
    """Spearman over all that was not timed, over HELP's test rows, and half of the relative errors."""
    rest = np.setdiff1d(np.arange(len(truth)), timed)
    places = np.argsort(index)[HELP_ROWS]
    middle = places[np.argsort(truth[places], kind="stable")][100:900]
    return {
        "spearman": spearman(predicted[rest], truth[rest]),
        "spearman_help": spearman(predicted[middle], truth[middle]),
        "off": float(np.median(np.abs(predicted[rest] / truth[rest] - 1.0))),
    }


def run_device(
    lab: Lab, device: str, sources: list[str], n: int, seeds: int, graphs: bool
) -> dict[str, dict[str, float]]:
    """Figures of every method on one new device, means over the draws of what is timed."""
    truth, known = lab.truth(device), LatencySources(lab.task.space, lab.known(sources))
    telling = _places(lab, known.telling(n))
    drawn = [np.random.default_rng([7, seed]).choice(len(truth), n, replace=False) for seed in range(seeds)]
    found: dict[str, list[dict[str, float]]] = {}
    for name, designs in (("chosen", [telling]), ("random", drawn)):
        for timed in designs:
            began = time.perf_counter()
            predicted, told = ours(known, lab, timed, truth)
            seconds = time.perf_counter() - began
            figures = judge(predicted, truth, timed, lab.index) | told | {"seconds": seconds}
            found.setdefault(f"vitruvius, {name}", []).append(figures)
            rivals = {
                "nearest source": nearest(lab, sources, timed, truth),
                "mean rank of sources": mean_rank(lab, sources, timed, truth),
                "FLOPs": flops(lab, timed, truth),
                "one-hot ridge from scratch": ridge(lab, timed, truth),
                "Gaussian process from scratch": process(lab, timed, truth),
            }
            if graphs and f"{GRAPH}, {name}" not in found:  # slow: one draw is enough
                rivals[GRAPH] = graph(lab, timed, truth)
            for rival, guess in rivals.items():
                found.setdefault(f"{rival}, {name}", []).append(judge(guess, truth, timed, lab.index))
    return {
        name: {key: float(np.mean([one[key] for one in runs])) for key in runs[0]}
        for name, runs in found.items()
    }


def _places(lab: Lab, rows: Choices) -> NDArray[np.intp]:
    return np.searchsorted(lab.task.space.numbers(lab.rows), lab.task.space.numbers(rows))


def summarise(by_device: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over devices for each method, with the worst device; ours device by device as well."""
    methods = next(iter(by_device.values()))
    table: dict[str, Any] = {}
    for name, keys in methods.items():
        column = {key: [figures[name][key] for figures in by_device.values()] for key in keys}
        worst = int(np.argmin(column["spearman"]))
        table[name] = {key: round(float(np.mean(values)), 4) for key, values in column.items()}
        table[name]["lowest"] = [round(min(column["spearman"]), 4), list(by_device)[worst]]
    table["devices"] = {
        device: {name: round(figures[name]["spearman"], 4) for name in figures if name.endswith("chosen")}
        | {"HELP's rows": round(figures["vitruvius, chosen"]["spearman_help"], 4)}
        for device, figures in by_device.items()
    }
    return table


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--timed", default="10", help="how many architectures are timed, with commas")
    parser.add_argument("--protocols", default="one,kind,help")
    parser.add_argument("--devices", default="", help="only these, with commas")
    parser.add_argument("--seeds", type=int, default=10, help="random draws of what is timed")
    given = parser.parse_args()
    try:
        lab = Lab()
    except UserError as error:
        parser.error(str(error))
    chosen = given.devices.split(",") if given.devices else list(lab.devices)
    results: dict[str, Any] = {}
    with threadpool_limits(1, user_api="blas"):
        for protocol in given.protocols.split(","):
            results[protocol] = {}
            for n in map(int, given.timed.split(",")):
                tested = {d: s for d in chosen if (s := sources_of(d, protocol, lab.devices)) is not None}
                results[protocol][str(n)] = summarise(
                    {
                        device: run_device(lab, device, sources, n, given.seeds, protocol == "help")
                        for device, sources in tested.items()
                    }
                )
    settings = {
        "task": TASK, "timed": given.timed, "devices": chosen, "operations": OPERATIONS,
        "decisions": DECISIONS, "assumed": ASSUMED, "noise": NOISE, "offset": OFFSET,
    }  # fmt: skip
    print_record("latency", range(given.seeds), settings, results)


if __name__ == "__main__":
    main()
