"""Genotypes: the text by which the DARTS code and its followers write a pair of cells.

Read are, without evaluating anything:

    Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=...)
    [[[0, 3], ...], [...]]      NASLib's lists (NAS-Bench-301): normal and reduction cell, (input, operation)

Of a cell, pairs 2k and 2k + 1 belong to node k + 2; inputs 0 and 1 are the outputs of the two cells before.
"""

from __future__ import annotations

import re

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.spaces.reading import shortened

OFFICIAL = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""In the order of DARTS's `PRIMITIVES` without `none`, which NASLib numbers from 0."""
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
PAIRS = 2 * len(NODES)

Pair = tuple[str, int]
"""An operation's official name, and the input it takes."""

SHAPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=[2, 3, 4, 5], "
    "reduce=[...], reduce_concat=[2, 3, 4, 5]) with 8 pairs a cell"
)
_LONGEST = 4_000
_CELL = r"[\[(]((?:[(\[][\"'][^\"'()\[\]]*[\"'],\d{1,3}[)\]],?)*)[\])]"
_CONCAT = r"(range\(\d{1,3},\d{1,3}\)|[\[(][\d,]*[\])])"
_GENOTYPE = re.compile(
    rf"Genotype\(normal={_CELL},normal_concat={_CONCAT},reduce={_CELL},reduce_concat={_CONCAT},?\)", re.ASCII
)
_NAMED = re.compile(r"[\"']([^\"']*)[\"'],(\d{1,3})", re.ASCII)
_LISTS = re.compile(
    r"[\[(]{2}((?:[\[(]\d{1,3},\d{1,3}[\])],?)*)[\])],[\[(]((?:[\[(]\d{1,3},\d{1,3}[\])],?)*)[\])]{2}",
    re.ASCII,
)
_NUMBERS = re.compile(r"(\d{1,3}),(\d{1,3})", re.ASCII)


def write_genotype(normal: str, reduce: str) -> str:
    """The text of two cells, given as `('sep_conv_3x3', 0), ('skip_connect', 1), ...`."""
    concat = list(NODES)
    return f"Genotype(normal=[{normal}], normal_concat={concat}, reduce=[{reduce}], reduce_concat={concat})"


def read_genotype(text: str) -> list[list[Pair]] | None:
    """The pairs of the normal and the reduction cell, operations by the names in the text.

    Returns:
        Two lists of 8 pairs; None where the text is no genotype at all.

    Raises:
        InvalidArchitectureError: A genotype of another space: other nodes are joined to the output,
            another number of pairs, or an operation number that NASLib does not have.
    """
    dense = "".join(text.split()) if len(text) <= _LONGEST else ""
    if found := _GENOTYPE.fullmatch(dense):
        for name, concat in zip(CELLS, (found[2], found[4]), strict=True):
            _check_concat(text, name, concat)
        cells = [
            [(name, int(number)) for name, number in _NAMED.findall(part)] for part in (found[1], found[3])
        ]
    elif found := _LISTS.fullmatch(dense):
        cells = [
            [(_numbered(text, int(operation)), int(number)) for number, operation in _NUMBERS.findall(part)]
            for part in found.groups()
        ]
    else:
        return None
    for name, pairs in zip(CELLS, cells, strict=True):
        if len(pairs) != PAIRS:
            raise InvalidArchitectureError(
                f"In {shortened(text)!r} the {name} cell has {len(pairs)} pairs of operation and input: "
                f"{PAIRS} are needed, two for each of the nodes {', '.join(map(str, NODES))}."
            )
    return cells


def _check_concat(text: str, cell: str, concat: str) -> None:
    """Refuse a cell whose output does not join all four nodes."""
    numbers = [int(word) for word in re.findall(r"\d{1,3}", concat)]
    if concat.startswith("range"):
        numbers = list(range(*numbers))
    if sorted(numbers) != list(NODES):
        raise InvalidArchitectureError(
            f"In {shortened(text)!r} {cell}_concat is {concat}: in this space the nodes 2, 3, 4 and 5 make "
            "up the output of a cell, written [2, 3, 4, 5] or range(2, 6)."
        )


def _numbered(text: str, number: int) -> str:
    """The name of an operation by NASLib's number."""
    if number >= len(OFFICIAL):
        raise InvalidArchitectureError(
            f"In {shortened(text)!r} an operation has the number {number}: they go from 0 to "
            f"{len(OFFICIAL) - 1}."
        )
    return OFFICIAL[number]
