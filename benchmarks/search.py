r"""Search at equal budget: Vitruvius against baselines, from nothing, many seeds.

Every method sees validation scores only and pays for each identity it first learns. The last line printed is
one JSON object; `results[task][method]["50"]` holds the validation regret and the test metric of the best by
validation after 50 evaluations: mean and bootstrap 95 % interval of the mean over seeds, in the task's unit;
`results["against"][other]` what `_paired.against` says of a session and each other method, and
`results["curves"]` the mean over tasks after each evaluation, in units of random search's regret after 50.

    VITRUVIUS_TABLES=FOLDER python benchmarks/search.py --task nasbench201/cifar10 \
        --methods vitruvius,random,evolution --evaluations 100 --seeds 30 --out runs/search.jsonl

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _methods import NAMES, run_method, settings_of
from _paired import against, mean_curves
from _record import print_record, settings_hash
from _renamed import RenamedSpace, disguise
from _runs import append, finished, read_options
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.figures import as_file, curves
from vitruvius.generator.evaluation.revealed import has_test, optimum, reveal_test
from vitruvius.generator.evaluation.task import Task

MARKS = (10, 20, 50, 100, 192)
RESAMPLES = 10_000


@dataclass(frozen=True)
class Job:
    """One run: a method on a task with a seed."""

    task: str
    method: str
    evaluations: int
    seed: int
    rename: int
    options: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the seed that changes the result."""
        data = asdict(self)
        del data["seed"]
        return {**data, "options": settings_of(self.method, self.options)}

    @property
    def key(self) -> tuple[str, int]:
        """Under which a finished run is found again."""
        return (settings_hash(self.settings), self.seed)


def execute(job: Job) -> dict[str, Any]:
    """Run a job: validation regret and test metric of the incumbent after each evaluation."""
    began = time.perf_counter()
    plain = Task(job.task)
    task = disguise(plain, job.rename) if job.rename else plain
    curve = run_method(job.method, task, job.evaluations, job.seed, job.options)
    test = reveal_test(plain) if has_test(plain) else None
    best = optimum(plain)[1]
    sign = 1.0 if plain.metric.maximize else -1.0
    regrets: list[float | None] = []
    tests: list[float | None] = []
    for incumbent, score in zip(curve.incumbents, curve.best_so_far, strict=True):
        if incumbent is None or score is None:
            regrets.append(None)
            tests.append(None)
            continue
        architecture = task.space.parse(curve.keys[incumbent])
        if isinstance(task.space, RenamedSpace):
            architecture = task.space.uncovered(architecture)
        regrets.append(sign * (best - score))
        tests.append(None if test is None else test(architecture))
    return {
        "settings": job.key[0], "seed": job.seed, "task": job.task, "method": job.method,
        "rename": job.rename, "regret": regrets, "test": tests,
        "seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip


def run_jobs(jobs: list[Job], workers: int, out: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Results of all jobs by key: read from the file where it has them, run where it has not."""
    done = {(one["settings"], one["seed"]): one for one in finished(out)}
    left = [job for job in jobs if job.key not in done]
    print(f"{len(jobs)} runs, {len(jobs) - len(left)} of them done before", file=sys.stderr, flush=True)
    for count, result in enumerate(_run(left, workers), start=1):
        done[result["settings"], result["seed"]] = result
        if out is not None:
            append(out, result)
        final = next((r for r in reversed(result["regret"]) if r is not None), None)
        shown = "nothing found" if final is None else f"regret {final:.4f}"
        print(
            f"[{count}/{len(left)}] {result['method']} seed {result['seed']}: {shown}, {result['seconds']} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return done


def _run(jobs: list[Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from map(execute, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(execute, job) for job in jobs]):
            yield future.result()


def summarise(runs: list[dict[str, Any]], evaluations: int) -> dict[str, dict[str, list[float] | None]]:
    """Mean and bootstrap interval at each mark, over the runs of one method."""
    table: dict[str, dict[str, list[float] | None]] = {}
    for mark in [m for m in MARKS if m <= evaluations] or [evaluations]:
        table[str(mark)] = {
            name: interval([run[column][min(mark, len(run[column])) - 1] for run in runs])
            for name, column in (("valid_regret", "regret"), ("test", "test"))
        }
    return table


def interval(values: list[float | None]) -> list[float] | None:
    """[mean, low, high] with the percentile bootstrap; None where a run had nothing."""
    if any(value is None for value in values):
        return None
    numbers = np.array(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[picks].mean(axis=1), [2.5, 97.5])
    return [round(float(x), 5) for x in (numbers.mean(), low, high)]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--task", default="nasbench-graph/cora", help="SPACE/DATASET with a table, or several, with commas"
    )
    parser.add_argument("--methods", default="vitruvius,random,evolution", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=30, help="seeds 0 to one less than this")
    parser.add_argument("--proposer", default="transformers", help="engine of the code model")
    parser.add_argument("--rename", type=int, nargs="?", const=1, default=0, help="disguise with this number")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="option of the session"
    )
    parser.add_argument("--out", type=Path, help="JSON lines of finished runs, to resume from")
    parser.add_argument("--picture", type=Path, help="SVG of the mean curves; needs the method random")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes")
    given = parser.parse_args()
    methods = given.methods.split(",")
    if wrong := [method for method in methods if method not in NAMES]:
        parser.error(f"unknown method {wrong[0]!r}; allowed: {', '.join(NAMES)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = {"reasoner": "statistics", "proposer": given.proposer, **read_options(given.set)}
    seeds = list(range(given.seeds))
    tasks = given.task.split(",")
    jobs = {
        (task, method): [Job(task, method, given.evaluations, seed, given.rename, options) for seed in seeds]
        for task in tasks
        for method in methods
    }
    try:
        for task in tasks:
            Task(task)
        if given.out is not None:
            given.out.parent.mkdir(parents=True, exist_ok=True)
        done = run_jobs([job for group in jobs.values() for job in group], given.jobs, given.out)
    except UserError as error:
        parser.error(str(error))
    results: dict[str, Any] = {task: {} for task in tasks}
    for (task, method), group in jobs.items():
        results[task][method] = summarise([done[job.key] for job in group], given.evaluations)
    regrets = {
        task: {method: _regrets([done[job.key] for job in jobs[task, method]]) for method in methods}
        for task in tasks
    }
    if "vitruvius" in methods and len(methods) > 1:
        results["against"] = against(regrets, "vitruvius", [m for m in MARKS if m <= given.evaluations])
    if lines := mean_curves(regrets):
        results["curves"] = lines
        if given.picture is not None:
            label = "regret, 1 = random search after 50"
            picture = curves(lines, label, maximize=False, logarithmic=True)
            given.picture.write_text(as_file(picture), encoding="utf-8")
    settings = {f"{task} {method}": group[0].settings for (task, method), group in jobs.items()}
    print_record("search", seeds, settings, results)


def _regrets(runs: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Regret (seeds, evaluations); before the first score it is infinite, a used-up space keeps its last."""
    width = max(len(run["regret"]) for run in runs)
    rows = [run["regret"] + run["regret"][-1:] * (width - len(run["regret"])) for run in runs]
    return np.array([[np.inf if x is None else x for x in row] for row in rows], dtype=np.float64)


if __name__ == "__main__":
    main()
