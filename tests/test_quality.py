"""The figures of draws and their ceilings: hand-computed cases, simulations, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.errors import UserError
from vitruvius.generator.ceilings import drawn_at_all, novel_share, sampling_distance, unique_share
from vitruvius.generator.information import information
from vitruvius.generator.position_masks import PositionMasks
from vitruvius.generator.quality import generated, reference_for
from vitruvius.generator.space import get_space, space_names
from vitruvius.generator.training import split_by_id

NB201 = get_space("nasbench201")


@pytest.mark.parametrize(
    ("keys", "draws", "percent"),
    [(15_625, 1_000, 96.87), (15_625, 10_000, 73.86), (15_625, 100_000, 15.60),
     (423_624, 1_000, 99.88), (423_624, 10_000, 98.83), (423_624, 100_000, 89.07)],
)  # fmt: skip
def test_published_ceilings(keys: int, draws: int, percent: float) -> None:
    assert round(100 * unique_share(np.ones(keys), draws), 2) == percent


def test_ceilings_by_hand() -> None:
    """Two draws of classes of 1 and 3 keys: both the small one 1/16, both the large one 9/16, else two."""
    sizes = np.array([1, 3])
    assert drawn_at_all(sizes, 2) == pytest.approx([1 - 9 / 16, 1 - 1 / 16])
    assert unique_share(sizes, 2) == pytest.approx((1 * 10 / 16 + 2 * 6 / 16) / 2)
    assert novel_share(sizes, np.array([False, True]), 2) == pytest.approx((7 / 16) / (22 / 16))
    assert unique_share(np.array([5]), 4) == 0.25


def test_sampling_distance_by_hand() -> None:
    """Two tosses of a coin: half the time one of each, distance 0, else 1/2."""
    assert sampling_distance(np.array([0.5, 0.5]), 2) == pytest.approx(0.25)
    assert sampling_distance(np.array([0.0, 1.0]), 7) == 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 40), st.integers(0, 99))
def test_ceilings_are_the_mean_of_simulations(sizes: list[int], draws: int, seed: int) -> None:
    weights = np.array(sizes)
    chances = weights / weights.sum()
    drawn = np.random.default_rng(seed).multinomial(draws, chances, size=4000)  # (4000, C)
    assert unique_share(weights, draws) == pytest.approx((drawn > 0).sum(1).mean() / draws, abs=0.03)
    away = np.abs(drawn / draws - chances).sum(1).mean() / 2
    assert sampling_distance(chances, draws) == pytest.approx(away, abs=0.02)


def test_figures_by_hand() -> None:
    """Six draws of NAS-Bench-201, one of them not a cell, two the same string, two twins."""
    one, twin, trained, other = (
        NB201.parse(text).choices
        for text in (
            "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|none~2|",
            "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
            "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
            "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
        )
    )
    rows = np.array([one, one, twin, trained, other, (9, 0, 0, 0, 0, 0)], dtype=np.int8)
    known = np.array([trained], dtype=np.int8)
    found = reference_for(NB201, known).figures(rows, 8)  # two more were not finished
    assert found["strict"] == found["valid"] == 5 / 8
    assert found["unique_keys"] == found["unique_written"] == 4 / 5
    assert found["unique"] == 3 / 5 and found["valid_unique"] == 3 / 8
    assert found["novel"] == 2 / 3 and found["novel_keys"] == 3 / 4 and found["novel_repeats"] == 4 / 5
    assert found["coverage"] == 3 / 6466 and found["coverage_keys"] == 4 / 15_625


def test_strict_and_loose_differ_where_something_is_pruned() -> None:
    space = get_space("nasbench101")
    cell = space.parse("010001000;input,conv3x3-bn-relu,output")
    dangling = cell.row.copy()
    dangling[0, -1] = 1  # an operation on a place that no edge touches
    rows = np.concatenate([cell.row, dangling])
    found = reference_for(space).figures(rows, 2)
    assert found["strict"] == 1 / 2 and found["valid"] == 1
    assert found["unique_written"] == 1 and found["unique"] == found["unique_keys"] == 1 / 2


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-graph"])
def test_a_perfect_sampler_sits_at_the_ceilings(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    everything = space.enumerate()
    trained = everything[split_by_id(space, everything, 0.5, rng)]
    reference = reference_for(space, trained)
    found, best = reference.figures(space.sample(10_000, rng), 10_000), reference.ceilings(10_000)
    for name, ceiling in best.items():
        value = found[name]
        assert value is not None and ceiling is not None
        tolerance = 0.01 if name.endswith("distance") else 0.015
        assert value == pytest.approx(ceiling, abs=tolerance), name


def test_everything_once_has_no_distance() -> None:
    reference = reference_for(NB201)
    found = reference.figures(NB201.enumerate(), len(NB201.enumerate()))
    assert found["operations_distance"] == found["edges_distance"] == 0
    assert found["coverage"] == found["coverage_keys"] == 1 and found["novel"] is None
    only = np.repeat(NB201.enumerate()[:1], 10, axis=0)  # six times `none`: no edge at all
    far = reference.figures(only, 10)
    assert far["edges_distance"] == pytest.approx(1 - reference.edges[0])
    assert far["operations_distance"] is not None and far["operations_distance"] > 0.7


def test_nothing_valid() -> None:
    found = reference_for(NB201).figures(np.full((4, 6), 7, dtype=np.int8), 4)
    assert found["valid"] == found["valid_unique"] == 0 and found["unique"] is None
    assert found["operations_distance"] is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_shares_hold_together(seed: int, draws: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 6, size=(draws, 6)).astype(np.int8)  # 5 is out of range
    found = reference_for(NB201, NB201.enumerate()[::2]).figures(rows, draws)
    assert all(value is None or 0 <= value <= 1 for value in found.values())
    if found["unique"] is not None and found["unique_keys"] is not None and found["valid"]:
        assert found["unique"] <= found["unique_keys"] <= 1
        assert found["valid_unique"] == pytest.approx(found["unique"] * found["valid"])
    again = reference_for(NB201, NB201.enumerate()[::2]).figures(rows[rng.permutation(draws)], draws)
    assert again == found


def test_information_tells_relabelling_from_more() -> None:
    choices = np.indices((3, 2, 2), dtype=np.int8).reshape(3, -1).T
    same = choices[:, :1].astype(np.int16) * 7  # another name of decision 0
    synonyms = (choices[:, :1] * 2 + choices[:, 1:2]).astype(np.int16)  # decisions 0 and 1 together
    parity = (choices[:, 1:2] ^ choices[:, 2:3]).astype(np.int16)  # says nothing of a single one
    found = information(np.concatenate([same, synonyms, parity], axis=1), choices)
    assert found.symmetric[0] == pytest.approx([1, 0, 0])
    expected = 2 * np.log(3) / (np.log(6) + np.log(3))
    assert found.symmetric[1] == pytest.approx([expected, 2 * np.log(2) / (np.log(6) + np.log(2)), 0])
    assert found.told[1] == pytest.approx([1, 1, 0])
    assert found.symmetric[2] == pytest.approx([0, 0, 0])
    assert found.per_position() == pytest.approx([1, expected, 0], abs=1e-4)


def test_information_of_constants() -> None:
    found = information(np.zeros((5, 1), dtype=np.int16), np.zeros((5, 2), dtype=np.int8))
    assert not found.symmetric.any() and not found.told.any()


def test_position_masks() -> None:
    masks = PositionMasks(np.array([[0, 2], [1, 2]], dtype=np.int16), 4)
    assert masks.positions().tolist() == [[True, True, False, False], [False, False, True, False]]
    assert masks.look(np.zeros((3, 1), dtype=np.int16)).tolist() == [[-np.inf, -np.inf, 0, -np.inf]] * 3
    assert masks.weigh(np.array([[1, 2], [2, 2], [0, 0]])).tolist() == [1, 0, 0]
    with pytest.raises(UserError, match="one process"):
        masks.arrays()


def test_masks_of_pairs() -> None:
    codes = np.array([[0, 2, 1], [1, 3, 1], [1, 2, 0]], dtype=np.int16)
    masks = PositionMasks(codes, 4, pairs=True)
    assert masks.look(np.zeros((1, 0), dtype=np.int16)).tolist() == [[0, 0, -np.inf, -np.inf]]
    assert masks.look(np.array([[0], [1]])).tolist() == [
        [-np.inf, -np.inf, 0, -np.inf],
        [-np.inf, -np.inf, 0, 0],
    ]
    assert masks.weigh(codes).tolist() == [1, 1, 1]
    assert masks.weigh(np.array([[0, 3, 1], [1, 3, 0], [0, 2, 0]])).tolist() == [0, 0, 1]


@given(st.integers(0, 2**32 - 1))
def test_masks_of_pairs_never_end_before_the_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = PositionMasks(rng.integers(5, size=(6, 4)).astype(np.int16), 5, pairs=True)
    drawn = np.zeros((20, 0), dtype=np.int16)
    for _ in range(4):
        open_ = np.isfinite(masks.look(drawn))
        assert open_.any(axis=1).all()
        drawn = np.column_stack([drawn, [rng.choice(np.flatnonzero(row)) for row in open_]])
    assert masks.weigh(drawn).all()


def test_every_space_says_what_is_generated() -> None:
    for name in space_names():
        assert generated(get_space(name)).startswith("Generated: ")


def test_a_space_without_a_list_has_sampled_ceilings() -> None:
    space, rng = get_space("darts"), np.random.default_rng(5)
    trained = space.sample(500, rng)
    reference = reference_for(space, trained, sample=2000)
    best = reference.ceilings(1000)
    assert best["unique"] == best["novel"] == best["valid_unique_keys"] == 1 and "coverage" not in best
    found = reference.figures(np.concatenate([trained[:300], space.sample(700, rng)]), 1000)
    assert found["novel"] == found["novel_repeats"] == 0.7 and found["coverage"] is None
