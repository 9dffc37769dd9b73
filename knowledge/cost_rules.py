"""What architectures cost, and which parts of them make them dear: "conv3x3 at 0->1 costs 43 % more latency".

Unlike scores, costs are known for the whole space before anything is measured. So these statements are no
hypotheses: they are averages over the space, or over a large sample of one that cannot be listed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.task import Task, measurable
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.conditions import Choice, Count, Depth
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.steering import all_rows


@dataclass(frozen=True, slots=True)
class CostRule:
    """How a cost differs between architectures for which a predicate holds and all others.

    Attributes:
        cost: "params", "flops" or "latency[DEVICE]".
        predicate: The predicate.
        inside: Mean cost where it holds, in millions or milliseconds.
        outside: Mean cost where it does not.
        share: Share of the space for which it holds.
    """

    cost: str
    predicate: Predicate
    inside: float
    outside: float
    share: float

    @property
    def change(self) -> float:
        """How much more it costs, as a share: 0.43 for 43 % more, -0.2 for 20 % less."""
        return self.inside / self.outside - 1.0

    def sentence(self) -> str:
        """In words, with both averages."""
        unit = "ms" if self.cost.startswith("latency") else "M"
        more = "more" if self.change > 0 else "less"
        return (
            f"An architecture that {self.predicate.clause()} has {abs(self.change):.0%} {more} {self.cost}: "
            f"{self.inside:.3g} against {self.outside:.3g} {unit} on the average."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "cost": self.cost, "predicate": self.predicate.text(), "inside": self.inside,
            "outside": self.outside, "change": self.change, "share": self.share, "sentence": self.sentence(),
        }  # fmt: skip


def known_costs(task: Task) -> set[str]:
    """Names of the costs that are known before measuring, for at least one architecture."""
    rows = all_rows(task.space)
    costs = task.bench.costs(rows[measurable(task.bench, rows)][:2000])
    return {name for name, values in costs.items() if np.isfinite(values).any()}


def cost_rules(
    task: Task,
    cost: str,
    *,
    predicate: str | Predicate | None = None,
    about: str | None = None,
) -> list[CostRule]:
    """What makes a cost large or small, the largest difference first.

    Args:
        task: Says what architectures cost: by its table, or by formula where networks are trained.
        cost: "params", "flops" or "latency[DEVICE]", as the task knows it.
        predicate: Asks about this one only; None looks at each choice of each decision, at how often each
            operation is used, and at depth.
        about: Only what names this operation or choice.

    Returns:
        Rules for those predicates that hold for some architectures and not for others.

    Raises:
        UnknownNameError: The task does not know the cost, or the space not what is named.
        InvalidPredicateError: The predicate cannot be read.
        UserError: The predicate holds for all architectures, or for none.
    """
    if cost not in (costs_known := known_costs(task)):
        raise unknown_name(f"cost of {task.name}", cost, sorted(costs_known))
    rows = all_rows(task.space)
    costs = task.bench.costs(rows)
    about = task.space.aliases.get(about, about) if about is not None else None
    if about is not None and about not in (known := _names(task.space)):
        raise unknown_name(f"operation or choice of {task.space.name}", about, known)
    finite = np.isfinite(costs[cost])
    population = Population(
        task.space, rows[finite], {name: values[finite] for name, values in costs.items()}
    )
    if predicate is None:
        asked = _candidates(task.space, population)
    else:
        asked = [Predicate.parse(predicate).check(task.space, costs_known)]
    named = [one for one in asked if about is None or about in one.operations_named()]
    rules = [rule for one in named if (rule := _rule(cost, one, population)) is not None]
    if predicate is not None and not rules:
        raise UserError(
            f"{asked[0].text()!r} holds for all architectures or for none: nothing can be compared."
        )
    return sorted(rules, key=lambda rule: -abs(math.log(rule.inside / rule.outside)))


def _rule(cost: str, predicate: Predicate, population: Population) -> CostRule | None:
    holds, values = predicate.holds(population), population.costs[cost]
    if holds.all() or not holds.any():
        return None
    inside, outside = float(values[holds].mean()), float(values[~holds].mean())
    if min(inside, outside) <= 0:
        return None
    return CostRule(cost, predicate, inside, outside, float(holds.mean()))


def _candidates(space: SearchSpace, population: Population) -> list[Predicate]:
    """Each choice of each decision, and of each count and of depth the first step that at most half take."""
    found: list[Predicate] = [
        Choice(decision=decision.name, among=(choice,))
        for decision in space.decisions
        if len(decision.choices) > 1
        for choice in decision.choices
    ]
    for operation in space.operations:
        step = _half(population.count((operation,)))
        found.append(Count(operations=(operation,), comparison=">=", value=step))
    return [*found, Depth(comparison=">=", value=_half(population.depth))]


def _half(numbers: NDArray[np.int8]) -> int:
    """The smallest number, 1 at least, that at most half of all reach."""
    steps = np.arange(1, int(numbers.max(initial=0)) + 2)
    reached = [float(np.mean(numbers >= step)) for step in steps]
    return int(steps[np.argmax(np.array(reached) <= 0.5)])


def _names(space: SearchSpace) -> list[str]:
    choices = [choice for decision in space.decisions for choice in decision.choices]
    return list(dict.fromkeys([*space.operations, *choices]))


__all__ = ["CostRule", "cost_rules", "known_costs"]
