"""The cell that NAS-Bench-201 and TransNAS-Bench-101 share: four nodes, an operation on each of six edges.

Every combination of operations is a key of its own; identities join cells by the convention of NAS-Bench-201.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import INPUT, OUTPUT, Architecture, Choices, Decision, Graphs, SearchSpace

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each decision, in the order of both benchmarks' texts."""
OFFICIAL = {
    "none": "none",
    "skip": "skip_connect",
    "conv1x1": "nor_conv_1x1",
    "conv3x3": "nor_conv_3x3",
    "avgpool3x3": "avg_pool_3x3",
}
"""NAS-Bench-201's own names of operations; the identity depends on their alphabetical order."""


def edge_decisions(operations: tuple[str, ...]) -> tuple[Decision, ...]:
    """One decision for each edge: `0->1`, `0->2` ..."""
    return tuple(Decision(f"{source}->{target}", operations) for source, target in EDGES)


class FourNodeCell(SearchSpace):
    """What follows from the fixed topology; a subclass names operations and reads and writes the text."""

    null_operations = frozenset({"none"})
    identity_operations = frozenset({"skip"})

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Every combination of operations is an architecture: all true, (n,)."""
        return np.ones(len(choices), dtype=np.bool_)

    def normalise(self, choices: Choices) -> Choices:
        """The rows as they are: no two have the same key."""
        return choices

    def ids(self, choices: Choices) -> list[str]:
        """Key of the first member, in the order of `enumerate`, of each row's class."""
        return [self._keys[number] for number in self._first_members[self.numbers(choices)].tolist()]

    def graphs(self, choices: Choices) -> Graphs:
        """Labelled DAGs of 8 nodes: input, the six edges as operation nodes, output.

        The adjacency is the same for all: the node of edge a->b feeds those of every edge b->c, and
        edges into node 3 feed the output. Cut edges keep their node, labelled `none`.
        """
        labels = np.empty((len(choices), 8), dtype=np.int8)
        labels[:, 0], labels[:, 1:7], labels[:, 7] = INPUT, choices + 2, OUTPUT
        return Graphs(labels, np.broadcast_to(_ADJACENCY, (len(choices), 8, 8)))

    def draw(self, architecture: Architecture) -> str:
        """One line for each edge, for example `input --conv3x3---> 1`."""
        names = ("input", "1", "2", "output")
        lines: list[str] = []
        for (source, target), choice in zip(EDGES, architecture.choices, strict=True):
            operation = self.operations[choice]
            arrow = " " * 14 + "x " if operation == "none" else f"--{operation:-<12}> "
            lines.append(f"{names[source]:>5} {arrow}{names[target]}")
        return "\n".join(lines)

    def enumerate(self) -> Choices:
        """All rows, the last edge changing fastest: (size, 6)."""
        return self._everything

    @cached_property
    def _everything(self) -> Choices:
        rows = np.indices((len(self.operations),) * len(EDGES), dtype=np.int8)
        rows = np.ascontiguousarray(rows.reshape(len(EDGES), -1).T)
        rows.setflags(write=False)
        return rows

    @cached_property
    def _keys(self) -> list[str]:
        return self.keys(self._everything)

    @cached_property
    def _first_members(self) -> NDArray[np.int64]:
        """Number of the first row of the class of each row: (size,)."""
        first: dict[str, int] = {}
        rows = self._everything.tolist()
        return np.array(
            [first.setdefault(_expression(row, self.operations), number) for number, row in enumerate(rows)]
        )


def _expression(row: Sequence[int], operations: Sequence[str]) -> str:
    """What the cell computes, as the text by which NAS-Bench-201 tells isomorphic cells apart.

    A node is the sum of its edges' terms in alphabetical order; `skip` passes on the text of its source,
    and `none`, or any edge from a source that is itself just cut, is a `#`. Sums that a skip passes on
    are not merged into the sum they enter, nor are cut terms dropped: so there are 6,466 classes of
    NAS-Bench-201 where merging would leave 5,755 and full functional identity 4,930.
    """
    nodes = ["0"]
    for target in (1, 2, 3):
        terms: list[str] = []
        for (source, end), choice in zip(EDGES, row, strict=True):
            if end == target:
                below, operation = nodes[source], operations[choice]
                if operation == "none" or below == "#":
                    terms.append("#")
                else:
                    terms.append(below if operation == "skip" else f"({below})@{OFFICIAL[operation]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _adjacency() -> NDArray[np.bool_]:
    """The fixed (8, 8) adjacency of input, edges, output."""
    adjacency = np.zeros((8, 8), dtype=np.bool_)
    for u, (source, target) in enumerate(EDGES, start=1):
        adjacency[0, u] = source == 0
        adjacency[u, 7] = target == 3
        for v, (later, _) in enumerate(EDGES, start=1):
            adjacency[u, v] = target == later
    return adjacency


_ADJACENCY = _adjacency()
