"""What a language model gets to see of the measurements: small, telling, as plain data.

Pure functions from a `Brief` to the inputs of prompt templates (their names and forms: `prompts.inputs`).
Everything is taken from `Observations.visible()`: held-back measurements cannot get in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.reasoner import Brief
from vitruvius.generator.space import ABSENT, INPUT, OUTPUT, Choices, SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Principle

MOST_COMPARED = 800
"""Architectures of a task among which contrasting pairs are looked for, at most."""
MIN_COUNT = 3
"""A choice must be seen, and be absent, this often for its effect to be shown."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is shown, over all tasks together."""

    top: int = 10
    poor: int = 6
    contrasts: int = 6
    effects: int = 24
    counts: int = 24
    known: int = 12


def exhibits(brief: Brief, sizes: Sizes | None = None) -> dict[str, Any]:
    """All inputs that a template may declare for a reflection.

    Args:
        brief: What the reasoner got.
        sizes: How much is shown.

    Returns:
        Input name -> plain data; a template takes those that it declares.
    """
    sizes = sizes or Sizes()
    seen = [one.visible() for one in brief.observations]
    seen = [one for one in seen if len(one)]
    share = max(len(seen), 1)
    best = max(seen, key=lambda one: float(one.quantiles.max()), default=None)
    row = brief.space.sample(1, np.random.default_rng(brief.seed))
    if best is not None:
        row = best.choices[[int(np.argmax(best.quantiles))]]
    each = [-(-n // share) for n in (sizes.top, sizes.poor, sizes.contrasts)]
    rng = np.random.default_rng(brief.seed)
    return {
        "task": brief.target,
        "space": describe_space(brief.space),
        "code": as_program(brief.space, row),
        "drawing": brief.space.draw(brief.space.architectures(row)[0]),
        "measured": [{"task": o.task, "count": len(o), "target": o.task == brief.target} for o in seen],
        "top": _named("A", [entry for one in seen for entry in top(one, each[0])]),
        "poor": _named("B", [entry for one in seen for entry in poor(one, each[1])]),
        "contrasts": [entry for one in seen for entry in contrasts(one, each[2], rng)],
        "effects": effects(seen, sizes.effects),
        "counts": operation_counts(seen, sizes.counts),
        "known": known_principles(brief.known, sizes.known),
        "examples": examples(brief.space, sorted({name for one in seen for name in one.costs})),
        "limit": brief.limit,
    }


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Name, description, decisions, operations and size of a space."""
    return {
        "name": space.name,
        "description": space.description,
        "decisions": [{"name": d.name, "choices": list(d.choices)} for d in space.decisions],
        "operations": list(space.operations),
        "size": space.size,
    }


def as_text(space: SearchSpace, row: Sequence[int]) -> str:
    """One architecture on one line: `0->1=conv3x3 0->2=skip`."""
    pairs = zip(space.decisions, row, strict=True)
    return " ".join(f"{decision.name}={decision.choices[index]}" for decision, index in pairs)


def as_program(space: SearchSpace, choices: Choices) -> str:
    """One architecture (1, D) as a program: one line for each operation, inputs of a node are added.

    Behind each line stands the decision that sets its operation, where one does.
    """
    graphs, setters = space.graphs(choices), _setters(space, choices)
    labels, adjacency = graphs.labels[0], graphs.adjacency[0]
    names: dict[int, str] = {}
    lines: list[str] = []
    inputs = ["input"] if (labels == INPUT).sum() == 1 else [f"input{node}" for node in range(len(labels))]
    for node, label in enumerate(labels.tolist()):
        given = " + ".join(names[u] for u in np.flatnonzero(adjacency[:, node]).tolist() if u in names)
        if label == INPUT:
            names[node] = inputs[node]
        elif label == OUTPUT:
            lines.append(f"output = {given or '0'}")
        elif label > OUTPUT + len(space.operations):
            lines.append(space.labels[label - 2].replace("=", " = "))
        elif label != ABSENT:
            names[node] = f"n{len(lines) + 1}"
            decision = f"  # {setters[node]}" if node in setters else ""
            lines.append(f"{names[node]} = {space.operations[label - 2]}({given or '0'}){decision}")
    return "\n".join(lines)


def _setters(space: SearchSpace, choices: Choices) -> dict[int, str]:
    """Node of the graph of one architecture (1, D) -> name of the only decision that changes its label."""
    plain = space.graphs(choices).labels[0]
    found: dict[int, set[str]] = {}
    for column, decision in enumerate(space.decisions):
        if not set(decision.choices) <= set(space.operations):
            continue
        others = np.repeat(choices, len(decision.choices), axis=0)
        others[:, column] = np.arange(len(decision.choices))
        changed = (space.graphs(others[space.legal(others)]).labels != plain).any(axis=0)
        for node in np.flatnonzero(changed).tolist():
            found.setdefault(node, set()).add(decision.name)
    return {node: names.pop() for node, names in found.items() if len(names) == 1}


def top(observations: Observations, n: int) -> list[dict[str, Any]]:
    """The n best, best first."""
    return [_entry(observations, i) for i in np.argsort(-observations.scores, kind="stable")[:n].tolist()]


def poor(observations: Observations, n: int) -> list[dict[str, Any]]:
    """From the lower half, n: the worst, and others spread over it, so that not all are broken in one way."""
    order = np.argsort(observations.scores, kind="stable")
    half = max(len(order) // 2, 1)
    places = np.unique(np.linspace(0, half - 1, min(n, half)).round().astype(int))
    return [_entry(observations, int(order[place])) for place in places]


def contrasts(observations: Observations, n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Pairs that differ in the fewest decisions and score furthest apart; no architecture twice.

    Args:
        observations: Visible measurements of one task.
        n: Number of pairs.
        rng: Draws those that are compared where there are more than `MOST_COMPARED`.
    """
    count = len(observations)
    rows = np.sort(rng.permutation(count)[:MOST_COMPARED])
    choices, quantiles = observations.choices[rows], observations.quantiles[rows]
    distance = (choices[:, None, :] != choices[None, :, :]).sum(axis=2)
    gap = quantiles[:, None] - quantiles[None, :]
    better, worse = np.nonzero((distance > 0) & (distance <= 2) & (gap > 0.1))
    # A pair with one difference tells more than a pair with two and the same gap.
    merit = gap[better, worse] / distance[better, worse]
    found: list[dict[str, Any]] = []
    used: set[int] = set()
    for place in np.argsort(-merit, kind="stable").tolist():
        high, low = int(better[place]), int(worse[place])
        if high in used or low in used:
            continue
        used |= {high, low}
        found.append(_pair(observations, int(rows[high]), int(rows[low])))
        if len(found) == n:
            break
    return found


def effects(seen: Sequence[Observations], n: int) -> list[dict[str, Any]]:
    """Single choices with the clearest difference of mean quantile, averaged over tasks.

    Clearest is the largest against its standard error, within tasks and between them.
    """
    found: dict[tuple[str, str], list[tuple[str, float, float, int]]] = {}
    for one in _drawn(seen):
        for column, decision in enumerate(one.space.decisions):
            for index, choice in enumerate(decision.choices):
                has = one.choices[:, column] == index
                if min(has.sum(), (~has).sum()) >= MIN_COUNT:
                    effect, error = _difference(one.quantiles[has], one.quantiles[~has])
                    told = (one.task, effect, error, int(has.sum()))
                    found.setdefault((decision.name, choice), []).append(told)
    entries: list[tuple[float, dict[str, Any]]] = []
    for (decision, choice), told in found.items():
        values, errors = np.array([each[1] for each in told]), np.array([each[2] for each in told])
        between = values.var(ddof=1) if len(told) > 1 else 0.0
        error = np.sqrt((np.mean(errors**2) + between) / len(told))
        mean = float(values.mean())
        where = _where([each[0] for each in told], values)
        entry = {"task": where, "decision": decision, "choice": choice, "count": sum(e[3] for e in told)}
        entries.append((abs(mean) / float(error), {**entry, "effect": mean}))
    return [entry for _, entry in sorted(entries, key=lambda item: -item[0])[:n]]


def operation_counts(seen: Sequence[Observations], n: int) -> list[dict[str, Any]]:
    """Rank correlation of the score with how often an operation is used, mean over tasks: the n largest."""
    found: dict[str, list[tuple[str, float]]] = {}
    for one in _drawn(seen):
        population, ranks = Population(one.space, one.choices), _ranks(one.scores)
        for operation in one.space.operations:
            uses = _ranks(population.count([operation]).astype(np.float64))
            if len(uses) >= 2 * MIN_COUNT and uses.std() > 0 and ranks.std() > 0:
                told = (one.task, float(np.corrcoef(uses, ranks)[0, 1]))
                found.setdefault(operation, []).append(told)
    entries: list[dict[str, Any]] = []
    for operation, told in found.items():
        values = np.array([value for _, value in told])
        where = _where([task for task, _ in told], values)
        entries.append({"task": where, "operation": operation, "effect": float(values.mean())})
    return sorted(entries, key=lambda entry: -abs(entry["effect"]))[:n]


def _drawn(seen: Sequence[Observations]) -> list[Observations]:
    """The uniform draws: what a search visited makes its favourites look like causes.

    Everything, where no task has enough of them.
    """
    drawn = [one.take(one.uniform) for one in seen if one.uniform.sum() >= 2 * MIN_COUNT]
    return drawn or [*seen]


def _where(tasks: Sequence[str], values: NDArray[np.float64]) -> str:
    """The task that a value is of, or on how many tasks it points the way that their mean does."""
    if len(tasks) == 1:
        return tasks[0]
    return f"{int((values * values.mean() > 0).sum())} of {len(tasks)} tasks"


def known_principles(principles: Sequence[Principle], n: int) -> list[dict[str, Any]]:
    """The n known principles with the largest joined effect."""

    def size(principle: Principle) -> float:
        joined = principle.evidence.joined
        return abs(joined.estimate) if joined is not None else 0.0

    return [
        {
            "id": principle.id,
            "sentence": principle.sentence,
            "predicate": predicate_from_json(principle.proposal.predicate).text(),
            "direction": "better" if principle.proposal.direction > 0 else "worse",
            "status": str(principle.status),
            "effect": None if principle.evidence.joined is None else principle.evidence.joined.estimate,
        }
        for principle in sorted(principles, key=size, reverse=True)[:n]
    ]


def examples(space: SearchSpace, costs: Sequence[str]) -> list[str]:
    """One valid predicate for each form, in the names of the space."""
    passing = [name for name in space.operations if name not in space.null_operations] or [*space.operations]
    first, last = passing[0], passing[-1]
    middle = passing[len(passing) // 2]
    decision = max(space.decisions, key=lambda d: len(d.choices))
    shapes: list[dict[str, Any]] = [
        _count(middle, ">=", 2),
        {"kind": "choice", "decision": decision.name, "among": list(decision.choices[:2])},
        {"kind": "all", "parts": [
            {"kind": "depth", "comparison": ">=", "value": 2}, {"kind": "not", "part": _count(last, ">", 1)}
        ]},
        {"kind": "count", "operations": [first, middle], "comparison": "<=", "value": 1},
        {"kind": "path", "operations": [first, last]},
        {"kind": "feeds", "first": middle, "second": last},
    ]  # fmt: skip
    shapes += [{"kind": "bound", "cost": name, "comparison": "<", "value": 0.5} for name in costs[:3]]
    return [predicate_from_json(shape).check(space).text() for shape in shapes]


def _count(operation: str, comparison: str, value: int) -> dict[str, Any]:
    return {"kind": "count", "operations": [operation], "comparison": comparison, "value": value}


def _entry(observations: Observations, row: int) -> dict[str, Any]:
    text = as_text(observations.space, observations.choices[row].tolist())
    quantile = float(observations.quantiles[row])
    return {"name": "", "task": observations.task, "quantile": quantile, "text": text}


def _named(letter: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "name": f"{letter}{number}"} for number, entry in enumerate(entries, 1)]


def _pair(observations: Observations, high: int, low: int) -> dict[str, Any]:
    better, worse = observations.choices[high], observations.choices[low]
    changed = [
        {"decision": d.name, "better": d.choices[better[column]], "worse": d.choices[worse[column]]}
        for column, d in enumerate(observations.space.decisions)
        if better[column] != worse[column]
    ]
    first, second = _entry(observations, high), _entry(observations, low)
    gap = first["quantile"] - second["quantile"]
    return {"task": observations.task, "better": first, "worse": second, "gap": gap, "changed": changed}


def _difference(having: NDArray[np.float64], lacking: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of means and its standard error, which is kept above zero."""
    error = np.sqrt(having.var() / len(having) + lacking.var() / len(lacking))
    return float(having.mean() - lacking.mean()), float(max(error, 1e-3))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks of the values: (n,)."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2.0


__all__ = [
    "MIN_COUNT", "MOST_COMPARED", "Sizes", "as_program", "as_text", "contrasts", "describe_space", "effects",
    "examples", "exhibits", "known_principles", "operation_counts", "poor", "top",
]  # fmt: skip
