"""What tests of training share: cells, images on the CPU, and networks to be built."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from vitruvius.generator.evaluation.batches import DeviceImages, to_device
from vitruvius.generator.evaluation.images import Images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import Architecture, get_space

SPACE = get_space("nasbench201")
CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SPLIT = (0.4, 0.4, 0.2)


def cells(n: int) -> list[Architecture]:
    drawn = SPACE.architectures(SPACE.sample(n, np.random.default_rng(5)))
    return [SPACE.parse(cell.id) for cell in drawn]  # the first of their class, which are measured


def on_cpu(images: Images, recipe: Recipe) -> DeviceImages:
    parts = ("train_x", "train_y", "valid_x", "valid_y")
    return to_device({part: torch.from_numpy(getattr(images, part)) for part in parts}, recipe, "cpu")


def builds(architectures: list[Architecture], width: int) -> list[Callable[[], nn.Module]]:
    return [
        functools.partial(build_network, cell, classes=10, in_channels=1, width=width, cells=1)
        for cell in architectures
    ]
