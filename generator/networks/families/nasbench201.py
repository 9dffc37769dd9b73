"""Networks of NAS-Bench-201: their costs, and one cell written out."""

from __future__ import annotations

import itertools
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vitruvius.generator.networks import nasbench201 as module
from vitruvius.generator.networks.costs import (
    Shape,
    convolution,
    linear,
    normalisation,
    pooling,
    relu,
    relu_conv_bn,
    whole_plane,
)
from vitruvius.generator.networks.families.base import Family, counts
from vitruvius.generator.networks.source import write_cell, write_model, write_network
from vitruvius.generator.space import Architecture, Choices, SearchSpace

LAYERS = {
    "skip": "nn.Identity()",
    "avgpool3x3": "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
    "conv1x1": "relu_conv_bn(channels, channels, 1)",
    "conv3x3": "relu_conv_bn(channels, channels, 3)",
}


class NasBench201Family(Family):
    """Costs are linear in the numbers of operations, dead ones included."""

    title = "NAS-Bench-201"
    stem, cells, stages = 16, 5, "each of the three stages"
    shapes = MappingProxyType(
        {
            "cifar10": Shape(10, 3, 32, 32),
            "cifar100": Shape(100, 3, 32, 32),
            "imagenet16": Shape(120, 3, 16, 16),
        }
    )

    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""
        return module.NasBench201(
            partial(module.Cell, architecture.named()),
            classes=shape.classes, in_channels=shape.in_channels, width=shape.stem, cells=shape.cells,
        )  # fmt: skip

    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """What rows (n, 6) cost, (n,) each, in millions."""
        planes = [shape.halved(stage) for stage in range(module.STAGES)]
        stages = [(shape.stem * 2**stage, h * w) for stage, (h, w) in enumerate(planes)]
        total = convolution(shape.in_channels, shape.stem, 3, shape.pixels)
        total += normalisation(shape.stem, shape.pixels)
        for (inner, before), (outer, after) in itertools.pairwise(stages):
            total += relu_conv_bn(inner, outer, 3, before, after) + relu_conv_bn(
                outer, outer, 3, after, after
            )
            total += pooling(inner, 2, after) + convolution(inner, outer, 1, after)
        number = counts(space, choices)
        for channels, pixels in stages:
            for operation, kernel in (("conv1x1", 1), ("conv3x3", 3)):
                layer = relu_conv_bn(channels, channels, kernel, pixels, pixels)
                total += layer * (number[operation] * shape.cells)
            total += pooling(channels, 3, pixels) * (number["avgpool3x3"] * shape.cells)
        (channels, pixels), (height, width) = stages[-1], planes[-1]
        total += normalisation(channels, pixels) + relu(channels, pixels)
        total += whole_plane(channels, height, width) + linear(channels, shape.classes)
        return total.millions(len(choices))

    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`."""
        layers, nodes = four_nodes(architecture, LAYERS)
        cell = write_cell(
            "Cell", "(n, channels, h, w) to the same shape; x0 is the input, x3 the output.",
            "channels: int", layers, "x0: Tensor", nodes,
        )  # fmt: skip
        defaults = {
            "classes": shape.classes, "in_channels": shape.in_channels, "width": shape.stem,
            "cells": shape.cells,
        }  # fmt: skip
        network = write_network("NasBench201", ["Cell"], defaults)
        return write_model(
            module, f"{cell}\n\n\n{network}", title=self.title, key=architecture.key,
            drawing=architecture.space.draw(architecture), classes=shape.classes,
            call=f"torch.zeros(1, {shape.in_channels}, {shape.height}, {shape.width})",
        )  # fmt: skip


def four_nodes(
    architecture: Architecture, layers: dict[str, str], nothing: str = "torch.zeros_like(x0)"
) -> tuple[dict[str, str], list[str]]:
    """Layers and nodes of a cell of four nodes, as text; nodes that nothing reads have layers only.

    Args:
        architecture: An architecture of NAS-Bench-201 or TransNAS-Bench-101.
        layers: Expression for each operation; one for an edge from the input stands under "input OPERATION".
        nothing: What a node is that nothing reaches.
    """
    operations = architecture.named()
    written: dict[str, str] = {}
    nodes: dict[int, str] = {}
    for target in (1, 2, 3):
        terms: list[str] = []
        for source in range(target):
            operation = operations[f"{source}->{target}"]
            if operation != "none":
                edge = f"edge_{source}_{target}"
                first = f"input {operation}"
                written[edge] = layers[first if source == 0 and first in layers else operation]
                terms.append(f"self.{edge}(x{source})")
        nodes[target] = f"x{target} = {' + '.join(terms) or nothing}"
    for node in (2, 1):
        if not any(f"(x{node})" in line for line in nodes.values()):
            del nodes[node]
    return written, [*nodes.values(), "return x3"]
