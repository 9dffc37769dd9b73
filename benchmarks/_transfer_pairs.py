"""Which sources go with which target in `transfer.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vitruvius.generator.evaluation.table import TableBench
from vitruvius.generator.evaluation.task import Task

GRAPH = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")
"""Data sets of NAS-Bench-Graph whose tables cover the whole space."""
TRANSNAS = ("class_scene", "segmentsemantic", "autoencoder", "jigsaw")
"""Tasks of TransNAS-Bench-101 that a table is read of."""
SAME_SPACE = (
    "session",
    "no-source",
    "copy",
    "counting",
    "lapt",
    "lapt-model",
    "warm-evolution",
    "rgpe",
    "random",
)
"""Methods that need sources in the target's space, and those that need none."""
ANY_SPACE = ("session", "no-source", "random")


@dataclass(frozen=True)
class Pair:
    """A target and its sources.

    Attributes:
        target: Name of the task.
        sources: Names of the source tasks.
        inverted: They are turned upside down on purpose.
        learner: The task of an earlier session with these sources, whose principles are all that the target's
            session gets; None where it gets the sources themselves.
    """

    target: str
    sources: tuple[str, ...]
    inverted: bool = False
    learner: str | None = None

    @property
    def name(self) -> str:
        """For tables: the source, or how many, then the target."""
        target = self.target.split("/")
        same = [s.split("/")[1] if s.split("/")[0] == target[0] else s for s in self.sources]
        left = same[0] if len(same) == 1 else f"{len(same)} others"
        left = left if self.learner is None else f"principles of {left}"
        return f"{'inverted ' if self.inverted else ''}{left} -> {self.target}"


@dataclass(frozen=True)
class Protocol:
    """Pairs, a budget, and the methods that can take part."""

    pairs: tuple[Pair, ...]
    evaluations: int
    methods: tuple[str, ...] = SAME_SPACE


def _nasbench201(source: str, target: str, inverted: bool = False) -> Pair:
    return Pair(f"nasbench201/{target}", (f"nasbench201/{source}",), inverted)


def _graph(target: str, *sources: str, inverted: bool = False) -> Pair:
    chosen = sources or tuple(one for one in GRAPH if one != target)
    return Pair(f"nasbench-graph/{target}", tuple(f"nasbench-graph/{one}" for one in chosen), inverted)


def _transnas(source: str, target: str, inverted: bool = False) -> Pair:
    return Pair(f"transnasbench101-micro/{target}", (f"transnasbench101-micro/{source}",), inverted)


def _pack(source: str, learner: str, *targets: str) -> tuple[Pair, ...]:
    """Principles of a source, tested by a session on the learner, for other targets."""
    return tuple(Pair(target, (source,), learner=learner) for target in targets)


PROTOCOLS = {
    "nasbench201": Protocol(
        tuple(
            _nasbench201(source, target)
            for source, target in (
                ("imagenet16", "cifar10"), ("cifar10", "cifar100"), ("cifar100", "imagenet16"),
                ("imagenet16", "cifar100"), ("cifar10", "imagenet16"), ("cifar100", "cifar10"),
            )
        ),
        20,
    ),
    "transnas": Protocol(
        tuple(_transnas("jigsaw", target) for target in ("class_scene", "segmentsemantic", "autoencoder")), 50
    ),
    "transnas-pairs": Protocol(
        tuple(_transnas(source, target) for target in TRANSNAS for source in TRANSNAS if source != target),
        50,
    ),
    "nasbench-graph": Protocol(tuple(_graph(target) for target in GRAPH), 50),
    "spaces": Protocol(
        (
            Pair("transnasbench101-micro/class_scene", ("nasbench201/cifar10",)),
            Pair("transnasbench101-micro/segmentsemantic", ("nasbench201/cifar10",)),
            Pair("nasbench201/cifar10", ("transnasbench101-micro/jigsaw",)),
            Pair("nasbench201/imagenet16", ("transnasbench101-micro/jigsaw",)),
        ),
        50, ANY_SPACE,
    ),
    "packs": Protocol(
        (
            *_pack(
                "nasbench201/imagenet16", "nasbench201/cifar100",
                "nasbench201/cifar10", "transnasbench101-micro/class_scene",
                "transnasbench101-micro/segmentsemantic",
            ),
            *_pack(
                "transnasbench101-micro/jigsaw", "transnasbench101-micro/segmentsemantic",
                "transnasbench101-micro/class_scene", "transnasbench101-micro/autoencoder",
                "nasbench201/imagenet16",
            ),
        ),
        50, ANY_SPACE,
    ),
    "wrong": Protocol(
        (
            _graph("cora", "arxiv"), _graph("arxiv", "cora"), _graph("pubmed", "photo"),
            _transnas("segmentsemantic", "autoencoder"),
            _nasbench201("imagenet16", "cifar10", inverted=True),
            _transnas("jigsaw", "class_scene", inverted=True),
            _graph("cora", inverted=True),
        ),
        50,
    ),
}  # fmt: skip
"""Published or hard: see docs/benchmarks/transfer.md."""


def sources_of(pair: Pair) -> list[Task]:
    """The source tasks; of inverted ones the smaller score is the better."""
    found = [Task(name) for name in pair.sources]
    return [Task(one.name, maximize=not one.metric.maximize) for one in found] if pair.inverted else found


@lru_cache(maxsize=32)
def random_leaves(pair: Pair) -> float:
    """What random search leaves after 50 evaluations, mean over many draws; 1 on NAS-Bench-201."""
    task = Task(pair.target)
    if task.space.name == "nasbench201":
        return 1.0
    assert isinstance(task.bench, TableBench)
    scores = task.better(task.bench.scores[np.unique(task.bench.representative_positions())])
    scores = scores[np.isfinite(scores)]
    rng = np.random.default_rng(0)
    best = [scores[rng.choice(len(scores), 50, replace=False)].max() for _ in range(2000)]
    return float(scores.max() - np.mean(best))
