"""The surrogate and what it chooses: invariant, robust, fast, and better than chance."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from computing_time import seconds_of, within
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import check_grad

from vitruvius.agents import surrogate
from vitruvius.agents.features import distances, extract
from vitruvius.agents.offspring import mutate
from vitruvius.agents.selection import MEMORY, Selector, log_improvement, normal_scores
from vitruvius.errors import UserError
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices, SearchSpace, get_space

Floats = NDArray[np.float64]
SPACES = ("nasbench201", "nasbench-graph")


@pytest.fixture(scope="module")
def renamed() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "_renamed.py"
    spec = importlib.util.spec_from_file_location("_renamed", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_renamed"] = module
    spec.loader.exec_module(module)
    return module


def made_up(space: SearchSpace, rows: Choices, seed: int) -> Floats:
    """A score that depends on decisions, on how often operations occur, and on one pair of decisions."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(rows.shape[1], int(space.cardinalities.max())))
    score = effects[np.arange(rows.shape[1]), rows].sum(axis=1)
    labels = space.graphs(rows).labels
    score += 2.0 * rng.normal(size=len(space.operations) + 2)[labels].sum(axis=1)
    return (score + 1.5 * (rows[:, -1] == rows[:, -2])).astype(np.float64)


@pytest.mark.parametrize("name", SPACES)
def test_choice_is_the_same_in_disguise(name: str, renamed: ModuleType) -> None:
    plain = Task(f"{name}/mine", Manual())
    hidden = renamed.disguise(plain, 3)
    cover = hidden.space.cover
    rng = np.random.default_rng(0)
    rows, pool = plain.space.sample(40, rng), plain.space.sample(300, rng)
    scores, weights = made_up(plain.space, rows, 1), rng.uniform(0.5, 1.0, size=300)
    one = Selector(plain.space).choose(rows, scores, pool, weights, 5, seed=2)
    two = Selector(hidden.space).choose(cover(rows), scores, cover(pool), weights, 5, seed=2)
    assert one.rows == two.rows
    assert np.allclose(one.mean, two.mean, atol=1e-4) and np.allclose(one.std, two.std, atol=1e-3)
    assert hidden.space.graphs(cover(rows)).labels.tolist() != plain.space.graphs(rows).labels.tolist()


def test_disguise_is_a_whole_space(renamed: ModuleType) -> None:
    for name in SPACES:
        plain = Task(f"{name}/mine", Manual())
        space = renamed.disguise(plain, 4).space
        rows = space.sample(50, np.random.default_rng(0))
        graphs = space.graphs(rows)
        assert not np.tril(graphs.adjacency.any(axis=0)).any(), "nodes must be in topological order"
        assert (graphs.labels[:, 0] == 0).all() and (graphs.labels[:, -1] == 1).all()
        assert all(space.parse(a.key) == a for a in space.architectures(rows))
        assert (space.cover(space.uncover(rows)) == rows).all()
        assert not set(plain.space.operations) & set(space.operations)


@pytest.mark.parametrize("name", SPACES)
def test_better_than_chance(name: str) -> None:
    space = get_space(name)
    gains: list[float] = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = space.sample(10, rng)
        for step in range(4):
            pool = np.concatenate(
                [
                    space.sample(150, rng),
                    mutate(space, rows[made_up(space, rows, seed).argsort()[-3:]], 50, rng),
                ]
            )
            chosen = Selector(space).choose(rows, made_up(space, rows, seed), pool, None, 5, seed=step)
            rows = np.concatenate([rows, pool[chosen.rows]])
        everything = made_up(space, space.enumerate(), seed)
        luck = made_up(space, space.sample(30 * 200, rng), seed).reshape(200, 30).max(axis=1).mean()
        gains.append((made_up(space, rows, seed).max() - luck) / everything.std())
    assert min(gains) > 0.0 and np.mean(gains) > 0.7


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_and_constant_scores(n: int) -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(n)
    rows, pool = space.sample(n, rng), space.sample(100, rng)
    for scores in (np.zeros(n), np.full(n, 91.3), np.arange(n, dtype=np.float64)):
        chosen = Selector(space).choose(rows, scores, pool, None, 5, seed=0)
        assert len(set(chosen.rows)) == 5 and np.isfinite(chosen.mean).all() and np.isfinite(chosen.std).all()
        assert ((chosen.mean >= 0) & (chosen.mean <= 1)).all() and len(chosen.reasons) == 5


def test_edges_of_the_pool() -> None:
    space = get_space("nasbench201")
    rows = space.sample(6, np.random.default_rng(0))
    scores = np.arange(6, dtype=np.float64)
    assert sorted(Selector(space).choose(rows, scores, rows[:3], None, 9, seed=0).rows) == [0, 1, 2]
    assert Selector(space).choose(rows, scores, rows[:0], None, 9, seed=0).rows == []
    first = Selector(space).choose(rows[:0], scores[:0], rows, None, 2, seed=0)
    assert len(set(first.rows)) == 2 and "nothing has been measured" in first.reasons[0]


def test_same_arguments_same_choice_and_outliers_do_not_matter() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(5)
    rows, pool = space.sample(30, rng), space.sample(200, rng)
    scores = made_up(space, rows, 0)
    broken = scores.copy()
    broken[scores.argmin()] = -1e9
    one, two, three = (
        Selector(space, seed=4).choose(rows, s, pool, None, 5, seed=1) for s in (scores, scores, broken)
    )
    assert one.rows == two.rows == three.rows


