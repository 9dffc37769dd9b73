"""What tests of retraining share: two cells, a recipe, images, and the record of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.export import Card
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import get_space

SPACE = get_space("nasbench201")
CHAIN = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|")
NOTHING = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
SHORT = Recipe(epochs=2, batch=8, width=4)


def shades(n: int = 120) -> tuple[Any, Any]:
    """Images that are told apart by their brightness; each holds its own number, to know it again."""
    y = np.arange(n) % 3
    x = np.full((n, 8, 8), 0.0) + y[:, None, None]
    x[:, 0, 0] = np.arange(n)
    return x, y


def exported(folder: Path, space: str = "nasbench201", key: str = CHAIN.key, **facts: Any) -> Path:
    """The record of an export, which is all that is read of it."""
    folder.mkdir(exist_ok=True)
    Card(space=space, architecture=key, shape=Shape(3, 1, 8, 8, 4, 1), **facts).write(folder)
    return folder
