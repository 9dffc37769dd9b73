"""Baselines: they pay once for each identity, keep to the budget, and search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vitruvius.agents import baselines
from vitruvius.agents.baselines import METHODS, Curve, random_search, regularised_evolution
from vitruvius.generator.evaluation.task import Measurement, Status, Task
from vitruvius.generator.space import Architecture


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


class Watched:
    """A bench that counts what it is asked for, can fail, and can turn the direction around."""

    def __init__(self, bench: Any, *, fail: float = 0.0) -> None:
        self._bench, self._fail, self.asked = bench, fail, list[str]()
        self._rng = np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench, name)

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        for found in self._bench.measure(architectures, seed=seed):
            self.asked.append(found.id)
            lost = self._rng.random() < self._fail
            yield replace(found, status=Status.FAILED, score=None, reason="lost") if lost else found


def watched(task: Task, **options: Any) -> Task:
    copy = Task(task.name)
    copy.bench = Watched(task.bench, **options)  # type: ignore[assignment]
    return copy


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
@pytest.mark.parametrize("evaluations", [1, 13, 70])
def test_pays_once_for_each_identity_and_spends_the_budget(method: Any, evaluations: int, cora: Task) -> None:
    task = watched(cora)
    curve = method(task, evaluations, 0)
    assert task.bench.asked == curve.ids  # type: ignore[attr-defined]
    assert len(curve.ids) == len(set(curve.ids)) == len(curve.scores) == evaluations
    best = curve.best_so_far
    assert best == np.maximum.accumulate(np.array(curve.scores, dtype=float)).tolist()
    for key, identity, score in zip(curve.keys, curve.ids, curve.scores, strict=True):
        architecture = cora.space.parse(key)
        assert architecture.id == identity
        assert next(iter(cora.bench.measure([architecture]))).score == score


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_same_seed_same_curve(method: Any, cora: Task) -> None:
    assert method(cora, 40, 3).keys == method(cora, 40, 3).keys != method(cora, 40, 4).keys


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_failures_are_paid_for_and_never_the_best(method: Any, cora: Task) -> None:
    curve = method(watched(cora, fail=0.4), 40, 1)
    assert len(curve.scores) == 40 and 5 < sum(score is None for score in curve.scores) < 35
    assert all(i is None or curve.scores[i] is not None for i in curve.incumbents)


def test_evolution_beats_random_at_the_same_budget(cora: Task) -> None:
    cs = cora.sibling("cs")
    gain = [
        (regularised_evolution(cs, 150, seed).best_so_far[-1] or 0)
        - (random_search(cs, 150, seed).best_so_far[-1] or 0)
        for seed in range(12)
    ]
    assert np.mean(gain) > 0


def test_in_evolution_the_oldest_leaves(cora: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent is among the latest of its population's size, however good those before it were."""
    living, ages = list[str](), list[int]()
    score, mutant = baselines.Purse.score, baselines._mutant  # pyright: ignore[reportPrivateUsage]

    def born(purse: baselines.Purse, architecture: Architecture) -> float:
        living.append(architecture.key)
        return score(purse, architecture)

    def chosen(parent: Architecture, rng: np.random.Generator) -> Architecture:
        ages.append(living[::-1].index(parent.key))
        return mutant(parent, rng)

    monkeypatch.setattr(baselines.Purse, "score", born)
    monkeypatch.setattr(baselines, "_mutant", chosen)
    for seed in range(3):
        living.clear()
        regularised_evolution(cora, 200, seed)
    assert 25 <= max(ages) < baselines.POPULATION


def test_smaller_is_better() -> None:
    task = Task("nasbench-graph/cora", maximize=False)
    best = regularised_evolution(task, 60, 0).best_so_far
    assert best == np.minimum.accumulate(np.array(best, dtype=float)).tolist()
    assert Curve(False, ["a", "b"], ["a", "b"], [2.0, 1.0]).incumbents == [0, 1]


def test_curve_before_the_first_score() -> None:
    curve = Curve(True, ["a", "b", "c"], ["a", "b", "c"], [None, 1.0, 0.5])
    assert curve.incumbents == [None, 1, 1] and curve.best_so_far == [None, 1.0, 1.0]


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_what_the_table_lacks_is_never_bought(method: Any) -> None:
    task = watched(Task("nasbench-graph/proteins"))  # 2,021 of 26,206 were measured
    curve = method(task, 12, 0)
    assert len(curve.ids) == 12 and None not in curve.scores
    assert task.bench.asked == curve.ids  # type: ignore[attr-defined]
