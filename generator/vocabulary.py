"""The words of the code language model, and which token id each has in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.proposers.base import Codes

BANDS = 10
"""Score bands: tenths, 0 the worst."""

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<any>", *(f"<q{band}>" for band in range(BANDS)))
"""Tokens that are no code, in the order of their ids in a tokenizer of ours."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token ids of a checkpoint.

    Attributes:
        bos: First token of each sequence.
        eos: Last token.
        pad: Never read.
        unconditional: `<any>`.
        bands: `<q0>` to `<q9>`.
        codes: `<c0>` to `<c{K-1}>`.
    """

    bos: int
    eos: int
    pad: int
    unconditional: int
    bands: tuple[int, ...]
    codes: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read the ids from a checkpoint's tokenizer.

        Raises:
            CheckpointError: No tokenizer, or one without our tokens.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"The tokenizer in {folder} cannot be read: {error}.") from error
        return cls.of(tokenizer, str(folder))

    @classmethod
    def of(cls, tokenizer: Tokenizer, where: str = "the tokenizer") -> Vocabulary:
        """Read the ids from a tokenizer."""
        ids = tokenizer.get_vocab(with_added_tokens=True)
        missing = [token for token in (*SPECIAL, "<c0>") if token not in ids]
        if missing:
            raise CheckpointError(
                f"{where} is no code language model: its tokenizer lacks {', '.join(missing[:5])}. "
                "Train one, or adapt the checkpoint to a codec first."
            )
        codes: list[int] = []
        while (found := ids.get(f"<c{len(codes)}>")) is not None:
            codes.append(found)
        bands = tuple(ids[f"<q{band}>"] for band in range(BANDS))
        return cls(ids["<bos>"], ids["<eos>"], ids["<pad>"], ids["<any>"], bands, tuple(codes))

    def prompt(self, quantile: int | None) -> list[int]:
        """The tokens before the first code.

        Raises:
            UserError: The band is not one of 0 to 9.
        """
        if quantile is None:
            return [self.bos, self.unconditional]
        if not 0 <= quantile < BANDS:
            raise UserError(f"quantile is {quantile}, but bands go from 0 (worst tenth) to 9 (best tenth).")
        return [self.bos, self.bands[quantile]]

    def sequences(self, codes: Codes, quantiles: NDArray[np.int8]) -> torch.Tensor:
        """Token ids of codes (n, L) under bands (n,), -1 for none: (n, L + 3)."""
        table = np.array([self.unconditional, *self.bands], dtype=np.int64)
        ids = np.empty((len(codes), codes.shape[1] + 3), dtype=np.int64)
        ids[:, 0], ids[:, 1], ids[:, -1] = self.bos, table[quantiles + 1], self.eos
        ids[:, 2:-1] = np.array(self.codes)[codes]
        return torch.from_numpy(ids)


def band_weights(quantiles: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """How much each measured sequence says about each band.

    A few dozen measurements leave few to each tenth, so a sequence speaks for the bands around its own
    too: by a factor of 1/e less for each step away.

    Args:
        quantiles: (n,) the tenth of each sequence, n above 0.

    Returns:
        (10, n), each row adding up to 1.
    """
    weights = np.exp(-np.abs(np.arange(BANDS)[:, None] - quantiles[None].astype(np.float64)))
    return weights / weights.sum(axis=1, keepdims=True)
