"""Descriptions of spaces that several test files share."""

from __future__ import annotations

from pathlib import Path

from vitruvius.generator.space import SearchSpace
from vitruvius.generator.spaces.described import read_space

CHAIN = """
name = "test-chain"
description = "three blocks and two settings"
[decisions]
block1 = ["mb3x3", "mb5x5"]
block2 = ["mb3x3", "mb5x5", "skip"]
block3 = ["mb3x3", "mb5x5", "skip"]
[settings]
width = [16, 24, 32]
attention = [true, false]
[operations]
identity = ["skip"]
[tasks.flowers]
metric = "validation accuracy"
unit = "%"
[tasks.error]
maximize = false
"""

CELL = """
name = "test-cell"
[decisions]
"0->1" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
"0->2" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
"1->2" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
"0->3" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
"1->3" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
"2->3" = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
[operations]
identity = ["skip"]
null = ["none"]
"""

HUGE = "\n".join([
    'name = "test-huge"',
    "[decisions]",
    *(f'b{n} = ["k3e1", "k3e3", "k3e6", "k5e1", "k5e3", "k5e6", "k7e3", "k7e6", "skip"]' for n in range(22)),
    "[operations]",
    'identity = ["skip"]',
])  # fmt: skip
"""9^22 keys, more than 2^63: the number of FBNet's space."""


def described(folder: Path, text: str) -> SearchSpace:
    """The space that a text describes, read from a file in the folder."""
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return read_space(path)
