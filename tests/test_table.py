"""Tables: what is found where, what is read and what never is, and what a wrong file is told."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from computing_time import within

from vitruvius.errors import TableError, UnknownNameError, UserError
from vitruvius.generator.evaluation.revealed import optimum, reveal_test, true_scores
from vitruvius.generator.evaluation.table import Table, TableBench
from vitruvius.generator.evaluation.task import Status, Task
from vitruvius.generator.space import get_space


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests of this file, away from the user's; tables only where a test says so."""
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("VITRUVIUS_TABLES", raising=False)


def columns_201(rows: int = 15_625) -> dict[str, Any]:
    """A complete table whose score of row i is i / 1000; the official order is the space's, reversed."""
    space = get_space("nasbench201")
    keys = [space.format(row) for row in space.enumerate().tolist()][::-1][:rows]
    count = np.arange(rows, dtype=np.float64)
    columns: dict[str, Any] = {"index": np.arange(rows, dtype=np.int32), "arch_str": keys}
    for name in ("cifar10", "cifar100"):
        columns[f"{name}_valid"] = count / 1000
        columns[f"{name}_test"] = 50 + count / 1000
        columns[f"{name}_params_m"] = count
    columns["cifar10_valid_12ep"] = count[::-1] / 1000
    columns["cifar10_flops_m"] = count * 2
    return columns


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def bench_of(task: Task) -> TableBench:
    assert isinstance(task.bench, TableBench)
    return task.bench


@pytest.fixture
def table_201(tmp_path: Path) -> Path:
    return write(tmp_path / "nasbench201.parquet", columns_201())


# ---- looking up ----------------------------------------------------------------------------


def test_a_class_is_measured_at_its_first_member_by_index(table_201: Path) -> None:
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    ids = task.space.ids(task.space.enumerate())
    (shared, count), *_ = Counter(ids).most_common(1)
    twins = [place for place, text in enumerate(ids) if text == shared]
    assert count > 10
    architectures = task.space.architectures(task.space.enumerate()[twins])
    found = list(task.bench.measure(architectures, seed=7))
    first = max(twins)  # the table's index runs backwards
    assert {measurement.key for measurement in found} == {architectures[twins.index(first)].key}
    assert {measurement.score for measurement in found} == {np.float32((15_624 - first) / 1000)}
    assert {measurement.id for measurement in found} == {ids[twins[0]]}
    assert {measurement.seed for measurement in found} == {0}
    assert (found[0].params, found[0].flops) == (15_624 - first, 2 * (15_624 - first))
    assert found[0].fidelity == "200 epochs" and found[0].seconds == 0.0


def test_costs_go_by_exact_key(table_201: Path) -> None:
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    costs = task.bench.costs(task.space.enumerate()[:3])
    assert {name: values.tolist() for name, values in costs.items()} == {
        "params": [15_624, 15_623, 15_622],
        "flops": [31_248, 31_246, 31_244],
    }
    assert "flops" not in Task("nasbench201/cifar100", evaluator=Table(table_201)).bench.costs(
        task.space.enumerate()
    )


def test_latency_file_beside_the_table(table_201: Path) -> None:
    columns = columns_201(10)
    latency = {"index": columns["index"], "arch_str": columns["arch_str"], "raspi4": np.arange(10.0)}
    write(table_201.with_name("nasbench201_latency_ms.parquet"), latency)
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    assert task.bench.devices == ("raspi4",)
    architectures = [task.space.parse(text) for text in (columns["arch_str"][3], columns["arch_str"][10 - 1])]
    assert task.bench.costs(task.space.rows(architectures))["latency[raspi4]"].tolist() == [3.0, 9.0]
    assert next(task.bench.measure(architectures)).latency == {"raspi4": 3.0}
    unknown = task.bench.costs(task.space.enumerate()[:1])["latency[raspi4]"]
    assert np.isnan(unknown).all()


def test_fidelity_changes_score_and_identity(table_201: Path) -> None:
    full = Task("nasbench201/cifar10", evaluator=Table(table_201))
    short = Task("nasbench201/cifar10", evaluator=Table(table_201, fidelity="12 epochs"))
    architecture = full.space.architectures(full.space.enumerate()[-1:])
    long_one, short_one = next(full.bench.measure(architecture)), next(short.bench.measure(architecture))
    assert (long_one.score, short_one.score) == (0.0, np.float32(15.624))
    assert long_one.identity != short_one.identity
    assert full.bench.evaluator != short.bench.evaluator
    assert Table(table_201, fidelity="12 epochs").datasets(full.space) == ["cifar10"]
    with pytest.raises(UnknownNameError, match="12 epochs"):
        Table(table_201, fidelity="13 epochs").open(full.space, "cifar10")


