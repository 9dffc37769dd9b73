"""Images as people give them: few of a class, limits, files of 16 bits, data sets with their own types and faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_parts import SPLIT

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.images import load_images, split_rows
from vitruvius.generator.evaluation.revealed import reveal_images

RNG = np.random.default_rng(0)


def images(counts: list[int]) -> tuple[Any, Any]:
    """So many images of each class, in turn as long as there are some."""
    y = np.concatenate([np.full(count, label) for label, count in enumerate(counts)])
    y = y[np.random.default_rng(1).permutation(len(y))]
    return RNG.integers(0, 256, (len(y), 8, 8)).astype(np.uint8), y


class Items:
    """A data set of given items; an exception among them is raised."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def labelled(*labels: Any) -> Items:
    return Items(*((np.full((8, 8), i, np.uint8), label) for i, label in enumerate(labels)))


# ---- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [37, 40, 100, 600])
def test_a_limit_is_dealt_out_class_by_class(limit: int):
    found = load_images(images([50] * 37), None, SPLIT, limit=limit)
    for labels in (found.train_y, found.valid_y):
        counts = np.bincount(labels, minlength=37)
        assert counts.sum() == limit and counts.max() - counts.min() <= 1


def test_places_of_a_limit_that_a_small_class_cannot_fill_go_to_the_others():
    found = load_images(images([200, 10, 200]), None, SPLIT, limit=101)
    assert np.bincount(found.train_y).tolist() == [49, 4, 48]


@pytest.mark.parametrize(("classes", "limit"), [(37, 30), (37, 18), (300, 140)])
def test_a_limit_below_the_number_of_classes_is_refused(classes: int, limit: int):
    with pytest.raises(
        UserError, match=rf"limit={limit} is not allowed for {classes} classes: give {classes}"
    ):
        load_images(images([10] * classes), None, SPLIT, limit=limit)


def test_a_limit_takes_the_first_of_each_class_by_the_fixed_shuffle():
    """As in every version before, so that recorded fingerprints hold."""
    x, y = images([50] * 4)
    train, *_ = split_rows(y, SPLIT)
    kept, *_ = split_rows(y[train], (0.5, 0.5, 0.0))
    found = load_images((x, y), None, SPLIT, limit=40)
    np.testing.assert_array_equal(found.train_x[:, 0], x[train][kept])
    assert load_images("digits", None, SPLIT, limit=100).fingerprint == "9d9944c291715854"


# ---- small classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "split", "message"),
    [
        (1, SPLIT, "has 1 image, .* leaves none to train on"),
        (2, (0.8, 0.2, 0.0), "has 2 images, .* leaves none to validate on"),
    ],
)
def test_a_class_that_the_split_leaves_nothing_of_is_refused(count: int, split: Any, message: str):
    with pytest.raises(UserError, match=f"The class '2' {message}: give it more images"):
        load_images(images([40, 40, count]), None, split)


def test_a_small_class_of_a_folder_is_named_as_there(tmp_path: Path):
    for name, count in (("ash", 9), ("elm", 1), ("oak", 9)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i}.png")
    with pytest.raises(UserError, match="The class 'elm' has 1 image"):
        load_images(str(tmp_path), None, SPLIT)


def test_a_class_of_which_nothing_is_set_aside_is_told(caplog: pytest.LogCaptureFixture):
    assert load_images(images([40, 2]), None, SPLIT).set_aside == 8
    assert "Of 1 of 2 classes ('1' ...) no image is set aside" in caplog.text
    caplog.clear()
    load_images(images([40, 2]), None, (0.5, 0.5, 0.0))
    load_images(images([40, 40]), None, SPLIT)
    assert not caplog.text


# ---- image files -------------------------------------------------------------------------------


