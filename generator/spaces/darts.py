"""DARTS: a normal and a reduction cell of four nodes, each with two inputs and an operation on each.

Sources: Liu, Simonyan and Yang, DARTS, ICLR 2019 (arXiv 1806.09055); the same space is that of NAS-Bench-301
(Zela et al., ICLR 2022, arXiv 2008.09777). It has 1.08 x 10^18 keys, so it is sampled, not enumerated.
Identities join genotypes that differ in the numbering of nodes: all four nodes feed a cell's output alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, UserError
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
from vitruvius.generator.spaces.genotypes import (
    CELLS,
    NODES,
    OFFICIAL,
    PAIRS,
    SHAPE,
    read_genotype,
    write_genotype,
)
from vitruvius.generator.spaces.reading import foreign, operation_index, shortened

OPERATIONS = ("maxpool3x3", "avgpool3x3", "skip", "sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5")
_COUNT = len(OPERATIONS)
_PAIRS = tuple((first, second) for second in range(1, NODES[-1]) for first in range(second))
"""Pairs of different inputs; those that node k may take are the first k (k - 1) / 2."""
_FIRST_OP = 2
"""Graph node of the first operation; 0 and 1 are the outputs of the two cells before."""
_GRAPH_NODES = _FIRST_OP + len(CELLS) * PAIRS + 1

States = NDArray[np.int64]
"""Normal rows with one number for each node of each cell, inputs and operations together: (n, 8)."""


def _decisions() -> tuple[Decision, ...]:
    """`normal2.in1`, `normal2.op1`, `normal2.in2`, `normal2.op2`, `normal3.in1` ... `reduce5.op2`."""
    decisions: list[Decision] = []
    for cell, node, side in itertools.product(CELLS, NODES, (1, 2)):
        decisions.append(Decision(f"{cell}{node}.in{side}", tuple(map(str, range(node)))))
        decisions.append(Decision(f"{cell}{node}.op{side}", OPERATIONS))
    return tuple(decisions)


@register_space
class DARTS(SearchSpace):
    """The space of DARTS and NAS-Bench-301; nodes have their numbers in genotypes, 0 and 1 are inputs."""

    name = "darts"
    description = (
        "two image classification cells: 4 nodes each, with 2 inputs and one of 7 operations on each"
    )
    decisions = _decisions()
    operations = OPERATIONS
    identity_operations = frozenset({"skip"})
    aliases = MappingProxyType(dict(zip(OFFICIAL, OPERATIONS, strict=True)))
    size = None
    code_nodes = tuple(range(_FIRST_OP, _FIRST_OP + len(CELLS) * PAIRS))

    @property
    def count(self) -> int:
        """Number of distinct keys: for each node of each cell, pairs of inputs and operations on them."""
        return math.prod(_LIMITS.tolist()) ** len(CELLS)

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows have two different inputs on every node: (n,)."""
        return (choices[:, 0::4] != choices[:, 2::4]).all(axis=1)

    def normalise(self, choices: Choices) -> Choices:
        """The row that stands for each legal row's key (n, 32): each node's smaller input comes first."""
        nodes = choices.reshape(-1, 2 * len(NODES), 2, 2)  # cell and node, side, input and operation
        turned = nodes[:, :, :1, :1] > nodes[:, :, 1:, :1]
        return np.where(turned, nodes[:, :, ::-1], nodes).reshape(choices.shape)

    def ids(self, choices: Choices) -> list[str]:
        """The key with the smallest number among all ways to number the nodes of the two cells."""
        return self.keys(_PARTS[_canonical(_states(self.normalise(choices)))].reshape(choices.shape))

    def numbers(self, choices: Choices) -> NDArray[np.int64]:
        """One integer for each legal row, distinct for distinct keys: (n,).

        A node's two inputs count as one choice among pairs, so that 60 bits suffice.
        """
        numbers = _cell_numbers(_states(self.normalise(choices)).reshape(-1, len(NODES)))
        return numbers.reshape(-1, len(CELLS)) @ np.array([np.prod(_LIMITS), 1])

    def graphs(self, choices: Choices) -> Graphs:
        """Labelled DAGs of 19 nodes: the outputs of the two cells before, 16 operations, the output.

        The cells stand side by side, since networks do not alternate them in one fixed order: nodes 0 and 1,
        both `INPUT`, are inputs of either. An operation is fed by one of these, or by the two operations of
        the node that it takes; all operations feed the output.
        """
        labels = np.empty((len(choices), _GRAPH_NODES), dtype=np.int8)
        labels[:, :_FIRST_OP], labels[:, -1] = INPUT, OUTPUT
        labels[:, _FIRST_OP:-1] = choices[:, 1::2] + 2
        adjacency = np.zeros((len(choices), _GRAPH_NODES, _GRAPH_NODES), dtype=np.bool_)
        sources = _SOURCES[np.repeat(np.arange(len(CELLS)), PAIRS), choices[:, 0::2]]  # (n, 16, 19)
        adjacency[:, :, _FIRST_OP:-1] = sources.transpose(0, 2, 1)
        adjacency[:, _FIRST_OP:-1, -1] = True
        return Graphs(labels, adjacency)

    def keys(self, choices: Choices) -> list[str]:
        """The keys of normal rows, put together from the text of each node."""
        words, nodes = _words(), len(NODES)
        texts = ([words[state] for state in states] for states in _states(choices).tolist())
        return [write_genotype(", ".join(text[:nodes]), ", ".join(text[nodes:])) for text in texts]

    def format(self, choices: Sequence[int]) -> str:
        """The genotype: `Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], ...)`."""
        return self.keys(self.normalise(np.array([choices], dtype=np.int8)))[0]

    def read(self, text: str) -> list[int]:
        """Read a genotype of the DARTS code, or NASLib's lists of (input, operation number).

        Raises:
            InvalidArchitectureError: Another shape, a foreign operation, an input that does not come
                before its node or is taken twice, or a genotype that does not join all nodes.
        """
        cells = read_genotype(text)
        if cells is None:
            raise foreign(self, text, SHAPE)
        choices: list[int] = []
        for name, pairs in zip(CELLS, cells, strict=True):
            for node, taken in zip(NODES, zip(pairs[0::2], pairs[1::2], strict=True), strict=True):
                sources = [source for _, source in taken]
                if max(sources) >= node or sources[0] == sources[1]:
                    raise InvalidArchitectureError(
                        f"In {shortened(text)!r} node {node} of the {name} cell takes {sources[0]} and "
                        f"{sources[1]}: two different inputs from 0 to {node - 1} are needed."
                    )
                for word, source in taken:
                    choices += [source, operation_index(self, word, text, OFFICIAL)]
        return choices

    def draw(self, architecture: Architecture) -> str:
        """One line for each node; 0 and 1 are the outputs of the two cells before."""
        named, lines = architecture.named(), list[str]()
        for cell in CELLS:
            lines.append(f"{cell} cell, of 0 and 1")
            for node in NODES:
                sides = [
                    f"{named[f'{cell}{node}.op{side}']}({named[f'{cell}{node}.in{side}']})" for side in (1, 2)
                ]
                lines.append(f"  {node} = {' + '.join(sides)}")
            lines.append(f"  output = {', '.join(map(str, NODES))}")
        return "\n".join(lines)

    def enumerate(self) -> Choices:
        """Refuse.

        Raises:
            UserError: Always: there are too many.
        """
        raise UserError(
            f"{self.name} has about 10^18 architectures, too many to list: draw some with `vitruvius spaces "
            f"sample {self.name}`, or in Python with sample(n, rng)."
        )

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        """Draw n keys uniformly and independently: (n, 32)."""
        states = rng.integers(np.tile(_LIMITS, len(CELLS)), size=(n, len(CELLS) * len(NODES)))
        return _PARTS[states].reshape(n, len(self.decisions))


