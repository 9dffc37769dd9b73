"""Image files: folders of classes, and Parquet files with encoded images. Decoded by Pillow."""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import DataError, MissingPartError, UserError

_LOG = logging.getLogger(__name__)

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
VALIDATION = ("val", "valid", "validation")
_FEW = 3
"""Names that a message lists."""
_TURNED = 0x0112
"""EXIF's field that tells how a camera was held."""
COLUMNS = ("jpeg", "image", "img", "png", "bytes")
"""Names under which a Parquet file may hold its images."""

Labelled = tuple[NDArray[np.generic], NDArray[np.integer[Any]]]
Parts = dict[str, Labelled]
"""Images (n, C, H, W) and labels by part: "train" always, "valid" where it is given."""


def read_folder(path: Path, side: int | None) -> tuple[Parts, int]:
    """Read `CLASS/*.png`, or `train/CLASS/*.png` with `val` and `test` beside it.

    Args:
        path: The folder.
        side: Scale every image to this height and width; None takes them as they are.

    The three folders are known in capitals too; names that begin with a dot are passed over.

    Returns:
        The parts, and the number of images in a test folder, which are not read.

    Raises:
        UserError: No images, images of several sizes, a class that only one part has, or a part twice.
        DataError: Files that are no images.
    """
    root = _training_folder(path)
    classes = class_folders(path)
    if len(classes) < 2:
        raise UserError(
            f"{root} must hold one folder of images for each class, two at least; it has {classes or 'none'}."
        )
    valid, test = (_part(path, names) if root != path else None for names in (VALIDATION, ("test",)))
    for other in (valid, test):
        if other is not None:
            _check_same(other, classes)  # before anything is decoded, and of `test` nothing more
    parts = {"train": _classes(root, classes, side)}
    if valid is not None:
        parts["valid"] = _classes(valid, classes, side)
    return parts, sum(1 for _ in _files(test)) if test is not None else 0


def read_folder_test(path: Path, side: int | None) -> Labelled:
    """The images in `test/CLASS`: for the final judgement, after a search (`revealed`)."""
    test = _part(path, ("test",))
    assert test is not None  # `read_folder` counted its images
    classes = class_folders(path)
    _check_same(test, classes)
    return _classes(test, classes, side)


def class_folders(path: Path) -> list[str]:
    """Names of the classes, in the order of their labels."""
    return [folder.name for folder in _folders(_training_folder(path))]


def _training_folder(path: Path) -> Path:
    return _part(path, ("train",)) or path


def _part(path: Path, names: Sequence[str]) -> Path | None:
    """The folder that has one of these names, in whatever case.

    Raises:
        UserError: Several have.
    """
    found = [folder for folder in _folders(path) if folder.name.lower() in names]
    if len(found) > 1:
        raise UserError(
            f"{path} has the folders {' and '.join(folder.name for folder in found)}, which mean the same: "
            "keep one, or put their images together."
        )
    return found[0] if found else None


def _check_same(root: Path, classes: list[str]) -> None:
    """Refuse a part whose class folders are not those of the training folder.

    Raises:
        UserError: It has others.
    """
    found = [folder.name for folder in _folders(root)]
    if found != classes:
        odd = sorted(set(found) ^ set(classes))
        raise UserError(
            f"The class {odd[0]!r} is not in both the training folder and {root}: give both a folder for "
            f"each class, or take {root.name} out of there."
        )


def read_parquet(path: Path, side: int | None) -> tuple[Parts, int]:
    """Read a Parquet file with a column of encoded images, `label`, and perhaps `split`.

    The images stand in one of the columns `jpeg`, `image`, `img`, `png` or `bytes`: bytes, or a structure
    with a field `bytes`, as Hugging Face writes it. Rows whose split is "test" are counted, not decoded.

    Raises:
        UserError: Columns are missing.
        DataError: A damaged file or image.
    """
    table, column, labels, splits = _table(path)
    parts: Parts = {}
    for part, names in (("train", ("train",)), ("valid", VALIDATION)):
        rows = np.flatnonzero(np.isin(splits, names))
        if len(rows):
            encoded = table[column].take(rows).to_pylist()
            parts[part] = (_decoded(_encoded(encoded, path), side, path), labels[rows])
    if "train" not in parts:
        raise UserError(f"{path} has no row whose split is train.")
    return parts, int((splits == "test").sum())


def read_parquet_test(path: Path, side: int | None) -> Labelled:
    """The rows whose split is "test": for the final judgement, after a search (`revealed`)."""
    table, column, labels, splits = _table(path)
    rows = np.flatnonzero(splits == "test")
    encoded = table[column].take(rows).to_pylist()
    return _decoded(_encoded(encoded, path), side, path), labels[rows]


