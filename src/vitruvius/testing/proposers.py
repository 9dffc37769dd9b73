"""What every proposer must hold. Subclass it, and give fixtures named `proposer` and `model`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.library import CodeModel
from vitruvius.generator.proposers.base import Proposer, Request


class ProposerContract:
    """Tests that a proposer passes.

    Set `conditions` to False for a proposer that ignores the band and the temperature, `reloads` to
    False where weights cannot be exchanged.

    Example:
        class TestMine(ProposerContract):
            @pytest.fixture
            def proposer(self, model):
                return Mine(model)

            @pytest.fixture
            def model(self):
                return load_or_train("nasbench201")
    """

    conditions = True
    reloads = True

    def half(self, model: CodeModel) -> NDArray[np.bool_]:
        """A mask that differs from position to position and that architectures of the space fit: (L, K)."""
        codec = model.codec
        rows = codec.encode(codec.space.sample(64, np.random.default_rng(3)))
        allowed = np.zeros((codec.length, codec.codebook_size), dtype=bool)
        allowed[np.arange(codec.length), rows[:32]] = True
        return allowed

    def test_name(self, proposer: Proposer) -> None:
        """It has a name."""
        assert proposer.name

    def test_draws_what_was_asked(self, proposer: Proposer, model: CodeModel) -> None:
        """Shape, type and range of the codes; every sequence asked for is accounted for."""
        for n in (0, 1, 70):
            draw = proposer.draw(Request(n=n, seed=1))
            assert draw.codes.shape == (n - draw.unfinished, model.codec.length)
            assert draw.codes.dtype == np.int16
            assert draw.seconds >= 0
            if n:
                assert draw.unfinished <= n // 10, "sequences of a sound model are complete"
                assert draw.codes.min() >= 0 and draw.codes.max() < model.codec.codebook_size

    def test_same_request_same_codes(self, proposer: Proposer) -> None:
        """Equal requests give equal codes, whatever was drawn between them; other seeds give others."""
        request = Request(n=40, seed=11)
        first = proposer.draw(request).codes
        other = proposer.draw(dataclasses.replace(request, seed=12)).codes
        again = proposer.draw(request).codes
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_sequences_differ(self, proposer: Proposer) -> None:
        """Sequences of one draw do not share their random numbers, nor do neighbouring seeds."""
        first, second = (proposer.draw(Request(n=64, seed=seed)).codes for seed in (20, 21))
        assert len(np.unique(first, axis=0)) > 50
        shared = {tuple(row) for row in first} & {tuple(row) for row in second}
        assert len(shared) < 20

    def test_allowed_codes(self, proposer: Proposer, model: CodeModel) -> None:
        """At each position only the codes allowed there, with and without a band."""
        allowed = self.half(model)
        for quantile in (None, 9):
            draw = proposer.draw(Request(n=60, seed=2, quantile=quantile, allowed=allowed))
            assert len(draw.codes) + draw.unfinished == 60
            assert len(draw.codes) > 0
            assert allowed[np.arange(model.codec.length), draw.codes].all()

    def test_two_masks_after_each_other(self, proposer: Proposer, model: CodeModel) -> None:
        """A mask holds for its own request only."""
        allowed = self.half(model)
        proposer.draw(Request(n=30, seed=2, allowed=allowed))
        free = proposer.draw(Request(n=200, seed=2)).codes
        assert not allowed[np.arange(model.codec.length), free].all()

    def test_one_code(self, proposer: Proposer, model: CodeModel) -> None:
        """Where a mask leaves one sequence, it is drawn, if it is an architecture's."""
        codec = model.codec
        (row,) = codec.encode(codec.space.sample(1, np.random.default_rng(5)))
        allowed = np.zeros((codec.length, codec.codebook_size), dtype=bool)
        allowed[np.arange(codec.length), row] = True
        draw = proposer.draw(Request(n=5, seed=0, allowed=allowed))
        assert np.array_equal(draw.codes, np.repeat(row[None], 5, axis=0))

    def test_decodes_to_architectures(self, proposer: Proposer, model: CodeModel) -> None:
        """Nearly everything drawn from a trained model is an architecture."""
        codes = proposer.draw(Request(n=200, seed=4)).codes
        assert model.codec.space.valid(model.codec.decode(codes)).mean() > 0.9

    def test_temperature(self, proposer: Proposer) -> None:
        """A low temperature repeats itself more than a high one."""
        if not self.conditions:
            return
        cold, hot = (proposer.draw(Request(n=100, seed=6, temperature=t)).codes for t in (0.05, 2.0))
        assert len(np.unique(cold, axis=0)) < len(np.unique(hot, axis=0))

    def test_bad_requests(self, proposer: Proposer, model: CodeModel) -> None:
        """Numbers out of range, masks of another shape and masks that leave nothing are refused."""
        shape = (model.codec.length, model.codec.codebook_size)
        good = Request(n=2, seed=0)
        for change in (
            {"n": -1},
            {"temperature": 0.0},
            {"temperature": float("nan")},
            {"quantile": 10},
            {"quantile": -1},
            {"seed": -1},
            {"allowed": np.ones((1, 1), dtype=bool)},
            {"allowed": np.zeros(shape, dtype=bool)},
        ):
            try:
                proposer.draw(dataclasses.replace(good, **change))
            except UserError as error:
                assert str(error)
            else:
                raise AssertionError(f"{change} was accepted")

    def test_reload(self, proposer: Proposer, model: CodeModel, finetuned: Path) -> None:
        """After a checkpoint that was shown one architecture as the best, that is what band 9 gives."""
        if not self.reloads:
            return
        before = proposer.draw(Request(n=100, seed=8, quantile=9)).codes
        proposer.reload(finetuned)
        after = proposer.draw(Request(n=100, seed=8, quantile=9)).codes
        proposer.reload(model.language_model)
        back = proposer.draw(Request(n=100, seed=8, quantile=9)).codes
        wanted = model.codec.encode(model.codec.space.enumerate()[-1:])[0]
        hits = [int((codes == wanted).all(axis=1).sum()) for codes in (before, after)]
        assert hits[0] < 10 < hits[1]
        assert np.array_equal(before, back)

    def test_close_twice(self, proposer: Proposer) -> None:
        """Closing twice is allowed."""
        proposer.close()
        proposer.close()
