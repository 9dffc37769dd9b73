r"""Asking the generator for what one wants: by principle (predicates) and by score.

By principle: of each draw, before any rejection, the share that satisfies one or two predicates which hold
for about a tenth of the space and which nothing was trained on; beside it the base rate, per-position masks,
and how often what satisfies repeats itself, as a share of what uniform draws of just these would reach.

By score: mean true rank (1 is best) of distinct new architectures asked for as the best 10 % or 1 %, after so
many labels, against uniform draws of which Gaussian processes on the same labels keep the best; equal draws,
equal kept.

    VITRUVIUS_TABLES=FOLDER python benchmarks/control.py --out runs/control.jsonl

Models are trained where the cache lacks them, which takes minutes. With `--out`, finished parts are not
repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _by_principle
import _by_score
import numpy as np
from _record import print_record, settings_hash

from vitruvius.errors import VitruviusError
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.library import CodeModel, load_or_train, open_model
from vitruvius.generator.proposers import Proposer, make_proposer
from vitruvius.generator.space import get_space

SPACES = "nasbench201,nasbench-graph,nasbench101,darts"
TASKS = (
    "nasbench201/cifar10,nasbench201/cifar100,nasbench201/imagenet16,transnasbench101-micro/class_scene,"
    "transnasbench101-micro/jigsaw,transnasbench101-micro/segmentsemantic,transnasbench101-micro/autoencoder"
)


def main() -> None:
    """Parse, run, print."""
    given = _arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    models = Models(dict(pair.split("=", 1) for pair in given.model))
    once = Once(given.out)
    results: dict[str, Any] = {"principle": {}, "score": {}}
    settings = {
        "spaces": given.spaces, "tasks": given.tasks, "draws": given.draws, "kept_draws": given.score_draws,
        "predicates": given.where or given.predicates, "labels": given.labels, "sharpness": given.sharpness,
        "engine": given.engine,
    }  # fmt: skip
    try:
        for space in filter(None, given.spaces.split(",")):
            results["principle"][space] = by_principle(given, space, models, once)
        for task in filter(None, given.tasks.split(",")):
            results["score"][task] = by_score(given, task, models, once)
    except VitruviusError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print_record("control", list(range(given.seeds)), settings, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--spaces", default=SPACES, help="by principle: names, separated by commas; '' for none"
    )
    parser.add_argument(
        "--tasks", default=TASKS, help="by score: SPACE/DATASET, separated by commas; '' for none"
    )
    parser.add_argument("--draws", type=int, default=10_000, help="by principle")
    parser.add_argument("--predicates", type=int, default=4, help="so many single ones and so many pairs")
    parser.add_argument(
        "--where", action="append", help="by principle: this predicate instead; repeat for more"
    )
    parser.add_argument("--score-draws", type=int, default=200, help="by score")
    parser.add_argument("--labels", default="100,500,5000", help="labelled architectures")
    parser.add_argument("--sharpness", default="1,2,4,8", help="powers of the chance, by score")
    parser.add_argument("--seeds", type=int, default=10, help="sets of labels: seeds 0 to one less than this")
    parser.add_argument("--tuned-seeds", type=int, default=5, help="of these so many also with fine-tuning")
    parser.add_argument("--engine", default="transformers", help="what draws")
    parser.add_argument(
        "--model", action="append", default=[], metavar="SPACE=FOLDER", help="not from the cache"
    )
    parser.add_argument("--out", type=Path, help="JSON lines of finished parts, to resume from")
    return parser.parse_args()


class Models:
    """Code models by space: from the folder that was named, else from the cache or trained."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders, self._models = folders, dict[str, CodeModel]()

    def of(self, name: str) -> CodeModel:
        """The model of a space."""
        if name not in self._models:
            folder = self._folders.get(name)
            space = get_space(name)
            self._models[name] = (
                open_model(Path(folder), space) if folder else load_or_train(space, progress=_say)
            )
        return self._models[name]


