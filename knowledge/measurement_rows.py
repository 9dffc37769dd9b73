"""Measurements and what sessions learned, as rows: used by the ledger inside its transactions."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, func, insert, select

from vitruvius.errors import LedgerError
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge.records import Learned
from vitruvius.knowledge.schema import learned, measurements, sessions
from vitruvius.knowledge.share import Share

Identity = tuple[str, str, str, str, str, int]
"""Key, task, fingerprint, evaluator, fidelity, seed: as `Measurement.identity`."""

_STATUS = {status.value: status for status in Status}
# In the order of Measurement's fields, so that a row becomes one without naming each.
_NAMES = list(Measurement.__dataclass_fields__)
_FIELDS = tuple(measurements.c[name] for name in _NAMES)
_STATUS_AT, _LATENCY_AT = _NAMES.index("status"), _NAMES.index("latency")
_LINK = tuple(learned.c[name] for name in ("position", "session", "batch", "share", "counted", "paid"))
_LEARNED = select(*_LINK, *_FIELDS).join_from(learned, measurements)


def _equal(table: Table, *names: str) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(name) for name in names]


# Built once: building a statement takes longer than SQLite takes to answer it.
_IDENTITY = ("key", "task", "fingerprint", "evaluator", "fidelity", "seed")
_PERMANENT = measurements.c.place == ""
_KNOWN = select(measurements.c.number, *_FIELDS).where(*_equal(measurements, *_IDENTITY), _PERMANENT)
_INSERT = insert(measurements).returning(measurements.c.number)
_AGAIN = _LEARNED.where(*_equal(learned, "session", "task", "batch", "key"))
_COUNTED = (
    select(learned.c.position).where(*_equal(learned, "session", "task", "id"), learned.c.counted).limit(1)
)
_LAST = select(func.max(learned.c.position)).where(*_equal(learned, "session"))


def _place(measurement: Measurement, session: str, batch: int) -> str:
    """Empty for what holds for all sessions, of which there is one; else the attempt that failed."""
    return "" if measurement.status.permanent else f"{session} {batch}"


def _measurement(fields: Sequence[Any]) -> Measurement:
    values = list(fields)
    values[_STATUS_AT] = _STATUS[values[_STATUS_AT]]
    if values[_LATENCY_AT] == "{}":  # nearly always; parsing would take half the time of a read
        values[_LATENCY_AT] = {}
    else:
        values[_LATENCY_AT] = json.loads(values[_LATENCY_AT])
    return Measurement(*values)


def _learned(row: Sequence[Any]) -> Learned:
    order, session, batch, share, counted, paid = row[: len(_LINK)]
    return Learned(order, _measurement(row[len(_LINK) :]), session, batch, Share(share), counted, paid)


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


def _lookup(connection: Connection, identity: Identity) -> Row[Any] | None:
    """The row (number, *fields) of what holds for all sessions, if there is one."""
    return connection.execute(_KNOWN, dict(zip(_IDENTITY, identity, strict=True))).first()


def find(connection: Connection, identity: Identity) -> Measurement | None:
    """What is known of an identity; see `Ledger.lookup`."""
    row = _lookup(connection, identity)
    return None if row is None else _measurement(row[1:])


def _insert(connection: Connection, measurement: Measurement, session: str, batch: int) -> int:
    m = measurement
    row: dict[str, object] = {
        "space": m.space, "task": m.task, "key": m.key, "id": m.id, "status": m.status.value,
        "score": _real(m.score), "reason": m.reason, "seconds": float(m.seconds), "params": _real(m.params),
        "flops": _real(m.flops), "latency": json.dumps({name: float(ms) for name, ms in m.latency.items()}),
        "seed": int(m.seed), "fidelity": m.fidelity, "evaluator": m.evaluator, "fingerprint": m.fingerprint,
        "device": m.device, "place": _place(m, session, batch), "time": time.time(),
    }  # fmt: skip
    return connection.execute(_INSERT, row).scalar_one()


def _keep(
    connection: Connection, measurement: Measurement, session: str, batch: int
) -> tuple[int, Measurement, bool]:
    """Number and content of the fact, inserted unless it is known, and whether it was."""
    known = _lookup(connection, measurement.identity)
    if known is not None:
        return int(known[0]), _measurement(known[1:]), False
    return _insert(connection, measurement, session, batch), measurement, True


def record(
    connection: Connection, measurement: Measurement, session: str, batch: int, share: Share
) -> Learned:
    """Keep a measurement and link it to a session; the same again returns the same."""
    link = {"session": session, "task": measurement.task, "batch": batch, "key": measurement.key}
    again = connection.execute(_AGAIN, link).first()
    if again is not None:
        return _learned(again)
    number, fact, new = _keep(connection, measurement, session, batch)
    known = {"session": session, "task": fact.task, "id": fact.id}
    counted = fact.ok and connection.execute(_COUNTED, known).first() is None
    position = count(connection, session)
    row = {"position": position, "measurement": number, "share": share.value, "counted": counted, "paid": new}
    connection.execute(insert(learned), {**link, **row, "id": fact.id, "time": time.time()})
    return Learned(position, fact, session, batch, share, counted, paid=new)


def count(connection: Connection, session: str) -> int:
    """How many measurements a session has learned: the order of the next one."""
    last = connection.scalar(_LAST, {"session": session})
    return 0 if last is None else int(last) + 1


def read(connection: Connection, session: str, task: str | None) -> list[Learned]:
    """What a session learned, in order."""
    query = _LEARNED.where(learned.c.session == session).order_by(learned.c.position)
    if task is not None:
        query = query.where(learned.c.task == task)
    return [_learned(row) for row in connection.execute(query)]


def counted_times(connection: Connection, session: str) -> list[float]:
    """When each evaluation of the session's target that counts was learned, in order."""
    query = (
        select(learned.c.time)
        .join(sessions, (sessions.c.id == learned.c.session) & (sessions.c.task == learned.c.task))
        .where(learned.c.session == session, learned.c.counted)
    )
    return sorted(connection.scalars(query))
