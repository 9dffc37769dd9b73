"""Reading a question about architectures without a language model: what is recognised, and what is not.

"Do two or more skip connections help under 1M parameters on cifar100?" is read as the claim `skip >= 2`,
the condition `params < 1M`, the direction "higher", and a task. It is no understanding of English: words of
`vocabulary` are looked for, in a few orders, and everything that was not recognised is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile
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
    BEATING,
    COMPARING,
    CONDITION,
    DENYING,
    FEW,
    HAVING,
    LOSSES,
    LOWERS,
    NUMBERS,
    RIVAL,
    SILENT,
    SIZING,
    SUPERIOR,
    SWAPPING,
    TURNING,
    tending,
)

_GENERAL = frozenset({"operation", "op", "layer", "which", "what", "choice"})
_WHICH = re.compile(r"\b(?:which|what) (?:\w+ )?(?:operation|op|layer|choice)\b")
_BEST = frozenset({"best", "top", "worst"})
_WHOLE = frozenset({"architecture", "network", "model", "cell", "operation", "op", "layer", "choice"})
_FAMILIES = frozenset({"ogbn", "amazon", "coauthor", "planetoid"})
"""What often stands before the name of a data set."""
FEWEST_LETTERS = 5
"""Letters that the beginning of a data set's name must have: `cifar` for both of them."""
_GONE = frozenset({"absent", "missing", "gone"})
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
        direction: +1 if the question is whether it helps, -1 if whether it hurts, 0 if whether it matters.
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
        middles: Of which cost an architecture has much, likewise; nan where that differs between tasks.
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
        self.tasks = {"".join(re.findall(r"[^\W_]+", task.partition("/")[2].lower())): task for task in tasks}
        self.named: set[str] = set()
        self.left_out: set[str] = set()
        self.excepting = self.denying = self.preferring = False
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
        which = _WHICH.search(" ".join(self.words)) and rival is None and not self.choosing
        if self.steps or which:  # what else was said is a condition
            if rival is not None:
                self.unsure.append("than")
            where = All(parts=(claim, where)) if claim and where else claim or where
            claim = rival = None
        elif claim is None and not self.unknown:  # a bound is what is asked about, if nothing else was said
            claim, where = where, None
        else:
            claim, rival = self._side_by_side(parts)
        if rival is not None:
            direction = direction or 1  # "the effect of replacing gat by gcn"
        elif self._either():
            direction = 0
        if (
            self.unknown and len(parts.sides) + (where is not None) > 1
        ):  # how these belong together is not known
            self.unsure += self.unknown
        self.unsure += self.uneven
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

    def _either(self) -> bool:
        """Whether it is asked for help or harm, whichever it is: "good or bad?"."""
        words = [tending(word) for word in self.words]
        told = zip(words, self.words[1:], words[2:], strict=False)
        return any(joint == "or" and {one, other} == {1, -1} for one, joint, other in told)

    def _side_by_side(self, parts: Parts) -> tuple[AnyPredicate | None, AnyPredicate | None]:
        """Claim and rival, where things are named to choose from; three or more are looked at one by one."""
        claim, rival, sides = parts.claim, parts.rival, parts.sides
        counts = [side for side in sides if isinstance(side, Count)]
        apart = {(one.operations, one.value) for one in counts}
        alike = len(counts) == len(sides) == len(apart)
        if alike and len(sides) > 2 and (self.comparing or (self.choosing and not self.anded)):
            self.steps = sides
            return None, None
        if claim is not None and isinstance(rival, Count) and isinstance(claim, All) and rival in claim.parts:
            rest = [part for part in claim.parts if part != rival]  # "gat with gcn better than gcn"
            without = Not(part=rest[0] if len(rest) == 1 else All(parts=tuple(rest)))
            return claim, All(parts=(rival, without))
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
        elif (tends := tending(word)) is not None:
            self._verb(word, tends)
        elif word == "less" and self.at < len(self.words) and tending(self.words[self.at]):  # "less harmful"
            self.items.append(("verb", -(tending(self.words[self.at]) or 0)))
            self.at += 1
        elif word in ("all", "every", "each", "everywhere"):
            self._all(word)
        elif word in _GONE:
            self._gone(word)
        elif word[0].isdecimal() or NUMBERS.get(word, 0) > 1:  # a number that belongs to nothing
            self.unsure.append(self.written[self.at - 1])
        elif word in CONDITION:
            self.items.append(("if", word))
        elif word in RIVAL or (word == "or" and self.choosing) or (word == "to" and self.preferring):
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

    def _verb(self, word: str, tends: int) -> None:
        """`help`, `hurt`, `matter`; `outperforms gat`, `superior to gat`, `hurt less than gat`."""
        rest = self.words[self.at : self.at + 2]
        if rest == ["less", "than"]:
            tends, self.at = -tends, self.at + 1
        elif rest == ["more", "than"]:
            self.at += 1
        self.items.append(("verb", tends))
        if word in BEATING or (word in SUPERIOR and self.skip("to", "over")):
            self.items.append(("rival", word))
        self.preferring = self.preferring or word == "prefer"

    def _all(self, word: str) -> None:
        """`on all tasks`, `everywhere`: each is told by itself; of layers it would be another question."""
        behind, before = self.words[self.at : self.at + 2], self.words[max(self.at - 2, 0)]
        of_tasks = not {"task", "data", "dataset", "benchmark"}.isdisjoint(behind)
        if word == "everywhere":
            of_tasks = any(kind == "verb" for kind, _ in self.items)
        if of_tasks:
            self.notes.append("Yes or no is said of all tasks together: look at each of them above.")
        elif before != "at":  # "does it help at all?"
            self.unsure.append(word)

    def _gone(self, word: str) -> None:
        """`where gat is absent` denies what was named last; of several it is not known which."""
        behind = list(takewhile(lambda item: item[0] == "claim", reversed(self.items)))
        if len(behind) != 1:
            self.unsure.append(word)
            return
        self.items[-1] = ("claim", Not(part=cast("AnyPredicate", behind[0][1])))

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
        start = self.at
        self.skip(*_FAMILIES)
        for size in range(4, 0, -1):  # "CIFAR-10" and "cifar 10" are two words
            said = "".join(self.written[self.at : self.at + size])
            if len(self.written) >= self.at + size and said in self.tasks:
                self.at += size
                return {self.tasks[said]}
        said = self.written[self.at] if self.at < len(self.written) else ""
        begun = {task for name, task in self.tasks.items() if re.match(rf"{re.escape(said)}\d", name)}
        if len(said) < FEWEST_LETTERS or not begun:
            self.at = start
            return set()
        self.at += 1
        return begun
