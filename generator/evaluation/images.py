"""Labelled images for training: digits, arrays, or a torch data set; checked, split, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name

SPLIT_SEED = 20_201
"""Fixed, so that the part set aside for tests is the same in every session and every version."""

EMBEDDED = ("digits",)
SMALLEST_SIDE = 4


class ImageDataset(Protocol):
    """A map-style data set, as torch's: a length, and (image, label) by index."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """One (image, label): the image (H, W) or (C, H, W), the label a whole number."""
        ...


Source = str | tuple[Any, Any] | ImageDataset


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Training and validation images. The test part is not here: nothing that searches can read it.

    Attributes:
        name: Name of the data set.
        train_x: (n, C, H, W), uint8 or float32.
        train_y: (n,) int64 in 0..classes-1.
        valid_x: (m, C, H, W).
        valid_y: (m,).
        classes: Number of classes.
        set_aside: Number of test images that were left out.
        fingerprint: Hash of all images, labels and the split.
    """

    name: str
    train_x: NDArray[np.generic]
    train_y: NDArray[np.int64]
    valid_x: NDArray[np.generic]
    valid_y: NDArray[np.int64]
    classes: int
    set_aside: int
    fingerprint: str

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width


def load_images(source: Source, name: str | None, split: tuple[float, float, float]) -> Images:
    """Read, check and split a data set.

    Args:
        source: "digits", (x, y) arrays, or a data set that yields (image, label).
        name: Name for one's own data; None takes "data-" and the start of its hash.
        split: Shares of training, validation and test, in each class.

    Raises:
        UnknownNameError: A name that is no embedded data set.
        UserError: Shapes, labels or shares that cannot be used.
    """
    if isinstance(source, str):
        if source not in EMBEDDED:
            raise unknown_name("embedded data set", source, EMBEDDED)
        x, y = _digits()
        name = name or source
    else:
        x, y = _arrays(source) if isinstance(source, tuple) else _items(source)
    x, y, classes = _checked(x, y)
    train, valid, test = split_rows(y, split)
    if min(len(train), len(valid)) == 0:
        raise UserError(f"A split of {split} leaves no image to train or to validate on of {len(y)} images.")
    digest = hashlib.sha256(str((x.shape, str(x.dtype), split, SPLIT_SEED)).encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(y.data)
    fingerprint = digest.hexdigest()[:16]
    return Images(
        name or f"data-{fingerprint[:8]}",
        x[train],
        y[train],
        x[valid],
        y[valid],
        classes,
        len(test),
        fingerprint,
    )


def split_rows(y: NDArray[np.int64], split: tuple[float, float, float]) -> tuple[NDArray[np.intp], ...]:
    """Rows of the training, validation and test part: the given shares of each class, by a fixed shuffle.

    Raises:
        UserError: Shares that are not three numbers from 0 to 1 with sum 1.
    """
    if len(split) != 3 or min(split) < 0 or abs(sum(split) - 1.0) > 1e-9:
        raise UserError(
            f"The split {split} must be three shares (train, valid, test) from 0 to 1 with sum 1."
        )
    rng = np.random.default_rng(SPLIT_SEED)
    parts: list[list[NDArray[np.intp]]] = [[], [], []]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        first = round(split[0] * len(rows))
        second = first + round(split[1] * len(rows)) if split[2] > 0 else len(rows)
        for part, piece in zip(parts, np.split(rows, [first, second]), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def _digits() -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """scikit-learn's 1,797 digits of 8 x 8, grey levels 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = cast(Any, load_digits())
    return bunch.images.astype(np.uint8), bunch.target


def _arrays(source: tuple[Any, Any]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The two arrays of an (x, y) pair; tensors are taken too."""
    if len(source) != 2:
        raise UserError(f"Arrays are given as a pair (x, y), but {len(source)} values were given.")
    return np.asarray(source[0]), np.asarray(source[1])


def _items(source: ImageDataset) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """All items of a data set, stacked."""
    try:
        pairs = [source[index] for index in range(len(source))]
        images = [np.asarray(image) for image, _ in pairs]
        labels = np.array([int(label) for _, label in pairs])
    except (TypeError, ValueError) as error:
        raise UserError(
            "The data set must have a length and give (image, label) by index, the label a whole number: "
            f"{error}."
        ) from error
    shapes: Sequence[tuple[int, ...]] = sorted({image.shape for image in images})
    if len(shapes) != 1:
        raise UserError(
            f"All images must have one shape, but the data set has {shapes[:3]}: resize them first."
        )
    return np.stack(images), labels


def _checked(
    x: NDArray[np.generic], y: NDArray[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.int64], int]:
    """Images as (n, C, H, W) uint8 or float32, labels as 0..classes-1."""
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4:
        raise UserError(f"Images must be (n, H, W) or (n, C, H, W), but the array has shape {x.shape}.")
    if x.shape[3] <= 4 < x.shape[1]:
        raise UserError(
            f"Images of shape {x.shape} look channels-last; give (n, C, H, W): x.transpose(0, 3, 1, 2)."
        )
    if min(x.shape[2:]) < SMALLEST_SIDE:
        raise UserError(
            f"Images of {x.shape[2]} x {x.shape[3]} are too small; the least is "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE}."
        )
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(
            f"Labels must be whole numbers, one for each of the {len(x)} images; "
            f"got {y.dtype} of shape {y.shape}."
        )
    if x.dtype != np.uint8:
        if not np.issubdtype(x.dtype, np.number) or np.issubdtype(x.dtype, np.complexfloating):
            raise UserError(f"Images must be real numbers, but the array has type {x.dtype}.")
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise UserError("Images must be finite, but the array holds a not-a-number or an infinity.")
    values, labels = np.unique(y, return_inverse=True)
    if len(values) < 2:
        raise UserError(f"Labels must name at least two classes, but all are {values.tolist()}.")
    return x, labels.astype(np.int64), len(values)
