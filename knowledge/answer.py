"""Answering a question from what was measured: no language model, no belief.

A question is read (`question`), what it claims becomes a predicate, and the predicate is evaluated on every
measurement of the ledger: effects with intervals on uniform draws, as for principles, counts, the
architectures that speak for and against it, and how much of it was tried at all. A question is not mined from
the measurements, so none has to be held back. Whoever asks many questions will meet chance: the intervals are
those of one question.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.evidence import Thresholds, assess
from vitruvius.knowledge.measured import Measured
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import CostSource, Mask, Population
from vitruvius.knowledge.predicate import Count, Predicate
from vitruvius.knowledge.principle import Effect, Origin, Principle, Proposal, principle_id
from vitruvius.knowledge.question import Reading, read
from vitruvius.knowledge.steering import all_rows
from vitruvius.knowledge.vocabulary import tokens, vocabulary

if TYPE_CHECKING:
    from vitruvius.knowledge.store import Match

THRESHOLDS = Thresholds()
UNEVEN = 1.5
"""How many times as large the middle of one task may be as another's for "larger" to mean one number."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What one task says.

    Attributes:
        place: The task with what was measured there.
        tried: Measured architectures that have what was asked about, under the condition.
        compared: Measured architectures under the condition.
        share: Part of the whole space that has what was asked about, of a large sample where the space
            cannot be listed; nan where costs decide and were not looked up (`with_costs`).
        effect: Effect on the uniform draws, None where there are not some on both sides.
        best: Ids of those that have it and lie above the middle, the best first.
        worst: Ids of those that have it and lie below the middle, the worst first.
    """

    place: Measured
    tried: int
    compared: int
    share: float
    effect: Effect | None
    best: tuple[str, ...]
    worst: tuple[str, ...]

    @property
    def hardly_tried(self) -> bool:
        """Whether too few have it, or too few lack it, to say anything."""
        return self.effect is None or _few(self.effect)

    @property
    def nowhere(self) -> bool:
        """Whether the whole space was looked through, and none has it."""
        return self.share == 0 and self.place.observations.space.size is not None

    @property
    def coverage(self) -> str:
        """How much was tried, in words: "hardly tried on cifar100: 3 of 50"."""
        dataset = self.place.task.rpartition("/")[2]
        counts = f"{self.tried} of {self.compared} measured"
        if not self.compared:
            return f"nothing measured on {dataset} under this condition"
        if self.nowhere:
            return f"no architecture of {self.place.observations.space.name} has it on {dataset}: {counts}"
        if not self.tried:
            return f"never tried on {dataset}: {counts}"
        if self.tried == self.compared:
            return f"all that was measured on {dataset} has it: {counts}"
        if not self.hardly_tried:
            return f"tried on {dataset}: {counts}"
        without = " without it" if 2 * self.tried > self.compared else ""
        return f"hardly tried{without} on {dataset}: {counts}{' have it' if without else ''}"


@dataclass(frozen=True, slots=True)
class SpaceAnswer:
    """What the tasks of one space say.

    Attributes:
        space: The space.
        reading: What the question was read as there.
        tasks: What each task says; empty where nothing was recognised.
        joined: The effect over these tasks (random-effects mean), None where there is none.
        singles: Where operations in general are asked about, each by itself with its effect over the tasks,
            the most helpful (or harmful, if that is asked) first, those hardly tried last; where several are
            named to choose from, each of these, and where it is asked how many, each number.
        draws: Task -> uniform draws there that `singles` are told from.
    """

    space: SearchSpace
    reading: Reading
    tasks: tuple[TaskAnswer, ...] = ()
    joined: Effect | None = None
    singles: tuple[tuple[Predicate, Effect], ...] = ()
    draws: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def verdict(self) -> str | None:
        """Yes or no; None where nothing was measured, or a word of the question was not understood."""
        if not self.tasks or self.reading.unknown:
            return None
        return verdict(self.joined, self.reading.direction)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known about a question.

    Attributes:
        question: As asked.
        spaces: What was measured, by space.
        nearest: Principles nearest in meaning.
        unknown: Words that were not recognised in any space.
        notes: Other things to know.
    """

    question: str
    spaces: tuple[SpaceAnswer, ...]
    nearest: tuple[Match, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        from vitruvius.knowledge.answer_text import plain_answer

        return plain_answer(self)

    def __str__(self) -> str:
        """As text, architectures drawn."""
        from vitruvius.knowledge.answer_text import answer_lines

        return "\n".join(answer_lines(self))


def _few(effect: Effect) -> bool:
    """Whether one of its sides has too few draws to say anything."""
    return min(effect.holding, effect.lacking) < THRESHOLDS.fewest


def verdict(effect: Effect | None, direction: int = 1) -> str:
    """What an effect says of "does it help" (direction 1), "does it hurt" (-1) or "does it matter" (0)."""
    if effect is None:
        return "cannot be told: nothing to compare"
    if direction == 0 and max(-effect.low, effect.high) < THRESHOLDS.useful:
        return "no, not to speak of"
    if direction == 0 and (effect.low > 0 or effect.high < 0):
        hardly = "" if abs(effect.estimate) >= THRESHOLDS.useful else "hardly, but "
        return f"yes: {hardly}it {'helps' if effect.estimate > 0 else 'hurts'}"
    if direction == 0:
        return "cannot be told yet: the interval holds zero"
    low, high = sorted((direction * effect.low, direction * effect.high))
    if low > 0:
        return "yes" if direction * effect.estimate >= THRESHOLDS.useful else "yes, but hardly"
    if high < 0:
        return f"no, it {'hurts' if direction > 0 else 'helps'}"
    if high < THRESHOLDS.useful:
        other = "hurts" if direction > 0 else "helps"
        return "no, not to speak of" if low > -THRESHOLDS.useful else f"no; whether it {other} cannot be told"
    return "cannot be told yet: the interval holds zero"


def answer(
    question: str,
    places: Sequence[Measured],
    *,
    nearest: Iterable[Match] = (),
    notes: Iterable[str] = (),
    task: str | None = None,
) -> Answer:
    """Answer a question from measurements.

    Args:
        question: In English, or in the language of predicates; see `question.read`.
        places: What was measured.
        nearest: Principles to go with it.
        notes: Sentences to go with it.
        task: Only this task.

    Raises:
        UserError: The question names other tasks than that one.
    """
    known = list(dict.fromkeys(place.observations.space for place in places))
    named = [space for space in known if _names(space).search(question)]
    spaces: list[SpaceAnswer] = []
    for space in named or known:
        mine = [place for place in places if place.observations.space is space]
        asked = _names(space).sub(" ", question) if named else question
        spaces.append(_on_space(asked, space, mine, task))
    if any(each.reading.tasks for each in spaces):  # tasks of other spaces were not asked about
        spaces = [each for each in spaces if each.reading.tasks]
    unknown = [word for each in spaces for word in each.reading.unknown]
    nowhere = [word for word in dict.fromkeys(unknown) if all(word in s.reading.unknown for s in spaces)]
    said = [note for each in spaces for note in each.reading.notes]
    return Answer(
        question, tuple(spaces), tuple(nearest), tuple(nowhere), tuple(dict.fromkeys([*notes, *said]))
    )


def _names(space: SearchSpace) -> re.Pattern[str]:
    """Where a question names a space; a name that an operation has too is never the space's."""
    if tuple(tokens(space.name)) in vocabulary(space):
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![\w-]){re.escape(space.name)}(?![\w-])", re.IGNORECASE)


