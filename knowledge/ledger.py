"""The ledger: every fact of every session, in SQL. The source of truth; the search index is made from it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from vitruvius.errors import LedgerError, SettingsError
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge import measurement_rows, principle_rows, space_rows
from vitruvius.knowledge.database import Database
from vitruvius.knowledge.principle import Evidence, Label, Principle, PrincipleStatus
from vitruvius.knowledge.records import (
    IMPORTED,
    CallRecord,
    Event,
    Json,
    Learned,
    Revision,
    SessionRecord,
    Step,
    dump,
)
from vitruvius.knowledge.schema import calls, events, sessions
from vitruvius.knowledge.share import Share

_ATTEMPTS = 5  # how often a transaction is tried where another writer was faster

_T = TypeVar("_T")


class Ledger:
    """Every fact of every session; only ever appended to.

    Several processes may have one ledger open. Each writing method is one transaction, and what it
    recorded is on disk when it returns; each may be repeated with the same arguments without effect.

    Attributes:
        name: Path or URL (without password), for messages.
        id: Given when the ledger was made, never changed.
    """

    def __init__(self, url_or_path: str | Path) -> None:
        """Open a ledger, or make it if it is not there; spaces that it describes are known from then on.

        Args:
            url_or_path: Path of a SQLite file, or any SQLAlchemy URL; "sqlite://" is kept in memory only.

        Raises:
            LedgerError: Not reachable, damaged, of another version, or SQLite on a network file system.
        """
        self._database = Database(url_or_path)
        self.name = self._database.name
        self.id = self._database.id
        with self._database.read() as connection:
            space_rows.know_spaces(connection)

    # ---- sessions and their spaces ---------------------------------------------------------

    def keep_space(self, space: SearchSpace) -> None:
        """Keep the description of a space, where it has one, for whoever opens the ledger.

        Raises:
            LedgerError: The ledger holds another space of this name.
        """
        if not self._write(lambda connection: space_rows.keep_space(connection, space), session=None):
            raise LedgerError(
                f"The ledger {self.name} holds another space named {space.name!r}: give yours another name, "
                "or leave its decisions, settings and operations as they were."
            )

    def start_session(
        self, id: str, *, task: str, seed: int, settings: Mapping[str, Any], labels: Sequence[Label]
    ) -> None:
        """Keep the facts a session starts from.

        Args:
            id: Its name.
            task: Name of the target task.
            seed: Seed of the whole session.
            settings: Plain data; passwords in URLs are not kept.
            labels: (space, data set) of everything that the session draws on.

        Raises:
            SettingsError: The session is there already with other facts; the message says which.
        """
        facts = {"task": task, "seed": int(seed), "settings": dump(settings), "labels": dump(labels)}

        def work(connection: Connection) -> None:
            columns = [sessions.c[name] for name in facts]
            known = connection.execute(select(*columns).where(sessions.c.id == id)).first()
            if known is None:
                connection.execute(insert(sessions).values(id=id, started=time.time(), **facts))
                return
            changed = [name for name, old in zip(facts, known, strict=True) if old != facts[name]]
            if changed:
                raise SettingsError(
                    f"Session {id!r} in {self.name} was started with another "
                    f"{' and another '.join(changed)}: use the same, or another run folder."
                )

        self._write(work, session=None)

    def sessions(self) -> list[SessionRecord]:
        """All sessions in the order in which they were started."""
        columns = [sessions.c[name] for name in ("id", "task", "seed", "settings", "started", "labels")]
        with self._database.read() as connection:
            rows = [tuple(row) for row in connection.execute(select(*columns).order_by(sessions.c.number))]
            taken = select(events.c.session, events.c.data).where(events.c.kind == IMPORTED)
            packs = [(session, json.loads(data)) for session, data in connection.execute(taken)]
        found: list[SessionRecord] = []
        for id, task, seed, settings, started, labels in rows:
            brought = [label for session, data in packs if session == id for label in data["labels"]]
            every = dict.fromkeys((space, dataset) for space, dataset in [*json.loads(labels), *brought])
            found.append(SessionRecord(id, task, seed, json.loads(settings), started, tuple(every)))
        return found

    def session(self, id: str) -> SessionRecord | None:
        """The session with this id, None if there is none."""
        return next((record for record in self.sessions() if record.id == id), None)

    # ---- measurements ----------------------------------------------------------------------

    def record(self, measurement: Measurement, *, session: str, batch: int, share: Share) -> Learned:
        """Keep a measurement, if its identity is new, and link it to the session.

        Args:
            measurement: What was measured now or found by `lookup`.
            session: Id of the session that learned it.
            batch: Number of the batch that asked for it.
            share: Why it was measured.

        Returns:
            The link. Its measurement is the one in the ledger: of two with one identity the first is kept.

        Raises:
            LedgerError: No such session, a score that is not finite, or the database fails.
        """
        return self.record_all([measurement], session=session, batch=batch, share=share)[0]

    def record_all(
        self, measurements: Sequence[Measurement], *, session: str, batch: int, share: Share
    ) -> list[Learned]:
        """As `record`, for many in one transaction: all are kept or none."""
        for measurement in measurements:
            measurement_rows.check(measurement)
        return self._write(
            lambda connection: [
                measurement_rows.record(connection, measurement, session, int(batch), share)
                for measurement in measurements
            ],
            session=session,
        )

    def lookup(
        self,
        *,
        key: str,
        task: str,
        fingerprint: str,
        evaluator: str,
        fidelity: str,
        seed: int,
    ) -> Measurement | None:
        """What is known of an identity, whichever session paid for it.

        Returns:
            A permanent result; None where there is none, or failures only: to be measured.
        """
        identity = (key, task, fingerprint, evaluator, fidelity, int(seed))
        with self._database.read() as connection:
            return measurement_rows.find(connection, identity)

    def learned(self, session: str, task: str | None = None) -> list[Learned]:
        """What a session learned, in order; of one task if named."""
        with self._database.read() as connection:
            return measurement_rows.read(connection, session, task)

    # ---- events and model calls ------------------------------------------------------------

    def log(
        self, session: str, kind: str, data: Mapping[str, Any], *, number: int | None = None
    ) -> Event | None:
        """Keep something that happened, a drawn batch or a warning: the event, None if it is there already.

        Args:
            session: Id of the session.
            kind: What happened.
            data: Plain data: numbers, texts, lists, mappings, numpy arrays.
            number: Which one of its kind. With a number the same data may be logged again without effect.

        Raises:
            LedgerError: This number of this kind is there with other data.
        """
        text = dump(data)

        def work(connection: Connection) -> Event | None:
            if number is not None:
                same = (events.c.session == session, events.c.kind == kind, events.c.number == number)
                known = connection.scalar(select(events.c.data).where(*same))
                if known == text:
                    return None
                if known is not None:
                    raise LedgerError(
                        f"{kind} {number} of session {session!r} is in the ledger {self.name} with other "
                        f"data: the session went on differently than before and cannot be resumed."
                    )
            now = time.time()
            row = {"session": session, "kind": kind, "number": number, "data": text, "time": now}
            id = connection.execute(insert(events).values(row).returning(events.c.id)).scalar_one()
            return Event(id, session, kind, number, json.loads(text), now)

        return self._write(work, session=session)

    def events(self, session: str, kind: str | None = None) -> list[Event]:
        """What happened in a session, in order; of one kind if named."""
        query = select(events).where(events.c.session == session).order_by(events.c.id)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            Event(id, session, kind, number, json.loads(data), when)
            for id, session, kind, number, data, when in rows
        ]

    def add_call(self, session: str, call: Any) -> int:
        """Keep one call of a language model.

        Args:
            session: Id of the session.
            call: A mapping, or a dataclass such as `vitruvius.agents.reasoner.ModelCall`.

        Returns:
            Its number, for `Origin.call`.
        """
        if dataclasses.is_dataclass(call) and not isinstance(call, type):
            call = dataclasses.asdict(call)
        if not isinstance(call, Mapping):
            raise LedgerError(f"A model call must be a mapping or a dataclass, not {type(call).__name__}.")
        text = dump(call)

        def work(connection: Connection) -> int:
            row = insert(calls).values(session=session, call=text, time=time.time())
            return connection.execute(row.returning(calls.c.id)).scalar_one()

        return self._write(work, session=session)

    def calls(self, session: str) -> list[CallRecord]:
        """The model calls of a session, in order."""
        query = select(calls).where(calls.c.session == session).order_by(calls.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [CallRecord(id, session, json.loads(call), when) for id, session, call, when in rows]

    # ---- principles ------------------------------------------------------------------------

    def add_principle(self, principle: Principle, *, session: str) -> None:
        """Keep a principle that a session proposed or took over, with how much it had learned by then."""
        self._write(lambda connection: principle_rows.add(connection, principle, session), session=session)

    def update_principles(self, principles: Sequence[Principle], *, session: str) -> None:
        """Append statuses and evidence in one transaction; what they were before stays in their history.

        Raises:
            UnknownNameError: One of them was never added; then nothing is written.
        """
        self._write(
            lambda connection: principle_rows.update(connection, principles, session), session=session
        )

    def principles(
        self,
        *,
        session: str | None = None,
        space: str | None = None,
        task: str | None = None,
        status: PrincipleStatus | None = None,
        template: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[Principle]:
        """Principles with their latest status and evidence, in the order in which they were first added.

        Args:
            session: Those that this session added, as it last saw them; None for all, as last measured.
            space: Those that speak of this space, "any" included.
            task: Those that speak of this task, "any" included.
            status: Those with this status.
            template: Those that came from the prompt template with this hash.
            ids: Those with these ids; ids that are not there are left out.
        """
        with self._database.read() as connection:
            return principle_rows.find(
                connection,
                session=session, space=space, task=task, status=status, template=template, ids=ids,
            )  # fmt: skip

    def principle(self, id: str) -> Principle:
        """One principle, as last measured.

        Raises:
            UnknownNameError: No such principle; the message names the nearest.
        """
        with self._database.read() as connection:
            principle_rows.require(connection, id)
            return principle_rows.find(connection, ids=[id])[0]

    def history(self, principle_id: str) -> list[tuple[float, str, PrincipleStatus, Evidence]]:
        """Every status and evidence a principle had: (time, session, status, evidence), oldest first.

        Raises:
            UnknownNameError: No such principle.
        """
        with self._database.read() as connection:
            return principle_rows.history(connection, principle_id)

    def steps(self) -> list[Step]:
        """Every change of a principle's status, in every session, oldest first."""
        with self._database.read() as connection:
            return principle_rows.steps(connection)

    def born(self, principle_id: str, session: str) -> int:
        """How much a session had learned when it added a principle.

        Returns:
            What has this `Learned.order` or a later one was measured afterwards. 0 where the session
            never added it: then all that the session learned came after.

        Raises:
            UnknownNameError: No such principle.
        """
        with self._database.read() as connection:
            return principle_rows.born(connection, principle_id, session)

    def births(self, session: str) -> dict[str, int]:
        """`born` of every principle that a session added, by id."""
        with self._database.read() as connection:
            return principle_rows.births_of(connection, session)

    def changed(self, since: Revision) -> tuple[Revision, list[Principle]]:
        """What a search index has to take over.

        Args:
            since: The revision that it knows; `Revision()` for none.

        Returns:
            The revision now, and the principles that were added or changed after `since`; all of them where
            one was written that is numbered before it.
        """
        with self._database.read() as connection:
            return principle_rows.changed(connection, since)

    # ---- housekeeping ----------------------------------------------------------------------

    def _write(self, work: Callable[[Connection], _T], *, session: str | None) -> _T:
        """Do the work in one transaction, again if another writer took the same place first."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._database.write() as connection:
                    return work(connection)
            except IntegrityError as error:
                if session is not None and self.session(session) is None:
                    raise LedgerError(
                        f"The ledger {self.name} has no session {session!r}: start it with `start_session`."
                    ) from error
                if attempt == _ATTEMPTS - 1:
                    raise LedgerError(f"The ledger {self.name} refused a row: {error.orig}.") from error
        raise LedgerError(f"The ledger {self.name} could not be written.")

    def close(self) -> None:
        """Let go of the database; calling twice is allowed."""
        self._database.close()

    def __enter__(self) -> Ledger:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """The name."""
        return f"Ledger({self.name!r})"


__all__ = ["CallRecord", "Event", "Json", "Learned", "Ledger", "SessionRecord", "Step"]
