"""What an agent can find out in a reflection: questions to the visible measurements, answered as plain data.

Everything comes from `exhibits.visible`: held-back measurements, on which the agent's principles are judged
afterwards, cannot get in. A wrong question raises a `UserError`: one sentence that helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitruvius.agents.depiction import as_program, as_text, describe_space, examples
from vitruvius.agents.exhibits import (
    contrasts,
    cost_ranges,
    known_principles,
    on_visible,
    poor,
    top,
    visible,
)
from vitruvius.agents.reasoner import Brief, Experiment
from vitruvius.errors import UserError, unknown_name
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Effect, Origin, Principle, Proposal, principle_id

MOST_SHOWN = 10
"""Architectures, pairs or principles in one answer."""
MOST_COUNTER = 3
"""Counter-examples in one answer."""
MOST_EXPERIMENTS = 4
"""Architectures that may be proposed for measuring in one reflection."""
SHOWN_RARE = 12
"""Choices that were tried least, in one answer."""

Found = dict[str, Any]
"""Plain data: an answer."""


class Workbench:
    """Answers an agent's questions during one reflection.

    Attributes:
        brief: What the reasoner got.
        seen: Its visible measurements, one entry for each task that has any.
        experiments: What the agent would like to see measured.
    """

    def __init__(self, brief: Brief, sample: Population) -> None:
        """Lay out what may be seen.

        Args:
            brief: What the reasoner got.
            sample: Architectures drawn uniformly from what may be measured, for shares and experiments.
        """
        self.brief = brief
        self.seen = visible(brief)
        self.experiments: list[Experiment] = []
        self._sample = sample
        self._costs = sorted({name for one in self.seen for name in one.costs})

    def space(self) -> Found:
        """The space, one architecture in each of its forms, and the predicate language by example."""
        space, costs = self.brief.space, cost_ranges(self.seen)
        row = space.sample(1, np.random.default_rng(self.brief.seed))
        return {
            **describe_space(space),
            "an architecture": as_text(space, row[0].tolist()),
            "the same as a program": as_program(space, row),
            "the same as a drawing": space.draw(space.architectures(row)[0]),
            "predicates, for their form": examples(space, {one["name"]: one["middle"] for one in costs}),
            "costs, what 10, 50 and 90 % stay below": {
                one["name"]: [round(one[name], 4) for name in ("low", "middle", "high")] for one in costs
            },
            "tasks": [
                {"task": o.task, "measured": len(o), "target": o.task == self.brief.target} for o in self.seen
            ],
        }

    def architectures(self, which: str, task: str | None, where: str | None, n: int) -> Found:
        """Architectures of one task with their scores as quantiles.

        Args:
            which: "top", "poor", or "pairs" that differ in one or two decisions and score far apart.
            task: Name of the task; None takes the target, or the first where nothing of it is measured.
            where: Predicate that they satisfy; None takes all.
            n: How many.
        """
        observed = self._task(task)
        if where is not None:
            holds = self._predicate(where).holds(Population(observed.space, observed.choices, observed.costs))
            observed = observed.take(holds)
        n = min(max(n, 1), MOST_SHOWN)
        if not len(observed):
            return {"task": observed.task, "found": 0}
        if which == "pairs":
            pairs = contrasts(observed, n, np.random.default_rng(self.brief.seed))
            shown = [
                {"gap": round(p["gap"], 2), "changed": p["changed"], "better": p["better"]["text"],
                 "quantiles": [round(p["better"]["quantile"], 2), round(p["worse"]["quantile"], 2)]}
                for p in pairs
            ]  # fmt: skip
        else:
            entries = top(observed, n) if which == "top" else poor(observed, n)
            shown = [
                {"quantile": round(e["quantile"], 2), "architecture": e["text"], **e["costs"]}
                for e in entries
            ]
        return {"task": observed.task, "of": len(observed), which: shown}

    def test(self, text: str, task: str | None) -> Found:
        """The effect of a predicate on what is visible, by task and joined, and what speaks against it.

        Args:
            text: The predicate.
            task: Name of the only task to look at; None takes all.
        """
        predicate = self._predicate(text)
        chosen = [self._task(task)] if task is not None else self.seen
        space = "any" if predicate.portable else self.brief.space.name
        proposal = Proposal(predicate.sentence(), predicate.to_json(), space)
        claim = Principle(principle_id(proposal), proposal, Origin("workbench"))
        evidence = on_visible(claim, chosen)
        tasks = [{"task": e.task, **_effect(e.fresh)} for e in evidence.tasks if e.fresh is not None]
        found: Found = {"predicate": predicate.text(), "tasks": tasks}
        if predicate.fits(self.brief.space, ()):
            whole = "share of what may be measured" if self.brief.allowed else "share of the space"
            found[whole] = round(float(predicate.holds(self._sample).mean()), 3)
        if evidence.joined is None:
            return {**found, "effect": None, "why": "No uniform draw on one of its sides: it cannot be told."}
        sign = 1 if evidence.joined.estimate >= 0 else -1
        return {
            **found,
            "all tasks": _effect(evidence.joined),
            "against": self._against(predicate, chosen, sign),
        }

    def _against(self, predicate: Predicate, chosen: Sequence[Observations], sign: int) -> list[Found]:
        """Architectures that satisfy it and score on the other side of the middle, the clearest first."""
        found: list[tuple[float, Found]] = []
        for one in chosen:
            if not predicate.fits(one.space, one.costs):
                continue
            quantiles = one.quantiles
            holds = predicate.holds(Population(one.space, one.choices, one.costs))
            for row in np.flatnonzero(holds & (sign * (quantiles - 0.5) < 0)).tolist():
                text = as_text(one.space, one.choices[row].tolist())
                entry = {"task": one.task, "quantile": round(float(quantiles[row]), 2), "architecture": text}
                found.append((sign * float(quantiles[row]), entry))
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])[:MOST_COUNTER]]

    def principles(self, words: str, operation: str | None) -> Found:
        """Known principles with their status, and their effect on what is visible, task by task.

        Args:
            words: Words of the sentence or predicate; those with most of them come first. Empty takes all.
            operation: Name of an operation that the predicate must name; None takes all.
        """
        if operation is not None and operation not in self.brief.space.operations:
            raise unknown_name("operation", operation, self.brief.space.operations)
        wanted = set(words.lower().split())
        found: list[tuple[int, Found]] = []
        for principle in self.brief.known:
            predicate = Predicate.parse(principle.proposal.predicate)
            if operation is not None and operation not in predicate.operations_named():
                continue
            text = f"{principle.sentence} {predicate.text()}".lower()
            hits = sum(word in text for word in wanted)
            if wanted and not hits:
                continue
            entry = known_principles([principle], self.seen, 1)[0]
            fate = [
                {"task": e.task, **_effect(e.fresh)}
                for e in on_visible(principle, self.seen).tasks
                if e.fresh is not None
            ]
            found.append((-hits, {**_rounded(entry), "tasks": fate}))
        shown = [entry for _, entry in sorted(found, key=lambda pair: pair[0])[:MOST_SHOWN]]
        return {"known": len(self.brief.known), "found": len(found), "principles": shown}

    def coverage(self) -> Found:
        """What has hardly been tried: choices and operations with the fewest architectures on the target."""
        space = self.brief.space
        seen = [o for o in self.seen if o.space.name == space.name]
        target = [o for o in seen if o.task == self.brief.target]
        others = [o for o in seen if o.task != self.brief.target]
        choices = [
            {"decision": d.name, "choice": name, "target": _count(target, column, index),
             "sources": _count(others, column, index)}
            for column, d in enumerate(space.decisions) if len(d.choices) > 1
            for index, name in enumerate(d.choices)
        ]  # fmt: skip
        choices.sort(key=lambda entry: (entry["target"], entry["sources"]))
        operations = [
            {"operation": name, "target": _uses(target, name), "sources": _uses(others, name)}
            for name in space.operations
        ]
        return {
            "measured on the target": sum(len(o) for o in target),
            "measured on sources": sum(len(o) for o in others),
            "choices tried least": choices[:SHOWN_RARE],
            "architectures that use an operation": operations,
        }

    def experiment(self, first: str, second: str, reason: str, n: int) -> Found:
        """Note architectures, not yet measured on the target, for which exactly one of two predicates holds.

        Args:
            first: A predicate.
            second: Another.
            reason: What their scores would tell.
            n: How many; half of them on each side where there are any.
        """
        left, right = self._predicate(first), self._predicate(second)
        for predicate in (left, right):
            if not predicate.fits(self.brief.space, ()):
                raise UserError(f"{predicate.text()} speaks of costs, which are not known before measuring.")
        room = MOST_EXPERIMENTS - len(self.experiments)
        if room <= 0:
            raise UserError(f"At most {MOST_EXPERIMENTS} architectures can be proposed in one reflection.")
        rows = self._apart(left, right)
        proposed: list[Found] = []
        for row in rows[: min(max(n, 1), room)]:
            architecture = self.brief.space.architectures(self._sample.choices[row : row + 1])[0]
            text = as_text(self.brief.space, architecture.choices)
            proposed.append({"key": architecture.key, "architecture": text})
            self.experiments.append(
                Experiment(architecture.key, f"{reason} [{left.text()} | {right.text()}]")
            )
        if not proposed:
            raise UserError("No new architecture of a sample of the space tells these two predicates apart.")
        return {
            "proposed": proposed,
            "note": "A few of them are measured before the next reflection, which shows the scores.",
        }

    def _apart(self, left: Predicate, right: Predicate) -> list[int]:
        """Rows of the sample that tell the two apart, from both sides in turn; none twice, none measured."""
        ids = self._sample.space.ids(self._sample.choices)
        taken = {self.brief.space.parse(one.key).id for one in self.experiments}
        taken |= {i for o in self.seen if o.task == self.brief.target for i in o.space.ids(o.choices)}
        first, second = left.holds(self._sample), right.holds(self._sample)
        sides: list[list[int]] = []
        for mask in (first & ~second, second & ~first):
            fresh: dict[str, int] = {}
            for row in np.flatnonzero(mask).tolist():
                if ids[row] not in taken:
                    fresh.setdefault(ids[row], row)
            sides.append(list(fresh.values()))
        longest = max(len(side) for side in sides)
        return [side[i] for i in range(longest) for side in sides if i < len(side)]

    def _predicate(self, text: str) -> Predicate:
        return parse_predicate(text).check(self.brief.space, self._costs)

    def _task(self, name: str | None) -> Observations:
        tasks = {one.task: one for one in self.seen}
        if name is None:
            return tasks.get(self.brief.target, self.seen[0])
        if name not in tasks:
            raise unknown_name("task", name, tasks)
        return tasks[name]


def _effect(effect: Effect | None) -> Found:
    if effect is None:
        return {"effect": None}
    return {
        "effect": round(effect.estimate, 3),
        "interval": [round(effect.low, 3), round(effect.high, 3)],
        "with": effect.holding,
        "without": effect.lacking,
    }


def _rounded(entry: Found) -> Found:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in entry.items()}


def _count(observed: Sequence[Observations], column: int, index: int) -> int:
    return sum(int((o.choices[:, column] == index).sum()) for o in observed)


def _uses(observed: Sequence[Observations], operation: str) -> int:
    counts = [Population(o.space, o.choices).count([operation]) for o in observed]
    return sum(int((count > 0).sum()) for count in counts)


__all__ = ["MOST_EXPERIMENTS", "MOST_SHOWN", "Workbench"]
