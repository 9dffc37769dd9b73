"""CIFAR-10, CIFAR-100 and ImageNet16 in their official files: a folder of them, or the archive as fetched.

CIFAR (Krizhevsky, 2009): the python version (pickles, read without running anything they hold) and the
binary one. ImageNet16 (Chrabaszcz, Loshchilov & Hutter, 2017): pickles of 16 x 16 images,
`train_data_batch_1` to `_10` and `val_data`; NAS-Bench-201 takes the first 120 classes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import DataError
from vitruvius.generator.evaluation.restricted import PlainReader
from vitruvius.generator.evaluation.standins import Bytes, Refused

Labelled = tuple[NDArray[np.generic], NDArray[np.integer[Any]]]
"""Images (n, C, H, W) and labels (n,)."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A published data set in the form of one kind of file.

    Attributes:
        name: Name of the data set.
        train: Files with the training part.
        test: File that shows that it is this kind; its images are set aside and not read, or, for ImageNet16,
            read for validation.
        label: Key of the labels in a pickle, or the byte of the label in a binary record.
        header: Bytes before the pixels of a binary record; 0 for pickles.
        side: Height and width of the images.
        held: Images in the test file.
    """

    name: str
    train: tuple[str, ...]
    test: str
    label: str | int
    header: int = 0
    side: int = 32
    held: int = 10_000


IMAGENET16 = "imagenet16"
ARCHIVES = (
    Archive("cifar10", tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "labels"),
    Archive("cifar10", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 0, 1),
    Archive("cifar100", ("train.bin",), "test.bin", 1, 2),
    Archive("cifar100", ("train",), "test", "fine_labels"),
    Archive(IMAGENET16, tuple(f"train_data_batch_{i}" for i in range(1, 11)), "val_data", "labels", 0, 16, 0),
)


def find_archive(path: Path) -> Archive | None:
    """Which published data set lies here; None if none does."""
    if path.is_dir():
        names = {entry.name for entry in path.iterdir() if entry.is_file()}
    elif path.is_file() and path.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            with tarfile.open(path) as archive:
                names = {Path(member.name).name for member in archive if member.isfile()}
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"{path} cannot be read as an archive ({error}): fetch it again.") from None
    else:
        return None
    return next((kind for kind in ARCHIVES if {*kind.train, kind.test} <= names), None)


def read_archive(path: Path, kind: Archive) -> tuple[Labelled, Labelled | None]:
    """The training part, and ImageNet16's validation part; CIFAR's test part is not read.

    Raises:
        DataError: A file is damaged, or not what it should be.
    """
    with _opened(path) as read:
        train = [_labelled(read(name), kind, f"{path}/{name}") for name in kind.train]
        valid = _labelled(read(kind.test), kind, f"{path}/{kind.test}") if kind.name == IMAGENET16 else None
    return (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])), valid


def read_archive_test(path: Path, kind: Archive) -> Labelled:
    """CIFAR's test part: for the final judgement, after a search (`revealed`).

    Raises:
        DataError: A file is damaged, or not what it should be.
    """
    with _opened(path) as read:
        return _labelled(read(kind.test), kind, f"{path}/{kind.test}")


class _opened:
    """Reads files by name out of a folder or an archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = None if path.is_dir() else tarfile.open(path)  # noqa: SIM115 - closed on exit
        self._members = {Path(m.name).name: m for m in self._archive} if self._archive else {}

    def __enter__(self) -> Callable[[str], bytes]:
        return self._read

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def _read(self, name: str) -> bytes:
        if self._archive is None:
            return (self._path / name).read_bytes()
        file = self._archive.extractfile(self._members[name])
        return file.read() if file is not None else b""


def _labelled(data: bytes, kind: Archive, where: str) -> Labelled:
    """Images and labels of one file."""
    pixels = 3 * kind.side**2
    if kind.header:
        if len(data) % (kind.header + pixels) or not data:
            raise DataError(f"{where} is damaged: its length is no multiple of {kind.header + pixels} bytes.")
        records = np.frombuffer(data, dtype=np.uint8).reshape(-1, kind.header + pixels)
        flat, labels = records[:, kind.header :], records[:, int(kind.label)].astype(np.int64)
    else:
        flat, labels = _unpickled(data, str(kind.label), pixels, where)
    return flat.reshape(-1, 3, kind.side, kind.side), labels


def _unpickled(
    data: bytes, label: str, pixels: int, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = PlainReader(io.BytesIO(data)).load()
    except Refused as error:
        raise DataError(f"{where} was not read: {error}.") from None
    found: Mapping[str, Any] = {}
    if isinstance(content, dict):
        found = {key.decode("latin1") if isinstance(key, bytes) else key: content[key] for key in content}
    images, labels = found.get("data"), found.get(label)
    if not isinstance(images, Bytes) or images.shape[1:] != (pixels,):
        raise DataError(f"{where} holds no images of {pixels} bytes under 'data'.")
    if not _whole_numbers(labels) or len(labels) != images.shape[0]:
        raise DataError(f"{where} holds no list of {images.shape[0]} whole numbers under {label!r}.")
    return np.frombuffer(images.data, dtype=np.uint8).reshape(images.shape), np.array(labels, np.int64)


def _whole_numbers(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int for value in cast(list[object], values))
