"""What there is to know of one space's networks: how to build, count and write them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, Choices, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor, nn


class Family(ABC):
    """The networks of one space; a subclass for each stands in `families/`, beside a file of plain PyTorch.

    Its methods take complete shapes, as `complete` gives them.
    """

    title: ClassVar[str]
    """The benchmark's name, for people."""
    stem: ClassVar[int]
    """The benchmark's channels of the first stage."""
    cells: ClassVar[int]
    """The benchmark's cells in each stage."""
    stages: ClassVar[str]
    """What a stage is: "each of the three stages"."""
    extras: ClassVar[Mapping[str, str]] = {}
    """What a network may have beside, with a few words each."""
    images: ClassVar[bool] = True
    """Whether the networks read images: otherwise a graph."""
    shapes: ClassVar[Mapping[str, Shape]]
    """Shapes of the benchmark's own data sets."""

    def complete(self, shape: Shape) -> Shape:
        """The shape with the benchmark's numbers in place of 0.

        Raises:
            UserError: It asks for something that these networks do not have.
        """
        for extra in shape.extras:
            if extra not in self.extras:
                allowed = ", ".join(f"{name} ({words})" for name, words in self.extras.items()) or "none"
                raise UserError(f"Networks of {self.title} have no extra {extra!r}; allowed: {allowed}.")
        return replace(shape, stem=shape.stem or self.stem, cells=shape.cells or self.cells)

    @abstractmethod
    def build(self, architecture: Architecture, shape: Shape) -> nn.Module:
        """The network with fresh weights."""

    @abstractmethod
    def costs(self, space: SearchSpace, choices: Choices, shape: Shape) -> dict[str, NDArray[np.float64]]:
        """What rows (n, D) cost: "params" and, for images, "flops", (n,) each, in millions."""

    @abstractmethod
    def source(self, architecture: Architecture, shape: Shape) -> str:
        """The text of `model.py`, which needs nothing of ours; its class `Network` takes the same weights."""

    def example(self, shape: Shape) -> tuple[Tensor, ...]:
        """Random inputs for four images, what `forward` takes."""
        import torch

        return (torch.randn(4, shape.in_channels, shape.height, shape.width),)

    def facts(self, shape: Shape) -> list[str]:
        """Lines for people: what the network is built for."""
        extras = [f"with {extra}: {self.extras[extra]}" for extra in shape.extras]
        return [
            f"channels in the first stage: {shape.stem}; cells in {self.stages}: {shape.cells}",
            f"images of {shape.in_channels} x {shape.height} x {shape.width}, {shape.classes} classes",
            *extras,
        ]


def counts(space: SearchSpace, choices: Choices) -> dict[str, NDArray[np.float64]]:
    """How often each operation stands in each row: (n,) by operation."""
    columns = [decision.choices for decision in space.decisions]
    return {
        operation: np.sum(
            [
                choices[:, column] == names.index(operation)
                for column, names in enumerate(columns)
                if operation in names
            ],
            axis=0,
        ).astype(np.float64)
        for operation in space.operations
    }
