"""Principles and their history, as rows: used by the ledger inside its transactions."""

from __future__ import annotations

import difflib
import json
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, case, func, insert, literal, select

from vitruvius.errors import LedgerError, UnknownNameError
from vitruvius.knowledge import measurement_rows
from vitruvius.knowledge.principle import Evidence, Principle, PrincipleStatus
from vitruvius.knowledge.records import (
    Json,
    Revision,
    Step,
    evidence_from_json,
    principle_from_json,
    principle_to_json,
)
from vitruvius.knowledge.schema import births, principles, states

RANK_OFFSET = literal(2**40, BigInteger)
"""Lifts measured states over proposed ones, whatever their number."""


def _split(principle: Principle) -> tuple[str, str, str]:
    """What never changes, the status, and the evidence, as texts."""
    body = principle_to_json(principle)
    status, evidence = body.pop("status"), body.pop("evidence")
    return _text(body), status, _text(evidence)


def _text(data: Json) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _join(body: str, status: str, evidence: str) -> Principle:
    try:
        return principle_from_json({**json.loads(body), "status": status, "evidence": json.loads(evidence)})
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"A principle in the ledger is damaged ({error!r}): {body[:80]} ...") from error


def add(connection: Connection, principle: Principle, session: str) -> None:
    """Keep a principle that a session proposed or took over; the same again changes nothing."""
    if _born(connection, principle.id, session) is not None:
        return
    if connection.execute(select(principles.c.id).where(principles.c.id == principle.id)).first() is None:
        proposal = principle.proposal
        connection.execute(
            insert(principles).values(
                id=principle.id, space=proposal.space, task=proposal.task, template=principle.origin.template,
                body=_split(principle)[0], time=time.time(),
            )
        )  # fmt: skip
    # A pack knows nothing of this session's target (else it was refused): all of it is fresh evidence.
    born = 0 if principle.origin.pack else measurement_rows.count(connection, session)
    connection.execute(
        insert(births).values(principle=principle.id, session=session, born=born, time=time.time())
    )
    _, status, evidence = _split(principle)
    row = {"principle": principle.id, "session": session, "status": status, "evidence": evidence}
    connection.execute(insert(states).values(**row, added=True, time=time.time()))


def update(connection: Connection, changed: Sequence[Principle], session: str) -> None:
    """Append status and evidence of principles, of those where it is not what the session said last."""
    newest = select(func.max(states.c.number)).where(states.c.session == session).group_by(states.c.principle)
    query = select(states.c.principle, states.c.status, states.c.evidence).where(states.c.number.in_(newest))
    last = {id: (status, evidence) for id, status, evidence in connection.execute(query)}
    rows: list[dict[str, object]] = []
    for principle in changed:
        if principle.id not in last:
            require(connection, principle.id)
        _, status, evidence = _split(principle)
        if last.get(principle.id) != (status, evidence):
            rows.append(
                {"principle": principle.id, "session": session, "added": False, "status": status,
                 "evidence": evidence, "time": time.time()}
            )  # fmt: skip
    if rows:
        connection.execute(insert(states), rows)


def _born(connection: Connection, principle: str, session: str) -> int | None:
    query = select(births.c.born).where(births.c.principle == principle, births.c.session == session)
    return connection.scalar(query)


def born(connection: Connection, principle: str, session: str) -> int:
    """How much a session had learned when it added the principle; 0 if it never did."""
    require(connection, principle)
    return _born(connection, principle, session) or 0


def births_of(connection: Connection, session: str) -> dict[str, int]:
    """How much a session had learned when it added each of its principles, by id."""
    query = select(births.c.principle, births.c.born).where(births.c.session == session)
    return {principle: born for principle, born in connection.execute(query)}


def require(connection: Connection, principle: str) -> None:
    """Refuse an id that is not there.

    Raises:
        UnknownNameError: No such principle; the message names the nearest.
    """
    if connection.execute(select(principles.c.id).where(principles.c.id == principle)).first() is not None:
        return
    known = list(connection.scalars(select(principles.c.id)))
    near = difflib.get_close_matches(principle, known, n=3, cutoff=0.4)
    hint = f" The nearest: {', '.join(near)}." if near else ""
    raise UnknownNameError(
        f"Unknown principle {principle!r}.{hint} `vitruvius principles list` shows all {len(known)}."
    )