def test_prior_weights_count_less_with_every_measurement() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(6)
    pool = space.sample(100, rng)
    weights = np.where(np.arange(100) < 50, 1.0, 0.05)

    def inside(n: int) -> int:
        total = 0
        for seed in range(5):
            rows = space.sample(n, np.random.default_rng([n, seed]))
            chosen = Selector(space).choose(rows, made_up(space, rows, seed), pool, weights, 5, seed=0)
            total += sum(row < 50 for row in chosen.rows)
        return total

    assert inside(8) >= 20
    assert inside(200) < inside(8)


def test_refuses_what_does_not_belong_together() -> None:
    space = get_space("nasbench201")
    rows = space.sample(6, np.random.default_rng(0))
    choose = Selector(space).choose
    with pytest.raises(UserError, match="give one each"):
        choose(rows, np.zeros(5), rows, None, 1, seed=0)
    with pytest.raises(UserError, match="leave out what has no score"):
        choose(rows, np.array([1, 2, 3, 4, 5, np.nan]), rows, None, 1, seed=0)
    with pytest.raises(UserError, match="positive"):
        choose(rows, np.zeros(6), rows, np.zeros(6), 1, seed=0)


def test_fast_enough_and_bounded() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(1)
    pool = space.sample(1000, rng)

    def seconds(n: int) -> float:
        rows = space.sample(n, rng)
        scores = made_up(space, rows, 0)
        return seconds_of(lambda: Selector(space).choose(rows, scores, pool, None, 5, seed=0), times=2)

    assert within(seconds(100), 0.4)
    assert within(seconds(10 * MEMORY), 6.0)


def test_gradient_of_the_loss() -> None:
    space = get_space("nasbench-graph")
    rows = space.sample(12, np.random.default_rng(2))
    features = extract(space, rows)
    apart = distances(features, features)
    targets = normal_scores(made_up(space, rows, 3))
    prior = np.log(np.append(surrogate.prior_weights(apart.mean(axis=(1, 2)), rows.shape[1]), 0.05))
    point = prior + np.random.default_rng(0).normal(scale=0.3, size=len(prior))

    def loss(x: Floats) -> float:
        return surrogate.loss(x, apart, targets, prior)[0]

    def gradient(x: Floats) -> Floats:
        return surrogate.loss(x, apart, targets, prior)[1]

    assert check_grad(loss, gradient, point) < 1e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(SPACES))
def test_kernel_is_positive_definite_and_isomorphic_graphs_are_alike(seed: int, name: str) -> None:
    space = get_space(name)
    rows = space.sample(25, np.random.default_rng(seed))
    features = extract(space, rows)
    apart = distances(features, features)
    assert (apart >= 0).all() and np.allclose(apart, apart.transpose(0, 2, 1))
    weights = np.random.default_rng(seed).uniform(0, 1, size=len(apart))
    assert np.linalg.eigvalsh(np.exp(-np.tensordot(weights, apart, axes=1))).min() > -1e-9


@pytest.mark.parametrize("name", [*SPACES, "nasbench101", "darts"])
def test_distances_are_exact(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(3)
    both = extract(space, space.sample(60, rng))
    one, other = both.take(slice(None, 20)), both.take(slice(20, None))
    apart = distances(one, other)
    decisions = one.choices.shape[1]
    assert (apart[:decisions].sum(axis=0) == (one.choices[:, None] != other.choices[None]).sum(axis=2)).all()
    for found, a, b in zip(apart[decisions:], one.histograms, other.histograms, strict=True):
        assert (found == np.abs(a[:, None] - b[None]).sum(axis=2)).all()
    assert distances(one.take(slice(0, 0)), other).shape == (len(apart), 0, 40)


def test_path_histogram_counts_paths() -> None:
    space = get_space("nasbench201")
    rows = np.array([[1, 2, 3, 0, 4, 1]], dtype=np.int8)
    labels, edges, paths = extract(space, rows).histograms
    assert labels.sum() == 6 and paths.sum() == 4  # 0-3, 0-1-3, 0-2-3, 0-1-2-3
    assert edges.sum() == space.graphs(rows).adjacency.sum()


def test_expected_improvement_far_below_the_best() -> None:
    u = np.array([-0.5, -3.0, -5.9, -6.1, -40.0])
    value = log_improvement(u, np.ones(5))
    draws = np.random.default_rng(0).standard_normal(2_000_000)
    assert value[0] == pytest.approx(np.log(np.maximum(draws - 0.5, 0).mean()), abs=0.01)
    assert (np.diff(value) < 0).all() and np.isfinite(value).all()
    assert abs(value[3] - value[2] - (-0.5 * (6.1**2 - 5.9**2))) < 0.15


def test_normal_scores_ignore_the_scale() -> None:
    scores = np.array([1.0, 5.0, 5.0, 2.0])
    assert np.allclose(normal_scores(scores), normal_scores(scores**3))
    assert normal_scores(scores)[1] == normal_scores(scores)[2] > normal_scores(scores)[3]
    assert (normal_scores(np.full(4, 7.0)) == 0).all()


@pytest.mark.parametrize("name", [*SPACES, "darts"])
def test_offspring_are_near_new_and_legal(name: str) -> None:
    space = get_space(name)
    parents = space.sample(3, np.random.default_rng(0))
    for n in (0, 7, 200):
        near = mutate(space, parents, n, np.random.default_rng(1))
        assert len(near) == n and space.valid(near).all()
        numbers = space.numbers(near).tolist()
        assert len(set(numbers)) == n and not set(numbers) & set(space.numbers(parents).tolist())
    again = mutate(space, parents, 200, np.random.default_rng(1))
    assert (again == near).all()
    steps = {number for p in parents for number in space.numbers(space.neighbours(p[None])).tolist()}
    single = steps - set(space.numbers(parents).tolist())
    assert set(numbers[: len(single)]) <= single, "single steps come first"
    assert len(set(numbers) & single) == min(len(single), 200), "and are left out for want of room only"
