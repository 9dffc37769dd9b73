"""Training networks on images that lie on their device: what `Train` does in the child process.

Several networks can be trained side by side. They see the same batches, which are made once, their weights
are moved by one optimiser, and on a GPU each computes in a stream of its own. Nothing passes from one to the
other: each ends with the weights that it would have ended with alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.generator.evaluation.batches import DeviceImages, Epochs
from vitruvius.generator.evaluation.optimisers import learning_rates, make_optimiser
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.recorded import Recorded


@dataclass(slots=True)
class Trained:
    """A network after training.

    Attributes:
        network: The network, with its weights.
        score: Validation accuracy in percent; None where it diverged.
        reason: Why there is no score.
        losses: Mean training loss of each epoch.
        stopped: Whether it was stopped before the end, because its loss was above the bar.
    """

    network: nn.Module
    score: float | None = None
    reason: str = ""
    losses: list[float] = field(default_factory=list[float])
    stopped: bool = False

    @property
    def diverged(self) -> bool:
        """Whether a loss or an output was not finite."""
        return self.over and not self.stopped

    @property
    def over(self) -> bool:
        """Whether it is not trained any more."""
        return bool(self.reason)


def train_networks(
    builds: Sequence[Callable[[], nn.Module]],
    images: DeviceImages,
    recipe: Recipe,
    seed: int,
    pieces: int = 1,
    graphs: bool = False,
    bar: Sequence[float] = (),
) -> list[Trained]:
    """Train fresh networks side by side, and take their validation accuracy.

    Args:
        builds: Each makes a network; called once, after torch has been seeded.
        images: What to train and validate on.
        recipe: How.
        seed: All randomness comes from here: weights, order, augmentation.
        pieces: Each batch is computed in so many pieces whose gradients are added up.
        graphs: On a GPU, record a step once and replay it, so that no time is lost on starting kernels; not
            with `drop_path`, which changes the step.
        bar: Highest training loss after each epoch; a network above it is stopped (see `stopping`).

    Returns:
        One for each network, in order.

    Raises:
        RuntimeError: Out of memory, as torch reports it.
    """
    training = _Training(builds, images, recipe, seed, pieces)
    replay = graphs and images.device.type == "cuda" and not recipe.drop_path
    step = Recorded(training.step) if replay else training.step
    for epoch in range(1, recipe.epochs + 1):
        training.begin_epoch(epoch)
        for _ in range(training.epochs.steps):
            step()
        if not training.end_epoch(epoch, bar):
            break
    for trained in training.trained:
        if not trained.over:
            _score(trained, images, recipe)
    return training.trained


class _Training:
    """Networks that are trained side by side: their optimiser, and one step of it."""

    def __init__(
        self,
        builds: Sequence[Callable[[], nn.Module]],
        images: DeviceImages,
        recipe: Recipe,
        seed: int,
        pieces: int,
    ) -> None:
        self._recipe, self._pieces, self._device = recipe, pieces, images.device
        self.trained = [Trained(_built(build, seed, images.device)) for build in builds]
        self.epochs = Epochs(images, recipe, seed)
        rates = learning_rates(recipe, self.epochs.steps * recipe.epochs)
        params = [p for trained in self.trained for p in trained.network.parameters()]
        self._rates = torch.tensor(rates, device=images.device)
        self._step = torch.zeros(1, dtype=torch.int64, device=images.device)
        self._lr = torch.zeros((), device=images.device) if images.device.type == "cuda" else None
        self._optimiser = make_optimiser(params, recipe, rates[0] if self._lr is None else self._lr)
        self._losses = torch.zeros(len(builds), device=images.device)
        self._streams = _streams(len(builds), images.device)

    def begin_epoch(self, epoch: int) -> None:
        """Draw what is random in it."""
        self.epochs.begin()
        if self._recipe.drop_path:
            share = (epoch - 1) / self._recipe.epochs
            for trained in self.trained:
                network: Any = trained.network
                network.drop_path(self._recipe.drop_path * share)

    def step(self) -> None:
        """One step of the optimiser for all networks; all that changes from step to step is on the device."""
        self._set_rate()
        self._optimiser.zero_grad(set_to_none=True)
        x, y = self.epochs.next()
        for number, (trained, stream) in enumerate(zip(self.trained, self._streams, strict=True)):
            if not trained.over:
                with stream:
                    self._backward(trained.network, x, y, self._losses[number])
        for stream in self._streams:
            stream.join()
        self._optimiser.step()

    def end_epoch(self, epoch: int, bar: Sequence[float] = ()) -> bool:
        """Set aside networks whose loss is not finite, or above the bar; whether any is left."""
        epochs = self._recipe.epochs
        for trained, total in zip(self.trained, self._losses.tolist(), strict=True):
            if trained.over:
                continue
            loss = total / self.epochs.steps
            trained.losses.append(loss)
            if not math.isfinite(loss):
                trained.reason = f"the training loss was not finite in epoch {epoch} of {epochs}"
            elif epoch < epochs and epoch <= len(bar) and loss > bar[epoch - 1]:
                trained.stopped = True
                trained.reason = (
                    f"after epoch {epoch} of {epochs} the training loss was {loss:.3g}, above "
                    f"{bar[epoch - 1]:.3g}, the highest among those that led the rung below"
                )
        self._losses.zero_()
        return not all(trained.over for trained in self.trained)

    def _set_rate(self) -> None:
        rate = self._rates.index_select(0, self._step)[0]
        if self._lr is not None:
            self._lr.copy_(rate)
        else:
            for group in self._optimiser.param_groups:
                group["lr"] = rate.item()
        self._step += 1

    def _backward(self, network: nn.Module, x: Tensor, y: Tensor, total: Tensor) -> None:
        """Gradients of one network for one batch; its loss is added to the total."""
        for part, labels in zip(x.chunk(self._pieces), y.chunk(self._pieces), strict=True):
            with autocast(self._recipe, self._device):
                outputs: Tensor | tuple[Tensor, Tensor] = network(part)
                logits, *second = outputs if isinstance(outputs, tuple) else (outputs,)
                loss = functional.cross_entropy(logits.float(), labels)
                for other in second:
                    loss = loss + self._recipe.auxiliary * functional.cross_entropy(other.float(), labels)
            loss = loss * (len(labels) / len(y))
            loss.backward()
            total += loss.detach()
        if self._recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self._recipe.clip)


def settle(device: str, recipe: Recipe) -> None:
    """Set this process up for training on a device: it becomes the current one, products as exact as asked.

    Args:
        device: For torch.
        recipe: How is trained; with `fp32` a GPU rounds no product to fewer bits.
    """
    if not device.startswith("cuda"):
        return
    if ":" in device:  # streams and recordings are made where the current device is
        torch.cuda.set_device(device)
    exact = recipe.precision == "fp32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Products in the recipe's precision."""
    half = recipe.precision == "bf16" or (recipe.precision == "auto" and device.type == "cuda")
    # without the cache: casts that it keeps from outside a recorded step would be stale inside
    return torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False)


