"""Masks of allowed codes as text: what a request to vLLM can carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ARGUMENT = "vitruvius_allowed"
"""Name under which a request carries its mask."""


def pack_mask(allowed: NDArray[np.bool_]) -> str:
    """A mask (L, K) as `L:K:` and its bits in hexadecimal, row after row."""
    length, codes = allowed.shape
    return f"{length}:{codes}:{np.packbits(allowed).tobytes().hex()}"


def unpack_mask(text: str) -> NDArray[np.bool_]:
    """Read what `pack_mask` wrote.

    Raises:
        ValueError: The text is no mask, or forbids everything at a position.
    """
    parts = str(text).split(":")  # a server passes on whatever it was sent
    if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()) or len(str(text)) > 1_000_000:
        raise ValueError("a mask of allowed codes looks like 6:64:ff00...")
    length, codes = int(parts[0]), int(parts[1])
    bits = np.frombuffer(bytes.fromhex(parts[2]), dtype=np.uint8)
    if length * codes == 0 or len(bits) != (length * codes + 7) // 8:
        raise ValueError(
            f"a mask of {length} x {codes} codes has {(length * codes + 7) // 8} bytes, not {len(bits)}"
        )
    allowed = np.unpackbits(bits, count=length * codes).reshape(length, codes).astype(bool)
    if not allowed.any(axis=1).all():
        raise ValueError("a mask of allowed codes must allow one at each position")
    return allowed
