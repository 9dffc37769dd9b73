"""Pareto fronts, hypervolume, and the choice of what lets the front grow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitruvius.agents import pareto
from vitruvius.agents.pareto import FrontSelector, best_within, hypervolume, nondominated, spread_budgets
from vitruvius.agents.selection import MEMORY
from vitruvius.generator.space import get_space

Floats = NDArray[np.float64]
SPACE = get_space("nasbench201")
COUNT: Floats = np.arange(1000, dtype=np.float64)


def points(seed: int, n: int, d: int, grid: int) -> tuple[Floats, Floats]:
    """Points on a grid: ties and equals are common."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, grid, size=(n, d + 1)).astype(np.float64)
    return whole[:, 0], whole[:, 1:]


@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 3), st.integers(2, 6))
def test_front_is_what_the_definition_says(seed: int, n: int, d: int, grid: int) -> None:
    scores, costs = points(seed, n, d, grid)
    front = nondominated(scores, costs)
    for i in range(n):
        beaten = [
            j for j in range(n)
            if scores[j] >= scores[i] and (costs[j] <= costs[i]).all()
            and (scores[j] > scores[i] or (costs[j] < costs[i]).any() or j < i)
        ]  # fmt: skip
        assert front[i] == (not beaten)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 3))
def test_hypervolume_counts_the_cells_that_are_dominated(seed: int, n: int, d: int) -> None:
    grid = 4
    scores, costs = points(seed, n, d, grid + 1)
    cells = sum(
        bool(((scores >= cell[0] + 1) & (costs <= np.array(cell[1:])).all(axis=1)).any())
        for cell in itertools.product(range(grid), repeat=d + 1)
    )
    assert hypervolume(scores, costs, 0.0, np.full(d, float(grid))) == pytest.approx(cells)


def test_hypervolume_of_nothing_and_of_what_is_worse_than_the_reference() -> None:
    assert hypervolume(np.empty(0), np.empty((0, 2)), 0.0, np.ones(2)) == 0.0
    assert hypervolume(np.array([-1.0, 2.0]), np.array([[0.0], [3.0]]), 0.0, np.ones(1)) == 0.0


@settings(deadline=None)  # the first loads a part of SciPy
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 3))
def test_best_within_a_budget(seed: int, n: int, d: int) -> None:
    scores, costs = points(seed, n, d, 6)
    budgets = spread_budgets(np.zeros(d), np.full(d, 5.0))
    expected = [max([scores.min(), *scores[(costs <= b).all(axis=1)]]) for b in budgets]
    np.testing.assert_array_equal(best_within(scores, costs, budgets), expected)


def test_hypervolume_is_the_mean_over_budgets() -> None:
    scores, costs = np.array([1.0, 3.0, 2.0]), np.array([[0.25, 0.5], [0.5, 0.25], [0.125, 0.75]])
    mean = float(
        best_within(
            np.append(scores, 0.0), np.vstack([costs, [1, 1]]), spread_budgets(np.zeros(2), np.ones(2))
        ).mean()
    )
    assert mean == pytest.approx(hypervolume(scores, costs, 0.0, np.ones(2)), rel=0.02)


