"""What goes wrong when a winner is trained again: networks that diverge, too small memory, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from retrain_parts import NOTHING, SHORT, exported, shades

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator import export as export_module
from vitruvius.generator.evaluation import engine
from vitruvius.generator.evaluation.engine import train_networks
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.export import Rival, read_card
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.export.retraining import retrain


@pytest.fixture(autouse=True)
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ONNX files takes seconds; it has its own test."""
    monkeypatch.setattr(export_module, "missing_packages", lambda: PACKAGES)


def diverging(monkeypatch: pytest.MonkeyPatch, lost: Callable[[int, int], bool]) -> None:
    """Lets networks diverge; `lost` gets the number of the call and the seed."""
    calls: list[int] = []

    def train(builds: Any, images: Any, recipe: Recipe, seed: int, pieces: int) -> Any:
        calls.append(seed)
        wild = recipe.model_copy(update={"lr": 1e30}) if lost(len(calls), seed) else recipe
        return train_networks(builds, images, wild, seed, pieces)

    monkeypatch.setattr(engine, "train_networks", train)


def test_a_rival_that_diverges_leaves_the_winner_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = exported(tmp_path, rival=Rival(key=NOTHING.key, what="the other"))
    diverging(monkeypatch, lambda call, seed: call > 2)
    done = retrain(folder, dataset=shades(), recipe=SHORT, seeds=2, device="cpu")
    assert done.rival is not None and done.rival.scores == (None, None)
    assert done.verdict == "No comparison: there is no seed with which neither it nor the other diverged."
    assert (folder / "model.safetensors").is_file() and read_card(folder).retraining == done
    text = (folder / "card.md").read_text()
    assert "| the other | none |" in text and "diverged, diverged |" in text
    assert "- the other diverged with seeds 0, 1" in text


def test_a_seed_of_the_winner_that_diverges_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = exported(tmp_path, rival=Rival(key=NOTHING.key, what="the other"))
    diverging(monkeypatch, lambda call, seed: call == 1)
    done = retrain(folder, dataset=shades(), recipe=SHORT, seeds=3, device="cpu")
    assert done.winner.scores[0] is None and None not in done.winner.scores[1:]
    assert done.kept == 1 and "over 2 seeds" in done.verdict
    text = (folder / "card.md").read_text()
    assert "`model.safetensors` (seed 1 above)" in text and "- the winner diverged with seed 0" in text


def test_memory_that_does_not_suffice_is_met_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried: list[int] = []

    def train(builds: Any, images: Any, recipe: Recipe, seed: int, pieces: int) -> Any:
        tried.append(pieces)
        if pieces == 1:
            raise RuntimeError("could not create a primitive")
        return train_networks(builds, images, recipe, seed, pieces)

    monkeypatch.setattr(engine, "train_networks", train)
    done = retrain(exported(tmp_path), dataset=shades(), recipe=SHORT, seeds=1, device="cpu")
    assert tried == [1, 2] and done.winner.scores[0] is not None


# ---- what is refused -------------------------------------------------------------------------------


def test_what_cannot_be_done_is_said(tmp_path: Path):
    folder = exported(tmp_path)
    with pytest.raises(UserError, match="no data set to train on"):
        retrain(folder)
    with pytest.raises(UserError, match=r"cutout = 9 is larger than images of 8 x 8"):
        retrain(folder, dataset=shades(), recipe=Recipe(cutout=9), seeds=1)
    with pytest.raises(UserError, match=r"seeds=0 is not allowed"):
        retrain(folder, dataset=shades(), recipe=SHORT, seeds=0)
    with pytest.raises(UserError, match="There is no folder"):
        retrain(tmp_path / "elsewhere")


def test_a_space_without_a_full_recipe_is_told_which_there_are(tmp_path: Path):
    exported(tmp_path, "transnasbench101-micro", "64-41414-1_02_333")
    with pytest.raises(UserError, match=r"No full recipe for transnasbench101-micro.*nasbench201-200"):
        retrain(tmp_path, dataset=shades())


def test_a_run_that_diverges_leaves_the_folder_as_it_was(tmp_path: Path):
    folder = exported(tmp_path)
    before = (folder / "card.md").read_text()
    wild = Recipe(epochs=2, batch=8, width=4, lr=1e30)
    with pytest.raises(
        VitruviusError,
        match="The winner diverged with every seed: the training loss was not finite in epoch 1 of 2",
    ):
        retrain(folder, dataset=shades(), recipe=wild, device="cpu")
    assert (folder / "card.md").read_text() == before
    assert not (folder / "model.safetensors").exists()
