"""Parameters and multiply-adds of layers, by formula: what networks cost is summed up without building one.

Multiply-adds are those of NASLib's counter, as in the table columns `*_flops_m`. Beside convolutions and
linear layers it counts ReLU (1 for each value), batch normalisation (2) and pooling (its window): 222.86 M
for the NAS-Bench-201 cell of six 3x3 convolutions at 32 x 32, where that benchmark's own API counts
convolutions only and says 220.12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = float | NDArray[np.float64]
"""One number, or one for each of n architectures: (n,)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is built for, beside the cell.

    Attributes:
        classes: Number of classes.
        in_channels: Channels of the images; for graphs, features of a node.
        height: Height of the images; 1 for graphs.
        width: Width of the images; 1 for graphs.
        stem: Channels of the first stage; 0 stands for the benchmark's own number.
        cells: Cells in each stage; 0 stands for the benchmark's own number.
        extras: What else the network has, by names that its space knows, for example "auxiliary".
    """

    classes: int
    in_channels: int
    height: int = 1
    width: int = 1
    stem: int = 0
    cells: int = 0
    extras: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.height * self.width

    def halved(self, times: int) -> tuple[int, int]:
        """Height and width after so many layers that halve each side, rounding up."""
        return -(-self.height // 2**times), -(-self.width // 2**times)


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters and multiply-adds for one image, of one architecture or of many."""

    params: Numbers = 0.0
    flops: Numbers = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Of both together."""
        return Cost(self.params + other.params, self.flops + other.flops)

    def __mul__(self, times: Numbers) -> Cost:
        """Of so many of these; 0 and 1 choose among architectures."""
        return Cost(self.params * times, self.flops * times)

    def millions(self, n: int) -> dict[str, NDArray[np.float64]]:
        """By name, "params" and "flops" of n architectures, (n,) each, in millions."""
        return {
            name: np.broadcast_to(np.asarray(value, dtype=np.float64), (n,)) / 1e6
            for name, value in (("params", self.params), ("flops", self.flops))
        }


def convolution(
    inputs: Numbers, outputs: Numbers, kernel: int, pixels: int, *, by_channel: bool = False
) -> Cost:
    """A convolution without bias.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the kernel.
        pixels: Pixels of the output.
        by_channel: Whether each channel is convolved for itself.
    """
    weights = kernel**2 * outputs * (1 if by_channel else inputs)
    return Cost(weights, weights * pixels)


def normalisation(channels: Numbers, pixels: int) -> Cost:
    """A batch normalisation with weights."""
    return Cost(2 * channels, 2 * channels * pixels)


def relu(channels: Numbers, pixels: int) -> Cost:
    """A ReLU."""
    return Cost(0.0, channels * pixels)


def pooling(channels: Numbers, kernel: int, pixels: int) -> Cost:
    """A pooling to so many pixels."""
    return Cost(0.0, channels * kernel**2 * pixels)


def whole_plane(channels: Numbers, height: int, width: int) -> Cost:
    """An adaptive pooling to one pixel: the counter takes its window as one wider than the plane."""
    return Cost(0.0, channels * (height + 1) * (width + 1))


def linear(inputs: Numbers, outputs: int) -> Cost:
    """A linear layer with bias, which the counter leaves out."""
    return Cost((inputs + 1) * outputs, inputs * outputs)


def relu_conv_bn(inputs: Numbers, outputs: Numbers, kernel: int, before: int, after: int) -> Cost:
    """ReLU on so many pixels `before`, convolution and batch normalisation on so many `after`."""
    return relu(inputs, before) + convolution(inputs, outputs, kernel, after) + normalisation(outputs, after)
