"""An answer as text, with architectures drawn, and as plain data."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any

from vitruvius.knowledge.answer import Answer, SpaceAnswer, TaskAnswer, verdict
from vitruvius.knowledge.evidence import untold
from vitruvius.knowledge.principle import Effect, Principle
from vitruvius.knowledge.vocabulary import ABOUT_COSTS, SIZES, singular, vocabulary

DRAWN = 2
"""Counter-examples that are drawn."""


_ASKED = {1: "help", -1: "hurt", 0: "matter"}
_PRINCIPLE = re.compile(r"p[0-9a-f]{10}")


def answer_lines(answer: Answer, drawn: int = DRAWN) -> Iterator[str]:
    """An answer for people, line by line.

    Args:
        answer: The answer.
        drawn: Counter-examples drawn for each space.
    """
    if answer.unknown:  # first, so that nobody takes what follows for an answer to all that was asked
        yield f"not recognised: {', '.join(_hinted(word, answer) for word in answer.unknown)}"
    yield from _elsewhere(answer)
    for each in answer.spaces:
        yield from space_lines(each, len(answer.spaces) > 1)
        yield from _counter_examples(each, drawn)
    if not answer.spaces:
        yield "Nothing was measured yet."
    yield from answer.notes
    if answer.nearest:
        yield ""
        yield "Principles nearest in meaning"
    for match in answer.nearest:
        principle, joined = match.principle, match.principle.evidence.joined
        told = "not tested yet" if joined is None else effect_text(joined)
        yield f"[{principle.id}]  {principle.status.value:<10}  {principle.told}  {told}"


def _elsewhere(answer: Answer) -> Iterator[str]:
    """What else would tell what was asked about."""
    words = [*answer.unknown, *(word for each in answer.spaces for word in each.reading.unsure)]
    if any(singular(word) in ABOUT_COSTS for word in words):
        yield "what architectures cost is known, not learned: `vitruvius principles costs` tells it"
    if any(" " in word for word in words):
        yield "which architectures are best: `vitruvius show` tells it"
    if any(singular(word) in SIZES for word in words):
        yield "what is large for one task is small for another: give a number, or name one task"
    for word in words:
        if _PRINCIPLE.fullmatch(word):
            yield f"{word} is the id of a principle: `vitruvius principles show {word}`"


def space_lines(each: SpaceAnswer, several: bool = False) -> Iterator[str]:
    """What was understood and measured on one space, without drawings; with its name if there are several."""
    reading, space = each.reading, each.space.name
    where = f" on {space}" if several else ""
    if reading.foreign:
        yield f"{space} has no operation called {', '.join(reading.foreign)}: nothing to be told there."
        return
    if reading.unsure:
        told = ", ".join(repr(word) for word in reading.unsure)
        some = [*each.space.operations, *each.space.operations][:2]
        yield f"not answered{where}: {told} may make another question of it, and was not understood."
        yield f"  Ask in other words, or exactly, for example: {some[0]} >= 2 where {some[1]} == 0"
        return
    if reading.claim is None:
        yield from _each_by_itself(each, where)
        return
    asked = f"does it {_ASKED[reading.direction]}?"
    yield f"understood{where} as: {reading.text()}: {asked}"
    if reading.rival is not None:
        yield "  (with: the first of the two, without: the second; what has both or neither is left out)"
    if not each.tasks:
        yield f"Nothing that was measured{where} can be asked this."
        return
    if each.verdict is None:
        words = ", ".join(map(repr, reading.unknown))
        yield f"no yes or no, since {words} was not understood; what was measured of {reading.text()}:"
    else:
        yield f"{each.verdict}  [measured]"
    if each.joined is not None and len(each.tasks) > 1:
        yield f"  all tasks   {effect_text(each.joined)}"
        if left := untold((task.place.task, task.effect) for task in each.tasks):
            names = ", ".join(name.rpartition("/")[2] for name in left)
            yield f"  without {names}: too little measured there"
    for task in each.tasks:
        told = "" if task.effect is None else f"  {effect_text(task.effect)}"
        yield f"  {task.coverage}{told}"
    yield from _shares(each)


def _shares(each: SpaceAnswer) -> Iterator[str]:
    """How much of the space has it: of each task by itself where costs decide that."""
    told = [task for task in each.tasks if not (math.isnan(task.share) or task.nowhere)]
    alike = len({task.share for task in told}) == 1
    for task in told[:1] if alike else told:
        on = "" if alike else f" on {task.place.task.rpartition('/')[2]}"
        about = "" if each.space.size is not None else "about "  # a sample of it was looked through
        share = f"{about}{task.share:.2%}" if task.share >= 0.0001 else "less than 0.01%"
        yield f"  in the whole space {share} have it{on}"


def _each_by_itself(each: SpaceAnswer, where: str) -> Iterator[str]:
    """Operations or numbers, one on a line, and what can be said of them together."""
    reading = each.reading
    condition = "" if reading.where is None else f", where {reading.where.text()}"
    if not each.singles:
        known = ", ".join(each.space.operations)
        yield f"nothing that can be asked about was recognised{where}: name {known}, a depth or a size"
        return
    helps = _ASKED[reading.direction]
    if reading.steps and reading.numbered:
        yield f"understood{where} as: how many are best? Each number by itself{condition}:"
    elif reading.steps:
        yield f"understood{where} as: which of these {helps}? Each by itself{condition}:"
    else:
        yield f"understood{where} as: which operations {helps}? Each by itself{condition}:"
    sure = [one for one in each.singles if verdict(one[1], reading.direction).startswith("yes")]
    if not (reading.steps and reading.numbered):
        names = ", ".join(claim.text() for claim, _ in sure)
        yield names if sure else "cannot be told yet: none of the intervals lies on that side of zero"
    draws = [f"{task.rpartition('/')[2]} ({number:,})" for task, number in each.draws.items()]
    yield f"  from uniform draws of {', '.join(draws)}"
    width = max(len(claim.text()) for claim, _ in each.singles)
    for claim, effect in each.singles:
        yield f"  {claim.text():<{width}}  {effect_text(effect)}  [measured]"


def _counter_examples(each: SpaceAnswer, drawn: int) -> Iterator[str]:
    """Architectures that have it and do not score as the measurements say, of the first task with some."""
    if each.joined is None or not drawn:
        return
    for task in each.tasks:
        against = task.worst if each.joined.estimate >= 0 else task.best
        if against:
            yield f"counter-examples, on {task.place.task}:"
            for id in against[:drawn]:
                yield from _drawn(id, task)
            return
    yield "no counter-example: all that have it lie on the same side of the middle"


def _drawn(id: str, task: TaskAnswer) -> Iterator[str]:
    architecture = task.place.architecture(id)
    if architecture is None:
        return
    score, quantile = task.place.scores[id], task.place.quantile(id)
    yield f"  {architecture.key}  score {score:.6g}, quantile {quantile:.2f}"
    for line in architecture.space.draw(architecture).splitlines():
        yield f"    {line}"


def effect_text(effect: Effect) -> str:
    """`+0.21 [+0.05, +0.37] quantile, 12 with and 38 without`."""
    return (
        f"{effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}] quantile, "
        f"{effect.holding} drawn with and {effect.lacking} without"
    )


def _hinted(word: str, answer: Answer) -> str:
    """A word with the nearest one that would have been recognised."""
    known = {part for each in answer.spaces for words in vocabulary(each.space) for part in words}
    known |= {"connection", "parameter", "depth"}
    known |= {task.place.task.rpartition("/")[2] for each in answer.spaces for task in each.tasks}
    if singular(word) in known:  # but of no use where it stood
        return word
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.75 if len(word) > 4 else 0.6)
    return f"{word} (did you mean {near[0]}?)" if near else word


def plain_answer(answer: Answer) -> dict[str, Any]:
    """An answer as plain data."""
    return {
        "question": answer.question,
        "spaces": [_plain_space(each) for each in answer.spaces],
        "nearest": [
            {"similarity": match.similarity, **_plain_principle(match.principle)} for match in answer.nearest
        ],
        "unknown": list(answer.unknown),
        "notes": list(answer.notes),
    }


def _plain_principle(principle: Principle) -> dict[str, Any]:
    """A principle without the architectures behind it: `principles show ID --json` has those."""
    evidence = principle.evidence
    return {
        "id": principle.id,
        "status": principle.status.value,
        "sentence": principle.told,
        "predicate": principle.proposal.predicate,
        "space": principle.proposal.space,
        "task": principle.proposal.task,
        "effect": _plain_effect(evidence.joined),
        "support": evidence.n_for,
    }


def _plain_space(each: SpaceAnswer) -> dict[str, Any]:
    reading = each.reading
    return {
        "space": each.space.name,
        "claim": None if reading.claim is None else reading.claim.to_json(),
        "rival": None if reading.rival is None else reading.rival.to_json(),
        "where": None if reading.where is None else reading.where.to_json(),
        "understood": reading.text(),
        "direction": reading.direction,
        "foreign": list(reading.foreign),
        "unsure": list(reading.unsure),
        "verdict": each.verdict,
        "effect": _plain_effect(each.joined),
        "singles": [
            {"claim": claim.to_json(), "effect": _plain_effect(effect)} for claim, effect in each.singles
        ],
        "draws": dict(each.draws),
        "tasks": [
            {
                "task": task.place.task,
                "tried": task.tried,
                "compared": task.compared,
                "coverage": task.coverage,
                "hardly_tried": task.hardly_tried,
                "share_of_space": None if math.isnan(task.share) else task.share,
                "share_is_exact": each.space.size is not None,
                "effect": _plain_effect(task.effect),
                "best": list(task.best),
                "worst": list(task.worst),
            }
            for task in each.tasks
        ],
    }


def _plain_effect(effect: Effect | None) -> dict[str, float] | None:
    if effect is None:
        return None
    names = ("estimate", "low", "high", "holding", "lacking")
    return {name: getattr(effect, name) for name in names}
