"""How many tokens a prompt has, without the tokenizer of any model."""

from __future__ import annotations

import math
import re

_PIECES = re.compile(r"[^\W\d_]+|\d|\n+| {2,}|[^\w\s]|_")
_LATIN_END = "\u02af"


def estimated_tokens(text: str) -> int:
    """About how many tokens a model makes of a text: for "does it fit?", not for bills.

    Counted are pieces of words, single digits, signs and line breaks. Against the tokenizer of SmolLM2
    English, code and JSON come out up to 40 % too high, Chinese right, and German 20 % too low: that
    tokenizer knows little German. Large models need fewer tokens for all of them.
    """
    return math.ceil(sum(_weight(piece) for piece in _PIECES.findall(text)))


def _weight(piece: str) -> float:
    if not piece.isalpha():
        return 1.0
    if piece.isascii():
        return math.ceil(len(piece) / 4)
    return math.ceil(len(piece) / 2) if max(piece) <= _LATIN_END else 1.7 * len(piece)


__all__ = ["estimated_tokens"]
