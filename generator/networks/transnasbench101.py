"""TransNAS-Bench-101 micro networks in plain PyTorch.

Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of Cross-Task Neural
Architecture Search", CVPR 2021, section 3 and appendix. The skeleton is `64-41414`:

    stem: conv3x3 stride 2, BN, ReLU, conv3x3 stride 2, BN                  (n, C, H/4, W/4)
    five modules of N cells; in the first, third and fifth the first cell
    halves the plane and doubles the channels                               (n, 8C, H/32, W/32)
    average over the plane, linear                                          (n, classes)

The benchmark has C = 64 and N = 2. This is the network of its tasks class_scene (63 classes), class_object
(75) and room_layout (9); for jigsaw (1,000 permutations) the averages of nine tiles are joined before the
linear layer. Tasks that answer with an image (autoencoder, normal, segmentsemantic) have other heads, which
are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

HALVES = (True, False, True, False, True)
"""Which of the five modules halve the plane."""
TILES = 9
NODES = 4


def relu_conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch normalisation: the order of the benchmark."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class FactorizedReduce(nn.Module):
    """A skip connection that halves the plane: (n, inputs, h, w) to (n, outputs, ceil(h/2), ceil(w/2)).

    Two 1x1 convolutions of stride 2, the second one pixel further, each make half of the channels.
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


def skip(inputs: int, outputs: int, stride: int) -> nn.Module:
    """What passes its input on, unchanged where nothing has to change."""
    same = stride == 1 and inputs == outputs
    return nn.Identity() if same else FactorizedReduce(inputs, outputs)


def edge(operation: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    """The layer of one operation that passes something on."""
    if operation == "skip":
        return skip(inputs, outputs, stride)
    return relu_conv_bn(inputs, outputs, {"conv1x1": 1, "conv3x3": 3}[operation], stride)


def zeros(x: Tensor, channels: int, stride: int) -> Tensor:
    """What a node has that nothing reaches: (n, channels, ceil(h/stride), ceil(w/stride))."""
    return torch.zeros_like(x[:, :1, ::stride, ::stride]).expand(-1, channels, -1, -1)


class Cell(nn.Module):
    """One cell: (n, inputs, h, w) to (n, outputs, ceil(h/stride), ceil(w/stride)).

    Edges that leave the input change channels and stride, all others keep both. Layers are named
    `edge_SOURCE_TARGET`. Nodes that nothing reads are not computed; their layers stay, for they belong to
    the architecture and to its parameter count.
    """

    def __init__(self, operations: Mapping[str, str], inputs: int, outputs: int, stride: int) -> None:
        """Build from operations by decision name, `{"0->1": "conv3x3", ...}`."""
        super().__init__()
        self.outputs, self.stride = outputs, stride
        self.incoming: dict[int, list[int]] = {node: [] for node in range(1, NODES)}
        for target in range(1, NODES):
            for source in range(target):
                operation = operations[f"{source}->{target}"]
                if operation != "none":
                    first = source == 0
                    layer = edge(operation, inputs if first else outputs, outputs, stride if first else 1)
                    self.add_module(f"edge_{source}_{target}", layer)
                    self.incoming[target].append(source)
        read = {NODES - 1}
        for node in range(NODES - 1, 0, -1):
            if node in read:
                read.update(self.incoming[node])
        self.read = sorted(read - {0})

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output node."""
        nodes = {0: x}
        for target in self.read:
            terms: list[Tensor] = [
                self.get_submodule(f"edge_{source}_{target}")(nodes[source])
                for source in self.incoming[target]
            ]
            nodes[target] = sum(terms[1:], terms[0]) if terms else zeros(x, self.outputs, self.stride)
        return nodes[NODES - 1]


class TransNasBench101(nn.Module):
    """The network around a cell: (n, in_channels, H, W), for jigsaw (n, 9, in_channels, H, W), to logits."""

    def __init__(
        self,
        cell: Callable[[int, int, int], nn.Module],
        *,
        classes: int,
        in_channels: int = 3,
        width: int = 64,
        cells: int = 2,
        jigsaw: bool = False,
    ) -> None:
        """Build with fresh weights, convolutions drawn as the benchmark does.

        Args:
            cell: Makes a cell from its input channels, output channels and stride.
            classes: Number of classes.
            in_channels: Channels of the images.
            width: Channels after the stem; doubled three times.
            cells: Cells in each of the five modules.
            jigsaw: Whether the input is nine tiles of an image.
        """
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            relu_conv_bn(width // 2, width, 3, stride=2),
        )
        blocks: list[nn.Module] = []
        for halve in HALVES:
            before, width = width, width * 2 if halve else width
            blocks.append(cell(before, width, 2 if halve else 1))
            blocks += [cell(width, width, 1) for _ in range(cells - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.jigsaw = jigsaw
        self.classifier = nn.Linear(width * TILES if jigsaw else width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        if self.jigsaw:
            x = x.flatten(0, 1)  # (9n, in_channels, H, W)
        features: Tensor = self.head(self.blocks(self.stem(x)))
        if self.jigsaw:
            features = features.view(-1, TILES * features.shape[1])
        logits: Tensor = self.classifier(features)
        return logits
