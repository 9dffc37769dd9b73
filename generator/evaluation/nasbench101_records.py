"""The official NAS-Bench-101 files, nasbench_full.tfrecord and nasbench_only108.tfrecord, without TensorFlow.

A TFRecord file is a sequence of records: length, checksum of the length, data, checksum of the data. Each
record of the benchmark is a JSON list: module hash, epochs, adjacency bits, operations, and a `ModelMetrics`
message in base64 (google-research/nasbench: `nasbench/api.py`, `nasbench/lib/model_metrics.proto`). Of that
message the few numbers that are kept are decoded by hand; the sums of a cell's repeats are all that stays
in memory. Nothing is evaluated, every checksum is compared, and every cell's hash with our own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, TableError
from vitruvius.generator.evaluation.columns import Column
from vitruvius.generator.space import get_space
from vitruvius.generator.spaces.nasbench101 import NASBench101

EPOCHS = (108, 36, 12, 4)
"""Lengths of training, each a training of its own."""
MOST_BYTES = 65_536
"""Bytes allowed in one record; those of the benchmark have fewer than 1,000."""
MOST_RECORDS = 10_000_000
"""Records allowed in one file; the full one has 5,083,488."""

_HEAD = struct.Struct("<QI")
_FINAL = (
    2  # of the evaluations at the beginning, half-way and at the end, as the benchmark's interface has it
)
_VARINT, _EIGHT, _TEXT, _FOUR = 0, 1, 2, 5  # wire types of the protocol buffer encoding
_WIDTHS = {_EIGHT: 8, _FOUR: 4}


class _Wrong(Exception):
    """What is wrong with a record; becomes a `TableError` that names it."""


def is_tfrecord(path: Path) -> bool:
    """Whether a file begins like a TFRecord file: with a length and its checksum."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD.size)
    return len(head) == _HEAD.size and _masked(head[:8]) == _HEAD.unpack(head)[1]


def read_nasbench101(path: Path, progress: Callable[[int], None] | None = None) -> dict[str, Column]:
    """The columns of our table: means over the repeats at the end of training.

    Args:
        path: The official file.
        progress: Called with the number of architectures met so far, from time to time.

    Returns:
        `arch`; `cifar10_valid`, `cifar10_test` (%) and `cifar10_seconds` after 108 epochs; the same but the
        test with `_36ep`, `_12ep` and `_4ep` where the file has them; `cifar10_params_m` (millions).

    Raises:
        TableError: The file is cut off, damaged, too large or another one, or names a cell otherwise.
    """
    space = cast(NASBench101, get_space(NASBench101.name))
    rows = space.enumerate()
    sums = np.zeros((len(rows), len(EPOCHS), 3))  # validation, test, seconds
    counts = np.zeros((len(rows), len(EPOCHS)), dtype=np.int32)
    params = np.full(len(rows), np.nan)
    places = _Places(space)
    with path.open("rb") as stream:
        for number, data in enumerate(_records(path, stream), start=1):
            try:
                name, epochs, bits, operations, metrics = _parts(data)
                place = places.of(name, f"{bits};{operations}")
                numbers, params[place] = _metrics(metrics)
            except _Wrong as error:
                raise TableError(f"Record {number:,} of {str(path)!r} {error}.") from error
            sums[place, EPOCHS.index(epochs)] += numbers
            counts[place, EPOCHS.index(epochs)] += 1
            if progress is not None and number % 1000 == 0:
                progress(len(places))
    if not counts[:, 0].any():
        raise TableError(
            f"{str(path)!r} holds no cell that was trained for {EPOCHS[0]} epochs: it is another file."
        )
    return _columns(space, sums, counts, params)


def _columns(
    space: NASBench101, sums: NDArray[np.float64], counts: NDArray[np.int32], params: NDArray[np.float64]
) -> dict[str, Column]:
    """Means of what was added up, for the cells that were met; columns without a number are left out."""
    met = np.flatnonzero(counts.any(axis=1))
    columns: dict[str, Column] = {
        "arch": space.keys(space.enumerate()[met]),
        "cifar10_params_m": params[met] / 1e6,
    }
    for at, epochs in enumerate(EPOCHS):
        times = counts[met, at]
        if not times.any():
            continue
        means = np.where(times > 0, sums[met, at].T, np.nan) / np.maximum(times, 1)
        suffix = "" if at == 0 else f"_{epochs}ep"
        columns[f"cifar10_valid{suffix}"] = 100 * means[0]
        columns[f"cifar10_seconds{suffix}"] = means[2]
        if at == 0:
            columns["cifar10_test"] = 100 * means[1]
    return columns


class _Places:
    """Positions of cells in `space.enumerate()`; each way to name one is checked once."""

    def __init__(self, space: NASBench101) -> None:
        self._space = space
        self._numbers = space.numbers(space.enumerate())
        self._known: dict[bytes, int] = {}

    def of(self, name: str, text: str) -> int:
        """The position of the cell with this hash and text.

        Raises:
            _Wrong: The text is no cell of the space, or the hash is that of another.
        """
        short = hashlib.blake2b(f"{name} {text}".encode(), digest_size=16).digest()
        if (known := self._known.get(short)) is not None:
            return known
        try:
            cell = self._space.parse(text)
        except InvalidArchitectureError as error:
            raise _Wrong(f"is no cell of NAS-Bench-101 ({str(error).rstrip('.')})") from error
        ours = self._space.module_hash(cell)
        if ours != name:
            raise _Wrong(f"calls the cell {cell.key} by the hash {name[:40]}, but its hash is {ours}")
        place = int(np.searchsorted(self._numbers, self._space.numbers(cell.row))[0])
        if len(self._known) < len(self._numbers):  # a file has one text for each cell; no more are kept
            self._known[short] = place
        return place

    def __len__(self) -> int:
        """How many ways to name a cell were met."""
        return len(self._known)


