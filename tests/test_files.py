"""Files are written complete or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius import report
from vitruvius.errors import UserError
from vitruvius.generator import export as exporting
from vitruvius.generator.evaluation.columns import read_columns, write_columns
from vitruvius.generator.evaluation.latency_files import write_proposals
from vitruvius.generator.export import Card, export_card
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.files import cache_folder, write_whole
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.resumable import Resumable
from vitruvius.knowledge import imports, packs
from vitruvius.knowledge.imports import PACKS_FOLDER, place_pack

THREE = np.array([0.0, 1.0, 2.0], dtype=np.float64)


@contextmanager
def no_larger_than(size: int) -> Generator[None]:
    """As on a disk that is full: no file of this process grows beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_does_not_fit_leaves_what_was_there(tmp_path: Path):
    file = tmp_path / "kept.txt"
    write_whole(file, "old")
    with no_larger_than(1000), pytest.raises(OSError, match="too large") as error:
        write_whole(file, "new" * 1000)
    assert error.value.filename == str(file)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_table_is_what_its_name_says(tmp_path: Path):
    keys, milliseconds = ["0000:gat,gcn", 'say "no"'], np.array([1.5, np.nan], dtype=np.float64)
    for name, begins in (("a.csv", b'"key","ms"'), ("a.parquet", b"PAR1")):
        write_columns(tmp_path / name, {"key": keys, "ms": milliseconds})
        assert (tmp_path / name).read_bytes().startswith(begins)
        read = read_columns(tmp_path / name, ["key", "ms"])
        assert read["key"] == keys
        np.testing.assert_array_equal(np.asarray(read["ms"]), milliseconds)
    with pytest.raises(UserError, match=r"a2\.parquet is to be filled in"):
        write_proposals(tmp_path / "a2.parquet", ["0000:gat,gcn"])


WRITES_A_TABLE = """
import os, sys, time
from pathlib import Path
import numpy as np
from vitruvius.generator.evaluation.columns import write_parts
def parts():
    yield {"x": np.arange(1000.0)}
    print("writing", flush=True)
    time.sleep(60)
write_parts(Path(sys.argv[1]), parts())
"""


def test_a_table_leaves_nothing_of_writers_that_were_killed_and_all_of_those_that_write(tmp_path: Path):
    table, mine = tmp_path / "a table[1].parquet", tmp_path / ".a table[1].parquet.mine.part"
    mine.write_text("not ours")
    command = [sys.executable, "-c", WRITES_A_TABLE, str(table)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
        (unfinished,) = set(tmp_path.iterdir()) - {mine}
        write_columns(table, {"x": THREE})
        assert set(tmp_path.iterdir()) == {table, mine, unfinished}
        writer.send_signal(signal.SIGKILL)
    assert unfinished.exists()
    write_columns(table, {"x": THREE})
    assert set(tmp_path.iterdir()) == {table, mine}


def test_one_cache_for_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VITRUVIUS_CACHE", "~/own")
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_folder() == Path("/home/ada/own")
    monkeypatch.delenv("VITRUVIUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vitruvius"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/ada/.cache/vitruvius")

    def homeless(_path: str) -> str:
        return _path

    monkeypatch.setattr(os.path, "expanduser", homeless)
    with pytest.raises(UserError, match="set VITRUVIUS_CACHE"):
        cache_folder()


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path):
    link, file, pipe = tmp_path / "link", tmp_path / "file", tmp_path / "pipe"
    link.symlink_to(file)
    write_whole(link, b"1")
    assert link.is_symlink() and file.read_bytes() == b"1"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "through")
    assert os.read(reader, 100) == b"through" and pipe.is_fifo()
    os.close(reader)


def test_a_state_of_training_that_does_not_fit_leaves_the_last(tmp_path: Path):
    Resumable(tmp_path / "state").save({"step": 1})
    with no_larger_than(1000), pytest.raises(OSError, match="too large"):
        Resumable(tmp_path / "state").save({"step": torch.zeros(5000)})
    assert Resumable(tmp_path / "state").load() == {"step": 1}


def test_a_pack_that_does_not_fit_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "pack.json"
    file.write_text("x" * 5000)
    monkeypatch.setattr(imports, "read_pack", lambda _file: packs.Pack("p", "0123", ()))
    with no_larger_than(1000), pytest.raises(OSError, match="too large"):
        place_pack(file, tmp_path / "run")
    assert not list((tmp_path / "run" / PACKS_FOLDER).iterdir())


def test_a_report_that_does_not_fit_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vitruvius.summary.summarise", lambda _run: None)
    monkeypatch.setattr(report, "code_portrait", lambda _summary: None)
    monkeypatch.setattr(report, "render", lambda *_: "new" * 1000)
    (tmp_path / "report.html").write_text("old")
    with no_larger_than(1000), pytest.raises(OSError, match="too large"):
        report.write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"


def test_an_export_that_does_not_fit_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "missing_packages", lambda: PACKAGES)
    monkeypatch.setattr(exporting, "check_files", lambda *_: (0.0, None))
    first, second = (
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    )

    def write(key: str) -> None:
        export_card(
            Card(space="nasbench201", architecture=key, shape=Shape(5, 2, 9, 12, stem=4, cells=2)), tmp_path
        )

    write(first)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    copy, copied = exporting.shutil.copyfile, []

    def full_after_one(source: Path, target: Path) -> None:
        if copied:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(copy(source, target))

    monkeypatch.setattr(exporting.shutil, "copyfile", full_after_one)
    with pytest.raises(OSError, match="No space"):
        write(second)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    (tmp_path / ".model.py.new").touch()  # of a process that was killed
    monkeypatch.setattr(exporting, "missing_packages", lambda: PACKAGES)
    write(second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "card.md", "model.py"]
