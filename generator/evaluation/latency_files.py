"""Latencies that somebody timed: a CSV or Parquet file with a key and milliseconds on each row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import TableError, UserError
from vitruvius.generator.evaluation.columns import (
    Column,
    column_names,
    read_columns,
    read_csv,
    write_columns,
)

KEYS = ("key", "arch_str", "arch")
"""Names that the column of architectures may have."""
MILLISECONDS = "ms"
"""Name of the column of latencies; where there is one column of numbers only, it may have any."""


def read_latencies(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Keys and milliseconds of what was timed; rows without a number are left out.

    Raises:
        TableError: No such file, no column of keys, none or several columns of numbers, a text for a number.
    """
    keys, columns = _read(path)
    numbers = [name for name, column in columns.items() if not isinstance(column, list) and name != "index"]
    chosen = MILLISECONDS if MILLISECONDS in numbers else numbers[0] if len(numbers) == 1 else None
    if chosen is None:
        raise TableError(
            f"Latency file {str(path)!r} has {', '.join(map(repr, numbers)) or 'no column'} of numbers: one "
            f"column named {MILLISECONDS!r} is needed."
        )
    values = np.asarray(columns[chosen], dtype=np.float64)
    timed = np.flatnonzero(np.isfinite(values))
    return [keys[i] for i in timed], values[timed]


def read_keys(path: Path) -> list[str]:
    """Keys of a file, timed or not.

    Raises:
        TableError: No such file, or no column of keys.
    """
    return _read(path)[0]


def write_proposals(path: Path, keys: Sequence[str]) -> None:
    """A CSV file with these keys and an empty column to fill in.

    Raises:
        UserError: The file's name says that it is a Parquet file, which nobody can fill in.
        OSError: The file cannot be written.
    """
    if path.suffix == ".parquet":
        raise UserError(f"{path} is to be filled in, which a Parquet file cannot be: name a .csv file.")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", MILLISECONDS])
        writer.writerows([key, ""] for key in keys)


def write_latencies(path: Path, keys: Sequence[str], milliseconds: NDArray[np.float64]) -> None:
    """A Parquet or CSV file with keys and milliseconds.

    Raises:
        OSError: The file cannot be written.
    """
    write_columns(path, {"key": list(keys), MILLISECONDS: milliseconds})


def _read(path: Path) -> tuple[list[str], Mapping[str, Column]]:
    """The keys, and all columns by name."""
    if not path.is_file():
        raise TableError(f"There is no file {str(path)!r}: give a CSV or Parquet file.")
    parquet = path.suffix == ".parquet"
    columns = read_columns(path, column_names(path)) if parquet else read_csv(path, KEYS)
    if isinstance(columns.get(MILLISECONDS), list):
        raise TableError(f"Column {MILLISECONDS!r} of {str(path)!r} holds a text where a number is needed.")
    for name in KEYS:
        column = columns.get(name)
        if isinstance(column, list):
            return column, columns
    raise TableError(
        f"Latency file {str(path)!r} has no column of architectures: name one of its columns `key`."
    )
