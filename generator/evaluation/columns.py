"""Named columns in Parquet files, how benchmark tables are kept, and in CSV files, as people write them."""

from __future__ import annotations

import csv
import glob
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import TableError

Column = NDArray[np.float64] | list[str]
"""A column of numbers, not-a-number where nothing was measured, or of texts."""


def column_names(path: Path) -> list[str]:
    """Names of the columns of a Parquet or CSV file; of the former its footer is read only.

    Raises:
        TableError: No such file, or no complete Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise TableError(
            f"There is no table file {str(path)!r}: give the path of an existing Parquet or CSV file."
        )
    if path.suffix == ".csv":
        return list(read_csv(path))
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def read_columns(path: Path, names: Sequence[str], *, texts: Collection[str] = ()) -> dict[str, Column]:
    """Read these columns, and no others, of a Parquet or CSV file.

    Args:
        path: The file; one that ends in .csv is CSV.
        names: The columns.
        texts: Columns that are texts in a CSV file even where all of them look like numbers.

    Returns:
        Columns by name, all of one length.

    Raises:
        TableError: No complete Parquet file, or a column is missing or of another kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = column_names(path)
    for name in names:
        if name not in known:
            raise TableError(f"Table {str(path)!r} has no column {name!r}: it has {', '.join(known)}.")
    if path.suffix == ".csv":
        read = read_csv(path, texts)
        return {name: read[name] for name in names}
    try:
        with pq.ParquetFile(path) as file:  # `read_table` would load pandas
            table = file.read(columns=list(names))
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error
    return {name: _column(path, name, table.column(name)) for name in names}


def read_csv(path: Path, texts: Collection[str] = ()) -> dict[str, Column]:
    """All columns of a CSV file with a line of names; numbers where every cell is one, or empty.

    Raises:
        TableError: No CSV file in UTF-8, or a line that is longer than the first.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")  # a line that is too short ends in empty cells
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{str(path)!r} is no CSV file ({error}): give one with a line of names.") from None
    names = list(reader.fieldnames or ())
    for number, row in enumerate(rows, start=2):
        if None in row:  # where the reader puts what is too many
            raise TableError(
                f"Row {number} of {str(path)!r} has more than the {len(names)} cells of the first line: a "
                'text with commas stands in quotes, "0000:gat,gat,gat,gat".'
            )
    columns: dict[str, Column] = {}
    for name in names:
        cells = [row[name] for row in rows]
        numbers = None if name in texts else _numbers(cells)
        columns[name] = cells if numbers is None else numbers
    return columns


def _numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """As numbers, not-a-number where a text is empty; None where one is something else."""
    try:
        return np.array([float(text) if text.strip() else np.nan for text in texts], dtype=np.float64)
    except ValueError:
        return None


def write_columns(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns of one length as a Parquet or CSV file, complete or not at all; whole numbers stay whole.

    Raises:
        OSError: The folder cannot be written.
    """
    _write(path, [{name: _compact(column) for name, column in columns.items()}])


def write_parts(path: Path, parts: Iterable[Mapping[str, Column]]) -> None:
    """Write columns that come in parts, one after the other, so that not all must be in memory.

    Args:
        path: The Parquet or CSV file, written complete or not at all.
        parts: At least one; each has the same columns.

    Raises:
        OSError: The folder cannot be written.
    """
    _write(path, parts)


def _write(path: Path, parts: Iterable[Mapping[str, Column | NDArray[np.int32]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.csv import CSVWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(path)
    try:
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file)
            with ExitStack() as stack:
                writer = None
                for part in parts:
                    table = pa.table({name: pa.array(column) for name, column in part.items()})
                    if writer is None:
                        writer = stack.enter_context(
                            CSVWriter(file, table.schema)
                            if path.suffix == ".csv"
                            else pq.ParquetWriter(file, table.schema, compression="zstd")
                        )
                    writer.write_table(table)
            file.flush()
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed left of this file; what another one is writing stays."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        with suppress(OSError), left.open("rb") as file:
            if _lock(file):
                left.unlink()


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed or this process ends; False where another process has the lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _column(path: Path, name: str, values: Any) -> Column:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if values.null_count:
            raise TableError(f"Column {name!r} of table {str(path)!r} has empty cells: all rows need a text.")
        return [str(text) for text in values.to_pylist()]
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers = values.cast(pa.float64()).combine_chunks()
        if numbers.null_count:  # an empty cell becomes nan
            return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
        # `to_numpy` would load pandas, half a second of every command
        return np.asarray(np.from_dlpack(numbers), dtype=np.float64)
    if pa.types.is_boolean(kind) and not values.null_count:
        return [str(value).lower() for value in values.to_pylist()]  # as TOML writes them
    raise TableError(f"Column {name!r} of table {str(path)!r} holds {kind}: numbers or texts are needed.")


def _compact(column: Column) -> Column | NDArray[np.int32]:
    whole = not isinstance(column, list) and bool(np.isfinite(column).all()) and not (column % 1).any()
    return np.asarray(column).astype(np.int32) if whole else column


def _broken(path: Path, error: BaseException) -> TableError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TableError(
        f"{str(path)!r} is no complete Parquet file ({why}): copy it again, or write it anew with "
        "`vitruvius tables import`."
    )
