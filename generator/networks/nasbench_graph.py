"""NAS-Bench-Graph networks: PyTorch and the layers of torch-geometric.

Qin, Zhang, Wang and Zhu, "NAS-Bench-Graph: Benchmarking Graph Neural Architecture Search", NeurIPS 2022,
section 3. What is trained on a data set's one graph of m nodes:

    where the data set has a layer before: linear                             (m, C)
    four nodes, each a layer of one input, batch normalisation, ReLU          (m, C)
    those that feed no other joined                                           (m, up to 4 C)
    where the data set has a layer after: linear, ReLU                        (m, C)
    linear                                                                    (m, classes)

The width C and the layers of each data set follow from the benchmark's parameter counts, which these networks
meet to the last one. The order of normalisation, activation and dropout is not published with it; this one is
ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import (
    ARMAConv,
    ChebConv,
    GATConv,
    GCNConv,
    GINConv,
    GraphConv,
    SAGEConv,
)

NODES = 4


def node_layer(operation: str, inputs: int, outputs: int) -> nn.Module:
    """The layer of one operation, (m, inputs) to (m, outputs)."""
    if operation == "gat":
        return GATConv(inputs, outputs // 2, heads=2)
    if operation == "gin":
        return GINConv(nn.Linear(inputs, outputs))
    if operation == "cheb":
        return ChebConv(inputs, outputs, K=2)
    if operation == "fc":
        return nn.Linear(inputs, outputs)
    layers = {"gcn": GCNConv, "sage": SAGEConv, "arma": ARMAConv, "graph": GraphConv}
    return layers[operation](inputs, outputs)


class NasBenchGraph(nn.Module):
    """The network of one architecture: features (m, features) and edges (2, e) to logits (m, classes).

    A `skip` passes on what it takes: the benchmark moves it to where it changes nothing. Its batch
    normalisation belongs to the parameter count and is not used.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        operations: Sequence[str],
        *,
        classes: int,
        features: int,
        width: int = 64,
        before: bool = False,
        after: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Build with fresh weights from the layers' default initialisation.

        Args:
            inputs: Which node each of the four takes, 0 for the cell's input.
            operations: The operation of each node.
            classes: Number of classes.
            features: Features of a node of the data set's graph.
            width: Channels of a layer.
            before: Whether a linear layer comes before the four.
            after: Whether a linear layer comes after them, beside the classifier.
            dropout: Share of features that are dropped before each layer, in training.
        """
        super().__init__()
        self.inputs, self.operations, self.dropout = list(inputs), list(operations), dropout
        self.before = nn.Linear(features, width) if before else None
        widths = [width if before else features]
        for node, (source, operation) in enumerate(zip(inputs, operations, strict=True), start=1):
            if operation != "skip":
                self.add_module(f"layer_{node}", node_layer(operation, widths[source], width))
            self.add_module(f"norm_{node}", nn.BatchNorm1d(width))
            widths.append(widths[source] if operation == "skip" else width)
        self.joined = [node for node in range(1, NODES + 1) if node not in self.inputs]
        joined = sum(widths[node] for node in self.joined)
        self.after = nn.Linear(joined, width) if after else None
        self.classifier = nn.Linear(width if after else joined, classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Compute the logits."""
        nodes: list[Tensor] = [x if self.before is None else self.before(x)]
        for node, (source, operation) in enumerate(zip(self.inputs, self.operations, strict=True), start=1):
            nodes.append(self._node(node, operation, nodes[source], edges))
        y = torch.cat([nodes[node] for node in self.joined], dim=1)
        if self.after is not None:
            y = functional.relu(self.after(y))
        logits: Tensor = self.classifier(y)
        return logits

    def _node(self, node: int, operation: str, x: Tensor, edges: Tensor) -> Tensor:
        """What a node computes."""
        if operation == "skip":
            return x
        layer, norm = self.get_submodule(f"layer_{node}"), self.get_submodule(f"norm_{node}")
        x = functional.dropout(x, self.dropout, self.training)
        y: Tensor = layer(x) if operation == "fc" else layer(x, edges)
        return functional.relu(norm(y))
