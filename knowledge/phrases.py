"""Taking a text apart, phrase by phrase: numbers, quantities and amounts with units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from vitruvius.knowledge.conditions import Comparison
from vitruvius.knowledge.vocabulary import (
    CALLED,
    COMPARISONS,
    COSTS,
    DENYING,
    FAMILIES,
    HAVING,
    NUMBERS,
    UNITS,
    singular,
    words_of,
    written,
)

Words = tuple[str, ...]
"""Some words in a row."""
Amount = tuple[float, float, str | None]
"""A number, what one is in millions or milliseconds, and the cost that its unit tells."""


def by_words(table: Mapping[str, str]) -> dict[Words, str]:
    """A table of what things are called, turned round: words -> thing."""
    return {words: meaning for meaning, names in table.items() for words in words_of(names)}


SAID, COST_WORDS = by_words(COMPARISONS), by_words(COSTS)
OPERATION_WORDS = by_words(CALLED) | {words: names for names in FAMILIES for words in words_of(names)}
"""Words for operations of any space."""


class Walker:
    """Walks over the words of a text; each method takes what it recognises at the present place, or nothing.

    Attributes:
        written: The words as they were written.
        words: The same as `vocabulary.tokens` gives them.
        at: The present place.
    """

    def __init__(self, text: str) -> None:
        """Stand before the first word."""
        self.written = written(text)
        self.words = [singular(word) for word in self.written]
        self.at = 0

    def longest(self, table: Mapping[Words, str]) -> tuple[str, int] | None:
        """The meaning of the longest entry that stands here, and its number of words; moves behind it."""
        for size in range(4, 0, -1):
            words = tuple(self.words[self.at : self.at + size])
            if len(words) == size and words in table:
                self.at += size
                return table[words], size
        return None

    def skip(self, *words: str) -> bool:
        """Move over one of these words if it stands here."""
        if self.at < len(self.words) and self.words[self.at] in words:
            self.at += 1
            return True
        return False

    def number(self) -> int | None:
        """A small number, in digits or as a word."""
        word = self.words[self.at] if self.at < len(self.words) else ""
        value = int(word) if word.isdecimal() and len(word) < 4 else NUMBERS.get(word)
        if value is not None:
            self.at += 1
        return value

    def quantity(self) -> tuple[Comparison, int]:
        """How many, as comparison and number; at least one where nothing is said."""
        start = self.at
        compared = self.longest(SAID)  # first: "no more than 2" denies nothing
        if compared is None and self._denied():
            self.skip("of")
            self.skip("a", "an", "any", "the")
            return "==", 0
        if self.skip("several", "multiple"):
            return ">=", 2
        number = self.number()
        if number is None:
            self.at = start
            self.skip("any", "some", "the")
            return ">=", 1
        if self.skip("or"):
            if self.skip("more"):
                return ">=", number
            if self.skip("fewer", "less"):
                return "<=", number
            self.at -= 1
        if number == 0 and compared is None:
            return "==", 0
        return (cast("Comparison", compared[0]) if compared else ">="), number

    def _denied(self) -> bool:
        """`no`, `without`, `removing`, `not having`: none of what follows."""
        if self.skip(*DENYING):
            return True
        if self.words[self.at : self.at + 1] == ["not"] and HAVING.intersection(
            self.words[self.at + 1 : self.at + 2]
        ):
            self.at += 2
            return True
        return False

    def amount(self) -> Amount | None:
        """A number with its unit: value, scale to millions or milliseconds, and the cost that it tells."""
        word = self.words[self.at] if self.at < len(self.words) else ""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", word)
        if found is None or found[2] not in UNITS:
            return None
        self.at += 1
        unit = found[2]
        if not unit and self.at < len(self.words) and self.words[self.at] in UNITS:
            unit = self.words[self.at]
            self.at += 1
        told, scale = UNITS[unit]
        return float(found[1]), scale, told
