"""What a question says of depth, size and cost: numbers, or words such as "deep" and "small"."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import cast

from vitruvius.knowledge.conditions import Comparison
from vitruvius.knowledge.phrases import COST_WORDS, SAID, Amount, Walker
from vitruvius.knowledge.predicate import All, AnyPredicate, Bound, Depth
from vitruvius.knowledge.vocabulary import FEW, LOSSES, MANY, SIZES, UNITS, tokens


class Measures(Walker):
    """Takes phrases on depth and cost where they stand, or nothing.

    Attributes:
        costs: Names of costs that are known: "params", "latency[DEVICE]".
        middles: The middle of what was measured of some of them.
        deep: From which depth on an architecture counts as deep, where no number is given.
        notes: Sentences on how something was read.
        uneven: Words for much or little of what tasks have so differently that no middle divides them.
    """

    def __init__(
        self, question: str, costs: Collection[str], middles: Mapping[str, float], deep: int
    ) -> None:
        """Stand before the first word."""
        super().__init__(question)
        self.costs, self.middles, self.deep = costs, middles, deep
        self.notes: list[str] = []
        self.uneven: list[str] = []

    def _depth(self) -> AnyPredicate | None:
        """`depth >= 3`, `at least 3 operations deep`, `deeper than 2`, `deep`."""
        if self.words[self.at + 1 : self.at + 2] in (["deep"], ["shallow"], ["deeper"], ["shallower"]):
            self.skip("a", "an", "the")
        if self.skip("deeper", "shallower"):
            comparison: Comparison = ">" if self.words[self.at - 1] == "deeper" else "<"
            number = self.number() if self.skip("than") else None
            return self._split(comparison == ">") if number is None else _depth(comparison, number)
        if self.skip("depth"):
            while self.skip("of", "is", "are", "equal", "to"):
                pass
            compared = self.longest(SAID)
            number = self.number()
            if number is None:
                return self._split(True)
            return _depth(cast("Comparison", compared[0]) if compared else "==", number)
        if self.skip("deep", "shallow"):
            return self._split(self.words[self.at - 1] == "deep")
        comparison, number = self.quantity()
        return _depth(comparison, number) if self._deep((comparison, number) != (">=", 1)) else None

    def _deep(self, counted: bool) -> bool:
        """Whether a number is one of depth: `3 operations deep`, `3 layers in depth`, `3 layers`."""
        layers = self.skip("layer")
        if not layers:
            self.skip("operation")
        if self.skip("deep") or (self.skip("in") and self.skip("depth")):
            return True
        if not layers or not counted or self.words[self.at : self.at + 1] == ["of"]:
            return False
        self.notes.append("Layers are counted along the longest way from input to output, identities apart.")
        return True

    def _split(self, deep: bool) -> AnyPredicate:
        self.notes.append(
            f"No number was given for the depth: {self.deep} operations and more count as deep, which "
            f"divides what was measured most evenly."
        )
        return _depth(">=" if deep else "<", self.deep)

    def _bound(self) -> AnyPredicate | None:
        """`under 1.5M parameters`, `params < 1M`, `between 1M and 2M weights`, `at most 5 ms on raspi4`."""
        self.skip("a", "an", "the")
        cost = self.longest(COST_WORDS)
        self.skip("is", "are", "of")
        limits = self._limits()
        if not limits:
            return None
        told = limits[-1][1][2]
        cost = cost or self.longest(COST_WORDS)
        name = cost[0] if cost else told
        if name is None or (told is not None and told != name) or (name == "latency" and told is None):
            return None
        name = self._device() if name == "latency" else name
        if name is None:
            return None
        parts = [_bound(name, said, round(value * scale, 9)) for said, (value, scale, _) in limits]
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _limits(self) -> list[tuple[str, Amount]]:
        """Comparisons with amounts: `under 1M`, `between 1M and 2M`."""
        if self.skip("between"):
            low = self.amount()
            high = self.amount() if low and self.skip("and") else None
            if low is None or high is None:
                return []
            bare = low[1] == UNITS[""][1]  # "between 1 and 2M" means 1M
            return [(">=", (low[0], high[1] if bare else low[1], low[2])), ("<=", high)]
        compared = self.longest(SAID)
        amount = self.amount() if compared else None
        return [] if compared is None or amount is None or compared[0] == "==" else [(compared[0], amount)]

    def _device(self) -> str | None:
        """The latency that is meant: the device that is named here, or the only one that is known."""
        known = {tuple(tokens(name[len("latency[") : -1])): name for name in self.costs if "[" in name}
        start = self.at
        self.skip("on")
        named = self.longest(known)
        if named is not None:
            return named[0]
        self.at = start
        return next(iter(known.values())) if len(known) == 1 else None

    def _sized(self) -> AnyPredicate | None:
        """`more parameters`, `low latency`, `larger models`: above or below the middle of all measured."""
        self.skip("a", "an", "the")
        if not self.skip(*MANY, *FEW):
            return None
        word = self.words[self.at - 1]
        cost = self.longest(COST_WORDS)
        if cost is None and (word not in SIZES or LOSSES & set(self.words[self.at :])):
            return None
        name = cost[0] if cost else "params"
        name = self._device() if name == "latency" else name
        if name is None or name not in self.middles:
            return None
        if math.isnan(self.middles[name]):
            self.uneven.append(word)
            return None
        bound = _bound(name, ">=" if word in MANY else "<", float(f"{self.middles[name]:.3g}"))
        self.notes.append(
            f"No number was given for {name}: {bound.text()} divides what was measured in the middle."
        )
        return bound


def _depth(comparison: Comparison, value: int) -> AnyPredicate:
    return Depth(comparison=comparison, value=value)


def _bound(cost: str, comparison: str, value: float) -> AnyPredicate:
    return Bound.model_validate({"cost": cost, "comparison": comparison, "value": value})


__all__ = ["Measures"]
