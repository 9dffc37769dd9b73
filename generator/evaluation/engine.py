"""Training one network on images that lie on its device: what `Train` does in the child process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.generator.evaluation.recipe import Recipe


class DivergedError(ArithmeticError):
    """The loss or the outputs are not finite."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Images and labels on one device, standardised with the training part's mean and deviation.

    Attributes:
        train_x: (n, C, H, W) float32.
        train_y: (n,) int64.
        valid_x: (m, C, H, W) float32.
        valid_y: (m,) int64.
    """

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor


def standardise(train_x: Tensor, train_y: Tensor, valid_x: Tensor, valid_y: Tensor, device: str) -> Batches:
    """Move both parts to the device and standardise each channel."""
    train, valid = train_x.to(device).float(), valid_x.to(device).float()
    mean = train.mean((0, 2, 3), keepdim=True)  # (1, C, 1, 1)
    deviation = train.std((0, 2, 3), keepdim=True).clamp_min(1e-6)
    return Batches(
        (train - mean) / deviation, train_y.to(device), (valid - mean) / deviation, valid_y.to(device)
    )


def train_and_score(
    build: Callable[[], nn.Module], data: Batches, recipe: Recipe, seed: int, pieces: int
) -> float:
    """Train a fresh network and return its validation accuracy in percent.

    Args:
        build: Makes the network; called once, after torch has been seeded.
        data: What to train and validate on.
        recipe: How.
        seed: All randomness comes from here: weights, order, augmentation.
        pieces: Each batch is computed in so many pieces whose gradients are added up.

    Raises:
        DivergedError: A loss or an output is not finite.
        RuntimeError: Out of memory, as torch reports it.
    """
    torch.manual_seed(seed)
    device = data.train_x.device
    network = build().to(device)
    images = len(data.train_x)
    batch = min(recipe.batch, images)
    steps = images // batch
    optimiser, schedule = _optimiser(network, recipe, steps * recipe.epochs)
    rng = torch.Generator().manual_seed(seed)
    network.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(images, generator=rng)[: steps * batch].view(steps, batch)
        total = torch.zeros((), device=device)
        for rows in order:
            optimiser.zero_grad(set_to_none=True)
            for piece in rows.chunk(pieces):
                picked = piece.to(device)
                x = augment(data.train_x[picked], recipe, rng)
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    loss = functional.cross_entropy(network(x).float(), data.train_y[picked])
                loss = loss * (len(piece) / batch)
                loss.backward()
                total += loss.detach()
            optimiser.step()
            schedule.step()
        if not math.isfinite(total.item()):
            raise DivergedError(f"the training loss was not finite in epoch {epoch + 1} of {recipe.epochs}")
    return accuracy(network, data.valid_x, data.valid_y, recipe)


def accuracy(network: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> float:
    """Share of right answers, in percent.

    Raises:
        DivergedError: An output is not finite.
    """
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=x.device)
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        for part, labels in zip(x.split(512), y.split(512), strict=True):
            logits: Tensor = network(part)
            if not bool(torch.isfinite(logits).all()):
                raise DivergedError("the trained network's outputs are not finite")
            right += (logits.argmax(1) == labels).sum()
    return 100.0 * right.item() / len(y)


def augment(x: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """Shift and flip a batch (b, C, H, W) at random; what comes in from outside is the channel's mean, 0."""
    if recipe.augment == "none":
        return x
    b, _, height, width = x.shape
    reach = max(1, min(height, width) // 8)
    padded = functional.pad(x, (reach,) * 4)  # (b, C, H + 2 reach, W + 2 reach)
    shift = torch.randint(0, 2 * reach + 1, (2, b, 1), generator=rng)
    rows = (shift[0] + torch.arange(height)).to(x.device)  # (b, H)
    columns = (shift[1] + torch.arange(width)).to(x.device)  # (b, W)
    if recipe.augment == "shift+flip":
        flip = (torch.rand(b, 1, generator=rng) < 0.5).to(x.device)
        columns = torch.where(flip, columns.flip(1), columns)
    images = torch.arange(b, device=x.device)[:, None, None]
    # indices on both sides of the channel slice: the channels come last and are moved back
    return padded[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _optimiser(
    network: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """The optimiser and its schedule over all steps."""
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "sgd":
        optimiser = torch.optim.SGD(
            network.parameters(), recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    else:
        optimiser = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)

    def factor(step: int) -> float:
        if recipe.schedule == "constant":
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / steps))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
