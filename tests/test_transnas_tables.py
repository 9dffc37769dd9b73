"""TransNAS-Bench-101 tables: four tasks with metrics of their own, and no test metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitruvius.errors import TableError
from vitruvius.generator.evaluation.revealed import optimum, reveal_test, true_scores
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import get_space

SPACE = get_space("transnasbench101-micro")
DATASETS = ["class_scene", "jigsaw", "segmentsemantic", "autoencoder"]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Scores that grow with the position in the space, another step for each task."""
    columns = {"arch_str": SPACE.keys(SPACE.enumerate())}
    scores = {f"{name}_valid": np.arange(4_096) / 10 ** (2 + k) for k, name in enumerate(DATASETS)}
    path = tmp_path / "transnasbench101_micro.parquet"
    pq.write_table(pa.table({**columns, **scores}), path)
    return Table(path)


def test_four_tasks(table: Table) -> None:
    assert table.datasets(SPACE) == DATASETS
    units = {name: Task(f"{SPACE.name}/{name}", table).metric for name in DATASETS}
    assert [units[name].unit for name in DATASETS] == ["%", "%", "%", ""]
    assert units["segmentsemantic"].name == "validation pixel accuracy"
    assert units["autoencoder"].format(0.57) == "0.5700" and all(one.maximize for one in units.values())
    task = Task(f"{SPACE.name}/jigsaw", table)
    (found,) = task.bench.measure([SPACE.parse("64-41414-0_00_111")])
    # node 1 is cut, so it does not matter whether a skip follows it; digits of base 4 count the rows
    assert found.key == found.id == "64-41414-0_00_101" and found.score == np.float32(17 / 1000)
    assert (found.params, found.flops, found.latency, found.seconds) == (None, None, {}, 0.0)


def test_there_is_no_test_metric_to_show(table: Table) -> None:
    task = Task(f"{SPACE.name}/class_scene", table)
    with pytest.raises(TableError, match="validation metrics only"):
        reveal_test(task)
    best, score = optimum(task)
    assert best == task.bench.representative(best) and score == np.float32(40.95)


@pytest.mark.tables
def test_the_real_table(tables: Path) -> None:
    best: dict[str, float] = {}
    for name in DATASETS:
        task = Task(f"{SPACE.name}/{name}", Table(tables))
        _, scores = true_scores(task)
        assert np.isfinite(scores).sum() == 4_096
        best[name] = float(scores.max())
    assert best["class_scene"] == pytest.approx(54.94, abs=0.005)
    assert best["autoencoder"] == pytest.approx(0.57, abs=0.005)
    cut = SPACE.parse("64-41414-0_00_000")
    (worst,) = Task(f"{SPACE.name}/class_scene", Table(tables)).bench.measure([cut])
    assert worst.score is not None and worst.score < 8
