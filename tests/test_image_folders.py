"""Folders of images as people have them: parts in capitals or twice, hidden and broken files, turned and clear ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training_parts import SPLIT

from vitruvius.errors import DataError, UserError
from vitruvius.generator.evaluation.images import load_images
from vitruvius.generator.evaluation.pictures import pixels
from vitruvius.generator.evaluation.revealed import reveal_images
from vitruvius.generator.evaluation.sources import read_source


def write(root: Path, n: int, classes: tuple[str, ...] = ("ash", "oak")) -> None:
    """So many grey images of each class."""
    for shade, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (8, 8), 40 * shade + i).save(root / name / f"{i}.png")


def test_parts_in_capitals_are_parts(tmp_path: Path):
    for part, n in (("Train", 6), ("Valid", 3), ("TEST", 2)):
        write(tmp_path / part, n)
    found = load_images(str(tmp_path), "trees", SPLIT)
    assert (found.names, len(found.train_y), len(found.valid_y), found.set_aside) == (
        ("ash", "oak"),
        12,
        6,
        4,
    )
    assert found.told() == (
        "22 images of 1x8x8, 2 classes (ash, oak), 12 to train, 6 to validate, 4 set aside"
    )
    final = reveal_images(str(tmp_path))
    assert final is not None and len(final.valid_y) == 4 and final.names == found.names


@pytest.mark.parametrize("twice", [("val", "valid"), ("train", "Train"), ("test", "Test")])
def test_a_part_that_is_there_twice_is_refused(tmp_path: Path, twice: tuple[str, str]):
    for part in {"train", *twice}:
        write(tmp_path / part, 2)
    names = " and ".join(sorted(twice))
    with pytest.raises(UserError, match=f"has the folders {names}, which mean the same: keep one"):
        read_source(str(tmp_path))


def test_classes_of_a_test_folder_are_compared_before_the_search(tmp_path: Path):
    write(tmp_path / "train", 2)
    write(tmp_path / "test", 2, ("ash", "elm"))
    (tmp_path / "train/ash/0.png").write_bytes(b"nothing is decoded before")
    with pytest.raises(UserError, match=r"The class 'elm' is not in both the training folder and .*test"):
        read_source(str(tmp_path))


def test_hidden_files_are_passed_over_and_broken_ones_told_together(tmp_path: Path):
    write(tmp_path, 9)
    for hidden in ("ash/._0.png", "ash/.cache/1.png"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"of a file system")
    assert len(read_source(str(tmp_path)).train[1]) == 18
    for i in range(5):
        (tmp_path / "oak" / f"{i}.png").write_bytes(b"cut short")
    with pytest.raises(DataError) as told:
        read_source(str(tmp_path))
    first = "; ".join(str(tmp_path / "oak" / f"{i}.png") for i in range(3))
    start = f"5 files of {tmp_path} cannot be read as images: {first} .... The first: cannot identify"
    assert str(told.value).startswith(start)


def test_a_turned_photograph_is_turned_upright(tmp_path: Path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 6:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright, saved lying
    Image.fromarray(wide).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        upright = pixels(image, None, "a")
    assert upright.shape == (8, 4, 3) and upright[6:].min() == 255 and upright[:6].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode: str):
    colours: dict[str, Any] = {"RGBA": (0, 0, 0, 0), "LA": (0, 0), "P": 0}
    image = Image.new(mode, (4, 4), colours[mode])
    if mode == "P":
        image.putpalette([0, 0, 0])
        image.info["transparency"] = 0
    assert pixels(image, None, "a").tolist() == [[[255] * 3] * 4] * 4
    opaque = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    assert pixels(opaque, None, "a")[0, 0].tolist() == [10, 20, 30]


def test_a_function_that_makes_a_data_set_and_raises_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "faulty_images.py").write_text(
        "def needs(root):\n    return []\ndef fails():\n    return {}[1]\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"'faulty_images:fails' is made by .*KeyError: 1 \(faulty_images.py, line 4\)"
    ):
        read_source("faulty_images:fails")
    with pytest.raises(
        UserError, match=r"TypeError: needs\(\) missing 1 required positional argument: 'root'"
    ):
        read_source("faulty_images:needs")
