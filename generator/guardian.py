"""Runs one command and ends it, with all its children, when our own process goes away.

Started by `serving.VLLMServer` as a script, standard library only. Standard input is a pipe whose other
end our process holds: when that process closes it, ends, crashes or is killed, the pipe reports its end
and the whole process group of the command is stopped. A death signal would not do: Linux sends it when the
*thread* that started the child ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE = 5.0
"""Seconds between asking the group to end and ending it."""


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the command's process group to end, then end it."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, what)
            child.wait(GRACE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def main(command: list[str]) -> int:
    """Run the command until it ends or standard input does; returns its exit status."""
    # Own group: the workers which the command starts end with it.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def watch() -> None:
        while os.read(0, 1):
            pass
        end_group(child)

    def asked(*_: object) -> None:
        # In a thread: this one waits for the child below and would wait for itself.
        threading.Thread(target=end_group, args=(child,)).start()

    signal.signal(signal.SIGTERM, asked)
    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    end_group(child)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
