"""Guides: shares of wanted completions against brute force, exact and learned, and what leads to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitruvius.agents.posterior import LEAST, Posterior, predict
from vitruvius.errors import UserError
from vitruvius.generator.guide import CodeTree, from_arrays
from vitruvius.generator.guide_network import CodeSample
from vitruvius.generator.proposers.base import Guide
from vitruvius.generator.space import Choices, get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.steering import all_rows, guide_towards

SPACE = get_space("nasbench201")
EVERYTHING = SPACE.enumerate()


def drawn(guide: Guide, n: int, codes: NDArray[np.int16]) -> NDArray[np.int64]:
    """Sequences of a model that draws the given ones equally often, led by a guide: (n, L)."""
    rng = np.random.default_rng(0)
    found = np.empty((n, 0), dtype=np.int64)
    for position in range(guide.length):
        chances = np.zeros((n, guide.codebook_size))
        for row, prefix in enumerate(found):
            fits = (codes[:, :position] == prefix).all(axis=1)
            chances[row] = np.bincount(codes[fits, position], minlength=guide.codebook_size)
        with np.errstate(divide="ignore"):
            scores = np.log(chances) + guide.look(found) + rng.gumbel(size=chances.shape)
        found = np.column_stack([found, scores.argmax(axis=1)])
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31), st.booleans())
def test_shares_are_those_of_brute_force(n: int, length: int, size: int, seed: int, soft: bool) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(size, size=(n, length)).astype(np.int16)
    wanted = rng.random(n) if soft else (rng.random(n) < 0.4)
    if not wanted.any():
        return
    guide = CodeTree(codes, size).guide(wanted)
    for position in range(length):
        open_ = {tuple(row[:position]) for row in codes[wanted > 0].tolist()}
        prefixes = np.array(sorted(open_), dtype=np.int64).reshape(len(open_), position)
        looked = guide.look(prefixes)
        for prefix, found in zip(prefixes, looked, strict=True):
            for code in range(size):
                fits = (codes[:, : position + 1] == [*prefix, code]).all(axis=1)
                share = wanted[fits].mean() if fits.any() else 0.0
                assert np.exp(found[code]) == pytest.approx(share, abs=1e-6)
    for row in range(n):
        same = (codes == codes[row]).all(axis=1)
        assert guide.weigh(codes[row : row + 1])[0] == pytest.approx(wanted[same].mean(), abs=1e-6)
        assert (wanted[row] == 0) or guide.positions()[np.arange(length), codes[row]].all()


def test_a_uniform_model_led_by_a_guide_is_uniform_over_what_is_wanted() -> None:
    rng = np.random.default_rng(1)
    codes = np.unique(rng.integers(4, size=(60, 3)).astype(np.int16), axis=0)
    wanted = np.where(
        np.arange(len(codes)) % 3 == 0, 1.0, np.where(np.arange(len(codes)) % 3 == 1, 0.25, 0.0)
    )
    found = drawn(CodeTree(codes, 4).guide(wanted), 4000, codes)
    counts = np.array([(found == row).all(axis=1).sum() for row in codes])
    expected = 4000 * wanted / wanted.sum()
    assert counts.sum() == 4000 and (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_what_is_wanted_is_checked() -> None:
    tree = CodeTree(np.zeros((3, 2), dtype=np.int16), 4)
    for wrong, said in (
        (np.zeros(3), "No architecture is wanted"), (np.ones(2), "3 code sequences"),
        (np.array([0, 1, 2.0]), "from 0 to 1"), (np.array([0, 1, np.nan]), "from 0 to 1"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            tree.guide(wrong)
    with pytest.raises(UserError, match="nothing wanted begins"):
        tree.guide(np.ones(3)).look(np.array([[3]]))


def test_what_is_hardly_wanted_is_not_wanted() -> None:
    """Numbers too small to be added up lead nowhere, without a warning."""
    codes = np.array([[0, 0], [0, 1], [1, 0]], dtype=np.int16)
    guide = CodeTree(codes, 2).guide(np.array([1.0, 5e-324, 1e-300]))
    assert guide.weigh(codes).tolist() == [1.0, 0.0, 0.0]
    assert np.isneginf(guide.look(np.empty((1, 0), dtype=np.int64))[0, 1])


def test_a_learned_guide_knows_what_a_tree_over_the_sample_cannot() -> None:
    """A count over ten codes: 20,000 sequences show next to nothing of 8^10."""
    rng = np.random.default_rng(0)
    codes = rng.integers(8, size=(20_000, 10)).astype(np.int16)
    wanted = (codes < 2).sum(axis=1) >= 5  # of 8 %
    sample = CodeSample(codes, 8)
    guide = sample.guide(wanted)
    assert sample.guide(wanted) is guide
    again = from_arrays(guide.arrays())
    fresh = rng.integers(8, size=(5000, 10)).astype(np.int16)
    assert np.array_equal(again.weigh(fresh), guide.weigh(fresh))
    assert ((guide.weigh(fresh) > 0.5) == ((fresh < 2).sum(axis=1) >= 5)).mean() > 0.97
    found = np.empty((2000, 0), dtype=np.int64)
    for _ in range(10):
        scores = again.look(found) + rng.gumbel(size=(2000, 8))
        found = np.column_stack([found, scores.argmax(axis=1)])
    assert ((found < 2).sum(axis=1) >= 5).mean() > 0.9
    assert len(np.unique(found, axis=0)) > 1900


class Choosing:
    """A codec whose codes are the choices themselves."""

    codebook_size = 7

    def encode(self, choices: Choices) -> NDArray[np.int16]:
        return choices.astype(np.int16)


def test_towards_a_predicate() -> None:
    holds = Predicate.parse("conv3x3 >= 3 and depth >= 2").holds(Population(SPACE, all_rows(SPACE)))
    guide = guide_towards(Choosing(), SPACE, holds)
    assert np.array_equal(guide.weigh(EVERYTHING) > 0, holds)


def test_predictions_tell_the_best_apart() -> None:
    """On a score that counts an operation, after 60 measurements; the chances add up to what was asked."""
    rng = np.random.default_rng(0)
    score = (EVERYTHING == 3).sum(axis=1) + 0.01 * rng.random(len(EVERYTHING))
    known = rng.permutation(len(EVERYTHING))[:60]
    posterior = predict(SPACE, EVERYTHING[known], score[known], EVERYTHING)
    assert np.corrcoef(posterior.mean, score)[0, 1] > 0.9
    for share in (0.1, 0.01):
        assert posterior.chance(share).mean() == pytest.approx(share, rel=1e-3)
    wanted = posterior.wanted(0.1)
    assert wanted.max() == 1.0 and wanted.min() >= 0.0
    assert (wanted * score).sum() / wanted.sum() > np.quantile(score, 0.9)
    with pytest.raises(UserError, match=f"at least {LEAST}"):
        predict(SPACE, EVERYTHING[:3], score[:3], EVERYTHING)
    for share in (0.0, 1.0):
        with pytest.raises(UserError, match="above 0 %"):
            Posterior(np.zeros(3), np.ones(3)).chance(share)