# ---- records -------------------------------------------------------------------------------


def _records(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    """The data of each record, one after the other.

    Raises:
        TableError: A checksum is wrong, the file ends early, or it is too large.
    """
    for number in range(1, MOST_RECORDS + 2):
        head = stream.read(_HEAD.size)
        if not head:
            return
        if number > MOST_RECORDS:
            raise TableError(f"{str(path)!r} has more than {MOST_RECORDS:,} records: it is another file.")
        where = f"Record {number:,} of {str(path)!r}"
        if len(head) < _HEAD.size:
            raise TableError(f"{where} is cut off: copy the file again.")
        length, checksum = _HEAD.unpack(head)
        if _masked(head[:8]) != checksum:
            raise TableError(f"{where} is damaged (its length has another checksum): copy the file again.")
        if length > MOST_BYTES:
            raise TableError(
                f"{where} has {length:,} bytes, but at most {MOST_BYTES:,} are allowed: it is another file."
            )
        data = stream.read(length)
        checksum = stream.read(4)
        if len(data) < length or len(checksum) < 4:
            raise TableError(f"{where} is cut off: copy the file again.")
        if _masked(data).to_bytes(4, "little") != checksum:
            raise TableError(f"{where} is damaged (its data have another checksum): copy the file again.")
        yield data


def _parts(data: bytes) -> tuple[str, int, str, str, bytes]:
    """Module hash, epochs, adjacency bits, operations, and the metrics message of a record."""
    try:
        name, epochs, bits, operations, coded = json.loads(data)
        metrics = base64.b64decode(coded, validate=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise _Wrong("is no list of hash, epochs, adjacency, operations and metrics") from error
    if not all(isinstance(text, str) for text in (name, bits, operations)) or epochs not in EPOCHS:
        raise _Wrong(
            "is no training of NAS-Bench-101: texts and a number of epochs among "
            f"{', '.join(map(str, EPOCHS))} are expected"
        )
    return name, int(epochs), bits, operations, metrics


# ---- checksums -----------------------------------------------------------------------------


def _masked(data: bytes) -> int:
    """The checksum as TFRecord files keep it: CRC-32C, turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC-32 with Castagnoli's polynomial (RFC 3720, appendix B.4).

    It is linear: what each byte does to it depends on its value and on how many follow, and these are joined
    by exclusive or. So a stretch of bytes is a look-up; the sum so far is joined to its first four.
    """
    crc = 0xFFFFFFFF
    for start in range(0, len(data), _STRETCH):
        part = np.frombuffer(data[start : start + _STRETCH], dtype=np.uint8).copy()
        before = np.frombuffer(crc.to_bytes(4, "little"), dtype=np.uint8)[: len(part)]
        part[:4] ^= before
        effects = _EFFECTS[np.arange(_STRETCH - len(part), _STRETCH), part]
        crc = int(np.bitwise_xor.reduce(effects)) ^ (crc >> 8 * len(before))
    return crc ^ 0xFFFFFFFF


def _effects() -> NDArray[np.uint32]:
    """What each value of a byte does to the sum, for bytes that end a stretch last: (stretch, 256)."""
    effects = np.empty((_STRETCH, 256), dtype=np.uint32)
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = (last >> np.uint32(1)) ^ np.where(last & 1, np.uint32(0x82F63B78), np.uint32(0))
    effects[-1] = last
    for place in range(_STRETCH - 2, -1, -1):
        later = effects[place + 1]
        effects[place] = last[later & 0xFF] ^ (later >> np.uint32(8))
    return effects


_STRETCH = 1024
_EFFECTS = _effects()


# ---- the message ---------------------------------------------------------------------------


def _metrics(message: bytes) -> tuple[list[float], int]:
    """Validation accuracy, test accuracy and seconds of the final evaluation, and the number of parameters.

    Of `ModelMetrics`: field 1 the evaluations, field 2 the parameters. Of an evaluation: field 2 the seconds
    of training, 4 and 5 the accuracies on validation and test images, fractions.
    """
    outer = _decode(message)
    evaluations, params = outer.get(1, []), outer.get(2, [b""])[-1]
    if len(evaluations) <= _FINAL or not isinstance(params, int) or params >= 1 << 31:
        raise _Wrong("lacks the number of parameters or one of the three evaluations")
    final = evaluations[_FINAL]
    inner = _decode(final) if isinstance(final, bytes) else {}
    numbers: list[float] = []
    for field in (4, 5, 2):
        value = inner.get(field, [b""])[-1]
        if not isinstance(value, bytes) or len(value) != _WIDTHS[_EIGHT]:
            raise _Wrong("lacks an accuracy or the time of the evaluation at the end")
        numbers.append(struct.unpack("<d", value)[0])
    if not all(0.0 <= accuracy <= 1.0 for accuracy in numbers[:2]) or not 0.0 <= numbers[2] < 1e9:
        raise _Wrong(f"has accuracies and seconds that cannot be: {', '.join(map(str, numbers))}")
    return numbers, params


def _decode(message: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protocol buffer message by number: integers, or the bytes of anything else.

    Raises:
        _Wrong: The message is no protocol buffer, or cut off.
    """
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire in (_TEXT, _EIGHT, _FOUR):
            size, at = _varint(message, at) if wire == _TEXT else (_WIDTHS[wire], at)
            value, at = message[at : at + size], at + size
        else:
            raise _Wrong("has metrics that are no protocol buffer")
        if at > len(message):
            raise _Wrong("has metrics that are cut off")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where what follows begins."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise _Wrong("has metrics that are cut off")
