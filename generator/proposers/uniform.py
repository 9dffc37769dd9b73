"""Uniform proposals: every architecture of the space equally often. The control for all others."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import numpy as np

from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.checks import check

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
        """Draw architectures, each as often as the request's guide wants it.

        Where the space is too large to list, architectures are drawn until enough are wanted; those that
        were not found after many rounds count as unfinished.
        """
        begin = time.perf_counter()
        check(request, self._codec)
        rng = np.random.default_rng(request.seed)
        if self._everything is None:
            codes = self._reject(request, rng)
        elif request.guide is None:
            codes = self._everything[rng.integers(len(self._everything), size=request.n)]
        else:
            mass = request.guide.weigh(self._everything).cumsum()
            codes = self._everything[np.searchsorted(mass, rng.random(request.n) * mass[-1], side="right")]
        return Draw(codes, request.n - len(codes), time.perf_counter() - begin)

    def _reject(self, request: Request, rng: np.random.Generator) -> Codes:
        found = np.empty((0, self._codec.length), dtype=np.int16)
        for _ in range(_ROUNDS):
            if len(found) >= request.n:
                break
            codes = self._codec.encode(self._codec.space.sample(max(request.n, 256), rng))
            if request.guide is not None:
                codes = codes[rng.random(len(codes)) < request.guide.weigh(codes)]
            found = np.concatenate([found, codes])
        return found[: request.n]

    def reload(self, folder: Path) -> None:
        """Nothing to load: uniform is uniform whatever was measured."""

    def close(self) -> None:
        """Nothing to free."""
