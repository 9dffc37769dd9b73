"""How a candidate is trained, as data: the same recipe and data give the same evaluator name."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ENGINE = 1
"""Raise it when the engine changes what a recipe means: older scores are then not mixed with newer ones."""


class Recipe(BaseModel):
    """What one training run does. Unknown fields and impossible values are refused.

    The defaults are a small network trained briefly, a few seconds for small images on one core; how far its
    scores can be trusted is measured by `benchmarks/proxy.py`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=12, ge=1)
    """Passes over the training part."""
    batch: int = Field(default=64, ge=2)
    """Images in one optimiser step."""
    width: int = Field(default=8, ge=1)
    """Channels of the first stage."""
    cells: int = Field(default=1, ge=1)
    """Cells in each of the three stages."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """`sgd` is with Nesterov momentum 0.9."""
    lr: float = Field(default=0.1, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate falls, step by step; `cosine` ends at zero."""
    augment: Literal["none", "shift", "shift+flip"] = "shift"
    """`shift` moves each image by up to an eighth of its side, `flip` mirrors half of them."""
    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that name this recipe."""
        text = json.dumps({"engine": ENGINE, **self.model_dump()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def fidelity(self) -> str:
        """What was run, as in `Measurement.fidelity`."""
        return f"{self.epochs} epochs"
