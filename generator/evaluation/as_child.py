"""What a worker process does with its pipes: messages keep their own, whatever candidates do with theirs."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from vitruvius.generator.evaluation.frames import read_message


def take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Move messages off standard input and output: (requests, replies).

    Standard input becomes empty: a process that a candidate forks closes it, and would wait for ever for the
    lock of the thread that reads requests. What is printed goes where errors go, not between the replies.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.stdin = os.fdopen(0, closefd=False)
    os.dup2(2, 1)
    return requests, replies


def listen(requests: IO[bytes]) -> queue.Queue[dict[str, Any]]:
    """Read requests in a thread of its own, which ends the process when its parent is gone."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        while (request := read_message(requests)) is not None:
            waiting.put(request)
        _end()

    threading.Thread(target=read, daemon=True).start()
    return waiting


def _end() -> None:
    """Leave at once, and take along the processes that a candidate started."""
    if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


__all__ = ["listen", "take_pipes"]
