"""What a session is asked for beside a good score: a constraint, and costs that should be small too.

Costs are looked up or computed before anything is measured, and never count as an evaluation. Both speak of
the member that is measured for a class of equal architectures: its key is what a user takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.options import Options
from vitruvius.agents.pareto import spread_budgets
from vitruvius.errors import SettingsError, unknown_name
from vitruvius.generator.evaluation.task import TabledBench, Task, innermost, measurable
from vitruvius.generator.space import Choices
from vitruvius.knowledge.cost_rules import CostRule, cost_rules, known_costs
from vitruvius.knowledge.population import Mask, Population
from vitruvius.knowledge.predicate import Predicate, costs_in
from vitruvius.knowledge.steering import all_rows
from vitruvius.knowledge.wording import decimal

_AT_ONCE, _MOST_TRIED = 20_000, 1_000_000  # draws where a space is too large to list
_LONG = 5.0  # seconds
_FEW = 20_000  # rows of which the member that is measured is found one by one
MOST_COSTS = 3
"""Objectives beside the score: with more, nearly everything that is measured is on the front."""
RULES = 3
"""Of each cost that is named, so many of the strongest statements about what makes it large or small."""


@dataclass(frozen=True)
class Feasible:
    """The part of a task's space that may be measured; it is never left.

    Attributes:
        task: The task. What its table lacks is left out.
        predicate: The constraint; None where only the table limits.
    """

    task: Task
    predicate: Predicate | None = None

    @cached_property
    def everywhere(self) -> Mask:
        """Which of `steering.all_rows(space)` may be measured, their representatives too: (N,)."""
        rows = all_rows(self.task.space)
        found = self._holds(rows) & measurable(self.task.bench, rows)
        if (
            self.predicate is not None
            and found.any()
            and (isinstance(innermost(self.task.bench), TabledBench) or found.sum() <= _FEW)
        ):
            found[found] = self.allows(rows[found])
        return found

    @cached_property
    def classes(self) -> int | None:
        """How many different architectures may be measured; None where the space cannot be listed."""
        if self.task.space.size is None:
            return None
        return len(np.unique(self.task.space.classes(all_rows(self.task.space)[self.everywhere])))

    @cached_property
    def partial(self) -> bool:
        """Whether the table lacks a part of the space."""
        return not measurable(self.task.bench, all_rows(self.task.space)).all()

    def text(self) -> str:
        """What limits, in words."""
        words = [] if self.predicate is None else [self.predicate.text()]
        return " among ".join([*words, "what the table has"] if self.partial else words)

    def _holds(self, rows: Choices) -> Mask:
        if self.predicate is None:
            return np.ones(len(rows), dtype=np.bool_)
        return self.predicate.holds(Population(self.task.space, rows, self.task.bench.costs))

    @property
    def share(self) -> float:
        """Feasible share of the space: exact where it can be enumerated, else of a large sample."""
        return float(self.everywhere.mean())

    def allows(self, rows: Choices) -> Mask:
        """Which rows (n, D) may be measured: the constraint holds for what is measured for them: (n,)."""
        allowed = measurable(self.task.bench, rows)
        if self.predicate is not None:
            allowed &= self._holds(_measured_for(self.task, rows))
        return allowed

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        """Draw up to n rows that may be measured, uniformly and independently: (m, D)."""
        space = self.task.space
        if space.size is not None:
            rows = all_rows(space)[self.everywhere]
            drawn = rows[rng.integers(len(rows), size=n)]
            return drawn[self.allows(drawn)]
        found = np.empty((0, len(space.decisions)), dtype=np.int8)
        left = _MOST_TRIED
        while len(found) < n and left > 0:
            drawn = space.sample(min(int(1.2 * (n - len(found)) / self.share) + 16, _AT_ONCE, left), rng)
            found = np.concatenate([found, drawn[self.allows(drawn)]])[:n]
            left -= len(drawn)
        return found

    def describe(self) -> str:
        """What limits and what that leaves, as a line; of a table that lacks a part only what it has."""
        size = self.task.space.size
        count = (
            f"{int(self.everywhere.sum()):,} of {size:,}" if size is not None else f"about {self.share:.2%}"
        )
        share = f" ({self.share:.2%})" if size is not None else ""
        alike = self.classes is not None and self.classes < self.everywhere.sum()
        apart = f", {self.classes:,} of them different" if alike else ""
        if self.predicate is None:
            return f"{count} architectures{share}{apart}"
        return f"{self.text()}: {count} architectures are feasible{share}{apart}"


@dataclass(frozen=True)
class Objectives:
    """Costs that should be small, beside the score.

    Attributes:
        task: The task.
        names: "params", "flops" or "latency[DEVICE]".
        allowed: Which of `steering.all_rows(space)` may be measured, None for all.
    """

    task: Task
    names: tuple[str, ...]
    allowed: Mask | None = field(default=None, repr=False)

    def of(self, rows: Choices) -> NDArray[np.float64]:
        """Costs of what is measured for rows (n, D); infinite where one is not known: (n, d)."""
        costs = self.task.bench.costs(_measured_for(self.task, rows))
        return np.nan_to_num(np.stack([costs[name] for name in self.names], axis=1), nan=np.inf)

    @cached_property
    def range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest cost in the space, or in its feasible part: (d,) each."""
        rows = all_rows(self.task.space)
        costs = self.task.bench.costs(rows if self.allowed is None else rows[self.allowed])
        columns = [costs[name][np.isfinite(costs[name])] for name in self.names]
        return np.array([c.min() for c in columns]), np.array([c.max() for c in columns])

    @cached_property
    def budgets(self) -> NDArray[np.float64]:
        """Budgets, spread evenly over the range of the costs: (b, d)."""
        return spread_budgets(*self.range)


