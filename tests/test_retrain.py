"""Training the winner again: what it is trained and judged on, what it is compared with, what is written."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from retrain_parts import CHAIN, NOTHING, SHORT, exported, shades
from typer.testing import CliRunner

from vitruvius.errors import UserError
from vitruvius.generator import export as export_module
from vitruvius.generator.evaluation import engine, revealed
from vitruvius.generator.evaluation.engine import train_networks
from vitruvius.generator.evaluation.images import SPLIT, load_images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.revealed import reveal_images
from vitruvius.generator.evaluation.sources import Parts
from vitruvius.generator.export import Retraining, Rival, Trained, read_card, retraining
from vitruvius.generator.export.finished import PART, Finished, Score
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.export.retraining import TEST, VALIDATION, retrain
from vitruvius.generator.networks import build_network
from vitruvius.generator.networks.costs import Shape


@pytest.fixture(autouse=True)
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ONNX files takes seconds; it has its own test."""
    monkeypatch.setattr(export_module, "missing_packages", lambda: PACKAGES)


def numbers(images: np.ndarray[Any, Any]) -> list[int]:
    return images[:, 0, 0, 0].astype(int).tolist()


# ---- what is trained and judged on ----------------------------------------------------------------


def test_the_search_s_parts_are_trained_on_and_those_it_never_saw_are_judged_on():
    """Odd numbers in each class, so that shares are rounded."""
    data = shades(131)
    seen, final = load_images(data, None, SPLIT), reveal_images(data)
    assert final is not None
    searched = numbers(seen.train_x) + numbers(seen.valid_x)
    assert numbers(final.train_x) == searched
    assert sorted(searched + numbers(final.valid_x)) == list(range(131))
    assert len(final.valid_y) == seen.set_aside
    labels = {number: label for number, label in enumerate(data[1])}
    assert [labels[number] for number in numbers(final.valid_x)] == final.valid_y.tolist()


def test_only_the_classes_of_the_search_are_judged():
    final = reveal_images(shades(120), classes=2)
    assert final is not None and final.classes == 2
    assert set(final.valid_y.tolist()) == {0, 1}


def write_cifar10(root: Path, binary: bool) -> tuple[Any, list[int]]:
    """CIFAR-10 as it is published, 20 images in each file; those of the test part."""
    root.mkdir()
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    x, y = np.zeros((0, 3072), np.uint8), list[int]()
    for name in names:
        x, y = rng.integers(0, 256, (20, 3072), dtype=np.uint8), rng.permutation(np.arange(20) % 10).tolist()
        if binary:
            records = b"".join(bytes([label]) + image.tobytes() for image, label in zip(x, y, strict=True))
            (root / f"{name}.bin").write_bytes(records)
        else:
            (root / name).write_bytes(pickle.dumps({b"data": x, b"labels": y}, protocol=4))
    return x.reshape(-1, 3, 32, 32), y


@pytest.mark.parametrize("form", ["python", "binary", "tar.gz"])
def test_cifar_s_own_test_part_is_what_a_winner_is_judged_on(tmp_path: Path, form: str):
    root = tmp_path / "cifar-10"
    x, y = write_cifar10(root, form == "binary")
    path = root
    if form == "tar.gz":
        path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(root, root.name)
    searched, final = load_images(str(path), None, SPLIT), reveal_images(str(path))
    assert final is not None and (final.name, final.classes) == ("cifar10", 10)
    np.testing.assert_array_equal(final.valid_x, x)
    assert final.valid_y.tolist() == y
    assert len(final.train_y) == len(searched.train_y) + len(searched.valid_y) == 100
    fewer = reveal_images(str(path), classes=3)
    assert fewer is not None and len(fewer.valid_y) == 6 and set(fewer.valid_y.tolist()) == {0, 1, 2}


def test_a_folder_s_and_a_table_s_own_test_part_is_read_when_the_search_is_over(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows: list[dict[str, Any]] = []
    for part, count in (("train", 12), ("test", 3)):
        for number in range(count):
            label, shade = number % 3, 10 * number + (part == "test")
            file = tmp_path / "shades" / part / "abc"[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), shade, np.uint8)).save(file)
            rows.append({"png": file.read_bytes(), "label": label, "split": part})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "shades.parquet")
    for source in ("shades", "shades.parquet"):
        final = reveal_images(str(tmp_path / source))
        assert final is not None and numbers(final.valid_x) == [1, 11, 21]
        assert final.valid_y.tolist() == [0, 1, 2] and len(final.train_y) == 12


