"""A simulated task on the DARTS space: accuracies as boosted trees predict them, fitted to 1,218 genotypes.

The genotypes and their CIFAR-10 accuracies are those of NAS-Bench-Suite-Zero, where they are predictions
already, of NAS-Bench-301's surrogate. So this is a model of a model: it tells how methods search a large
space with a plausible landscape, and nothing about trained networks. Trees are no relatives of the Gaussian
process that a session selects with, and see counts that they are given by hand, no kernel over graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.task import Measurement, Metric, Status, Task
from vitruvius.generator.space import Architecture, Choices, SearchSpace, get_space

Array = NDArray[np.float64]

FILE = "nasbench_suite_zero_subset.parquet"
DATASET = "simulated"
TREES: dict[str, Any] = {
    "n_estimators": 1500, "learning_rate": 0.03, "max_depth": 3, "subsample": 0.5, "max_features": 0.1,
    "random_state": 0,
}  # fmt: skip
FOLDS = 5
STARTS = 40
"""Random architectures from which the reference climbs."""
_INPUTS, _NODES = 2, 4
_WEIGHTED = ("sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5")


def simulated_darts(folder: Path) -> Task:
    """The task, with the trees fitted to the genotypes in the folder of tables."""
    return Task(f"darts/{DATASET}", evaluator=SimulatedDarts(folder))


class SimulatedDarts:
    """An evaluator that predicts (satisfies `Evaluator`)."""

    name = "simulated"
    tabular = True

    def __init__(self, folder: Path) -> None:
        """Predict from the genotypes of this folder of tables."""
        self.folder = folder

    def datasets(self, space: SearchSpace) -> list[str]:
        """The one there is."""
        return [DATASET] if space.name == "darts" else []

    def open(self, space: SearchSpace, dataset: str) -> SimulatedBench:
        """Fit, once in a process."""
        if dataset not in self.datasets(space):
            raise unknown_name("data set", dataset, self.datasets(space))
        return SimulatedBench(space, self.folder)


class SimulatedBench:
    """`SimulatedDarts` set up (satisfies `Bench`)."""

    devices: tuple[str, ...] = ()
    fidelity = "predicted"

    def __init__(self, space: SearchSpace, folder: Path) -> None:
        """See `SimulatedDarts`."""
        self.space = space
        self.metric = Metric("simulated validation accuracy", "%", True)
        self._trees, self.fingerprint = _fitted(folder)
        self.evaluator = f"simulated:{hashlib.sha256(repr(TREES).encode()).hexdigest()[:8]}"

    def scores(self, choices: Choices) -> Array:
        """Predicted accuracies in percent of rows (n, 32), equal for all members of a class: (n,)."""
        return self._trees.predict(features(choices)).round(6)

    def representative(self, architecture: Architecture) -> Architecture:
        """Every architecture for itself: members of a class have the same score."""
        return architecture

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Predict."""
        for one in architectures:
            yield Measurement(
                self.space.name, f"{self.space.name}/{DATASET}", one.key, one.id, Status.OK,
                float(self.scores(one.row)[0]), fidelity=self.fidelity, evaluator=self.evaluator,
                fingerprint=self.fingerprint,
            )  # fmt: skip

    def costs(self, choices: Choices) -> Mapping[str, Array]:
        """None are told, to no method."""
        return {}


def features(choices: Choices) -> Array:
    """What the trees see of rows (n, 32): (n, 228) counts that do not depend on how nodes are numbered.

    For each cell: operations by what they take (the first input, the second, a node), pairs of operations
    that share a node, pairs of which one feeds the other, depths, and how much is joined to what.
    """
    cells = choices.reshape(len(choices), 2, _NODES, 2, 2).astype(np.int64)  # cell, node, side, (in, op)
    parts = [part for cell in (0, 1) for part in _of_cell(cells[:, cell, :, :, 0], cells[:, cell, :, :, 1])]
    return np.concatenate(parts, axis=1)


def _of_cell(taken: NDArray[np.int64], ops: NDArray[np.int64]) -> list[Array]:
    """Features of one cell: inputs and operations (n, 4, 2)."""
    space, n = get_space("darts"), len(ops)
    kinds = len(space.operations)
    each, nodes = np.arange(n), np.repeat(np.arange(n), _NODES)
    by_input = np.zeros((n, _INPUTS + 1, kinds))
    places = (np.repeat(nodes, 2), np.minimum(taken, _INPUTS).reshape(-1), ops.reshape(-1))
    np.add.at(by_input, places, 1)
    both, chained = np.zeros((n, kinds, kinds)), np.zeros((n, kinds, kinds))
    low, high = ops.min(axis=2).reshape(-1), ops.max(axis=2).reshape(-1)
    np.add.at(both, (nodes, low, high), 1)
    weighted = np.isin(ops, [space.operations.index(name) for name in _WEIGHTED])
    depth, heavy = np.zeros((n, _INPUTS + _NODES)), np.zeros((n, _INPUTS + _NODES))
    ways, used = np.zeros((n, _INPUTS + _NODES)), np.zeros((n, _INPUTS + _NODES))
    ways[:, :_INPUTS] = 1
    for node in range(_NODES):
        here = node + _INPUTS
        for side in (0, 1):
            source = taken[:, node, side]
            inner = np.flatnonzero(source >= _INPUTS)
            for feeding in (0, 1):
                fed_by = ops[inner, source[inner] - _INPUTS, feeding]
                np.add.at(chained, (inner, fed_by, ops[inner, node, side]), 1)
            depth[:, here] = np.maximum(depth[:, here], depth[each, source] + 1)
            heavy[:, here] = np.maximum(heavy[:, here], heavy[each, source] + weighted[:, node, side])
            ways[:, here] += ways[each, source]
            used[each, source] += 1
    inner = slice(_INPUTS, None)
    shape = [depth[:, inner].max(axis=1), depth[:, inner].mean(axis=1), heavy[:, inner].max(axis=1),
             heavy[:, inner].mean(axis=1), ways[:, inner].sum(axis=1), used[:, 0], used[:, 1],
             (used[:, inner] == 0).sum(axis=1), weighted.sum(axis=(1, 2))]  # fmt: skip
    upper = np.triu_indices(kinds)
    return [
        by_input.sum(axis=1), by_input.reshape(n, -1), both[:, upper[0], upper[1]], chained.reshape(n, -1),
        np.stack(shape, axis=1).astype(np.float64),
    ]  # fmt: skip


def agreement(folder: Path) -> dict[str, float]:
    """How well the trees predict genotypes that they were not fitted to, by cross-validation."""
    choices, accuracy = _known(folder)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(GradientBoostingRegressor(**TREES), features(choices), accuracy, cv=folds)
    left = float(((accuracy - predicted) ** 2).sum() / ((accuracy - accuracy.mean()) ** 2).sum())
    tau: Any = kendalltau(accuracy, predicted)
    rho: Any = spearmanr(accuracy, predicted)
    found = {
        "genotypes": len(accuracy), "kendall": float(tau.statistic),
        "spearman": float(rho.statistic), "r2": 1.0 - left,
    }  # fmt: skip
    return {name: round(value, 4) for name, value in found.items()}


def landscape(task: Task) -> dict[str, float]:
    """The simulated accuracies: of 20,000 uniform draws, and the best that climbing finds.

    Climbs from `STARTS` random architectures, each time to the best of all neighbours. The optimum itself is
    not known.
    """
    bench, space, rng = task.bench, task.space, np.random.default_rng(0)
    assert isinstance(bench, SimulatedBench)
    scores = bench.scores(space.sample(20_000, rng))
    tops: list[float] = []
    for row in space.sample(STARTS, rng)[:, None]:
        here, best = row, float(bench.scores(row)[0])
        while True:
            near = space.neighbours(here)
            values = bench.scores(near)
            top = int(values.argmax())
            if values[top] <= best:
                break
            here, best = near[top : top + 1], float(values[top])
        tops.append(best)
    figures = {
        "mean": scores.mean(), "deviation": scores.std(), "best of 20,000": scores.max(),
        "climbed, median": np.median(tops), "climbed, best": max(tops),
    }  # fmt: skip
    return {name: round(float(value), 4) for name, value in figures.items()}


def _known(folder: Path) -> tuple[Choices, Array]:
    """Rows (1218, 32) and accuracies in percent (1218,)."""
    import pyarrow.parquet as pq

    if not (folder / FILE).is_file():
        raise UserError(f"{folder} holds no {FILE}: give the folder of tables that has it.")
    table = pq.read_table(
        folder / FILE, columns=["arch", "val_accuracy"], filters=[("space", "=", "nasbench301")]
    )
    return get_space("darts").parse_many(table["arch"].to_pylist()), table["val_accuracy"].to_numpy()


@cache
def _fitted(folder: Path) -> tuple[GradientBoostingRegressor, str]:
    """The trees, and a hash of what they were fitted to."""
    choices, accuracy = _known(folder)
    trees = GradientBoostingRegressor(**TREES).fit(features(choices), accuracy)
    return trees, hashlib.sha256(choices.tobytes() + accuracy.tobytes()).hexdigest()[:12]