def count_right(network: nn.Module, images: DeviceImages, recipe: Recipe) -> int | None:
    """How many validation images the network gets right; None where an output is not finite."""
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=images.device)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    with torch.no_grad(), autocast(recipe, images.device), linear_in_float(network):
        for x, labels in images.validation():
            logits: Tensor = network(x)
            finite &= torch.isfinite(logits).all()
            right += (logits.argmax(1) == labels).sum()
    return int(right.item()) if bool(finite) else None


@contextlib.contextmanager
def linear_in_float(network: nn.Module) -> Generator[None]:
    """Compute linear layers in float32 meanwhile: of outputs in bfloat16 the two largest are often equal."""

    def forward(layer: nn.Linear, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.float(), layer.weight, layer.bias)

    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.forward = partial(forward, layer)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _score(trained: Trained, images: DeviceImages, recipe: Recipe) -> None:
    right = count_right(trained.network, images, recipe)
    if right is None:
        trained.reason = "the trained network's outputs are not finite"
    else:
        trained.score = 100.0 * right / len(images.valid_y)


def _built(build: Callable[[], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """A fresh network on the device, in training mode, with channels last as the images have them."""
    torch.manual_seed(seed)
    network = build().to(device)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing in the stubs
    return network.train()


class _Stream(contextlib.AbstractContextManager["_Stream"]):
    """A stream of a GPU that begins where the current one is; `join` makes the current one wait for it."""

    def __init__(self, stream: torch.cuda.Stream | None) -> None:
        self._stream = stream
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> _Stream:
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
            self._entered.enter_context(torch.cuda.stream(self._stream))
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()

    def join(self) -> None:
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)


def _streams(count: int, device: torch.device) -> list[_Stream]:
    """One for each network; a single network, or a CPU, needs none."""
    alone = count == 1 or device.type != "cuda"
    return [_Stream(None if alone else torch.cuda.Stream(device)) for _ in range(count)]
