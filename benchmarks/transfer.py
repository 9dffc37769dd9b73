r"""Transfer: what measurements of source tasks are worth on a target, at equal numbers of target evaluations.

Every method sees the same measurements of the sources (uniform draws, `--size` of each), validation scores
only, and pays for each identity of the target that it first learns. `results["regret"]` holds, for each pair
of source and target and each method, the validation regret after each number of evaluations, mean and 95 %
bootstrap interval over seeds, divided by what random search leaves after 50 there (NAS-Bench-201: in points).
`results["session against"]` holds paired differences of `session` to every other method (see `_paired`), and
`results["evaluations to reach no-source"]` how many more a session with sources needs to get where one
without is. `results["curves"]` has the mean over pairs after each evaluation.

    VITRUVIUS_TABLES=FOLDER python benchmarks/transfer.py --protocol nasbench201 --size 200 --seeds 30 \
        --out runs/transfer.jsonl

With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _paired import against, as_curves, interval_of_all, line
from _record import print_record, settings_hash
from _runs import Parser, read_options, run_all
from _transfer_methods import ASKS, names, run_method
from _transfer_pairs import PROTOCOLS, Pair, random_leaves, sources_of
from numpy.typing import NDArray

from vitruvius.figures import as_file
from vitruvius.figures import curves as drawn
from vitruvius.generator.evaluation.revealed import optimum
from vitruvius.generator.evaluation.task import Task

Array = NDArray[np.float64]

MARKS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Job:
    """One run: a method on a target with its sources and a seed."""

    pair: Pair
    method: str
    size: int
    evaluations: int
    seed: int
    options: Mapping[str, Any]
    model: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the seed that changes the result: no source size where no source is looked at."""
        blind = self.method in ("no-source", "random")
        return {
            "target": self.pair.target,
            "sources": [] if blind else list(self.pair.sources),
            "inverted": self.pair.inverted and not blind,
            "method": self.method,
            "size": 0 if blind else self.size,
            "evaluations": self.evaluations,
            "options": dict(self.options) if self.method in ("session", "no-source") else {},
            **({} if blind or self.pair.learner is None else {"learner": self.pair.learner}),
            **({"model": self.model} if self.method == ASKS else {}),
        }

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{settings_hash(self.settings)}-{self.seed}"


def execute(job: Job) -> dict[str, Any]:
    """Run a job: validation regret of the best so far after each evaluation, None before the first score."""
    began, task = time.perf_counter(), Task(job.pair.target)
    sources = sources_of(job.pair)
    learner = None if job.pair.learner is None else Task(job.pair.learner)
    run = run_method(
        job.method, task, sources, job.size, job.evaluations, job.seed, job.options, learner, job.model
    )  # fmt: skip
    curve = run.curve
    best, sign = optimum(task)[1], 1.0 if task.metric.maximize else -1.0
    regrets = [None if score is None else round(sign * (best - score), 6) for score in curve.best_so_far]
    seconds = round(time.perf_counter() - began, 2)
    final = "nothing found" if not regrets or regrets[-1] is None else f"regret {regrets[-1]:.4g}"
    said = f"{job.pair.name} {job.method} seed {job.seed}: {final}, {seconds} s"
    said += "".join(f", {number} {what}" for what, number in run.notes.items())
    return {"regret": regrets, "seconds": seconds, "said": said, "notes": dict(run.notes)}


