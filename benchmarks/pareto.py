r"""Good and cheap: how much of the trade-off between score and latency a method finds with 100 evaluations.

Every method sees validation scores only and pays for each identity it first learns; looking a latency up
costs nothing, for all alike. `results[task][device][method]["100"]` holds the hypervolume after 100
evaluations, of score and latency scaled to the table's range, against the worst of each: mean and bootstrap
95 % interval over seeds. `compared` holds paired differences of vitruvius to the others at the last mark,
with Holm's correction over all of them, and `curves` the mean over seeds after each evaluation.

    VITRUVIUS_TABLES=FOLDER python benchmarks/pareto.py --seeds 20 --out runs/pareto.jsonl \
        --picture docs/benchmarks/pareto.svg

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated. NSGA-II and
MO-TPE need `pip install vitruvius[benchmarks]`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _front_methods import NAMES, run_method, settings_of
from _paired import interval
from _record import print_record, settings_hash
from _runs import Parser, run_all
from numpy.typing import NDArray

from vitruvius.agents.pareto import hypervolume
from vitruvius.figures import as_file, curves
from vitruvius.generator.evaluation.table import TableBench
from vitruvius.generator.evaluation.task import Task

TASKS = "nasbench201/cifar10,nasbench201/cifar100,nasbench201/imagenet16"
DEVICES = "pixel3,fpga,1080ti_1"
MARKS = (20, 50, 100)
OPTIONS = {"reasoner": "none", "proposer": "ngram", "finetune_every": 0}
"""Of the session: with objectives no principle prunes, so none is proposed; no code model is fine-tuned."""


@dataclass(frozen=True)
class Job:
    """One run: a method on a task and a device with a seed."""

    task: str
    device: str
    method: str
    evaluations: int
    seed: int
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        data = {**asdict(self), "options": settings_of(self.method, self.options)}
        del data["seed"]
        return f"{settings_hash(data)}-{self.seed}"


@dataclass(frozen=True)
class Scale:
    """The table's range: what scores and costs are scaled to.

    Attributes:
        score: Worst and best score.
        cost: Lowest and highest cost.
    """

    score: tuple[float, float]
    cost: tuple[float, float]

    @staticmethod
    def of(task: Task, cost: str) -> Scale:
        """Of a task that is looked up."""
        assert isinstance(task.bench, TableBench)
        scores = task.better(task.bench.scores[np.isfinite(task.bench.scores)])
        costs = task.bench.costs(task.space.enumerate())[cost]
        return Scale((scores.min(), scores.max()), (np.nanmin(costs), np.nanmax(costs)))

    def volume(self, scores: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
        """Hypervolume of what was measured; 1 would be the best score at the lowest cost."""
        gain = (scores - self.score[0]) / (self.score[1] - self.score[0])
        price = (costs - self.cost[0]) / (self.cost[1] - self.cost[0])
        return hypervolume(gain, price[:, None], 0.0, np.ones(1))


def attainable(task: Task, cost: str) -> float:
    """Hypervolume of everything in the table."""
    assert isinstance(task.bench, TableBench)
    first = np.unique(task.bench.representative_positions())
    first = first[np.isfinite(task.bench.scores[first])]
    costs = task.bench.costs(task.space.enumerate()[first])[cost]
    return Scale.of(task, cost).volume(task.better(task.bench.scores[first]), costs)


def execute(job: Job) -> dict[str, Any]:
    """Run a job: hypervolume after each evaluation."""
    began, task, cost = time.perf_counter(), Task(job.task), f"latency[{job.device}]"
    curve = run_method(job.method, task, [cost], job.evaluations, job.seed, job.options)
    scores = task.better(np.array([np.nan if s is None else s for s in curve.scores], dtype=np.float64))
    costs = task.bench.costs(task.space.rows(task.space.parse(key) for key in curve.keys))[cost]
    scale = Scale.of(task, cost)
    volumes = [scale.volume(scores[:n], costs[:n]) for n in range(1, len(scores) + 1)]
    volumes += volumes[-1:] * (job.evaluations - len(volumes))
    seconds = round(time.perf_counter() - began, 2)
    said = f"{job.task} {job.device} {job.method} seed {job.seed}: {volumes[-1]:.4f}, {seconds} s"
    return {"volumes": [round(v, 6) for v in volumes], "seconds": seconds, "said": said}


def compare(pairs: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, Any]]:
    """Paired differences with interval, seeds won, and Holm's p value over all pairs (Wilcoxon's test)."""
    from scipy.stats import wilcoxon

    plain = {name: float(wilcoxon(d).pvalue) if d.any() else 1.0 for name, d in pairs.items()}  # pyright: ignore
    found: dict[str, dict[str, Any]] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(plain, key=plain.__getitem__)):
        largest = max(largest, min(1.0, plain[name] * (len(plain) - rank)))
        won = int((pairs[name] > 0).sum())
        found[name] = {"difference": interval(pairs[name].tolist()), "won": won, "holm_p": round(largest, 6)}
    return {name: found[name] for name in pairs}


def results_of(
    cells: Mapping[tuple[str, str], Mapping[str, NDArray[np.float64]]], evaluations: int
) -> dict[str, Any]:
    """Tables from the curves (seeds, evaluations) of each method on each task and device."""
    marks = [m for m in MARKS if m <= evaluations] or [evaluations]
    table: dict[str, Any] = {}
    pairs: dict[str, NDArray[np.float64]] = {}
    for (task, device), methods in cells.items():
        here = {m: {str(k): interval(c[:, k - 1].tolist()) for k in marks} for m, c in methods.items()}
        whole = round(attainable(Task(task), f"latency[{device}]"), 5)
        table.setdefault(task, {})[device] = {**here, "attainable": whole}
        for method, curve in methods.items():
            if "vitruvius" in methods and method != "vitruvius":
                pairs[f"{task} {device} {method}"] = methods["vitruvius"][:, -1] - curve[:, -1]
    names = list(next(iter(cells.values())))
    mean = {m: np.mean([methods[m].mean(axis=0) for methods in cells.values()], axis=0) for m in names}
    lines = {name: [round(float(v), 5) for v in curve] for name, curve in mean.items()}
    return {**table, "compared": compare(pairs), "curves": lines}


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=20)
    parser.add_argument("--tasks", default=TASKS, help="SPACE/DATASET, with commas")
    parser.add_argument("--devices", default=DEVICES, help="devices of the latency table, with commas")
    parser.add_names("--methods", NAMES)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--picture", type=Path, help="SVG of the mean curves")
    given = parser.parse_args()
    methods, tasks, devices = given.methods, given.tasks.split(","), given.devices.split(",")
    seeds = list(range(given.seeds))
    jobs = {
        (task, device, method): [
            Job(task, device, method, given.evaluations, seed, OPTIONS) for seed in seeds
        ]
        for task in tasks for device in devices for method in methods
    }  # fmt: skip
    with parser.refusals():
        for task in tasks:
            known = Task(task).bench.devices
            if foreign := [device for device in devices if device not in known]:
                parser.error(f"{task} has no device {foreign[0]!r}; it has: {', '.join(known) or 'none'}")
        done = run_all([job for group in jobs.values() for job in group], execute, given.jobs, given.out)
    cells = {
        (task, device): {
            m: np.array([done[job.key]["volumes"] for job in jobs[task, device, m]]) for m in methods
        }
        for task in tasks for device in devices
    }  # fmt: skip
    results = results_of(cells, given.evaluations)
    if given.picture is not None:
        label = "hypervolume of score and latency, mean over tasks and devices"
        given.picture.write_text(as_file(curves(results["curves"], label)), encoding="utf-8")
    settings = {"tasks": tasks, "devices": devices, "evaluations": given.evaluations}
    print_record("pareto", seeds, {**settings, **{m: settings_of(m, OPTIONS) for m in methods}}, results)


if __name__ == "__main__":
    main()
