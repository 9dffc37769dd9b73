"""What a pickle may name, and the plain values that stand in for it. Nothing else is ever called."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_FORMATS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "u1": "<B", "b1": "<?"}
"""Numpy's names of scalar types -> how `struct` reads them."""


class Refused(Exception):
    """The pickle is damaged or holds more than plain data; the text says what was found."""


_KEYS = (str, int, float, bytes, bool, type(None))


def check_keys(keys: list[Any]) -> None:
    """Refuse keys but simple values and flat tuples: hashing one nested a million deep ends the process."""
    for key in keys:
        if type(key) in _KEYS:
            continue
        if type(key) is not tuple or any(type(part) not in _KEYS for part in key):
            raise Refused("it holds a key that is neither a simple value nor a flat tuple")


class Opaque:
    """What is skipped: a tensor, a storage, or a part that was let go."""


OPAQUE = Opaque()


@dataclass(slots=True)
class ScalarType:
    """Stand-in for `numpy.dtype`: one of a few scalar types."""

    format: str

    def set_state(self, state: object) -> None:
        """Accept the state of a plain little-endian type and nothing else."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|"):
            raise Refused("it holds numbers of a foreign byte order")
        if any(part is not None for part in state[2:5]):
            raise Refused("it holds structured numbers")


@dataclass(slots=True)
class Bytes:
    """Stand-in for a `numpy.ndarray`, of which only those of bytes are taken: images.

    Attributes:
        shape: Of the array.
        data: Its values, row by row.
    """

    shape: tuple[int, ...] = ()
    data: bytes = b""

    def set_state(self, state: object) -> None:
        """Accept the state of an array of bytes in C's order and nothing else."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("it holds a damaged array")
        _, shape, kind, fortran, data = state
        if not isinstance(kind, ScalarType) or kind.format != _FORMATS["u1"] or fortran is not False:
            raise Refused("it holds an array of something else than bytes row by row")
        if isinstance(data, str):  # as Python 2 wrote it
            data = data.encode("latin1")
        if type(shape) is not tuple or type(data) is not bytes or math.prod(shape) != len(data):
            raise Refused("it holds a damaged array")
        self.shape, self.data = shape, data


def _array(*_: object) -> Bytes:
    return Bytes()


def _scalar_type(name: str, align: bool = False, copy: bool = False) -> ScalarType:
    if type(name) is not str or name not in _FORMATS:
        raise Refused(f"it holds numbers of a type other than {', '.join(_FORMATS)}")
    return ScalarType(_FORMATS[name])


def _scalar(kind: ScalarType, data: bytes) -> float:
    (value,) = struct.unpack(kind.format, data)
    return value


def _latin(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise Refused("it holds bytes in a foreign encoding")
    return text.encode("latin1")


def _ordered(pairs: list[list[Any]] | None = None) -> dict[Any, Any]:
    pairs = pairs or []
    check_keys([key for key, _ in pairs])
    return dict(pairs)


def _set(values: list[Any] | None = None) -> set[Any]:
    check_keys(values or [])
    return set(values or [])


def _skipped(*_: object) -> Opaque:
    return OPAQUE


@dataclass(frozen=True, slots=True)
class Name:
    """What an allowed name leads to; the only thing that is ever called."""

    build: Callable[..., object]


_STORAGES = ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool", "BFloat16")
NAMES: dict[tuple[str, str], Name] = {
    ("collections", "OrderedDict"): Name(_ordered),
    ("builtins", "set"): Name(_set),
    ("__builtin__", "set"): Name(_set),
    ("_codecs", "encode"): Name(_latin),
    ("numpy", "dtype"): Name(_scalar_type),
    ("numpy", "ndarray"): Name(_skipped),
    ("numpy.core.multiarray", "_reconstruct"): Name(_array),
    ("numpy._core.multiarray", "_reconstruct"): Name(_array),
    ("numpy.core.multiarray", "scalar"): Name(_scalar),
    ("numpy._core.multiarray", "scalar"): Name(_scalar),
    ("torch._utils", "_rebuild_tensor_v2"): Name(_skipped),
    ("torch._utils", "_rebuild_parameter"): Name(_skipped),
    ("torch.storage", "_load_from_bytes"): Name(_skipped),
    **{("torch", f"{kind}Storage"): Name(_skipped) for kind in _STORAGES},
}
