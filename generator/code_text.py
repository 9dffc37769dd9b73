"""The text form of code sequences: `c17 c3 c250`, one token for each inner node of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidCodesError
from vitruvius.generator.proposers.base import Codes

if TYPE_CHECKING:
    from vitruvius.generator.codes import Codec


def format_codes(codes: NDArray[np.integer[Any]]) -> list[str]:
    """Code sequences (n, L) as text: `c17 c3 c250` for each."""
    words = [f"c{code}" for code in range(int(codes.max(initial=-1)) + 1)]
    return [" ".join([words[code] for code in row]) for row in codes.tolist()]


def parse_codes(texts: Sequence[str], codec: Codec) -> Codes:
    """Read the text form of code sequences.

    Args:
        texts: Each exactly L tokens `c0` to `c{K-1}`, separated by white space.
        codec: Says what L and K are.

    Returns:
        (n, L) int16.

    Raises:
        InvalidCodesError: A foreign token, a code outside the codebook, or another number of tokens;
            says in which of the texts, and where.
    """
    numbers = {f"c{code}": code for code in range(codec.codebook_size)}
    found = np.empty((len(texts), codec.length), dtype=np.int16)
    for place, text in enumerate(texts):
        row = [numbers.get(token, -1) for token in text.split()]
        if len(row) != codec.length or min(row) < 0:
            raise _foreign(text, f"text {place + 1} of {len(texts)}", numbers, codec)
        found[place] = row
    return found


def _foreign(text: str, where: str, numbers: dict[str, int], codec: Codec) -> InvalidCodesError:
    """What is wrong with a text that is no code sequence."""
    allowed = f"{codec.space.name} has {codec.length} codes, each from c0 to c{codec.codebook_size - 1}"
    tokens = text.split()
    for place, token in enumerate(tokens, 1):
        if token not in numbers:
            return InvalidCodesError(f"{token[:40]!r} at place {place} of {where} is not a code: {allowed}.")
    return InvalidCodesError(f"{len(tokens)} codes were given in {where}: {allowed}.")
