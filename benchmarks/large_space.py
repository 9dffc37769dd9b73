r"""Search in a space that cannot be listed: sessions, sessions without one part, and other methods, on DARTS.

The task is a simulation (`_simulated_darts.py`); `results["simulation"]` says how well it foretells genotypes
that it was not fitted to, and what its landscape is like. Regret is in percent points below the best score
that climbing, or any run here, has found: the optimum is not known. `results["against"][other]` holds what
`_paired.against` says of "session" and each other method: **below 0 the session is ahead**; "average" in
units of what random search leaves after 50. `results["shares"]` says where the evaluations of sessions came
from: how many, and how many of these were the best so far.

    VITRUVIUS_TABLES=FOLDER python benchmarks/large_space.py --seeds 6 --out runs/large_space.jsonl

"session" does not fine-tune its code model, since that takes most of the time; "fine-tuned" does, as sessions
do by default. In "more-neighbours" the pool has eight times as many neighbours of the best: what a better
search for what the surrogate likes would be worth. In "no-neighbours" there are none: all comes from the code
model. With `--out`, finished runs are appended to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _methods import run_method, settings_of
from _paired import against, interval, mean_curves
from _record import print_record, settings_hash
from _runs import Parser, read_options, run_all
from _simulated_darts import TREES, agreement, landscape, simulated_darts
from ablation import PARTS, SLOW, WHOLE
from numpy.typing import NDArray

from vitruvius.generator.evaluation.task import Task

Array = NDArray[np.float64]

MARKS = (20, 50, 100)
SESSIONS: dict[str, dict[str, Any]] = {
    "session": {},
    "fine-tuned": PARTS[SLOW],
    **{
        f"no-{part.replace(' ', '-')}": options
        for part, options in PARTS.items()
        if part not in (SLOW, "transfer")
    },
    "more-neighbours": {"local": 2048},
    "no-neighbours": {"local": 0},
    "no-neighbours-fine-tuned": {"local": 0, **PARTS[SLOW]},
}
"""Sessions by name, with what sets each apart."""
OTHERS = ("random", "evolution", "local", "tpe", "bananas", "nas-bowl")
NAMES = (*SESSIONS, *OTHERS)


@dataclass(frozen=True)
class Job:
    """One run of a method."""

    folder: Path
    method: str
    evaluations: int
    seed: int
    options: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the seed and the data that changes the result."""
        options = settings_of(self.method, {})
        if self.method in SESSIONS:
            options = {**WHOLE, **self.options, **SESSIONS[self.method]}
        return {"method": self.method, "evaluations": self.evaluations, "options": options, "trees": TREES}

    @property
    def key(self) -> str:
        """Under which a finished run is found again."""
        return f"{settings_hash(self.settings)}-{self.seed}"


def execute(job: Job) -> dict[str, Any]:
    """Run a job: the score after each evaluation, and in sessions where each came from."""
    began, task = time.perf_counter(), simulated_darts(job.folder)
    found: dict[str, Any]
    if job.method in SESSIONS:
        found = _session(task, job)
    else:
        found = {"scores": run_method(job.method, task, job.evaluations, job.seed, {}).scores}
    seconds = round(time.perf_counter() - began, 2)
    said = f"{job.method} seed {job.seed}: {max(found['scores']):.3f} %, {seconds} s"
    return {**found, "method": job.method, "seed": job.seed, "seconds": seconds, "said": said}


def _session(task: Task, job: Job) -> dict[str, Any]:
    from vitruvius.agents.session import Session  # loads torch: not for those who only run baselines

    with Session(task, seed=job.seed, **job.settings["options"]) as session:
        session.run(job.evaluations)
        learned = [one for one in session.journal.learned() if one.counted]
    return {
        "scores": [one.measurement.score for one in learned],
        "shares": [one.share for one in learned],
    }


def summarise(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], task: str, climbed: float, evaluations: int
) -> dict[str, Any]:
    """Regrets at each mark, a session against each other method, curves, and where evaluations came from.

    Args:
        runs: Finished runs of each method, by seed.
        task: Its name.
        climbed: Best score that climbing has found.
        evaluations: The budget.
    """
    marks = [mark for mark in MARKS if mark <= evaluations] or [evaluations]
    curves = {
        method: np.array([_best_so_far(run["scores"], evaluations) for run in group])
        for method, group in runs.items()
    }
    best = max(climbed, *(float(curve.max()) for curve in curves.values()))
    regrets = {task: {method: best - curve for method, curve in curves.items()}}
    table = {
        method: {str(k): {"valid_regret": interval(curve[:, k - 1].tolist())} for k in marks}
        for method, curve in regrets[task].items()
    }
    found: dict[str, Any] = {task: table, "reference": round(best, 4)}
    if "session" in runs and len(runs) > 1:
        found["against"] = against(regrets, "session", marks)
    if lines := mean_curves(regrets):
        found["curves"] = lines
    found["shares"] = {method: _shares(group) for method, group in runs.items() if method in SESSIONS}
    found["seconds"] = {
        method: round(float(np.mean([run["seconds"] for run in group])), 1) for method, group in runs.items()
    }
    return found


def _best_so_far(scores: list[float], evaluations: int) -> Array:
    """The best after each evaluation (evaluations,); a method that found nothing new keeps its last."""
    best = np.maximum.accumulate(np.array(scores, dtype=np.float64))
    return np.concatenate([best, np.repeat(best[-1:], evaluations - len(best))])


def _shares(group: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Share -> [evaluations of it, how many of them were better than all before], means over runs."""
    counts: dict[str, list[float]] = {}
    for run in group:
        best = -np.inf
        for share, score in zip(run["shares"], run["scores"], strict=True):
            entry = counts.setdefault(share, [0.0, 0.0])
            entry[0] += 1 / len(group)
            entry[1] += (score > best) / len(group)
            best = max(best, score)
    return {share: [round(value, 2) for value in entry] for share, entry in counts.items()}


def main() -> None:
    """Parse, run, print."""
    parser = Parser(__doc__, seeds=6)
    parser.add_argument("--tables", default=os.environ.get("VITRUVIUS_TABLES"), help="folder of the tables")
    parser.add_names("--methods", NAMES)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of all sessions")
    given = parser.parse_args()
    methods = given.methods
    if given.tables is None:
        parser.error("give --tables FOLDER, or set VITRUVIUS_TABLES")
    folder, options = Path(given.tables), read_options(given.set)
    seeds = range(given.seeds)
    jobs = [Job(folder, method, given.evaluations, seed, options) for seed in seeds for method in methods]
    with parser.refusals():
        task = simulated_darts(folder)
        done = run_all(jobs, execute, given.jobs, given.out)
    runs = {method: [done[job.key] for job in jobs if job.method == method] for method in methods}
    shape = landscape(task)
    results = summarise(runs, task.name, shape["climbed, best"], given.evaluations)
    results["simulation"] = {**agreement(folder), **shape}
    print_record("large_space", seeds, {job.method: job.settings for job in jobs if job.seed == 0}, results)


if __name__ == "__main__":
    main()
