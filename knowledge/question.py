"""Reading a question about architectures without a language model: what is recognised, and what is not.

"Do two or more skip connections help under 1M parameters on cifar100?" is read as the claim `skip >= 2`,
the condition `params < 1M`, the direction "higher", and a task. It is no understanding of English: words of
`vocabulary` are looked for, in a few orders, and everything that was not recognised is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from vitruvius.errors import InvalidPredicateError, UnknownNameError
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.conditions import Comparison
from vitruvius.knowledge.phrases import COST_WORDS, OPERATION_WORDS, SAID, Walker
from vitruvius.knowledge.predicate import (
    All,
    AnyOf,
    AnyPredicate,
    Bound,
    Count,
    Depth,
    Feeds,
    Path,
    Predicate,
)
from vitruvius.knowledge.vocabulary import CONDITION, LOWERS, RAISES, SILENT, UNITS, tokens, vocabulary


@dataclass(frozen=True, slots=True)
class Reading:
    """What a question is read as, for one space.

    Attributes:
        claim: What architectures must have to be asked about; None where nothing was recognised.
        where: What all that are compared must have; None for no condition.
        direction: +1 if the question is whether it helps, -1 if whether it hurts.
        tasks: Tasks that it names; empty for all.
        foreign: Words for operations that other spaces have and this one lacks.
        unknown: Words that were not recognised.
        notes: Sentences on how something was read.
    """

    claim: Predicate | None
    where: Predicate | None
    direction: int
    tasks: frozenset[str]
    foreign: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """`skip >= 2, where params < 1M`."""
        claim = "nothing" if self.claim is None else self.claim.text()
        return claim if self.where is None else f"{claim}, where {self.where.text()}"


def read(
    question: str,
    space: SearchSpace,
    *,
    costs: Collection[str] = (),
    tasks: Collection[str] = (),
    deep: int = 3,
) -> Reading:
    """Read a question for one space.

    Args:
        question: In English, or a predicate in the text form, or one with a second after "where".
        space: The space.
        costs: Names of costs that are known: "params", "latency[DEVICE]".
        tasks: Names of tasks that may be named.
        deep: From which depth on an architecture counts as deep, where the question gives no number.
    """
    formal = _formal(question, space)
    if formal is not None:
        claim, where = formal
        return Reading(claim, where, 1, frozenset(), (), (), ())
    return _Reader(question, space, costs, tasks, deep).reading()


def _formal(question: str, space: SearchSpace) -> tuple[Predicate, Predicate | None] | None:
    """A question that is written in the language of predicates."""
    parts = re.split(r"\s+where\s+", question.strip().rstrip("?"))
    try:
        claim, *rest = [Predicate.parse(part).check(space) for part in parts]
    except (InvalidPredicateError, UnknownNameError):
        return None
    return (claim, rest[0] if rest else None) if len(rest) < 2 else None


class _Reader(Walker):
    """Reads a question for one space."""

    def __init__(
        self, question: str, space: SearchSpace, costs: Collection[str], tasks: Collection[str], deep: int
    ) -> None:
        super().__init__(question)
        self.space, self.costs, self.deep = space, costs, deep
        self.names = vocabulary(space)
        self.tasks = {tuple(tokens(task.partition("/")[2])): task for task in tasks}
        self.items: list[tuple[str, object]] = []
        self.named: set[str] = set()
        self.foreign: list[str] = []
        self.unknown: list[str] = []
        self.notes: list[str] = []

    def reading(self) -> Reading:
        """All of it; nothing is claimed of a space that lacks an operation which was named."""
        while self.at < len(self.words):
            self._step()
        claim, where, direction = _sorted(self.items)
        if claim is None and not self.unknown:  # a bound is what is asked about, if nothing else was said
            claim, where = where, None
        if self.foreign:
            claim, where = None, None
        return Reading(
            claim, where, direction, frozenset(self.named), tuple(dict.fromkeys(self.foreign)),
            tuple(dict.fromkeys(self.unknown)), tuple(self.notes),
        )  # fmt: skip

    def _step(self) -> None:
        if self.words[self.at] == "without":  # it denies what follows, and may begin a condition
            self.items.append(("if", "without"))
        for kind, take in (
            ("bound", self._bound), ("claim", self._path), ("claim", self._depth), ("claim", self._count),
        ):  # fmt: skip
            start = self.at
            found = take()
            if found is not None:
                self.items.append((kind, found))
                return
            self.at = start
        if not self._task():
            self._word()

    def _word(self) -> None:
        """A word that is none of the phrases."""
        start = self.at
        self.quantity()
        foreign = self.longest(OPERATION_WORDS)
        if foreign is not None:
            self.foreign.append(" ".join(self.words[self.at - foreign[1] : self.at]))
            return
        self.at = start
        word = self.words[self.at]
        self.at += 1
        if word in RAISES or word in LOWERS:
            self.items.append(("verb", 1 if word in RAISES else -1))
        elif word in CONDITION:
            self.items.append(("if", word))
        elif word == "or":
            self.items.append(("or", word))
        elif word not in SILENT:
            self.unknown.append(word)

    # ---- phrases -----------------------------------------------------------------------------

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

    def _count(self) -> AnyPredicate | None:
        """`two or more skip connections`, `no pooling`, `conv3x3 >= 2`, `gcn followed by gat`."""
        comparison, value = self.quantity()
        self.skip("of")
        operations = self._union("or")
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

    def _feeds(self, first: tuple[str, ...]) -> AnyPredicate | None:
        start, turned = self.at, False
        if self.skip("after"):
            turned = True
        elif self.skip("followed"):
            self.skip("by")
        elif self.skip("feed", "feeding"):
            self.skip("into")
        elif not self.skip("before", "into"):
            return None
        self.skip("a", "an", "any", "the", "another")
        second = self._union("or")
        if second is None:
            self.at = start
            return None
        pairs = [(b, a) if turned else (a, b) for a in first for b in second]
        parts = tuple(Feeds(first=a, second=b) for a, b in pairs)
        return parts[0] if len(parts) == 1 else AnyOf(parts=parts)

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

    def _depth(self) -> AnyPredicate | None:
        """`depth >= 3`, `at least 3 operations deep`, `deeper than 2`, `deep`."""
        if self.skip("deeper", "shallower"):
            comparison: Comparison = ">" if self.words[self.at - 1] == "deeper" else "<"
            number = self.number() if self.skip("than") else None
            return self._split(comparison == ">") if number is None else _depth(comparison, number)
        if self.skip("depth"):
            self.skip("of")
            compared = self.longest(SAID)
            number = self.number() if compared else None
            if compared is None or number is None:
                return self._split(True)
            return _depth(cast("Comparison", compared[0]), number)
        if self.skip("deep", "depth", "shallow"):
            return self._split(self.words[self.at - 1] == "deep")
        comparison, number = self.quantity()
        self.skip("operation", "layer")
        return _depth(comparison, number) if self.skip("deep") else None

    def _split(self, deep: bool) -> AnyPredicate:
        self.notes.append(
            f"No number was given for the depth: {self.deep} operations and more count as deep, which "
            f"divides what was measured most evenly."
        )
        return _depth(">=" if deep else "<", self.deep)

    def _bound(self) -> AnyPredicate | None:
        """`under 1.5M parameters`, `params < 1M`, `at most 5 ms on raspi4`."""
        self.skip("a", "an", "the")
        cost = self.longest(COST_WORDS)
        self.skip("is", "are", "of")
        compared = self.longest(SAID)
        amount = self.amount() if compared else None
        if compared is None or amount is None or compared[0] == "==":
            return None
        value, scale, told = amount
        cost = cost or self.longest(COST_WORDS)
        name = cost[0] if cost else told
        if name is None or (told is not None and told != name) or (name == "latency" and told is None):
            return None
        name = self._device() if name == "latency" else name
        return None if name is None else _bound(name, compared[0], round(value * scale, 9))

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

    def _task(self) -> bool:
        """The name of a task's data set, or its beginning: `imagenet16` for ImageNet16-120."""
        exact = self.longest(self.tasks)
        if exact is not None:
            self.named.add(exact[0])
            return True
        word = self.words[self.at]
        begun = {task for words, task in self.tasks.items() if words[0] == word}
        if not begun:
            return False
        self.at += 1
        self.named |= begun
        return True


