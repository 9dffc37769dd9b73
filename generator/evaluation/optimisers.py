"""What moves the weights of one network, or of several at once, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.generator.evaluation.recipe import Recipe

MOMENTUM = 0.9


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp as TensorFlow 1 computes it, which NAS-Bench-101 was trained with.

    Unlike torch's the epsilon stands inside the root, mean squares begin at 1, and the learning rate enters
    the momentum. With the benchmark's epsilon of 1 the first makes all the difference:

        s = 0.9 s + 0.1 g^2;  v = 0.9 v + lr g / sqrt(s + 1);  w = w - v
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor, weight_decay: float, epsilon: float = 1.0
    ) -> None:
        """Set up for these parameters; `weight_decay` is added to the gradient."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["square"], state["momentum"] = torch.ones_like(weight), torch.zeros_like(weight)
                slope = weight.grad.add(weight, alpha=group["weight_decay"])
                state["square"].mul_(0.9).addcmul_(slope, slope, value=0.1)
                slope.div_(state["square"].add(group["epsilon"]).sqrt_()).mul_(group["lr"])
                weight.sub_(state["momentum"].mul_(MOMENTUM).add_(slope))


def make_optimiser(params: list[nn.Parameter], recipe: Recipe, lr: float | Tensor) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters of all networks that are trained together.

    Args:
        params: Parameters on one device.
        recipe: Which one.
        lr: The learning rate; on a GPU a tensor there, so that a recorded step can follow a schedule.
    """
    fused: dict[str, Any] = {"fused": True} if isinstance(lr, Tensor) else {}
    if recipe.optimiser == "rmsprop":
        return RMSPropTF(params, lr, recipe.weight_decay)
    if recipe.optimiser == "adamw":
        extra: dict[str, Any] = {**fused, "capturable": True} if fused else {}
        return torch.optim.AdamW(params, lr=lr, weight_decay=recipe.weight_decay, **extra)
    nesterov = recipe.optimiser == "sgd"
    return torch.optim.SGD(
        params, lr, momentum=MOMENTUM, nesterov=nesterov, weight_decay=recipe.weight_decay, **fused
    )


def learning_rates(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of each of all steps."""
    if recipe.schedule == "constant":
        return [recipe.lr] * steps
    return [0.5 * recipe.lr * (1.0 + math.cos(math.pi * step / steps)) for step in range(steps)]