def landscape(rows: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Score and cost that pull apart: each decision adds to both, with its own rate of exchange."""
    cost = rows.astype(np.float64) @ np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0])
    return np.sqrt(rows.astype(np.float64)) @ np.array([2.0, 1.0, 1.0, 1.0, 3.0, 1.0]), cost[:, None]


def test_grows_the_front_faster_than_chance() -> None:
    everything = SPACE.enumerate()
    scores, costs = landscape(everything)
    worst = float(scores.min()), costs.max(axis=0)
    selector = FrontSelector(SPACE, ("cost",), spread_budgets(costs.min(axis=0), costs.max(axis=0)))
    lead: list[float] = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(everything))[:6].tolist()
        blind = rng.permutation(len(everything))[:36]
        while len(chosen) < 36:
            pool = np.setdiff1d(rng.permutation(len(everything))[:300], chosen)
            picks = selector.choose(
                everything[chosen],
                scores[chosen],
                costs[chosen],
                everything[pool],
                costs[pool],
                3,
                len(chosen),
            )
            assert len(set(picks.rows)) == 3 and all("cost" in reason for reason in picks.reasons)
            chosen += pool[picks.rows].tolist()
        ours, theirs = (hypervolume(scores[p], costs[p], *worst) for p in (chosen, blind))
        lead.append(ours - theirs)
    assert min(lead) > 0 and np.mean(lead) > 0.03 * hypervolume(scores, costs, *worst)


def test_cheap_is_preferred_where_scores_are_equal() -> None:
    rows = SPACE.sample(60, np.random.default_rng(0))
    costs = np.linspace(0.0, 1.0, 60)[:, None]
    selector = FrontSelector(SPACE, ("cost",), spread_budgets(np.zeros(1), np.ones(1)))
    measured, pool = rows[40:], rows[:40]
    picks = selector.choose(measured, COUNT[:20], costs[40:], pool, costs[:40], 4, 0)
    dearer = selector.choose(measured, COUNT[:20], costs[40:], pool, costs[:40][::-1].copy(), 4, 0)
    assert costs[picks.rows].mean() < 0.2 and costs[dearer.rows].mean() > 0.4


@settings(max_examples=10)
@given(st.integers(0, 100), st.sampled_from([1, 2]))
def test_the_same_arguments_give_the_same_choice(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    rows, pool = SPACE.sample(8, rng), SPACE.sample(20, rng)
    scores, costs, prices = rng.normal(size=8), rng.uniform(size=(8, d)), rng.uniform(size=(20, d))
    selector = FrontSelector(SPACE, ("a", "b")[:d], spread_budgets(np.zeros(d), np.ones(d)))
    one, two = (selector.choose(rows, scores, costs, pool, prices, 3, seed) for _ in range(2))
    assert one.rows == two.rows and one.reasons == two.reasons


def test_edges() -> None:
    selector = FrontSelector(SPACE, ("cost",), spread_budgets(np.zeros(1), np.ones(1)))
    rows, none = SPACE.sample(MEMORY + 50, np.random.default_rng(0)), SPACE.enumerate()[:0]
    empty = selector.choose(rows[:3], np.ones(3), np.ones((3, 1)), none, np.empty((0, 1)), 2, 0)
    assert empty.rows == []
    nothing = selector.choose(none, np.empty(0), np.empty((0, 1)), rows[:5], np.ones((5, 1)), 9, 0)
    assert sorted(nothing.rows) == [0, 1, 2, 3, 4]
    equal = selector.choose(rows[:4], np.ones(4), np.ones((4, 1)), rows[4:9], np.full((5, 1), 0.5), 2, 0)
    assert len(equal.rows) == 2
    unknown = selector.choose(
        rows[:4], COUNT[:4], np.ones((4, 1)), rows[4:6], np.array([[np.inf], [0.1]]), 1, 0
    )
    assert unknown.rows == [1]
    many = selector.choose(
        rows, COUNT[: len(rows)] % 7, np.ones((len(rows), 1)), rows[:9], np.ones((9, 1)), 1, 0
    )
    assert len(many.rows) == 1


def test_what_will_hardly_grow_the_front_still_has_an_order() -> None:
    """Far below the front chances are small, never nothing: a tie would be broken at random."""
    levels = np.array([0.0])
    pays = np.ones((3, 1), dtype=np.bool_)
    values = np.array([-3.5, -2.5, -4.5])[:, None] + pareto._CHANCES[None]  # pyright: ignore[reportPrivateUsage]
    growth = pareto._growth(values, levels, pays)  # pyright: ignore[reportPrivateUsage]
    assert growth[1] > growth[0] > growth[2] > 0
