"""Architecture -> `torch.nn.Module`, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitruvius.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from vitruvius.generator.space import Architecture, SearchSpace

SPACES_WITH_NETWORKS: tuple[str, ...] = ("nasbench201",)


def check_networks(space: SearchSpace) -> None:
    """Refuse a space whose architectures cannot be built as networks yet.

    Raises:
        UserError: The space has no networks; the message lists those that have.
    """
    if space.name not in SPACES_WITH_NETWORKS:
        raise UserError(
            f"Architectures of {space.name} cannot be built as networks yet, so they cannot be trained or "
            f"exported; spaces that can: {', '.join(SPACES_WITH_NETWORKS)}. "
            f"Measure {space.name} with a table."
        )


def build_network(
    architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = 16, cells: int = 5
) -> nn.Module:
    """Build the network of an architecture with fresh weights.

    Args:
        architecture: What to build.
        classes: Number of classes, the size of the output (n, classes).
        in_channels: Channels of the images (n, in_channels, H, W).
        width: Channels of the first stage.
        cells: Cells in each stage.

    Raises:
        UserError: The space has no networks yet.

    Example:
        ```python
        space = get_space("nasbench201")
        cell = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
        network = build_network(cell, classes=10)
        logits = network(torch.zeros(2, 3, 32, 32))     # (2, 10)
        ```
    """
    check_networks(architecture.space)
    from vitruvius.generator.networks.nasbench201 import NasBench201

    return NasBench201(
        architecture.named(), classes=classes, in_channels=in_channels, width=width, cells=cells
    )
