"""Images that lie on the device as they are, and batches of them, cropped, flipped and standardised there.

No loader stands between: what is random in an epoch is drawn at once on the CPU, so that it is the same on
every device, and then a batch is one gather and a few element-wise steps on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vitruvius.generator.evaluation.recipe import Recipe


@dataclass(frozen=True, slots=True)
class DeviceImages:
    """Training and validation images on one device, channels last, not yet standardised.

    Attributes:
        train_x: (n, H + 2 margin, W + 2 margin, C), uint8 or float32, black around the images.
        train_y: (n,) int64.
        valid_x: (m, H, W, C).
        valid_y: (m,) int64.
        mean: (C,) of the training part.
        deviation: (C,) of the training part.
        margin: Pixels of black on each side.
    """

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor
    mean: Tensor
    deviation: Tensor
    margin: int

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.train_x.device

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train_x.shape[3]

    def standardise(self, x: Tensor) -> Tensor:
        """(b, H, W, C) as float32 (b, C, H, W) in the memory format `channels_last`."""
        return x.float().sub(self.mean).div(self.deviation).permute(0, 3, 1, 2)

    def validation(self, size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation part in pieces: images (b, C, H, W), labels (b,)."""
        for x, y in zip(self.valid_x.split(size), self.valid_y.split(size), strict=True):
            yield self.standardise(x), y


def to_device(arrays: Mapping[str, Tensor], recipe: Recipe, device: str) -> DeviceImages:
    """Move images there, with the margin that the recipe's augmentation needs.

    Args:
        arrays: `train_x` (n, C, H, W), `train_y` (n,), `valid_x`, `valid_y`.
        recipe: How they will be augmented.
        device: For torch.

    Raises:
        RuntimeError: Out of memory, as torch reports it.
    """
    train, valid = (
        _real(arrays[part]).to(device).permute(0, 2, 3, 1).contiguous() for part in ("train_x", "valid_x")
    )
    total, squares = _moments(train)
    mean = total / (train.numel() // train.shape[3])
    variance = squares / (train.numel() // train.shape[3]) - mean**2
    margin = 0 if recipe.augment == "none" else max(1, min(train.shape[1:3]) // 8)
    return DeviceImages(
        functional.pad(train, (0, 0, margin, margin, margin, margin)),
        arrays["train_y"].to(device),
        valid,
        arrays["valid_y"].to(device),
        mean.float(),
        variance.clamp_min(0).sqrt().float().clamp_min(1e-6),
        margin,
    )


def _real(x: Tensor) -> Tensor:
    return x if x.dtype == torch.uint8 else x.float()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and sum of squares of each channel, in pieces: the float64 copy of all of them would be large."""
    total = torch.zeros(x.shape[3], dtype=torch.float64, device=x.device)
    squares = torch.zeros_like(total)
    for part in x.split(4096):
        part = part.double()
        total += part.sum((0, 1, 2))
        squares += part.square().sum((0, 1, 2))
    return total, squares


class Epochs:
    """Batches of training images, epoch by epoch; every draw follows from the seed.

    What an epoch draws lies on the device, and a counter there says which batch is next: so a step of
    training needs nothing from the host, and can be recorded and replayed.
    """

    def __init__(self, images: DeviceImages, recipe: Recipe, seed: int) -> None:
        """Set up; `begin` draws the first epoch."""
        self._images, self._recipe = images, recipe
        self._rng = torch.Generator().manual_seed(seed)
        self._counter = torch.zeros(1, dtype=torch.int64, device=images.device)
        self._draws: dict[str, Tensor] = {}
        self.batch = recipe.batch_of(len(images.train_y))
        self.steps = len(images.train_y) // self.batch
        side = images.margin * 2
        self._size = (images.train_x.shape[1] - side, images.train_x.shape[2] - side)

    def begin(self) -> None:
        """Draw an epoch: order, shifts, flips, holes. Writes into the same memory each time."""
        drawn = self._draw()
        if not self._draws:
            self._draws = {name: values.to(self._images.device) for name, values in drawn.items()}
        for name, values in drawn.items():
            self._draws[name].copy_(values)
        self._counter.zero_()

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (batch, C, H, W) standardised and augmented, labels (batch,)."""
        draw = {name: values.index_select(0, self._counter)[0] for name, values in self._draws.items()}
        self._counter += 1
        images, (height, width) = self._images, self._size
        rows = draw["top"][:, None] + torch.arange(height, device=images.device)  # (b, H)
        columns = draw["left"][:, None] + torch.arange(width, device=images.device)  # (b, W)
        if "flip" in draw:
            columns = torch.where(draw["flip"][:, None], columns.flip(1), columns)
        order = draw["order"]
        x = images.train_x[order[:, None, None], rows[:, :, None], columns[:, None, :]]  # (b, H, W, C)
        x = images.standardise(x)
        if "hole_y" in draw:
            x = x * self._outside(draw["hole_y"], draw["hole_x"])
        return x, images.train_y[order]

    def _outside(self, y: Tensor, x: Tensor) -> Tensor:
        """(b, 1, H, W): 0 within a square around (y, x), cut off at the border, 1 elsewhere.

        DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
        """
        half = self._recipe.cutout // 2
        masks: list[Tensor] = []
        for size, middle in zip(self._size, (y, x), strict=True):
            place = torch.arange(size, device=y.device)
            masks.append(
                (place >= middle[:, None] - half) & (place < middle[:, None] - half + self._recipe.cutout)
            )
        return (~(masks[0][:, None, :, None] & masks[1][:, None, None, :])).float()

    def _draw(self) -> dict[str, Tensor]:
        """All that is random in an epoch, each (steps, batch), on the CPU."""
        recipe, rng, shape = self._recipe, self._rng, (self.steps, self.batch)
        count = self.steps * self.batch
        drawn = {
            "order": torch.randperm(len(self._images.train_y), generator=rng)[:count].view(shape),
            "top": torch.randint(0, 2 * self._images.margin + 1, shape, generator=rng),
            "left": torch.randint(0, 2 * self._images.margin + 1, shape, generator=rng),
        }
        if recipe.augment == "shift+flip":
            drawn["flip"] = torch.rand(shape, generator=rng) < 0.5
        if recipe.cutout:
            for name, size in zip(("hole_y", "hole_x"), self._size, strict=True):
                drawn[name] = torch.randint(0, size, shape, generator=rng)
        return drawn