def test_imagenet16_is_judged_on_what_is_set_aside_of_its_validation_part(monkeypatch: pytest.MonkeyPatch):
    x, y = shades(90)
    parts = Parts((x[:60], y[:60]), (x[60:], y[60:]))
    monkeypatch.setattr(revealed, "read_source", lambda source, size: parts)
    monkeypatch.setattr(revealed, "source_name", lambda source, classes: "imagenet16")
    final = reveal_images("imagenet16")
    assert final is not None and len(final.valid_y) == 9 and min(numbers(final.valid_x)) >= 60
    assert sorted(numbers(final.train_x) + numbers(final.valid_x)) == list(range(90))


def test_a_test_part_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch):
    x, y = shades(60)
    parts = Parts((x, y), None, 3, lambda: (x[:3], y[:3] + 7))
    monkeypatch.setattr(revealed, "read_source", lambda source, size: parts)
    with pytest.raises(UserError, match="The test part does not fit"):
        reveal_images("cifar10")


# ---- what is written ------------------------------------------------------------------------------


def test_the_split_of_the_search_is_that_of_the_final_judgement(tmp_path: Path):
    """Otherwise a winner would be judged on images that it was chosen by."""
    split = (0.5, 0.3, 0.2)
    (tmp_path / "own_shades.py").write_text(
        "import numpy as np\ndata = [(np.full((8, 8), i, 'uint8'), i % 3) for i in range(120)]\n"
    )
    folder = exported(tmp_path / "winner", dataset="own_shades:data", split=split)
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        seen = load_images("own_shades:data", None, split, limit=30)
        for named in (None, "own_shades:data"):  # the card itself tells to name it
            card = retraining._on_data(read_card(folder), named, None)  # pyright: ignore[reportPrivateUsage]
            final, part = retraining._images(card, named, lines.append)  # pyright: ignore[reportPrivateUsage]
            assert part == TEST and not lines
            assert not set(numbers(final.valid_x)) & set(numbers(seen.train_x) + numbers(seen.valid_x))
            assert len(final.valid_y) == seen.set_aside and len(final.train_y) == 120 - seen.set_aside


def test_where_the_search_saw_all_images_it_is_said(tmp_path: Path):
    folder = exported(tmp_path, split=(0.5, 0.5, 0.0))
    lines: list[str] = []
    done = retrain(folder, dataset=shades(), recipe=SHORT, seeds=1, device="cpu", progress=lines.append)
    assert done.part == VALIDATION
    assert lines[0] == (
        "the split (0.5, 0.5, 0.0) sets no image aside: judged on the validation part, which the search saw"
    )
    assert retrain(folder, dataset=shades(), recipe=SHORT, seeds=1, split=SPLIT, device="cpu").part == TEST


def test_facts_of_the_run_s_data_are_not_those_of_other_data(tmp_path: Path):
    folder = exported(tmp_path, dataset="mnist", data_classes=3, split=(0.5, 0.5, 0.0))
    retrain(folder, dataset="digits", recipe=Recipe(epochs=1, width=4), seeds=1, device="cpu")
    card = read_card(folder)
    assert (card.dataset, card.data_classes, card.split, card.shape.classes) == ("digits", None, SPLIT, 10)


def test_a_card_of_before_has_the_usual_split(tmp_path: Path):
    folder = exported(tmp_path)
    record = json.loads((folder / "card.json").read_text())
    del record["split"]
    (folder / "card.json").write_text(json.dumps(record))
    assert read_card(folder).split == SPLIT


def test_weights_and_scores_are_put_into_the_folder(tmp_path: Path):
    facts: dict[str, Any] = {"measured": ("accuracy 91.5 %",), "measured_on": Shape(3, 1, 8, 8, 16, 5)}
    folder = exported(tmp_path, rival=Rival(key=NOTHING.key, what="the best of random search"), **facts)
    lines: list[str] = []
    done = retrain(folder, dataset=shades(), recipe=SHORT, seeds=2, device="cpu", progress=lines.append)
    assert done.part == TEST and done.seeds == (0, 1) and done.fidelity == "2 epochs"
    assert done.rival is not None and done.rival.architecture == NOTHING.key
    assert len(lines) == 4 and "the winner, seed 0" in lines[0]

    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    network = build_network(CHAIN, classes=3, in_channels=1, width=4, cells=1)
    network.load_state_dict(weights, strict=True)
    final = reveal_images(shades())
    assert final is not None
    train = torch.from_numpy(final.train_x).float()
    assert done.mean == pytest.approx([train.mean().item()])
    assert done.deviation == pytest.approx([train.std(correction=0).item()])
    x = (torch.from_numpy(final.valid_x).float() - done.mean[0]) / done.deviation[0]
    with torch.no_grad():
        right = network.eval()(x).argmax(1).numpy() == final.valid_y
    assert 100.0 * right.mean() == pytest.approx(done.winner.scores[0])

    card = read_card(folder)
    assert card.retraining == done and card.trained and card.class_names == ("0", "1", "2")
    text = (folder / "card.md").read_text()
    assert "measured on another network than this one: channels in the first stage: 16" in text
    assert "## Trained again" in text and done.verdict in text and "load_file" in text
    assert f"mean, deviation = torch.tensor([{done.mean[0]:.6g}])" in text
    assert f"| the winner | {done.winner.summary} |" in text


