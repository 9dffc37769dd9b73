"""What writes codes in `generator.py`: five priors over the code sequences of one codec, on equal terms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus import read_corpus
from vitruvius.generator.likelihood import sequence_nats
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.ngram import NgramProposer
from vitruvius.generator.proposers.transformers import TransformersProposer

NAMES = ("uniform-codes", "independent", "ngram", "transformer", "smollm2")
"""From knowing nothing to a pretrained language model; the last two are checkpoints, trained before."""


class Prior(Protocol):
    """A distribution over code sequences."""

    def draw(self, request: Request) -> Draw:
        """Sequences, as a proposer draws them."""
        ...

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        """Minus the logarithm of the chance of each sequence (n, L): (n,)."""
        ...


@dataclass(frozen=True)
class Independent:
    """Each position by itself, from a table of chances (L, K)."""

    chances: NDArray[np.float64]

    def draw(self, request: Request) -> Draw:
        """Sharpened by temperature like the others; a guide is not understood."""
        assert request.guide is None, "tables take no guide"
        with np.errstate(divide="ignore"):
            scores = np.log(self.chances) / request.temperature
        noise = np.random.default_rng(request.seed).gumbel(size=(request.n, *scores.shape))
        return Draw((scores + noise).argmax(axis=2).astype(np.int16), 0, 0.0)

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        return -np.log(self.chances[np.arange(codes.shape[1]), codes]).sum(axis=1)


class Ngram(NgramProposer):
    """The n-gram of the product."""


class Checkpoint(TransformersProposer):
    """A language model of the product's form, wherever it comes from."""

    def __init__(self, codec: Codec, folder: Path) -> None:
        super().__init__(codec, folder, batch=512)
        self._folder = folder

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        return sequence_nats(self._folder, codes)


def make_prior(name: str, codec: Codec, checkpoint: Path) -> Prior:
    """A prior by its name.

    Args:
        name: One of `NAMES`.
        codec: Says what codes are.
        checkpoint: The small transformer, or for "smollm2" the adapted one; the priors that only count read
            the corpus beside it.
    """
    shape = (codec.length, codec.codebook_size)
    if name == "uniform-codes":
        return Independent(np.full(shape, 1 / codec.codebook_size))
    if name == "independent":
        counts = np.ones(shape) / codec.codebook_size  # one observation spread over all: no chance is zero
        codes = read_corpus(checkpoint)["codes"]
        np.add.at(counts, (np.arange(codec.length), codes), 1)
        return Independent(counts / counts.sum(axis=1, keepdims=True))
    return Ngram(codec, checkpoint) if name == "ngram" else Checkpoint(codec, checkpoint)