def find(
    connection: Connection,
    *,
    session: str | None = None,
    space: str | None = None,
    task: str | None = None,
    status: PrincipleStatus | None = None,
    template: str | None = None,
    ids: Sequence[str] | Select[tuple[str]] | None = None,
) -> list[Principle]:
    """Principles with their latest status and evidence, in the order in which they were first added."""
    # What was measured stands above what was proposed: a second session that takes a principle over
    # from a pack, or has the same idea, does not hide the first one's evidence.
    weight = states.c.number + case((states.c.added, literal(0, BigInteger)), else_=RANK_OFFSET)
    newest = select(states.c.principle, (func.max(weight) % RANK_OFFSET).label("number"))
    if session is not None:
        newest = newest.where(states.c.session == session)
    if ids is not None:
        newest = newest.where(states.c.principle.in_(ids))
    latest = newest.group_by(states.c.principle).subquery()
    query = (
        select(principles.c.body, states.c.status, states.c.evidence)
        .join_from(principles, latest, principles.c.id == latest.c.principle)
        .join(states, states.c.number == latest.c.number)
        .order_by(principles.c.number)
    )
    for condition in _scope(space, task):
        query = query.where(condition)
    if status is not None:
        query = query.where(states.c.status == PrincipleStatus(status).value)
    if template is not None:
        query = query.where(principles.c.template == template)
    return [_join(*row) for row in connection.execute(query)]


def _scope(space: str | None, task: str | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if task is not None:
        conditions.append(principles.c.task.in_((task, "any")))
        space = space or task.partition("/")[0]
    if space is not None:
        conditions.append(principles.c.space.in_((space, "any")))
    return conditions


def history(connection: Connection, principle: str) -> list[tuple[float, str, PrincipleStatus, Evidence]]:
    """Every status with its evidence: (time, session, status, evidence), oldest first."""
    require(connection, principle)
    query = (
        select(states.c.time, states.c.session, states.c.status, states.c.evidence)
        .where(states.c.principle == principle)
        .order_by(states.c.number)
    )
    rows: list[tuple[Any, ...]] = [tuple(row) for row in connection.execute(query)]
    return [
        (when, session, PrincipleStatus(status), evidence_from_json(json.loads(evidence)))
        for when, session, status, evidence in rows
    ]


def steps(connection: Connection) -> list[Step]:
    """Every change of a status in every session, oldest first."""
    query = select(states.c.principle, states.c.session, states.c.status, states.c.evidence, states.c.time)
    last: dict[tuple[str, str], PrincipleStatus] = {}
    counted: dict[str, list[float]] = {}
    found: list[Step] = []
    for principle, session, status, evidence, when in connection.execute(query.order_by(states.c.number)):
        before, now = last.get((session, principle)), PrincipleStatus(status)
        if before is now:
            continue
        if session not in counted:
            counted[session] = measurement_rows.counted_times(connection, session)
        evaluations = bisect_right(counted[session], when)
        told = evidence_from_json(json.loads(evidence))
        found.append(Step(principle, session, before, now, told, evaluations, when))
        last[session, principle] = now
    return found


def changed(connection: Connection, since: Revision) -> tuple[Revision, list[Principle]]:
    """The revision now, and what was added or changed after the revision `since`."""
    later = states.c.number > since.number
    # Each on its own is answered without looking at every row, and one statement sees one moment.
    asked = (
        select(func.max(states.c.number)), select(func.count()).select_from(states),
        select(func.count()).where(later),
    )  # fmt: skip
    newest, count, new = tuple(connection.execute(select(*(one.scalar_subquery() for one in asked))).one())
    revision = Revision(newest or 0, count)
    if revision == since:
        return revision, []
    if count - new != since.rows:  # something numbered before `since` was committed after it: not known what
        return revision, find(connection)
    return revision, find(connection, ids=select(states.c.principle).where(later))
