r"""How long to fine-tune the code model on what a session has measured.

A session of a few evaluations, whose candidates are drawn without the code model, measures what the model is
then fine-tuned on, exactly as sessions do it. Asked for the best tenth, the model writes as many sequences as
a session asks for, and the judge looks the table up: how many architectures are new, how good they are, and
how good those twenty are that the surrogate puts first, which is what a session would take from them. After
no step it is the model as pretrained.

    VITRUVIUS_TABLES=FOLDER python benchmarks/finetuning.py --seeds 8 --out runs/finetuning.jsonl

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from _by_score import Truth
from _paired import interval
from _record import print_record
from _runs import Parser, run_all

from vitruvius.agents.learning import training_rows
from vitruvius.agents.posterior import predict
from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.language_model import finetune
from vitruvius.generator.library import load_or_train
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.proposers.transformers import TransformersProposer
from vitruvius.generator.space import Choices

TASKS = ("nasbench201/cifar10", "transnasbench101-micro/class_scene", "nasbench-graph/cora")
SESSION: dict[str, Any] = {"proposer": "uniform", "finetune_every": 0, "reasoner": "none"}
DRAWS, FIRST = 192, 20  # half of a session's pool is asked for the best tenth


@dataclass(frozen=True)
class Job:
    """One fine-tuning, and what the model writes then."""

    task: str
    evaluations: int
    steps: int
    seed: int

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{self.task}-{self.evaluations}-{self.steps}-{self.seed}"


@lru_cache(maxsize=1)
def truth_of(name: str) -> Truth:
    """The task's table: for the judge."""
    return Truth(Task(name))


@lru_cache(maxsize=1)
def lesson_of(name: str, evaluations: int, seed: int) -> tuple[Choices, Choices, Any]:
    """What a session measured (n, D), and the rows and tenths that it would fine-tune on."""
    with Session(Task(name), seed=seed, **SESSION) as session:
        session.run(evaluations)
        return session.journal.observations().choices, *training_rows(session.journal)


def execute(job: Job) -> dict[str, Any]:
    """Fine-tune, write, judge."""
    truth = truth_of(job.task)
    model = load_or_train(truth.space)
    measured, rows, tenths = lesson_of(job.task, job.evaluations, job.seed)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = model.language_model
        if job.steps:
            codes = model.codec.encode(rows)
            checkpoint = finetune(checkpoint, codes, tenths, Path(folder), seed=job.seed, steps=job.steps)
        seconds = time.perf_counter() - began if job.steps else 0.0
        drawn = TransformersProposer(model.codec, checkpoint).draw(Request(DRAWS, job.seed, quantile=9))
    found = model.codec.decode(drawn.codes)
    known = truth.places(measured)
    new = truth.new(truth.places(truth.space.normalise(found[truth.space.valid(found)])), known)
    told = predict(truth.space, measured, truth.scores[known], truth.rows[new], seed=job.seed)
    first = new[(-told.mean).argsort(kind="stable")[:FIRST]]
    figures = {
        "new": len(new),
        "rank": float(truth.ranks[new].mean()),
        "rank of the first 20": float(truth.ranks[first].mean()),
        "seconds": round(seconds, 2),
    }
    said = f"{job.task} seed {job.seed} after {job.steps} steps: {figures}"
    return {**figures, "task": job.task, "steps": job.steps, "seed": job.seed, "said": said}


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Task -> steps -> mean and interval of each figure."""
    found: dict[str, Any] = {}
    for run in runs:
        group = found.setdefault(run["task"], {}).setdefault(f"{run['steps']} steps", [])
        group.append(run)
    names = ("new", "rank", "rank of the first 20", "seconds")
    return {
        task: {
            steps: {name: interval([run[name] for run in group]) for name in names}
            for steps, group in by_steps.items()
        }
        for task, by_steps in found.items()
    }


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=4)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--steps", default="0,25,50,100", help="batches of 96 sequences")
    parser.add_argument("--evaluations", type=int, default=26, help="measured before the fine-tuning")
    given = parser.parse_args()
    steps, seeds = [int(number) for number in given.steps.split(",")], range(given.seeds)
    jobs = [
        Job(task, given.evaluations, count, seed)
        for task in given.tasks.split(",") for seed in seeds for count in steps
    ]  # fmt: skip
    with parser.refusals():
        done = run_all(jobs, execute, given.jobs, given.out)
    settings = {"evaluations": given.evaluations, "steps": steps, "session": SESSION, "draws": DRAWS}
    print_record("finetuning", seeds, settings, summarise([done[job.key] for job in jobs]))


if __name__ == "__main__":
    main()
