"""The plainest guide: at each position the codes that occur there, whatever stands before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.proposers.base import Codes


class PositionMasks:
    """Forbids codes that never stand at a position; what these do not forbid counts alike.

    Attributes:
        length: L.
        codebook_size: K.
    """

    def __init__(self, codes: Codes, codebook_size: int) -> None:
        """Note which codes stand at each position of the sequences (n, L)."""
        self.length, self.codebook_size = codes.shape[1], codebook_size
        self._mask = np.zeros((self.length, codebook_size), dtype=np.bool_)
        self._mask[np.arange(self.length), codes] = True

    def look(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """0 for each code that occurs at the next position after prefixes (n, p), else -inf: (n, K)."""
        row = np.where(self._mask[prefixes.shape[1]], np.float32(0), np.float32(-np.inf))
        return np.repeat(row[None], len(prefixes), axis=0)

    def weigh(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """1 for sequences (n, L) whose codes all occur at their position, else 0: (n,)."""
        return np.all(self._mask[np.arange(self.length), codes], axis=1).astype(np.float64)

    def positions(self) -> NDArray[np.bool_]:
        """The masks: (L, K)."""
        return self._mask

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Not handed to other processes.

        Raises:
            UserError: Always.
        """
        raise UserError("Position masks work within one process: draw with transformers, ngram or uniform.")
