"""Official archives, made small here in the structure of the published interfaces, and hostile ones."""

from __future__ import annotations

import bz2
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from vitruvius.errors import TableError, UserError
from vitruvius.generator.evaluation import restricted
from vitruvius.generator.evaluation.importers import import_official
from vitruvius.generator.evaluation.restricted import PlainReader, Refused
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import get_space

SPLITS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("ori-test", "x-valid", "x-test"),
    "ImageNet16-120": ("ori-test", "x-valid", "x-test"),
}
SEEDS = (777, 888)


def accuracy(index: int, dataset: str, split: str, seed: int, epoch: int, epochs: int) -> float:
    """Different for everything, and known: the last epoch's has no offset."""
    place = list(SPLITS).index(dataset) * 10 + (*SPLITS[dataset], "train").index(split)
    return index + place / 4 + (seed - 777) / 1000 - (epochs - 1 - epoch) * 100 + (epochs == 12) * 40


def results_count(index: int, dataset: str, seed: int, epochs: int) -> dict[str, Any]:
    """What `ResultsCount.state_dict()` returns."""
    splits = SPLITS[dataset]
    at_last_only = ("ori-test", "x-test") if dataset != "cifar10" else ()

    def series(value: Any) -> dict[str, Any]:
        return {
            f"{split}@{epoch}": value(split, epoch)
            for split in splits
            for epoch in ((epochs - 1,) if split in at_last_only else range(epochs))
        }

    return {
        "name": dataset,
        "net_state_dict": None,
        "train_acc1es": {e: accuracy(index, dataset, "train", seed, e, epochs) for e in range(epochs)},
        "train_acc5es": None,
        "train_losses": {e: 1.0 for e in range(epochs)},
        "train_times": OrderedDict((e, 2.0) for e in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": key(index), "class_num": 10},
        "params": np.float64(0.1 + index),
        # an old error that the interface mends by taking seed 888
        "flop": 5.0 + index if seed == 888 else 9.0,
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [0.01, 0.03],
        "eval_names": list(splits),
        "eval_acc1es": series(lambda split, e: accuracy(index, dataset, split, seed, e, epochs)),
        "eval_times": {f"{split}@{e}": 0.5 for split in splits for e in range(epochs)},
        "eval_losses": series(lambda split, e: 1.0),
    }


def arch_results(index: int, epochs: int) -> dict[str, Any]:
    """What `ArchResults.state_dict()` returns."""
    return {
        "arch_index": index,
        "arch_str": key(index),
        "all_results": {
            (dataset, seed): results_count(index, dataset, seed, epochs)
            for dataset in SPLITS
            for seed in SEEDS
        },
        "dataset_seed": {dataset: list(SEEDS) for dataset in SPLITS},
        "clear_net_done": True,
    }


def key(index: int) -> str:
    space = get_space("nasbench201")
    return space.format(space.enumerate()[index * 4_999].tolist())


def nats(index: int) -> OrderedDict[str, Any]:
    return OrderedDict([("12", arch_results(index, 12)), ("200", arch_results(index, 200))])


def whole(indices: range, one: Any) -> dict[str, Any]:
    return {
        "meta_archs": [key(index) for index in indices],
        "arch2infos": {index: one(index) for index in indices},
        "evaluated_indexes": set(indices),
    }


def nasbench201(index: int) -> dict[str, Any]:
    return {"full": arch_results(index, 200), "less": arch_results(index, 12)}


def archive(kind: str, folder: Path) -> Path:
    """The official form of this kind, three architectures large."""
    if kind == "nats folder":
        path = folder / "NATS-tss-v1_0-3ffb9-simple"
        path.mkdir()
        meta = {
            "meta_archs": [key(i) for i in range(3)],
            "total_archs": 3,
            "arch2infos": None,
            "evaluated_indexes": set(),
        }
        for name, value in [("meta", meta), *((f"{i:06d}", nats(i)) for i in range(3))]:
            with bz2.open(path / f"{name}.pickle.pbz2", "wb") as stream:
                pickle.dump(value, stream, protocol=4)
        return path
    if kind == "nats file":
        path = folder / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
        with bz2.open(path, "wb") as stream:
            pickle.dump(whole(range(3), nats), stream, protocol=4)
        return path
    if kind == "nats unpacked":
        path = folder / "NATS-tss-v1_0-3ffb9.pickle"
        path.write_bytes(pickle.dumps(whole(range(3), nats), protocol=5))
        return path
    path = folder / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(whole(range(3), nasbench201), path, _use_new_zipfile_serialization=kind == "pth zipped")
    return path


KINDS = ["pth old", "pth zipped", "nats file", "nats unpacked", "nats folder"]


@pytest.fixture(scope="module")
def nats_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive("nats file", tmp_path_factory.mktemp("nats"))


# ---- what comes out ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_official_form_gives_the_same_table(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out" / "nasbench201.parquet"
    assert import_official(archive(kind, tmp_path), out) == 3
    table = pq.read_table(out).to_pydict()
    assert table["index"] == [0, 1, 2] and table["arch_str"] == [key(0), key(1), key(2)]

    def mean(dataset: str, split: str, epochs: int = 200) -> Any:
        values = [[accuracy(i, dataset, split, seed, epochs - 1, epochs) for seed in SEEDS] for i in range(3)]
        return pytest.approx(np.mean(values, axis=1).tolist())

    assert table["cifar10_valid"] == mean("cifar10-valid", "x-valid")
    assert table["cifar10_test"] == mean("cifar10", "ori-test")
    assert table["cifar100_valid"] == mean("cifar100", "x-valid")
    assert table["cifar100_test"] == mean("cifar100", "x-test")
    assert table["imagenet16_valid"] == mean("ImageNet16-120", "x-valid")
    assert table["imagenet16_test"] == mean("ImageNet16-120", "x-test")
    assert table["cifar10_valid_12ep"] == mean("cifar10-valid", "x-valid", epochs=12)
    assert table["cifar10_params_m"] == pytest.approx([0.1, 1.1, 2.1])
    assert table["cifar10_flops_m"] == [5.0, 6.0, 7.0]
    assert table["cifar100_seconds"] == [400.5] * 3
    assert table["cifar100_latency"] == pytest.approx([0.02] * 3)


def test_the_table_reads_it(nats_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "nasbench201.parquet"
    import_official(nats_file, out)
    task = Task("nasbench201/cifar100", evaluator=Table(out))
    (found,) = task.bench.measure([task.space.parse(key(2))])
    assert found.score == pytest.approx(
        np.mean([accuracy(2, "cifar100", "x-valid", s, 199, 200) for s in SEEDS])
    )
    assert found.seconds == 400.5 and found.latency == {"benchmark": pytest.approx(20.0)}
    assert Table(out).datasets(task.space) == ["cifar10", "cifar100", "imagenet16"]
    assert (
        Task("nasbench201/cifar10", evaluator=Table(out, fidelity="12 epochs")).bench.fidelity == "12 epochs"
    )


def test_weights_in_an_archive_are_skipped(tmp_path: Path) -> None:
    data = nasbench201(0)
    for result in data["full"]["all_results"].values():
        result["net_state_dict"] = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        ).state_dict()
    folder = tmp_path / "NAS-Bench-201-v1_1-archive"
    folder.mkdir()
    torch.save(data, folder / "000000-FULL.pth", _use_new_zipfile_serialization=False)
    assert import_official(folder, tmp_path / "out.parquet") == 1


def test_partial_runs_leave_gaps(tmp_path: Path) -> None:
    data = nats(0)
    for schedule in data.values():
        schedule["dataset_seed"].pop("cifar100")
    path = tmp_path / "one.pickle"
    path.write_bytes(pickle.dumps({"arch2infos": {0: data, 1: nats(1)}}, protocol=4))
    import_official(path, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert np.isnan(table["cifar100_valid"][0]) and np.isfinite(table["cifar100_valid"][1])
    assert np.isfinite(table["cifar10_valid"]).all()


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as many architectures, nearly the same peak."""
    monkeypatch.setattr(restricted, "_KEPT_TEXTS", 1000)

    def peak(count: int) -> int:
        data = pickle.dumps(
            {"arch2infos": {i: {"200": arch_results(i % 3, 60)} for i in range(count)}}, protocol=4
        )
        # texts as in the real files: each architecture's keys are new objects
        seen: list[int] = []

        def shrink(state: dict[Any, Any]) -> bool:
            if "all_results" not in state:
                return False
            state.clear()
            seen.append(1)
            return True

        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        PlainReader(io.BytesIO(data), shrink).load()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(seen) == count
        return most - before

    assert peak(30) < 2 * peak(3)


# ---- wrong and hostile files -----------------------------------------------------------------


class Evil:
    """Pickles to a call of a function of choice."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, getattr, np.load, torch.load, bytearray, np.zeros])  # pyright: ignore[reportDeprecated]
def test_nothing_in_a_file_is_called(function: Any, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "evil.pickle"
    path.write_bytes(
        pickle.dumps({"arch2infos": Evil(function, f"touch {tmp_path}/pwned")}, protocol=protocol)
    )
    with pytest.raises(TableError, match="is not allowed"):
        import_official(path, tmp_path / "out.parquet")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.pickle"]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3),
        np.datetime64("2020-01-01"),
        np.void(b"1234"),
        np.dtype(">f8"),
        complex(1, 2),
        Path("/etc/passwd"),
        slice(1, 2),
    ],
)
def test_only_plain_data_is_built(value: Any) -> None:
    with pytest.raises(Refused):
        PlainReader(io.BytesIO(pickle.dumps([value], protocol=4))).load()


@pytest.mark.parametrize(
    "value",
    [
        None, True, -1, 2**40, -(2**70), 1.5, "text", "ü" * 300, b"bytes", b"b" * 300, (), (1,), (1, 2), (1, 2, 3),
        (1, 2, 3, 4), [], [1, [2]], {}, {"a": {(1, "b"): [None]}}, set(), {1, 2}, list(range(3000)),
        OrderedDict([(1, 2)]), ["same", "same"], np.float64(1.25), np.float32(0.5), np.int64(7),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_read_as_it_was(value: Any, protocol: int) -> None:
    assert PlainReader(io.BytesIO(pickle.dumps(value, protocol=protocol))).load() == value


def test_cut_off_anywhere_is_one_sentence(nats_file: Path, tmp_path: Path) -> None:
    data = nats_file.read_bytes()
    for share in (0.01, 0.5, 0.99):
        path = tmp_path / "cut.pickle.pbz2"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(TableError, match="cut off"):
            import_official(path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_cut_off_plain_pickle_and_zip(tmp_path: Path) -> None:
    for kind in ("nats unpacked", "pth old", "pth zipped"):
        path = archive(kind, tmp_path)
        path.write_bytes(path.read_bytes()[:-20_000])
        with pytest.raises(TableError, match="cut off"):
            import_official(path, tmp_path / "out.parquet")


@pytest.mark.parametrize("seed", range(20))
def test_damage_never_ends_in_a_traceback(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(pickle.dumps({"arch2infos": {0: {"12": arch_results(0, 12)}}}, protocol=4))
    for place in rng.integers(len(data), size=8):
        data[place] = rng.integers(256)
    try:
        PlainReader(io.BytesIO(bytes(data))).load()
    except Refused as error:
        assert str(error)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted, "MOST_STEPS", 1000)
    monkeypatch.setattr(restricted, "MOST_BYTES", 1000)
    with pytest.raises(Refused, match="more than 1,000 values"):
        PlainReader(io.BytesIO(pickle.dumps(list(range(2000)), protocol=4))).load()
    with pytest.raises(Refused, match="more than 1,000 bytes"):
        PlainReader(io.BytesIO(pickle.dumps(b"x" * 2000, protocol=4))).load()
    # a length that the file only claims is refused before anything is allocated
    with pytest.raises(Refused, match="more than 1,000 bytes"):
        PlainReader(io.BytesIO(b"\x80\x04\x8e" + (2**40).to_bytes(8, "little"))).load()


NESTED = b")" + b"\x85" * 200_000


@pytest.mark.parametrize(
    "data",
    [b"}" + NESTED + b"Ns.", b"\x8f(" + NESTED + b"\x90.", b"cbuiltins\nset\n](" + NESTED + b"e\x85R."],
)
def test_a_deeply_nested_key_is_refused_not_hashed(data: bytes) -> None:
    """Hashing it would overflow the interpreter's own stack and end the process."""
    with pytest.raises(Refused, match="neither a simple value nor a flat tuple"):
        PlainReader(io.BytesIO(b"\x80\x04" + data)).load()


def test_foreign_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("accuracy,94.3\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.pickle").write_bytes(pickle.dumps({"weights": [1.0]}))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pth")
    for name, match in [
        ("text.pth", "neither a pickle nor a torch archive"),
        ("empty", "no files like 000000"),
        ("other.pickle", "no architecture trained for 200 epochs"),
        ("model.pth", "no architecture trained for 200 epochs"),
    ]:
        with pytest.raises(TableError, match=match):
            import_official(tmp_path / name, tmp_path / "out.parquet")
    with pytest.raises(UserError, match="no file or folder"):
        import_official(tmp_path / "nothing", tmp_path / "out.parquet")


def test_an_existing_table_is_not_overwritten(nats_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        import_official(nats_file, out)
    assert out.read_text() == "mine"


def test_command_line(nats_file: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from vitruvius.cli import main; main()", *words],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip

    done = run("tables", "import", str(nats_file))
    assert done.returncode == 0 and "wrote 3 architectures to nasbench201.parquet" in done.stdout
    shown = run("tables", "show", "nasbench201.parquet")
    assert shown.returncode == 0 and "nasbench201/cifar100: 3 of 15,625 keys" in shown.stdout
    again = run("tables", "import", str(nats_file))
    assert again.returncode == 1 and "exists already" in again.stderr and "Traceback" not in again.stderr
    listed = run("spaces", "list")
    assert "nasbench-graph            26,206 keys" in listed.stdout
    space = run("spaces", "show", "nasbench201", "-a", key(1))
    assert key(1) in space.stdout and "avgpool3x3, also avg_pool_3x3" in space.stdout
    wrong = run("spaces", "show", "nasbench102")
    assert wrong.returncode == 1 and "Did you mean" in wrong.stderr
