"""Candidates trained in an hour: our engine against the loop that everybody writes, on the device at hand.

    python benchmarks/training.py --dataset cifar10_jpeg.parquet --recipe nasbench201-12 --cells 10 --pack 8
    python benchmarks/training.py --dataset mnist --limit 300 --cells 3 --pack 3

The same random NAS-Bench-201 cells are trained with each mode, one after the other:

    loader          float32, eager, images augmented one by one and brought by a DataLoader with two processes
    compiled        images on the device, one network at a time through torch.compile
    engine          images on the device, one network at a time
    packed          the same, `--pack` networks side by side
    processes       `Train` with two processes, starting them included
    recorded        engine, a step recorded as a CUDA graph and replayed; on a GPU only
    packed recorded both; on a GPU only

Every mode trains another cell for one epoch first, which is not counted; what must be compiled for each
network is counted.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from _record import print_record
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.generator.evaluation.batches import DeviceImages, to_device
from vitruvius.generator.evaluation.engine import Trained, autocast, count_right, train_networks
from vitruvius.generator.evaluation.images import Images
from vitruvius.generator.evaluation.optimisers import learning_rates, make_optimiser
from vitruvius.generator.evaluation.recipe import Recipe, load_recipe
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import Architecture, get_space

Build = Callable[[], nn.Module]
Cells = Sequence[Architecture]
Mode = Callable[[Cells, Recipe], list[float]]
SPACE = get_space("nasbench201")


class OneByOne(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images padded, cropped, flipped and standardised one by one, as in most training scripts."""

    def __init__(self, images: Images, recipe: Recipe) -> None:
        self.x, self.y = torch.from_numpy(images.train_x), images.train_y
        self.margin = 0 if recipe.augment == "none" else max(1, self.x.shape[2] // 8)
        self.flip = recipe.augment == "shift+flip"
        real = self.x.double()
        self.mean = real.mean((0, 2, 3)).float()[:, None, None]
        self.deviation = real.std((0, 2, 3)).float()[:, None, None]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, margin = self.x[index], self.margin
        height, width = image.shape[1:]
        top, left = torch.randint(0, 2 * margin + 1, (2,)).tolist()
        image = functional.pad(image, (margin,) * 4)[:, top : top + height, left : left + width]
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image.float() - self.mean) / self.deviation, int(self.y[index])


def with_loader(build: Build, images: Images, on_device: DeviceImages, recipe: Recipe, seed: int) -> float:
    """The plain loop: what mode "loader" does for one network; its accuracy in percent."""
    torch.manual_seed(seed)
    device = on_device.device
    loader = torch.utils.data.DataLoader(
        OneByOne(images, recipe), min(recipe.batch, len(images.train_y)), shuffle=True, drop_last=True,
        num_workers=2, persistent_workers=True, pin_memory=device.type == "cuda",
    )  # fmt: skip
    network = build().to(device)
    optimiser = make_optimiser(list(network.parameters()), recipe, recipe.lr)
    rates = iter(learning_rates(recipe, recipe.epochs * len(loader)))
    for _ in range(recipe.epochs):
        for x, y in loader:
            for group in optimiser.param_groups:
                group["lr"] = next(rates)
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(x.to(device)), y.to(device))
            loss.backward()
            optimiser.step()
    plain = recipe.model_copy(update={"precision": "fp32"})
    return 100.0 * (count_right(network, on_device, plain) or 0) / len(images.valid_y)


def compiled(build: Build) -> Build:
    """The network through torch.compile."""

    def make() -> nn.Module:
        network = build()
        network.compile()
        return network

    return make


def scores(trained: Sequence[Trained]) -> list[float]:
    return [one.score if one.score is not None else float("nan") for one in trained]


