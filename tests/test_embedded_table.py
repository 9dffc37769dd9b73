"""The embedded table: found without a path, cached, and never trusted blindly."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from vitruvius.errors import TableError
from vitruvius.generator.evaluation import embedded
from vitruvius.generator.evaluation.revealed import reveal_test
from vitruvius.generator.evaluation.table import Table, TableBench
from vitruvius.generator.evaluation.task import Status, Task
from vitruvius.generator.space import get_space


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests of this file, away from the user's; tables only where a test says so."""
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("VITRUVIUS_TABLES", raising=False)


def bench_of(task: Task) -> TableBench:
    assert isinstance(task.bench, TableBench)
    return task.bench


def test_embedded_table_needs_no_path_and_no_import() -> None:
    task = Task("nasbench-graph/cora")
    assert np.isfinite(bench_of(task).scores).sum() == 26_206
    (found,) = task.bench.measure([task.space.parse("0000:gat,gat,gat,gat")])
    assert found.score == np.float32(0.7733333333333334) and found.params == 1.736711
    assert found.latency == {"benchmark": pytest.approx(5.922238)} and found.flops is None
    assert task.metric.unit == "fraction"
    assert reveal_test(task)(task.space.parse("0000:gat,gat,gat,gat")) == pytest.approx(0.797)
    assert "nas_bench_graph" not in sys.modules
    assert Table().datasets(task.space)[-1] == "proteins"


def test_proteins_has_2021_rows_of_another_metric() -> None:
    task = Task("nasbench-graph/proteins")
    assert np.isfinite(bench_of(task).scores).sum() == 2_021
    assert (task.metric.name, task.metric.unit) == ("validation ROC-AUC", "")
    (found,) = task.bench.measure([task.space.parse("0000:gat,gat,gat,gat")])
    assert found.status is Status.INVALID


def test_cache_is_used_mended_and_optional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path))
    first = embedded.packaged_table("proteins")
    assert first is not None and first.parent == tmp_path / "tables"
    written = first.stat().st_mtime_ns
    assert embedded.packaged_table("proteins") == first and first.stat().st_mtime_ns == written
    first.write_bytes(first.read_bytes()[:100])  # a disk that ran full
    assert embedded.packaged_table("proteins") == first
    assert Table().open(get_space("nasbench-graph"), "proteins").fingerprint
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "file"))
    elsewhere = embedded.packaged_table("proteins")
    assert elsewhere is not None and elsewhere.is_file() and "cache cannot be written" in caplog.text
    shutil.rmtree(elsewhere.parent)


@pytest.mark.parametrize(
    "content", [pickle.dumps({0: print}), pickle.dumps({0: {"valid_perf": 1.0}}), b"\x80\x04.", b"", b"text"]
)
def test_a_foreign_data_file_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cora.bench"
    file.write_bytes(content)
    monkeypatch.setattr(embedded, "packaged_file", lambda dataset: file)
    with pytest.raises(TableError, match=r"cora\.bench"):
        embedded.packaged_table("cora")


def test_a_data_file_of_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cora.bench"
    with file.open("wb") as stream:
        stream.truncate(embedded.LARGEST + 1)
    monkeypatch.setattr(embedded, "packaged_file", lambda dataset: file)
    with pytest.raises(TableError, match="more than"):
        embedded.packaged_table("cora")
