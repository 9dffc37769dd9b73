"""After a search with shortened training: its best are trained longer, the best of these in full.

What is trained here is kept as events of the session, not among what it learned: scores of different lengths
of training do not compare. Who runs the same folder again pays for nothing twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vitruvius.agents.journal import Journal
from vitruvius.generator.evaluation.halving import Rung, promote, rung_recipes, trainer
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import Architecture

KIND = "promoted"
"""Kind of the ledger's events that hold a measurement of a promoted candidate."""


def promote_best(journal: Journal, train: Train, factor: int, say: Callable[[str], None]) -> list[Rung]:
    """Train the best of a session longer: the best factor² of it, then the best factor of these in full.

    Args:
        journal: Of the session, which was run with the first of `rung_recipes`.
        train: Data, limits and the full recipe.
        factor: From one rung to the next epochs grow, and candidates shrink, by so much.
        say: Called with a line for each rung.
    """
    space, seed = journal.task.space, 0
    fresh = trainer(train, space, seed)

    def measure(wanted: Recipe, architectures: Sequence[Architecture]) -> list[Measurement]:
        bench = train.with_recipe(wanted).open(space, train.images.name)
        identity = (bench.evaluator, bench.fingerprint)
        kept = {m.key: m for m in promoted(journal) if (m.evaluator, m.fingerprint) == identity}
        todo, found = list[Architecture](), list[Measurement]()
        for architecture in map(bench.representative, architectures):
            if architecture.key in kept:
                found.append(kept[architecture.key])
            else:
                todo.append(architecture)
        for measurement in fresh(wanted, todo) if todo else ():
            journal.log(KIND, {"measurement": dataclasses.asdict(measurement)})
            found.append(measurement)
        return found

    rungs: list[Rung] = []
    recipes = rung_recipes(train.recipe, factor)[1:]
    for rung in promote(journal.curve(), recipes, measure, space, factor):
        rungs.append(rung)
        say(f"promoted {len(rung.measurements)} to {rung.recipe.fidelity}")
    return rungs


def promoted(journal: Journal) -> list[Measurement]:
    """What was measured of promoted candidates, and need not be measured again."""
    events = journal.ledger.events(journal.session, KIND)
    found = [_measurement(event.data["measurement"]) for event in events]
    return [m for m in found if m.status.permanent]


def _measurement(data: dict[str, Any]) -> Measurement:
    facts: dict[str, Any] = {**data, "status": Status(data["status"])}
    return Measurement(**facts)


def promotion_lines(rungs: Sequence[Rung], metric: Metric) -> Iterator[str]:
    """What came out, for people; nothing where nothing was promoted."""
    if rungs:
        yield "\nPromoted: the best, trained longer"
    for rung in rungs:
        yield f"{rung.recipe.fidelity}: {len(rung.measurements)} candidates"
        if rung.agreement is not None:
            yield f"  rank agreement with the rung below: {rung.agreement:.2f} over {rung.compared}"
        for m in rung.measurements[:3]:
            yield f"  {metric.format(m.score) if m.score is not None else m.status}  {m.key}"
