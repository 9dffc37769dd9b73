"""Measuring a batch: never pay twice, write each result down the moment it is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from vitruvius.agents.candidates import Batch
from vitruvius.agents.journal import Journal
from vitruvius.agents.results import Clock
from vitruvius.errors import BudgetError, UserError
from vitruvius.generator.evaluation.task import Measurement, Status, Task
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.share import Share

Say = Callable[[str], None]


Timed = Callable[[str], Clock]
"""Times a block as this part of the session."""


def search(
    journal: Journal,
    evaluations: int,
    draw: Callable[[int], Batch],
    settle: Callable[[], None],
    say: Say,
    timed: Timed,
) -> bool:
    """Draw and measure batch by batch until so many evaluations are counted, beginning with what is pending.

    Args:
        journal: The session's facts.
        evaluations: The whole budget.
        draw: Draws and logs the next batch, given the budget; an empty one where the space is used up.
        settle: Works in what was measured; called after each batch.
        say: Takes a line at a time.
        timed: Times a part of the session.

    Returns:
        Whether the budget was used up; False where the space was.

    Raises:
        BudgetError: Most measurements fail.
    """
    while journal.counted() < evaluations:
        batch = pending(journal) or draw(evaluations)
        if not batch.keys:
            return False
        with timed("evaluation"):
            measure(journal, batch, say)
        settle()
        check_failures(journal, evaluations)
    return True


def pending(journal: Journal) -> Batch | None:
    """The latest batch, if some of it has not been measured."""
    last = journal.last("batch")
    if last is None:
        return None
    number, data = last
    done = {x.measurement.key for x in journal.learned() if x.batch == number}
    keys = [key for key in data["keys"] if key not in done]
    shares = {key: Share(share) for key, share in data["shares"].items()}
    return Batch(number, keys, shares, dict(data["reasons"])) if keys else None


def measure(journal: Journal, batch: Batch, say: Say) -> None:
    """Measure what of a batch has not been measured; scores that the ledger has are taken from there."""
    task = journal.task
    shares: dict[str, Share] = {}
    todo: list[Architecture] = []
    for key in batch.keys:
        architecture = journal.architecture(key)
        shares[architecture.key] = batch.shares[key]
        cached = lookup(journal, architecture)
        if cached is None:
            todo.append(architecture)
        else:
            record(journal, cached, batch.number, batch.shares[key], say)
    for measurement in answers(task, todo):
        record(journal, measurement, batch.number, shares[measurement.key], say)


def answers(task: Task, architectures: Sequence[Architecture]) -> Iterator[Measurement]:
    """What the bench of a task measures of these: one measurement for each.

    Raises:
        UserError: It left one out, or measured another one.
    """
    left = {architecture.key for architecture in architectures}
    for measurement in task.bench.measure(architectures, seed=0):
        yield asked_for(measurement, left, task)
        left.discard(measurement.key)
    if left:
        raise UserError(
            f"The evaluator {task.bench.evaluator} gave no measurement of {min(left)}: it must give one for "
            "each architecture, with a status and a reason where there is no score."
        )


def asked_for(measurement: Measurement, keys: Collection[str], task: Task) -> Measurement:
    """The measurement, if it is of one of these keys on this task.

    Raises:
        UserError: It is of another one, or none at all.
    """
    evaluator = task.bench.evaluator
    if not isinstance(measurement, Measurement):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UserError(f"The evaluator {evaluator} gave {measurement!r:.100}: it must give Measurements.")
    if measurement.task != task.name:
        raise UserError(
            f"The evaluator {evaluator} gave a measurement on {measurement.task!r}, but {task.name!r} is "
            "measured: its `task` must be that name."
        )
    if measurement.key not in keys:
        raise UserError(
            f"The evaluator {evaluator} measured {measurement.key}, which it was not asked for: it "
            "must give one measurement for each architecture."
        )
    return measurement


def lookup(journal: Journal, architecture: Architecture, task: Task | None = None) -> Measurement | None:
    """The result for an architecture as a task (by default the target) measures it, if the ledger has it.

    A failure of another session is none: what was to blame, a full disk or a limit, may be mended.
    """
    task = task or journal.task
    bench = task.bench
    return journal.ledger.lookup(
        key=architecture.key,
        task=task.name,
        fingerprint=bench.fingerprint,
        evaluator=bench.evaluator,
        fidelity=bench.fidelity,
        seed=0,
    )


def record(journal: Journal, measurement: Measurement, batch: int, share: Share, say: Say) -> Measurement:
    """Write a measurement down and say it in one line; the one that is in the ledger now."""
    before = journal.best
    learned = journal.record(measurement, batch=batch, share=share)
    measurement, number = learned.measurement, journal.counted() if learned.counted else "-"
    head = f"[{number:>3}] {share:7}"
    if not measurement.ok or measurement.score is None:
        say(f"{head} {measurement.status}: {' '.join(measurement.reason.split())}")
        return measurement
    after = journal.best
    mark = "  <- best so far" if after is not None and after is not before else ""
    say(f"{head} {journal.task.metric.format(measurement.score)}  {measurement.key}{mark}")
    return measurement


def tell(journal: Journal, measurement: Measurement, say: Say) -> None:
    """Write down what somebody reports, as part of the batch that asked for it, else of the latest.

    Raises:
        UserError: Something else of the same architecture is in the ledger.
    """
    asked = {key: (number, share) for number, key, share in journal.in_flight()}
    latest = journal.last("batch")
    number, share = asked.get(measurement.key, (latest[0] if latest is not None else 0, Share.TOLD))
    key, task, fingerprint, evaluator, fidelity, seed = measurement.identity
    known = journal.ledger.lookup(
        key=key, task=task, fingerprint=fingerprint, evaluator=evaluator, fidelity=fidelity, seed=seed
    ) or next((x.measurement for x in journal.learned() if x.measurement.key == key), None)
    if known is not None and known.score != measurement.score:
        raise UserError(
            f"{known.key} was told before, as {_said(known)}, and now as {_said(measurement)}: what the "
            "ledger has stays, so tell each architecture once."
        )
    record(journal, measurement, number, share, say)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _said(measurement: Measurement) -> str:
    return str(measurement.status) if measurement.score is None else f"{measurement.score:.6g}"


def check_failures(journal: Journal, evaluations: int) -> None:
    """Stop a search that fails most of the time instead of looping for ever.

    Raises:
        BudgetError: More than twice the budget, and 20, have failed, or the first 20, or the first 5 for one
            and the same reason: what is broken for all is known by then.
    """
    failed = [x for x in journal.learned() if not x.measurement.ok]
    alike = {(x.measurement.status, x.measurement.reason) for x in failed}
    if not journal.counted() and len(failed) >= 5 and len(alike) == 1:
        status, why = alike.pop()
        late = status is Status.TIMED_OUT
        what = "were not done in time" if late else "all failed alike"
        more = " Give more with `time_limit` (`--set time_limit=SECONDS`)." if late else ""
        raise BudgetError(f"The first {len(failed)} evaluations {what}, so the search stopped. {why}{more}")
    if len(failed) > (2 * evaluations + 20 if journal.counted() else 19):
        reasons = {x.measurement.reason for x in failed[-5:]}
        raise BudgetError(
            f"{len(failed)} evaluations failed and {journal.counted()} succeeded, so the search stopped. "
            f"The last reasons: {'; '.join(sorted(reasons))}"
        )


def _finite(score: object) -> float:
    """The score as a plain number; those of NumPy and torch are numbers too.

    Raises:
        UserError: It is no finite number.
    """
    try:
        number = float("nan") if isinstance(score, str | bytes | bool) else float(score)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number):
        raise UserError(f"The score {score!r} is not a finite number: tell None for a failed evaluation.")
    return number


def told(
    task: Task, architecture: Architecture, score: float | Measurement | None, reason: str
) -> Measurement:
    """A measurement from what somebody reports.

    Raises:
        UserError: It is no architecture, or one of another space, or the score is no finite number.
    """
    if not isinstance(architecture, Architecture):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UserError(f"{architecture!r} is no architecture: tell those that ask returned, not their keys.")
    if architecture.space.name != task.space.name:
        raise UserError(
            f"{architecture!r} is not of the space {task.space.name}: tell architectures that ask returned."
        )
    if isinstance(score, Measurement):
        given, meant = score, task.bench.representative(architecture)
        if (given.task, given.id) != (task.name, architecture.id) or given.key != meant.key:
            raise UserError(
                f"The measurement is of {given.key} on {given.task}, but {meant.key} on {task.name} is told."
            )
        costs = {"params": given.params, "flops": given.flops, **given.latency}
        for name, cost in costs.items():
            if cost is not None and not (_is_number(cost) and 0 <= cost < math.inf):
                raise UserError(f"The cost {name} is {cost!r}: give a number that is not negative, or None.")
        return given
    if score is not None:
        score = _finite(score)
    bench = task.bench
    return Measurement(
        space=task.space.name,
        task=task.name,
        key=architecture.key,
        id=architecture.id,
        status=Status.OK if score is not None else Status.FAILED,
        score=score,
        reason=reason or ("" if score is not None else "reported as failed"),
        evaluator=f"told:{bench.evaluator}",
        fingerprint=bench.fingerprint,
        fidelity=bench.fidelity,
    )
