"""How names, lists and numbers of predicates are written, in the text form and in English."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

KEYWORDS = frozenset(
    {"and", "or", "not", "feeds", "path", "count", "depth", "params", "flops", "latency", "op"}
)
"""Words that the text form needs for itself; a name that equals one is written in double quotes."""


def is_word(name: str) -> bool:
    """Whether a name can stand in the text form without quotes, wherever a name can stand."""
    return (
        re.fullmatch(r"[A-Za-z_][\w.]*(-[\w.]+)*", name, re.ASCII) is not None
        and name.lower() not in KEYWORDS
    )


def quoted(name: str) -> str:
    """The name as the text form writes it: `conv3x3`, `"max pool"`."""
    return name if is_word(name) else json.dumps(name, ensure_ascii=False)


def piped(names: Sequence[str]) -> str:
    """`conv1x1|conv3x3`; names that begin with a digit need no quotes here."""
    bare = (name if re.fullmatch(r"\d+", name, re.ASCII) else quoted(name) for name in names)
    return "|".join(bare)


def decision(name: str) -> str:
    """A decision's name inside of `op(...)`: `0->3`, or quoted where it could be misread."""
    bare = re.fullmatch(r"[\w.>:/-]+(?: [\w.>:/-]+)*", name, re.ASCII)
    return name if bare else json.dumps(name, ensure_ascii=False)


def decimal(value: float) -> str:
    """The shortest decimal text that reads back as the same number, without an exponent."""
    return np.format_float_positional(value, trim="-")


def printable(text: str) -> str:
    """One line without control characters; joiners, which Persian and Hindi need, stay."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in text)


def shortened(text: str, most: int) -> str:
    """The text; one of more characters is cut, at a word where there is one near, and ends in an ellipsis."""
    if len(text) <= most:
        return text
    word = text.rfind(" ", most * 3 // 4, most)
    return text[: most - 1 if word < 0 else word].rstrip(" ,;:") + "…"


def one(name: str) -> str:
    """`a conv3x3`, `an avgpool3x3`."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def listed(names: Sequence[str], word: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
