"""The seam between the session and whatever writes codes: request in, draw out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
"""Code sequences: (n, L), each entry a codebook index."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to draw.

    Attributes:
        n: Number of sequences.
        seed: All randomness of the draw comes from here.
        temperature: Sampling temperature, above 0.
        quantile: Condition on this score band, 0 (worst tenth) to 9 (best tenth); None draws unconditionally.
        allowed: (L, K) bool, codes allowed at each position; None allows all. Enforced while sampling.
    """

    n: int
    seed: int
    temperature: float = 1.0
    quantile: int | None = None
    allowed: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn.

    Attributes:
        codes: (m, L) finished sequences in drawing order, repeats kept; m <= n.
        unfinished: Sequences that ended for another reason than being complete; m + unfinished = n.
        seconds: Wall time of the draw.
    """

    codes: Codes
    unfinished: int
    seconds: float


class Proposer(Protocol):
    """Writes code sequences. All implementations pass `vitruvius.testing.ProposerContract`.

    Attributes:
        name: "vllm", "vllm-server", "transformers", "ngram" or "uniform".
    """

    name: str

    def draw(self, request: Request) -> Draw:
        """Draw `request.n` sequences; equal requests give equal codes on CPU in fp32."""
        ...

    def reload(self, folder: Path) -> None:
        """Continue with the weights in this model folder (same vocabulary and sizes)."""
        ...

    def close(self) -> None:
        """Free memory and stop processes; calling twice is allowed."""
        ...