def test_the_same_seed_gives_the_same_score(tmp_path: Path):
    folder = exported(tmp_path)
    scores = [
        retrain(folder, dataset=shades(), recipe=SHORT, seeds=[5], device="cpu").winner.scores
        for _ in range(2)
    ]
    assert scores[0] == scores[1]


def test_an_interrupted_retraining_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped in the third of four networks: the first two are not trained again, and the result is the same."""
    facts: dict[str, Any] = {"rival": Rival(key=NOTHING.key, what="the other")}
    whole = retrain(
        exported(tmp_path / "one", **facts), dataset=shades(), recipe=SHORT, seeds=2, device="cpu"
    )
    folder = exported(tmp_path / "two", **facts)
    trained: list[int] = []

    def train(builds: Any, images: Any, recipe: Recipe, seed: int, pieces: int) -> Any:
        if len(trained) == 2:
            trained.append(seed)
            raise KeyboardInterrupt
        trained.append(seed)
        return train_networks(builds, images, recipe, seed, pieces)

    monkeypatch.setattr(engine, "train_networks", train)

    def again(progress: Callable[[str], None] | None = None) -> Retraining:
        return retrain(folder, dataset=shades(), recipe=SHORT, seeds=2, device="cpu", progress=progress)

    with pytest.raises(KeyboardInterrupt):
        again()
    assert (folder / PART).is_dir() and not (folder / "model.safetensors").exists()
    lines: list[str] = []
    done = again(progress=lines.append)
    assert trained == [0, 1, 0, 0, 1], "the winner's seeds once, the rival's first again"
    assert ["finished before" in line for line in lines] == [True, True, False, False]
    assert (done.winner, done.rival) == (whole.winner, whole.rival)
    assert (folder / "model.safetensors").read_bytes() == (
        tmp_path / "one" / "model.safetensors"
    ).read_bytes()
    assert not (folder / PART).exists()


def test_what_was_finished_under_another_recipe_is_trained_again(tmp_path: Path):
    one = Finished(tmp_path, {"recipe": "a"})
    one.keep("key", 0, Score(90.0, 1.0), {"w": torch.ones(2)})
    kept = Finished(tmp_path, {"recipe": "a"}).find("key", 0)
    assert kept is not None and kept[0] == Score(90.0, 1.0) and kept[1]["w"].tolist() == [1.0, 1.0]
    assert Finished(tmp_path, {"recipe": "b"}).find("key", 0) is None
    assert one.find("key", 1) is None and one.find("other", 0) is None


def test_the_command(tmp_path: Path):
    import typer

    from vitruvius.cli.retrain import retrain as command

    (tmp_path / "short.toml").write_text("epochs = 1\nwidth = 4\n")
    folder = exported(tmp_path / "winner", dataset="digits", task="nasbench201/digits")
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(
        app,
        [str(folder), "--recipe", str(tmp_path / "short.toml"), "--seeds", "1", "--against", NOTHING.key],
    )
    assert result.exit_code == 0, result.exception
    assert "on digits, seeds 0" in result.output and "One seed cannot tell" in result.output
    assert "the given architecture" in result.output
    assert read_card(folder).shape.classes == 10


# ---- what the comparison says ----------------------------------------------------------------------


def compared(winner: tuple[float, ...], rival: tuple[float, ...]) -> str:
    def trained(what: str, scores: tuple[float, ...]) -> Trained:
        return Trained(architecture="a", what=what, scores=scores, params=1.0)

    return Retraining(
        recipe="r", fidelity="1 epochs", data="d", part="test accuracy, %", seeds=(0, 1, 2)[: len(winner)],
        device="cpu", seconds=1.0, winner=trained("the winner", winner), rival=trained("the other", rival),
    ).verdict  # fmt: skip


def test_the_verdict_is_that_of_paired_seeds():
    assert compared((93.0, 94.0, 95.0), (92.0, 93.0, 94.1)).startswith(
        "Confirmed: better than the other by +0.97 ["
    )
    assert compared((92.0, 93.0, 94.1), (93.0, 94.0, 95.0)).startswith(
        "Not confirmed: worse than the other by -0.97 ["
    )
    assert compared((93.0, 94.0, 95.0), (95.0, 93.0, 94.0)).startswith("Cannot be told apart from the other")
    assert compared((93.0,), (92.0,)) == "One seed cannot tell: +1.00 points against the other."
