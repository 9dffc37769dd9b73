"""NAS-Bench-201: a cell of four nodes with one of five operations on each of its six edges.

Source: Dong and Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326). Each of the 15,625 strings is a
key of its own; the identity joins the 6,466 classes of the benchmark's own convention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from vitruvius.generator.space import register_space
from vitruvius.generator.spaces.four_node_cell import EDGES, OFFICIAL, FourNodeCell, edge_decisions
from vitruvius.generator.spaces.reading import foreign, operation_index

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")

_TEXT = re.compile(r"\|([^|~]+)~0\|\+\|([^|~]+)~0\|([^|~]+)~1\|\+\|([^|~]+)~0\|([^|~]+)~1\|([^|~]+)~2\|")
_SHAPE = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


@register_space
class NASBench201(FourNodeCell):
    """The cell space of NAS-Bench-201 (also the topology space of NATS-Bench)."""

    name = "nasbench201"
    description = "image classification cell: 6 edges between 4 nodes, 5 operations on each edge"
    decisions = edge_decisions(OPERATIONS)
    operations = OPERATIONS
    aliases = MappingProxyType({OFFICIAL[name]: name for name in OPERATIONS if OFFICIAL[name] != name})
    size = len(OPERATIONS) ** len(EDGES)

    def format(self, choices: Sequence[int]) -> str:
        """The official string, for example `|nor_conv_3x3~0|+|none~0|...|`."""
        a, b, c, d, e, f = (OFFICIAL[OPERATIONS[choice]] for choice in choices)
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    def read(self, text: str) -> list[int]:
        """Read the official string; our operation names are understood as well.

        Raises:
            InvalidArchitectureError: The text has another shape or names a foreign operation.
        """
        found = _TEXT.fullmatch("".join(text.split()))
        if found is None:
            raise foreign(self, text, _SHAPE)
        return [operation_index(self, word, text, OFFICIAL.values()) for word in found.groups()]
