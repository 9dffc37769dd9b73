"""The seam between the session and whatever writes codes: request in, draw out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
"""Code sequences: (n, L), each entry a codebook index."""


class Guide(Protocol):
    """Says after each prefix of codes how much of what it can still become is wanted; see `generator.guide`.

    Attributes:
        length: L.
        codebook_size: K.
    """

    length: int
    codebook_size: int

    def look(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Logarithm of the share of wanted completions after each next code: (n, K), -inf forbids.

        Args:
            prefixes: (n, p) codes so far, p below L, of prefixes that are not forbidden.
        """
        ...

    def weigh(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """How much whole sequences (n, L) are wanted, 0 to 1: (n,)."""
        ...

    def positions(self) -> NDArray[np.bool_]:
        """Codes that stand at each position of what is wanted: (L, K), for engines that can do no better."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that makes it up, to be handed to another process; `guide.from_arrays` reads it."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What to draw.

    Attributes:
        n: Number of sequences.
        seed: All randomness of the draw comes from here.
        temperature: Sampling temperature, above 0, at most 2.
        quantile: Condition on this score band, 0 (worst tenth) to 9 (best tenth); None draws unconditionally.
        guide: What is wanted; None wants everything. Its shares multiply the model's own at each position
            while sampling, whatever the temperature.
    """

    n: int
    seed: int
    temperature: float = 1.0
    quantile: int | None = None
    guide: Guide | None = None


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
