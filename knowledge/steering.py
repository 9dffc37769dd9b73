"""From what is wanted of a space's architectures to a guide for whatever writes codes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.guide import CodeTree
from vitruvius.generator.proposers.base import Codes, Guide
from vitruvius.generator.space import Choices, SearchSpace

SAMPLE = 100_000
"""Architectures that stand for a space that cannot be enumerated."""


class Encodes(Protocol):
    """The part of a codec that a guide needs."""

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        ...

    def encode(self, choices: Choices) -> Codes:
        """Codes (n, L) of rows (n, D)."""
        ...


class _Guides(Protocol):
    """`CodeTree` where a space can be enumerated, else `CodeSample`."""

    def guide(self, wanted: NDArray[np.bool_] | NDArray[np.floating[Any]]) -> Guide:
        """The guide towards some of the sequences."""
        ...


@lru_cache(maxsize=4)
def all_rows(space: SearchSpace) -> Choices:
    """All architectures of the space, or a fixed sample of it: (N, D)."""
    return space.sample(SAMPLE, np.random.default_rng(0)) if space.size is None else space.enumerate()


def guide_towards(
    codec: Encodes, space: SearchSpace, wanted: NDArray[np.bool_] | NDArray[np.floating[Any]]
) -> Guide:
    """The guide towards some architectures of a space.

    Exact where the space can be enumerated; else learned from a sample, within seconds of computing.

    Args:
        codec: Names the architectures.
        space: Its space.
        wanted: (N,) how much each of `all_rows(space)` is wanted, 0 to 1.

    Raises:
        UserError: Nothing is wanted, or numbers outside of 0 to 1.
    """
    if codec not in _MAKERS:
        _MAKERS[codec] = _maker(codec, space)
    return _MAKERS[codec].guide(wanted)


_MAKERS: WeakKeyDictionary[Encodes, _Guides] = WeakKeyDictionary()
"""Kept for as long as the codec lives: encoding is the slow part."""


def _maker(codec: Encodes, space: SearchSpace) -> _Guides:
    codes = codec.encode(all_rows(space))
    if space.size is not None:
        return CodeTree(codes, codec.codebook_size)
    from vitruvius.generator.guide_network import CodeSample  # needs torch

    return CodeSample(codes, codec.codebook_size)
