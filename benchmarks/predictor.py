r"""Predictors of the field: how well each ranks what is not measured, and what it finds as a search.

`--part tau`: Kendall's tau over classes whose score is not known (a fixed sample of 1,500), after 39, 78, 156
and 469 labels drawn at random. `--part search`: random classes, then in rounds those of the whole space with
the largest expected improvement; validation regret. Validation scores only. The last line printed is one JSON
object: `results[task][predictor][mark]` with the mean over seeds and its bootstrap 95 % interval.

    VITRUVIUS_TABLES=FOLDER python benchmarks/predictor.py --part tau --seeds 10 --out runs/tau.jsonl
    VITRUVIUS_TABLES=FOLDER python benchmarks/predictor.py --part search --predictors surrogate,trees \
        --seeds 10 --out runs/predictor_search.jsonl

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from _graph_networks import SETTINGS
from _paired import against, interval
from _predictors import ARCH2VEC_STEPS, MEMBERS, PREDICTORS, TREES
from _record import print_record
from _runs import Parser, run_all
from numpy.typing import NDArray
from scipy.stats import kendalltau

from vitruvius.agents.selection import log_improvement, normal_scores
from vitruvius.generator.evaluation.revealed import true_scores
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices

Array = NDArray[np.float64]
TASKS = (
    "nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/imagenet16",
    "transnasbench101-micro/class_scene", "transnasbench101-micro/jigsaw",
    "transnasbench101-micro/segmentsemantic", "transnasbench101-micro/autoencoder",
)  # fmt: skip
LABELS = (39, 78, 156, 469)
TESTED = 1500
INITIAL, BATCH = 6, 5
"""As a session's."""
MARKS = (20, 50, 100)


@dataclass(frozen=True)
class Job:
    """One run: a predictor on a task with a seed; `number` is that of labels, or of evaluations."""

    part: str
    task: str
    predictor: str
    number: int
    seed: int

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{self.part} {self.task} {self.predictor} {self.number} {self.seed}"


@lru_cache(maxsize=8)
def classes(task: str) -> tuple[Task, Choices, Array]:
    """The task, one row for each class (n, D), and the scores that measuring returns, larger is better."""
    opened = Task(task)
    rows, scores = true_scores(opened)
    ids = opened.space.classes(rows)
    first = np.sort(np.unique(ids, return_index=True)[1])
    first = first[np.isfinite(scores[first])]
    return opened, rows[first], opened.better(scores[first])


def execute(job: Job) -> dict[str, Any]:
    """Run a job."""
    began = time.perf_counter()
    found = rank(job) if job.part == "tau" else search(job)
    seconds = round(time.perf_counter() - began, 2)
    return {**found, "seconds": seconds, "said": f"{job.key}: {found.get('tau', '')} {seconds} s"}


def rank(job: Job) -> dict[str, Any]:
    """Kendall's tau between prediction and score of classes that were not learned from."""
    task, rows, scores = classes(job.task)
    order = np.random.default_rng([11, job.seed]).permutation(len(rows))
    learned, tested = order[: job.number], order[max(LABELS) :][:TESTED]
    mean, _ = PREDICTORS[job.predictor](
        task.space, rows[learned], normal_scores(scores[learned]), rows[tested], job.seed
    )
    agreement: Any = kendalltau(mean, scores[tested])
    top = tested[np.argsort(-mean, kind="stable")[:10]]
    return {
        "tau": round(float(agreement.statistic), 4),
        "best_of_ten": round(float((scores[tested] > scores[top].max()).mean()), 5),
    }


def search(job: Job) -> dict[str, Any]:
    """Validation regret after each evaluation; the first are the same for all predictors."""
    task, rows, scores = classes(job.task)
    rng = np.random.default_rng([13, job.seed])
    measured = rng.permutation(len(rows))[:INITIAL].tolist()
    while len(measured) < min(job.number, len(rows)):
        known = np.array(measured)
        targets = normal_scores(scores[known])
        rest = np.setdiff1d(np.arange(len(rows)), known)
        mean, deviation = PREDICTORS[job.predictor](task.space, rows[known], targets, rows[rest], job.seed)
        if not deviation.any():
            wanted = mean
        else:
            wanted = log_improvement(mean - float(targets.max()), np.maximum(deviation, 1e-6))
        ties = rng.permutation(len(rest))
        best = ties[np.argsort(-wanted[ties], kind="stable")]
        measured += rest[best[: min(BATCH, job.number - len(measured))]].tolist()
    regret = scores.max() - np.maximum.accumulate(scores[np.array(measured)])
    return {"regret": [round(float(x), 6) for x in regret]}


def tables(
    part: str, tasks: Sequence[str], names: Sequence[str], done: Mapping[str, Mapping[str, Any]],
    marks: Sequence[int], seeds: int,
) -> dict[str, Any]:  # fmt: skip
    """Means with intervals; of a search also the paired comparison with the surrogate."""
    results: dict[str, Any] = {task: {name: {} for name in names} for task in tasks}
    for task in tasks:
        for name in names:
            for mark in marks if part == "tau" else [max(marks)]:
                runs = [done[Job(part, task, name, mark, seed).key] for seed in range(seeds)]
                cell = results[task][name]
                if part == "tau":
                    cell[str(mark)] = {
                        key: interval([r[key] for r in runs]) for key in ("tau", "best_of_ten")
                    }
                else:
                    cell |= {str(m): interval([r["regret"][m - 1] for r in runs]) for m in marks}
                cell.setdefault("seconds", {})[str(mark)] = round(
                    float(np.mean([r["seconds"] for r in runs])), 2
                )
    if part == "search" and "surrogate" in names and len(names) > 1:
        regrets = {
            task: {
                name: np.array(
                    [done[Job(part, task, name, max(marks), s).key]["regret"] for s in range(seeds)]
                )
                for name in names
            }
            for task in tasks
        }
        results["against"] = against(regrets, "surrogate", marks)
    return results


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=10)
    parser.add_argument("--part", choices=("tau", "search"), default="tau")
    parser.add_argument("--tasks", default=",".join(TASKS), help="SPACE/DATASET, with commas")
    parser.add_names("--predictors", PREDICTORS)
    parser.add_argument("--labels", default="", help="numbers of labels or marks of the search, with commas")
    given = parser.parse_args()
    tasks, names = given.tasks.split(","), given.predictors
    marks = [int(m) for m in given.labels.split(",") if m] or list(LABELS if given.part == "tau" else MARKS)
    numbers = marks if given.part == "tau" else [max(marks)]
    jobs = [
        Job(given.part, task, name, number, seed)
        for seed in range(given.seeds) for task in tasks for number in numbers for name in names
    ]  # fmt: skip
    with parser.refusals():
        for task in tasks:
            Task(task)
        done = run_all(jobs, execute, given.jobs, given.out)
    results = tables(given.part, tasks, names, done, marks, given.seeds)
    settings = {
        "part": given.part, "tasks": tasks, "predictors": names, "marks": marks, "tested": TESTED,
        "initial": INITIAL, "batch": BATCH, "members": MEMBERS, "trees": TREES,
        "arch2vec_steps": ARCH2VEC_STEPS, "networks": SETTINGS,
    }  # fmt: skip
    print_record("predictor", range(given.seeds), settings, results)


if __name__ == "__main__":
    main()