def save_grey(path: Path, levels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(levels, (8, 8)).copy()).save(path)


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif")])
def test_grey_images_of_16_bits_are_scaled_to_8(tmp_path: Path, dtype: Any, suffix: str):
    for name, level in (("a", 0), ("b", 257 * 100), ("c", 65_535)):
        for i in range(3):
            save_grey(tmp_path / name / f"{i}.{suffix}", np.array(level, dtype))
    found = load_images(str(tmp_path), None, SPLIT)
    assert found.size == (1, 8, 8)
    assert [found.train_x[found.train_y == label].max() for label in range(3)] == [0, 100, 255]


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (np.array(70_000, np.int32), r"b.0.tif are not 0 to 65535 \(70000 to 70000\)"),
        (np.array(-1, np.int32), r"b.0.tif are not 0 to 65535 \(-1 to -1\)"),
        (np.array(0.5, np.float32), r"b.0.tif are fractions \(0.5 to 0.5\)"),
    ],
)
def test_grey_levels_without_a_known_range_are_refused(tmp_path: Path, levels: Any, message: str):
    save_grey(tmp_path / "a/0.tif", np.array(1, np.uint8))
    save_grey(tmp_path / "b/0.tif", levels)
    with pytest.raises(UserError, match=f"{message}.*save it with 8 or 16 bits"):
        load_images(str(tmp_path), None, SPLIT)


# ---- data sets and labels ----------------------------------------------------------------------


def test_a_data_set_of_pillow_s_images_is_read_as_files_are():
    colours = [Image.new("RGB", (8, 6), (i, 0, 0)) for i in range(12)]
    found = load_images(Items(*((x, i % 2) for i, x in enumerate(colours))), None, SPLIT)
    assert found.size == (3, 6, 8) and found.train_x.dtype == np.uint8
    assert not found.train_x[:, 1:].any()
    grey = [Image.new(mode, (8 + i, 8)) for i, mode in enumerate(["L", "1", "I;16", "L"] * 3)]
    some = Items(*((x, i % 2) for i, x in enumerate(grey)))
    assert load_images(some, None, SPLIT, image_size=8).size == (1, 8, 8)
    with pytest.raises(UserError, match=r"images of the data set have several sizes.*image_size=32"):
        load_images(some, None, SPLIT)
    final = reveal_images(some, SPLIT, image_size=8)
    assert final is not None and final.size == (1, 8, 8)
    with pytest.raises(UserError, match="item 1 of the data set are fractions"):
        load_images(Items((grey[0], 0), (Image.new("F", (8, 8)), 1)), None, SPLIT)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.array, torch.tensor, bool, np.bool_])
def test_labels_of_a_data_set_may_be_any_whole_number(kind: Any):
    found = load_images(labelled(*(kind(i % 2) for i in range(10))), None, SPLIT)
    assert found.classes == 2 and found.train_y.tolist().count(1) == 2


@pytest.mark.parametrize("label", [0.5, 1.0, np.float32(1), torch.tensor(1.5), "oak", [0, 1], None])
def test_other_labels_of_a_data_set_are_refused(label: Any):
    with pytest.raises(
        UserError, match="Labels must be whole numbers, but that of item 1 of the data set is"
    ):
        load_images(labelled(0, label, 0, 1), None, SPLIT)


def test_boolean_labels_are_two_classes():
    x, y = images([20, 20])
    found = load_images((x, y.astype(bool)), None, SPLIT)
    assert found.fingerprint == load_images((x, y), None, SPLIT).fingerprint


def test_as_many_labels_as_images_are_asked_for():
    with pytest.raises(UserError, match="There are 100 images but 120 labels"):
        load_images((np.zeros((100, 8, 8)), np.arange(120) % 2), None, SPLIT)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            OSError("the disk is gone"),
            r"Item 1 of the data set cannot be read: OSError\('the disk is gone'\)",
        ),
        (KeyError("x"), r"Item 1 of the data set cannot be read: KeyError\('x'\)"),
        (([[1], [1, 2]], 0), "Item 1 of the data set cannot be read: ValueError"),
        ({"image": 1, "label": 2}, r"give \(image, label\) by index, .* but item 1 is dict"),
    ],
)
def test_what_a_data_set_raises_is_told_with_its_place(item: Any, message: str):
    with pytest.raises(UserError, match=message):
        load_images(Items((np.zeros((8, 8)), 0), item), None, SPLIT)


def test_tensors_with_a_gradient_are_taken_without_it():
    x, y = torch.rand(20, 8, 8, requires_grad=True), torch.arange(20) % 2
    pair = load_images((x, y), None, SPLIT)
    items = load_images(Items(*zip(x, y, strict=True)), None, SPLIT)
    assert pair.fingerprint == items.fingerprint
    assert reveal_images((x, y)) is not None


def test_numbers_that_float32_does_not_hold_are_refused_without_a_warning():
    with pytest.raises(UserError, match="must be finite"):
        load_images((np.full((20, 8, 8), 1e39), np.arange(20) % 2), None, SPLIT)
