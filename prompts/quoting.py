"""Data inside prompts: what a model, a pack or a search result wrote stays data.

Every string that enters a template passes through `quote`. After it the text cannot close or open a tag,
cannot hold a control token of a chat format, cannot start a line that reads like a role, and hides no
characters. Values are never parsed by Jinja, whatever braces they hold: substitution happens once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from vitruvius.errors import TemplateError

Plain: TypeAlias = "str | int | float | bool | Sequence[Plain] | Mapping[str, Plain] | None"
"""What may be passed to a template: text, numbers, and lists and mappings of these."""

_JOINERS = "\u200c\u200d"  # letters of Persian and Hindi need them; they are kept, but hide no tag
_GAP = rf"[\s{_JOINERS}]*"
# "<" that could open or close something: a tag, a comment, <|token|>, <<SYS>>, or one split over two values.
_OPENER = re.compile(rf"<(?={_GAP}[/!?]|[{_JOINERS}]*[^\W\d]|[{_JOINERS}]*[|\uff5c<]|{_GAP}\Z)")
_BRACKET = re.compile(r"\[(/?\s*(?:INST|SYS|TOOL_CALLS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\s*)\]", re.IGNORECASE)
_BLANK = rf"(?:[^\S\n]|[{_JOINERS}])*"  # within a line
_ROLES = "system|user|assistant|human|developer|tool|ai"
_ROLE = re.compile(
    rf"^(?={_BLANK}[#*_>\-\[\"']{{0,4}}{_BLANK}(?:{_ROLES})\b[*_\]\"']{{0,3}}{_BLANK}[:\uff1a])",
    re.IGNORECASE | re.MULTILINE,
)
_BREAKS = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_MARK = "| "


def quote(text: str) -> str:
    """Make text harmless as data of a prompt.

    Args:
        text: Anything.

    Returns:
        The text with one kind of line break, without hidden characters, with U+2039 for each "<" that could
        close a tag, and with "| " before each line that reads like a role. Quoting twice changes
        nothing more.
    """
    text = _BREAKS.sub("\n", text)
    text = "".join(c for c in text if c in "\n\t" or c in _JOINERS or unicodedata.category(c)[0] != "C")
    text = _OPENER.sub("\u2039", text)
    text = _BRACKET.sub(r"(\1)", text)
    return _ROLE.sub(_MARK, text)


def quoted(value: object, where: str) -> Plain:
    """Quote a value of plain data, however deep its strings lie.

    Args:
        value: Text, a number, None, or lists and mappings of these.
        where: Name of the input, for the message.

    Returns:
        The same shape, each string (keys too) quoted, sequences as lists.

    Raises:
        TemplateError: The value is an object of another kind.
    """
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {quote(str(key)): quoted(item, where) for key, item in pairs}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [quoted(item, where) for item in cast("Sequence[object]", value)]
    raise TemplateError(
        f"The input {where!r} holds a {type(value).__name__}: templates take text, numbers, lists, mappings."
    )


__all__ = ["Plain", "quote", "quoted"]