_DRAWS = 4000  # on which reasoners see how often something holds


@dataclass(frozen=True, slots=True)
class Aims:
    """What a session is asked for beside a good score; by default nothing.

    Attributes:
        feasible: The part of the space that it may not leave, by a constraint or because the table has no
            more; None for all of it.
        objectives: Costs that should be small as well; None for the score alone.
    """

    feasible: Feasible | None = None
    objectives: Objectives | None = None

    @property
    def everywhere(self) -> str:
        """What uniform draws are drawn from, in words."""
        return "the whole space" if self.feasible is None else "all that the constraint allows"

    @property
    def whole(self) -> str:
        """What a restriction cuts from, in words; empty for the space."""
        if self.feasible is None or self.feasible.predicate is None:
            return "" if self.feasible is None else self.feasible.text()
        return f"what {self.feasible.predicate.text()} allows"

    @property
    def words(self) -> str:
        """The constraint in words; empty without one."""
        feasible = self.feasible
        return "" if feasible is None or feasible.predicate is None else feasible.predicate.text()

    def draws(self, seed: int) -> Population | None:
        """Uniform draws of what may be measured; None where that is the whole space."""
        if self.feasible is None:
            return None
        rows = self.feasible.sample(_DRAWS, np.random.default_rng(seed))
        return Population(self.feasible.task.space, rows)

    @property
    def mask(self) -> Mask | None:
        """Which of `steering.all_rows(space)` may be measured, None for all."""
        return None if self.feasible is None else self.feasible.everywhere

    def on(self, source: Task, least: int) -> Feasible | None:
        """What may be measured of a source task, under the same constraint; None for all of it.

        The constraint is dropped where it cannot be asked, or leaves too little: a bound on a cost may leave
        nothing there, the same network is larger on larger inputs.

        Args:
            source: The source task.
            least: Fewest architectures that must be left.
        """
        here = self.feasible
        if here is not None and here.predicate is not None and source.space.name == here.task.space.name:
            one = source.bench.costs(source.space.sample(1, np.random.default_rng(0)))
            there = Feasible(source, here.predicate)
            if here.predicate.fits(source.space, one):
                left = there.everywhere.sum() if there.classes is None else there.classes
                if left >= least:
                    return there
        return limited(source)

    def facts(self) -> dict[str, Any]:
        """As plain data, for the ledger; empty where nothing is asked for."""
        found: dict[str, Any] = {}
        if self.feasible is not None:
            found |= {"where": self.feasible.text(), "feasible": self.feasible.describe()}
        if self.objectives is not None:
            low, high = self.objectives.range
            found |= {"objectives": self.objectives.names, "lowest": low, "highest": high}
        rules = [rule.sentence() for name in self._costs for rule in self._rules(name)[:RULES]]
        return found | ({"costs": rules} if rules else {})

    @property
    def _costs(self) -> tuple[str, ...]:
        """The costs that objectives or the constraint name."""
        names = () if self.objectives is None else self.objectives.names
        predicate = None if self.feasible is None else self.feasible.predicate
        return tuple(dict.fromkeys([*names, *(costs_in(predicate) if predicate else ())]))

    def _rules(self, cost: str) -> list[CostRule]:
        """What makes architectures dear, in the whole space."""
        asked = self.objectives or self.feasible
        return [] if asked is None else cost_rules(asked.task, cost)

    def describe(self) -> list[str]:
        """Lines for the plan."""
        lines: list[str] = []
        if self.feasible is not None:
            head = "table" if self.feasible.predicate is None else "constraint"
            lines.append(f"{head:10} {self.feasible.describe()}")
        if self.objectives is not None:
            parts = zip(self.objectives.names, *self.objectives.range, strict=True)
            told = ", ".join(f"{name} ({low:.4g} to {high:.4g} {unit(name)})" for name, low, high in parts)
            lines.append(
                f"objectives the score, and small {told}; principles speak of the score: none prunes"
            )
        return lines