def _depth(comparison: Comparison, value: int) -> AnyPredicate:
    return Depth(comparison=comparison, value=value)


def _bound(cost: str, comparison: str, value: float) -> AnyPredicate:
    return Bound.model_validate({"cost": cost, "comparison": comparison, "value": value})


def _sorted(items: list[tuple[str, object]]) -> tuple[Predicate | None, Predicate | None, int]:
    """Claim, condition and direction of what was recognised.

    A condition begins at a word such as "where" or "with" that comes after something was claimed and, if
    the question has a verb ("help"), after that. Bounds on costs are conditions.
    """
    verbs = [place for place, (kind, _) in enumerate(items) if kind == "verb"]
    claims: list[tuple[str, object]] = []
    conditions: list[tuple[str, object]] = []
    inside, latest = False, claims
    for place, (kind, value) in enumerate(items):
        if kind == "if":
            said = any(known == "claim" for known, _ in claims)
            inside = inside or (said and (place > verbs[0] if verbs else value in ("where", "when", "if")))
        elif kind != "verb":
            if kind != "or":
                latest = conditions if inside or kind == "bound" else claims
            latest.append((kind, value))
    direction = next((int(cast("int", value)) for kind, value in items if kind == "verb"), 1)
    return _joined(claims), _joined(conditions), direction


def _joined(items: list[tuple[str, object]]) -> AnyPredicate | None:
    """Predicates joined by and, groups of them by or."""
    groups: list[list[AnyPredicate]] = [[]]
    for kind, value in items:
        if kind == "or":
            groups.append([])
        else:
            groups[-1].append(cast("AnyPredicate", value))
    parts = [group[0] if len(group) == 1 else All(parts=tuple(group)) for group in groups if group]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))
