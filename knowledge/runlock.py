"""One process in a run folder at a time."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout

from vitruvius.errors import RunBusyError, UserError


class RunLock:
    """Holds a run folder for this process: `with RunLock(folder): ...`.

    The lock is the kernel's: it ends with the process, however that ends, so none is ever stale. Who
    holds it stands in a second file, which is only read when the lock is found held.
    """

    def __init__(self, folder: str | Path, *, name: str = "run") -> None:
        """Name the folder; nothing is locked yet.

        Args:
            folder: The run folder; made if it is not there.
            name: Which of the folder's locks: "run", or "index" for the search index.
        """
        self.folder = Path(folder)
        self._lock = FileLock(self.folder / f".{name}.lock")
        self._holder = self.folder / f".{name}.holder.json"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the lock; nothing happens if it is held by this object.

        Raises:
            RunBusyError: Another holder has it; the message names its host and process. Or the folder cannot
                be written: then the error of the system is its cause.
            UserError: Its name is no UTF-8, which the search index and files with the name in it need.
        """
        if self.held:
            return
        try:
            str(self.folder).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"The folder {str(self.folder)!a} has a name that is not UTF-8: choose another."
            ) from None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            if self._is_mine():
                raise RunBusyError(
                    f"{self.folder} is open in this process already: close that one first, with its "
                    "close() or by `with`."
                ) from None
            raise RunBusyError(
                f"{self.folder} is in use by {self.holder()}: wait for it, stop it, or choose another folder."
            ) from None
        except OSError as error:
            raise RunBusyError(
                f"{self.folder} cannot be locked ({error.strerror}): it must be a folder you may write to."
            ) from error
        self._sign()

    def _sign(self) -> None:
        """Write who holds the lock, in one step so that a reader never sees half of it."""
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())}
        draft = self._holder.with_suffix(".new")
        try:
            draft.write_text(json.dumps(facts))
            draft.replace(self._holder)
        except OSError as error:
            self.release()
            raise RunBusyError(f"{self.folder} cannot be written ({error.strerror}).") from error

    def _is_mine(self) -> bool:
        """Whether this very process holds it, by another object."""
        try:
            facts = json.loads(self._holder.read_text())
            return (facts["host"], facts["pid"]) == (socket.gethostname(), os.getpid())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def holder(self) -> str:
        """Who took the lock last, for messages: "process 4711 on alpha (since ...)"."""
        try:
            facts = json.loads(self._holder.read_text())
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["since"]))
            return f"process {facts['pid']} on {facts['host']} (since {since})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"  # it has the lock and is about to sign

    def release(self) -> None:
        """Let go; calling twice is allowed."""
        self._lock.release()

    def __enter__(self) -> RunLock:
        """Acquire."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Release."""
        self.release()
