"""The engine of training: batches on the device, recipes, and networks side by side."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_parts import CHAIN, SPACE, SPLIT, builds, cells, on_cpu

from vitruvius.errors import SettingsError, UnknownNameError
from vitruvius.generator.evaluation.batches import Epochs
from vitruvius.generator.evaluation.engine import settle, train_networks
from vitruvius.generator.evaluation.images import Images, load_images
from vitruvius.generator.evaluation.memory import in_memory
from vitruvius.generator.evaluation.optimisers import RMSPropTF
from vitruvius.generator.evaluation.recipe import Recipe, load_recipe, recipe_names
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import get_space


def noise(n: int, side: int, classes: int, signal: float) -> Images:
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    x = (rng.normal(size=(n, 1, side, side)) + signal * y[:, None, None, None]).astype(np.float32)
    return Images("noise", x, y, x, y, classes, 0, "")


def test_a_batch_in_halves_takes_the_same_steps():
    recipe = Recipe(epochs=2, batch=32, augment="none", lr=0.05)
    images = on_cpu(noise(96, 4, 3, 0.0), recipe)
    weights: list[torch.Tensor] = []
    for pieces in (1, 2):
        linear = nn.Linear(16, 3)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        network = nn.Sequential(nn.Flatten(), linear)
        train_networks([lambda: network], images, recipe, 0, pieces)  # noqa: B023
        weights.append(linear.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    assert weights[0].abs().sum() > 0


@pytest.mark.parametrize(
    "changes", [{}, {"optimiser": "adamw", "lr": 0.01}, {"optimiser": "rmsprop"}, {"clip": 0.1}]
)
def test_side_by_side_each_ends_as_it_would_alone(changes: dict[str, Any]):
    settings: dict[str, Any] = {"epochs": 2, "width": 2, "augment": "shift+flip", "cutout": 3, **changes}
    recipe = Recipe(**settings)
    images = on_cpu(load_images("digits", None, SPLIT, limit=200), recipe)
    together = train_networks(builds(cells(3), 2), images, recipe, 3)
    for build, packed in zip(builds(cells(3), 2), together, strict=True):
        (alone,) = train_networks([build], images, recipe, 3)
        assert alone.score == packed.score
        assert alone.losses == pytest.approx(packed.losses, rel=1e-5)
        for name, values in alone.network.state_dict().items():
            torch.testing.assert_close(values, packed.network.state_dict()[name])
    assert len({tuple(packed.losses) for packed in together}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"}, {"optimiser": "adamw", "lr": 0.01}, {"optimiser": "rmsprop", "lr": 0.05},
        {"schedule": "constant"}, {"augment": "shift+flip"}, {"cutout": 2}, {"clip": 1.0},
    ],
)  # fmt: skip
def test_every_choice_of_a_recipe_learns(changes: dict[str, Any]):
    settings: dict[str, Any] = {"epochs": 8, "width": 4, "batch": 30, **changes}
    recipe = Recipe(**settings)
    build = functools.partial(build_network, SPACE.parse(CHAIN), classes=3, in_channels=1, width=4, cells=1)
    (trained,) = train_networks([build], on_cpu(noise(120, 8, 3, 2.0), recipe), recipe, 0)
    assert trained.score is not None and trained.score > 60
    assert trained.losses[-1] < trained.losses[0]


def test_rmsprop_is_tensorflow_s():
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimiser = RMSPropTF([w], lr=0.5, weight_decay=0.1)
    expected, square, momentum = np.array([1.0, -2.0]), np.ones(2), np.zeros(2)
    for step in range(3):
        w.grad = torch.tensor([0.3, -1.0]) * (step + 1)
        optimiser.step()
        g = np.array([0.3, -1.0]) * (step + 1) + 0.1 * expected
        square = 0.9 * square + 0.1 * g**2
        momentum = 0.9 * momentum + 0.5 * g / np.sqrt(square + 1.0)
        expected = expected - momentum
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-6)


def first_batch(recipe: Recipe, images: Images, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    epochs = Epochs(on_cpu(images, recipe), recipe, seed)
    epochs.begin()
    return epochs.next()


@pytest.mark.parametrize(
    "changes", [{"augment": "shift"}, {"augment": "shift+flip"}, {"augment": "none", "cutout": 3}]
)
def test_the_seed_decides_order_and_augmentation(changes: dict[str, Any]):
    x = np.random.default_rng(0).integers(1, 255, (64, 2, 8, 8)).astype(np.uint8)
    images, recipe = Images("x", x, np.arange(64), x, np.arange(64), 64, 0, ""), Recipe(batch=64, **changes)
    (one, first), (same, again), (other, second) = (first_batch(recipe, images, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and torch.equal(one, same)
    assert not torch.equal(first, second)
    assert not torch.equal(one[first.argsort()], other[second.argsort()]), (
        "the same images, otherwise augmented"
    )


def test_images_are_standardised_shifted_and_flipped():
    x = np.random.default_rng(0).integers(1, 255, (16, 2, 8, 8)).astype(np.uint8)
    images = Images("x", x, np.arange(16), x, np.arange(16), 16, 0, "")
    mean, deviation = x.mean((0, 2, 3))[:, None, None], x.std((0, 2, 3))[:, None, None]
    plain, y = first_batch(Recipe(augment="none"), images)
    assert sorted(y.tolist()) == list(range(16))
    np.testing.assert_allclose(plain, (x[y] - mean) / deviation, rtol=1e-4, atol=1e-5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))  # black, before standardising
    windows = np.stack([padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], 1)
    windows = (windows - mean) / deviation  # (16, 9, 2, 8, 8)
    for augment in ("shift", "shift+flip"):
        batch, y = first_batch(Recipe(augment=augment), images)
        turned = 0
        for image, label in zip(batch.numpy(), y, strict=True):
            straight = np.abs(windows[label] - image).max((1, 2, 3)).min() < 1e-4
            mirrored = np.abs(windows[label][..., ::-1] - image).max((1, 2, 3)).min() < 1e-4
            assert straight != mirrored
            turned += mirrored
        assert (0 < turned < 16) == (augment == "shift+flip")


def test_cutout_greys_out_one_square():
    x = np.random.default_rng(0).integers(1, 255, (16, 1, 8, 8)).astype(np.uint8)
    images = Images("x", x, np.arange(16), x, np.arange(16), 16, 0, "")
    batch, _ = first_batch(Recipe(augment="none", cutout=4), images)
    for hole in (batch == 0).squeeze(1):
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns, "a rectangle"
        assert 2 <= rows <= 4 and 2 <= columns <= 4, "cut off at the border"


def test_a_network_that_diverges_does_not_touch_its_neighbours():
    recipe = Recipe(epochs=2, width=2)
    images = on_cpu(load_images("digits", None, SPLIT, limit=200), recipe)
    good, bad = builds(cells(2), 2)

    def poisoned() -> nn.Module:
        network = bad()
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return network

    spoilt, fine = train_networks([poisoned, good], images, recipe, 0)
    (alone,) = train_networks([good], images, recipe, 0)
    assert (spoilt.score, spoilt.reason) == (None, "the training loss was not finite in epoch 1 of 2")
    assert fine.score == alone.score


@pytest.mark.parametrize(
    ("device", "precision", "chosen", "exact"),
    [("cuda:1", "auto", ["cuda:1"], False), ("cuda:1", "fp32", ["cuda:1"], True), ("cpu", "auto", [], None)],
)
def test_a_process_is_set_up_for_its_device(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: Any, chosen: list[str], exact: bool | None
):
    """Streams and recordings are made where the current device is; `fp32` leaves no product to TF32."""
    calls, wished = list[str](), list[str]()
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", wished.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    settle(device, Recipe(precision=precision))
    assert calls == chosen
    assert wished == ([] if exact is None else ["highest" if exact else "high"])
    assert exact is None or torch.backends.cudnn.allow_tf32 is not exact


@pytest.mark.parametrize(
    ("images", "batch", "taken"),
    [(25_000, 256, 256), (718, 64, 64), (50, 64, 50), (120, 64, 60), (101, 100, 100), (150, 100, 75)],
)
def test_batches_leave_out_a_tenth_of_an_epoch_at_most(images: int, batch: int, taken: int):
    recipe = Recipe(batch=batch)
    assert recipe.batch_of(images) == taken
    told = "12 epochs" if taken == min(images, batch) else f"12 epochs, batches of {taken}"
    assert recipe.fidelity_of(images) == told


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2 GiB", "could not create a primitive",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x",
        "GET was unable to find an engine to execute this computation",
    ],
)  # fmt: skip
def test_memory_that_does_not_suffice_is_met_by_halves(said: str):
    tried = list[int]()

    def train(pieces: int) -> str:
        tried.append(pieces)
        if pieces == 1:
            raise RuntimeError(said)
        return "trained"

    assert in_memory(train) == ("trained", 2) and tried == [1, 2]
    with pytest.raises(RuntimeError, match="another"):
        in_memory(lambda pieces: (_ for _ in ()).throw(RuntimeError("another fault")))


# ---- recipes ---------------------------------------------------------------------------------


def test_recipes_that_come_with_us_are_what_was_published():
    recipes = {name: load_recipe(name) for name in recipe_names()}
    assert recipes["fast"] == Recipe(), "the default has a name"
    short, long = recipes["nasbench201-12"], recipes["nasbench201-200"]
    assert (short.epochs, long.epochs, long.lr, long.weight_decay, long.batch) == (12, 200, 0.1, 5e-4, 256)
    assert short.model_copy(update={"epochs": 200}) == long
    assert (long.width, long.cells, long.optimiser, long.augment) == (16, 5, "sgd", "shift+flip")
    nb101 = recipes["nasbench101-108"]
    assert (nb101.epochs, nb101.optimiser, nb101.lr, nb101.weight_decay) == (108, "rmsprop", 0.2, 1e-4)
    darts = recipes["darts-600"]
    assert (darts.clip, darts.cutout, darts.auxiliary, darts.drop_path) == (5.0, 16, 0.4, 0.2)


def test_what_a_gpu_computes_in_bfloat16_has_another_name_than_what_a_cpu_computes():
    auto, half = Recipe(), Recipe(precision="bf16")
    assert auto.resolved(gpu=False).digest == auto.digest == "5e269cde"
    assert auto.resolved(gpu=True).digest == half.digest != auto.digest
    assert auto.digests == (auto.digest, half.digest)
    assert half.resolved(gpu=False) == half


def test_a_recipe_of_one_s_own_is_a_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 3\nwidth = 4\n")
    assert load_recipe(str(path)) == Recipe(epochs=3, width=4)
    for text, message in (
        (
            "epoch = 3",
            r"Unknown field in the recipe .*mine.toml: 'epoch'. Did you mean 'epochs'\? Allowed: augment",
        ),
        ("epochs = 0", r"sets epochs = 0.*greater than or equal to 1"),
        ("epochs =", "is not valid TOML"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=message):
            load_recipe(str(path))
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_recipe(str(tmp_path / "other.toml"))
    with pytest.raises(UnknownNameError, match=r"recipe 'quick'.*FILE.toml.*nasbench201-12"):
        load_recipe("quick")


def test_darts_trains_with_its_auxiliary_head_and_dropped_paths():
    space = get_space("darts")
    (cell,) = space.architectures(space.sample(1, np.random.default_rng(0)))
    recipe = load_recipe("darts-600").model_copy(
        update={"epochs": 2, "batch": 4, "width": 4, "cells": 1, "cutout": 8}
    )
    images = on_cpu(noise(8, 32, 2, 1.0), recipe)
    build = functools.partial(
        build_network, cell, classes=2, in_channels=1, width=4, cells=1, extras=recipe.extras
    )
    trained, plain = (
        train_networks([build], images, recipe.model_copy(update=changes), 0)[0]
        for changes in ({}, {"drop_path": 0.0})
    )
    assert trained.score is not None and len(trained.losses) == 2
    assert trained.losses[0] == plain.losses[0], "nothing is dropped in the first epoch"
    assert trained.losses[1] != plain.losses[1]
    head = dict(trained.network.named_parameters())
    assert any(p.grad is not None for name, p in head.items() if name.startswith("auxiliary"))
