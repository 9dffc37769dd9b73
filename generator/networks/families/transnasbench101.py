"""Networks of TransNAS-Bench-101 micro: their costs, and one cell written out."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vitruvius.generator.networks import transnasbench101 as module
from vitruvius.generator.networks.costs import (
    Cost,
    Shape,
    convolution,
    linear,
    normalisation,
    relu_conv_bn,
    whole_plane,
)
from vitruvius.generator.networks.families.base import Family
from vitruvius.generator.networks.families.nasbench201 import four_nodes
from vitruvius.generator.networks.source import write_cell, write_model, write_network
from vitruvius.generator.space import Architecture, Choices, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

_LAYERS = {
    "skip": "nn.Identity()",
    "input skip": "skip(inputs, outputs, stride)",
    "conv1x1": "relu_conv_bn(outputs, outputs, 1)",
    "input conv1x1": "relu_conv_bn(inputs, outputs, 1, stride)",
    "conv3x3": "relu_conv_bn(outputs, outputs, 3)",
    "input conv3x3": "relu_conv_bn(inputs, outputs, 3, stride)",
}


class TransNasBench101Family(Family):
    """Costs are linear in the numbers of operations on edges from the input and on others."""

    title = "TransNAS-Bench-101"
    stem, cells, stages = 64, 2, "each of the five modules"
    extras = MappingProxyType({"jigsaw": "the input is nine tiles of an image"})
    shapes = MappingProxyType(
        {
            "class_scene": Shape(63, 3, 256, 256),
            "class_object": Shape(75, 3, 256, 256),
            "room_layout": Shape(9, 3, 256, 256),
            "jigsaw": Shape(1000, 3, 64, 64, extras=("jigsaw",)),
        }
    )

    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""
        return module.TransNasBench101(
            partial(module.Cell, architecture.named()),
            classes=shape.classes, in_channels=shape.in_channels, width=shape.stem, cells=shape.cells,
            jigsaw="jigsaw" in shape.extras,
        )  # fmt: skip

    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """What rows (n, 6) cost, (n,) each, in millions."""
        planes = [shape.halved(times) for times in range(6)]
        pixels = [height * width for height, width in planes]
        half = shape.stem // 2
        total = convolution(shape.in_channels, half, 3, pixels[1]) + normalisation(half, pixels[1])
        total += relu_conv_bn(half, shape.stem, 3, pixels[1], pixels[2])
        channels, level = shape.stem, 2
        for halve in module.HALVES:
            if halve:
                total += _cell(space, choices, channels, 2 * channels, pixels[level], pixels[level + 1])
                channels, level = 2 * channels, level + 1
            more = shape.cells - halve
            total += _cell(space, choices, channels, channels, pixels[level], pixels[level]) * more
        total += whole_plane(channels, *planes[level])
        if "jigsaw" in shape.extras:
            total = Cost(total.params, total.flops * module.TILES)
            channels *= module.TILES
        total += linear(channels, shape.classes)
        return total.millions(len(choices))

    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`."""
        layers, nodes = four_nodes(architecture, _LAYERS, "zeros(x0, self.outputs, self.stride)")
        if any("self.stride" in node for node in nodes):
            layers = {"outputs": "outputs", "stride": "stride", **layers}
        cell = write_cell(
            "Cell",
            "(n, inputs, h, w) to (n, outputs, h / stride, w / stride); x0 is the input, x3 the output.",
            "inputs: int, outputs: int, stride: int", layers, "x0: Tensor", nodes,
        )  # fmt: skip
        jigsaw = "jigsaw" in shape.extras
        defaults = {
            "classes": shape.classes, "in_channels": shape.in_channels, "width": shape.stem,
            "cells": shape.cells, "jigsaw": jigsaw,
        }  # fmt: skip
        network = write_network("TransNasBench101", ["Cell"], defaults)
        tiles = f"{module.TILES}, " if jigsaw else ""
        return write_model(
            module, f"{cell}\n\n\n{network}", title=self.title, key=architecture.key,
            drawing=architecture.space.draw(architecture), classes=shape.classes,
            call=f"torch.zeros(1, {tiles}{shape.in_channels}, {shape.height}, {shape.width})",
        )  # fmt: skip

    def example(self, shape: Shape) -> tuple[Tensor, ...]:
        """Random inputs for four images."""
        import torch

        (images,) = super().example(shape)
        return (torch.stack([images] * module.TILES, dim=1),) if "jigsaw" in shape.extras else (images,)


def _cell(space: SearchSpace, choices: Choices, inputs: int, outputs: int, before: int, after: int) -> Cost:
    """Cost of one cell of each row that goes from so many pixels to so many; dead edges count too."""
    total = Cost(np.zeros(len(choices)), np.zeros(len(choices)))
    for column, decision in enumerate(space.decisions):
        first = decision.name.startswith("0->")
        came, pixels = (inputs, before) if first else (outputs, after)
        for operation, kernel in (("conv1x1", 1), ("conv3x3", 3), ("skip", 1)):
            if operation == "skip" and came == outputs:
                continue  # passed on as it is
            there = choices[:, column] == decision.choices.index(operation)
            # a skip that halves the plane is two 1x1 convolutions with half of the outputs each
            total += relu_conv_bn(came, outputs, kernel, pixels, after) * there
    return total
