"""What a language model gets to see of the measurements: small, telling, as plain data.

Pure functions from a `Brief` to the inputs of prompt templates (their names and forms: `prompts.inputs`).
Everything is taken from what `visible` leaves of the measurements: held-back ones cannot get in, not even as
the scale of a quantile or as the effect of a known principle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.depiction import as_program, as_text, describe_space, examples
from vitruvius.agents.reasoner import Brief
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Effect, Evidence, Principle

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
    seen = visible(brief)
    share = max(len(seen), 1)
    best = next((one for one in seen if one.task == brief.target), seen[0] if seen else None)
    row = brief.space.sample(1, np.random.default_rng(brief.seed))
    if best is not None:
        row = best.choices[[int(np.argmax(best.scores))]]
    each = [-(-n // share) for n in (sizes.top, sizes.poor, sizes.contrasts)]
    rng = np.random.default_rng(brief.seed)
    costs = cost_ranges(seen)
    return {
        "task": brief.target,
        "constraint": brief.where,
        "objectives": list(brief.objectives),
        "costs": costs,
        "best": best.task if best is not None else "",
        "experiments": experiments(brief, seen),
        "space": describe_space(brief.space),
        "code": as_program(brief.space, row),
        "drawing": brief.space.draw(brief.space.architectures(row)[0]),
        "measured": [{"task": o.task, "count": len(o), "target": o.task == brief.target} for o in seen],
        "top": _named("A", [entry for one in seen for entry in top(one, each[0])]),
        "poor": _named("B", [entry for one in seen for entry in poor(one, each[1])]),
        "contrasts": [entry for one in seen for entry in contrasts(one, each[2], rng)],
        "effects": effects(seen, sizes.effects),
        "counts": operation_counts(seen, sizes.counts),
        "known": known_principles(brief.known, seen, sizes.known),
        "examples": examples(brief.space, {cost["name"]: cost["middle"] for cost in costs}),
        "limit": brief.limit,
    }


def visible(brief: Brief) -> list[Observations]:
    """What may be seen of each task, with quantiles among just that; tasks without any are left out."""
    seen = [one.visible() for one in brief.observations]
    return [replace(one, reference=np.sort(one.scores)) for one in seen if len(one)]


def cost_ranges(seen: Sequence[Observations]) -> list[dict[str, Any]]:
    """Costs as measured over all tasks: what a tenth, half and nine tenths stay below."""
    found: list[dict[str, Any]] = []
    for name in sorted({name for one in seen for name in one.costs}):
        values = np.concatenate([one.costs[name] for one in seen if name in one.costs])
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = (float(f"{v:.3g}") for v in np.quantile(values, [0.1, 0.5, 0.9]))
            found.append({"name": name, "low": low, "middle": middle, "high": high})
    return found


def experiments(brief: Brief, seen: Sequence[Observations]) -> list[dict[str, Any]]:
    """What was asked for in earlier reflections, with its quantile on the target once it is measured."""
    target = next((one for one in seen if one.task == brief.target), None)
    scores = {}
    if target is not None:
        scores = dict(zip(brief.space.ids(target.choices), target.quantiles.tolist(), strict=True))
    found: list[dict[str, Any]] = []
    for one in brief.asked:
        architecture = brief.space.parse(one.key)
        text = as_text(brief.space, architecture.choices)
        found.append({"text": text, "reason": one.reason, "quantile": scores.get(architecture.id)})
    return found


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
    """Pairs that differ in one or two decisions (or as few as any do) and score far apart; none twice.

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
    apart = (distance > 0) & (gap > 0.1)
    if not apart.any():
        return []
    # In large spaces hardly two are that close: then the closest there are.
    limit = max(2, int(np.sort(distance[apart])[min(n, apart.sum()) - 1]))
    better, worse = np.nonzero(apart & (distance <= limit))
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
        told_so = {**entry, "effect": mean, "margin": 1.96 * float(error)}
        entries.append((abs(mean) / float(error), told_so))
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
    return [replace(one, reference=np.sort(one.scores)) for one in drawn or seen]


def _where(tasks: Sequence[str], values: NDArray[np.float64]) -> str:
    """The task that a value is of, or on how many tasks it points the way that their mean does."""
    if len(tasks) == 1:
        return tasks[0]
    return f"{int((values * values.mean() > 0).sum())} of {len(tasks)} tasks"


def known_principles(
    principles: Sequence[Principle], seen: Sequence[Observations], n: int
) -> list[dict[str, Any]]:
    """The n known principles with the largest effect on what may be seen."""
    told = [(principle, on_visible(principle, seen).joined) for principle in principles]
    told.sort(key=lambda pair: abs(pair[1].estimate) if pair[1] is not None else 0.0, reverse=True)
    return [_known(principle, effect) for principle, effect in told[:n]]


def on_visible(principle: Principle, seen: Sequence[Observations]) -> Evidence:
    """What the visible uniform draws say of a principle, as if it had just been proposed."""
    drawn = [replace(one, reference=np.sort(one.scores[one.uniform])) for one in seen if one.uniform.any()]
    return assess([(replace(principle, evidence=Evidence()), 0)], drawn)[0].evidence


def _known(principle: Principle, effect: Effect | None) -> dict[str, Any]:
    return {
        "id": principle.id,
        "sentence": principle.sentence,
        "predicate": predicate_from_json(principle.proposal.predicate).text(),
        "direction": "better" if principle.proposal.direction > 0 else "worse",
        "status": str(principle.status),
        "effect": None if effect is None else effect.estimate,
    }


def _entry(observations: Observations, row: int) -> dict[str, Any]:
    text = as_text(observations.space, observations.choices[row].tolist())
    quantile = float(observations.quantiles[row])
    costs = {name: round(float(values[row]), 4) for name, values in observations.costs.items()}
    costs = {name: value for name, value in costs.items() if np.isfinite(value)}
    return {"name": "", "task": observations.task, "quantile": quantile, "text": text, "costs": costs}


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
    "MIN_COUNT", "MOST_COMPARED", "Sizes", "contrasts", "cost_ranges", "effects", "exhibits", "experiments",
    "known_principles", "on_visible", "operation_counts", "poor", "top", "visible",
]  # fmt: skip
