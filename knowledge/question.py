"""Reading a question about architectures without a language model: what is recognised, and what is not.

"Do two or more skip connections help under 1M parameters on cifar100?" is read as the claim `skip >= 2`,
the condition `params < 1M`, the direction "higher", and a task. It is no understanding of English: words of
`vocabulary` are looked for, in a few orders, and everything that was not recognised is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.phrases import OPERATION_WORDS, SAID
from vitruvius.knowledge.predicate import All, AnyOf, AnyPredicate, Count, Not, Predicate
from vitruvius.knowledge.question_operations import Operations
from vitruvius.knowledge.question_parts import (
    Parts,
    exactly_one,
    formal,
    formal_pieces,
    sorted_parts,
    told_apart,
)
from vitruvius.knowledge.vocabulary import (
    ABOUT_COSTS,
    COMPARING,
    CONDITION,
    DENYING,
    FEW,
    HAVING,
    LOSSES,
    LOWERS,
    RAISES,
    RIVAL,
    SILENT,
    SIZING,
    SWAPPING,
    TURNING,
    tokens,
)

_GENERAL = frozenset({"operation", "op", "layer", "which", "choice"})
_BEST = frozenset({"best", "top"})
_WHOLE = frozenset({"architecture", "network", "model", "cell"})
_ENDS = r"(?= (?:have|has|had|use|need|contain|cost|one|found|known|so|on|in|for|under)\b|$)"
_ONE = re.compile(
    rf"\bwinner\b|\bthe (?:best|top) (?:have|has|had|one)\b"
    rf"|\b(?:do|does|did|of|in|have|has|had) the (?:best|top){_ENDS}"
    rf"|\bhow (?!many|much)\w+ (?:is|are|was) the (?:best|top){_ENDS}"
    rf"|^(?:what|which|who|show|tell|describe)(?: (?:is|are|was|me|us|about))* the (?:best|top){_ENDS}"
)
"""The best, or the winner, where that is one architecture and no praise: "how large is the best?"."""


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
        steps: What is to be looked at one by one: where it asks how many or how deep each number, where it
            names three or more to choose from each of them.
        unsure: Words that may turn the question round, and were not understood: then nothing is claimed.
        general: Whether it speaks of operations in general.
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
    unsure: tuple[str, ...] = ()
    general: bool = True

    @property
    def numbered(self) -> bool:
        """Whether `steps` are numbers of one thing, not things to choose from."""
        return len({step.operations if isinstance(step, Count) else () for step in self.steps}) == 1

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
    middles: Mapping[str, float] | None = None,
) -> Reading:
    """Read a question for one space.

    Args:
        question: In English, or a predicate in the text form, or one with a second after "where".
        space: The space.
        costs: Names of costs that are known: "params", "latency[DEVICE]".
        tasks: Names of tasks that may be named.
        deep: From which depth on an architecture counts as deep, where the question gives no number.
        middles: Of which cost an architecture has much, likewise.
    """
    plain = formal(question, space)
    if plain is not None:
        claim, where = plain
        return Reading(claim, where, 1, frozenset(), (), (), ())
    return _Reader(question, space, costs, tasks, deep, middles or {}).reading()


class _Reader(Operations):
    """Reads a question for one space."""

    def __init__(
        self,
        question: str,
        space: SearchSpace,
        costs: Collection[str],
        tasks: Collection[str],
        deep: int,
        middles: Mapping[str, float],
    ) -> None:
        self.unsure = [match.replace(" ", "") for match in re.findall(r"(?<=[<>=])\s*-\s*\d+", question)]
        question, self.pieces = formal_pieces(question, space)
        super().__init__(question, space, costs, middles, deep)
        self.tasks = {tuple(tokens(task.partition("/")[2])): task for task in tasks}
        self.named: set[str] = set()
        self.left_out: set[str] = set()
        self.excepting = self.denying = False
        said = set(self.words)
        self.comparing = bool(COMPARING & said) or re.search(
            r"\b(as good as|best of)\b", " ".join(self.words)
        )
        self.swapping, self.anded = bool(SWAPPING & said), False
        self.foreign: list[str] = []
        self.unknown: list[str] = []

    def reading(self) -> Reading:
        """All of it; nothing is claimed of a space that lacks an operation which was named."""
        while self.at < len(self.words):
            self._step()
        parts = sorted_parts(self.items)
        claim, rival, where, direction = parts[:4]
        if not parts.split and len(self.named) > 1:
            self.notes.append("Each task is told by itself; whether two of them differ is not tested.")
        elif not parts.split:
            self.unsure.append("than")
        if self.steps:  # what else was said is a condition
            if rival is not None:
                self.unsure.append("than")
            where = All(parts=(claim, where)) if claim and where else claim or where
            claim = rival = None
        elif claim is None and not self.unknown:  # a bound is what is asked about, if nothing else was said
            claim, where = where, None
        else:
            claim, rival = self._side_by_side(parts)
        if _ONE.search(" ".join(self.words)):
            self.unsure.append("the winner" if "winner" in self.words else "the best")
        if self.foreign or self.unsure:
            claim = rival = where = None
            self.steps, self.notes = (), []
        named = self.named or (set(self.tasks.values()) if self.left_out else set[str]())
        return Reading(
            claim, where, direction, frozenset(named - self.left_out), tuple(dict.fromkeys(self.foreign)),
            tuple(dict.fromkeys(self.unknown)), tuple(dict.fromkeys(self.notes)), rival, self.steps,
            tuple(dict.fromkeys(self.unsure)), not _GENERAL.isdisjoint(self.words),
        )  # fmt: skip

    def _side_by_side(self, parts: Parts) -> tuple[AnyPredicate | None, AnyPredicate | None]:
        """Claim and rival, where things are named to choose from; three or more are looked at one by one."""
        claim, rival, sides = parts.claim, parts.rival, parts.sides
        counts = [side for side in sides if isinstance(side, Count)]
        apart = {(one.operations, one.value) for one in counts}
        alike = len(counts) == len(sides) == len(apart)
        if alike and len(sides) > 2 and (self.comparing or (self.choosing and not self.anded)):
            self.steps = sides
            return None, None
        if rival is None and len(sides) == 2 and alike:
            same = counts[0].operations == counts[1].operations  # "one skip or two skips"
            if self.comparing or self.swapping or (same and isinstance(claim, AnyOf)):
                claim, rival = told_apart(*sides)
        return (rival, claim) if self.swapping and rival is not None else (claim, rival)

    def _step(self) -> None:
        if self._how_many():
            return
        if self.words[self.at] == "without":  # it denies what follows, and may begin a condition
            self.items.append(("if", "without"))
        if self._piece():
            return
        for kind, take in (
            ("bound", self._bound), ("bound", self._sized), ("claim", self._path), ("claim", self._depth),
            ("claim", self._count),
        ):  # fmt: skip
            start = self.at
            found = take()
            if found is not None:
                self._keep(kind, found)
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
        self._keep("claim", Not(part=piece) if denied else piece)
        self.at += 1
        return True

    def _keep(self, kind: str, found: AnyPredicate) -> None:
        self.items.append((kind, Not(part=found) if self.denying else found))
        self.denying = False

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
        if word in SIZING and LOSSES & set(self.words):  # "lower the loss", "a smaller error"
            self.items.append(("verb", 1 if word in FEW or word in LOWERS else -1))
        elif word in LOSSES:
            pass
        elif word in _BEST and self.skip(*_WHOLE):
            self.unsure.append(" ".join(self.written[self.at - 2 : self.at]))
        elif word in RAISES or word in LOWERS:
            self.items.append(("verb", 1 if word in RAISES else -1))
        elif word in CONDITION:
            self.items.append(("if", word))
        elif word in RIVAL or (word == "or" and self.choosing):
            self.skip("to", "with", "of", "than")
            self.items.append(("rival", word))
        elif word == "or":
            self.items.append(("or", word))
        elif word in ("except", "unless", "but"):
            self._exception(word)
        elif word in SWAPPING:
            while self.skip("a", "an", "the"):
                pass
        elif word in TURNING or word in ABOUT_COSTS:
            self.unsure.append(self.written[self.at - 1])
        elif word not in SILENT and word not in COMPARING:
            elsewhere = self.at > 1 and self.words[self.at - 2] == "on"  # a task that nobody measured, say
            (self.unsure if elsewhere else self.unknown).append(self.written[self.at - 1])
        self.anded = self.anded or word == "and"

    def _exception(self, word: str) -> None:
        """`except cora`, `but on cora`, `unless fc is there`, `except when fc is there`, `but not fc`."""
        start = self.at
        while self.skip("for", "on", "in"):
            pass
        behind = self.at
        if word != "unless" and self._tasks_here():
            self.at, self.excepting = behind, True
            return
        self.at = start
        after = self.words[self.at : self.at + 1]
        if word == "unless" or (word == "except" and CONDITION.intersection(after)):
            self.skip(*CONDITION, "there")
            self.skip("is", "are", "there")
            self.items.append(("if", "where"))
            self.denying = True
        elif not (word == "but" and after and (after[0] in DENYING or after[0] == "not")):
            self.unsure.append(word)

    def _task(self) -> bool:
        """The name of a task's data set, or its beginning: `imagenet16` for ImageNet16-120."""
        named = self._tasks_here()
        (self.left_out if self.excepting else self.named).update(named)
        return bool(named)

    def _tasks_here(self) -> set[str]:
        exact = self.longest(self.tasks)
        if exact is not None or self.at >= len(self.words):
            return {exact[0]} if exact is not None else set()
        word = self.words[self.at]
        named = {task for words, task in self.tasks.items() if words[0] == word}
        self.at += bool(named)
        return named
