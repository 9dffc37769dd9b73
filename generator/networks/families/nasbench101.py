"""Networks of NAS-Bench-101: their costs, and one cell written out.

Where an output's channels do not divide among the nodes that feed it, the first of them have one more, so
parameters depend on the order of the nodes. Isomorphic cells have the order in which the benchmark came upon
their class first: the counts of its tables are of that one.
"""

from __future__ import annotations

import itertools
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vitruvius.generator.networks import nasbench101 as module
from vitruvius.generator.networks.costs import (
    Cost,
    Numbers,
    Shape,
    convolution,
    linear,
    normalisation,
    pooling,
    relu,
)
from vitruvius.generator.networks.families.base import Family
from vitruvius.generator.networks.source import write_cell, write_model, write_network
from vitruvius.generator.space import ABSENT, Architecture, Choices, SearchSpace
from vitruvius.generator.spaces.small_dags import EDGES, INNER, PLACES

_OPERATION_ORDER = np.array([1, 0, 2])
"""Number of conv1x1, conv3x3 and maxpool3x3 in the benchmark's enumeration."""
_OPS = slice(len(EDGES), None)
_INTO_OUTPUT = [EDGES.index((node, PLACES - 1)) for node in range(1, PLACES - 1)]
_FROM, _TO = (np.array(side) for side in zip(*EDGES, strict=True))


