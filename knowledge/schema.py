"""The ledger's tables. Facts are only ever appended: SQLite refuses to change or delete them."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
)

VERSION = 1
"""Changes whenever a table changes; a ledger of another version is refused."""

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("name", Text, primary_key=True),  # "version", "id", "space:NAME"
    Column("value", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("settings", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("started", Double, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("space", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("score", Double),
    Column("reason", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("params", Double),
    Column("flops", Double),
    Column("latency", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("fidelity", Text, nullable=False),
    Column("evaluator", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("device", Text, nullable=False),
    # Empty for what holds for all sessions; the attempt, "session batch", for failures.
    Column("place", Text, nullable=False),
    Column("time", Double, nullable=False),
    UniqueConstraint("key", "task", "fingerprint", "evaluator", "fidelity", "seed", "place"),
)

learned = Table(
    "learned",
    metadata,
    Column("session", Text, ForeignKey("sessions.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("measurement", Integer, ForeignKey("measurements.number"), nullable=False),
    Column("task", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("share", Text, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("paid", Boolean, nullable=False),
    Column("time", Double, nullable=False),
    UniqueConstraint("session", "task", "batch", "key"),
    Index("learned_scores", "session", "task", "id", "counted"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("number", BigInteger),
    Column("data", Text, nullable=False),
    Column("time", Double, nullable=False),
    UniqueConstraint("session", "kind", "number"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False, index=True),
    Column("call", Text, nullable=False),
    Column("time", Double, nullable=False),
)

principles = Table(
    "principles",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("space", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("time", Double, nullable=False),
)

births = Table(
    "births",
    metadata,
    Column("principle", Text, ForeignKey("principles.id"), primary_key=True),
    Column("session", Text, ForeignKey("sessions.id"), primary_key=True),
    Column("born", Integer, nullable=False),
    Column("time", Double, nullable=False),
)

states = Table(
    "states",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("principle", Text, ForeignKey("principles.id"), nullable=False),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("added", Boolean, nullable=False),  # as proposed, not as measured
    Column("status", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("time", Double, nullable=False),
    Index("states_latest", "principle", "number"),
)

for _table in metadata.sorted_tables:
    for _verb in ("UPDATE", "DELETE"):
        event.listen(
            _table,
            "after_create",
            DDL(
                f"CREATE TRIGGER {_table.name}_no_{_verb.lower()} BEFORE {_verb} ON {_table.name} "
                f"BEGIN SELECT RAISE(ABORT, 'facts are only ever appended'); END"
            ).execute_if(dialect="sqlite"),
        )
