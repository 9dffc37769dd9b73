"""What was recognised in a question, sorted into claim, rival, condition and direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from vitruvius.errors import InvalidPredicateError, UnknownNameError, UserError
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.conditions import MAX_NODES
from vitruvius.knowledge.predicate import All, AnyOf, AnyPredicate, Choice, Count, Not, Predicate
from vitruvius.knowledge.vocabulary import SPLITTING

Item = tuple[str, object]
"""A kind ("claim", "bound", "verb", "if", "or", "rival") and what was recognised."""


class Parts(NamedTuple):
    """A question taken apart.

    Attributes:
        claim: What is asked about; None where nothing was recognised.
        rival: What it is compared with ("better than ..."); None for all that lack it.
        where: What all that are compared must have; None for no condition.
        direction: +1 for "does it help", -1 for "does it hurt", 0 for "does it matter".
        sides: All that is asked about or compared with, one by one.
        split: Whether something stands on both sides of each word that compares.
    """

    claim: AnyPredicate | None
    rival: AnyPredicate | None
    where: AnyPredicate | None
    direction: int
    sides: tuple[AnyPredicate, ...]
    split: bool


def sorted_parts(items: Sequence[Item]) -> Parts:
    """Sort what was recognised, in the order in which it stands.

    A condition begins at a word such as "where" or "with" that comes after something was claimed and, if
    the question has a verb ("help"), after that. Bounds on costs are conditions. What stands behind "than"
    or "instead of" is what the claim is compared with.
    """
    verbs = [place for place, (kind, _) in enumerate(items) if kind == "verb"]
    claims, rivals, conditions = list[Item](), list[Item](), list[Item]()
    inside, side, latest, split = False, claims, claims, True
    for place, (kind, value) in enumerate(items):
        if kind == "if":
            said = any(known == "claim" for known, _ in claims)
            inside = inside or (said and (place > verbs[0] if verbs else value in ("where", "when", "if")))
        elif kind == "rival":
            side = latest = rivals if claims and not inside else side
            split = split and (value not in SPLITTING or bool(claims))
        elif kind != "verb":
            if kind != "or":
                latest = conditions if inside or kind == "bound" else side
            latest.append((kind, value))
    split = split and (bool(rivals) or not any(k == "rival" and v in SPLITTING for k, v in items))
    direction = next((int(cast("int", value)) for kind, value in items if kind == "verb"), 1)
    claim, rival = told_apart(joined(claims), joined(rivals))
    sides = tuple(cast("AnyPredicate", value) for kind, value in (*claims, *rivals) if kind != "or")
    return Parts(claim, rival, joined(conditions), direction, sides, split)


def joined(items: Sequence[Item]) -> AnyPredicate | None:
    """Predicates joined by and, groups of them by or.

    Raises:
        UserError: More than a predicate can hold.
    """
    groups: list[list[AnyPredicate]] = [[]]
    for kind, value in items:
        if kind == "or":
            groups.append([])
        else:
            groups[-1].append(cast("AnyPredicate", value))
    if max(map(len, (groups, *groups))) > MAX_NODES:
        raise UserError(f"The question names more than {MAX_NODES} things at once: ask about fewer.")
    parts = [group[0] if len(group) == 1 else All(parts=tuple(group)) for group in groups if group]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))


def told_apart(
    claim: AnyPredicate | None, rival: AnyPredicate | None
) -> tuple[AnyPredicate | None, AnyPredicate | None]:
    """Two numbers of the same operations as two groups: "2 skips better than 1" is `>= 2` against `== 1`."""
    if not (isinstance(claim, Count) and isinstance(rival, Count)) or claim.operations != rival.operations:
        return claim, rival
    if (claim.comparison, rival.comparison) != (">=", ">=") or claim.value == rival.value:
        return claim, rival
    less, more = sorted((claim, rival), key=lambda one: one.value)
    exact = less.model_copy(update={"comparison": "=="})
    return (exact, more) if less is claim else (more, exact)


def exactly_one(claim: Predicate, rival: Predicate) -> AnyOf:
    """That one of two holds and the other does not."""
    one, other = cast("AnyPredicate", claim), cast("AnyPredicate", rival)
    sides = (All(parts=(one, Not(part=other))), All(parts=(other, Not(part=one))))
    return AnyOf(parts=sides)


def formal(question: str, space: SearchSpace) -> tuple[Predicate, Predicate | None] | None:
    """A question that is written in the language of predicates."""
    parts = re.split(r"\s+where\s+", question.strip().rstrip("?"))
    try:
        claim, *rest = [Predicate.parse(part).check(space) for part in parts]
    except (InvalidPredicateError, UnknownNameError):
        return None
    return (claim, rest[0] if rest else None) if len(rest) < 2 else None


def formal_pieces(question: str, space: SearchSpace) -> tuple[str, dict[str, AnyPredicate]]:
    """Pieces of the predicate language inside a question (`op(0->3) = skip`), and choices as people say them.

    The latter are "skip at 0->3", "conv3x3 or conv5x5 in block5", "a width of 32", "width 32".

    Returns:
        The question with a word in place of each piece, and what each of these words means.
    """
    names = _any_of(decision.name for decision in space.decisions)
    choices = _any_of(choice for decision in space.decisions for choice in decision.choices)
    piece = rf"(?:(?:op|path|count)\([^()]*\)|{names})(?:\s*[<>=!]=?\s*[\w.|-]+)?"
    found: dict[str, AnyPredicate] = {}

    def keep(said: str, predicate: Predicate) -> str:
        try:
            found[f"piece{len(found)}"] = cast("AnyPredicate", predicate.check(space))
        except (InvalidPredicateError, UnknownNameError):
            return said
        return f" piece{len(found) - 1} "

    def written(match: re.Match[str]) -> str:
        try:
            return keep(match[0], Predicate.parse(match[0]))
        except InvalidPredicateError:
            return match[0]

    def said(match: re.Match[str]) -> str:
        decision = _written(match["decision"] or match["place"], [one.name for one in space.decisions])
        known = space.decisions[space.decision(decision)].choices
        several = [_written(one, known) for one in re.split(r"\s+or\s+", match["choice"] or match["value"])]
        if not set(several) <= set(known):
            return match[0]
        return " or ".join(keep(one, Choice(decision=decision, among=(one,))) for one in several)

    question = re.sub(piece, written, question)
    several = rf"{choices}(?:\s+or\s+{choices})*"
    first = rf"(?P<choice>{several})\s+(?:at|in|on|for|as)\s+(?:the\s+)?(?P<decision>{names})"
    last = rf"(?P<place>{names})\s+(?:(?:of|is|at|as)\s+)?(?P<value>{several})"
    return re.sub(rf"{first}|{last}", said, question, flags=re.IGNORECASE), found


def _written(said: str, names: Sequence[str]) -> str:
    """The name as it is written; what is said may differ in case."""
    return said if said in names else next((name for name in names if name.lower() == said.lower()), said)


def _any_of(names: Iterable[str]) -> str:
    """A pattern for any of these names, as whole words."""
    each = "|".join(re.escape(name) for name in sorted(set(names), key=len, reverse=True))
    return rf"(?<![\w.>-])(?:{each})(?![\w>-])"


__all__ = ["Item", "Parts", "exactly_one", "formal", "formal_pieces", "sorted_parts"]
