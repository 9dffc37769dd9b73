"""Control: no VQ-VAE at all. The codes of an architecture are its decisions, one token for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Codes
from vitruvius.generator.space import Choices, SearchSpace


class DecisionCodec(Codec):
    """Looks like a codec with L = D and K = the largest number of choices; nothing is learned."""

    def __init__(self, space: SearchSpace) -> None:  # on purpose without a VQ-VAE
        self.space = space
        self.card: dict[str, Any] = {"hash": f"decisions-of-{space.name}"}

    @property
    def length(self) -> int:
        return len(self.space.decisions)

    @property
    def codebook_size(self) -> int:
        return int(self.space.cardinalities.max())

    def encode(self, choices: Choices, batch: int = 0) -> Codes:
        return np.asarray(choices).astype(np.int16)

    def decode(self, codes: NDArray[np.integer[Any]], batch: int = 0) -> Choices:
        """The decisions as written; a token that a decision does not have makes the row invalid."""
        return np.asarray(codes).astype(np.int8)
