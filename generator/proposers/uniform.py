"""Uniform proposals: every architecture of the space equally often. The control for all others."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.checks import allowed_of

_ENUMERABLE = 500_000  # up to this size all codes are kept, 2 L bytes each
_ROUNDS = 50  # of rejection, in larger spaces


class UniformProposer:
    """Draws architectures uniformly and encodes them; temperature and band do not matter."""

    name = "uniform"

    def __init__(self, codec: Codec) -> None:
        """Draw from the codec's space."""
        self._codec = codec

    @cached_property
    def _everything(self) -> Codes | None:
        """Codes of the whole space, where it is small enough: (size, L)."""
        size = self._codec.space.size
        if size is None or size > _ENUMERABLE:
            return None
        return self._codec.encode(self._codec.space.enumerate())

    def draw(self, request: Request) -> Draw:
        """Draw architectures whose codes are all allowed.

        Where the space is too large to list, architectures are drawn until enough fit; those that
        were not found after many rounds count as unfinished.
        """
        begin = time.perf_counter()
        allowed = allowed_of(request, self._codec)
        rng = np.random.default_rng(request.seed)
        if self._everything is not None:
            fitting = self._everything[_fits(self._everything, allowed)]
            picks = (
                rng.integers(len(fitting), size=request.n) if len(fitting) else np.empty(0, dtype=np.int64)
            )
            codes = fitting[picks]
        else:
            codes = self._reject(request.n, allowed, rng)
        return Draw(codes, request.n - len(codes), time.perf_counter() - begin)

    def _reject(self, n: int, allowed: NDArray[np.bool_], rng: np.random.Generator) -> Codes:
        found = np.empty((0, self._codec.length), dtype=np.int16)
        for _ in range(_ROUNDS):
            if len(found) >= n:
                break
            codes = self._codec.encode(self._codec.space.sample(max(n, 256), rng))
            found = np.concatenate([found, codes[_fits(codes, allowed)]])
        return found[:n]

    def reload(self, folder: Path) -> None:
        """Nothing to load: uniform is uniform whatever was measured."""

    def close(self) -> None:
        """Nothing to free."""


def _fits(codes: Codes, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which sequences (n, L) have an allowed code at each position: (n,)."""
    return np.all(allowed[np.arange(codes.shape[1]), codes], axis=1)
