"""Many architectures of one space, with everything that predicates ask of them computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.space import INPUT, OUTPUT, Architecture, Choices, SearchSpace

Mask = NDArray[np.bool_]
"""One truth value for each architecture: (n,)."""

CostSource = Mapping[str, NDArray[np.float64]] | Callable[[Choices], Mapping[str, NDArray[np.float64]]]
"""Costs of given rows by name, or a function such as `task.bench.costs` that knows them for any rows."""


class Population:
    """Architectures of one space, as predicates see them; features are computed when first asked for.

    Attributes:
        space: The space.
        choices: (n, D) rows, legal and normal.
        costs: name -> (n,) array: "params" and "flops" in millions, "latency[DEVICE]" in milliseconds.
    """

    def __init__(self, space: SearchSpace, choices: Choices, costs: CostSource | None = None) -> None:
        """Take rows and what is known of their costs.

        Raises:
            UserError: A cost array that has not one value for each row.
        """
        self.space = space
        self.choices = choices
        self._source = costs
        if not callable(costs):
            _ = self.costs  # refused at once, where they do not fit
        self._counts: dict[str, NDArray[np.int8]] = {}
        self._feeds: dict[tuple[str, str], Mask] = {}
        self._paths: dict[frozenset[str], Mask] = {}

    @cached_property
    def costs(self) -> Mapping[str, NDArray[np.float64]]:
        """The costs by name; a function is asked when they are first needed, for it may take its time."""
        source = self._source
        costs = {} if source is None else source(self.choices) if callable(source) else source
        for name, values in costs.items():
            if values.shape != (len(self.choices),):
                raise UserError(
                    f"The cost {name!r} has shape {values.shape}, but there are {len(self.choices)} "
                    "architectures: give one value for each."
                )
        return costs

    @classmethod
    def of(cls, architecture: Architecture, costs: Mapping[str, float] | None = None) -> Population:
        """The population of one architecture."""
        arrays = {name: np.array([value], dtype=np.float64) for name, value in (costs or {}).items()}
        return cls(architecture.space, architecture.row, arrays)

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self.choices)

    # ---- features ----------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Choices:
        """The choices with one contiguous row for each decision: (D, n)."""
        return np.ascontiguousarray(self.choices.T)

    @cached_property
    def _graph(self) -> tuple[NDArray[np.int8], NDArray[np.bool_], list[tuple[int, int]]]:
        """Labels (V, n), adjacency (V, V, n), and the node pairs (u, v), u < v, that are joined anywhere."""
        graphs = self.space.graphs(self.choices)
        nodes = graphs.labels.shape[1]
        same = len(graphs.adjacency) > 0 and graphs.adjacency.strides[0] == 0  # one for all: kept as it is
        distinct = graphs.adjacency[:1] if same else graphs.adjacency
        joined = {(int(u), int(v)) for u, v in np.argwhere(distinct.any(axis=0))}
        pairs = [(u, v) for v in range(nodes) for u in range(v) if (u, v) in joined]
        labels = np.ascontiguousarray(graphs.labels.T)
        adjacency = graphs.adjacency.transpose(1, 2, 0)
        return labels, adjacency if same else np.ascontiguousarray(adjacency), pairs

    def label(self, operation: str) -> int:
        """The node label of an operation, by its name or an alias.

        Raises:
            UnknownNameError: The space has no such operation.
        """
        return 2 + self.space.operations.index(self.space.operation(operation))

    def count(self, operations: Iterable[str]) -> NDArray[np.int8]:
        """How many nodes carry one of the operations: (n,)."""
        total = np.zeros(len(self), dtype=np.int8)
        for name in {self.space.operation(operation) for operation in operations}:
            if name not in self._counts:
                labels, _, _ = self._graph
                self._counts[name] = (labels == self.label(name)).sum(axis=0, dtype=np.int8)
            total += self._counts[name]
        return total

    @cached_property
    def depth(self) -> NDArray[np.int8]:
        """Operations other than identities on the longest unbroken input-output path, 0 without one: (n,)."""
        labels, adjacency, pairs = self._graph
        weight = np.ones(2 + len(self.space.labels), dtype=np.int8)
        weight[[INPUT, OUTPUT]] = 0
        for name in self.space.identity_operations:
            weight[self.label(name)] = 0
        blocked = np.isin(labels, [self.label(name) for name in self.space.null_operations])
        far = np.where(labels == INPUT, np.int8(0), np.int8(-1))  # -1: no unbroken path leads here
        for node in range(len(labels)):
            for earlier in (u for u, v in pairs if v == node):
                reached = adjacency[earlier, node] & (far[earlier] >= 0) & ~blocked[node]
                step = far[earlier] + weight[labels[node]]
                far[node] = np.where(reached, np.maximum(far[node], step), far[node])
        return np.where(labels == OUTPUT, far, np.int8(0)).max(axis=0).clip(min=0)

    def path(self, operations: Iterable[str]) -> Mask:
        """Where a path from input to output carries no other operations than these: (n,)."""
        names = frozenset(self.space.operation(operation) for operation in operations)
        if names not in self._paths:
            self._paths[names] = self._find_path(names - self.space.null_operations)
        return self._paths[names]

    def feeds(self, first: str, second: str) -> Mask:
        """Where a node of the first operation directly feeds one of the second: (n,).

        Null operations pass nothing on: they feed nothing.
        """
        pair = self.space.operation(first), self.space.operation(second)
        if pair not in self._feeds:
            self._feeds[pair] = self._find_feeds(*pair)
        return self._feeds[pair]

    def cost(self, name: str) -> NDArray[np.float64]:
        """The cost with this name, nan where it is not known: (n,).

        Raises:
            UnknownNameError: No such cost is known here.
        """
        if name not in self.costs:
            raise unknown_name(f"cost on {self.space.name}", name, self.costs)
        return self.costs[name]

    def _find_path(self, names: frozenset[str]) -> Mask:
        labels, adjacency, pairs = self._graph
        passing = np.isin(labels, [OUTPUT, *(self.label(name) for name in names)])
        reached = labels == INPUT
        for u, v in pairs:  # ordered by v: everything before it is final
            reached[v] |= reached[u] & adjacency[u, v] & passing[v]
        return (reached & (labels == OUTPUT)).any(axis=0)

    def _find_feeds(self, first: str, second: str) -> Mask:
        found = np.zeros(len(self), dtype=np.bool_)
        if first in self.space.null_operations:
            return found
        labels, adjacency, pairs = self._graph
        giving, taking = labels == self.label(first), labels == self.label(second)
        for u, v in pairs:
            found |= giving[u] & adjacency[u, v] & taking[v]
        return found
