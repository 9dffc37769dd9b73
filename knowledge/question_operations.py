"""What a question says of operations: how many, which after which, on which paths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.conditions import Comparison
from vitruvius.knowledge.phrases import COST_WORDS, SAID
from vitruvius.knowledge.predicate import AnyOf, AnyPredicate, Count, Depth, Feeds, Not, Path, Predicate
from vitruvius.knowledge.question_measures import Measures
from vitruvius.knowledge.question_parts import Item
from vitruvius.knowledge.vocabulary import CHOOSING, ORDINALS, UNITS, vocabulary


class Operations(Measures):
    """Takes phrases on operations where they stand, or nothing.

    Attributes:
        space: Whose operations are meant.
        items: What was recognised so far.
        steps: Numbers of which each is to be looked at by itself.
        choosing: Whether "or" stands between things to choose from.
    """

    def __init__(
        self,
        question: str,
        space: SearchSpace,
        costs: Collection[str],
        middles: Mapping[str, float],
        deep: int,
    ) -> None:
        """Stand before the first word."""
        super().__init__(question, costs, middles, deep)
        self.space, self.names = space, vocabulary(space)
        self.items: list[Item] = []
        self.steps: tuple[Predicate, ...] = ()
        self.choosing = "or" in self.words and not CHOOSING.isdisjoint(self.words)

    def _operations(self) -> tuple[str, ...] | None:
        for size in range(4, 0, -1):
            words = tuple(self.words[self.at : self.at + size])
            if len(words) == size and words in self.names:
                self.at += size
                self.skip("connection", "operation", "layer")
                return self.names[words]
        return None

    def _union(self, *joints: str) -> tuple[str, ...] | None:
        """Operations named one after the other: `conv1x1 or conv3x3`."""
        found = self._operations()
        while found is not None:
            start = self.at
            more = self._operations() if self.skip(*joints) else None
            if more is None:
                self.at = start
                return tuple(dict.fromkeys(found))
            found = (*found, *more)
        return None

    def _how_many(self) -> bool:
        """`how many skips`, `how deep`: every number is looked at."""
        start, numbers = self.at, range(len(self.space.decisions) + 1)
        if (how := self.skip("how")) and self.skip("deep"):
            self.steps = tuple(Depth(comparison="==", value=number) for number in numbers)
            return True
        if self.skip("many") if how else self.skip("more", "fewer", "less"):
            operations = self._union("or")
            if operations is not None:
                self.steps = tuple(
                    Count(operations=operations, comparison="==", value=number) for number in numbers
                )
                return True
        self.at = start
        return False

    def _count(self) -> AnyPredicate | None:
        """`two or more skip connections`, `no pooling`, `conv3x3 >= 2`, `gcn followed by gat`, `not gcn`."""
        start = self.at
        if self.skip("not"):
            self.skip("a", "an", "any", "the")
            if (operations := self._operations()) is not None:
                return Count(operations=operations, comparison="==", value=0)
            self.at = start
        if (more := self._one_more()) is not None:
            return more
        comparison, value = self.quantity()
        self.skip("layer", "operation")
        self.skip("of")
        joints = () if self.choosing else ("or",)
        operations = self._union(*joints)
        if operations is None and self.at > start:  # the number was a name: "zero"
            self.at, comparison, value = start, ">=", 1
            operations = self._union(*joints)
        if operations is None:
            return None
        follower = self._feeds(operations)
        if follower is not None:
            return follower
        start = self.at
        compared = self.longest(SAID)
        number = self.number() if compared else None
        if compared is None or number is None or self.skip(*UNITS) or self.longest(COST_WORDS) is not None:
            self.at = start  # what follows is a bound on a cost
        else:
            comparison, value = cast("Comparison", compared[0]), number
        if (comparison, value) == (">=", 0):
            return None
        return Count(operations=operations, comparison=comparison, value=value)

    def _one_more(self) -> AnyPredicate | None:
        """`a second skip`: two or more, among those that have one."""
        start = self.at
        self.skip("a", "an", "the")
        number = ORDINALS.get(self.words[self.at]) if self.at < len(self.words) else None
        self.at += number is not None
        operations = None if number is None else self._union("or")
        if number is None or operations is None:
            self.at = start
            return None
        self.items.append(("bound", Count(operations=operations, comparison=">=", value=number - 1)))
        return Count(operations=operations, comparison=">=", value=number)

    def _feeds(self, first: tuple[str, ...]) -> AnyPredicate | None:
        start, turned = self.at, False
        denied = self.skip("not")
        self.skip("directly")
        if self.skip("after"):
            turned = True
        elif self.skip("followed"):
            self.skip("by")
        elif self.skip("feed", "feeding"):
            self.skip("into")
        elif not self.skip("before", "into"):
            self.at = start
            return None
        self.skip("a", "an", "any", "the", "another")
        second = self._union("or")
        if second is None:
            self.at = start
            return None
        pairs = [(b, a) if turned else (a, b) for a in first for b in second]
        parts = tuple(Feeds(first=a, second=b) for a, b in pairs)
        found: AnyPredicate = parts[0] if len(parts) == 1 else AnyOf(parts=parts)
        return Not(part=found) if denied else found

    def _path(self) -> AnyPredicate | None:
        """`a path (from input to output) of skip and conv3x3`."""
        self.skip("a", "an", "any", "the")
        self.skip("direct")
        if not self.skip("path"):
            return None
        while self.skip("from", "input", "to", "output", "made", "only", "of", "through", "with"):
            pass
        operations = self._union("or", "and")
        return None if operations is None else Path(operations=operations)


__all__ = ["Operations"]
