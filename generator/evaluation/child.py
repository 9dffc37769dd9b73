"""A training process as its parent sees it: started, fed, listened to, killed."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from vitruvius.generator.evaluation.frames import read_message, write_frame, write_message
from vitruvius.generator.serving import child_environment

WORKER = (sys.executable, "-P", "-m", "vitruvius.generator.evaluation.worker")

STARTS = 3
"""Times in a row that a process may be killed while it starts, before that is an error."""

Inbox = queue.Queue[tuple["Child", dict[str, Any] | None]]
"""What children say: (who, message); None when it is gone."""


class Child:
    """One warm process that trains one candidate, or one pack of them, at a time.

    It has a session of its own, so that Ctrl-C reaches the parent alone and a kill takes the process's own
    children along; its environment holds no keys.

    Attributes:
        inbox: Where its messages go; changed when it is handed to another caller.
        device: Name of its device, known once it is ready.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        images: bytes,
        inbox: Inbox,
        command: Sequence[str] = WORKER,
        *,
        echo: Callable[[str], None] | None = None,
        whole: bool = False,
    ) -> None:
        """Start the process; it answers with `ready` when torch is loaded.

        Args:
            settings: First message: recipe, classes, device, threads, memory, graphs, deterministic.
            images: Second message: the arrays in numpy's npz format.
            inbox: Where its messages go.
            command: What to start.
            echo: Takes each line that it prints; None keeps the last one only.
            whole: Whether it gets all of the environment but keys, for code of the user's.
        """
        self.inbox = inbox
        self.device = ""
        self.ended = False
        self._last_words: str | None = None
        self._last_line, self._echo = "", echo
        threads = str(settings["threads"])
        own = {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
        environment = child_environment(own, whole=whole)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._talk, args=(settings, images), daemon=True).start()
        self._overhearing = threading.Thread(target=self._overhear, daemon=True)
        self._overhearing.start()

    def _overhear(self) -> None:
        """Take what the process prints, line by line. Runs in a thread."""
        printed = self._process.stderr
        if printed is None:
            return
        with printed:
            for raw in printed:
                line = raw.decode(errors="replace").rstrip()
                self._last_line = line[:300] if line.strip() else self._last_line
                if self._echo is not None:
                    self._echo(line)

    def _talk(self, settings: dict[str, Any], images: bytes) -> None:
        """Hand over settings and images, then pass on what the process says. Runs in a thread."""
        requests, replies = self._process.stdin, self._process.stdout
        if requests is None or replies is None:
            return
        # The errors are those of a process that died while it was spoken to, or was killed by us.
        with replies, contextlib.suppress(OSError, ValueError):
            write_message(requests, settings)
            write_frame(requests, images)
            while (message := read_message(replies)) is not None:
                self.inbox.put((self, message))
        self.ended = True
        self.inbox.put((self, None))

    @property
    def lives(self) -> bool:
        """Whether the process is there, as the system says."""
        return not self.ended and self._process.poll() is None

    def send(self, job: dict[str, Any]) -> bool:
        """Give it a candidate; False where it is gone, which shows as a None in the inbox too."""
        if self._process.stdin is None:
            return False
        try:
            write_message(self._process.stdin, job)
        except (OSError, ValueError):
            self.ended = True
        return not self.ended

    def kill(self) -> str:
        """End the process and all its children at once; calling twice is allowed.

        Returns:
            How it ended, where it did so by itself, and the last line that it wrote to standard error.
        """
        if self._last_words is None:
            if self.ended:  # its pipe is closed: it is about to be gone
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=2)
            by_itself = self._process.poll() is not None
            self._end()
            self._last_words = self._read_last_words(by_itself)
        return self._last_words

    def _end(self) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        self.ended = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # bytes that were never read
                self._process.stdin.close()

    def _read_last_words(self, by_itself: bool) -> str:
        self._overhearing.join(timeout=5)  # until the pipe is empty
        status = self._process.returncode
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        told = [*([how] if by_itself or not self._last_line else []), self._last_line]
        return ": ".join(filter(None, told))
