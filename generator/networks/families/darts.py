"""Networks of DARTS: their costs, and the two cells written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vitruvius.errors import UserError
from vitruvius.generator.networks import darts as module
from vitruvius.generator.networks.costs import (
    Cost,
    Shape,
    convolution,
    linear,
    normalisation,
    pooling,
    relu,
    relu_conv_bn,
    whole_plane,
)
from vitruvius.generator.networks.families.base import Family
from vitruvius.generator.networks.source import write_cell, write_model, write_network
from vitruvius.generator.space import Architecture, Choices, SearchSpace

_AUXILIARY_SIDE = 8
"""Least side of the last plane that the auxiliary head can read."""
_WRITTEN = {
    "maxpool3x3": "nn.MaxPool2d(3, stride={stride}, padding=1)",
    "avgpool3x3": "nn.AvgPool2d(3, stride={stride}, padding=1, count_include_pad=False)",
    "sepconv3x3": "sep_conv(channels, 3, {stride})",
    "sepconv5x5": "sep_conv(channels, 5, {stride})",
    "dilconv3x3": "dil_conv(channels, 3, {stride})",
    "dilconv5x5": "dil_conv(channels, 5, {stride})",
}


class DartsFamily(Family):
    """Costs add up over the two cells' operations; one that halves the plane costs something else."""

    title = "DARTS"
    stem, cells, stages = 36, 6, "each of the three stages, beside the two reduction cells"
    extras = MappingProxyType({"auxiliary": "a second classifier in the middle, for training"})
    shapes = MappingProxyType({"cifar10": Shape(10, 3, 32, 32), "cifar100": Shape(100, 3, 32, 32)})

    def complete(self, shape: Shape) -> Shape:
        """The shape with the benchmark's numbers in place of 0; images whose size is not told may have any.

        Raises:
            UserError: An unknown extra, or images that are too small for the auxiliary head.
        """
        shape, last = super().complete(shape), module.STAGES - 1
        if "auxiliary" in shape.extras and shape.pixels > 1 and min(shape.halved(last)) < _AUXILIARY_SIDE:
            least = 2**last * (_AUXILIARY_SIDE - 1) + 1
            raise UserError(
                f"Images of {shape.height} x {shape.width} are too small for the auxiliary head of "
                f"{self.title}, which needs {least} x {least}: leave it out (`auxiliary = 0` in the recipe, "
                "or no `--extra auxiliary`)."
            )
        return shape

    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""
        return module.Darts(
            _maker(architecture, "normal"), _maker(architecture, "reduce"),
            classes=shape.classes, in_channels=shape.in_channels, width=shape.stem, cells=shape.cells,
            auxiliary="auxiliary" in shape.extras,
        )  # fmt: skip

    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """What rows (n, 32) cost, (n,) each, in millions; the auxiliary head is not counted."""
        planes = [shape.halved(stage) for stage in range(module.STAGES)]
        pixels = [height * width for height, width in planes]
        total = convolution(shape.in_channels, 3 * shape.stem, 3, pixels[0])
        total += normalisation(3 * shape.stem, pixels[0])
        before = [
            (3 * shape.stem, pixels[0]),
            (3 * shape.stem, pixels[0]),
        ]  # channels and pixels of the last two
        for stage in range(module.STAGES):
            channels, plane = shape.stem * 2**stage, pixels[stage]
            for reduction in [*([True] if stage else []), *[False] * shape.cells]:
                (came_0, from_0), (came_1, from_1) = before
                inside = pixels[stage - 1] if reduction else plane
                total += relu_conv_bn(came_0, channels, 1, from_0, inside)
                total += relu_conv_bn(came_1, channels, 1, from_1, inside)
                total += _operations(space, choices, channels, inside, plane, reduction=reduction)
                before = [before[1], (4 * channels, plane)]
        channels, _ = before[1]
        total += whole_plane(channels, *planes[-1]) + linear(channels, shape.classes)
        return total.millions(len(choices))

    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`."""
        defaults = {
            "classes": shape.classes, "in_channels": shape.in_channels, "width": shape.stem,
            "cells": shape.cells, "auxiliary": "auxiliary" in shape.extras,
        }  # fmt: skip
        written = [
            _written(architecture, "normal", "NormalCell"),
            _written(architecture, "reduce", "ReductionCell"),
            write_network("Darts", ["NormalCell", "ReductionCell"], defaults),
        ]
        return write_model(
            module, "\n\n\n".join(written), title=self.title, key=architecture.key,
            drawing=architecture.space.draw(architecture), classes=shape.classes,
            call=f"torch.zeros(1, {shape.in_channels}, {shape.height}, {shape.width})",
        )  # fmt: skip


def _described(architecture: Architecture, cell: str) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
    """The two inputs and the two operations of each node of one of the two cells."""
    named = architecture.named()
    inputs = [(int(named[f"{cell}{node}.in1"]), int(named[f"{cell}{node}.in2"])) for node in module.NODES]
    return inputs, [(named[f"{cell}{node}.op1"], named[f"{cell}{node}.op2"]) for node in module.NODES]


def _maker(architecture: Architecture, cell: str) -> Callable[[int, int, int, bool], nn.Module]:
    """What makes one of the two cells."""
    inputs, operations = _described(architecture, cell)
    make = partial(module.Cell, inputs, operations, reduction=cell == "reduce")
    return lambda before_0, before_1, channels, after: make(
        before_0, before_1, channels, after_reduction=after
    )


def _operations(
    space: SearchSpace, choices: Choices, channels: int, before: int, after: int, *, reduction: bool
) -> Cost:
    """Cost of all operations of a cell of each row; a reduction cell's read `before` pixels, make `after`."""
    total = Cost(np.zeros(len(choices)), np.zeros(len(choices)))
    prefix = "reduce" if reduction else "normal"
    for column, decision in enumerate(space.decisions):
        if not decision.name.startswith(prefix) or ".op" not in decision.name:
            continue
        halves = np.zeros(len(choices), dtype=np.bool_)
        if reduction:
            halves = choices[:, column - 1] < module.NODES[0]
        for number, operation in enumerate(decision.choices):
            here = choices[:, column] == number
            total += _operation(operation, channels, after, after, halves=False) * (here & ~halves)
            if halves.any():
                total += _operation(operation, channels, before, after, halves=True) * (here & halves)
    return total


def _operation(operation: str, channels: int, before: int, after: int, *, halves: bool) -> Cost:
    """Cost of one operation."""
    if operation == "skip":
        return relu_conv_bn(channels, channels, 1, before, after) if halves else Cost()
    if "pool" in operation:
        return pooling(channels, 3, after)
    kernel = 3 if operation.endswith("3x3") else 5
    cost = _separated(channels, kernel, before, after)
    return cost if operation.startswith("dil") else cost + _separated(channels, kernel, after, after)


def _separated(channels: int, kernel: int, before: int, after: int) -> Cost:
    """Cost of `module.separated`."""
    cost = relu(channels, before) + convolution(channels, channels, kernel, after, by_channel=True)
    return cost + convolution(channels, channels, 1, after) + normalisation(channels, after)


def _written(architecture: Architecture, cell: str, name: str) -> str:
    """The text of one of the two cells."""
    inputs, operations = _described(architecture, cell)
    layers = [
        "self.input_0 = (FactorizedReduce if after_reduction else relu_conv_bn)(before_0, channels)",
        "self.input_1 = relu_conv_bn(before_1, channels)",
        "self.drop = DropPath()",
    ]
    nodes = ["x0, x1 = self.input_0(x0), self.input_1(x1)"]
    for node, taken, pair in zip(module.NODES, inputs, operations, strict=True):
        terms: list[str] = []
        for side, (source, operation) in enumerate(zip(taken, pair, strict=True), start=1):
            stride = 2 if cell == "reduce" and source < module.NODES[0] else 1
            if operation == "skip" and stride == 1:
                terms.append(f"x{source}")
                continue
            made = "FactorizedReduce(channels, channels)" if operation == "skip" else _WRITTEN[operation]
            layers.append(f"self.op_{node}_{side} = {made.format(stride=stride)}")
            terms.append(f"self.drop(self.op_{node}_{side}(x{source}))")
        nodes.append(f"x{node} = {' + '.join(terms)}")
    joined = ", ".join(f"x{node}" for node in module.NODES)
    plane = f"(n, 4 channels, {'h / 2, w / 2' if cell == 'reduce' else 'h, w'})"
    return write_cell(
        name, f"The outputs of the two cells before, the last (n, before_1, h, w), to {plane}.",
        "before_0: int, before_1: int, channels: int, after_reduction: bool",
        layers, "x0: Tensor, x1: Tensor", [*nodes, f"return torch.cat([{joined}], dim=1)"],
    )  # fmt: skip