def _parser() -> Parser:
    parser = Parser(__doc__, seeds=30)
    parser.add_argument("--protocol", default="nasbench-graph", choices=PROTOCOLS)
    parser.add_argument("--targets", help="only these targets of the protocol, with commas between them")
    parser.add_names("--methods", names(), (name for name in names() if name != ASKS))
    parser.add_argument("--model", help=f"language model of {ASKS}, as openai:MODEL or vllm:smollm2")
    parser.add_argument("--size", type=int, default=200, help="measurements of each source")
    parser.add_argument("--evaluations", type=int, help="budget; by default the protocol's")
    parser.add_argument("--reasoner", default="statistics", help="of the sessions")
    parser.add_argument("--proposer", default="uniform", help="of the sessions: what writes codes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="session option")
    parser.add_argument("--picture", type=Path, help="SVG of the mean curves")
    return parser


def main() -> None:
    """Parse, run, print."""
    parser = _parser()
    given = parser.parse_args()
    protocol = PROTOCOLS[given.protocol]
    evaluations = given.evaluations or protocol.evaluations
    wanted = given.targets.split(",") if given.targets else None
    pairs = [pair for pair in protocol.pairs if wanted is None or pair.target in wanted]
    options = {
        "reasoner": given.reasoner, "proposer": given.proposer, "finetune_every": 0, **read_options(given.set)
    }  # fmt: skip
    usable = [method for method in given.methods if method in protocol.methods]
    jobs = {
        (pair, method): [
            Job(pair, method, given.size, evaluations, seed, options, given.model)
            for seed in range(given.seeds)
        ]
        for pair in pairs
        for method in usable
    }
    if not jobs:
        parser.error(f"nothing to run: {given.protocol} has the targets {[p.target for p in protocol.pairs]}")
    with parser.refusals():
        Task(pairs[0].target)
        done = run_all([job for group in jobs.values() for job in group], execute, given.jobs, given.out)
    curves = {
        where: as_curves([done[job.key]["regret"] for job in group], evaluations) / random_leaves(where[0])
        for where, group in jobs.items()
    }
    settings = {f"{pair.name} {method}": group[0].settings for (pair, method), group in jobs.items()}
    results = summarise(pairs, usable, curves, evaluations)
    notes = {
        f"{pair.name} {method}": {k: sum(done[job.key]["notes"][k] for job in group) for k in told}
        for (pair, method), group in jobs.items()
        if (told := done[group[0].key].get("notes"))
    }
    if notes:
        results["notes"] = notes
    if given.picture is not None:
        unit = "in points" if given.protocol == "nasbench201" else "1 = random search after 50"
        picture = drawn(results["curves"], f"regret, {unit}", maximize=False, logarithmic=True)
        given.picture.write_text(as_file(picture), encoding="utf-8")
    print_record("transfer", range(given.seeds), settings, results)


def summarise(
    pairs: Sequence[Pair],
    methods: Sequence[str],
    curves: Mapping[tuple[Pair, str], Array],
    evaluations: int,
) -> dict[str, Any]:
    """Tables for each pair, the average over pairs, and paired comparisons."""
    marks = [mark for mark in MARKS if mark <= evaluations] or [evaluations]
    tables = {
        pair.name: {m: {str(k): interval_of_all(curves[pair, m][:, k - 1]) for k in marks} for m in methods}
        for pair in pairs
    }
    mean = {m: np.mean([curves[pair, m] for pair in pairs], axis=0) for m in methods}
    tables["average"] = {m: {str(k): interval_of_all(mean[m][:, k - 1]) for k in marks} for m in methods}
    lines = {m: line(mean[m].mean(axis=0)) for m in methods}
    found: dict[str, Any] = {"regret": tables, "curves": lines}
    if "session" in methods:
        whole = {pair.name: {m: curves[pair, m] for m in methods} for pair in pairs}
        found["session against"] = against(whole, "session", marks)
    if {"session", "no-source"} <= set(methods):
        found["evaluations to reach no-source"] = {
            pair.name: {str(k): delay(curves[pair, "session"], curves[pair, "no-source"], k) for k in marks}
            for pair in pairs
        }
    return found


def delay(curves: Array, reference: Array, evaluations: int) -> int | None:
    """How many evaluations more, or fewer, the mean curve needs to get where the reference is.

    Args:
        curves: (seeds, n) regrets.
        reference: (seeds, n) regrets.
        evaluations: Of the reference.

    Returns:
        The difference; None where it is not reached within n, or some run of the reference has no score yet.
    """
    goal = reference.mean(axis=0)[evaluations - 1]
    reached = np.flatnonzero(curves.mean(axis=0) <= goal + 1e-12)
    return int(reached[0]) + 1 - evaluations if len(reached) and np.isfinite(goal) else None


if __name__ == "__main__":
    main()
