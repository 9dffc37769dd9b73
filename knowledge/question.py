"""Reading a question about architectures without a language model: what is recognised, and what is not.

"Do two or more skip connections help under 1M parameters on cifar100?" is read as the claim `skip >= 2`,
the condition `params < 1M`, the direction "higher", and a task. It is no understanding of English: words of
`vocabulary` are looked for, in a few orders, and everything that was not recognised is told.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.conditions import Comparison
from vitruvius.knowledge.phrases import COST_WORDS, OPERATION_WORDS, SAID, Amount, Walker
from vitruvius.knowledge.predicate import (
    All,
    AnyOf,
    AnyPredicate,
    Bound,
    Count,
    Depth,
    Feeds,
    Not,
    Path,
    Predicate,
)
from vitruvius.knowledge.question_parts import Item, exactly_one, formal, formal_pieces, sorted_parts
from vitruvius.knowledge.vocabulary import (
    CHOOSING,
    CONDITION,
    DENYING,
    HAVING,
    LOWERS,
    RAISES,
    RIVAL,
    SILENT,
    UNITS,
    tokens,
    vocabulary,
)


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
        rival: What the claim is compared with ("better than ..."); None for all that lack it.
        steps: Where it asks how many or how deep: each number, to be looked at by itself.
    """

    claim: Predicate | None
    where: Predicate | None
    direction: int
    tasks: frozenset[str]
    foreign: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    rival: Predicate | None = None
    steps: tuple[Predicate, ...] = ()

    @property
    def within(self) -> Predicate | None:
        """What all that are compared have: the condition, and of two rivals exactly one."""
        if self.claim is None or self.rival is None:
            return self.where
        one = exactly_one(self.claim, self.rival)
        return one if self.where is None else All(parts=(cast("AnyPredicate", self.where), one))

    def text(self) -> str:
        """`skip >= 2, where params < 1M`."""
        claim = "nothing" if self.claim is None else self.claim.text()
        claim = claim if self.rival is None else f"{claim} rather than {self.rival.text()}"
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
    plain = formal(question, space)
    if plain is not None:
        claim, where = plain
        return Reading(claim, where, 1, frozenset(), (), (), ())
    return _Reader(question, space, costs, tasks, deep).reading()


class _Reader(Walker):
    """Reads a question for one space."""

    def __init__(
        self, question: str, space: SearchSpace, costs: Collection[str], tasks: Collection[str], deep: int
    ) -> None:
        question, self.pieces = formal_pieces(question, space)
        super().__init__(question)
        self.space, self.costs, self.deep = space, costs, deep
        self.names = vocabulary(space)
        self.tasks = {tuple(tokens(task.partition("/")[2])): task for task in tasks}
        self.items: list[Item] = []
        self.steps: tuple[Predicate, ...] = ()
        self.named: set[str] = set()
        self.left_out: set[str] = set()
        self.excepting = False
        self.choosing = "or" in self.words and not CHOOSING.isdisjoint(self.words)
        self.foreign: list[str] = []
        self.unknown: list[str] = []
        self.notes: list[str] = []

    def reading(self) -> Reading:
        """All of it; nothing is claimed of a space that lacks an operation which was named."""
        while self.at < len(self.words):
            self._step()
        claim, rival, where, direction = sorted_parts(self.items)
        if self.steps:  # what else was said is a condition
            where = All(parts=(claim, where)) if claim and where else claim or where
            claim = rival = None
        elif claim is None and not self.unknown:  # a bound is what is asked about, if nothing else was said
            claim, where = where, None
        if self.foreign:
            claim = rival = where = None
        named = self.named or (set(self.tasks.values()) if self.left_out else set[str]())
        return Reading(
            claim, where, direction, frozenset(named - self.left_out), tuple(dict.fromkeys(self.foreign)),
            tuple(dict.fromkeys(self.unknown)), tuple(self.notes), rival, self.steps,
        )  # fmt: skip

    def _step(self) -> None:
        if self._how_many():
            return
        if self.words[self.at] == "without":  # it denies what follows, and may begin a condition
            self.items.append(("if", "without"))
        if self._piece():
            return
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

    def _piece(self) -> bool:
        """A piece of the predicate language, or what was put in its place; "no", "without", "not" deny it."""
        start, denied = self.at, self.words[self.at] in DENYING or self.words[self.at] == "not"
        self.at += denied
        while denied and self.skip("a", "an", "any", "the", *HAVING):
            pass
        piece = self.pieces.get(self.words[self.at]) if self.at < len(self.words) else None
        if piece is None:
            self.at = start
            return False
        self.items.append(("claim", Not(part=piece) if denied else piece))
        self.at += 1
        return True

    def _word(self) -> None:
        """A word that is none of the phrases."""
        start = self.at
        self.quantity()
        foreign = self.longest(OPERATION_WORDS)
        if foreign is not None:
            self.foreign.append(" ".join(self.words[self.at - foreign[1] : self.at]))
            if self.longest(SAID) is not None:
                self.number()
            return
        self.at = start
        word = self.words[self.at]
        self.at += 1
        if word in RAISES or word in LOWERS:
            self.items.append(("verb", 1 if word in RAISES else -1))
        elif word in CONDITION:
            self.items.append(("if", word))
        elif word in RIVAL or (word == "or" and self.choosing):
            self.skip("to", "with", "of", "than")
            self.items.append(("rival", word))
        elif word == "or":
            self.items.append(("or", word))
        elif word == "except":
            self.excepting = True
        elif word not in SILENT:
            self.unknown.append(self.written[self.at - 1])

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

    def _how_many(self) -> bool:
        """`how many skips`, `how deep`: every number is looked at."""
        start, numbers = self.at, range(len(self.space.decisions) + 1)
        if self.skip("how") and self.skip("deep"):
            self.steps = tuple(_depth("==", number) for number in numbers)
            return True
        if self.skip("many"):
            operations = self._union("or")
            if operations is not None:
                self.steps = tuple(
                    Count(operations=operations, comparison="==", value=number) for number in numbers
                )
                return True
        self.at = start
        return False

    def _count(self) -> AnyPredicate | None:
        """`two or more skip connections`, `no pooling`, `conv3x3 >= 2`, `gcn followed by gat`."""
        comparison, value = self.quantity()
        self.skip("layer", "operation")
        self.skip("of")
        operations = self._union(*(() if self.choosing else ("or",)))
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

    def _task(self) -> bool:
        """The name of a task's data set, or its beginning: `imagenet16` for ImageNet16-120."""
        exact = self.longest(self.tasks)
        named = {exact[0]} if exact is not None else set[str]()
        if not named:
            word = self.words[self.at]
            named = {task for words, task in self.tasks.items() if words[0] == word}
            self.at += bool(named)
        (self.left_out if self.excepting else self.named).update(named)
        return bool(named)


def _depth(comparison: Comparison, value: int) -> AnyPredicate:
    return Depth(comparison=comparison, value=value)


def _bound(cost: str, comparison: str, value: float) -> AnyPredicate:
    return Bound.model_validate({"cost": cost, "comparison": comparison, "value": value})
