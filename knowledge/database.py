"""Opening the ledger's database, and turning what goes wrong there into sentences."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from vitruvius.errors import LedgerError
from vitruvius.knowledge import schema

NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs",
    "beegfs", "glusterfs", "orangefs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone",
    "fuse.s3fs", "fuse.gcsfuse", "fuse.smbnetfs", "fuse.juicefs",
})  # fmt: skip
"""File systems whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5)."""

ADDRESSES = "a SQLAlchemy URL looks like sqlite:///path.db or postgresql+psycopg://user@host/name"
"""How a ledger is named, for messages."""

WAIT = 30.0
"""Seconds that a writer waits for another one."""


def network_file_system(path: Path, mounts: str) -> str | None:
    """The type of the network file system that a path lies on.

    Args:
        path: An absolute path, links resolved; it need not exist.
        mounts: Text of /proc/mounts.

    Returns:
        For example "nfs4"; None on a local file system.
    """
    found, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes spaces and backslashes of mount points as octal numbers.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        if len(point) >= len(found) and path.is_relative_to(point):
            found, kind = point, fields[2]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


POSTGRES_LOCK = "SELECT pg_advisory_xact_lock(722118, hashtext(current_schema()))"
"""Held until the transaction ends; the number is ours, the rest the ledger's place in the database."""


class Database:
    """A SQL database with the ledger's tables in it, made if it is not there.

    Attributes:
        name: How messages call it: a path, or a URL without its password.
        id: Set when the ledger was made, never changed: names it on a shared search server.
    """

    def __init__(self, address: str | Path, *, mounts: str | None = None) -> None:
        """Open or make the database; a file that may not be written, in place or beside it, is read only.

        Args:
            address: Path of a SQLite file, or any SQLAlchemy URL; "sqlite://" is kept in memory only.
            mounts: Text in the form of /proc/mounts; None reads that of this machine.

        Raises:
            LedgerError: No address, not reachable, damaged, of another version, or SQLite on a network file
                system.
        """
        url = _url(address)
        self.name = url.database or "memory" if _is_sqlite(url) else url.render_as_string(hide_password=True)
        if _is_sqlite(url) and not _in_memory(url):
            path = Path(url.database or "")
            _prepare_file(path, mounts)
            url = _only_to_read(path) if _is_kept_from_us(path) else url
        self.engine = self._engine(url)
        self._postgres = self.engine.dialect.name == "postgresql"
        self._closed = False
        try:
            self.id = self._open()
        except LedgerError:
            self.close()
            raise

    def _engine(self, url: URL) -> Engine:
        if not _is_sqlite(url):
            return _create(url, pool_pre_ping=True)
        if _in_memory(url):  # the connection is the database: all threads share it
            options: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        else:
            options = {"connect_args": {"timeout": WAIT}}
        engine = _create(url, **options)
        event.listen(engine, "connect", _configure_reading if "mode" in url.query else _configure)
        event.listen(engine, "begin", _begin)
        return engine

    def _wait_for_others(self, connection: Connection) -> None:
        """One writer at a time, as in a file: what is numbered is numbered once, tables are made once."""
        if self._postgres:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT:.0f}s'")
            connection.exec_driver_sql(POSTGRES_LOCK)

    def _open(self) -> str:
        """Make the tables or check their version; the ledger's id."""
        with self.read() as connection:
            tables = set(inspect(connection).get_table_names())
        if not tables:
            with self.write() as connection:
                schema.metadata.create_all(connection)
                if connection.scalar(select(schema.about.c.value)) is None:
                    rows = {"version": str(schema.VERSION), "id": uuid.uuid4().hex}
                    connection.execute(
                        insert(schema.about), [{"name": n, "value": v} for n, v in rows.items()]
                    )
        elif schema.about.name not in tables:
            raise LedgerError(f"{self.name} is a database but no ledger: choose another path or database.")
        with self.read() as connection:
            facts = {name: value for name, value in connection.execute(select(schema.about))}
        if facts.get("version") != str(schema.VERSION):
            raise LedgerError(
                f"The ledger {self.name} has version {facts.get('version')}, this program reads version "
                f"{schema.VERSION}: open it with the vitruvius that wrote it, or start a new run folder."
            )
        return facts["id"]

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A connection that sees one moment of the ledger.

        Raises:
            LedgerError: The database fails; the sentence says how.
        """
        with self._sentences(), self.engine.connect() as connection:
            if self._postgres:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A connection in one transaction: all of it is kept on disk, or nothing.

        Raises:
            IntegrityError: Another writer was first, or a row is not allowed.
            LedgerError: The database fails; the sentence says how.
        """
        with self._sentences(), self.engine.connect() as connection:
            connection = connection.execution_options(vitruvius_write=True)
            with connection.begin():
                self._wait_for_others(connection)
                yield connection

    @contextmanager
    def _sentences(self) -> Generator[None]:
        if self._closed:  # the engine would connect again, where nobody holds the folder any more
            raise LedgerError(f"The ledger {self.name} was closed: open it again.")
        try:
            yield
        except IntegrityError as error:
            if "facts are only ever appended" in str(error):
                raise LedgerError(f"The ledger {self.name} is only ever appended to.") from error
            raise
        except OverflowError as error:
            raise LedgerError(
                f"The ledger {self.name} keeps whole numbers up to 2**63 - 1: one was larger."
            ) from error
        except SQLAlchemyError as error:
            raise LedgerError(self._sentence(error)) from error

    def _sentence(self, error: SQLAlchemyError) -> str:
        cause = error.orig if isinstance(error, DBAPIError) else None
        code: str = getattr(cause, "sqlite_errorname", "")
        text = str(cause or error).splitlines()[0]
        if code.startswith("SQLITE_FULL") or "No space left" in text:
            return (
                f"No space is left for the ledger {self.name}: free some and run the same again; "
                f"all that was recorded before is kept."
            )
        if code.startswith("SQLITE_IOERR"):
            return (
                f"The ledger {self.name} cannot be written ({text}): check the disk and its space "
                f"and run the same again; all that was recorded before is kept."
            )
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "lock timeout" in text:
            return f"Another process held the ledger {self.name} for over {WAIT:.0f} s: try again later."
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return f"{self.name} is no ledger or is damaged ({text}): restore a copy or choose another path."
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return f"The ledger {self.name} cannot be opened for writing ({text}): check its permissions."
        return f"The ledger {self.name} cannot be used: {text}."

    def close(self) -> None:
        """Let go of the database; calling twice is allowed."""
        self._closed = True
        self.engine.dispose()