def _table(path: Path) -> tuple[Any, str, NDArray[np.integer[Any]], NDArray[np.str_]]:
    """The rows, the name of the column of images, and labels and splits (n,).

    Raises:
        UserError: Columns are missing, or a split has another name.
        DataError: A damaged file.
    """
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from None
    column = next((name for name in COLUMNS if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise UserError(
            f"{path} must have a column 'label' and one of {', '.join(COLUMNS)}; it has "
            f"{', '.join(table.column_names)}."
        )
    labels = np.array(table["label"].to_pylist())
    splits = np.array(
        table["split"].to_pylist() if "split" in table.column_names else ["train"] * len(labels)
    )
    known = np.isin(splits, ("train", *VALIDATION, "test"))
    if not known.all():
        raise UserError(f"{path} has the split {str(splits[~known][0])!r}; allowed: train, val, test.")
    return table, column, labels, splits


def _encoded(values: Iterable[Any], path: Path) -> Iterator[tuple[str, Any]]:
    for row, value in enumerate(values):
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if not isinstance(data, bytes):
            raise DataError(f"Row {row} of {path} holds no bytes of an image.")
        yield f"row {row} of {path}", io.BytesIO(data)


def _classes(root: Path, classes: list[str], side: int | None) -> Labelled:
    files = [(file, label) for label, name in enumerate(classes) for file in _files(root / name)]
    if not files:
        raise UserError(f"{root} holds no images; files that are taken: {', '.join(sorted(SUFFIXES))}.")
    held = {label for _, label in files}
    if empty := [name for label, name in enumerate(classes) if label not in held]:
        _LOG.warning("%s: no images, so no classes, are in the folders %s", root, ", ".join(empty))
    images = _decoded(((str(file), file) for file, _ in files), side, root)
    return images, np.array([label for _, label in files])


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(root: Path) -> Iterator[Path]:
    found = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in SUFFIXES)
    return (f for f in found if not any(part.startswith(".") for part in f.relative_to(root).parts))


def is_picture(value: object) -> bool:
    """Whether this is an image of Pillow's; where nobody has loaded Pillow nothing is."""
    pillow: Any = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def pixels(image: Any, side: int | None, name: str) -> NDArray[np.uint8]:
    """An image of Pillow's as bytes: (H, W) where it is grey, else (H, W, 3).

    It is turned upright where the camera noted how it was held, and what is transparent lies on white.

    Args:
        image: Any mode; grey ones of 16 bits are scaled down to 8.
        side: Scale to this height and width; None takes it as it is.
        name: What it is called in messages.

    Raises:
        UserError: Grey levels that are neither of 8 nor of 16 bits.
    """
    if image.getexif().get(_TURNED, 1) != 1:
        image = _pillow("ImageOps").exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        plain = _pillow().fromarray(_eight_bits(np.asarray(image), name))
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
        if image.has_transparency_data:
            above = image.convert("RGBA")
            image = _pillow().new("RGBA", above.size, "white")
            image.alpha_composite(above)
        plain = image.convert(mode)
    if side is not None:
        plain = plain.resize((side, side), _pillow().Resampling.BILINEAR)
    return np.asarray(plain)


def _eight_bits(grey: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Levels 0 to 65535 as 0 to 255; Pillow itself would cut off all above 255."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65_535:
        raise UserError(
            f"The grey levels of {name} are {'fractions' if grey.dtype.kind == 'f' else 'not 0 to 65535'} "
            f"({grey.min()} to {grey.max()}), and how black and white are meant is not known: save it with 8 "
            "or 16 bits, or give the images as arrays."
        )
    return np.round(grey / 257).astype(np.uint8)


def _decoded(files: Iterable[tuple[str, Any]], side: int | None, where: Path) -> NDArray[np.uint8]:
    """All images of files, decoded and `stacked`.

    Raises:
        DataError: Some cannot be read; how many is told, and which are the first.
        UserError: They have several sizes.
    """
    pillow = _pillow()
    images: list[NDArray[np.uint8]] = []
    unread: list[tuple[str, Exception]] = []
    for name, file in files:
        try:
            with pillow.open(file) as image:
                images.append(pixels(image, side, name))
        except (OSError, SyntaxError, ValueError) as error:
            unread.append((name, error))
    if len(unread) == 1:
        raise DataError(f"{unread[0][0]} cannot be read as an image: {unread[0][1]}.")
    if unread:
        first = "; ".join(name for name, _ in unread[:_FEW]) + (" ..." if len(unread) > _FEW else "")
        raise DataError(
            f"{len(unread)} files of {where} cannot be read as images: {first}. The first: {unread[0][1]}."
        )
    return stacked(images, str(where))


def stacked(images: Sequence[NDArray[np.uint8]], where: str) -> NDArray[np.uint8]:
    """Images as `pixels` gives them in one array: (n, 3, H, W), or (n, 1, H, W) where all are grey.

    Raises:
        UserError: They have several sizes.
    """
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, -1) for image in images]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        raise UserError(
            f"The images of {where} have several sizes ({sizes[0]}, {sizes[1]} ...): say what they are to be "
            "scaled to (image_size=32)."
        )
    whole = np.stack(images)
    return whole[:, None] if whole.ndim == 3 else np.ascontiguousarray(whole.transpose(0, 3, 1, 2))


def _pillow(part: str = "Image") -> Any:
    try:
        return importlib.import_module(f"PIL.{part}")
    except ImportError:
        raise MissingPartError("Image files are decoded by Pillow: pip install pillow.") from None