def _on_space(question: str, space: SearchSpace, places: Sequence[Measured], task: str | None) -> SpaceAnswer:
    costs = {name for place in places for name in place.observations.costs}
    populations = {
        place.task: Population(space, place.observations.choices, place.observations.costs)
        for place in places
    }
    depths = np.concatenate([population.depth for population in populations.values()])
    tasks = [place.task for place in places]
    deep = _middle(depths)
    asked = read(question, space, costs=costs, tasks=tasks, deep=deep).tasks
    if task is not None and asked - {task}:
        raise UserError(
            f"The question names {', '.join(sorted(asked))}, but only {task} is to be told: leave one out."
        )
    wanted = {task} if task is not None else asked
    middles = _middles([place.observations.costs for place in places if not wanted or place.task in wanted])
    reading = read(question, space, costs=costs, tasks=tasks, deep=deep, middles=middles)
    able = [place for place in places if (not wanted or place.task in wanted) and _fits(reading, place)]
    if reading.claim is None:
        lost = reading.foreign or reading.unsure or reading.unknown or not reading.general
        if lost and not reading.steps:
            return SpaceAnswer(space, reading)
        draws = {place.task: int(_compared(reading, place).uniform.sum()) for place in able}
        return SpaceAnswer(space, reading, singles=_singles(reading, able), draws=draws)
    share = _share(reading, _whole(space))
    ((effects, joined),) = _effects([reading.claim], reading, able)
    tasks_said = [_on_task(reading, each, populations[each.task], share, effects) for each in able]
    return SpaceAnswer(space, reading, tuple(tasks_said), joined)


def _middle(depths: np.ndarray[Any, np.dtype[np.int8]]) -> int:
    """The depth that divides architectures most evenly into those that reach it and those that do not."""
    steps = range(1, max(int(depths.max(initial=1)), 1) + 1)
    return min(steps, key=lambda step: abs(float((depths >= step).mean()) - 0.5)) if len(depths) else 3


def _middles(costs: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, float]:
    """The middle of what each cost was measured to be; nan where that of one task is far from another's."""
    found: dict[str, float] = {}
    for name in {name for each in costs for name in each}:
        known = [each[name] for each in costs if name in each and np.isfinite(each[name]).any()]
        middles = [float(np.nanmedian(one)) for one in known]
        if known:
            alike = max(middles) <= UNEVEN * min(middles)
            found[name] = float(np.nanmedian(np.concatenate(known))) if alike else math.nan
    return found