class NasBench101Family(Family):
    """Costs need the channels of each node, which follow from the graph."""

    title = "NAS-Bench-101"
    stem, cells, stages = 128, 3, "each of the three stacks"
    shapes = MappingProxyType({"cifar10": Shape(10, 3, 32, 32)})

    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""
        takes, operations = _described(_ordered(architecture, shape))
        return module.NasBench101(
            partial(module.Cell, takes, operations),
            classes=shape.classes, in_channels=shape.in_channels, width=shape.stem, cells=shape.cells,
        )  # fmt: skip

    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """What rows (n, 26) cost, (n,) each, in millions."""
        rows = published_rows(choices, shape.stem)
        total = _conv_bn_relu(shape.in_channels, shape.stem, 3, shape.pixels)
        before, pixels = shape.stem, shape.pixels
        for stack in range(module.STACKS):
            height, width = shape.halved(stack)
            outputs, pixels = shape.stem * 2**stack, height * width
            if stack > 0:
                total += pooling(before, 2, pixels)
            total += _cell(rows, before, outputs, pixels)
            total += _cell(rows, outputs, outputs, pixels) * (shape.cells - 1.0)
            before = outputs
        total += linear(before, shape.classes)
        return total.millions(len(choices))

    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`."""
        ordered = _ordered(architecture, shape)
        takes, operations = _described(ordered)
        cell = _written(takes, operations)
        defaults = {
            "classes": shape.classes, "in_channels": shape.in_channels, "width": shape.stem,
            "cells": shape.cells,
        }  # fmt: skip
        network = write_network("NasBench101", ["Cell"], defaults)
        return write_model(
            module, f"{cell}\n\n\n{network}", title=self.title, key=architecture.key,
            drawing=architecture.space.draw(ordered), classes=shape.classes,
            call=f"torch.zeros(1, {shape.in_channels}, {shape.height}, {shape.width})",
        )  # fmt: skip


def published_rows(choices: Choices, width: int) -> Choices:
    """Normal rows (n, 26) with the nodes of each cell in the order of the benchmark's own graph of it.

    The benchmark lists all graphs of a size by the number that their edges make, bit x + y (y - 1) / 2 for
    the edge from x to y, and for each graph all operations, and keeps the first of a class
    (`scripts/generate_graphs.py`). Rows whose channels do not depend on the order stay as they are.

    Args:
        choices: The rows.
        width: Channels of the first stack.
    """
    rows = choices.copy()
    feeding = choices[:, _INTO_OUTPUT].sum(axis=1)
    uneven = width % np.maximum(feeding, 1) != 0
    inner = (choices[:, _OPS] > 0).sum(axis=1)
    for size in range(2, INNER + 1):
        which = np.flatnonzero(uneven & (inner == size))
        if len(which):
            rows[which] = _first_listed(choices[which], size)
    return rows


def _ordered(architecture: Architecture, shape: Shape) -> Architecture:
    """The same cell with its nodes in the benchmark's order; its choices need not be normal."""
    row = published_rows(architecture.row, shape.stem)[0]
    return Architecture(architecture.space, tuple(row.tolist()))


def _first_listed(choices: Choices, inner: int) -> Choices:
    """`published_rows` for cells with so many inner nodes."""
    adjacency = np.zeros((len(choices), PLACES, PLACES), dtype=np.int64)
    adjacency[:, _FROM, _TO] = choices[:, : len(EDGES)]
    nodes = [*range(inner + 1), PLACES - 1]
    graph, labels = adjacency[:, nodes][:, :, nodes], choices[:, _OPS][:, :inner].astype(np.int64)
    size = inner + 2
    weight = np.array(
        [[2 ** (x + y * (y - 1) // 2) if x < y else 0 for y in range(size)] for x in range(size)]
    )
    place = 3 ** np.arange(inner)[::-1]
    below = np.tril(np.ones((size, size), dtype=np.int64))
    best = np.full(len(choices), np.iinfo(np.int64).max)
    chosen = choices.copy()
    for order in itertools.permutations(range(inner)):
        moved_nodes = [0, *(node + 1 for node in order), size - 1]
        moved, named = graph[:, moved_nodes][:, :, moved_nodes], labels[:, list(order)]
        number = (moved * weight).sum(axis=(1, 2)) * 3**inner + _OPERATION_ORDER[named - 1] @ place
        better = ~(moved * below).any(axis=(1, 2)) & (number < best)
        best[better] = number[better]
        spread = np.zeros((len(choices), PLACES, PLACES), dtype=np.int8)
        spread[:, np.array(nodes)[:, None], nodes] = moved
        chosen[better, : len(EDGES)] = spread[better][:, _FROM, _TO]
        chosen[better, len(EDGES) : len(EDGES) + inner] = named[better]
    return chosen


def _described(architecture: Architecture) -> tuple[list[list[int]], list[str]]:
    """Sources of each inner node and of the output, and the operation of each inner node."""
    graphs = architecture.space.graphs(architecture.row)
    used = np.flatnonzero(graphs.labels[0] != ABSENT)
    adjacency = graphs.adjacency[0][np.ix_(used, used)]
    takes = [np.flatnonzero(adjacency[:, node]).tolist() for node in range(1, len(used))]
    return takes, [architecture.space.operations[label - 2] for label in graphs.labels[0][used[1:-1]]]


def _cell(rows: Choices, inputs: int, outputs: int, pixels: int) -> Cost:
    """Cost of one cell of each row."""
    edge = {(u, v): rows[:, place].astype(np.float64) for place, (u, v) in enumerate(EDGES)}
    channels = _channels(edge, outputs)
    total = Cost(np.zeros(len(rows)), np.zeros(len(rows)))
    for node in range(1, PLACES - 1):
        c, operation = channels[node], rows[:, len(EDGES) + node - 1]
        total += _conv_bn_relu(inputs, c, 1, pixels) * edge[0, node]
        total += _conv_bn_relu(c, c, 1, pixels) * (operation == 1)
        total += _conv_bn_relu(c, c, 3, pixels) * (operation == 2)
        total += pooling(c, 3, pixels) * (operation == 3)
    return total + _conv_bn_relu(inputs, outputs, 1, pixels) * edge[0, PLACES - 1]


def _channels(
    edge: dict[tuple[int, int], NDArray[np.float64]], outputs: int
) -> dict[int, NDArray[np.float64]]:
    """Channels of each inner node, (n,) each; see `module.node_channels`."""
    last = PLACES - 1
    feeding = np.maximum(sum(edge[node, last] for node in range(1, last)), 1)
    channels: dict[int, NDArray[np.float64]] = {}
    place = np.zeros_like(feeding)
    for node in range(1, last):
        channels[node] = (outputs + feeding - 1 - place) // feeding * edge[node, last]
        place += edge[node, last]
    for node in range(last - 2, 0, -1):
        widest = np.max([channels[later] * edge[node, later] for later in range(node + 1, last)], axis=0)
        channels[node] = np.where(edge[node, last] > 0, channels[node], widest)
    return channels


def _conv_bn_relu(inputs: Numbers, outputs: Numbers, kernel: int, pixels: int) -> Cost:
    """Convolution, batch normalisation, ReLU."""
    layer = convolution(inputs, outputs, kernel, pixels) + normalisation(outputs, pixels)
    return layer + relu(outputs, pixels)


def _written(takes: list[list[int]], operations: list[str]) -> str:
    """The text of the cell."""
    feeding = [node for node in takes[-1] if node > 0]
    place = _places(takes, feeding)
    layers, nodes = list[str](), list[str]()
    made = {
        "conv1x1": "conv_bn_relu(c{0}, c{0}, 1)",
        "conv3x3": "conv_bn_relu(c{0}, c{0}, 3)",
        "maxpool3x3": "nn.MaxPool2d(3, stride=1, padding=1)",
    }
    for node, operation in enumerate(operations, start=1):
        terms: list[str] = []
        for source in takes[node - 1]:
            if source == 0:
                layers.append(f"self.project_{node} = conv_bn_relu(inputs, c{node}, 1)")
                terms.append(f"self.project_{node}(x0)")
            else:
                cut = f"[:, : self.c{node}]" if place[source] != place[node] else ""
                if cut and f"self.c{node} = c{node}" not in layers:
                    layers.append(f"self.c{node} = c{node}")
                terms.append(f"x{source}{cut}")
        layers.append(f"self.node_{node} = {made[operation].format(node)}")
        nodes.append(f"x{node} = self.node_{node}({' + '.join(terms)})")
    used = [node for node in sorted(place) if any(f"c{node}" in line for line in layers)]
    layers = [*(f"c{node} = {_share(place[node], len(feeding))}" for node in used), *layers]
    joined = [f"torch.cat([{', '.join(f'x{node}' for node in feeding)}], dim=1)"] if len(feeding) > 1 else []
    joined = joined or [f"x{node}" for node in feeding]
    if 0 in takes[-1]:
        layers.append("self.project_output = conv_bn_relu(inputs, outputs, 1)")
        joined.append("self.project_output(x0)")
    return write_cell(
        "Cell", "(n, inputs, h, w) to (n, outputs, h, w); x0 is the input.", "inputs: int, outputs: int",
        layers, "x0: Tensor", [*nodes, f"return {' + '.join(joined)}"],
    )  # fmt: skip


def _places(takes: list[list[int]], feeding: list[int]) -> dict[int, int]:
    """For each inner node the place of the node that feeds the output and whose width it has."""
    place = {node: number for number, node in enumerate(feeding)}
    for node in range(len(takes) - 1, 0, -1):
        if node not in place:
            place[node] = min(
                place[later] for later in range(node + 1, len(takes)) if node in takes[later - 1]
            )
    return place


def _share(place: int, among: int) -> str:
    """The channels of the node at this place among those that share the output's, as an expression."""
    more = among - 1 - place
    return "outputs" if among == 1 else f"{f'(outputs + {more})' if more else 'outputs'} // {among}"
