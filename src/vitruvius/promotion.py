"""After a search with shortened training: its best are trained longer, the best of these in full.

What is trained here is kept as events of the session, not among what it learned: scores of different lengths
of training do not compare. Who runs the same folder again pays for nothing twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.agents.aims import Feasible
from vitruvius.agents.journal import Journal
from vitruvius.generator.evaluation.halving import Rung, Trainer, Trains, Trial, hyperband, promote
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.space import Architecture, SearchSpace
from vitruvius.knowledge.ledger import Ledger

KIND = "promoted"
"""Kind of the ledger's events that hold a trial after the search."""
HYPERBAND_STREAM = 71
"""Of the random numbers that Hyperband draws candidates with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the best of a search are trained longer.

    Attributes:
        at: What trains with a recipe.
        recipes: Of all rungs; the search was run with the first, the last is the full one.
        factor: From one rung to the next so many times fewer candidates are trained.
        hyperband: Whether more candidates, drawn uniformly, then begin at the higher rungs.
        seed: Of these draws.
    """

    at: Callable[[Recipe], Trains]
    recipes: Sequence[Recipe]
    factor: int
    hyperband: bool = False
    seed: int = 0


def promote_best(
    journal: Journal, plan: Plan, say: Callable[[str], None], feasible: Feasible | None = None
) -> list[Rung]:
    """Train the best of a session longer: of three rungs the best factor², then the best factor in full.

    Args:
        journal: Of the session, which was run with the first of the plan's recipes.
        plan: How.
        say: Called with a line for each rung.
        feasible: What Hyperband may draw; None for the whole space.
    """
    space, factor = journal.task.space, plan.factor

    def record(trial: Trial) -> None:
        journal.log(KIND, dataclasses.asdict(trial))

    measure = Trainer(
        plan.at, space, journal.task.dataset, known=trials(journal.ledger, journal.session), record=record
    )
    rungs: list[Rung] = []
    for rung in promote(journal.curve(), plan.recipes[1:], measure, space, factor):
        rungs.append(rung)
        say(f"promoted {len(rung.measurements)} to {rung.recipe.fidelity}")
    if plan.hyperband:
        # The same draws whenever the folder is run again. The search was the first bracket.
        rng = np.random.default_rng([plan.seed, HYPERBAND_STREAM])
        for rung in hyperband(_uniform(space, feasible, rng), plan.recipes, measure, space, factor, start=1):
            rungs.append(rung)
            how = "drew" if rung.drawn else "promoted"
            say(f"hyperband: {how} {len(rung.measurements)} for {rung.recipe.fidelity}")
    return rungs


def trials(ledger: Ledger, session: str) -> list[Trial]:
    """What was measured after the search of a session and need not be measured again, in order."""
    found = [_trial(event.data) for event in ledger.events(session, KIND)]
    settled = (Status.OK, Status.INVALID, Status.DIVERGED, Status.STOPPED)
    return [t for t in found if t.measurement.status in settled]


def trial_lines(found: Sequence[Trial], metric: str, unit: str) -> Iterator[str]:
    """The best of each length of training, for people; nothing where nothing was trained longer."""
    if found:
        yield f"\nTrained longer after the search ({metric})"
    for fidelity in dict.fromkeys(trial.measurement.fidelity for trial in found):
        scored = [t.measurement for t in found if t.measurement.fidelity == fidelity and t.measurement.ok]
        yield f"{fidelity}: {len(scored)} with a score"
        for m in sorted(scored, key=lambda m: -(m.score or 0.0))[:3]:
            yield f"  {m.score:.2f} {unit}  {m.key}"


def _uniform(
    space: SearchSpace, feasible: Feasible | None, rng: np.random.Generator
) -> Callable[[int], Sequence[Architecture]]:
    return lambda count: space.architectures((feasible or space).sample(count, rng))


def _trial(data: dict[str, Any]) -> Trial:
    facts: dict[str, Any] = {**data["measurement"], "status": Status(data["measurement"]["status"])}
    return Trial(Measurement(**facts), tuple(data.get("curve", ())))


def promotion_lines(rungs: Sequence[Rung], metric: Metric) -> Iterator[str]:
    """What came out, for people; nothing where nothing was promoted."""
    if rungs:
        yield "\nPromoted: the best, trained longer"
    told = False
    for rung in rungs:
        if rung.drawn and not told:
            yield "Hyperband: drawn uniformly, in case the shortest training misleads"
            told = True
        early = f", {rung.stopped} stopped early" if rung.stopped else ""
        many = len(rung.measurements)
        yield f"{rung.recipe.fidelity}: {many} candidate{'s' * (many != 1)}{early}"
        if rung.agreement is not None:
            yield f"  rank agreement with the rung below: {rung.agreement:.2f} over {rung.compared}"
        for m in rung.measurements[:3]:
            yield f"  {metric.format(m.score) if m.score is not None else m.status}  {m.key}"
    best = best_in_full(rungs)
    if best is not None and best.score is not None:
        yield f"Best in full: {metric.format(best.score)}  {best.key}"


def best_in_full(rungs: Sequence[Rung]) -> Measurement | None:
    """The best of all that were trained with the full recipe; None where none has a score."""
    if not rungs:
        return None
    full = max((rung.recipe for rung in rungs), key=lambda recipe: recipe.epochs)
    scored = [m for rung in rungs if rung.recipe == full for m in rung.measurements if m.score is not None]
    return max(scored, key=lambda m: m.score or 0.0, default=None)
