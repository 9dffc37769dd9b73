"""NAS-Bench-Graph: graph neural networks of four nodes, each with one input and one of nine operations.

Source: Qin, Zhang, Wang and Zhu, NAS-Bench-Graph, NeurIPS 2022 (arXiv 2206.09166). Of the 24 x 9^4
ways to write one, all but the 24 without any layer are architectures; the benchmark counts 26,206 of
them as distinct. `normalise` leads each to the one row that stands for it, so that key and id agree.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import (
    INPUT,
    OUTPUT,
    Architecture,
    Choices,
    Decision,
    Graphs,
    SearchSpace,
    register_space,
)
from vitruvius.generator.spaces.reading import foreign, operation_index

OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
_NODES = 4
_SKIP = OPERATIONS.index("skip")
_OURS = re.compile(r"([0-3])([0-3])([0-3])([0-3]):([^,:]+),([^,:]+),([^,:]+),([^,:]+)")
_LISTS = re.compile(
    r"[(\[]?\[([0-3]),([0-3]),([0-3]),([0-3])\],"
    r"\[[\"']([^,\"']+)[\"'],[\"']([^,\"']+)[\"'],[\"']([^,\"']+)[\"'],[\"']([^,\"']+)[\"']\][)\]]?"
)
_SHAPE = "0012:gat,gcn,fc,skip or ([0,0,1,2], ['gat','gcn','fc','skip'])"


@register_space
class NASBenchGraph(SearchSpace):
    """The space of NAS-Bench-Graph: a labelled tree of four nodes whose leaves feed the output."""

    name = "nasbench-graph"
    description = "graph neural network: 4 nodes, each with one input and one of 9 operations"
    decisions = (
        *(Decision(f"input{k}", tuple(str(i) for i in range(k))) for k in range(1, _NODES + 1)),
        *(Decision(f"op{k}", OPERATIONS) for k in range(1, _NODES + 1)),
    )
    operations = OPERATIONS
    identity_operations = frozenset({"skip"})
    aliases = MappingProxyType({"k-gnn": "graph", "fully-connected": "fc", "skip-connection": "skip"})
    size = 26_206

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows have at least one layer that is no `skip`: (n,)."""
        return (choices[:, _NODES:] != _SKIP).any(axis=1)

    def normalise(self, choices: Choices) -> Choices:
        """The row that stands for each legal row's architecture: (n, 8).

        Skips that change nothing are moved to the front, then the nodes are numbered so that inputs,
        then operations, come first in order. This is the benchmark's canonical form.
        """
        return self._rows_of(self._canonical[self.numbers(choices)])

    def ids(self, choices: Choices) -> list[str]:
        """The keys of the normal rows."""
        return self.keys(self.normalise(choices))

    def graphs(self, choices: Choices) -> Graphs:
        """Labelled DAGs of 6 nodes: input, four nodes, output, which nodes without successor feed."""
        n = len(choices)
        labels = np.empty((n, _NODES + 2), dtype=np.int8)
        labels[:, 0], labels[:, 1:-1], labels[:, -1] = INPUT, choices[:, _NODES:] + 2, OUTPUT
        adjacency = np.zeros((n, _NODES + 2, _NODES + 2), dtype=np.bool_)
        rows = np.arange(n)
        for node in range(1, _NODES + 1):
            adjacency[rows, choices[:, node - 1], node] = True
        adjacency[:, 1:-1, -1] = ~adjacency[:, 1:-1, :].any(axis=2)
        return Graphs(labels, adjacency)

    def format(self, choices: Sequence[int]) -> str:
        """Inputs, then operations: `0012:gat,gcn,fc,skip` (node 3 takes node 1, node 4 takes node 2)."""
        inputs = "".join(str(choice) for choice in choices[:_NODES])
        return f"{inputs}:{','.join(OPERATIONS[choice] for choice in choices[_NODES:])}"

    def read(self, text: str) -> list[int]:
        """Read `0012:gat,gcn,fc,skip` or the official lists `([0,0,1,2], ['gat','gcn','fc','skip'])`.

        Raises:
            InvalidArchitectureError: Another shape, or a foreign operation.
        """
        dense = "".join(text.split())
        found = _OURS.fullmatch(dense) or _LISTS.fullmatch(dense)
        if found is None:
            raise foreign(self, text, _SHAPE)
        inputs = [int(word) for word in found.groups()[:_NODES]]
        operations = [operation_index(self, word, text, OPERATIONS) for word in found.groups()[_NODES:]]
        return [*inputs, *operations]

    def draw(self, architecture: Architecture) -> str:
        """A tree from the input; what feeds the output is marked."""
        inputs, operations = architecture.choices[:_NODES], architecture.choices[_NODES:]

        def branches(node: int, margin: str) -> list[str]:
            children = [k for k, parent in enumerate(inputs, start=1) if parent == node]
            lines: list[str] = []
            for child in children:
                last = child == children[-1]
                ends = "" if child in inputs else " --> output"
                lines.append(
                    f"{margin}{'`' if last else '|'}-- {child} {OPERATIONS[operations[child - 1]]}{ends}"
                )
                lines += branches(child, margin + ("    " if last else "|   "))
            return lines

        return "\n".join(["input", *branches(0, "")])

    def enumerate(self) -> Choices:
        """One row for each of the 26,206 architectures, in increasing order: (26206, 8)."""
        return self._everything

    def neighbours(self, choices: Choices) -> Choices:
        """All distinct architectures one decision away from any way to write this one (1, 8): (m, 8).

        Going over all ways to write it makes the relation symmetric.
        """
        (mine,) = self._canonical[self.numbers(choices)]
        raw = self._rows_of(np.flatnonzero(self._canonical == mine))
        found: list[NDArray[np.int32]] = []
        for column, cardinality in enumerate(self.cardinalities):
            changed = np.repeat(raw, cardinality, axis=0)
            changed[:, column] = np.tile(np.arange(cardinality), len(raw))
            found.append(self._canonical[self.numbers(changed)])
        others = np.unique(np.concatenate(found))
        return self._rows_of(others[(others >= 0) & (others != mine)])

    def _rows_of(self, numbers: NDArray[np.integer]) -> Choices:
        """The rows with these numbers: (n, 8)."""
        return (numbers[:, None] // self.radices % self.cardinalities).astype(np.int8)

    @cached_property
    def _everything(self) -> Choices:
        numbers = np.unique(self._canonical)
        rows = self._rows_of(numbers[numbers >= 0])
        rows.setflags(write=False)
        return rows

    @cached_property
    def _canonical(self) -> NDArray[np.int32]:
        """For the number of each way to write an architecture, that of the row that stands for it.

        Minus one for the 24 ways that have no layer: (157464,).
        """
        raw = self._rows_of(np.arange(int(np.prod(self.cardinalities))))
        parents, operations = _skips_first(raw[:, :_NODES], raw[:, _NODES:])
        best = np.full(len(raw), np.iinfo(np.int64).max)
        for order in itertools.permutations(range(1, _NODES + 1)):
            place = np.array([0, *order], dtype=np.int8)  # new number of each node; the input stays 0
            moved = place[parents]
            which = np.flatnonzero(np.all(moved < place[1:], axis=1))  # inputs must stay earlier nodes
            rows = np.empty((len(which), 2 * _NODES), dtype=np.int8)
            rows[:, place[1:] - 1] = moved[which]
            rows[:, place[1:] + _NODES - 1] = operations[which]
            best[which] = np.minimum(best[which], self.numbers(rows))
        best[~self.legal(raw)] = -1
        return best.astype(np.int32)


def _skips_first(parents: Choices, operations: Choices) -> tuple[Choices, Choices]:
    """Move every skip that changes nothing to the front, where the moved ones form a chain.

    A skip changes nothing where it passes on to a node, where it alone follows its input, or where it
    follows the cell's input. One that stays is a leaf beside others: it brings its input to the output.

    Args:
        parents: (n, 4) input of each node, 0 for the cell's input, k for node k.
        operations: (n, 4) operation of each node.

    Returns:
        The same for the renumbered nodes: inputs are still earlier nodes.
    """
    parents = parents.copy()
    moved = np.zeros(parents.shape, dtype=np.bool_)
    for node in range(1, _NODES + 1):
        mine = parents[:, node - 1 : node]
        followers = ((parents == node) & ~moved).any(axis=1)
        alone = ((parents == mine) & ~moved).sum(axis=1) == 1
        drop = (operations[:, node - 1] == _SKIP) & (followers | alone | (mine[:, 0] == 0))
        parents = np.where(drop[:, None] & (parents == node), mine, parents)
        moved[:, node - 1] = drop
    order = np.argsort(~moved, axis=1, kind="stable")  # order[:, j]: old column of the new node j + 1
    place = np.zeros((len(parents), _NODES + 1), dtype=np.int8)
    place[:, 1:] = np.argsort(order, axis=1) + 1
    place[:, 0] = moved.sum(axis=1)  # what followed the input follows the last moved skip
    renumbered = np.take_along_axis(place, np.take_along_axis(parents, order, axis=1), axis=1)
    columns = np.arange(_NODES, dtype=np.int8)
    chain = np.where(columns < moved.sum(axis=1, keepdims=True), columns, renumbered)
    return chain, np.take_along_axis(operations, order, axis=1)
