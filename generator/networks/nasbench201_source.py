"""NAS-Bench-201 networks as stand-alone source text: one cell written out, nothing of ours imported.

The attribute names are those of `nasbench201.NasBench201`, so that weights go from one to the other; the
export compares the outputs of both before it reports success.
"""

from __future__ import annotations

import textwrap
from string import Template

from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture

_LAYERS = {
    "skip": "nn.Identity()",
    "avgpool3x3": "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
    "conv1x1": "relu_conv_bn(channels, channels, 1)",
    "conv3x3": "relu_conv_bn(channels, channels, 3)",
}

_MODEL = Template('''"""A NAS-Bench-201 network. Plain PyTorch, needs nothing else.

    $key

$drawing

    from model import Network

    network = Network()
    logits = network(torch.zeros(1, $in_channels, $height, $width))    # (1, $classes)
"""

import torch
from torch import Tensor, nn


def relu_conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Cell(nn.Module):
    """(n, channels, h, w) to the same shape; x0 is the input, x3 the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
$layers

    def forward(self, x0: Tensor) -> Tensor:
$nodes
        return x3


class Residual(nn.Module):
    """(n, inputs, h, w) to (n, outputs, h / 2, w / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = relu_conv_bn(inputs, outputs, 3, stride=2)
        self.conv_b = relu_conv_bn(outputs, outputs, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv_b(self.conv_a(x))


class Network(nn.Module):
    """(n, in_channels, h, w) to logits (n, classes)."""

    def __init__(
        self,
        classes: int = $classes,
        in_channels: int = $in_channels,
        width: int = $stem,
        cells: int = $cells,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        self.blocks = nn.Sequential(
            *[Cell(width) for _ in range(cells)],
            Residual(width, 2 * width),
            *[Cell(2 * width) for _ in range(cells)],
            Residual(2 * width, 4 * width),
            *[Cell(4 * width) for _ in range(cells)],
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))))


if __name__ == "__main__":
    network = Network()
    print(sum(parameter.numel() for parameter in network.parameters()), "parameters")
    print(network(torch.zeros(1, $in_channels, $height, $width)).shape)
''')


def nasbench201_source(architecture: Architecture, shape: Shape) -> str:
    """The text of `model.py` for one architecture.

    Args:
        architecture: An architecture of `nasbench201`.
        shape: Defaults of the network's arguments.
    """
    operations = architecture.named()
    layers: list[str] = []
    nodes: list[str] = []
    for target in (1, 2, 3):
        terms: list[str] = []
        for source in range(target):
            operation = operations[f"{source}->{target}"]
            if operation != "none":
                layers.append(f"self.edge_{source}_{target} = {_LAYERS[operation]}")
                terms.append(f"self.edge_{source}_{target}(x{source})")
        nodes.append(f"x{target} = {' + '.join(terms) or 'torch.zeros_like(x0)'}")
    return _MODEL.substitute(
        key=architecture.key,
        drawing=textwrap.indent(architecture.space.draw(architecture), "    "),
        layers=textwrap.indent("\n".join(layers) or "# no edge passes anything on", " " * 8),
        nodes=textwrap.indent("\n".join(nodes), " " * 8),
        classes=shape.classes, in_channels=shape.in_channels, stem=shape.stem, cells=shape.cells,
        height=shape.height, width=shape.width,
    )  # fmt: skip
