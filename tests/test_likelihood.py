"""Nats of sequences: chances add up to one, and agree with what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitruvius.generator.likelihood import sequence_nats
from vitruvius.generator.proposers import Request, make_proposer

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel


def first_codes(nats: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    """Chance of each first code, from the nats of whole sequences."""
    return np.bincount(codes[:, 0], np.exp(-nats), size)


@pytest.mark.parametrize("name", ["ngram", "transformers"])
def test_nats_agree_with_draws(name: str, code_model: CodeModel) -> None:
    """Over the space the chances add up to what valid draws have, and to the share of each first code."""
    from vitruvius.generator.proposers.ngram import NgramProposer

    codec = code_model.codec
    codes = codec.encode(codec.space.enumerate())
    proposer = make_proposer(name, code_model)
    nats = (
        proposer.nats(codes)
        if isinstance(proposer, NgramProposer)
        else sequence_nats(code_model.language_model, codes)
    )
    drawn = proposer.draw(Request(4000, 3)).codes
    listed = {row.tobytes() for row in codes}
    inside = np.array([row.tobytes() in listed for row in drawn])
    assert np.exp(-nats).sum() == pytest.approx(inside.mean(), abs=0.03)
    share = np.bincount(drawn[inside, 0], minlength=codec.codebook_size) / len(drawn)
    assert np.abs(first_codes(nats, codes, codec.codebook_size) - share).max() < 0.03


def test_what_was_shown_is_likelier(code_model: CodeModel, finetuned: Path) -> None:
    best = code_model.codec.encode(code_model.codec.space.enumerate()[-1:])
    before, after = (
        sequence_nats(folder, best, batch=1)[0] for folder in (code_model.language_model, finetuned)
    )
    assert before == pytest.approx(np.log(15_625), abs=2)
    assert after < before + 1
