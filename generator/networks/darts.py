"""DARTS networks in plain PyTorch.

Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3 and appendix A; the
published code is quark0/darts (`model.NetworkCIFAR`, `operations`). These are derived networks, as trained at
the end: batch normalisations have weights, and no pooling is followed by one.

    stem: conv3x3 to 3C, BN                                            (n, 3C, H, W)
    N normal cells, each of four joined nodes of C channels            (n, 4C, H, W)
    reduction cell, then N normal cells                                (n, 8C, H/2, W/2)
    reduction cell, then N normal cells                                (n, 16C, H/4, W/4)
    average over the plane, linear                                     (n, classes)

The paper's final networks have C = 36 and N = 6 (20 cells), NAS-Bench-301's C = 32 and N = 2 (8 cells).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 3
NODES = (2, 3, 4, 5)
"""Numbers of a cell's own nodes; 0 and 1 are the outputs of the two cells before."""


def relu_conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    """ReLU, 1x1 convolution without bias, batch normalisation."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def separated(channels: int, kernel: int, stride: int, dilation: int = 1) -> nn.Sequential:
    """ReLU, a convolution of each channel for itself, one across channels, batch normalisation."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


def sep_conv(channels: int, kernel: int, stride: int) -> nn.Sequential:
    """Two separated convolutions, one after the other."""
    return nn.Sequential(separated(channels, kernel, stride), separated(channels, kernel, 1))


def dil_conv(channels: int, kernel: int, stride: int) -> nn.Sequential:
    """A separated convolution that reads every second pixel."""
    return separated(channels, kernel, stride, dilation=2)


class FactorizedReduce(nn.Module):
    """A skip connection that halves the plane: (n, inputs, h, w) to (n, outputs, ceil(h/2), ceil(w/2)).

    Two 1x1 convolutions of stride 2, the second one pixel further, each make half of the channels. A row and
    a column of zeros let odd planes through; at even ones, the only ones in the paper, they are not read.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build for these channel counts."""
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_a = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.conv_b = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the plane."""
        x = self.relu(x)
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        normed: Tensor = self.norm(torch.cat([self.conv_a(x), self.conv_b(shifted)], dim=1))
        return normed


def node_operation(operation: str, channels: int, stride: int) -> nn.Module:
    """The layer of one operation: (n, channels, h, w) to (n, channels, ceil(h/stride), ceil(w/stride))."""
    if operation == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if operation == "maxpool3x3":
        return nn.MaxPool2d(3, stride=stride, padding=1)
    if operation == "avgpool3x3":
        return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    kernel = 3 if operation.endswith("3x3") else 5
    make = dil_conv if operation.startswith("dil") else sep_conv
    return make(channels, kernel, stride)


class DropPath(nn.Module):
    """Drops a whole layer for some images of the batch, in training only; the rest is scaled up.

    Larsson, Maire and Shakhnarovich, FractalNet, ICLR 2017; the paper trains with a probability that grows
    from 0 to 0.2. Set it through `Darts.drop_path`.
    """

    def __init__(self) -> None:
        """Start with a probability of 0."""
        super().__init__()
        self.probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to the same shape."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) < keep
        return x * (kept / keep).to(x.dtype)


class Cell(nn.Module):
    """One cell: two tensors (n, before_0, ...) and (n, before_1, h, w) to (n, 4 channels, ...).

    Layers are named `op_NODE_SIDE`. A reduction cell has stride 2 where it takes one of the two inputs.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[int, int]],
        operations: Sequence[tuple[str, str]],
        before_0: int,
        before_1: int,
        channels: int,
        *,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        """Build.

        Args:
            inputs: For each node the numbers of the two that it takes.
            operations: For each node the two operations.
            before_0: Channels of the cell before the last one.
            before_1: Channels of the last cell.
            channels: Channels of each node.
            reduction: Whether the cell halves the plane.
            after_reduction: Whether the last cell did, so that the one before has a plane twice as large.
        """
        super().__init__()
        self.inputs = [tuple(pair) for pair in inputs]
        self.input_0 = (FactorizedReduce if after_reduction else relu_conv_bn)(before_0, channels)
        self.input_1 = relu_conv_bn(before_1, channels)
        self.drop = DropPath()
        for node, taken, pair in zip(NODES, inputs, operations, strict=True):
            for side, (source, operation) in enumerate(zip(taken, pair, strict=True), start=1):
                stride = 2 if reduction and source < NODES[0] else 1
                self.add_module(f"op_{node}_{side}", node_operation(operation, channels, stride))

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Compute the four nodes and join them."""
        nodes: list[Tensor] = [self.input_0(x0), self.input_1(x1)]
        for node, taken in zip(NODES, self.inputs, strict=True):
            a, b = (self._side(node, side, nodes[source]) for side, source in enumerate(taken, start=1))
            nodes.append(a + b)
        return torch.cat(nodes[NODES[0] :], dim=1)

    def _side(self, node: int, side: int, x: Tensor) -> Tensor:
        """One of a node's two terms; what is only passed on is never dropped."""
        layer = self.get_submodule(f"op_{node}_{side}")
        y: Tensor = layer(x)
        return y if isinstance(layer, nn.Identity) else self.drop(y)


