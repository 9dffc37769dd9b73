"""What a search must not see: test metrics, the whole table at once, and images set aside for tests.

The only place that reads these. Called by `report --reveal-test`, by the benchmarks and by their
tests, after a search has ended; never by agents or knowledge, which an import contract forbids.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import TableError, UserError
from vitruvius.generator.evaluation.images import (
    SPLIT,
    Images,
    Source,
    Split,
    aside,
    class_names,
    divided,
    first_classes,
    hash_of,
)
from vitruvius.generator.evaluation.sources import (
    Parts,
    dataset_items,
    paired_arrays,
    read_source,
    source_name,
)
from vitruvius.generator.evaluation.table import TableBench
from vitruvius.generator.evaluation.task import Task, innermost
from vitruvius.generator.space import Architecture, Choices

_TEST = {"nasbench101": "test", "nasbench201": "test", "nasbench-graph": "test"}
"""Space -> column suffix of the test metric after the full schedule, whatever the fidelity of the search."""


def has_test(task: Task) -> bool:
    """Whether the benchmark of a task has a test metric beside the validation metric."""
    return task.space.name in _TEST


def reveal_test(task: Task) -> Callable[[Architecture], float]:
    """How to look up the test metric of an architecture, in the unit of the task's score.

    Like the validation score it is that of the class's representative. Not-a-number where the table has
    no row.

    Raises:
        UserError: The task is not measured by a table, so there is no test metric to show.
        TableError: The benchmark has no test metric, or the table lacks its column for this data set.
    """
    bench = _bench(task)
    if not has_test(task):
        raise TableError(
            f"Tables of {task.space.name} hold validation metrics only: there is no test metric to show."
        )
    tests = bench.read_extra(_TEST[task.space.name])

    def test(architecture: Architecture) -> float:
        return float(tests[bench.positions(bench.representative(architecture).row)[0]])

    return test


def true_scores(task: Task) -> tuple[Choices, NDArray[np.float64]]:
    """All keys of the space and the validation score that measuring each would return.

    Returns:
        Choices (size, D), and scores (size,): not-a-number where the table has no row.

    Raises:
        UserError: The task is not measured by a table.
    """
    bench = _bench(task)
    return bench.space.enumerate(), bench.scores[bench.representative_positions()]


def optimum(task: Task) -> tuple[Architecture, float]:
    """The architecture with the best validation score that measuring can return, and this score.

    Raises:
        UserError: The task is not measured by a table.
    """
    choices, scores = true_scores(task)
    best = int(np.nanargmax(task.better(scores)))
    architecture = task.space.architectures(choices[best : best + 1])[0]
    return task.bench.representative(architecture), float(scores[best])


def reveal_images(
    source: Source, split: Split = SPLIT, *, classes: int | None = None, image_size: int | None = None
) -> Images | None:
    """What a winner is trained and judged on when the search is over; arguments as those of `load_images`.

    Returns:
        For training the training and the validation part of the search together; in place of the validation
        part what no search ever saw: the data set's own test part, else the images that were set aside.
        None where a split leaves none.

    Raises:
        UserError: As `load_images`, or a test part whose images are of other classes or sizes.
    """
    if isinstance(source, str):
        parts, name = read_source(source, image_size), source_name(source, classes)
    elif isinstance(source, tuple):
        parts, name = Parts(paired_arrays(source)), ""
    else:
        parts, name = Parts(dataset_items(source, image_size)), ""
    (train_x, train_y, values), (valid_x, valid_y, _), _ = divided(parts, split, classes)
    own = parts.tests is not None
    x, y = first_classes(parts.tests(), classes) if parts.tests is not None else aside(parts, split, classes)
    if len(y) == 0:
        return None
    # Two classes are needed to train on, not to be judged by: so labels are looked up, not checked anew.
    x = x if x.ndim == 4 else x[:, None]
    if not np.isin(y, values).all() or x.shape[1:] != train_x.shape[1:]:
        what = "The test part" if own else "What is set aside"
        raise UserError(f"{what} does not fit what is trained on: it has other classes or sizes of images.")
    hashed = hash_of(train_x, train_y, valid_x, valid_y)
    return Images(
        name or f"data-{hashed[:8]}",
        np.concatenate([train_x, valid_x]), np.concatenate([train_y, valid_y]),
        x.astype(train_x.dtype), np.searchsorted(values, y), len(values), 0, hashed,
        class_names(parts, values),
    )  # fmt: skip


def _bench(task: Task) -> TableBench:
    bench = innermost(task.bench)
    if not isinstance(bench, TableBench):
        raise UserError(
            f"{task.name} is measured by {bench.evaluator}, not by a table: only tables can tell."
        )
    return bench
