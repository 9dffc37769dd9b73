"""What the surrogate sees of an architecture: its decisions, and its graph with anonymous labels.

Nothing here knows what an operation does or where an input sits in a cell: labels only tell nodes apart.
Histograms are compared by the sum of absolute differences, decisions by "equal or not", so renaming
operations, reordering choices or permuting decisions leaves all distances as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import INPUT, OUTPUT, Choices, Graphs, SearchSpace

Histogram = NDArray[np.float64]
"""How often each pattern occurs: (n, F)."""

_POSITIVE = np.int64(2**62 - 1)  # numbers of long paths wrap around: equal ones stay equal
MOST_PATHS = 1000
"""Spaces with more paths than these have too many to list: there, chains of three labels stand for them."""


@dataclass(frozen=True, slots=True)
class Features:
    """Features of n architectures.

    Attributes:
        choices: (n, D) rows, compared decision by decision.
        histograms: One (n, F) count matrix for each kind of pattern; patterns were numbered over all n rows.
    """

    choices: Choices
    histograms: tuple[Histogram, ...]

    def take(self, rows: NDArray[np.intp] | slice) -> Features:
        """The features of some of the rows."""
        return Features(self.choices[rows], tuple(counts[rows] for counts in self.histograms))


def extract(space: SearchSpace, choices: Choices) -> Features:
    """Features of rows (n, D), comparable among these rows only.

    Histograms: labels, labels that feed labels, and label sequences along paths from input to output
    (the path encoding of White et al., BANANAS, AAAI 2021, with counts and without order of operations).
    """
    return Features(choices, tuple(_histogram(found) for found in patterns(space, choices)))


def patterns(space: SearchSpace, choices: Choices) -> tuple[NDArray[np.int64], ...]:
    """The patterns of each histogram in rows (n, D), as numbers (n, m): -1 is none.

    Whether paths or chains are told depends on the edges that occur among the rows.
    """
    graphs = space.graphs(choices)
    base = len(space.labels) + 2
    inner = np.where(graphs.labels > OUTPUT, graphs.labels, -1).astype(np.int64)
    paths = _paths(graphs, base) if _most_paths(graphs) <= MOST_PATHS else _chains(graphs, base)
    return inner, _edges(graphs, base), paths


def distances(left: Features, right: Features) -> NDArray[np.float64]:
    """Distances by decision, then by histogram: (G, n, m), none of them negative."""
    unequal = (left.choices.T[:, :, None] != right.choices.T[:, None, :]).astype(np.float64)
    pairs = zip(left.histograms, right.histograms, strict=True)
    apart = np.array([_cityblock(a, b) for a, b in pairs], dtype=np.float64)
    return np.concatenate([unequal, apart])


def _cityblock(left: Histogram, right: Histogram) -> NDArray[np.float64]:
    """Sums of absolute differences of counts, |a| + |b| - 2 sum(min(a, b)): exact, by a matrix product.

    In unary, min(a, b) is a scalar product; what only one side has matters by its number only.
    """
    most = np.minimum(left.max(axis=0, initial=0), right.max(axis=0, initial=0)).astype(np.int64)
    shared = unary(left, most) @ unary(right, most).T
    return left.sum(axis=1)[:, None] + right.sum(axis=1) - 2.0 * shared


def unary(counts: NDArray[Any], most: NDArray[np.int64]) -> NDArray[np.float32]:
    """Counts (n, F) up to `most` (F,) in unary: a column for each "more than t of this pattern", 0 or 1."""
    which = np.repeat(np.arange(len(most)), most)
    step = np.arange(len(which)) - np.repeat(np.cumsum(most) - most, most)
    return (counts[:, which] > step).astype(np.float32)


def _histogram(patterns: NDArray[np.int64]) -> Histogram:
    """Counts (n, F) of pattern numbers (n, m); negative numbers are no patterns."""
    rows, _ = np.nonzero(patterns >= 0)
    names, where = np.unique(patterns[patterns >= 0], return_inverse=True)
    shape = (len(patterns), len(names))
    counts = np.bincount(rows * shape[1] + where, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.float64)


def _edges(graphs: Graphs, base: int) -> NDArray[np.int64]:
    """One number for each edge's pair of labels, -1 where there is no edge: (n, V * V)."""
    labels = graphs.labels.astype(np.int64)
    pairs = labels[:, :, None] * base + labels[:, None, :]
    return np.where(graphs.adjacency, pairs, -1).reshape(len(labels), -1)


def _chains(graphs: Graphs, base: int) -> NDArray[np.int64]:
    """One number for the labels of each chain of three nodes, -1 where there is none: (n, V * V * V)."""
    labels = graphs.labels.astype(np.int64)
    codes = (labels[:, :, None, None] * base + labels[:, None, :, None]) * base + labels[:, None, None, :]
    linked = graphs.adjacency[:, :, :, None] & graphs.adjacency[:, None, :, :]
    return np.where(linked, codes, -1).reshape(len(labels), -1)


def _most_paths(graphs: Graphs) -> int:
    """How many paths lead from input to output where any of the graphs has an edge."""
    joined = np.asarray(graphs.adjacency.any(axis=0))  # (V, V)
    ways = (graphs.labels == INPUT).any(axis=0).astype(np.int64)
    for node in range(len(ways)):
        ways[node] += ways[:node] @ joined[:node, node]
    return int(ways[(graphs.labels == OUTPUT).any(axis=0)].sum())


def _paths(graphs: Graphs, base: int) -> NDArray[np.int64]:
    """One number for the label sequence of each path from input to output, -1 where it is cut: (n, P)."""
    labels, adjacency = graphs.labels.astype(np.int64), graphs.adjacency
    nodes = labels.shape[1]
    found: list[NDArray[np.int64]] = [np.full(len(labels), -1)]

    def walk(node: int, alive: NDArray[np.bool_], code: NDArray[np.int64]) -> None:
        for following in range(node + 1, nodes):
            linked = alive & adjacency[:, node, following]
            ends = linked & (labels[:, following] == OUTPUT)
            if ends.any():
                found.append(np.where(ends, code, -1))
            goes_on = linked & (labels[:, following] > OUTPUT)
            if goes_on.any():
                walk(following, goes_on, (code * base + labels[:, following]) & _POSITIVE)

    for start in range(nodes):
        begins = labels[:, start] == INPUT
        if begins.any():
            walk(start, begins, np.ones(len(labels), dtype=np.int64))
    return np.stack(found, axis=1)