class AuxiliaryHead(nn.Module):
    """A second classifier in the middle, for training: (n, channels, h, w), at least 8 x 8, to logits."""

    def __init__(self, channels: int, classes: int) -> None:
        """Build; the paper's plane of 8 x 8 leaves one pixel at the end."""
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class Darts(nn.Module):
    """The network around the two cells: (n, in_channels, H, W) to logits (n, classes).

    With the auxiliary head, in training: to both logits, (n, classes) twice; the paper adds 0.4 of the loss
    of the second to that of the first.
    """

    def __init__(
        self,
        normal: Callable[[int, int, int, bool], nn.Module],
        reduction: Callable[[int, int, int, bool], nn.Module],
        *,
        classes: int,
        in_channels: int = 3,
        width: int = 36,
        cells: int = 6,
        auxiliary: bool = False,
    ) -> None:
        """Build with fresh weights from torch's default initialisation, as the paper did.

        Args:
            normal: Makes a normal cell from the channels of the two cells before, its own, and whether the
                last one was a reduction.
            reduction: Makes a reduction cell from the same.
            classes: Number of classes.
            in_channels: Channels of the images.
            width: Channels of a node in the first stage.
            cells: Normal cells in each stage.
            auxiliary: Whether to add the auxiliary head.
        """
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 3 * width, 3, padding=1, bias=False), nn.BatchNorm2d(3 * width)
        )
        blocks: list[nn.Module] = []
        before_0, before_1, after = 3 * width, 3 * width, False
        for stage in range(STAGES):
            channels = width * 2**stage
            for make in ([] if stage == 0 else [reduction]) + [normal] * cells:
                blocks.append(make(before_0, before_1, channels, after))
                before_0, before_1, after = before_1, 4 * channels, make is reduction
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(before_1, classes)
        self.middle = 2 * cells + 1  # the second reduction cell
        self.auxiliary = AuxiliaryHead(before_1, classes) if auxiliary else None

    def drop_path(self, probability: float) -> None:
        """Set how often a layer is dropped in training."""
        for layer in self.modules():
            if isinstance(layer, DropPath):
                layer.probability = probability

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the logits."""
        x0: Tensor = self.stem(x)
        x1, middle = x0, x0
        for number, block in enumerate(self.blocks):
            x0, x1 = x1, block(x0, x1)
            if number == self.middle:
                middle = x1
        logits: Tensor = self.classifier(self.head(x1))
        if self.auxiliary is None or not self.training:
            return logits
        return logits, self.auxiliary(middle)