def read_aims(task: Task, options: Options, say: Callable[[str], None] | None = None) -> Aims:
    """The constraint and objectives of the settings, checked against the task; `say` is told what takes long.

    Raises:
        SettingsError: The constraint is empty, nothing is feasible, or there are too many objectives.
        InvalidPredicateError: The constraint cannot be read.
        UnknownNameError: A cost that is not known before measuring, or what the space does not have.
    """
    asked = innermost(task.bench)  # the one that tells costs
    if say is not None and (options.where is not None or options.objectives):
        each = float(getattr(asked, "seconds_each", 0.0))
        count = len(all_rows(task.space))
        if each * count > _LONG:
            say(f"costs      asked of {count:,} architectures first, which takes about {each * count:.0f} s")
    feasible = limited(task) if options.where is None else _feasible(task, options.where)
    if say is not None and (failures := getattr(asked, "failures", "")):
        say(f"costs      {failures}; these are within no limit")
    if not options.objectives:
        return Aims(feasible)
    names = tuple(dict.fromkeys(name.strip() for name in options.objectives))
    if len(names) > MOST_COSTS:
        raise SettingsError(
            f"{len(names)} objectives beside the score are too many: name at most {MOST_COSTS}, and bound "
            "the others with `where`."
        )
    known = known_costs(task)
    for name in names:
        if name not in known:
            raise unknown_name(f"objective of {task.name}", name, known)
    return Aims(feasible, Objectives(task, names, None if feasible is None else feasible.everywhere))


def unit(cost: str) -> str:
    """Unit of a cost."""
    return "ms" if cost.startswith("latency") else "M"


def _feasible(task: Task, where: str) -> Feasible:
    if not where.strip():
        raise SettingsError(
            "The constraint `where` is empty: write for example params < 1.0M, or leave it out."
        )
    predicate = Predicate.parse(where).check(task.space, known_costs(task))
    feasible = Feasible(task, predicate)
    if not feasible.everywhere.any():
        size = task.space.size
        looked = (
            f"none of its {size:,}" if size is not None else f"none of {len(feasible.everywhere):,} drawn"
        )
        raise SettingsError(
            f"No architecture of {task.space.name} satisfies {feasible.text()} ({looked})"
            f"{_ranges(task, predicate)}{' among these' * (size is None)}: loosen the constraint."
        )
    return feasible


def limited(task: Task) -> Feasible | None:
    """The part of a task's space that its table has; None where all can be measured."""
    everything = Feasible(task)
    return everything if task.evaluator.tabular and everything.partial else None


def _ranges(task: Task, predicate: Predicate) -> str:
    """Between what the bounded costs lie in the space, as a part of a sentence."""
    names = costs_in(predicate)
    costs = task.bench.costs(all_rows(task.space))
    told = [
        f"{name} goes from {decimal(round(float(np.nanmin(costs[name])), 4))} "
        f"to {decimal(round(float(np.nanmax(costs[name])), 4))} {unit(name)}"
        for name in names
    ]
    return f"; {', '.join(told)}" if told else ""


def _measured_for(task: Task, rows: Choices) -> Choices:
    """The member that is measured for the class of each row: (n, D)."""
    if task.space.form is not None:  # in a described space each is a class of its own
        return rows
    bench = innermost(task.bench)
    if isinstance(bench, TabledBench):
        return bench.representatives(rows)
    return task.space.rows(task.bench.representative(one) for one in task.space.architectures(rows))
