"""The ledger when things go wrong: foreign files, full disks, killed processes, two writers."""

# The database behind the ledger is asked how it is set up, and filled to its last page.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from computing_time import seconds_of, within
from sqlalchemy import text

from vitruvius.errors import LedgerError
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge import schema
from vitruvius.knowledge.database import Database, network_file_system
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import (
    Origin,
    Principle,
    Proposal,
    principle_id,
)
from vitruvius.knowledge.share import Share

TASK = "nasbench201/cifar10"


def measurement(number: int = 0, **changes: object) -> Measurement:
    base = Measurement(
        space="nasbench201", task=TASK, key=f"key{number}", id=f"id{number}", status=Status.OK,
        score=90 + number / 7, seconds=1.5, params=0.3, latency={"gpu": 1.25}, fidelity="200 epochs",
        evaluator="table:1", fingerprint="f",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def principle(number: int = 0, **changes: object) -> Principle:
    predicate = {"kind": "count", "operations": ["conv3x3"], "comparison": ">=", "value": number + 1}
    proposal = Proposal(f"Principle {number}.", predicate, "nasbench201")
    base = Principle(principle_id(proposal), proposal, Origin("statistics", template="t", session="s"))
    return dataclasses.replace(base, **changes)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a ledger can be: a file, or a database server."""
    return tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "run" / "ledger.db") as ledger:
        for session in ("s", "other"):
            ledger.start_session(session, task=TASK, seed=3, settings={}, labels=[("nasbench201", "cifar10")])
        yield ledger


class TestOpening:
    def test_another_version_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schema, "VERSION", 99)
        Ledger(tmp_path / "ledger.db").close()
        monkeypatch.undo()
        with pytest.raises(LedgerError, match=r"version 99.*reads version 1.*new run folder"):
            Ledger(tmp_path / "ledger.db")

    def test_a_ledger_keeps_its_id(self, tmp_path: Path) -> None:
        ids = set()
        for _ in range(2):
            with Ledger(tmp_path / "ledger.db") as ledger:
                ids.add(ledger.id)
        with Ledger(f"sqlite:///{tmp_path}/ledger.db") as same, Ledger(tmp_path / "b.db") as other:
            assert ids == {same.id} != {other.id}

    def test_another_database_is_refused(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("create table t (a)")
        connection.close()
        with pytest.raises(LedgerError, match="no ledger"):
            Ledger(tmp_path / "x.db")

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_text("something else entirely\n" * 100)
        with pytest.raises(LedgerError, match="no ledger or is damaged"):
            Ledger(tmp_path / "x.db")

    def test_a_file_that_was_cut_off_is_refused(self, ledger: Ledger, tmp_path: Path) -> None:
        ledger.record_all([measurement(n) for n in range(500)], session="s", batch=0, share=Share.MODEL)
        ledger.close()
        file = tmp_path / "run" / "ledger.db"
        os.truncate(file, file.stat().st_size // 2)
        with pytest.raises(LedgerError, match="damaged"), Ledger(file) as cut:
            cut.learned("s")

    @pytest.mark.parametrize("open_elsewhere", [False, True])
    def test_one_that_may_not_be_written_is_read(
        self, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_elsewhere: bool
    ) -> None:
        folder = tmp_path / "run"
        ledger.record(measurement(), session="s", batch=0, share=Share.MODEL)
        if not open_elsewhere:
            ledger.close()
        before = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
        monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
        with Ledger(folder / "ledger.db") as reader:
            assert [x.measurement for x in reader.learned("s")] == [measurement()]
            with pytest.raises(LedgerError, match="cannot be opened for writing"):
                reader.record(measurement(1), session="s", batch=0, share=Share.MODEL)
        after = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
        assert after == before

    @pytest.mark.parametrize("url", ["what://x", "postgresql+nodriver://me:hunter2@h/x", "://"])
    def test_addresses_that_lead_nowhere(self, url: str) -> None:
        with pytest.raises(LedgerError) as caught:
            Ledger(url)
        assert "hunter2" not in str(caught.value)

    MOUNTS = (
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "tmpfs /home/me/fast tmpfs rw 0 0\n"
        "me@host:/x /mnt/my\\040disk fuse.sshfs rw 0 0\n"
        "//win/share /mnt/share cifs rw 0 0\n"
    )

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/home/me/runs/a", "nfs4"),
            ("/home/me/fast/runs", None),
            ("/homework", None),
            ("/mnt/my disk/a/b", "fuse.sshfs"),
            ("/mnt/share", "cifs"),
            ("/var", None),
        ],
    )
    def test_network_file_systems_are_told(self, path: str, kind: str | None) -> None:
        assert network_file_system(Path(path), self.MOUNTS) == kind

    def test_network_file_systems_are_refused(self, tmp_path: Path) -> None:
        mounts = f"x / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n"
        (tmp_path / "elsewhere").symlink_to(tmp_path)
        for path in (tmp_path / "run" / "ledger.db", tmp_path / "elsewhere" / "ledger.db"):
            with pytest.raises(LedgerError, match=r"network file system \(nfs4\)"):
                Database(path, mounts=mounts)
            assert not path.exists()


class TestSafety:
    def test_durable_settings(self, ledger: Ledger) -> None:
        with ledger._database.read() as connection:
            pragmas = [
                connection.exec_driver_sql(f"pragma {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert pragmas == ["wal", 2, 1]

    @pytest.mark.parametrize("table", sorted(schema.metadata.tables))
    def test_facts_cannot_be_changed_or_deleted(self, ledger: Ledger, tmp_path: Path, table: str) -> None:
        ledger.record(measurement(), session="s", batch=0, share=Share.MODEL)
        ledger.log("s", "x", {})
        ledger.add_call("s", {})
        ledger.add_principle(principle(), session="s")
        column = next(iter(schema.metadata.tables[table].columns)).name
        connection = sqlite3.connect(tmp_path / "run" / "ledger.db")
        for statement in (f"update {table} set {column} = {column}", f"delete from {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
                connection.execute(statement)
        connection.close()

    def test_a_full_disk_is_a_sentence_and_loses_nothing(self, ledger: Ledger, tmp_path: Path) -> None:
        ledger.record(measurement(0), session="s", batch=0, share=Share.MODEL)
        with ledger._database.read() as connection:
            pages = connection.exec_driver_sql("pragma page_count").scalar()
            connection.exec_driver_sql(f"pragma max_page_count = {pages}")
        many = [measurement(n) for n in range(1, 3000)]
        with pytest.raises(LedgerError, match="No space is left"):
            ledger.record_all(many, session="s", batch=1, share=Share.MODEL)
        with ledger._database.read() as connection:
            connection.exec_driver_sql("pragma max_page_count = 1000000")
        assert [x.measurement for x in ledger.learned("s")] == [measurement(0)]
        assert len(ledger.record_all(many, session="s", batch=1, share=Share.MODEL)) == len(many)
        with ledger._database.read() as connection:
            assert connection.exec_driver_sql("pragma integrity_check").scalar() == "ok"

    def test_a_write_that_the_system_refuses(self, tmp_path: Path) -> None:
        code = """
import resource, signal, sys
from vitruvius.errors import LedgerError
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.share import Share
ledger = Ledger(sys.argv[1])
ledger.start_session("s", task="t", seed=0, settings={}, labels=[])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    for number in range(200):
        ledger.log("s", "x", {"text": "x" * 10_000}, number=number)
except LedgerError as error:
    print(number, error)
"""
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
        path = tmp_path / "ledger.db"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
        )
        number, _, sentence = done.stdout.partition(" ")
        assert "all that was recorded before is kept" in sentence, done.stderr
        with Ledger(path) as ledger:
            assert [event.number for event in ledger.events("s")] == list(range(int(number)))

    def test_kill_9_loses_nothing_that_was_reported(self, place: Path | str) -> None:
        code = """
import sys
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.share import Share
ledger = Ledger(sys.argv[1])
ledger.start_session("s", task="a/b", seed=0, settings={}, labels=[])
start = len(ledger.learned("s"))
for n in range(start, 100_000):
    m = Measurement("a", "a/b", f"k{n}", f"i{n}", Status.OK, float(n))
    print(ledger.record(m, session="s", batch=n, share=Share.MODEL).order, flush=True)
"""
        reported = -1
        for lines in (3, 40, 11):
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            for _ in range(lines):
                order = int(process.stdout.readline())
                assert order > reported  # what was there is not written again
                reported = order
            os.kill(process.pid, signal.SIGKILL)
            rest = [int(line) for line in process.stdout.read().split("\n")[:-1]]
            process.stdout.close()
            process.wait()
            reported = max([reported, *rest])
            with Ledger(place) as ledger:
                learned = ledger.learned("s")
            # One more may be kept than was reported: killed between keeping and saying so.
            assert reported + 1 <= len(learned) <= reported + 2
            assert [(x.order, x.measurement.key) for x in learned] == [
                (n, f"k{n}") for n in range(len(learned))
            ]
            reported = len(learned) - 1

    def test_opened_while_another_makes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")  # SQLite refuses the write-ahead log at once while this is held
        release = threading.Timer(0.3, other.rollback)
        release.start()
        started = time.monotonic()
        Database(path).close()
        assert time.monotonic() - started >= 0.25
        release.join()
        other.close()

    def test_opened_by_many_at_one_moment(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            for n in range(10):
                databases = list(pool.map(Database, [tmp_path / f"{n}.db"] * 8))
                assert len({database.id for database in databases}) == 1
                for database in databases:
                    database.close()

    def test_opened_by_many_processes_at_one_moment(self, place: Path | str) -> None:
        code = (
            "import sys; from vitruvius.knowledge.database import Database; print(Database(sys.argv[1]).id)"
        )
        command = [sys.executable, "-c", code, str(place)]
        opened = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        told = [one.communicate(timeout=120)[0] for one in opened]
        assert len(set(told)) == 1 and told[0].strip()

    def test_a_writer_that_never_ends_is_named_not_waited_for(
        self, postgres: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vitruvius.knowledge.database.WAIT", 1.0)
        late = pytest.raises(LedgerError, match="Another process held the ledger")
        with Ledger(postgres) as ledger, Ledger(postgres) as other, ledger._database.write(), late:
            other.log("s", "warning", {"text": "late"})

    def test_a_reader_sees_one_moment(self, place: Path | str) -> None:
        with Ledger(place) as ledger, Ledger(place) as other, other._database.read() as connection:
            count = text("SELECT count(*) FROM events")
            before = connection.scalar(count)
            ledger.start_session("s", task="a/b", seed=0, settings={}, labels=[])
            ledger.log("s", "warning", {"text": "meanwhile"})
            assert connection.scalar(count) == before

    def test_two_writers(self, place: Path | str) -> None:
        code = """
import sys
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.share import Share
session = sys.argv[2]
ledger = Ledger(sys.argv[1])
ledger.start_session(session, task="a/b", seed=0, settings={}, labels=[])
for n in range(60):
    m = Measurement("a", "a/b", f"k{n}", f"i{n}", Status.OK, float(n))
    ledger.record(m, session=session, batch=n, share=Share.MODEL)
    ledger.log(session, "batch", {"n": n}, number=n)
"""
        writers = [subprocess.Popen([sys.executable, "-c", code, str(place), name]) for name in "ab"]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
        with Ledger(place) as ledger:
            both = [ledger.learned(name) for name in "ab"]
            for learned in both:
                assert [x.measurement.key for x in learned] == [f"k{n}" for n in range(60)]
                assert all(x.counted for x in learned)
            paid = [[x.paid for x in learned] for learned in both]
            assert all(a != b for a, b in zip(*paid, strict=True))  # each was paid for once, by one of them


def test_ten_thousand(ledger: Ledger) -> None:
    many = [measurement(n, id=f"id{n % 9000}") for n in range(10_000)]
    ledger.record_all(many, session="s", batch=0, share=Share.MODEL)
    learned = ledger.learned("s")
    assert len(learned) == 10_000 and sum(x.counted for x in learned) == 9_000
    assert within(seconds_of(lambda: ledger.learned("s")), 0.3)