def test_missing_rows_are_invalid_with_a_reason(tmp_path: Path) -> None:
    columns = columns_201(20)
    columns["cifar10_valid"][0] = np.nan
    task = Task("nasbench201/cifar10", evaluator=Table(write(tmp_path / "t.parquet", columns)))
    there, not_measured = (task.space.parse(columns["arch_str"][place]) for place in (1, 0))
    absent = task.space.architectures(task.space.enumerate()[:1])[0]
    found = list(task.bench.measure([there, not_measured, absent]))
    assert [measurement.status for measurement in found] == [Status.OK, Status.INVALID, Status.INVALID]
    assert all(
        m.score is None and "no score on cifar10" in m.reason and m.status.permanent for m in found[1:]
    )


def test_fingerprint_follows_the_content_not_the_file(tmp_path: Path, table_201: Path) -> None:
    space = get_space("nasbench201")
    columns = columns_201()
    columns["cifar10_test"] = columns["cifar10_test"] + 1  # never read
    columns["cifar10_valid"] = columns["cifar10_valid"].astype(np.float32)
    same = Table(write(tmp_path / "same.parquet", columns)).open(space, "cifar10")
    original = Table(table_201).open(space, "cifar10")
    assert same.fingerprint == original.fingerprint
    assert (same.scores == original.scores).all()
    columns["cifar10_valid"][7] += 1
    other = Table(write(tmp_path / "other.parquet", columns)).open(space, "cifar10")
    assert other.fingerprint != original.fingerprint


