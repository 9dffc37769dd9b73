"""The training loop that every code language model goes through: pretraining, fine-tuning, adaptation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitruvius.generator.threads import threads_for

Progress = Callable[[str], None] | None


@dataclass(frozen=True, slots=True)
class LanguageModelSettings:
    """How a code language model is built and trained from nothing.

    Attributes:
        hidden: Width.
        heads: Attention heads; vLLM needs hidden / heads to be 32, 64, ...
        layers: Transformer blocks.
        steps: Batches.
        batch: Sequences in a batch.
        rate: Highest learning rate.
        sample: Architectures drawn as corpus where the space cannot be enumerated.
    """

    hidden: int = 128
    heads: int = 4
    layers: int = 3
    steps: int = 300
    batch: int = 128
    rate: float = 3e-3
    sample: int = 50_000


def fit(
    model: Any, batch: Callable[[], Tensor], steps: int, rate: float, progress: Progress, what: str
) -> dict[str, float]:
    """Minimise the next-token loss of everything after the condition token.

    Args:
        model: A causal model of transformers; changed in place, left in evaluation mode.
        batch: Returns token ids (n, T): bos, condition, codes, eos.
        steps: Number of batches.
        rate: Highest learning rate: linear warm-up over a tenth, then a cosine to a twentieth.
        progress: Receives a line now and then.
        what: Name in these lines.

    Returns:
        `nats`: mean loss of a whole sequence over the last tenth of the batches, and `steps`, `seconds`.
    """
    begin = time.perf_counter()
    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    adam = torch.optim.AdamW(wanted, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, steps // 10)
    rise = torch.optim.lr_scheduler.LinearLR(adam, 1 / warm, 1.0, warm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps - warm), rate / 20)
    schedule = torch.optim.lr_scheduler.SequentialLR(adam, [rise, fall], [warm])
    recent: list[float] = []
    model.train()
    with threads_for(model):
        for step in range(1, steps + 1):
            recent.append(_step(model, batch(), wanted, adam))
            schedule.step()
            if progress and step % max(1, steps // 5) == 0:
                progress(f"{what}: step {step} of {steps}, {recent[-1]:.2f} nats an architecture")
    model.eval()
    last = recent[-max(1, steps // 10) :]
    return {
        "nats": round(sum(last) / len(last), 3),
        "steps": steps,
        "seconds": round(time.perf_counter() - begin, 2),
    }


def _step(model: Any, ids: Tensor, wanted: list[Tensor], adam: torch.optim.Optimizer) -> float:
    """One batch of token ids (n, T); returns the loss of a whole sequence in nats."""
    logits = model(input_ids=ids[:, :-1]).logits[:, 1:]  # (n, T - 2, vocabulary): after the condition
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten())
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(wanted, 1.0)
    adam.step()
    return loss.item() * (ids.shape[1] - 2)
