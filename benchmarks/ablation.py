r"""What each part of a session is worth: sessions without it, on the same tasks and seeds.

`results["against"][part]` holds what `_paired.against` says of sessions with the part and without: regret
with minus regret without, **below 0 the part helps**; "average" in units of what random search leaves after
50. `results["regret"]` holds the validation regrets themselves. `--start nothing` takes out what acts there;
`--start sources` principles, pruning and transfer, which have something to go by there. All else is as in
`WHOLE`: the code model as pretrained, since fine-tuning takes most of a session's time. It is put in by
itself, with fewer seeds, on fewer targets.

    VITRUVIUS_TABLES=FOLDER python benchmarks/ablation.py --start nothing --seeds 20 --few 6 \
        --out runs/ablation.jsonl

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from _paired import against, as_curves, interval_of_all
from _record import print_record, settings_hash
from _runs import Parser, run_all
from numpy.typing import NDArray

from vitruvius.agents.baselines import Curve, random_search
from vitruvius.generator.evaluation.revealed import optimum
from vitruvius.generator.evaluation.task import Task

Array = NDArray[np.float64]

MARKS = (10, 20, 50)
WHOLE: dict[str, Any] = {"reasoner": "statistics", "proposer": "transformers", "finetune_every": 0}
PARTS: dict[str, dict[str, Any]] = {
    "principles": {"reasoner": "none"},
    "pruning": {"prune": False},
    "generator": {"proposer": "uniform"},
    "surrogate": {"selection": "random"},
    "open share": {"open_share": 0.0, "open_minimum": 0},
    "transfer": {"transfer": False},
    "fine-tuning": {"finetune_every": 20},
}
"""Options that take a part out; of fine-tuning, those that put it in."""
SLOW = "fine-tuning"
TAKEN_OUT = {
    "nothing": ("principles", "generator", "surrogate", "open share", SLOW),
    "sources": ("principles", "pruning", "transfer"),
}
"""What is taken out where: pruning goes by principles, of which hardly any is supported soon from nothing."""
Target = tuple[str, tuple[str, ...]]
"""A task and its sources."""
STARTS: dict[str, tuple[Target, ...]] = {
    "nothing": (
        ("nasbench201/cifar10", ()),
        ("nasbench201/cifar100", ()),
        ("transnasbench101-micro/class_scene", ()),
        ("transnasbench101-micro/jigsaw", ()),
        ("nasbench-graph/cs", ()),
        ("nasbench-graph/arxiv", ()),
    ),
    "sources": (
        ("nasbench201/cifar10", ("nasbench201/imagenet16",)),
        ("transnasbench101-micro/class_scene", ("transnasbench101-micro/jigsaw",)),
        ("nasbench-graph/cs", ("nasbench-graph/physics", "nasbench-graph/photo")),
        ("nasbench-graph/arxiv", ("nasbench-graph/computers", "nasbench-graph/physics")),
    ),
}
SLOW_TARGETS = ("nasbench201/cifar10", "transnasbench101-micro/class_scene", "nasbench-graph/cs")


@dataclass(frozen=True)
class Job:
    """One run: "whole", a part that is missing (or put in), or "random" search."""

    target: str
    sources: tuple[str, ...]
    part: str
    evaluations: int
    seed: int

    @property
    def options(self) -> dict[str, Any]:
        """Of the session; none for random search."""
        return {} if self.part == "random" else {**WHOLE, **PARTS.get(self.part, {})}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the seed that changes the result."""
        sources = [] if self.part == "random" else list(self.sources)
        where = {"target": self.target, "sources": sources, "evaluations": self.evaluations}
        return {**where, "options": self.options}

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{settings_hash(self.settings)}-{self.seed}"


def execute(job: Job) -> dict[str, Any]:
    """Run a job: validation regret of the best so far after each evaluation."""
    from vitruvius.agents.session import Session

    began, task = time.perf_counter(), Task(job.target)
    if job.part == "random":
        curve = random_search(task, job.evaluations, job.seed)
    else:
        curve, sources = Curve(task.metric.maximize), [Task(name) for name in job.sources]
        with Session(task, sources=sources, seed=job.seed, **job.options) as session:
            session.run(job.evaluations)
            curve.scores = [one.score for one in session.curve()]
    best, sign = optimum(task)[1], 1.0 if task.metric.maximize else -1.0
    regrets = [None if x is None else round(sign * (best - x), 6) for x in curve.best_so_far]
    seconds = round(time.perf_counter() - began, 2)
    where = f"{' '.join(job.sources)} -> {job.target}" if job.sources else job.target
    return {"regret": regrets, "seconds": seconds, "said": f"{where}, {job.part}: {seconds} s"}


def jobs_of(start: str, parts: list[str], evaluations: int, seeds: int, few: int) -> list[Job]:
    """All runs: the whole, random search for the unit, and each part by itself."""
    jobs: list[Job] = []
    for target, sources in STARTS[start]:
        for part in ("whole", "random", *parts):
            if part in PARTS and part not in TAKEN_OUT[start]:
                continue
            if part == SLOW and target not in SLOW_TARGETS:
                continue
            count = min(few, seeds) if part == SLOW else seeds
            jobs += [Job(target, sources, part, evaluations, seed) for seed in range(count)]
    return jobs


def summarise(jobs: list[Job], done: Mapping[str, Mapping[str, Any]], evaluations: int) -> dict[str, Any]:
    """Regrets at each mark, and sessions with each part compared with those without."""
    marks = [mark for mark in MARKS if mark <= evaluations] or [evaluations]
    curves: dict[str, dict[str, Array]] = {}
    for job in jobs:
        if job.seed == 0:
            group = [one for one in jobs if (one.target, one.part) == (job.target, job.part)]
            curves.setdefault(job.target, {})[job.part] = as_curves(
                [done[one.key]["regret"] for one in group], evaluations
            )
    parts: dict[str, Any] = {}
    for part in dict.fromkeys(part for here in curves.values() for part in here):
        if part in ("whole", "random"):
            continue
        pairs: dict[str, dict[str, Array]] = {}
        for target, here in curves.items():
            if part in here:
                one, other = (part, "whole") if part == SLOW else ("whole", part)
                few = len(here[part])
                both = {"with": here[one][:few], "without": here[other][:few]}
                pairs[target] = {**both, "random": here["random"]}
        parts[part] = against(pairs, "with", marks)["without"]
    tables = {
        target: {
            part: {str(k): interval_of_all(curve[:, k - 1]) for k in marks} for part, curve in here.items()
        }
        for target, here in curves.items()
    }
    return {"against": parts, "regret": tables}


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=20)
    parser.add_argument("--start", default="nothing", choices=STARTS)
    parser.add_names("--parts", PARTS)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--few", type=int, default=6, help="seeds of sessions with fine-tuning")
    given = parser.parse_args()
    parts = given.parts
    jobs = jobs_of(given.start, parts, given.evaluations, given.seeds, given.few)
    with parser.refusals():
        for target, sources in STARTS[given.start]:
            for task in (target, *sources):
                Task(task)
        done = run_all(jobs, execute, given.jobs, given.out)
    settings = {f"{job.target} {job.part}": job.settings for job in jobs if job.seed == 0}
    print_record("ablation", range(given.seeds), settings, summarise(jobs, done, given.evaluations))


if __name__ == "__main__":
    main()
