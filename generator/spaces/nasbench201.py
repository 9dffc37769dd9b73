"""NAS-Bench-201: a cell of four nodes with one of five operations on each of its six edges.

Source: Dong and Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326). Each of the 15,625 strings is a
key of its own; the identity joins the 6,466 classes of the benchmark's own convention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, unknown_name
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

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
OFFICIAL = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each decision, in the order of the official string."""

_TEXT = re.compile(r"\|([^|~]+)~0\|\+\|([^|~]+)~0\|([^|~]+)~1\|\+\|([^|~]+)~0\|([^|~]+)~1\|([^|~]+)~2\|")
_SHAPE = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


@register_space
class NASBench201(SearchSpace):
    """The cell space of NAS-Bench-201 (also the topology space of NATS-Bench)."""

    name = "nasbench201"
    description = "image classification cell: 6 edges between 4 nodes, 5 operations on each edge"
    decisions = tuple(Decision(f"{source}->{target}", OPERATIONS) for source, target in EDGES)
    operations = OPERATIONS
    null_operations = frozenset({"none"})
    identity_operations = frozenset({"skip"})
    aliases = MappingProxyType(dict(zip(OFFICIAL[1:], OPERATIONS[1:], strict=True)))
    size = len(OPERATIONS) ** len(EDGES)

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

    def format(self, choices: Sequence[int]) -> str:
        """The official string, for example `|nor_conv_3x3~0|+|none~0|...|`."""
        a, b, c, d, e, f = (OFFICIAL[choice] for choice in choices)
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    def parse(self, text: str) -> Architecture:
        """Read the official string; our operation names are understood as well.

        Raises:
            InvalidArchitectureError: The text has another shape or names a foreign operation.
        """
        found = _TEXT.fullmatch("".join(text.split()))
        if found is None:
            raise InvalidArchitectureError(
                f"{_shorten(text)!r} is no architecture of {self.name}: its text looks like {_SHAPE}."
            )
        choices: list[int] = []
        for word in found.groups():
            known = self.aliases.get(word, word)
            if known not in OPERATIONS:
                raise InvalidArchitectureError(
                    f"In {_shorten(text)!r}: {unknown_name('operation', word, OFFICIAL)}"
                )
            choices.append(OPERATIONS.index(known))
        return self.architecture(choices)

    def draw(self, architecture: Architecture) -> str:
        """One line for each edge, for example `input --conv3x3---> 1`."""
        names = ("input", "1", "2", "output")
        lines: list[str] = []
        for (source, target), choice in zip(EDGES, architecture.choices, strict=True):
            operation = OPERATIONS[choice]
            arrow = " " * 14 + "x " if operation == "none" else f"--{operation:-<12}> "
            lines.append(f"{names[source]:>5} {arrow}{names[target]}")
        return "\n".join(lines)

    def enumerate(self) -> Choices:
        """All 15,625 rows, the last edge changing fastest: (15625, 6)."""
        return self._everything

    @cached_property
    def _everything(self) -> Choices:
        rows = np.indices((len(OPERATIONS),) * len(EDGES), dtype=np.int8)
        rows = np.ascontiguousarray(rows.reshape(len(EDGES), -1).T)
        rows.setflags(write=False)
        return rows

    @cached_property
    def _keys(self) -> list[str]:
        return [self.format(row) for row in self._everything.tolist()]

    @cached_property
    def _first_members(self) -> NDArray[np.int64]:
        """Number of the first row of the class of each row: (15625,)."""
        first: dict[str, int] = {}
        rows = self._everything.tolist()
        return np.array([first.setdefault(_expression(row), number) for number, row in enumerate(rows)])


def _expression(row: Sequence[int]) -> str:
    """What the cell computes, as the text by which the benchmark tells isomorphic cells apart.

    A node is the sum of its edges' terms in alphabetical order; `skip` passes on the text of its source,
    and `none`, or any edge from a source that is itself just cut, is a `#`. Sums that a skip passes on
    are not merged into the sum they enter, nor are cut terms dropped: so there are 6,466 classes where
    merging would leave 5,755 and full functional identity 4,930. Official names, since their order counts.
    """
    nodes = ["0"]
    for target in (1, 2, 3):
        terms: list[str] = []
        for (source, end), choice in zip(EDGES, row, strict=True):
            if end == target:
                below, operation = nodes[source], OPERATIONS[choice]
                if operation == "none" or below == "#":
                    terms.append("#")
                else:
                    terms.append(below if operation == "skip" else f"({below})@{OFFICIAL[choice]}")
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


def _shorten(text: str) -> str:
    """The text for a message, cut where it is long."""
    return text if len(text) <= 120 else text[:117] + "..."
