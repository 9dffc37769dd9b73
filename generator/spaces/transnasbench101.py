"""TransNAS-Bench-101, micro: the cell of NAS-Bench-201 without pooling, in networks for other image tasks.

Source: Duan, Chen, Xu, Chen, Liang, Zhang and Li, TransNAS-Bench-101, CVPR 2021 (arXiv 2105.11871).
Each of the 4,096 texts is a key of its own; isomorphic cells share an identity as in NAS-Bench-201.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from vitruvius.generator.space import register_space
from vitruvius.generator.spaces.four_node_cell import EDGES, OFFICIAL, FourNodeCell, edge_decisions
from vitruvius.generator.spaces.reading import foreign

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3")
"""In the order of the digits 0 to 3 of the official text."""

_TEXT = re.compile(r"64-41414-([0-3])_([0-3])([0-3])_([0-3])([0-3])([0-3])", re.ASCII)
_SHAPE = (
    "64-41414-1_02_333 (digits for the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3: "
    "0 none, 1 skip, 2 conv1x1, 3 conv3x3)"
)


@register_space
class TransNASBench101Micro(FourNodeCell):
    """The cell-level space of TransNAS-Bench-101: base width 64, five modules, all of the one cell."""

    name = "transnasbench101-micro"
    description = "cell for seven image tasks: 6 edges between 4 nodes, 4 operations on each edge"
    decisions = edge_decisions(OPERATIONS)
    operations = OPERATIONS
    aliases = MappingProxyType({OFFICIAL[name]: name for name in OPERATIONS if OFFICIAL[name] != name})
    size = len(OPERATIONS) ** len(EDGES)

    def format(self, choices: Sequence[int]) -> str:
        """The official text, `64-41414-1_02_333`: width, modules, then the digits of each node's edges."""
        a, b, c, d, e, f = choices
        return f"64-41414-{a}_{b}{c}_{d}{e}{f}"

    def read(self, text: str) -> list[int]:
        """Read the official text.

        Raises:
            InvalidArchitectureError: The text has another shape: of the macro space, for example.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise foreign(self, text, _SHAPE)
        return [int(digit) for digit in found.groups()]
