"""The training loop that every code language model goes through: pretraining, fine-tuning, adaptation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vitruvius.generator.precision import mixed_precision
from vitruvius.generator.resumable import Resumable
from vitruvius.generator.threads import threads_for

Progress = Callable[[str], None] | None


class Lesson(NamedTuple):
    """One batch to learn from."""

    ids: Tensor  # (n, L + 3) long: bos, condition, codes, eos
    chances: Tensor | None = None  # (n, L, K) how likely each code is to follow, where the corpus says so


@dataclass(frozen=True, slots=True)
class LanguageModelSettings:
    """How a code language model is built and trained from nothing.

    Attributes:
        hidden: Width.
        heads: Attention heads; vLLM needs hidden / heads to be 32, 64, ...
        layers: Transformer blocks.
        steps: Batches planned for a small corpus.
        batch: Sequences in each of them.
        large: Sequences from which on a corpus is large.
        large_steps: Batches planned for a large corpus, each four times as large.
        partial: Where the corpus is only a share of a listed space, share ** partial of the batches are made:
            with all of them a model learns that what was left out is not there (chosen on half of
            NAS-Bench-101).
        rate: Highest learning rate of Adam: embeddings, head, norms.
        matrix_rate: Highest learning rate of Muon: the matrices of the blocks; None leaves all to Adam.
        enough: Training stops when the model is this close to the corpus' own distribution, in nats an
            architecture.
        sample: Architectures drawn as corpus where the space cannot be enumerated.
    """

    hidden: int = 128
    heads: int = 4
    layers: int = 3
    steps: int = 300
    batch: int = 128
    large: int = 100_000
    large_steps: int = 1000
    partial: float = 1.5
    rate: float = 2e-2
    matrix_rate: float | None = 2e-2
    enough: float = 0.002
    sample: int = 200_000

    def plan(self, corpus: int, space: int | None = None) -> tuple[int, int]:
        """Number of batches, and sequences in each.

        Args:
            corpus: Number of sequences to learn from.
            space: Number of all that there are; None where the space is only sampled.
        """
        share = min(corpus / space, 1.0) if space else 1.0
        steps, batch = (self.steps, self.batch) if corpus < self.large else (self.large_steps, 4 * self.batch)
        return max(round(steps * share**self.partial), 1), batch


def fit(
    model: Any,
    lesson: Callable[[int], Lesson],
    steps: int,
    rate: float,
    progress: Progress,
    what: str,
    *,
    matrix_rate: float | None = None,
    table_rate: float | None = None,
    codes: tuple[int, ...] = (),
    enough: float = 0.0,
    resumable: Resumable | None = None,
) -> dict[str, float]:
    """Minimise the next-token loss of everything after the condition token.

    Args:
        model: A causal model of transformers; changed in place, left in evaluation mode.
        lesson: Returns the batch with this number; the same batch whenever it is asked for it.
        steps: Number of batches.
        rate: Highest learning rate of Adam: linear warm-up over a tenth, then a cosine to nothing.
        progress: Receives a line now and then.
        what: Name in these lines.
        matrix_rate: The same of Muon (https://kellerjordan.github.io/posts/muon/), which then steers the
            matrices of the blocks: from nothing it comes as far in half as many batches. None leaves all
            weights to Adam.
        table_rate: The same of Adam for the input embeddings; None takes `rate`.
        codes: Token ids of the codes, where lessons come with `chances`.
        enough: Stop when the loss exceeds the lowest possible one by less than this (lessons with `chances`).
        resumable: Where the state is kept now and then.

    Returns:
        `nats`: mean loss of a whole sequence over the last tenth of the batches, and `steps`, `seconds`;
        with `chances` also `gap`, the nats above what the corpus itself would need.
    """
    begin = time.perf_counter()
    optimisers = _optimisers(model, rate, matrix_rate, table_rate or rate)
    loop = _Loop(model, optimisers, steps, torch.tensor(codes))
    resumable = resumable or Resumable(None)
    if (state := resumable.load()) is not None:
        loop.restore(state)
        if progress:
            progress(f"{what}: goes on after step {loop.step}")
    model.train()
    with threads_for(model):
        while loop.step < steps:
            loop.learn(lesson(loop.step))
            if progress and loop.step % max(1, steps // 5) == 0:
                progress(f"{what}: step {loop.step} of {steps}, {loop.nats[-1]:.2f} nats an architecture")
            if resumable.due():
                resumable.save(loop.state())
            if loop.gap() < enough:
                break
    model.eval()
    last = loop.nats[-max(1, loop.step // 10) :]
    figures = {"nats": round(sum(last) / len(last), 3)}
    figures |= {"gap": round(loop.gap(), 4)} if loop.gaps else {}
    return figures | {"steps": loop.step, "seconds": round(time.perf_counter() - begin, 2)}


def _optimisers(model: Any, rate: float, matrix_rate: float | None, table_rate: float) -> list[Optimizer]:
    """What steers the trainable weights."""
    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    matrices = [
        weight for weight in wanted
        if matrix_rate is not None and weight.ndim == 2 and weight is not table and weight is not head
    ]  # fmt: skip
    apart = {id(weight) for weight in (table, *matrices)}
    groups = [
        {"params": [weight for weight in wanted if id(weight) not in apart], "lr": rate},
        {"params": [weight for weight in wanted if weight is table], "lr": table_rate},
    ]
    adam = Adam([group for group in groups if group["params"]], betas=(0.9, 0.98))
    if not matrices:
        return [adam]
    return [adam, Muon(matrices, lr=matrix_rate or rate, momentum=0.95, weight_decay=0.0)]


class _Loop:
    """Model, optimisers and schedule, and how far they have come."""

    def __init__(self, model: Any, optimisers: list[Optimizer], steps: int, codes: Tensor) -> None:
        self.model, self.codes, self.step = model, codes, 0
        self.nats: list[float] = []
        self.gaps: list[float] = []
        self.optimisers = optimisers
        self.wanted = [
            weight for one in optimisers for group in one.param_groups for weight in group["params"]
        ]
        warm = max(1, steps // 10)

        def share(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

        self.schedules = [LambdaLR(one, share) for one in optimisers]

    def learn(self, lesson: Lesson) -> None:
        """One batch."""
        ids, chances = lesson
        length = ids.shape[1] - 2  # the codes and the end
        with mixed_precision(self.model):
            logits = self.model(input_ids=ids[:, :-1]).logits
        logits = logits[:, 1:].float()  # (n, L + 1, vocabulary)
        if chances is None:
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten()) * length
        else:
            loss = self._from_chances(logits, ids, chances)
            entropy = torch.special.entr(chances).sum() / len(ids)
            self.gaps.append(loss.item() - entropy.item())
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        (loss / length).backward()
        torch.nn.utils.clip_grad_norm_(self.wanted, 1.0)
        for optimiser, schedule in zip(self.optimisers, self.schedules, strict=True):
            optimiser.step()
            schedule.step()
        self.nats.append(loss.item())
        self.step += 1

    def _from_chances(self, logits: Tensor, ids: Tensor, chances: Tensor) -> Tensor:
        """Loss of a whole sequence in nats, against all codes that may follow instead of the one that did.

        The expectation over the corpus is the same as with single codes, with far less noise: of a corpus
        that lists a space, a few hundred batches teach what thousands do otherwise.
        """
        spoken = logits[:, :-1]  # (n, L, vocabulary)
        expected = (chances * spoken[..., self.codes]).sum(-1)  # (n, L)
        ends = F.cross_entropy(logits[:, -1], ids[:, -1])
        return (spoken.logsumexp(-1) - expected).sum(1).mean() + ends

    def gap(self, last: int = 50) -> float:
        """Mean nats above the corpus' own entropy over the last batches; infinite before so many."""
        recent = self.gaps[-last:]
        return sum(recent) / last if len(recent) == last else float("inf")

    def state(self) -> dict[str, Any]:
        """Everything that the loop needs to go on."""
        return {
            "model": self.model.state_dict(),
            "optimisers": [one.state_dict() for one in self.optimisers],
            "schedules": [one.state_dict() for one in self.schedules],
            **{"step": self.step, "nats": self.nats, "gaps": self.gaps},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.model.load_state_dict(state["model"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self.step, self.nats, self.gaps = state["step"], state["nats"], state["gaps"]
