"""The plainest guides: the codes that occur at each position, or after each code there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.proposers.base import Codes


class PositionMasks:
    """Forbids codes that never stand at a position; what these do not forbid counts alike.

    With `pairs` it also forbids a code where it never follows the code before: whoever began with pairs that
    occur always finds another one.

    Attributes:
        length: L.
        codebook_size: K.
        pairs: Whether the code before counts.
    """

    def __init__(self, codes: Codes, codebook_size: int, *, pairs: bool = False) -> None:
        """Note which codes, and which pairs of them, stand at each position of the sequences (n, L)."""
        self.length, self.codebook_size, self.pairs = codes.shape[1], codebook_size, pairs
        self._mask = np.zeros((self.length, codebook_size), dtype=np.bool_)
        self._mask[np.arange(self.length), codes] = True
        self._after = np.ones((self.length, 1, codebook_size), dtype=np.bool_)
        if pairs:
            self._after = np.zeros((self.length, codebook_size, codebook_size), dtype=np.bool_)
            self._after[np.arange(1, self.length), codes[:, :-1], codes[:, 1:]] = True
            self._after[0] = True

    def look(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """0 for each code that occurs at the next position after prefixes (n, p), else -inf: (n, K)."""
        position = prefixes.shape[1]
        last = prefixes[:, -1] if self.pairs and position else np.zeros(len(prefixes), dtype=np.int64)
        allowed = self._mask[position] & self._after[position, last]
        found = np.full(allowed.shape, -np.inf, dtype=np.float32)
        found[allowed] = 0
        return found

    def weigh(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """1 for sequences (n, L) whose codes, and pairs of them, all occur where they stand, else 0: (n,)."""
        places = np.arange(self.length)
        allowed = self._mask[places, codes]
        if self.pairs:
            allowed[:, 1:] &= self._after[places[1:], codes[:, :-1], codes[:, 1:]]
        return np.asarray(allowed.all(axis=1), dtype=np.float64)

    def positions(self) -> NDArray[np.bool_]:
        """The masks of single positions: (L, K)."""
        return self._mask

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Not handed to other processes.

        Raises:
            UserError: Always.
        """
        raise UserError("Position masks work within one process: draw with transformers, ngram or uniform.")
