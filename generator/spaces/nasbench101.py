"""NAS-Bench-101: any graph of at most seven nodes and nine edges, with one of three operations on each node.

Source: Ying, Klein, Real, Christiansen, Murphy and Hutter, NAS-Bench-101, ICML 2019 (arXiv 1902.09635).
The benchmark prunes what does not lie between input and output and tells cells apart up to isomorphism;
423,624 are left. `normalise` leads each way to write one to the row that stands for it, so that key and
id agree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.space import (
    ABSENT,
    INPUT,
    OUTPUT,
    Architecture,
    Choices,
    Decision,
    Graphs,
    SearchSpace,
    register_space,
)
from vitruvius.generator.spaces.reading import foreign, operation_index, shortened
from vitruvius.generator.spaces.small_dags import (
    EDGES,
    INNER,
    MAX_EDGES,
    PLACES,
    SmallDags,
    edges_of,
    masks_of,
)

OPERATIONS = ("conv1x1", "conv3x3", "maxpool3x3")
OFFICIAL = ("conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3")
_HASHED = (1, 0, 2)  # number of each operation in the benchmark's own hash
_TEXT = re.compile(r"([01]+);input(?:,([^;]*))?,output")
_SHAPE = (
    "010001000;input,conv3x3-bn-relu,output (the bits of the adjacency matrix row by row, at most 7 x 7, "
    "then one name for each node)"
)


@register_space
class NASBench101(SearchSpace):
    """The cell space of NAS-Bench-101. A node whose operation is `absent` is not there."""

    name = "nasbench101"
    description = "image classification cell: any graph of up to 7 nodes and 9 edges, 3 operations"
    decisions = (
        *(Decision(f"{u}->{v}", ("no", "yes")) for u, v in EDGES),
        *(Decision(f"op{node}", ("absent", *OPERATIONS)) for node in range(1, PLACES - 1)),
    )
    operations = OPERATIONS
    aliases = MappingProxyType(dict(zip(OFFICIAL[:2], OPERATIONS[:2], strict=True)))
    code_nodes = tuple(range(1, PLACES))  # the output as well: which nodes feed it is chosen
    size = 423_624

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows are cells once pruned, as the benchmark's `is_valid` has it: (n,).

        Input and output are joined, at most nine edges lie between them, and every node there has an
        operation.
        """
        joined, _, used = _pruned(choices)
        good = joined[:, 0, -1] | used.any(axis=1)
        good &= joined.sum(axis=(1, 2)) <= MAX_EDGES
        return good & ((choices[:, _OPS] > 0) | ~used).all(axis=1)

    def strict(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows need no pruning: no dangling node, no edge or operation that leads nowhere: (n,)."""
        good = self.valid(choices)
        joined, before, used = _pruned(choices[good])
        same = (joined == before).all(axis=(1, 2)) & ((choices[good][:, _OPS] > 0) == used).all(axis=1)
        good[good] = same
        return good

    def normalise(self, choices: Choices) -> Choices:
        """The row that stands for each legal row's cell: pruned, inner nodes in canonical order: (n, 26)."""
        joined, _, used = _pruned(choices)
        order = np.argsort(~used, axis=1, kind="stable")  # used nodes first
        labels = np.take_along_axis(np.where(used, choices[:, _OPS], 0), order, axis=1)
        nodes = np.zeros((len(choices), PLACES), dtype=np.int64)
        nodes[:, 1:-1], nodes[:, -1] = order + 1, PLACES - 1
        rows = np.arange(len(choices))[:, None, None]
        moved = joined[rows, nodes[:, :, None], nodes[:, None, :]]
        masks, labels = self._dags.renumber(self._dags.find(masks_of(moved[:, _FROM, _TO])), labels)
        return np.concatenate([edges_of(masks), labels], axis=1)

    def ids(self, choices: Choices) -> list[str]:
        """The keys of the normal rows."""
        return self.keys(self.normalise(choices))

    def graphs(self, choices: Choices) -> Graphs:
        """Labelled DAGs of 7 nodes: input, five places for nodes, output; unused places are `ABSENT`."""
        labels = np.full((len(choices), PLACES), INPUT, dtype=np.int8)
        operations = choices[:, _OPS]
        labels[:, 1:-1], labels[:, -1] = np.where(operations > 0, operations + 1, ABSENT), OUTPUT
        return Graphs(labels, _adjacency(choices))

    def keys(self, choices: Choices) -> list[str]:
        """The keys of normal rows: bits are written once for each graph, names once for each labelling."""
        _, first, graph = np.unique(
            masks_of(choices[:, : len(EDGES)]), return_index=True, return_inverse=True
        )
        bits = [self.format(row).partition(";")[0] for row in choices[first].tolist()]
        numbers = choices[:, _OPS] @ 4 ** np.arange(INNER)
        _, first, labelling = np.unique(numbers, return_index=True, return_inverse=True)
        names = [self.format(row).partition(";")[2] for row in choices[first].tolist()]
        return [f"{bits[g]};{names[n]}" for g, n in zip(graph.tolist(), labelling.tolist(), strict=True)]

    def format(self, choices: Sequence[int]) -> str:
        """The adjacency matrix row by row and the operations: `010001000;input,conv3x3-bn-relu,output`."""
        operations = [choice for choice in choices[len(EDGES) :] if choice]
        size = len(operations) + 2
        present = {edge for edge, choice in zip(EDGES, choices, strict=False) if choice}
        nodes = [*range(size - 1), PLACES - 1]
        bits = "".join("1" if (u, v) in present else "0" for u in nodes for v in nodes)
        return f"{bits};{','.join(['input', *(OFFICIAL[choice - 1] for choice in operations), 'output'])}"

    def read(self, text: str) -> list[int]:
        """Read adjacency bits and operations, official names or ours.

        Raises:
            InvalidArchitectureError: Another shape, an edge backwards, or a foreign operation.
        """
        dense = "".join(text.split())
        found = _TEXT.fullmatch(dense)
        words = found[2].split(",") if found is not None and found[2] else []
        size = len(words) + 2
        if found is None or len(found[1]) != size * size or size > PLACES:
            raise foreign(self, text, _SHAPE)
        edges = [0] * len(EDGES)
        for edge, mark in zip(_EDGE_OF_BIT[size], found[1], strict=True):
            if mark == "1" and edge is None:
                raise InvalidArchitectureError(
                    f"In {shortened(text)!r} an edge leads back: only bits above the diagonal count."
                )
            if mark == "1" and edge is not None:
                edges[edge] = 1
        operations = [1 + operation_index(self, word, text, OFFICIAL) for word in words]
        return [*edges, *operations, *[0] * (PLACES - size)]

    def draw(self, architecture: Architecture) -> str:
        """One line for each node: its name, its operation, and which nodes it takes."""
        graphs = self.graphs(architecture.row)
        labels, adjacency = graphs.labels[0], graphs.adjacency[0]
        names = ["input", *(str(node) for node in range(1, PLACES - 1)), "output"]
        lines = ["input"]
        for node in range(1, PLACES):
            if labels[node] != ABSENT:
                takes = ", ".join(names[u] for u in np.flatnonzero(adjacency[:, node]))
                operation = OPERATIONS[labels[node] - 2] if labels[node] > OUTPUT else ""
                lines.append(f"{names[node]:<6} {operation:<10} <- {takes}")
        return "\n".join(lines)

    def enumerate(self) -> Choices:
        """One row for each of the 423,624 cells, in increasing order: (423624, 26)."""
        return self._everything

    def neighbours(self, choices: Choices) -> Choices:
        """All distinct cells one change away from a single row (1, 26): (m, 26).

        A change is another operation on a node, an edge more or less, or a node more or less with one edge
        in and one out. Each can be undone by one, so the relation is symmetric.
        """
        row = self.normalise(choices)
        candidates = np.concatenate([_other_operations(row), *self._other_graphs(row)])
        rows = self.normalise(candidates[self.strict(candidates)])
        numbers, first = np.unique(self.numbers(rows), return_index=True)
        return rows[first[numbers != self.numbers(row)]]

    def module_hash(self, architecture: Architecture) -> str:
        """The benchmark's own name of a cell (`graph_util.hash_module`): equal for isomorphic cells."""
        graphs = self.graphs(architecture.row)
        used = graphs.labels[0] != ABSENT
        matrix = graphs.adjacency[0][np.ix_(used, used)].astype(int)
        inner = [_HASHED[label - 2] for label in graphs.labels[0][used][1:-1].tolist()]
        return _module_hash(matrix, [-1, *inner, -2])

    @cached_property
    def _dags(self) -> SmallDags:
        return SmallDags()

    @cached_property
    def _everything(self) -> Choices:
        """Every labelling of every unlabelled graph that is the smallest of its kind."""
        at = np.flatnonzero(self._dags.canonical == self._dags.masks)
        labellings = np.indices((len(OPERATIONS),) * INNER, dtype=np.int8).reshape(INNER, -1).T + 1
        edges = edges_of(self._dags.masks[at])
        count = _adjacency(edges)[:, :, 1:-1].any(axis=1).sum(axis=1)  # inner nodes of each graph
        parts: list[Choices] = []
        for inner in range(INNER + 1):
            which = at[count == inner]
            labels = labellings[:: len(OPERATIONS) ** (INNER - inner)].copy()
            labels[:, inner:] = 0
            pairs = np.repeat(which, len(labels)), np.tile(labels, (len(which), 1))
            masks, smallest = self._dags.renumber(*pairs)
            kept = (smallest == pairs[1]).all(axis=1)
            parts.append(np.concatenate([edges_of(masks[kept]), smallest[kept]], axis=1))
        rows = np.concatenate(parts)
        rows = np.ascontiguousarray(rows[np.argsort(self.numbers(rows))])
        rows.setflags(write=False)
        return rows

    def _other_graphs(self, row: Choices) -> list[Choices]:
        """Rows after one edge or one node with two edges was added or taken away; not all are cells."""
        graphs = self.graphs(row)
        used = np.flatnonzero(graphs.labels[0] != ABSENT)
        matrix = graphs.adjacency[0][np.ix_(used, used)]
        labels = row[0, _OPS][: len(used) - 2].tolist()
        found: list[tuple[NDArray[np.bool_], list[int]]] = []
        for u, v in np.ndindex(matrix.shape):
            if u == v or v == 0 or u == len(matrix) - 1:
                continue
            changed = matrix.copy()
            changed[u, v] = ~changed[u, v]
            found.append((changed, labels))
            if len(used) < PLACES:
                found += [(_with_node(matrix, u, v), [operation, *labels]) for operation in (1, 2, 3)]
        for node in range(1, len(used) - 1):
            if matrix[node].sum() == 1 and matrix[:, node].sum() == 1:
                kept = np.delete(np.arange(len(used)), node)
                found.append((matrix[np.ix_(kept, kept)], labels[: node - 1] + labels[node:]))
        rows = [_sorted_row(matrix, labels) for matrix, labels in found]
        return [np.array([row], dtype=np.int8) for row in rows if row is not None]


_EDGE_OF_BIT = {
    size: [
        EDGES.index((u, PLACES - 1 if v == size - 1 else v)) if u < v else None
        for u, v in np.ndindex(size, size)
    ]
    for size in range(2, PLACES + 1)
}
"""For each size of a text's matrix the edge of each of its bits, None where no edge may be."""
_OPS = slice(len(EDGES), None)
_FROM, _TO = (np.array(side) for side in zip(*EDGES, strict=True))


def _adjacency(choices: Choices) -> NDArray[np.bool_]:
    """The adjacency (n, 7, 7) of rows whose first 21 columns are the edges."""
    adjacency = np.zeros((len(choices), PLACES, PLACES), dtype=np.bool_)
    adjacency[:, _FROM, _TO] = choices[:, : len(EDGES)] == 1
    return adjacency


def _pruned(choices: Choices) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """What lies between input and output: its adjacency (n, 7, 7), adjacency as it was, nodes used (n, 5)."""
    before = _adjacency(choices)
    reached = np.zeros((len(choices), PLACES), dtype=np.bool_)
    leads = reached.copy()
    reached[:, 0] = leads[:, -1] = True
    for node in range(1, PLACES):
        reached[:, node] = (reached & before[:, :, node]).any(axis=1)
        leads[:, -1 - node] = (leads & before[:, -1 - node]).any(axis=1)
    alive = reached & leads
    return before & alive[:, :, None] & alive[:, None, :], before, alive[:, 1:-1]


def _row(matrix: NDArray[np.integer] | NDArray[np.bool_], operations: Sequence[int]) -> list[int]:
    """Choices of a graph whose inner nodes take the first places."""
    nodes = [*range(len(operations) + 1), PLACES - 1]
    present = {(nodes[u], nodes[v]) for u, v in np.argwhere(matrix)}
    return [*(int(edge in present) for edge in EDGES), *operations, *[0] * (INNER - len(operations))]


def _other_operations(row: Choices) -> Choices:
    """The row with another operation on one of its nodes: (2 * nodes, 26)."""
    nodes = np.flatnonzero(row[0, _OPS]) + len(EDGES)
    changed = np.repeat(row, 2 * len(nodes), axis=0)
    columns = np.repeat(nodes, 2)
    step = np.tile([1, 2], len(nodes))
    changed[np.arange(len(columns)), columns] = (row[0, columns] - 1 + step) % len(OPERATIONS) + 1
    return changed


def _with_node(matrix: NDArray[np.bool_], u: int, v: int) -> NDArray[np.bool_]:
    """The graph with a new node 1 that takes u and feeds v; others move up by one."""
    place = [0, *range(2, len(matrix) + 1)]
    grown = np.zeros((len(matrix) + 1, len(matrix) + 1), dtype=np.bool_)
    grown[np.ix_(place, place)] = matrix
    grown[place[u], 1] = grown[1, place[v]] = True
    return grown


def _sorted_row(matrix: NDArray[np.bool_], operations: Sequence[int]) -> list[int] | None:
    """Choices of a graph after sorting its inner nodes topologically; None where it has a cycle."""
    left, order = set(range(len(matrix))), list[int]()
    while left:
        ready = [node for node in left if not any(matrix[u, node] for u in left)]
        if not ready:
            return None
        order += sorted(ready)
        left -= set(ready)
    inner = [node for node in order if 0 < node < len(matrix) - 1]
    nodes = [0, *inner, len(matrix) - 1]
    return _row(matrix[np.ix_(nodes, nodes)], [operations[node - 1] for node in inner])


def _module_hash(matrix: NDArray[np.int64], labels: Sequence[int]) -> str:
    """The hash of NAS-Bench-101's `graph_util.hash_module`, which its files name cells by."""

    def digest(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    before = [np.flatnonzero(column).tolist() for column in matrix.T]
    after = [np.flatnonzero(row).tolist() for row in matrix]
    hashes = [digest(str((len(v), len(u), label))) for u, v, label in zip(before, after, labels, strict=True)]
    for _ in labels:
        hashes = [
            digest(
                "".join(sorted(hashes[u] for u in before[node]))
                + "|"
                + "".join(sorted(hashes[v] for v in after[node]))
                + "|"
                + hashes[node]
            )
            for node in range(len(labels))
        ]
    return digest(str(sorted(hashes)))
