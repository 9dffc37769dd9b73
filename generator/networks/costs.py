"""Parameters and multiply-adds of many architectures at once, without building a network."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import Choices, SearchSpace


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is built for, beside the cell.

    Attributes:
        classes: Number of classes.
        in_channels: Channels of the images.
        height: Height of the images.
        width: Width of the images.
        stem: Channels of the first stage.
        cells: Cells in each stage.
    """

    classes: int
    in_channels: int
    height: int
    width: int
    stem: int = 16
    cells: int = 5


def nasbench201_costs(space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
    """Parameters and multiply-adds of NAS-Bench-201 networks, both in millions.

    Both are linear in the numbers of operations. Multiply-adds are those of NASLib's counter, which also
    counts ReLU (1 for each value), batch normalisation (2) and average pooling (9): 222.86 M for the cell of
    six 3x3 convolutions at 32 x 32, where the benchmark's own API counts convolutions only and says 220.12.

    Args:
        space: The space `nasbench201`.
        choices: (n, 6) rows.
        shape: What the networks are built for.

    Returns:
        "params" and "flops", each (n,).
    """
    counts = {
        operation: sum(
            (choices[:, column] == decision.choices.index(operation)).astype(np.float64)
            for column, decision in enumerate(space.decisions)
        )
        for operation in ("conv1x1", "conv3x3", "avgpool3x3")
    }
    stages = _stages(shape)
    params, flops = _skeleton(shape, stages)
    totals = {"params": np.full(len(choices), params), "flops": np.full(len(choices), flops)}
    for channels, pixels in stages:
        for operation, kernel in (("conv1x1", 1), ("conv3x3", 9)):
            weights = kernel * channels**2
            totals["params"] += shape.cells * (weights + 2 * channels) * counts[operation]
            totals["flops"] += shape.cells * pixels * (weights + 3 * channels) * counts[operation]
        totals["flops"] += shape.cells * pixels * 9 * channels * counts["avgpool3x3"]
    return {name: total / 1e6 for name, total in totals.items()}


def _stages(shape: Shape) -> list[tuple[int, int]]:
    """(channels, pixels) of the three stages; a residual block halves each side, rounding up."""
    return [(shape.stem * 2**s, -(-shape.height // 2**s) * -(-shape.width // 2**s)) for s in range(3)]


def _skeleton(shape: Shape, stages: list[tuple[int, int]]) -> tuple[float, float]:
    """Parameters and multiply-adds of all that is not a cell: stem, two residual blocks, head."""
    channels, pixels = stages[0]
    stem = 9 * shape.in_channels * channels
    params, flops = stem + 2 * channels, pixels * (stem + 2 * channels)
    for (inner, before), (outer, after) in itertools.pairwise(stages):
        weights = 9 * inner * outer + 9 * outer**2 + inner * outer
        params += weights + 4 * outer
        # ReLU on both inputs, two batch normalisations, pooling of 2 x 2 in the shortcut
        flops += after * (weights + 4 * outer + outer + 4 * inner) + before * inner
    channels, _ = stages[-1]
    height, width = -(-shape.height // 4), -(-shape.width // 4)
    params += 2 * channels + (channels + 1) * shape.classes
    # the counter takes the window of the adaptive pooling as one wider than the plane
    flops += channels * (3 * height * width + (height + 1) * (width + 1) + shape.classes)
    return float(params), float(flops)
