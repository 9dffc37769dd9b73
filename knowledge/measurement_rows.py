"""Measurements and what sessions learned, as rows: used by the ledger inside its transactions."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from vitruvius.errors import LedgerError
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge.records import Learned
from vitruvius.knowledge.schema import learned, measurements

_STATUS = {status.value: status for status in Status}
# In the order of Measurement's fields, so that a row becomes one without naming each.
_FIELDS = tuple(measurements.c[name] for name in Measurement.__dataclass_fields__)
_LINK = tuple(learned.c[name] for name in ("position", "session", "batch", "share", "counted", "paid"))
_LEARNED = select(*_LINK, *_FIELDS).join_from(learned, measurements)


def _place(measurement: Measurement) -> str:
    """Empty for what holds on every machine, else where and how it failed."""
    return "" if measurement.status.permanent else f"{measurement.device} {measurement.status.value}"


def _measurement(fields: Sequence[Any]) -> Measurement:
    values = list(fields)
    values[4] = _STATUS[values[4]]
    values[10] = {} if values[10] == "{}" else json.loads(values[10])
    return Measurement(*values)


def _learned(row: Sequence[Any]) -> Learned:
    order, session, batch, share, counted, paid = row[: len(_LINK)]
    return Learned(order, _measurement(row[len(_LINK) :]), session, batch, share, counted, paid)


def _real(value: float | None) -> float | None:
    return None if value is None else float(value)


def check(measurement: Measurement) -> None:
    """Refuse a measurement that contradicts itself.

    Raises:
        LedgerError: It is ok without a finite score, or has a score and is not ok.
    """
    score = measurement.score
    if measurement.ok and (score is None or not math.isfinite(score)):
        raise LedgerError(
            f"The measurement of {measurement.key} on {measurement.task} is ok but its score is {score}: "
            f"an evaluator must return a finite score, or the status diverged."
        )
    if not measurement.ok and score is not None:
        raise LedgerError(
            f"The measurement of {measurement.key} on {measurement.task} is {measurement.status} and has the "
            f"score {score}: only ok measurements have one."
        )


def lookup(
    connection: Connection, identity: tuple[str, str, str, str, str, int], device: str
) -> Row[Any] | None:
    """The row (number, *fields) of an identity: a permanent one, else the last failure on the device."""
    key, task, fingerprint, evaluator, fidelity, seed = identity
    table = measurements.c
    query = select(table.number, *_FIELDS).where(
        table.key == key,
        table.task == task,
        table.fingerprint == fingerprint,
        table.evaluator == evaluator,
        table.fidelity == fidelity,
        table.seed == seed,
    )
    permanent = connection.execute(query.where(table.place == "")).first()
    if permanent is not None:
        return permanent
    failed = query.where(table.place != "", table.device == device).order_by(table.number.desc())
    return connection.execute(failed.limit(1)).first()


def find(
    connection: Connection, identity: tuple[str, str, str, str, str, int], device: str
) -> Measurement | None:
    """What is known for an identity; see `lookup`."""
    row = lookup(connection, identity, device)
    return None if row is None else _measurement(row[1:])


def _insert(connection: Connection, measurement: Measurement) -> int:
    m = measurement
    row = insert(measurements).values(
        space=m.space, task=m.task, key=m.key, id=m.id, status=m.status.value, score=_real(m.score),
        reason=m.reason, seconds=float(m.seconds), params=_real(m.params), flops=_real(m.flops),
        latency=json.dumps({device: float(ms) for device, ms in m.latency.items()}), seed=int(m.seed),
        fidelity=m.fidelity, evaluator=m.evaluator, fingerprint=m.fingerprint, device=m.device,
        place=_place(m), time=time.time(),
    )  # fmt: skip
    return connection.execute(row.returning(measurements.c.number)).scalar_one()


def _keep(connection: Connection, measurement: Measurement) -> tuple[int, Measurement, bool]:
    """Number and content of the fact, inserted if its identity is new, and whether it was."""
    known = lookup(connection, measurement.identity, measurement.device)
    if known is not None:
        fact = _measurement(known[1:])
        # A failure that is known does not stand in the way of a result, nor of another kind of failure.
        if fact.status.permanent or fact.status is measurement.status:
            return int(known[0]), fact, False
    return _insert(connection, measurement), measurement, True


def record(connection: Connection, measurement: Measurement, session: str, batch: int, share: str) -> Learned:
    """Keep a measurement and link it to a session; the same again returns the same."""
    table = learned.c
    mine = _LEARNED.where(table.session == session)
    again = connection.execute(
        mine.where(table.task == measurement.task, table.batch == batch, table.key == measurement.key)
    ).first()
    if again is not None:
        return _learned(again)
    number, fact, new = _keep(connection, measurement)
    before = select(table.position).where(
        table.session == session, table.task == fact.task, table.id == fact.id, table.counted
    )
    counted = fact.ok and connection.execute(before.limit(1)).first() is None
    position = count(connection, session)
    connection.execute(
        insert(learned).values(
            session=session, position=position, measurement=number, task=fact.task, key=fact.key, id=fact.id,
            batch=batch, share=share, counted=counted, paid=new, time=time.time(),
        )
    )  # fmt: skip
    return Learned(position, fact, session, batch, share, counted, paid=new)


def count(connection: Connection, session: str) -> int:
    """How many measurements a session has learned: the order of the next one."""
    last = connection.scalar(select(func.max(learned.c.position)).where(learned.c.session == session))
    return 0 if last is None else int(last) + 1


def read(connection: Connection, session: str, task: str | None) -> list[Learned]:
    """What a session learned, in order."""
    query = _LEARNED.where(learned.c.session == session).order_by(learned.c.position)
    if task is not None:
        query = query.where(learned.c.task == task)
    return [_learned(row) for row in connection.execute(query)]