def _fits(reading: Reading, place: Measured) -> bool:
    parts = [part for part in (reading.claim, reading.within) if part is not None]
    return all(part.fits(place.observations.space, place.observations.costs) for part in parts)


def _masks(claim: Predicate, where: Predicate | None, population: Population) -> tuple[Mask, Mask]:
    """What has it, and what is compared: (n,) each; a cost that is not known is not compared."""
    compared = np.ones(len(population), dtype=np.bool_) if where is None else where.holds(population)
    return claim.holds(population), compared


def _effects(
    claims: Sequence[Predicate], reading: Reading, places: Sequence[Measured]
) -> list[tuple[dict[str, Effect | None], Effect | None]]:
    """Effects of each claim, by task and joined, by the same rules as for principles."""
    if not places:
        return [({}, None) for _ in claims]
    space = places[0].observations.space.name
    proposals = [Proposal("", claim.to_json(), space, direction=reading.direction or 1) for claim in claims]
    # Everything counts as fresh: the claim comes from a person, not from these measurements.
    asked = [(Principle(principle_id(one), one, Origin("question")), 0) for one in proposals]
    observed = [_compared(reading, place) for place in places]
    return [
        ({told.task: told.fresh for told in scored.evidence.tasks}, scored.evidence.joined)
        for scored in assess(asked, observed, THRESHOLDS)
    ]


def _compared(reading: Reading, place: Measured) -> Observations:
    """What is compared on a task: everything, or what meets the condition."""
    observed = place.observations
    within = reading.within
    if within is None:
        return observed
    return observed.take(within.holds(Population(observed.space, observed.choices, observed.costs)))


def _singles(reading: Reading, places: Sequence[Measured]) -> tuple[tuple[Predicate, Effect], ...]:
    """Every operation by itself, what is asked for (help or harm) first; or every number, in order."""
    if not places:
        return ()
    operations = places[0].observations.space.operations
    claims = reading.steps or [Count(operations=(name,), comparison=">=", value=1) for name in operations]
    told = zip(claims, _effects(claims, reading, places), strict=True)
    known = [(claim, joined) for claim, (_, joined) in told if joined is not None]
    if reading.steps and reading.numbered:
        return tuple(known)
    sign = reading.direction

    def rank(pair: tuple[Predicate, Effect]) -> tuple[bool, float]:
        estimate = pair[1].estimate
        return _few(pair[1]), -sign * estimate if sign else -abs(estimate)

    return tuple(sorted(known, key=rank))


def _on_task(
    reading: Reading,
    place: Measured,
    population: Population,
    share: float,
    effects: Mapping[str, Effect | None],
) -> TaskAnswer:
    if reading.claim is None:
        raise ValueError("Nothing was claimed.")
    has, compared = _masks(reading.claim, reading.within, population)
    ids, quantiles = list(place.scores), place.observations.quantiles
    mine = np.flatnonzero(has & compared)
    ranked = mine[np.argsort(-quantiles[mine], kind="stable")]
    return TaskAnswer(
        place, len(mine), int(compared.sum()), share, effects.get(place.task),
        best=tuple(ids[i] for i in ranked if quantiles[i] > 0.5)[:LISTED],
        worst=tuple(ids[i] for i in ranked[::-1] if quantiles[i] < 0.5)[:LISTED],
    )  # fmt: skip


LISTED = 10
"""Architectures that are named for and against, on each task."""


def with_costs(answer: Answer, costs: Callable[[str], CostSource | None]) -> Answer:
    """The same answer, with the share of the space on tasks where costs decide it.

    Args:
        answer: The answer.
        costs: For the name of a task, what tells the costs of any rows; None where nothing does.
    """
    return replace(answer, spaces=tuple(_with_costs(each, costs) for each in answer.spaces))


def _with_costs(each: SpaceAnswer, costs: Callable[[str], CostSource | None]) -> SpaceAnswer:
    def told(task: TaskAnswer) -> TaskAnswer:
        source = costs(task.place.task) if math.isnan(task.share) else None
        if source is None:
            return task
        return replace(task, share=_share(each.reading, Population(each.space, all_rows(each.space), source)))

    return replace(each, tasks=tuple(map(told, each.tasks)))


@lru_cache(maxsize=4)
def _whole(space: SearchSpace) -> Population:
    """The whole space, or a large sample where it cannot be listed; what it was asked once it remembers."""
    return Population(space, all_rows(space))


def _share(reading: Reading, everywhere: Population) -> float:
    """Share of what meets the condition that has it; nan where costs are not known, or nothing meets it."""
    parts = [part for part in (reading.claim, reading.within) if part is not None]
    if reading.claim is None or not all(part.fits(everywhere.space, everywhere.costs) for part in parts):
        return float("nan")
    has, compared = _masks(reading.claim, reading.within, everywhere)
    return float(has[compared].mean()) if compared.any() else float("nan")
