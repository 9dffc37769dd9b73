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

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _methods import NAMES, run_method, settings_of
from _paired import against, as_curves, interval_of_all, mean_curves
from _record import print_record, settings_hash
from _renamed import RenamedSpace, disguise
from _runs import Parser, read_options, run_all

from vitruvius.figures import as_file, curves
from vitruvius.generator.evaluation.revealed import has_test, optimum, reveal_test
from vitruvius.generator.evaluation.task import Task

MARKS = (10, 20, 50, 100, 192)


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
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{settings_hash(self.settings)}-{self.seed}"


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
    seconds = round(time.perf_counter() - began, 2)
    final = next((regret for regret in reversed(regrets) if regret is not None), None)
    shown = "nothing found" if final is None else f"regret {final:.4f}"
    said = f"{job.task} {job.method} seed {job.seed}: {shown}, {seconds} s"
    return {"regret": regrets, "test": tests, "seconds": seconds, "said": said}


def summarise(runs: list[dict[str, Any]], evaluations: int) -> dict[str, dict[str, list[float] | None]]:
    """Mean and bootstrap interval at each mark, over the runs of one method."""
    table: dict[str, dict[str, list[float] | None]] = {}
    for mark in [m for m in MARKS if m <= evaluations] or [evaluations]:
        table[str(mark)] = {
            name: interval_of_all([run[column][min(mark, len(run[column])) - 1] for run in runs])
            for name, column in (("valid_regret", "regret"), ("test", "test"))
        }
    return table


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=30)
    parser.add_argument(
        "--task",
        default="nasbench-graph/cora",
        help="SPACE/DATASET, or FILE.toml/DATASET, with a table; several with commas",
    )
    parser.add_names("--methods", NAMES, ("vitruvius", "random", "evolution"))
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--proposer", default="transformers", help="engine of the code model")
    parser.add_argument("--rename", type=int, nargs="?", const=1, default=0, help="disguise with this number")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="option of the session"
    )
    parser.add_argument("--picture", type=Path, help="SVG of the mean curves; needs the method random")
    given = parser.parse_args()
    methods, tasks, seeds = given.methods, given.task.split(","), list(range(given.seeds))
    options = {"reasoner": "statistics", "proposer": given.proposer, **read_options(given.set)}
    jobs = {
        (task, method): [Job(task, method, given.evaluations, seed, given.rename, options) for seed in seeds]
        for task in tasks
        for method in methods
    }
    with parser.refusals():
        names = {task: Task(task).name for task in tasks}  # a space of one's own is given by its file
        done = run_all([job for group in jobs.values() for job in group], execute, given.jobs, given.out)
    results: dict[str, Any] = {name: {} for name in names.values()}
    for (task, method), group in jobs.items():
        results[names[task]][method] = summarise([done[job.key] for job in group], given.evaluations)
    regrets = {
        name: {
            method: as_curves([done[job.key]["regret"] for job in jobs[task, method]]) for method in methods
        }
        for task, name in names.items()
    }
    if "vitruvius" in methods and len(methods) > 1:
        results["against"] = against(regrets, "vitruvius", [m for m in MARKS if m <= given.evaluations])
    if lines := mean_curves(regrets):
        results["curves"] = lines
        if given.picture is not None:
            label = "regret, 1 = random search after 50"
            picture = curves(lines, label, maximize=False, logarithmic=True)
            given.picture.write_text(as_file(picture), encoding="utf-8")
    settings = {f"{names[task]} {method}": group[0].settings for (task, method), group in jobs.items()}
    print_record("search", seeds, settings, results)


if __name__ == "__main__":
    main()
