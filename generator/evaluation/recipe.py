"""How a candidate is trained, as data: the same recipe and data give the same evaluator name."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitruvius.errors import SettingsError, UserError, unknown_name

ENGINE = 2
"""Raise it when the engine changes what a recipe means: older scores are then not mixed with newer ones."""

SHIPPED = Path(__file__).with_name("recipes")
"""Where the recipes stand that come with us, one TOML file each."""


class Recipe(BaseModel):
    """What one training run does. Unknown fields and impossible values are refused.

    The defaults are a small network trained briefly, a few seconds for small images on one core; how far its
    scores can be trusted is measured by `benchmarks/proxy.py`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    epochs: int = Field(default=12, ge=1)
    """Passes over the training part."""
    batch: int = Field(default=64, ge=2)
    """Images in one optimiser step; fewer where it would leave out more than a tenth of the images."""
    width: int = Field(default=8, ge=0)
    """Channels of the first stage; 0 takes the benchmark's own number."""
    cells: int = Field(default=1, ge=0)
    """Cells in each stage; 0 takes the benchmark's own number."""
    optimiser: Literal["sgd", "momentum", "adamw", "rmsprop"] = "sgd"
    """`sgd` is with Nesterov momentum 0.9, `momentum` with the usual one; `rmsprop` is TensorFlow's."""
    lr: float = Field(default=0.1, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate falls, step by step; `cosine` ends at zero."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; None does not clip."""
    augment: Literal["none", "shift", "shift+flip"] = "shift"
    """`shift` moves each image by up to an eighth of its side over black, `flip` mirrors half of them."""
    cutout: int = Field(default=0, ge=0)
    """Side of a square that is greyed out at a random place; 0 for none."""
    auxiliary: float = Field(default=0.0, ge=0)
    """Weight of the loss at the auxiliary head, for networks that have one (DARTS); 0 builds none."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """How often a layer is dropped in the last epoch, growing from 0; for networks that can (DARTS)."""
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    """`auto` is bfloat16 on a GPU, float32 on a CPU; `fp32` is float32 on both, on a GPU without TF32."""

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that cutout would grey out whole.

        Raises:
            UserError: The square is larger than the image.
        """
        if self.cutout > min(height, width):
            raise UserError(
                f"The recipe's cutout = {self.cutout} is larger than images of {height} x {width}, of which "
                f"it would leave little or nothing: take a recipe with cutout = {min(height, width) // 2} or "
                "less."
            )

    def batch_of(self, images: int) -> int:
        """Images in one step where so many are trained on: fewer than `batch` where these are few.

        At most a tenth of an epoch is left out: what fills no batch is not seen in it.
        """
        most = min(self.batch, images)
        return next(size for size in range(most, 0, -1) if images % size <= images / 10)

    def resolved(self, *, gpu: bool) -> Recipe:
        """What is done on a GPU or on a CPU: there bfloat16 is said by name, for it gives other scores."""
        return self.model_copy(update={"precision": "bf16"}) if gpu and self.precision == "auto" else self

    @property
    def digests(self) -> tuple[str, ...]:
        """What names its measurements: those of a CPU, and those of a GPU."""
        return tuple(self.resolved(gpu=gpu).digest for gpu in (False, True))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that name this recipe; with `auto` as on a CPU (see `resolved`)."""
        text = json.dumps({"engine": ENGINE, **self.model_dump()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def extras(self) -> tuple[str, ...]:
        """What the networks need beside, as in `Shape.extras`."""
        return ("auxiliary",) if self.auxiliary else ()

    @property
    def fidelity(self) -> str:
        """What was run, as in `Measurement.fidelity`."""
        return f"{self.epochs} epochs"

    def fidelity_of(self, images: int) -> str:
        """What was run where so many images are trained on, with smaller batches where these are few."""
        batch = self.batch_of(images)
        return self.fidelity + (f", batches of {batch}" if batch < min(self.batch, images) else "")


def dump_recipe(recipe: Recipe) -> str:
    """A recipe as TOML, every field; reading it gives an equal one."""
    fields = recipe.model_dump(exclude_none=True)
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


def recipe_names() -> list[str]:
    """Names of the recipes that come with us."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """A recipe by name, or from a TOML file of one's own with the fields of `Recipe`.

    Args:
        name: One of `recipe_names()`, or the path of a file that ends with .toml.

    Raises:
        UnknownNameError: No recipe has this name.
        SettingsError: The file is not there, not TOML, or not a recipe.

    Example:
        ```python
        train = vt.Train("mnist", recipe=load_recipe("fast"))
        ```
    """
    if name.endswith(".toml"):
        path = Path(name)
    elif name in recipe_names():
        path = SHIPPED / f"{name}.toml"
    else:
        raise unknown_name("recipe", name, [*recipe_names(), "FILE.toml"])
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The recipe {path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            told = unknown_name(f"field in the recipe {path}:", field, Recipe.model_fields)
            raise SettingsError(str(told)) from None
        raise SettingsError(
            f"The recipe {path} sets {field} = {first['input']!r}: {first['msg']}. "
            f"Fields: {', '.join(Recipe.model_fields)}."
        ) from None
