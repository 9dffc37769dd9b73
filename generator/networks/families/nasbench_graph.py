"""Networks of NAS-Bench-Graph: their parameters, and one network written out."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vitruvius.generator.networks import nasbench_graph as module
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.networks.families.base import Family
from vitruvius.generator.networks.source import write_cell, write_model
from vitruvius.generator.space import Architecture, Choices, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = {
    "gat": (1, 0, 3), "gcn": (1, 0, 1), "gin": (1, 0, 1), "cheb": (2, 0, 1), "sage": (2, 0, 1),
    "arma": (2, 1, 1), "graph": (2, 0, 1), "fc": (1, 0, 1), "skip": (0, 0, 0),
}  # fmt: skip
"""Weights of an operation with i inputs and C outputs, in units of i C, C C and C."""
_WRITTEN = {
    "gat": "GATConv({inputs}, width // 2, heads=2)",
    "gcn": "GCNConv({inputs}, width)",
    "gin": "GINConv(nn.Linear({inputs}, width))",
    "cheb": "ChebConv({inputs}, width, K=2)",
    "sage": "SAGEConv({inputs}, width)",
    "arma": "ARMAConv({inputs}, width)",
    "graph": "GraphConv({inputs}, width)",
    "fc": "nn.Linear({inputs}, width)",
}


def _shape(classes: int, features: int, width: int, *extras: str) -> Shape:
    return Shape(classes, features, stem=width, extras=extras)


class NasBenchGraphFamily(Family):
    """Only parameters are counted: multiply-adds depend on the edges of the data set's graph."""

    title = "NAS-Bench-Graph"
    stem, cells, stages = 64, 1, "the whole network"
    images = False
    extras = MappingProxyType(
        {"before": "a linear layer before the four nodes", "after": "a linear layer after the four nodes"}
    )
    shapes = MappingProxyType(
        {
            "cora": _shape(7, 1433, 256, "after"),
            "citeseer": _shape(6, 3703, 256, "after"),
            "pubmed": _shape(3, 500, 128),
            "cs": _shape(15, 6805, 128, "before"),
            "physics": _shape(5, 8415, 256, "before"),
            "photo": _shape(8, 745, 128),
            "computers": _shape(10, 767, 64, "before", "after"),
            "arxiv": _shape(40, 128, 128, "after"),
        }
    )

    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""
        inputs, operations = _described(architecture)
        return module.NasBenchGraph(
            inputs, operations, classes=shape.classes, features=shape.in_channels, width=shape.stem,
            before="before" in shape.extras, after="after" in shape.extras,
        )  # fmt: skip

    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """Parameters of rows (n, 8), (n,), in millions."""
        n, width = len(choices), shape.stem
        before, after = "before" in shape.extras, "after" in shape.extras
        total = np.full(n, (shape.in_channels + 1.0) * width if before else 0.0)
        widths = np.zeros((n, module.NODES + 1))
        widths[:, 0] = width if before else shape.in_channels
        table = np.array([_WEIGHTS[operation] for operation in space.operations])
        skip, rows = space.operations.index("skip"), np.arange(n)
        for node in range(1, module.NODES + 1):
            operation = choices[:, module.NODES + node - 1]
            came = widths[rows, choices[:, node - 1]]
            per_input, per_width, single = table[operation].T
            total += (per_input * came + per_width * width + single) * width + 2 * width
            widths[:, node] = np.where(operation == skip, came, width)
        taken = (choices[:, : module.NODES, None] == np.arange(1, module.NODES + 1)).any(axis=1)
        joined = (widths[:, 1:] * ~taken).sum(axis=1)
        if after:
            total += (joined + 1) * width
        total += ((width if after else joined) + 1) * shape.classes
        return {"params": total / 1e6}

    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`."""
        return write_model(
            module, _written(architecture, shape), title=self.title, key=architecture.key,
            drawing=architecture.space.draw(architecture), classes=shape.classes,
            call=f"torch.zeros(1, {shape.in_channels}), torch.tensor([[0], [0]])",
            needs="Needs PyTorch and torch-geometric, nothing else.",
        )  # fmt: skip

    def example(self, shape: Shape) -> tuple[Tensor, ...]:
        """Features and edges of a random graph of 12 nodes."""
        import torch

        return torch.randn(12, shape.in_channels), torch.randint(12, (2, 40))

    def facts(self, shape: Shape) -> list[str]:
        """Lines for people: what the network is built for."""
        return [
            f"channels of a layer: {shape.stem}",
            f"one graph whose nodes have {shape.in_channels} features, {shape.classes} classes",
            *(f"with {self.extras[extra]}" for extra in shape.extras),
        ]


def _described(architecture: Architecture) -> tuple[list[int], list[str]]:
    """Input and operation of each node."""
    named = architecture.named()
    nodes = range(1, module.NODES + 1)
    return [int(named[f"input{node}"]) for node in nodes], [named[f"op{node}"] for node in nodes]


def _written(architecture: Architecture, shape: Shape) -> str:
    """The text of the network."""
    inputs, operations = _described(architecture)
    before, after = "before" in shape.extras, "after" in shape.extras
    layers = ["self.before = nn.Linear(features, width)"] if before else []
    body = ["x0 = self.before(x0)"] if before else []
    names = {0: "x0"}
    widths = {0: "width" if before else "features"}
    for node, (source, operation) in enumerate(zip(inputs, operations, strict=True), start=1):
        x, came = names[source], widths[source]
        if operation == "skip":
            layers.append(
                f"self.norm_{node} = nn.BatchNorm1d(width)  # not used, but counted by the benchmark"
            )
            names[node], widths[node] = x, came
            continue
        layers.append(f"self.layer_{node} = {_WRITTEN[operation].format(inputs=came)}")
        layers.append(f"self.norm_{node} = nn.BatchNorm1d(width)")
        edges = "" if operation == "fc" else ", edges"
        body.append(f"x{node} = functional.relu(self.norm_{node}(self.layer_{node}({x}{edges})))")
        names[node], widths[node] = f"x{node}", "width"
    leaves = [node for node in range(1, module.NODES + 1) if node not in inputs]
    joined = " + ".join(widths[leaf] for leaf in leaves)
    if len(leaves) > 1:
        body.append(f"y = torch.cat([{', '.join(names[leaf] for leaf in leaves)}], dim=1)")
    last = "y" if len(leaves) > 1 else names[leaves[0]]
    if after:
        layers.append(f"self.after = nn.Linear({joined}, width)")
        last = f"functional.relu(self.after({last}))"
    layers.append(f"self.classifier = nn.Linear({'width' if after else joined}, classes)")
    return write_cell(
        "Network", "Features of m nodes (m, features) and edges between them (2, e) to logits (m, classes).",
        f"classes: int = {shape.classes}, features: int = {shape.in_channels}, width: int = {shape.stem}",
        layers, "x0: Tensor, edges: Tensor", [*body, f"return self.classifier({last})"],
    )  # fmt: skip