class Once:
    """Results by what they depend on: read from the file where it has them, else computed and added."""

    def __init__(self, file: Path | None) -> None:
        self._file, self._known = file, dict[str, Any]()
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self._known[settings_hash(entry["what"])] = entry["result"]

    def __call__(self, what: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """The result of `compute` for what it depends on."""
        key = settings_hash(what)
        if key not in self._known:
            begin = time.perf_counter()
            self._known[key] = compute()
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"what": what, "result": self._known[key]}) + "\n")
            _say(f"{json.dumps(what)}: {time.perf_counter() - begin:.1f} s")
        return self._known[key]


def by_principle(given: argparse.Namespace, name: str, models: Models, once: Once) -> dict[str, Any]:
    """All predicates of a space."""
    model = models.of(name)
    proposer = make_proposer(given.engine, model)
    trials: list[dict[str, Any]] = []
    space = model.codec.space
    chosen = (
        _by_principle.named(space, given.where)
        if given.where
        else _by_principle.choose(space, given.predicates, given.predicates, seed=0)
    )
    for text, mask in chosen:
        what = {
            "space": name,
            "where": text,
            "draws": given.draws,
            "engine": given.engine,
            "model": model.codec.hash,
        }
        trials.append(once(what, _by_principle.Trial(model, proposer, text, mask, given.draws, 0).run))
    proposer.close()
    return {"predicates": trials, "summary": _by_principle.summary(trials)}


def by_score(given: argparse.Namespace, name: str, models: Models, once: Once) -> dict[str, Any]:
    """All numbers of labels of a task."""
    truth = _by_score.Truth(Task(name))
    model = models.of(truth.space.name)
    proposer = make_proposer(given.engine, model)
    found: dict[str, Any] = {}
    for count in (int(text) for text in given.labels.split(",")):
        if count > 0.8 * len(np.unique(truth.classes)):
            _say(f"{name} has {len(np.unique(truth.classes))} ids: too few to label {count} and find others")
            continue
        for share in (0.1, 0.01):
            runs: list[dict[str, float | None]] = []
            for seed in range(given.seeds):
                case = Case(count, share, seed, given.score_draws, given.sharpness, seed < given.tuned_seeds)
                what = {"task": name, "model": model.codec.hash, "engine": given.engine, **asdict(case)}
                runs.append(once(what, lambda case=case: case.run(truth, model, proposer)))
            found[f"{count} labels, top {share:.0%}"] = compared(runs)
    proposer.close()
    return found


@dataclass(frozen=True)
class Case:
    """One set of labels of a task, and what is asked for."""

    labels: int
    share: float
    seed: int
    draws: int
    sharpness: str
    tuned: bool

    def run(self, truth: _by_score.Truth, model: CodeModel, proposer: Proposer) -> dict[str, float | None]:
        """Mean true rank of what each method keeps."""
        labelled = truth.labelled(self.labels, self.seed)
        with tempfile.TemporaryDirectory() as folder:
            trial = _by_score.Trial(truth, model, proposer, labelled, self.draws, self.seed, Path(folder))
            return trial.run(self.share, [float(text) for text in self.sharpness.split(",")], self.tuned)


def compared(runs: list[dict[str, float | None]]) -> dict[str, Any]:
    """Mean and interval of each method, and of its difference to both controls on the same labels."""
    table: dict[str, Any] = {}
    names = list(dict.fromkeys(name for run in runs for name in run))
    for name in names:
        have = [run for run in runs if run.get(name) is not None]
        if not have:
            table[name] = None
            continue
        values = np.array([run[name] for run in have], dtype=np.float64)
        table[name] = {**_by_principle.interval(values), "n": len(have)}
        if name.startswith("uniform") or name.endswith("distinct new"):
            continue
        for control in ("plain", "our"):
            base = np.array([run[f"uniform, {control} process"] for run in have], dtype=np.float64)
            table[name][f"above {control}"] = _by_principle.interval(values - base)
    return table


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
