"""The settings of `--evaluator train`, as they stand in a settings file under [train]."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.images import SHARES, SPLIT, Split, as_split
from vitruvius.generator.files import absolute


class TrainSettings(BaseModel):
    """How candidates are trained; the arguments of `Train`, and their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str = "fast"
    """A recipe that comes with us, or a TOML file with the fields of `Recipe`."""
    halving: int | None = Field(default=None, ge=2)
    """Search with so many times, squared, fewer epochs; then the best are trained longer, few in full."""
    hyperband: bool = False
    """With halving: afterwards some more candidates, drawn uniformly, begin with longer training."""
    narrowest: int | None = Field(default=None, ge=1)
    """With halving: channels of the first stage in the shortest training, growing to the recipe's."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"."""
    time_limit: float = Field(default=300.0, gt=0)
    """Seconds that one candidate may take."""
    memory: float | None = Field(default=None, gt=0)
    """Gigabytes that a training process may take; None sets no limit."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that train at the same time; None is one for a GPU, or one for each core."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of each process."""
    pack: int = Field(default=1, ge=1)
    """Candidates that one process trains side by side."""
    graphs: bool = False
    """On a GPU, record a step of training once and replay it."""
    deterministic: bool = False
    """On a GPU, the same score for the same seed, at some cost."""
    split: Split = SPLIT
    """Shares of the images for training, validation and test."""
    limit: int | None = Field(default=None, ge=2)
    """Most images for training, and most for validation."""
    classes: int | None = Field(default=None, ge=2)
    """Take only the first so many classes."""
    image_size: int | None = Field(default=None, ge=4)
    """Height and width that image files are scaled to."""

    @field_validator("recipe")
    @classmethod
    def _from_anywhere(cls, value: str) -> str:
        """A run is resumed from any folder."""
        return absolute(value) if value.endswith(".toml") else value

    @field_validator("split", mode="before")
    @classmethod
    def _shares(cls, value: object) -> object:
        """A list, or its text as the command line has it."""
        try:
            return as_split(value)
        except UserError:
            raise ValueError(f"it must be {SHARES}") from None

    def arguments(self) -> dict[str, Any]:
        """Those that `Train` takes."""
        return self.model_dump(exclude={"halving", "hyperband", "narrowest"})
