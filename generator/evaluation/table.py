"""Measuring by looking up: benchmark tables as evaluators.

    Table()                                     the table an installed package brings, or $VITRUVIUS_TABLES
    Table("nasbench201.parquet")                a file, or the folder that holds it
    Table("tables/", fidelity="12 epochs")      a cheaper, noisier objective where the table has one

Test metrics are never read here; see `revealed`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, TableError, UserError, unknown_name
from vitruvius.generator.evaluation.columns import Column, column_names, read_columns
from vitruvius.generator.evaluation.embedded import PACKAGED_SPACE, packaged_file, packaged_table
from vitruvius.generator.evaluation.layouts import Layout, Source, layout_of
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.space import Architecture, Choices, SearchSpace
from vitruvius.generator.spaces.described import DescribedSpace

VARIABLE = "VITRUVIUS_TABLES"
"""Environment variable that names a folder with tables."""

OWN_DEVICE = "benchmark"
"""Name for the device of a latency that the benchmark measured on its own machine."""


class Table:
    """Looks scores up in a benchmark table (satisfies `Evaluator`).

    Attributes:
        path: File or folder as given; None looks where the module's docstring says.
        fidelity: Which of the table's schedules is the objective; None takes its full one.
    """

    name = "table"
    tabular = True

    def __init__(self, path: str | Path | None = None, *, fidelity: str | None = None) -> None:
        """Name the table; it is read when a task is opened.

        Args:
            path: Parquet or CSV file, or a folder with Parquet files of the usual names.
            fidelity: For example "12 epochs".
        """
        self.path = None if path is None else Path(path).expanduser()
        self.fidelity = fidelity
        self._benches: dict[tuple[str, str], TableBench] = {}

    def open(self, space: SearchSpace, dataset: str) -> TableBench:
        """Read what is needed of the table for one data set.

        Raises:
            UnknownNameError: The table has no such data set or fidelity.
            UserError: There are no tables for this space.
            TableError: No table found, a damaged file, a missing column, a foreign architecture.
        """
        if (space.name, dataset) not in self._benches:
            layout = layout_of(space)
            fidelity = self._fidelity(space, layout)
            if dataset not in layout.sources:
                raise unknown_name(f"data set of {space.name}", dataset, self.datasets(space))
            path = self._find(space, dataset, layout.sources[dataset])
            self._benches[space.name, dataset] = TableBench(space, dataset, layout, path, fidelity)
        return self._benches[space.name, dataset]

    def datasets(self, space: SearchSpace) -> list[str]:
        """Data sets whose scores the table has at this fidelity.

        Raises:
            UserError: There are no tables for this space.
            TableError: No table found, or a damaged file.
        """
        layout = layout_of(space)
        score = layout.score[self._fidelity(space, layout)]
        found: list[str] = []
        for dataset, source in layout.sources.items():
            if self.path is None and space.name == PACKAGED_SPACE and packaged_file(dataset) is not None:
                found.append(dataset)
                continue
            path = self._find(space, dataset, source)
            if path.exists() and source.prefix + score in column_names(path):
                found.append(dataset)
        return found

    def _fidelity(self, space: SearchSpace, layout: Layout) -> str:
        fidelity = self.fidelity or next(iter(layout.score))
        if fidelity not in layout.score:
            raise unknown_name(f"fidelity of {space.name} tables", fidelity, layout.score)
        return fidelity

    def _find(self, space: SearchSpace, dataset: str, source: Source) -> Path:
        """The Parquet file for a data set; it exists unless a given path leads nowhere."""
        if self.path is not None:
            if self.path.is_dir():
                return self.path / source.file
            beside = source.file != _main_file(space) and self.path.name == _main_file(space)
            return self.path.with_name(source.file) if beside else self.path
        if space.name == PACKAGED_SPACE and (path := packaged_table(dataset)) is not None:
            return path
        folder = os.environ.get(VARIABLE)
        if folder and (Path(folder) / _main_file(space)).is_file():
            return Path(folder) / source.file
        make = ", or make that file from the official one with `vitruvius tables import FILE`."
        raise TableError(
            f"No table for {space.name} was found: pass --table PATH (Table(PATH) in a script), set "
            f"{VARIABLE} to a folder with {source.file}"
            f"{'.' if isinstance(space, DescribedSpace) else make}"
        )

    def __repr__(self) -> str:
        """How it was made."""
        return f"Table({'' if self.path is None else repr(str(self.path))})"


class TableBench:
    """A table set up for one data set (satisfies `Bench`).

    Arrays are indexed by the position of an architecture in `space.enumerate()`; not-a-number marks
    what the table does not have.

    Attributes:
        path: The file that was read.
        scores: (size,) validation metric of each key.
        costs_by_key: Name of a cost -> (size,).
    """

    def __init__(self, space: SearchSpace, dataset: str, layout: Layout, path: Path, fidelity: str) -> None:
        """Read a data set's columns; see `Table.open` for the errors."""
        self.space, self.dataset, self.layout, self.path, self.fidelity = (
            space,
            dataset,
            layout,
            path,
            fidelity,
        )
        self.source = layout.sources[dataset]
        self.metric = self.source.metric
        score = self.source.prefix + layout.score[fidelity]
        known = column_names(path)
        optional = {name: column for name, column in self._optional_columns().items() if column in known}
        for name in (*layout.text, score):
            if name not in known:
                raise TableError(
                    f"Table {str(path)!r} has no column {name!r}: a table of {self.space.name}/{dataset} "
                    f"({fidelity}) needs {', '.join((*layout.text, score))}; this one has {', '.join(known)}."
                )
        names = [*layout.text, score, *optional.values()]
        columns = read_columns(path, names, texts=names)
        self._numbers = space.numbers(space.enumerate())
        self._rows = self._places(path, columns)
        # Stored copies differ in precision: equal fingerprints shall mean equal scores.
        self.scores = self._spread(columns[score]).astype(np.float32).astype(np.float64)
        self._extra = {name: self._spread(columns[column]) for name, column in optional.items()}
        self.evaluator = f"table:{_digest(space.name, dataset, fidelity, score)[:8]}"
        self.fingerprint = self._fingerprint()
        self._latency_path = self._beside()
        self.devices = self._device_names()

    # ---- the protocol ----------------------------------------------------------------------

    def representative(self, architecture: Architecture) -> Architecture:
        """The member of the class that comes first by the benchmark's index, of those with a score."""
        position = self._representatives[self.positions(self._own(architecture).row)[0]]
        return self.space.architectures(self.space.enumerate()[position : position + 1])[0]

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Look up the representatives; tables hold means, so the seed is not used and recorded as 0."""
        for architecture in architectures:
            yield self._measurement(architecture)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Parameters, multiply-adds and latencies of exactly these rows, (n,) each."""
        positions = self.positions(self.space.normalise(choices))
        found = {name: values[positions] for name, values in self._extra.items() if name in _COSTS}
        latency = {f"latency[{device}]": values[positions] for device, values in self._latency.items()}
        return {**found, **latency}

    def has(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows (n, D) have a score, that of the member measured for them: (n,)."""
        return np.isfinite(self.scores[self._representatives[self.positions(choices)]])

    def representatives(self, choices: Choices) -> Choices:
        """The member that is measured for the class of each row: (n, D)."""
        return self.space.enumerate()[self._representatives[self.positions(choices)]]

    # ---- beyond it -------------------------------------------------------------------------

    def positions(self, choices: Choices) -> NDArray[np.int64]:
        """Positions in `space.enumerate()` of normal rows: (n,)."""
        return np.searchsorted(self._numbers, self.space.numbers(choices))

    def representative_positions(self) -> NDArray[np.int64]:
        """For each position in `space.enumerate()`, that of its representative: (size,)."""
        return self._representatives

    def read_extra(self, column: str) -> NDArray[np.float64]:
        """Another column of numbers of this data set, by position: (size,).

        Args:
            column: Name without the data set's prefix.

        Raises:
            TableError: The table has no such column.
        """
        name = self.source.prefix + column
        return self._spread(read_columns(self.path, [name])[name])

    # ---- reading ---------------------------------------------------------------------------

    def _optional_columns(self) -> dict[str, str]:
        layout, prefix = self.layout, self.source.prefix
        suffixes = {"params": layout.params, "flops": layout.flops, OWN_DEVICE: layout.latency}
        columns = {name: prefix + suffix for name, suffix in suffixes.items() if suffix is not None}
        if self.fidelity in layout.seconds:
            columns["seconds"] = prefix + layout.seconds[self.fidelity]
        if layout.index is not None:
            columns["index"] = layout.index
        return columns

    def _places(self, path: Path, columns: Mapping[str, Column]) -> NDArray[np.int64]:
        """The position of each row of a table: (rows,)."""
        parts: list[list[str]] = []
        for name in self.layout.text:
            column = columns[name]
            if isinstance(self.space, DescribedSpace):
                column = self.space.texts_of(name, column if isinstance(column, list) else column.tolist())
            elif not isinstance(column, list):
                raise TableError(f"Column {name!r} of table {str(path)!r} holds numbers: texts are needed.")
            parts.append(column)
        texts = [self.layout.separator.join(words) for words in zip(*parts, strict=True)]
        known = _positions_by_key(self.space)
        positions = np.array([known.get(text, -1) for text in texts], dtype=np.int64)
        others = np.flatnonzero(positions < 0)  # written in another way than keys are, or foreign
        try:
            rows = self.space.parse_many([texts[place] for place in others])
        except InvalidArchitectureError as error:
            raise TableError(
                f"Table {str(path)!r} is not one of {self.space.name}: {error.__cause__ or error}"
            ) from error
        positions[others] = self.positions(rows)
        values, counts = np.unique(positions, return_counts=True)
        if (counts > 1).any():
            twice = self.space.format(self.space.enumerate()[values[counts > 1][0]].tolist())
            raise TableError(f"Table {str(path)!r} has more than one row for {twice!r}: one is allowed.")
        return positions

    def _spread(self, column: Column, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """A column, ordered by position, not-a-number where the table has no row."""
        good = [_is_number(cell) for cell in column] if isinstance(column, list) else ~np.isinf(column)
        if not all(good):
            row = int(np.argmin(good))
            raise TableError(
                f"Table {str(self.path)!r} has {str(column[row])!r} in row {row + 1} of its data, where a "
                "number is needed: write one that is finite, or leave the cell empty."
            )
        numbers = [float(cell.strip() or "nan") for cell in column] if isinstance(column, list) else column
        spread = np.full(len(self._numbers), np.nan)
        spread[self._rows if rows is None else rows] = numbers
        return spread

    def _fingerprint(self) -> str:
        """Hash of scores and costs, the same however the table is stored."""
        digest = hashlib.sha256(f"{self.space.name}/{self.dataset}".encode())
        for name, values in [("score", self.scores), *sorted(self._extra.items())]:
            digest.update(name.encode())
            digest.update(values.astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _representatives(self) -> NDArray[np.int64]:
        classes = _classes(self.space)
        index = self._extra.get("index", np.arange(len(classes)))
        order = np.lexsort((index, np.isnan(self.scores)))  # what has no score comes last
        _, first, group = np.unique(classes[order], return_index=True, return_inverse=True)
        representatives = np.empty(len(classes), dtype=np.int64)
        representatives[order] = order[first[group]]
        return representatives

    # ---- latency ---------------------------------------------------------------------------

    def _beside(self) -> Path | None:
        if self.layout.latency_file is None:
            return None
        path = self.path.with_name(self.layout.latency_file)
        return path if path.is_file() else None

    def _device_names(self) -> tuple[str, ...]:
        own = (OWN_DEVICE,) if OWN_DEVICE in self._extra else ()
        if self._latency_path is None:
            return own
        others = column_names(self._latency_path)
        return (*own, *(name for name in others if name not in (*self.layout.text, self.layout.index)))

    @cached_property
    def _latency(self) -> dict[str, NDArray[np.float64]]:
        """Device -> milliseconds, (size,)."""
        found: dict[str, NDArray[np.float64]] = {}
        if OWN_DEVICE in self._extra:
            found[OWN_DEVICE] = self._extra[OWN_DEVICE] * 1000
        if self._latency_path is not None:
            names = [name for name in self.devices if name != OWN_DEVICE]
            texts = self.layout.text
            columns = read_columns(self._latency_path, [*texts, *names], texts=texts)
            rows = self._places(self._latency_path, columns)
            found |= {name: self._spread(columns[name], rows) for name in names}
        return found

    # ---- one measurement -------------------------------------------------------------------

    def _own(self, architecture: Architecture) -> Architecture:
        if architecture.space.name != self.space.name:
            raise UserError(
                f"{architecture!r} is of another space: this table measures {self.space.name} only."
            )
        return architecture

    def _measurement(self, architecture: Architecture) -> Measurement:
        stands = self.representative(architecture)
        (place,) = self.positions(stands.row).tolist()
        score = float(self.scores[place])
        ok = bool(np.isfinite(score))
        extra = {name: float(values[place]) for name, values in self._extra.items()}
        latency = {device: float(values[place]) for device, values in self._latency.items()}
        return Measurement(
            space=self.space.name,
            task=f"{self.space.name}/{self.dataset}",
            key=stands.key,
            id=architecture.id,
            status=Status.OK if ok else Status.INVALID,
            score=score if ok else None,
            reason="" if ok else f"The table has no score on {self.dataset} for {stands.key}.",
            seconds=_known(extra.get("seconds")) or 0.0,
            params=_known(extra.get("params")),
            flops=_known(extra.get("flops")),
            latency={device: value for device, value in latency.items() if np.isfinite(value)},
            fidelity=self.fidelity,
            evaluator=self.evaluator,
            fingerprint=self.fingerprint,
        )


_COSTS = ("params", "flops")


@cache
def _positions_by_key(space: SearchSpace) -> dict[str, int]:
    """Position in `space.enumerate()` of each key; made once for all data sets."""
    return {key: place for place, key in enumerate(space.keys(space.enumerate()))}


@cache
def _classes(space: SearchSpace) -> NDArray[np.int64]:
    """A number for the id of each row of `space.enumerate()`; made once for all data sets."""
    return space.classes(space.enumerate())


def _is_number(text: str) -> bool:
    try:
        return not text.strip() or math.isfinite(float(text))
    except ValueError:
        return False


def _main_file(space: SearchSpace) -> str:
    return next(iter(layout_of(space).sources.values())).file


def _known(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