def _states(choices: Choices) -> States:
    """Normal rows (n, 32) as states: (n, 8)."""
    first, op1, second, op2 = (choices[:, column::4].astype(np.int64) for column in range(4))
    return (second * (second - 1) // 2 + first) * _COUNT**2 + op1 * _COUNT + op2


def _canonical(states: States) -> States:
    """The states with the smallest number after any renumbering of the nodes of each cell: (n, 8)."""
    cells = states.reshape(-1, len(NODES))  # (2n, 4)
    best = _cell_numbers(cells)
    for order, moved in _RENUMBERINGS:
        renumbered = moved[cells[:, order]]
        earlier = (renumbered < _LIMITS).all(axis=1)  # all inputs still come before their node
        best[earlier] = np.minimum(best[earlier], _cell_numbers(renumbered[earlier]))
    return (best[:, None] // _WEIGHTS % _LIMITS).reshape(states.shape)


def _cell_numbers(cells: States) -> NDArray[np.int64]:
    """One integer for the four states of a cell: (n, 4) to (n,)."""
    return cells @ _WEIGHTS


def _renumberings() -> list[tuple[NDArray[np.int64], States]]:
    """For each order of the nodes but the given one: the order, and each state with renumbered inputs."""
    found: list[tuple[NDArray[np.int64], States]] = []
    for order in list(itertools.permutations(range(len(NODES))))[1:]:
        place = np.array([0, 1, *(NODES[order.index(node)] for node in range(len(NODES)))])
        parts = _PARTS.astype(np.int64)
        parts[:, 0::2] = place[parts[:, 0::2]]
        turned = parts[:, 0] > parts[:, 2]
        parts[turned] = parts[turned][:, [2, 3, 0, 1]]
        found.append((np.array(order), _states(parts.astype(np.int8))[:, 0]))
    return found


def _sources() -> NDArray[np.bool_]:
    """Which graph nodes feed an operation of a cell that takes an input: (cells, inputs, 19)."""
    sources = np.zeros((len(CELLS), NODES[-1], _GRAPH_NODES), dtype=np.bool_)
    for cell, taken in np.ndindex(sources.shape[:2]):
        first = _FIRST_OP + cell * PAIRS + 2 * (taken - NODES[0])
        fed = [taken] if taken < NODES[0] else [first, first + 1]
        sources[cell, taken, fed] = True
    return sources


@cache
def _words() -> list[str]:
    """The text of a node in each state: `('sep_conv_3x3', 0), ('skip_connect', 1)`."""
    parts = _PARTS.tolist()
    return [f"{(OFFICIAL[op1], first)}, {(OFFICIAL[op2], second)}" for first, op1, second, op2 in parts]


_LIMITS = np.array([node * (node - 1) // 2 * _COUNT**2 for node in NODES])
"""Number of states of each node."""
_WEIGHTS = np.append(np.cumprod(_LIMITS[:0:-1])[::-1], 1)
_PARTS = np.array(
    [(i, a, j, b) for i, j in _PAIRS for a in range(_COUNT) for b in range(_COUNT)], dtype=np.int8
)
"""Inputs and operations of each state: (490, 4)."""
_RENUMBERINGS = _renumberings()
_SOURCES = _sources()
