"""The loop without batches: whenever a place is free, the next candidate is drawn for it.

Nothing waits for the slowest. What is still being measured is known: it is not drawn again, it counts in the
open share, and the selection takes it as measured with the score that is predicted of it. Every candidate is
a batch of its own, written down before it is measured, so a killed session goes on with exactly these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vitruvius.agents.candidates import Batch
from vitruvius.agents.journal import Journal
from vitruvius.agents.measuring import Say, Timed, asked_for, check_failures, lookup, record
from vitruvius.agents.selection import Selector
from vitruvius.generator.evaluation.task import stream
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.share import Share


def search(
    journal: Journal,
    evaluations: int,
    draw: Callable[[int, int], Batch],
    settle: Callable[[], None],
    say: Say,
    timed: Timed,
) -> bool:
    """Measure until so many evaluations are counted; continues with what was in flight.

    Args:
        journal: The session's facts.
        evaluations: The whole budget.
        draw: Draws and logs so many candidates, given the budget; an empty batch where the space is used up.
        settle: Works in what was measured; called after each measurement.
        say: Takes a line at a time.
        timed: Times a part of the session; parts inside of another are not counted twice.

    Returns:
        Whether the budget was used up; False where the space was.

    Raises:
        BudgetError: Most measurements fail.
    """
    out: dict[str, tuple[int, Share]] = {}  # key -> batch and share
    used_up = False

    def next_one() -> tuple[int, str, Share] | None:
        """Batch, key and share of a candidate that is not out yet, drawn if need be."""
        nonlocal used_up
        for one in journal.in_flight():
            if one[1] not in out:
                return one
        if used_up or journal.counted() + len(out) >= evaluations:
            return None
        batch = draw(evaluations, 1)
        used_up = not batch.keys
        return None if used_up else (batch.number, batch.keys[0], batch.shares[batch.keys[0]])

    def more(free: int) -> list[Architecture]:
        found: list[Architecture] = []
        while len(found) < free and (one := next_one()) is not None:
            number, key, share = one
            architecture = journal.architecture(key)
            if (cached := lookup(journal, architecture)) is not None:
                record(journal, cached, number, share, say)
                settle()
                continue
            out[key] = (number, share)
            found.append(architecture)
        return found

    with timed("evaluation"):
        for measurement in stream(journal.task.bench, more, seed=0):
            key = asked_for(measurement, out, journal.task).key
            record(journal, measurement, *out.pop(key), say)
            settle()
            check_failures(journal, evaluations)
    return not used_up


def believed(journal: Journal, seed: int) -> Observations:
    """What was measured on the target, and what is in flight with the score that is predicted of it.

    Each one in flight is believed to score what a surrogate predicts (kriging believer; Ginsbourger, Le Riche
    and Carraro, 2010). With nothing in flight these are the observations as they are.
    """
    observed = journal.observations()
    flying = journal.in_flight()
    if not flying or not len(observed):
        return observed
    rows = observed.space.rows(journal.architecture(key) for _, key, _ in flying)
    chosen = Selector(observed.space, seed=seed).choose(
        observed.choices, observed.scores, rows, None, len(rows), seed=flying[0][0]
    )
    choices, n = np.concatenate([observed.choices, rows[chosen.rows]]), len(rows)
    return replace(
        observed,
        choices=choices,
        scores=np.concatenate([observed.scores, np.quantile(observed.scores, chosen.mean)]),
        uniform=np.concatenate([observed.uniform, np.zeros(n, dtype=np.bool_)]),
        held=np.concatenate([observed.held, np.zeros(n, dtype=np.bool_)]),
        order=np.concatenate([observed.order, observed.order[-1] + 1 + np.arange(n)]),
        costs=dict(journal.task.bench.costs(choices)),
    )
