"""What every proposer must hold. Subclass it, and give fixtures named `proposer` and `model`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.library import CodeModel
from vitruvius.generator.proposers.base import Guide, Proposer, Request


class ProposerContract:
    """Tests that a proposer passes.

    Set `conditions` to False for a proposer that ignores the band and the temperature, `reloads` to
    False where weights cannot be exchanged, `guides` to False where guides hold by position only.

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
    guides = True

    def some(self, model: CodeModel, wanted: NDArray[np.bool_] | NDArray[np.float64]) -> Guide:
        """A guide towards some of as many fixed architectures, by how much each is wanted."""
        rows = model.codec.space.sample(len(wanted), np.random.default_rng(3))
        return CodeTree(model.codec.encode(rows), model.codec.codebook_size).guide(wanted)

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

    def test_guide(self, proposer: Proposer, model: CodeModel) -> None:
        """Nothing but what is wanted, at any temperature, with and without a band."""
        guide = self.some(model, np.arange(64) < 32)
        for quantile, temperature in ((None, 1.0), (9, 1.0), (None, 2.0)):
            draw = proposer.draw(Request(60, 2, temperature=temperature, quantile=quantile, guide=guide))
            assert len(draw.codes) + draw.unfinished == 60
            assert len(draw.codes) > 0
            if self.guides:
                assert guide.weigh(draw.codes).all()
            else:
                assert guide.positions()[np.arange(model.codec.length), draw.codes].all()

    def test_two_guides_after_each_other(self, proposer: Proposer, model: CodeModel) -> None:
        """A guide holds for its own request only."""
        guide, other = (self.some(model, np.arange(64) % 2 == rest) for rest in (0, 1))
        for one in (guide, other) if self.guides else ():
            assert one.weigh(proposer.draw(Request(n=30, seed=2, guide=one)).codes).all()
        free = proposer.draw(Request(n=200, seed=2)).codes
        assert not guide.positions()[np.arange(model.codec.length), free].all()

    def test_more_and_less(self, proposer: Proposer, model: CodeModel) -> None:
        """What is wanted five times as much is drawn several times as often."""
        if not self.guides:
            return
        much = np.arange(512) % 2 == 0
        for temperature in (1.0, 2.0):
            guide = self.some(model, np.where(much, 1.0, 0.2))
            codes = proposer.draw(Request(n=400, seed=3, guide=guide, temperature=temperature)).codes
            often = guide.weigh(codes) > 0.5
            assert 2.5 < often.sum() / (~often).sum() < 10

    def test_one_sequence(self, proposer: Proposer, model: CodeModel) -> None:
        """Where one sequence is wanted, it is drawn."""
        guide = self.some(model, np.arange(64) == 7)
        codes = proposer.draw(Request(n=5, seed=0, guide=guide)).codes
        assert len(np.unique(codes, axis=0)) == 1 and guide.weigh(codes).all()

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

    def test_bad_requests(self, proposer: Proposer) -> None:
        """Numbers out of range and guides for other codes are refused."""
        good = Request(n=2, seed=0)
        for change in (
            {"n": -1},
            {"temperature": 0.0},
            {"temperature": float("nan")},
            {"temperature": 2.5},
            {"quantile": 10},
            {"quantile": -1},
            {"seed": -1},
            {"guide": CodeTree(np.zeros((1, 1), dtype=np.int16), 1).guide(np.ones(1))},
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
