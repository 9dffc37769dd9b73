"""Architecture -> `torch.nn.Module`, and what it costs.

For each space with networks there is a file of plain PyTorch here, which imports nothing of ours, and in
`families/` what else there is to know of them: costs by formula, a cell written out for export.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.networks.costs import Shape

if TYPE_CHECKING:
    from torch import nn

    from vitruvius.generator.networks.families.base import Family
    from vitruvius.generator.space import Architecture, Choices, SearchSpace

_OF_IMAGES = {
    "darts": "darts.DartsFamily",
    "nasbench101": "nasbench101.NasBench101Family",
    "nasbench201": "nasbench201.NasBench201Family",
    "transnasbench101-micro": "transnasbench101.TransNasBench101Family",
}
_FAMILIES = {**_OF_IMAGES, "nasbench-graph": "nasbench_graph.NasBenchGraphFamily"}
"""Where the networks of each space stand, in `families/`; those above read images (`Family.images`)."""

SPACES_WITH_NETWORKS: tuple[str, ...] = tuple(sorted(_FAMILIES))


def check_networks(space: SearchSpace) -> None:
    """Refuse a space whose networks cannot be trained on images.

    Raises:
        UserError: It has no networks, or they read graphs; the message lists the spaces that can be trained.
    """
    if space.name not in _FAMILIES:
        family(space)  # says so
    elif space.name not in _OF_IMAGES:  # told without loading what networks need, which takes seconds
        raise UserError(
            f"Networks of {space.name} read graphs, not images, so they cannot be trained here yet; spaces "
            f"that can: {', '.join(_OF_IMAGES)}. Measure {space.name} with a table."
        )


def family(space: SearchSpace) -> Family:
    """All that is known of a space's networks.

    Raises:
        UserError: The space has none.
    """
    if space.name not in _FAMILIES:
        raise UserError(
            f"Architectures of {space.name} cannot be built as networks, so they cannot be trained or "
            f"exported; spaces that can: {', '.join(SPACES_WITH_NETWORKS)}. "
            f"Measure {space.name} with a table or with scores of your own."
        )
    return _family(_FAMILIES[space.name])


@cache
def _family(place: str) -> Family:
    module, _, name = place.partition(".")
    found: type[Family] = getattr(importlib.import_module(f"{__name__}.families.{module}"), name)
    return found()


def build_network(
    architecture: Architecture,
    *,
    classes: int,
    in_channels: int = 3,
    width: int = 0,
    cells: int = 0,
    extras: tuple[str, ...] = (),
) -> nn.Module:
    """Build the network of an architecture with fresh weights.

    Args:
        architecture: What to build.
        classes: Number of classes, the size of the output (n, classes).
        in_channels: Channels of the images (n, in_channels, H, W); for graphs, features of a node.
        width: Channels of the first stage; 0 takes the benchmark's number.
        cells: Cells in each stage; 0 takes the benchmark's number.
        extras: What else the network has, for example ("auxiliary",) with DARTS.

    Raises:
        UserError: The space has no networks, or not these extras.

    Example:
        ```python
        space = get_space("nasbench201")
        cell = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
        network = build_network(cell, classes=10)
        logits = network(torch.zeros(2, 3, 32, 32))     # (2, 10)
        ```
    """
    networks = family(architecture.space)
    shape = networks.complete(Shape(classes, in_channels, stem=width, cells=cells, extras=extras))
    return networks.build(architecture, shape)


def network_costs(space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
    """Parameters and multiply-adds of many networks, by formula, without building one.

    Args:
        space: A space with networks.
        choices: (n, D) rows.
        shape: What the networks are built for.

    Returns:
        "params" and, where the networks read images, "flops", (n,) each, in millions.

    Raises:
        UserError: The space has no networks.
    """
    networks = family(space)
    return networks.costs(space, choices, networks.complete(shape))
