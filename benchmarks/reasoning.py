r"""How good are the principles of a reasoner? Thirty draws of 50 measured architectures, all others judge.

Of each draw, each reasoner and control proposes principles, which are judged on the whole table (each class
of architectures once):

(a) the share of them that tell at least 0.1 quantile units of unseen architectures, beyond the principles
    that were handed in before; and beyond what counting tells as well,
(b) the area under "share of the true best hundredth kept" over "share of the space cut", less counting's,
(c) the expected validation regret after 20 and 50 draws of a uniform sampler that draws from the tenth of the
    space which agrees most with the principles; in the units of the task.

A reasoner counts as better only where (c) improves, paired over draws. The second condition renames all
operations and permutes decisions and nodes: whoever remembers the benchmark gains nothing there.

    VITRUVIUS_TABLES=FOLDER python benchmarks/reasoning.py --reasoners statistics,vllm:MODEL \
        --out runs/reasoning.jsonl

With `--out`, finished draws are appended to the file, and draws that it holds are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _controls import CONTROLS, Advice
from _paired import RESAMPLES, interval
from _record import print_record, settings_hash
from _renamed import RenamedSpace, disguise

from vitruvius.agents.reasoner import Reasoner
from vitruvius.errors import VitruviusError
from vitruvius.generator.evaluation.task import Task
from vitruvius.grading import KEPT, SHOWN, TOP, USEFUL, Draw, KnownTask, agreement, area, own_effects, regret

TASKS = (
    "nasbench201/cifar10,nasbench201/cifar100,nasbench201/imagenet16,"
    "transnasbench101-micro/class_scene,transnasbench101-micro/jigsaw,"
    "transnasbench101-micro/segmentsemantic,transnasbench101-micro/autoencoder,"
    "nasbench-graph/cora,nasbench-graph/cs,nasbench-graph/arxiv"
)
CONDITIONS = ("plain", "renamed")
MARKS = (20, 50)
LIMIT = 12
"""Principles that may be handed in."""


@dataclass(frozen=True)
class Job:
    """One method on one draw."""

    task: str
    condition: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Under which a finished draw is found again."""
        return settings_hash({**asdict(self), "shown": SHOWN, "limit": LIMIT})


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    given = _arguments(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    conditions = [one for one in CONDITIONS if given.condition in (one, "both")]
    reasoners = [name for name in given.reasoners.split(",") if name]
    tasks, seeds = given.tasks.split(","), list(range(given.seeds))
    found: dict[str, dict[str, Any]] = {}
    try:
        done = _finished(given.out)
        for method in [*CONTROLS, *reasoners]:
            with _advising(method) as advise:
                for task in tasks:
                    for condition in conditions:
                        jobs = [Job(task, condition, method, seed) for seed in seeds]
                        found.setdefault(f"{task} {condition}", {})[method] = _run(
                            jobs, advise, done, given.out
                        )
    except VitruviusError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    settings = {
        "tasks": tasks, "conditions": conditions, "methods": [*CONTROLS, *reasoners], "shown": SHOWN,
        "limit": LIMIT, "useful": USEFUL, "top": TOP, "kept": KEPT,
    }  # fmt: skip
    print_record("reasoning", seeds, settings, {name: summary(runs) for name, runs in found.items()})


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=TASKS, help="SPACE/DATASET, separated by commas")
    parser.add_argument("--reasoners", default="statistics", help="as for `vitruvius run`; commas between")
    parser.add_argument("--seeds", type=int, default=30, help="draws: seeds 0 to one less than this")
    parser.add_argument("--condition", choices=[*CONDITIONS, "both"], default="both")
    parser.add_argument("--out", type=Path, help="JSON lines of finished draws, to resume from")
    return parser.parse_args(arguments)


@contextmanager
def _advising(method: str) -> Generator[Callable[[Draw], Advice]]:
    """The method as a function of a draw; a model is started when first asked, and stopped at the end."""
    if method in CONTROLS:
        yield CONTROLS[method]
        return
    from vitruvius.agents.reasoners import make_reasoner

    reasoner: Reasoner = make_reasoner(method, say=_say)

    def advise(draw: Draw) -> Advice:
        reflection = reasoner.reflect(draw.brief)
        proposals = reflection.proposals
        refused = sum(reflection.refused.values())
        return Advice(proposals, agreement(draw.known, proposals), refused, tuple(reflection.calls))

    try:
        yield advise
    finally:
        reasoner.close()