def test_test_columns_are_never_read(table_201: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = pq.ParquetFile.read

    def spy(file: Any, columns: list[str], **options: Any) -> Any:
        read.extend(columns)
        return real(file, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", spy)
    table = Table(table_201)
    for dataset in table.datasets(get_space("nasbench201")):
        bench = table.open(get_space("nasbench201"), dataset)
        list(bench.measure(bench.space.architectures(bench.space.enumerate()[:5])))
        bench.costs(bench.space.enumerate())
    assert "cifar10_valid" in read and not [name for name in read if "test" in name]


def test_opened_once(table_201: Path) -> None:
    table = Table(table_201)
    assert table.open(get_space("nasbench201"), "cifar10") is table.open(get_space("nasbench201"), "cifar10")
    again = pickle.loads(pickle.dumps(Task("nasbench201/cifar10", evaluator=table)))
    assert again.bench.fingerprint == table.open(get_space("nasbench201"), "cifar10").fingerprint


# ---- revealed ------------------------------------------------------------------------------


def test_revealed(table_201: Path) -> None:
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    choices, scores = true_scores(task)
    some = [0, 17, 4_711, 15_624]
    measured = [m.score for m in task.bench.measure(task.space.architectures(choices[some]))]
    assert scores[some].tolist() == measured
    best, score = optimum(task)
    assert score == np.nanmax(scores) and next(task.bench.measure([best])).score == score
    assert reveal_test(task)(best) == pytest.approx(50 + score, abs=1e-4)


def test_revealed_needs_a_table(table_201: Path) -> None:
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    task.bench = object.__new__(type("Other", (), {"evaluator": "train:1"}))  # type: ignore[assignment]
    with pytest.raises(UserError, match="not by a table"):
        true_scores(task)


# ---- what is found where -------------------------------------------------------------------


def test_no_table_says_what_to_do(monkeypatch: pytest.MonkeyPatch, table_201: Path) -> None:
    with pytest.raises(TableError, match=r"--table PATH.*VITRUVIUS_TABLES.*vitruvius tables import"):
        Task("nasbench201/cifar10")
    monkeypatch.setenv("VITRUVIUS_TABLES", str(table_201.parent))
    assert bench_of(Task("nasbench201/cifar10")).path == table_201
    assert bench_of(Task("nasbench201/cifar10", evaluator=Table(table_201.parent))).path == table_201


# ---- wrong files ---------------------------------------------------------------------------


def test_cut_off_file(table_201: Path) -> None:
    table_201.write_bytes(table_201.read_bytes()[:-1000])
    with pytest.raises(TableError, match=r"nasbench201\.parquet' is no complete Parquet file"):
        Task("nasbench201/cifar10", evaluator=Table(table_201))


def test_damaged_inside(table_201: Path) -> None:
    data = bytearray(table_201.read_bytes())
    data[200:4000] = bytes(3800)
    table_201.write_bytes(data)
    with pytest.raises(TableError, match="no complete Parquet file"):
        Task("nasbench201/cifar10", evaluator=Table(table_201))


def test_no_such_file_and_not_parquet(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table file"):
        Task("nasbench201/cifar10", evaluator=Table(tmp_path / "nothing.parquet"))
    (tmp_path / "t.txt").write_text("arch,score\n")
    with pytest.raises(TableError, match="no complete Parquet file"):
        Task("nasbench201/cifar10", evaluator=Table(tmp_path / "t.txt"))


def test_a_sheet_that_somebody_wrote_is_a_table(tmp_path: Path) -> None:
    sheet = tmp_path / "mine.csv"
    sheet.write_text(
        'link,ops,cora_valid,cora_params\n0000,"gat,gat,gat,gat",0.77,1.5\n0000,"gcn,gcn,gcn,gcn",,1.25\n'
    )
    task = Task("nasbench-graph/cora", evaluator=Table(sheet))
    known, unknown = (task.space.parse(f"0000:{name},{name},{name},{name}") for name in ("gat", "gcn"))
    found = list(task.bench.measure([known, unknown]))
    assert [(m.status, m.params) for m in found] == [(Status.OK, 1.5), (Status.INVALID, 1.25)]
    assert found[0].score == pytest.approx(0.77)
    assert Table(sheet).datasets(task.space) == ["cora"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "arch,score\n",
            r"no column 'link': a table of nasbench-graph/cora .* needs link, ops, cora_valid; this",
        ),
        (
            "link,ops,cora_valid\n0000,gat,gat,gat,gat,0.7\n",
            r"Row 2 of .* has more than the 3 cells .* in quotes",
        ),
        (
            'link,ops,cora_valid\n0000,"gat,gat,gat,gat",good\n',
            "'good' in row 1 of its data, where a number is",
        ),
        ('link,ops,cora_valid\n0000,"gat,gat,gat,gat",inf\n', "'inf' in row 1 of its data"),
        ('link,ops,cora_valid\n0000,"gat,gat,gat,gat",nan\n', "'nan' in row 1 of its data"),
        ("link,ops,cora_valid\n0000,,0.5\n", "is not one of nasbench-graph"),
    ],
)
def test_sheets_that_are_no_tables_say_what_they_lack(tmp_path: Path, text: str, told: str) -> None:
    sheet = tmp_path / "mine.csv"
    sheet.write_text(text)
    with pytest.raises(TableError, match=told):
        Task("nasbench-graph/cora", evaluator=Table(sheet))


def test_what_a_class_scores_is_found_at_any_of_its_members(tmp_path: Path) -> None:
    """A table that has one of two equal architectures, and not the one that comes first."""
    space = get_space("nasbench201")
    rows = space.enumerate()
    classes = space.classes(rows)
    group = next(g for g in (np.flatnonzero(classes == name) for name in classes) if len(g) > 1)
    first, last = (space.architectures(rows[place : place + 1])[0] for place in (group[0], group[-1]))
    (tmp_path / "mine.csv").write_text(f"arch_str,cifar10_valid\n{last.key},50\n")
    bench = Task("nasbench201/cifar10", evaluator=Table(tmp_path / "mine.csv")).bench
    assert bench.representative(first).key == last.key
    assert next(bench.measure([first])).score == 50


@pytest.mark.parametrize("missing", ["arch_str", "cifar10_valid"])
def test_missing_column_is_named(missing: str, tmp_path: Path) -> None:
    columns = columns_201(5)
    del columns[missing]
    with pytest.raises(TableError, match=f"has no column '{missing}'"):
        Task("nasbench201/cifar10", evaluator=Table(write(tmp_path / "t.parquet", columns)))


def test_foreign_architecture_double_row_and_wrong_kinds(tmp_path: Path) -> None:
    def refused(column: str, values: Any, match: str) -> None:
        columns = columns_201(3)
        columns[column] = values
        with pytest.raises(TableError, match=match):
            Task("nasbench201/cifar10", evaluator=Table(write(tmp_path / "t.parquet", columns)))

    keys = columns_201(3)["arch_str"]
    refused("arch_str", [keys[0], keys[1], "64-41414-3_33_333"], "64-41414-3_33_333.*no architecture")
    refused("arch_str", [keys[0], keys[1], keys[0]], "more than one row")
    refused("arch_str", [keys[0], keys[1], None], "empty cells")
    refused("arch_str", [1, 2, 3], "texts are needed")
    refused("cifar10_valid", ["a", "b", "c"], "where a number is needed")
    refused("cifar10_valid", [70.0, float("-inf"), 71.0], "'-inf' in row 2")
    refused("cifar10_valid", [[1.0], [2.0], [3.0]], "numbers or texts")


def test_unknown_data_set_names_the_nearest(table_201: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'cifar-10'. Did you mean 'cifar10'.*cifar100"):
        Task("nasbench201/cifar-10", evaluator=Table(table_201))
    with pytest.raises(TableError, match="imagenet16_valid"):
        Task("nasbench201/imagenet16", evaluator=Table(table_201))
    with pytest.raises(UserError, match="needs a data set"):
        Task("nasbench201", evaluator=Table(table_201))


def test_architecture_of_another_space_is_refused(table_201: Path) -> None:
    task = Task("nasbench201/cifar10", evaluator=Table(table_201))
    stranger = get_space("nasbench-graph").parse("0000:gat,gcn,fc,gin")
    with pytest.raises(UserError, match="another space"):
        list(task.bench.measure([stranger]))


# ---- the real tables -----------------------------------------------------------------------


@pytest.mark.tables
@pytest.mark.parametrize(
    ("dataset", "best", "test"),
    [("cifar10", 91.607, 94.373), ("cifar100", 73.493, 73.513), ("imagenet16", 46.733, 46.2)],
)
def test_published_optima(dataset: str, best: float, test: float, tables: Path) -> None:
    task = Task(f"nasbench201/{dataset}", evaluator=Table(tables))
    architecture, score = optimum(task)
    assert score == pytest.approx(best, abs=1e-3)
    assert reveal_test(task)(architecture) == pytest.approx(test, abs=0.2)
    assert len(task.bench.devices) == 27 or not (tables / "nasbench201_latency_ms.parquet").is_file()


@pytest.mark.tables
def test_package_and_file_are_the_same_data(tables: Path) -> None:
    space = get_space("nasbench-graph")
    for dataset in ("cora", "arxiv", "proteins"):
        packaged, filed = Table().open(space, dataset), Table(tables).open(space, dataset)
        assert packaged.fingerprint == filed.fingerprint
        assert np.array_equal(packaged.scores, filed.scores, equal_nan=True)


@pytest.mark.tables
def test_representatives_are_first_by_index(tables: Path) -> None:
    table = pq.read_table(
        tables / "nasbench201.parquet", columns=["arch_str", "isomorph_rep_index"]
    ).to_pydict()
    bench = Table(tables).open(get_space("nasbench201"), "cifar10")
    for place in range(0, 15_625, 250):
        architecture = bench.space.parse(table["arch_str"][place])
        first = table["arch_str"][table["isomorph_rep_index"][place]]
        assert bench.representative(architecture).key == first


@pytest.mark.tables
def test_loading_is_fast(tables: Path, tmp_path: Path) -> None:
    """CPU seconds in a fresh process, so that neighbours on the machine do not decide."""
    code = (
        "import time; from vitruvius.generator.evaluation.task import Task;"
        "from vitruvius.generator.evaluation.table import Table; import pyarrow.parquet;"
        "start = time.process_time(); Task('{}', evaluator=Table({})); print(time.process_time() - start)"
    )

    def seconds(task: str, path: str) -> float:
        environment = os.environ | {"VITRUVIUS_CACHE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code.format(task, path)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        return float(done.stdout)

    assert within(seconds("nasbench201/cifar10", repr(str(tables))), 1.0)
    assert within(seconds("nasbench-graph/cora", ""), 2.0)
    assert within(seconds("nasbench-graph/cora", ""), 1.0)
