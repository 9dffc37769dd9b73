"""Labelled images for training: by name, by path, arrays, or a torch data set; checked, split, hashed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.sources import (
    Labelled,
    Parts,
    dataset_items,
    paired_arrays,
    read_source,
    source_name,
)

_LOG = logging.getLogger(__name__)

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
        names: What the classes 0, 1, ... are called: by their folders, else by the labels as they were given.
    """

    name: str
    train_x: NDArray[np.generic]
    train_y: NDArray[np.int64]
    valid_x: NDArray[np.generic]
    valid_y: NDArray[np.int64]
    classes: int
    set_aside: int
    fingerprint: str
    names: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width

    def told(self, few: int = 5) -> str:
        """Sizes of all parts and names of some classes, in a line for people."""
        parts = {"to train": len(self.train_y), "to validate": len(self.valid_y), "set aside": self.set_aside}
        rest = ", ..." * (len(self.names) > few)
        return (
            f"{sum(parts.values()):,} images of {'x'.join(map(str, self.size))}, {self.classes} classes "
            f"({', '.join(self.names[:few])}{rest}), "
            + ", ".join(f"{count:,} {purpose}" for purpose, count in parts.items())
        )

    def inputs(self, image_size: int | None) -> str:
        """What a network of these images is given, in a line for people.

        Args:
            image_size: What image files were scaled to, if they were.
        """
        channels, height, width = self.size
        order = {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")
        low, high = float(self.train_x.min()), float(self.train_x.max())
        scaled = (
            "" if image_size is None else f"; image files are scaled to {image_size} x {image_size}, bilinear"
        )
        return (
            f"(n, {channels}, {height}, {width}), {order}, values as the data set has them ({low:.6g} to "
            f"{high:.6g} in training){scaled}"
        )


Split = tuple[float, float, float]
"""Shares for training, validation and test."""
SPLIT: Split = (0.4, 0.4, 0.2)
"""Shares where nobody says others: as much for validation as for training, so that chance decides little."""
SHARES = "three shares (train, valid, test) from 0 to 1 with sum 1, for example 0.4, 0.4, 0.2"
"""What a split is, for messages."""


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
        image_size: Height and width that image files, and images of Pillow's, are scaled to.

    Raises:
        UnknownNameError: A name that is no known data set, nor a path.
        UserError: Shapes, labels or shares that cannot be used, a class without an image to train or to
            validate on, or a limit below the number of classes.
    """
    if isinstance(source, str):
        name = name or source_name(source, classes)
        parts = read_source(source, image_size)
    elif isinstance(source, tuple):
        parts = Parts(paired_arrays(source))
    else:
        parts = Parts(dataset_items(source, image_size))
    train, valid, aside = divided(parts, split, classes)
    train_x, train_y, values = _limited(train, limit)
    valid_x, valid_y, _ = _limited(valid, limit)
    fingerprint = hash_of(train_x, train_y, valid_x, valid_y)
    name = name or f"data-{fingerprint[:8]}"
    names = class_names(parts, values)
    return Images(name, train_x, train_y, valid_x, valid_y, len(values), aside, fingerprint, names)


def class_names(parts: Parts, values: NDArray[np.generic]) -> tuple[str, ...]:
    """What the classes are called whose labels were these."""
    return tuple(parts.names[value] if parts.names else str(value) for value in values.tolist())


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
    """Training part, validation part, and how many images are set aside; arguments as in `load_images`.

    Raises:
        UserError: As `load_images`.
    """
    split = as_split(split)
    x, y, values = checked(*first_classes(parts.train, classes))
    names = class_names(parts, values)
    if parts.valid is None:
        shares = split if parts.set_aside is None else _without(split, 2)
        train, valid, test = split_rows(y, shares)
        both = (x[train], y[train], values), (x[valid], y[valid], values)
        divided_y = y
    else:
        other_x, other_y, found = checked(*first_classes(parts.valid, classes))
        if not np.array_equal(values, found) or x.shape[1:] != other_x.shape[1:]:
            raise UserError(
                f"The training and the validation part do not fit: images of {x.shape[1:]} and "
                f"{other_x.shape[1:]}, {len(values)} and {len(found)} classes."
            )
        _, valid, test = split_rows(other_y, _without(split, 0) if parts.set_aside is None else (0, 1, 0))
        both = (x, y, values), (other_x[valid], other_y[valid], values)
        divided_y = other_y
    if min(len(part[1]) for part in both) == 0:
        raise UserError(f"A split of {split} leaves no image to train or to validate on of {len(y)} images.")
    _check_classes((both[0][1], both[1][1]), divided_y, names, split)
    if parts.set_aside is not None:
        return *both, parts.set_aside
    lacking = _lacking(divided_y[test], names)
    if lacking and split[2] > 0:  # without a share for tests nobody expects any
        _LOG.warning(
            "Of %d of %d classes (%r ...) no image is set aside: a winner is not judged on them.",
            len(lacking), len(names), lacking[0],
        )  # fmt: skip
    return *both, len(test)


def _check_classes(
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    divided_y: NDArray[np.int64],
    names: tuple[str, ...],
    split: Split,
) -> None:
    """Refuse a class of which nothing is in the training or in the validation part.

    Raises:
        UserError: There is one.
    """
    for purpose, labels in zip(("train", "validate"), parts, strict=True):
        lacking = _lacking(labels, names)
        if lacking:
            count = int(np.count_nonzero(divided_y == names.index(lacking[0])))
            raise UserError(
                f"The class {lacking[0]!r} has {_images(count)}, and the split {split} leaves none to "
                f"{purpose} on: give it more images, leave it out, or give another split."
            )


def _lacking(labels: NDArray[np.int64], names: tuple[str, ...]) -> list[str]:
    """Names of the classes 0..len(names)-1 that no label has."""
    counts = np.bincount(labels, minlength=len(names)).tolist()
    return [name for name, count in zip(names, counts, strict=True) if count == 0]


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


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
    """At most so many images: in turn one of each class that still has some, by the fixed shuffle.

    Raises:
        UserError: A limit that would leave a class without an image.
    """
    x, y, values = part
    if limit is None or limit >= len(y):
        return part
    if limit < len(values):
        raise UserError(
            f"limit={limit} is not allowed for {len(values)} classes: give {len(values)} at least, one image "
            "of each, or take fewer classes (classes=)."
        )
    turn = np.empty(len(y), dtype=np.intp)
    for rows in _shuffled(y):
        turn[rows] = np.arange(len(rows))
    rows = np.sort(np.lexsort((y, turn))[:limit])
    return x[rows], y[rows], values


def as_split(given: Any) -> Split:
    """Shares as three numbers, from anything with three of them, a text with commas too.

    Raises:
        UserError: They are not three numbers from 0 to 1 with sum 1.
    """
    try:
        train, valid, test = map(float, given.strip("[]() ").split(",") if isinstance(given, str) else given)
    except (TypeError, ValueError):
        train = valid = test = -1.0
    if not (min(train, valid, test) >= 0 and abs(train + valid + test - 1.0) <= 1e-9):
        raise UserError(f"The split {given} must be {SHARES}.")
    return train, valid, test


def split_rows(y: NDArray[np.int64], split: Split) -> tuple[NDArray[np.intp], ...]:
    """Rows of the training, validation and test part: the given shares of each class, by a fixed shuffle."""
    parts: list[list[NDArray[np.intp]]] = [[], [], []]
    for rows in _shuffled(y):
        first = round(split[0] * len(rows))
        second = first + round(split[1] * len(rows)) if split[2] > 0 else len(rows)
        for part, piece in zip(parts, np.split(rows, [first, second]), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def _shuffled(y: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """The rows of each class in an order that is the same in every session."""
    rng = np.random.default_rng(SPLIT_SEED)
    for label in np.unique(y):
        yield rng.permutation(np.flatnonzero(y == label))


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
    if y.ndim == 1 and len(y) != len(x):
        raise UserError(f"There are {_images(len(x))} but {len(y)} labels: give one label for each image.")
    if y.dtype == np.bool_:
        y = y.astype(np.int64)
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(
            f"Labels must be whole numbers, one for each of the {len(x)} images; "
            f"got {y.dtype} of shape {y.shape}."
        )
    if x.dtype != np.uint8:
        if not np.issubdtype(x.dtype, np.number) or np.issubdtype(x.dtype, np.complexfloating):
            raise UserError(f"Images must be real numbers, but the array has type {x.dtype}.")
        with np.errstate(over="ignore"):  # a number that becomes infinite is told below
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise UserError("Images must be finite, but the array holds a not-a-number or an infinity.")
    values, labels = np.unique(y, return_inverse=True)
    if len(values) < 2:
        raise UserError(f"Labels must name at least two classes, but all are {values.tolist()}.")
    return x, labels.astype(np.int64), values
