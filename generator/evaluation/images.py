"""Labelled images for training: by name, by path, arrays, or a torch data set; checked, split, hashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.sources import Labelled, Parts, dataset_items, read_source, source_name

SPLIT_SEED = 20_201
"""Fixed, so that the part set aside for tests is the same in every session and every version."""

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
        fingerprint: Hash of the images and labels of both parts.
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


Split = tuple[float, float, float]
"""Shares for training, validation and test."""
SPLIT: Split = (0.4, 0.4, 0.2)
"""Shares where nobody says others: as much for validation as for training, so that chance decides little."""


def load_images(
    source: Source,
    name: str | None,
    split: Split,
    *,
    limit: int | None = None,
    classes: int | None = None,
    image_size: int | None = None,
) -> Images:
    """Read, check and split a data set.

    A test part that the data set has is set aside, and the training part is split between training and
    validation; a validation part that it has is taken for validation, and where it has no test part the
    share for tests is taken from there.

    Args:
        source: A name or path (see `sources`), (x, y) arrays, or a data set that yields (image, label).
        name: Name for one's own data; None takes that of the path, or "data-" and the start of its hash.
        split: Shares of training, validation and test, in each class.
        limit: Most images for training, and most for validation, as many of each class as of another.
        classes: Take only the first so many classes, as NAS-Bench-201 does with ImageNet16 (120).
        image_size: Height and width that image files are scaled to.

    Raises:
        UnknownNameError: A name that is no known data set, nor a path.
        UserError: Shapes, labels or shares that cannot be used.
    """
    if isinstance(source, str):
        name = name or source_name(source, classes)
        parts = read_source(source, image_size)
    elif isinstance(source, tuple):
        parts = Parts(_arrays(source))
    else:
        parts = Parts(dataset_items(source))
    train, valid, aside = divided(parts, split, classes)
    train_x, train_y, values = _limited(train, limit)
    valid_x, valid_y, _ = _limited(valid, limit)
    fingerprint = hash_of(train_x, train_y, valid_x, valid_y)
    name = name or f"data-{fingerprint[:8]}"
    return Images(name, train_x, train_y, valid_x, valid_y, len(values), aside, fingerprint)


def hash_of(*arrays: NDArray[np.generic]) -> str:
    """Sixteen hexadecimal digits that name these arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, str(array.dtype))).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


Checked = tuple[NDArray[np.generic], NDArray[np.int64], NDArray[np.generic]]
"""Images (n, C, H, W), labels 0..classes-1, and what the classes were called."""


def divided(parts: Parts, split: Split, classes: int | None) -> tuple[Checked, Checked, int]:
    """Training part, validation part, and how many images are set aside; arguments as in `load_images`."""
    x, y, values = checked(*first_classes(parts.train, classes))
    if parts.valid is None:
        shares = split if parts.set_aside is None else _without(split, 2)
        train, valid, test = split_rows(y, shares)
        both = (x[train], y[train], values), (x[valid], y[valid], values)
    else:
        other_x, other_y, found = checked(*first_classes(parts.valid, classes))
        if not np.array_equal(values, found) or x.shape[1:] != other_x.shape[1:]:
            raise UserError(
                f"The training and the validation part do not fit: images of {x.shape[1:]} and "
                f"{other_x.shape[1:]}, {len(values)} and {len(found)} classes."
            )
        _, valid, test = split_rows(other_y, _without(split, 0) if parts.set_aside is None else (0, 1, 0))
        both = (x, y, values), (other_x[valid], other_y[valid], values)
    if min(len(part[1]) for part in both) == 0:
        raise UserError(f"A split of {split} leaves no image to train or to validate on of {len(y)} images.")
    return *both, len(test) if parts.set_aside is None else parts.set_aside


def aside(parts: Parts, split: Split, classes: int | None) -> Labelled:
    """What `divided` sets aside of a data set without a test part of its own."""
    x, y = first_classes(parts.train if parts.valid is None else parts.valid, classes)
    *_, rows = split_rows(y.astype(np.int64), split if parts.valid is None else _without(split, 0))
    return x[rows], y[rows]


def _without(split: Split, part: int) -> Split:
    """The shares if one part gets nothing and the others all."""
    rest = sum(split) - split[part]
    train, valid, test = (
        0.0 if i == part else share / rest if rest else share for i, share in enumerate(split)
    )
    return train, valid, test


def first_classes(part: Labelled, classes: int | None) -> Labelled:
    """Only the images of the classes with the smallest labels."""
    x, y = part
    if classes is None or y.ndim != 1 or len(y) != len(x):
        return x, y
    kept = np.isin(y, np.unique(y)[:classes])
    return x[kept], y[kept]


def _limited(part: Checked, limit: int | None) -> Checked:
    """At most so many images, the classes in turn, by the fixed shuffle of `split_rows`."""
    x, y, values = part
    if limit is None or limit >= len(y):
        return part
    rows, _, _ = split_rows(y, (limit / len(y), 1 - limit / len(y), 0.0))
    return x[rows[:limit]], y[rows[:limit]], values


def split_rows(y: NDArray[np.int64], split: Split) -> tuple[NDArray[np.intp], ...]:
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


def _arrays(source: tuple[Any, Any]) -> Labelled:
    """The two arrays of an (x, y) pair; tensors are taken too."""
    if len(source) != 2:
        raise UserError(f"Arrays are given as a pair (x, y), but {len(source)} values were given.")
    return np.asarray(source[0]), np.asarray(source[1])


def checked(x: NDArray[np.generic], y: NDArray[np.generic]) -> Checked:
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
    return x, labels.astype(np.int64), values
