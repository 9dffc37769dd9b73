"""Training the winner again: what it is trained and judged on, what it is compared with, what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator import export as export_module
from vitruvius.generator.evaluation.images import SPLIT, load_images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.revealed import reveal_images
from vitruvius.generator.export import Card, Retraining, Rival, Trained, read_card
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.export.retraining import TEST, retrain
from vitruvius.generator.networks import build_network
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import get_space

SPACE = get_space("nasbench201")
CHAIN = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|")
NOTHING = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
SHORT = Recipe(epochs=2, batch=8, width=4)


@pytest.fixture(autouse=True)
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ONNX files takes seconds; it has its own test."""
    monkeypatch.setattr(export_module, "missing_packages", lambda: PACKAGES)


def shades(n: int = 120) -> tuple[Any, Any]:
    """Images that are told apart by their brightness; each holds its own number, to know it again."""
    y = np.arange(n) % 3
    x = np.full((n, 8, 8), 0.0) + y[:, None, None]
    x[:, 0, 0] = np.arange(n)
    return x, y


def exported(folder: Path, space: str = "nasbench201", key: str = CHAIN.key, **facts: Any) -> Path:
    """The record of an export, which is all that is read of it."""
    folder.mkdir(exist_ok=True)
    Card(space=space, architecture=key, shape=Shape(3, 1, 8, 8, 4, 1), **facts).write(folder)
    return folder


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


def test_a_data_set_s_own_test_part_stays_unread(monkeypatch: pytest.MonkeyPatch):
    from vitruvius.generator.evaluation import revealed
    from vitruvius.generator.evaluation.sources import Parts

    parts = Parts(shades(), None, set_aside=10_000)
    monkeypatch.setattr(revealed, "read_source", lambda source, size: parts)
    assert reveal_images("cifar10") is None


# ---- what is written ------------------------------------------------------------------------------


def test_weights_and_scores_are_put_into_the_folder(tmp_path: Path):
    folder = exported(tmp_path, rival=Rival(key=NOTHING.key, what="the best of random search"))
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
    assert card.retraining == done and card.trained
    text = (folder / "card.md").read_text()
    assert "## Trained again" in text and done.verdict in text and "load_file" in text
    assert f"mean, deviation = torch.tensor([{round(done.mean[0], 4)}])" in text
    assert f"| the winner | {done.winner.summary} |" in text


def test_the_same_seed_gives_the_same_score(tmp_path: Path):
    folder = exported(tmp_path)
    scores = [
        retrain(folder, dataset=shades(), recipe=SHORT, seeds=[5], device="cpu").winner.scores
        for _ in range(2)
    ]
    assert scores[0] == scores[1]


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


# ---- what is refused -------------------------------------------------------------------------------


def test_what_cannot_be_done_is_said(tmp_path: Path):
    folder = exported(tmp_path)
    with pytest.raises(UserError, match="no data set to train on"):
        retrain(folder)
    with pytest.raises(UserError, match=r"seeds=0 is not allowed"):
        retrain(folder, dataset=shades(), recipe=SHORT, seeds=0)
    with pytest.raises(UserError, match="is no export"):
        retrain(tmp_path / "elsewhere")


def test_a_space_without_a_full_recipe_is_told_which_there_are(tmp_path: Path):
    exported(tmp_path, "transnasbench101-micro", "64-41414-1_02_333")
    with pytest.raises(UserError, match=r"No full recipe for transnasbench101-micro.*nasbench201-200"):
        retrain(tmp_path, dataset=shades())


def test_a_run_that_diverges_leaves_the_folder_as_it_was(tmp_path: Path):
    folder = exported(tmp_path)
    before = (folder / "card.md").read_text()
    wild = Recipe(epochs=2, batch=8, width=4, lr=1e30)
    with pytest.raises(VitruviusError, match="the winner, seed 0, diverged"):
        retrain(folder, dataset=shades(), recipe=wild, device="cpu")
    assert (folder / "card.md").read_text() == before
    assert not (folder / "model.safetensors").exists()
