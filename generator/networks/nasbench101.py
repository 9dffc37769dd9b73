"""NAS-Bench-101 networks in plain PyTorch.

Ying et al., "NAS-Bench-101: Towards Reproducible Neural Architecture Search", ICML 2019, sections 2.1 and
2.2; the published code is google-research/nasbench (`model_builder`, `base_ops`).

    stem: conv3x3, BN, ReLU                                       (n, C, H, W)
    N cells                                                       (n, C, H, W)
    max pooling 2 x 2, N cells, of which the first doubles C      (n, 2C, H/2, W/2)
    max pooling 2 x 2, N cells, of which the first doubles C      (n, 4C, H/4, W/4)
    average over the plane, linear                                (n, classes)

The benchmark has C = 128 and N = 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

STACKS = 3


def conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU: the order of the benchmark."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def node_operation(operation: str, channels: int) -> nn.Module:
    """The layer of a node, (n, channels, h, w) to the same shape."""
    if operation == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return conv_bn_relu(channels, channels, {"conv1x1": 1, "conv3x3": 3}[operation])


def node_channels(takes: Sequence[Sequence[int]], outputs: int) -> dict[int, int]:
    """Channels of each inner node.

    The nodes that feed the output share its channels, the first of them one more where it does not divide;
    every other node has as many as the widest node that it feeds.

    Args:
        takes: Sources of nodes 1, 2 ... and, last, of the output; 0 is the cell's input.
        outputs: Channels of the output.
    """
    feeding = [node for node in takes[-1] if node > 0]
    channels = {
        node: (outputs + len(feeding) - 1 - place) // len(feeding) for place, node in enumerate(feeding)
    }
    for node in range(len(takes) - 1, 0, -1):
        if node not in channels:
            fed = [later for later, sources in enumerate(takes[:-1], start=1) if node in sources]
            channels[node] = max(channels[later] for later in fed)
    return channels


class Cell(nn.Module):
    """One cell: (n, inputs, h, w) to (n, outputs, h, w).

    A node sums what it takes: of another node the first channels, as many as it has itself; of the cell's
    input a projection to its own width. The output joins the nodes that feed it along the channels and adds
    a projection of the input where the two are linked.
    """

    def __init__(
        self, takes: Sequence[Sequence[int]], operations: Sequence[str], inputs: int, outputs: int
    ) -> None:
        """Build from sources (see `node_channels`) and the operation of each inner node."""
        super().__init__()
        self.takes = [list(sources) for sources in takes]
        self.channels = node_channels(takes, outputs)
        for node, operation in enumerate(operations, start=1):
            if 0 in self.takes[node - 1]:
                self.add_module(f"project_{node}", conv_bn_relu(inputs, self.channels[node], 1))
            self.add_module(f"node_{node}", node_operation(operation, self.channels[node]))
        if 0 in self.takes[-1]:
            self.project_output = conv_bn_relu(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output node."""
        nodes = {0: x}
        for node, sources in enumerate(self.takes[:-1], start=1):
            terms: list[Tensor] = [
                nodes[source][:, : self.channels[node]]
                if source
                else self.get_submodule(f"project_{node}")(x)
                for source in sources
            ]
            nodes[node] = self.get_submodule(f"node_{node}")(sum(terms[1:], terms[0]))
        joined = [nodes[node] for node in self.takes[-1] if node > 0]
        if not joined:
            return self.project_output(x)
        output = torch.cat(joined, dim=1)
        return output + self.project_output(x) if 0 in self.takes[-1] else output


class NasBench101(nn.Module):
    """The network around a cell: (n, in_channels, H, W) to logits (n, classes)."""

    def __init__(
        self,
        cell: Callable[[int, int], nn.Module],
        *,
        classes: int,
        in_channels: int = 3,
        width: int = 128,
        cells: int = 3,
    ) -> None:
        """Build with fresh weights, drawn as TensorFlow's `variance_scaling_initializer` does.

        Args:
            cell: Makes a cell from its numbers of input and output channels.
            classes: Number of classes.
            in_channels: Channels of the images.
            width: Channels of the first stack; doubled in each later one.
            cells: Cells in each stack.
        """
        super().__init__()
        self.stem = conv_bn_relu(in_channels, width, 3)
        blocks: list[nn.Module] = []
        before = width
        for stack in range(STACKS):
            if stack > 0:
                blocks.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
            for _ in range(cells):
                blocks.append(cell(before, width * 2**stack))
                before = width * 2**stack
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(before, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                # a normal distribution cut at two deviations has 0.8796 of the uncut one's deviation
                deviation = layer.weight[0].numel() ** -0.5 / 0.8796
                nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits
