"""Official benchmark files, turned into our Parquet layout once.

Read are, by their content:

    NAS-Bench-201-v1_1-096897.pth      one torch archive, old or zipped form
    NATS-tss-v1_0-3ffb9.pickle.pbz2    one pickle, packed or not
    NATS-tss-v1_0-3ffb9-simple/        a folder with one packed pickle for each architecture
    nasbench_full.tfrecord             NAS-Bench-101, or nasbench_only108.tfrecord: see `nasbench101_records`

The structure of the first three follows the benchmarks' published interfaces (`nas_201_api`, `nats_bench`):
an architecture has one `ArchResults` for each schedule, and this one `ResultsCount` for each data set and
seed. Each is shrunk to the few numbers we keep as soon as it has been read, so memory stays small for files
of gigabytes.
"""

from __future__ import annotations

import bz2
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.errors import TableError, UserError
from vitruvius.generator.evaluation.columns import Column, write_columns
from vitruvius.generator.evaluation.nasbench101_records import is_tfrecord, read_nasbench101
from vitruvius.generator.evaluation.restricted import PlainReader, Refused, Stream

Progress = Callable[[int], None]
"""Called with the number of architectures read so far."""

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_LONG, _SHORT = ("200", "full"), ("12", "less")
"""Names of the 200-epoch and the 12-epoch schedule in NATS-Bench and in NAS-Bench-201."""
_LEGACY_SEED = 888
"""The seed whose params and FLOPs hold where a cell's seeds disagree, as in the published interface."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one data set's numbers stand in the official files: (official data set, split)."""

    valid: tuple[str, str]
    test: tuple[str, str]


_TARGETS = {
    "cifar10": _Target(("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": _Target(("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16": _Target(("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}


@dataclass(frozen=True, slots=True)
class _Run:
    """What is kept of one training run: final accuracies by split (%), costs."""

    accuracies: Mapping[str, float]
    seconds: float
    params: float
    flops: float
    latency: float


def usual_name(path: str | Path) -> str:
    """Name of the table that an official file or folder becomes."""
    path = Path(path).expanduser()
    return "nasbench101.parquet" if path.is_file() and is_tfrecord(path) else "nasbench201.parquet"


def import_official(path: str | Path, out: str | Path, progress: Progress | None = None) -> int:
    """Turn an official file or folder into a table that `Table` reads.

    For NAS-Bench-101 see `read_nasbench101`. For the others `*_valid` is the mean over seeds of x-valid
    after 200 epochs (CIFAR-10: trained on the train half), `*_test` that of the usual test split (CIFAR-10:
    ori-test after training on train and valid), `*_valid_12ep` x-valid of the 12-epoch schedule. Accuracies
    in percent, parameters and multiply-adds in millions, `*_seconds` training plus one evaluation,
    `*_latency` in seconds.

    Args:
        path: The official file or folder.
        out: The Parquet file to write; it must not exist.
        progress: Called from time to time.

    Returns:
        The number of architectures written.

    Raises:
        UserError: `out` exists, or `path` does not.
        TableError: The file is damaged, too large, of another kind, or holds more than plain data.
    """
    path, out = Path(path).expanduser(), Path(out).expanduser()
    if out.exists():
        raise UserError(f"{str(out)!r} exists already: remove it, or name another file with --out.")
    if not path.exists():
        raise UserError(f"There is no file or folder {str(path)!r}: give the path of the official benchmark.")
    if path.is_file() and is_tfrecord(path):
        columns = read_nasbench101(path, progress)
        write_columns(out, columns)
        return len(columns["arch"])
    rows: dict[int, dict[str, float | str]] = {}

    def keep(state: dict[Any, Any]) -> bool:
        found = _shrink(state)
        if found is None:
            return False
        index, schedule, row = found
        rows.setdefault(index, {"arch_str": row["arch_str"]})
        if schedule is not None:
            rows[index] |= row
        if progress is not None and len(rows) % 100 == 0:
            progress(len(rows))
        return True

    for part, stream in _streams(path):
        _read(part, stream, keep)
    if not any(f"{name}_valid" in row for row in rows.values() for name in _TARGETS):
        raise TableError(f"{str(path)!r} holds no architecture trained for 200 epochs: it is another file.")
    write_columns(out, _columns(rows))
    return len(rows)


# ---- opening -------------------------------------------------------------------------------


def _streams(path: Path) -> Iterator[tuple[Path, Stream]]:
    """What has to be read, each with the file it stands in."""
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name[:6].isdigit() and file.is_file())
        if not files:
            raise TableError(
                f"The folder {str(path)!r} has no files like 000000.pickle.pbz2: it is not the benchmark's."
            )
    for file in files:
        with _opened(file) as stream:
            yield file, stream


@contextmanager
def _opened(path: Path) -> Generator[Stream, None, None]:
    """A file's pickle, unpacked while it is read."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"BZh"):
        with bz2.open(path) as stream:
            yield stream
    elif start == b"PK\x03\x04":
        with _zipped(path) as stream:
            yield stream
    elif start.startswith(b"\x80"):
        with path.open("rb") as stream:
            yield stream
    else:
        raise TableError(
            f"{str(path)!r} is neither a pickle nor a torch archive: expected is NAS-Bench-201-v1_1-*.pth, "
            "NATS-tss-v1_0-*.pickle.pbz2, a NATS-tss folder, or nasbench_*.tfrecord."
        )


@contextmanager
def _zipped(path: Path) -> Generator[Stream, None, None]:
    """The pickle inside a zipped torch archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1:
                raise TableError(f"{str(path)!r} is a zip file without data.pkl: it is no torch archive.")
            with archive.open(names[0]) as stream:
                yield stream
    except zipfile.BadZipFile as error:
        raise TableError(f"{str(path)!r} is cut off or damaged: copy it again.") from error


def _read(path: Path, stream: Stream, keep: Callable[[dict[Any, Any]], bool]) -> None:
    """Read one pickle; what is needed goes to `keep` on the way."""
    reader = PlainReader(stream, shrink=keep)
    try:
        if reader.load() == _TORCH_MAGIC:  # the old torch form: magic number, version, system, data
            reader.load()
            reader.load()
            reader.load()
    except Refused as error:
        raise TableError(f"{str(path)!r} cannot be read as an official benchmark file: {error}.") from error
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise TableError(f"{str(path)!r} is cut off or damaged ({error}): copy it again.") from error


# ---- what is kept --------------------------------------------------------------------------


def _shrink(state: dict[Any, Any]) -> tuple[int, str | None, dict[str, float | str]] | None:
    """Take what is needed out of a complete `ArchResults` state, and empty it.

    Returns:
        The architecture's index, the suffix of its schedule's columns (None for another schedule), and
        its columns; None where the dictionary is not such a state.
    """
    if not {"arch_index", "arch_str", "all_results", "dataset_seed"} <= state.keys():
        return None
    index, text = int(state["arch_index"]), str(state["arch_str"])
    runs: dict[str, dict[int, _Run]] = {}
    lengths: set[int] = set()
    for dataset, seeds in state["dataset_seed"].items():
        for seed in map(int, seeds):
            result = state["all_results"][dataset, seed]
            lengths.add(int(result["epochs"]))
            runs.setdefault(str(dataset), {})[seed] = _run(result)
    state.clear()
    row: dict[str, float | str] = {"arch_str": text}
    if lengths == {200}:
        for name, target in _TARGETS.items():
            row |= _long_columns(name, target, runs)
        return index, "", row
    if lengths == {12}:
        for name, target in _TARGETS.items():
            row[f"{name}_valid_12ep"] = _accuracy(runs, target.valid)
        return index, "_12ep", row
    return index, None, row


def _run(result: Mapping[str, Any]) -> _Run:
    """The final numbers of one `ResultsCount` state."""
    last = int(result["epochs"]) - 1
    accuracies = {str(name): float(result["eval_acc1es"][f"{name}@{last}"]) for name in result["eval_names"]}
    times, evaluation = result["train_times"], result["eval_times"]
    seconds = float(sum(times.values())) if times else float("nan")
    seconds += float(evaluation.get(f"x-valid@{last}", 0.0)) if evaluation else 0.0
    latency = [float(value) for value in result["latency"] or () if value > 0]
    return _Run(
        accuracies=accuracies,
        seconds=seconds,
        params=float(result["params"]),
        flops=float(result["flop"]),
        latency=_mean(latency),
    )


def _long_columns(name: str, target: _Target, runs: Mapping[str, Mapping[int, _Run]]) -> dict[str, float]:
    searched = runs.get(target.valid[0], {})
    return {
        f"{name}_valid": _accuracy(runs, target.valid),
        f"{name}_test": _accuracy(runs, target.test),
        f"{name}_params_m": _agreed({seed: run.params for seed, run in searched.items()}),
        f"{name}_flops_m": _agreed({seed: run.flops for seed, run in searched.items()}),
        f"{name}_seconds": _mean([run.seconds for run in searched.values()]),
        f"{name}_latency": _mean([run.latency for run in searched.values() if run.latency > 0]),
    }


def _accuracy(runs: Mapping[str, Mapping[int, _Run]], where: tuple[str, str]) -> float:
    """Mean over seeds of the final accuracy, in percent; not-a-number where nothing was run."""
    dataset, split = where
    return _mean([run.accuracies[split] for run in runs.get(dataset, {}).values() if split in run.accuracies])


def _agreed(values: Mapping[int, float]) -> float:
    """A cost that is the same for all seeds; where an old error made them differ, that of one seed."""
    if len({f"{value:.5f}" for value in values.values()}) > 1 and _LEGACY_SEED in values:
        return values[_LEGACY_SEED]
    return _mean(values.values())


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")


def _columns(rows: Mapping[int, Mapping[str, float | str]]) -> dict[str, Column]:
    """Rows as columns, ordered by index; columns without a single number are left out."""
    order = sorted(rows)
    names = sorted({name for row in rows.values() for name in row} - {"arch_str"})
    columns: dict[str, Column] = {
        "index": np.array(order, dtype=np.float64),
        "arch_str": [str(rows[index]["arch_str"]) for index in order],
    }
    for name in names:
        values = np.array([float(rows[index].get(name, "nan")) for index in order])
        if np.isfinite(values).any():
            columns[name] = values
    return columns