def modes(train: Train, on_device: DeviceImages, pack: int) -> dict[str, Mode]:
    """Name -> what trains these cells with this recipe and gives their accuracies."""
    images = train.images

    def build(cell: Architecture, recipe: Recipe) -> Build:
        shape = {"width": recipe.width, "cells": recipe.cells}
        return functools.partial(
            build_network, cell, classes=images.classes, in_channels=images.size[0], **shape
        )

    def packed(builds: Sequence[Build], recipe: Recipe, size: int, graphs: bool = False) -> list[float]:
        found: list[float] = []
        for begin in range(0, len(builds), size):
            found += scores(train_networks(builds[begin : begin + size], on_device, recipe, 0, 1, graphs))
        return found

    def processes(cells: Cells, recipe: Recipe) -> list[float]:
        crew = train.with_recipe(recipe)
        found = {m.key: m.score for m in crew.open(SPACE, images.name).measure(cells)}
        crew.close()
        return [float(found[cell.key] or "nan") for cell in cells]

    found: dict[str, Mode] = {
        "loader": lambda cells, r: [with_loader(build(c, r), images, on_device, r, 0) for c in cells],
        "compiled": lambda cells, r: packed([compiled(build(c, r)) for c in cells], r, 1),
        "engine": lambda cells, r: packed([build(c, r) for c in cells], r, 1),
        "packed": lambda cells, r: packed([build(c, r) for c in cells], r, pack),
        "processes": processes,
    }
    if on_device.device.type == "cuda":
        found["recorded"] = lambda cells, r: packed([build(c, r) for c in cells], r, 1, True)
        found["packed recorded"] = lambda cells, r: packed([build(c, r) for c in cells], r, pack, True)
    return found


def wait(device: torch.device) -> float:
    """The time when the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


def processor() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def peak(recipe: Recipe, device: torch.device) -> float:
    """Multiply-adds in a second of large matrix products in the recipe's precision; on a CPU of one core."""
    size, rounds = (8192, 20) if device.type == "cuda" else (1024, 5)
    a = torch.randn(size, size, device=device)
    with autocast(recipe, device), torch.no_grad():
        torch.mm(a, a)
        start, before = wait(device), processor()
        for _ in range(rounds):
            torch.mm(a, a)
        seconds = wait(device) - start if device.type == "cuda" else processor() - before
    return rounds * size**3 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="mnist", help="as `Train` takes it")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--limit", type=int, default=None, help="most images for training")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--pack", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--modes", default=None, help="only these, with commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = Train(
        options.dataset, recipe=options.recipe, limit=options.limit, workers=2, device=options.device
    )
    recipe, images = load_recipe(options.recipe), train.images
    parts = ("train_x", "train_y", "valid_x", "valid_y")
    arrays = {part: torch.from_numpy(getattr(images, part)) for part in parts}
    on_device = to_device(arrays, recipe, options.device)
    drawn = SPACE.architectures(SPACE.sample(options.cells + 1, np.random.default_rng(7)))
    other, *cells = [SPACE.parse(cell.id) for cell in drawn]
    top = peak(recipe, on_device.device)
    device = torch.cuda.get_device_name() if on_device.device.type == "cuda" else "cpu, one thread"
    settings = {**vars(options), "recipe": recipe.model_dump(), "fingerprint": images.fingerprint}
    results = {
        "trained on": device,
        "multiply-adds a second at the peak": float(f"{top:.3g}"),
        "torch": torch.__version__,
        "modes": measured(train, other, cells, on_device, options, top),
    }
    print_record("training", [0], settings, results)


def measured(
    train: Train,
    other: Architecture,
    cells: Cells,
    on_device: DeviceImages,
    options: argparse.Namespace,
    top: float,
) -> dict[str, dict[str, float]]:
    """Run the modes one after the other."""
    recipe, images = train.recipe, train.images
    costs = train.open(SPACE, images.name).costs(SPACE.rows(cells))
    work = 3e6 * float(costs["flops"].sum()) * len(images.train_y) * recipe.epochs  # backward: twice forward
    runs = modes(train, on_device, options.pack)
    results: dict[str, dict[str, float]] = {}
    first: NDArray[np.float64] | None = None
    for name in options.modes.split(",") if options.modes else runs:
        runs[name]([other], recipe.model_copy(update={"epochs": 1}))
        start, before = wait(on_device.device), processor()
        found = np.array(runs[name](cells, recipe))
        seconds, spent = wait(on_device.device) - start, processor() - before
        busy = seconds if on_device.device.type == "cuda" else spent
        first = found if first is None else first
        results[name] = {
            "candidates an hour": round(3600 * len(cells) / seconds, 1),
            "seconds for each": round(seconds / len(cells), 2),
            "processor seconds for each": round(spent / len(cells), 2),
            "share of the matrix peak": round(work / busy / top, 4),
            "mean accuracy": round(float(np.nanmean(found)), 2),
            "mean difference to the first mode": round(float(np.nanmean(found - first)), 2),
        }
        print(name, results[name], flush=True)
    return results


if __name__ == "__main__":
    main()
