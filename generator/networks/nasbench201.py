"""NAS-Bench-201 networks in plain PyTorch.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020,
section 2 and appendix; the published code is D-X-Y/AutoDL-Projects (`cell_infers`, `cell_operations`).

    stem: conv3x3, BN                                             (n, C, H, W)
    N cells                                                       (n, C, H, W)
    residual block, stride 2, then N cells                        (n, 2C, H/2, W/2)
    residual block, stride 2, then N cells                        (n, 4C, H/4, W/4)
    BN, ReLU, average over the plane, linear                      (n, classes)

The benchmark has C = 16 and N = 5. A cell has four nodes; node 0 is its input, every later node is the
sum of what its edges bring, node 3 is the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

STAGES = 3
NODES = 4


def relu_conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch normalisation: the order of the benchmark."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def edge(operation: str, channels: int) -> nn.Module:
    """The layer of one operation that passes something on, (n, channels, h, w) to the same shape.

    Within a cell channels never change, so the pooling has no preceding convolution.
    """
    if operation == "skip":
        return nn.Identity()
    if operation == "avgpool3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_bn(channels, channels, {"conv1x1": 1, "conv3x3": 3}[operation])


class Cell(nn.Module):
    """One cell: (n, channels, h, w) to the same shape.

    Layers are named `edge_SOURCE_TARGET`. A node without edges is zero. Nodes that nothing reads are not
    computed; their layers stay, for they belong to the architecture and to its parameter count.
    """

    def __init__(self, operations: Mapping[str, str], channels: int) -> None:
        """Build from operations by decision name, `{"0->1": "conv3x3", ...}`."""
        super().__init__()
        self.incoming: dict[int, list[int]] = {node: [] for node in range(1, NODES)}
        for target in range(1, NODES):
            for source in range(target):
                operation = operations[f"{source}->{target}"]
                if operation != "none":
                    self.add_module(f"edge_{source}_{target}", edge(operation, channels))
                    self.incoming[target].append(source)
        self.read = _ancestors(self.incoming)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output node."""
        nodes = {0: x}
        for target in self.read:
            total: Tensor | None = None
            for source in self.incoming[target]:
                term: Tensor = self.get_submodule(f"edge_{source}_{target}")(nodes[source])
                total = term if total is None else total + term
            nodes[target] = torch.zeros_like(x) if total is None else total
        return nodes[NODES - 1]


def _ancestors(incoming: Mapping[int, list[int]]) -> list[int]:
    """The nodes that the output depends on and the output itself, without the input, in order."""
    read = {NODES - 1}
    for node in range(NODES - 1, 0, -1):
        if node in read:
            read.update(incoming[node])
    return sorted(read - {0})


class Residual(nn.Module):
    """The block between stages: (n, inputs, h, w) to (n, outputs, ceil(h/2), ceil(w/2)).

    `ceil_mode` changes nothing at even sizes, the only ones in the benchmark; it lets odd ones through.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build for these channel counts."""
        super().__init__()
        self.conv_a = relu_conv_bn(inputs, outputs, 3, stride=2)
        self.conv_b = relu_conv_bn(outputs, outputs, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Halve the plane."""
        short: Tensor = self.shortcut(x)
        return short + self.conv_b(self.conv_a(x))


class NasBench201(nn.Module):
    """The network around a cell: (n, in_channels, H, W) to logits (n, classes)."""

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        *,
        classes: int,
        in_channels: int = 3,
        width: int = 16,
        cells: int = 5,
    ) -> None:
        """Build with fresh weights from torch's default initialisation, as the benchmark did.

        Args:
            cell: Makes a cell from its number of channels.
            classes: Number of classes.
            in_channels: Channels of the images.
            width: Channels of the first stage; doubled at each of the two residual blocks.
            cells: Cells in each stage.
        """
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        blocks: list[nn.Module] = []
        for stage in range(STAGES):
            channels = width * 2**stage
            if stage > 0:
                blocks.append(Residual(channels // 2, channels))
            blocks += [cell(channels) for _ in range(cells)]
        self.blocks = nn.Sequential(*blocks)
        last = width * 2 ** (STAGES - 1)
        self.head = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(x))))
        return logits
