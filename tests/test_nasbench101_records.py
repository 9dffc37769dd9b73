"""NAS-Bench-101's tfrecord files, made small here in the published structure: what comes out, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitruvius.errors import TableError
from vitruvius.generator.evaluation import nasbench101_records
from vitruvius.generator.evaluation.importers import import_official, usual_name
from vitruvius.generator.evaluation.nasbench101_records import crc32c
from vitruvius.generator.evaluation.revealed import optimum, reveal_test
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Status, Task
from vitruvius.generator.space import get_space
from vitruvius.generator.spaces import NASBench101

SPACE = cast(NASBench101, get_space("nasbench101"))
CELLS = SPACE.architectures(SPACE.enumerate()[[0, 7, 4_711, 400_000]])
EPOCHS = (4, 12, 36, 108)


# ---- writing, as the benchmark's authors did ---------------------------------------------------------


def slow_crc(data: bytes) -> int:
    """CRC-32C bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = slow_crc(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def evaluation(epoch: float, seconds: float, valid: float, test: float) -> bytes:
    doubles = {1: epoch, 2: seconds, 3: 1.0, 4: valid, 5: test}
    message = b"".join(
        varint(number << 3 | 1) + struct.pack("<d", value) for number, value in doubles.items()
    )
    path = b"/model/ckpt-1"
    return message + varint(6 << 3 | 2) + varint(len(path)) + path


def metrics(epochs: int, valid: float, test: float, seconds: float, params: int) -> bytes:
    parts = [
        evaluation(0, 0, 0.1, 0.1),
        evaluation(epochs / 2, seconds / 2, 0.5, 0.5),
        evaluation(epochs, seconds, valid, test),
    ]
    message = b"".join(varint(1 << 3 | 2) + varint(len(part)) + part for part in parts)
    return message + varint(2 << 3) + varint(params) + varint(3 << 3 | 1) + struct.pack("<d", 2 * seconds)


def valid_of(cell: int, epochs: int, repeat: int) -> float:
    return 0.9 + cell / 100 + epochs / 10_000 + repeat / 100_000


def record(cell: int, epochs: int, repeat: int, **change: Any) -> list[Any]:
    bits, _, operations = CELLS[cell].key.partition(";")
    valid = valid_of(cell, epochs, repeat)
    message = metrics(epochs, valid, valid - 0.01, 10.0 * epochs + repeat, 1_000_000 * (cell + 1))
    fields = {
        "hash": SPACE.module_hash(CELLS[cell]),
        "schedule": epochs,
        "adjacency": bits,
        "operations": operations,
        "metrics": base64.b64encode(message).decode(),
    }
    return list({**fields, **change}.values())


def write(path: Path, records: Iterable[list[Any]]) -> Path:
    path.write_bytes(b"".join(framed(json.dumps(one).encode()) for one in records))
    return path


def full(folder: Path) -> Path:
    """Four cells, four schedules, three repeats, in another order than ours."""
    records = [record(c, e, r) for r in range(3) for c in (3, 0, 2, 1) for e in EPOCHS]
    return write(folder / "nasbench_full.tfrecord", records)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    out = tmp_path / "nasbench101.parquet"
    assert import_official(full(tmp_path), out) == 4
    return out


# ---- what comes out ------------------------------------------------------------------------------


def test_means_of_the_final_evaluations(table: Path) -> None:
    columns = pq.read_table(table).to_pydict()
    assert columns["arch"] == [cell.key for cell in CELLS]
    assert columns["cifar10_params_m"] == [1, 2, 3, 4]
    for epochs, suffix in zip(EPOCHS, ("_4ep", "_12ep", "_36ep", ""), strict=True):
        wanted = [100 * np.mean([valid_of(c, epochs, r) for r in range(3)]) for c in range(4)]
        assert columns[f"cifar10_valid{suffix}"] == pytest.approx(wanted)
        assert columns[f"cifar10_seconds{suffix}"] == pytest.approx([10 * epochs + 1] * 4)
    assert columns["cifar10_test"] == pytest.approx([value - 1 for value in columns["cifar10_valid"]])
    assert not [name for name in columns if "test" in name and name != "cifar10_test"]


def test_a_task_on_a_table_of_some_cells(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_TABLES", str(table.parent))
    task = Task("nasbench101/cifar10")
    absent = SPACE.architectures(SPACE.enumerate()[1:2])[0]
    found = list(task.bench.measure([CELLS[3], absent]))
    assert [one.status for one in found] == [Status.OK, Status.INVALID]
    assert found[0].score == pytest.approx(100 * valid_of(3, 108, 1), abs=1e-4)
    assert (
        found[0].seconds == pytest.approx(1081) and found[0].params == 4 and found[0].fidelity == "108 epochs"
    )
    best, score = optimum(task)
    assert best == CELLS[3] and reveal_test(task)(best) == pytest.approx(score - 1, abs=1e-4)
    (short,) = Task("nasbench101/cifar10", Table(table, fidelity="12 epochs")).bench.measure([CELLS[3]])
    assert short.score == pytest.approx(100 * valid_of(3, 12, 1), abs=1e-4)
    assert short.seconds == pytest.approx(121)


def test_a_table_of_ones_own_may_write_cells_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    texts = ["0110000100010000;input,maxpool3x3,conv1x1,output", CELLS[2].key]
    pq.write_table(pa.table({"arch": texts, "cifar10_valid": [91.5, 92.5]}), path)
    task = Task("nasbench101/cifar10", Table(path))
    architectures = [SPACE.parse("0110000100010000;input,conv1x1-bn-relu,maxpool3x3,output"), CELLS[2]]
    assert [one.score for one in task.bench.measure(architectures)] == [91.5, 92.5]
    pq.write_table(pa.table({"arch": [*texts, "010;input"], "cifar10_valid": [1.0] * 3}), path)
    with pytest.raises(TableError, match=r"mine.parquet' is not one of nasbench101: '010;input' is no archi"):
        Task("nasbench101/cifar10", Table(path))


def test_only_108_epochs(tmp_path: Path) -> None:
    path = write(tmp_path / "nasbench_only108.tfrecord", [record(c, 108, 0) for c in range(4)])
    assert usual_name(path) == "nasbench101.parquet"
    assert import_official(path, tmp_path / "out.parquet") == 4
    names = pq.read_schema(tmp_path / "out.parquet").names
    assert sorted(names) == ["arch", "cifar10_params_m", "cifar10_seconds", "cifar10_test", "cifar10_valid"]


def test_the_cell_may_be_numbered_otherwise(tmp_path: Path) -> None:
    bits, operations = "0110000100010000", "input,conv1x1-bn-relu,maxpool3x3,output"
    turned = "0110000100010000", "input,maxpool3x3,conv1x1-bn-relu,output"
    cell = SPACE.parse(f"{bits};{operations}")
    records = [
        record(0, 108, r, hash=SPACE.module_hash(cell), adjacency=way[0], operations=way[1])
        for r, way in enumerate([(bits, operations), turned])
    ]
    import_official(write(tmp_path / "two.tfrecord", records), tmp_path / "out.parquet")
    columns = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert columns["arch"] == [cell.key]
    assert columns["cifar10_valid"] == pytest.approx([100 * (valid_of(0, 108, 0) + 0.5 / 100_000)])


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
        (b"a", 0xC1D04330),
    ],
)
def test_checksums_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == slow_crc(data) == crc


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 1_023, 1_024, 1_025, 1_026, 3_000])
def test_checksums_of_any_length(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert crc32c(data) == slow_crc(data)


def test_the_message_as_the_protocol_buffer_library_writes_it(tmp_path: Path) -> None:
    """The published .proto, compiled by the library: our hand-made messages and theirs mean the same."""
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    from google.protobuf import descriptor_pb2, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="model_metrics.proto", package="nasbench", syntax="proto2")
    of, field = file.message_type.add(name="EvaluationData"), descriptor_pb2.FieldDescriptorProto
    names = ["current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy"]
    for number, name in enumerate(names, start=1):
        of.field.add(name=name, number=number, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    of.field.add(name="checkpoint_path", number=6, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    of = file.message_type.add(name="ModelMetrics")
    of.field.add(
        name="evaluation_data", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
        type_name=".nasbench.EvaluationData",
    )  # fmt: skip
    of.field.add(name="trainable_parameters", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    of.field.add(name="total_time", number=3, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    pool.Add(file)
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("nasbench.ModelMetrics"))
    message: Any = theirs.FromString(metrics(108, 0.9375, 0.93, 1_234.5, 8_555_530))
    assert message.trainable_parameters == 8_555_530 and message.evaluation_data[2].test_accuracy == 0.93
    coded = base64.b64encode(message.SerializeToString()).decode()
    import_official(
        write(tmp_path / "one.tfrecord", [record(0, 108, 0, metrics=coded)]), tmp_path / "o.parquet"
    )
    columns = pq.read_table(tmp_path / "o.parquet").to_pydict()
    assert [columns[name][0] for name in ("cifar10_valid", "cifar10_test", "cifar10_seconds", "cifar10_params_m")] == [
        93.75, pytest.approx(93.0), 1_234.5, pytest.approx(8.55553)
    ]  # fmt: skip


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    SPACE.enumerate()

    def peak(repeats: int) -> int:
        path = write(tmp_path / f"{repeats}.tfrecord", [record(r % 4, 108, r) for r in range(repeats)])
        tracemalloc.start()
        import_official(path, tmp_path / f"{repeats}.parquet")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(90) < peak(30) + 20_000


# ---- wrong and hostile files ---------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(TableError, match=match):
        import_official(path, path.with_name("out.parquet"))
    assert not path.with_name("out.parquet").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"hash": "0" * 32}, r"Record 2 .*calls the cell 0100.* by the hash 0{32}, but its hash is"),
        ({"adjacency": "0110"}, r"Record 2 .*is no cell of NAS-Bench-101 .*leads back"),
        ({"operations": "input,conv7x7,output"}, "is no cell of NAS-Bench-101"),
        ({"schedule": 200}, "epochs among 108, 36, 12, 4"),
        ({"hash": 5}, "texts and a number"),
        ({"metrics": "***"}, "is no list of hash"),
        ({"more": 1}, "is no list of hash"),
        ({"metrics": base64.b64encode(metrics(108, 0.9, 0.9, 1.0, 5)[:-30]).decode()}, "cut off|lacks"),
        ({"metrics": base64.b64encode(metrics(108, 93.0, 0.9, 1.0, 5)).decode()}, "cannot be: 93.0"),
        ({"metrics": base64.b64encode(metrics(108, float("nan"), 0.9, 1.0, 5)).decode()}, "cannot be: nan"),
        ({"metrics": base64.b64encode(metrics(108, 0.9, 0.9, 1.0, 1 << 40)).decode()}, "lacks the number"),
        ({"metrics": ""}, "lacks the number of parameters"),
        ({"metrics": base64.b64encode(b"\x0b").decode()}, "no protocol buffer"),
        ({"metrics": base64.b64encode(b"\x08\x01" * 3 + b"\x10\x05").decode()}, "lacks an accuracy"),
        ({"metrics": base64.b64encode(b"\x80" * 12).decode()}, "cut off"),
    ],
)
def test_wrong_records_are_named(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    refused(write(tmp_path / "f.tfrecord", [record(1, 108, 0), record(0, 108, 0, **change)]), match)


def test_damage_and_cuts(tmp_path: Path) -> None:
    whole = full(tmp_path).read_bytes()
    path = tmp_path / "f.tfrecord"
    for cut in (len(whole) - 1, len(whole) - 300, len(framed(json.dumps(record(3, 4, 0)).encode())) + 5):
        path.write_bytes(whole[:cut])
        refused(path, "cut off: copy the file again")
    for place, match in ((40, "its data have another checksum"), (len(whole) - 2, "its data have")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(path, match)
    second = len(framed(json.dumps(record(3, 4, 0)).encode()))
    path.write_bytes(whole[:second] + b"\xff" + whole[second + 1 :])
    refused(path, "Record 2 .*its length has another checksum")


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.tfrecord"
    length = struct.pack("<Q", 1 << 40)
    path.write_bytes(length + masked(length))
    refused(path, "1,099,511,627,776 bytes, but at most 65,536")
    monkeypatch.setattr(nasbench101_records, "MOST_RECORDS", 3)
    refused(full(tmp_path), "more than 3 records")
    path.write_bytes(framed(b"[" * 60_000))
    refused(path, "is no list of hash")


def test_a_file_without_full_trainings(tmp_path: Path) -> None:
    refused(write(tmp_path / "f.tfrecord", [record(0, 4, 0)]), "no cell that was trained for 108 epochs")
    (tmp_path / "g.tfrecord").write_bytes(b"accuracy,94.3\n")
    refused(tmp_path / "g.tfrecord", r"neither a pickle nor a torch archive.*nasbench_\*\.tfrecord")
