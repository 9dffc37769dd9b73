"""The table that comes with an installed package: NAS-Bench-Graph in `nas-bench-graph` (Apache-2.0).

The package's own reader unpickles without restriction, so it is never imported: its data files are
found through the installation's metadata, read through `restricted`, and kept as Parquet in the cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import logging
import tempfile
from pathlib import Path

import numpy as np

from vitruvius.errors import TableError
from vitruvius.generator.evaluation.columns import Column, column_names, write_columns
from vitruvius.generator.evaluation.restricted import PlainReader, Refused
from vitruvius.generator.files import cache_folder
from vitruvius.generator.spaces.nasbench_graph import OPERATIONS

PACKAGE = "nas-bench-graph"
PACKAGED_SPACE = "nasbench-graph"
LARGEST = 64 * 2**20
"""Bytes that a data file may have; the real ones have two million."""

_LINKS = dict(enumerate(("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")))
"""Input strings by the leading digit of the benchmark's hash."""
_FIELDS = {"valid": "valid_perf", "test": "perf", "latency": "latency", "params": "para"}
_LOG = logging.getLogger(__name__)


def packaged_file(dataset: str) -> Path | None:
    """The data file of the installed package for this data set; None where it is not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == f"{dataset}.bench":
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def packaged_table(dataset: str) -> Path | None:
    """The packaged numbers of a data set as a Parquet file with the columns of `nasbench_graph.parquet`.

    Written once for each content of the package's file. Where the cache cannot be written, a temporary
    folder takes its place for this process, and a warning is logged.

    Returns:
        The Parquet file, or None where the package is not installed.

    Raises:
        TableError: The package's file is too large, damaged, or holds more than numbers.
    """
    source = packaged_file(dataset)
    if source is None:
        return None
    if source.stat().st_size > LARGEST:
        raise TableError(f"{str(source)!r} has more than {LARGEST} bytes: it is not the benchmark's file.")
    data = source.read_bytes()
    name = f"nasbench_graph-{dataset}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
    path = cache_folder() / "tables" / name
    if _usable(path):
        return path
    try:
        bench = PlainReader(io.BytesIO(data)).load()
    except Refused as error:
        raise TableError(f"{str(source)!r} is not the benchmark's file: {error}.") from error
    columns = _columns(bench, dataset, source)
    try:
        write_columns(path, columns)
    except OSError as error:
        path = Path(tempfile.mkdtemp(prefix="vitruvius-")) / name
        _LOG.warning("The cache cannot be written (%s): the table is kept in %s for this run.", error, path)
        write_columns(path, columns)
    return path


def _usable(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return bool(column_names(path))
    except TableError:
        return False  # cut off by a full disk: written again


def _columns(bench: object, dataset: str, source: Path) -> dict[str, Column]:
    """The benchmark's dictionary, hash -> fields, as columns."""
    if not isinstance(bench, dict) or not bench:
        raise TableError(f"{str(source)!r} holds no architectures: it is not the benchmark's file.")
    links: list[str] = []
    operations: list[str] = []
    numbers: dict[str, list[float]] = {name: [] for name in _FIELDS}
    for code, entry in bench.items():
        try:
            lead, digits = divmod(int(code), 10 ** len("0000"))
            links.append(_LINKS[lead])
            operations.append(",".join(OPERATIONS[int(digit)] for digit in f"{digits:04d}"))
            for name, official in _FIELDS.items():
                numbers[name].append(float(entry[official]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise TableError(
                f"{str(source)!r} has an entry {code!r:.40} of another kind: {error!r}."
            ) from error
    prefix = "" if dataset == "proteins" else f"{dataset}_"
    return {
        "link": links,
        "ops": operations,
        **{f"{prefix}{name}": np.array(values) for name, values in numbers.items()},
    }