def is_there(address: str | Path) -> bool:
    """Whether a database can be opened without making a file."""
    url = _url(address)
    return not _is_sqlite(url) or _in_memory(url) or Path(url.database or "").is_file()


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:")


def _url(address: str | Path) -> URL:
    if isinstance(address, Path) or "://" not in address:
        path = Path(address).expanduser()
        if isinstance(address, str) and not path.suffix and not path.is_file():  # no file is made of a typo
            raise LedgerError(f"The ledger {address!r} is no address: {ADDRESSES}.")
        return URL.create("sqlite", database=str(path))
    try:
        return make_url(address)
    except ArgumentError as error:
        raise LedgerError(
            "A ledger's address must be a path or a URL such as postgresql+psycopg://user@host/name; "
            "the one given could not be read."
        ) from error


def _create(url: URL, **options: Any) -> Engine:
    try:
        return create_engine(url, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise LedgerError(
            f"No driver for {url.drivername!r} is installed ({error}): install it with pip, "
            f"for example `pip install 'psycopg[binary]'` for postgresql+psycopg."
        ) from error


def _prepare_file(path: Path, mounts: str | None) -> None:
    """Refuse network file systems and make the folder."""
    resolved = path.absolute().resolve()
    if mounts is None:
        proc = Path("/proc/mounts")
        mounts = proc.read_text(errors="replace") if proc.exists() else ""
    kind = network_file_system(resolved, mounts)
    if kind is not None:
        raise LedgerError(
            f"{path} is on a network file system ({kind}), where SQLite can lose data: choose a local "
            f"folder, or give the ledger as a database URL such as postgresql+psycopg://user@host/name."
        )
    try:
        resolved.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"The folder of the ledger {path} cannot be made: {error.strerror}.") from error


def _is_kept_from_us(path: Path) -> bool:
    """Whether a ledger is there and may not be written: its folder counts too, SQLite keeps a log in it."""
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _only_to_read(path: Path) -> URL:
    """The address of a file that is read where nothing can be written (https://www.sqlite.org/wal.html#readonly).

    Without a log beside it nobody has it open, and SQLite can do without locks; with one it needs them.
    """
    log = path.with_name(f"{path.name}-wal")
    alone = not log.is_file() or not log.stat().st_size
    query = {"uri": "true", "mode": "ro"} | ({"immutable": "1"} if alone else {})
    return URL.create("sqlite", database=path.absolute().as_uri(), query=query)


def _configure_reading(connection: Any, _record: object) -> None:
    """Settings of each new connection to a file that is only read."""
    connection.isolation_level = None


def _configure(connection: Any, _record: object) -> None:
    """Settings of each new SQLite connection."""
    connection.isolation_level = None  # transactions are begun by `_begin`, not by the driver's own guess
    _write_ahead(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: Any) -> None:
    """Keep a write-ahead log.

    While several processes open a new ledger, the change to it fails at once instead of waiting
    (https://www.sqlite.org/c3ref/busy_handler.html: not every lock asks the busy handler): we wait.
    """
    give_up = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: a read that turns into a write would fail instead of waiting.
    write = connection.get_execution_options().get("vitruvius_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
