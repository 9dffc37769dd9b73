"""One process in a run folder at a time; a killed one does not stand in the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vitruvius.errors import RunBusyError, UserError
from vitruvius.knowledge.runlock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from vitruvius.knowledge.runlock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
{extra}
print("held", flush=True)
time.sleep(60)
"""


def start_holder(folder: Path, extra: str = "") -> subprocess.Popen[str]:
    code = HOLD.format(extra=extra)
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_names_host_and_process_of_the_holder_and_is_free_after_kill_9(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "run")
    try:
        with pytest.raises(RunBusyError, match=rf"process {holder.pid} on {socket.gethostname()}"):
            RunLock(tmp_path / "run").acquire()
        # A look at a held lock leaves the holder's name in place.
        with pytest.raises(RunBusyError, match=str(holder.pid)):
            RunLock(tmp_path / "run").acquire()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with RunLock(tmp_path / "run") as lock:
            assert lock.held
            assert f"process {os.getpid()} on" in lock.holder()
    finally:
        end(holder)


def test_a_forked_child_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path) -> None:
    fork = """
import os
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    os.close(1)
    os.write(tell, b"x")
    time.sleep(20)
    os._exit(0)
os.read(ready, 1)
Path(sys.argv[1], "child").write_text(str(child))
"""
    holder = start_holder(tmp_path, fork)
    end(holder)
    child = int((tmp_path / "child").read_text())
    try:
        with RunLock(tmp_path) as lock:
            assert lock.held
    finally:
        os.kill(child, signal.SIGKILL)


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    with first:
        first.acquire()  # the same object may ask again
        with pytest.raises(RunBusyError, match="open in this process already"):
            second.acquire()
        with RunLock(tmp_path, name="index"):
            pass
    with second:
        assert second.held and not first.held


def test_unreadable_holder_is_still_busy(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        next(tmp_path.glob("*.json")).write_text("{")
        assert lock.held
        with pytest.raises(RunBusyError, match="another process"):
            RunLock(tmp_path).acquire()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunBusyError, match="cannot be locked"):
        RunLock(tmp_path / "run").acquire()


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Else a run would end in the search index, whose library cannot write there."""
    with pytest.raises(UserError, match=r"caf\\udce9.* not UTF-8"):
        RunLock(tmp_path / os.fsdecode(b"caf\xe9")).acquire()