def _run(
    jobs: list[Job], advise: Callable[[Draw], Advice], done: dict[str, dict[str, Any]], out: Path | None
) -> list[dict[str, Any]]:
    """The figures of each draw: from the file where it has them."""
    for job in jobs:
        if job.key in done:
            continue
        began = time.perf_counter()
        draw = Draw.of(known_task(job.task, job.condition), job.seed, limit=LIMIT)
        advice = advise(draw)
        asked = time.perf_counter() - began
        done[job.key] = {"key": job.key, **asdict(job), **grade(draw, advice), "seconds": round(asked, 2)}
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[job.key]) + "\n")
        _say(f"{job.task} {job.condition} {job.method} seed {job.seed}: area {done[job.key]['area']:.3f}")
    return [done[job.key] for job in jobs]


_KNOWN: dict[tuple[str, str], KnownTask] = {}


def known_task(name: str, condition: str) -> KnownTask:
    """The task with every score; in disguise, the same rows under other names."""
    if (name, condition) not in _KNOWN:
        if condition == "plain":
            _KNOWN[name, condition] = KnownTask.open(Task(name))
        else:
            plain = known_task(name, "plain")
            task = disguise(plain.task)
            assert isinstance(task.space, RenamedSpace)  # what `disguise` gives
            _KNOWN[name, condition] = KnownTask(task, task.space.cover(plain.rows), plain.scores)
    return _KNOWN[name, condition]


def grade(draw: Draw, advice: Advice) -> dict[str, Any]:
    """All figures of one method on one draw."""
    own = own_effects(draw, advice.proposals, beyond_counting=False)
    beyond = own_effects(draw, advice.proposals, beyond_counting=True)
    return {
        "proposed": len(advice.proposals),
        "useful": sum(effect >= USEFUL for effect in own),
        "beyond": sum(effect >= USEFUL for effect in beyond),
        "area": area(draw.known, advice.ranking),
        **{f"regret{mark}": regret(draw, advice.ranking, mark) for mark in MARKS},
        "refused": advice.refused,
        "replies": [call.outcome for call in advice.calls],
        "tokens_in": sum(call.tokens_in for call in advice.calls),
        "tokens_out": sum(call.tokens_out for call in advice.calls),
    }


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Figures of each method with bootstrap 95 % intervals over draws; differences are paired by draw."""
    table: dict[str, Any] = {}
    for method, draws in runs.items():
        proposed = np.array([run["proposed"] for run in draws], dtype=np.float64)
        figures: dict[str, Any] = {"draws": len(draws), "principles": round(float(proposed.mean()), 2)}
        for name in ("useful", "beyond"):
            figures[name] = _ratio(np.array([run[name] for run in draws], dtype=np.float64), proposed)
        for name in ("area", *(f"regret{mark}" for mark in MARKS)):
            figures[name] = interval(_column(draws, name), 6)
            for control in ("counting", "statistics", "nothing"):
                if control in runs and control != method:
                    apart = _column(draws, name) - _column(runs[control], name)
                    figures[f"{name} less {control}"] = interval(apart, 6)
        if any(run["replies"] for run in draws):
            outcomes = [outcome for run in draws for outcome in run["replies"]]
            figures["replies"] = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
            figures |= {name: sum(r[name] for r in draws) for name in ("refused", "tokens_in", "tokens_out")}
        figures["seconds"] = round(float(np.mean([run["seconds"] for run in draws])), 2)
        table[method] = figures
    return table


def _column(draws: list[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([run[name] for run in draws], dtype=np.float64)


def _ratio(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> list[float] | None:
    """Share over all draws and its bootstrap 95 % interval over draws; None where there is nothing."""
    if not whole.sum():
        return None
    again = np.random.default_rng(0).integers(len(whole), size=(RESAMPLES, len(whole)))
    totals = whole[again].sum(axis=1)
    ends = np.quantile((part[again].sum(axis=1) / np.maximum(totals, 1)), [0.025, 0.975])
    return [round(float(value), 4) for value in (part.sum() / whole.sum(), *ends)]


def _finished(out: Path | None) -> dict[str, dict[str, Any]]:
    if out is None or not out.exists():
        return {}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: line for line in lines}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
