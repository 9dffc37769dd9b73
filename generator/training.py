"""Training the codec: the loop of the VQ-VAE, its split by identity, and its figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitruvius.errors import UserError
from vitruvius.generator.codes import Codec
from vitruvius.generator.resumable import Resumable
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.generator.threads import threads_for
from vitruvius.generator.vqvae import VQVAE, Batch, Sizes, build_batch

Progress = Callable[[str], None] | None
"""Receives one line of text at a time; None is silence."""


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """How a codec is trained.

    Attributes:
        steps: Batches at most.
        batch: Architectures in a batch.
        rate: Learning rate of Adam, falling along a cosine over `steps`.
        warm: Batches before the codebook exists: the decoder reads the encoder's vectors directly.
        commitment: Weight of the loss that keeps the encoder near the codebook.
        check: Batches between checks.
        enough: Training stops when this share of a training sample is reconstructed at `patience` checks.
        patience: Number of such checks in a row.
        sample: Architectures drawn for training where the space cannot be enumerated.
    """

    steps: int = 3000
    batch: int = 512
    rate: float = 2e-3
    warm: int = 100
    commitment: float = 0.25
    check: int = 50
    enough: float = 0.99999
    patience: int = 2
    sample: int = 200_000


def train_codec(
    space: SearchSpace,
    *,
    seed: int,
    fraction: float = 1.0,
    progress: Progress = None,
    settings: CodecSettings | None = None,
    state: Path | None = None,
) -> tuple[Codec, dict[str, Any]]:
    """Train a VQ-VAE on the architectures of a space; no measurement is looked at.

    Args:
        space: The search space.
        seed: All randomness comes from here.
        fraction: Share of the canonical ids that are trained on; the others are held out for the figures.
        progress: Receives a line now and then.
        settings: How; None takes the defaults.
        state: File in which the state of the training is kept; one that was interrupted goes on from it.

    Returns:
        The codec and its metrics: see `codec_metrics`, on the held-out ids where there are any.

    Raises:
        UserError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction is {fraction}, but a share of the ids above 0 and up to 1 is needed.")
    settings = settings or CodecSettings()
    rng = np.random.default_rng(seed)
    rows = architectures_of(space, settings.sample, rng)
    seen = split_by_id(space, rows, fraction, rng)
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VQVAE(sizes_for(space, rows))
    with threads_for(model):
        resumable = Resumable(state, f"{space.name} {fraction} {settings} {seed}")
        steps = _Training(space, model, rows[seen], seed, settings, progress).run(resumable)
    codec = Codec(space, model, {"seed": seed, "fraction": fraction, "settings": asdict(settings)})
    metrics = codec_metrics(codec, rows[seen] if fraction == 1 else rows[~seen])
    metrics |= {
        "steps": steps,
        "seconds": round(time.perf_counter() - begin, 2),
        "trained_on": int(seen.sum()),
    }
    codec.card["metrics"] = metrics
    resumable.done()
    if progress:
        progress(_sentence(space, metrics, fraction))
    return codec, metrics


def architectures_of(space: SearchSpace, sample: int, rng: np.random.Generator) -> Choices:
    """All architectures of a space that can be enumerated, else `sample` drawn uniformly."""
    return space.sample(sample, rng) if space.size is None else space.enumerate()


def split_by_id(
    space: SearchSpace, rows: Choices, fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which rows are trained on: (n,). Isomorphic rows always fall on the same side."""
    if fraction == 1:
        return np.ones(len(rows), dtype=bool)
    ids = space.ids(rows)
    numbers = {name: number for number, name in enumerate(sorted(set(ids)))}
    chosen = rng.permutation(len(numbers)) < round(fraction * len(numbers))
    return chosen[np.fromiter((numbers[name] for name in ids), np.int64, len(ids))]


def sizes_for(space: SearchSpace, rows: Choices) -> Sizes:
    """Sizes that fit a space.

    The codebook gets a vector for everything that a node can be by itself (which node, which label,
    which predecessors), and a tenth more, in steps of 64 up to 512. With fewer, one code would have to
    mean different things. With many more there are synonyms, between which the rest of the architecture
    decides: nothing that the decoder needs, but a language model has to learn it.
    """
    graphs = space.graphs(rows[:: max(1, len(rows) // 20_000)])
    nodes = graphs.labels.shape[1]
    code_nodes = space.code_nodes or tuple(range(1, nodes - 1))
    kinds = 0
    for node in code_nodes:
        view = np.column_stack([graphs.labels[:, node], graphs.adjacency[:, :, node]])
        kinds += len(np.unique(view, axis=0))
    codes = min(512, 64 * math.ceil(1.1 * kinds / 64))
    cardinalities = tuple(int(count) for count in space.cardinalities)
    return Sizes(len(space.labels), nodes, cardinalities, code_nodes, codes=codes)


def codec_metrics(codec: Codec, rows: Choices) -> dict[str, Any]:
    """Figures of a codec on architectures.

    Args:
        codec: The codec.
        rows: (n, D) architectures.

    Returns:
        `exact`: share of rows that come back exactly, all decisions right (after `normalise`), None of none;
        `perplexity` of the codes, exp of their entropy over all positions; `used`: codes that occur;
        `architectures`: n; `encode_per_second`, `decode_per_second`.
    """
    begin = time.perf_counter()
    codes = codec.encode(rows)
    middle = time.perf_counter()
    back = codec.decode(codes)
    end = time.perf_counter()
    good = codec.space.valid(back)
    same = np.zeros(len(rows), dtype=bool)
    same[good] = (codec.space.normalise(back[good]) == rows[good]).all(axis=1)
    counts = np.bincount(codes.ravel(), minlength=codec.codebook_size)
    share = counts[counts > 0] / counts.sum()
    return {
        "exact": float(same.mean()) if len(rows) else None,
        "architectures": len(rows),
        "perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 2),
        "used": int((counts > 0).sum()),
        "codebook": codec.codebook_size,
        "distinct": len(np.unique(codes, axis=0)),
        "encode_per_second": round(len(rows) / (middle - begin)),
        "decode_per_second": round(len(rows) / (end - middle)),
    }


class _Training:
    """The loop: warm-up without codebook, codebook started from the encoder, then straight-through."""

    def __init__(
        self,
        space: SearchSpace,
        model: VQVAE,
        rows: Choices,
        seed: int,
        settings: CodecSettings,
        progress: Progress,
    ) -> None:
        graphs = space.graphs(rows)
        self.labels = torch.tensor(graphs.labels)  # (n, V)
        self.adjacency = torch.tensor(graphs.adjacency)  # (n, V, V)
        self.choices = torch.from_numpy(rows.astype(np.int64))  # (n, D)
        self.model, self.settings, self.progress = model, settings, progress
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.epoch, self.order = seed, -1, torch.empty(0)

    def run(self, resumable: Resumable) -> int:
        """Train; returns the number of steps."""
        settings, model = self.settings, self.model
        self.adam = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.adam, settings.steps, settings.rate / 20
        )
        step = streak = 0
        if (state := resumable.load()) is not None:
            step, streak = self._restore(state)
        model.train()
        while step < settings.steps and streak < settings.patience:
            self._learn(step)
            step += 1
            if step == settings.warm:
                model.quantiser.start(self._encoded(4096), self.generator)
            if step > settings.warm and step % settings.check == 0:
                exact = self._exact(4096)
                if exact >= settings.enough:  # looks done: now look closely
                    exact = self._exact(65_536)
                streak = streak + 1 if exact >= settings.enough else 0
                if self.progress:
                    self.progress(f"VQ-VAE: step {step}, {exact:.2%} of architectures reconstructed")
                if streak == 0 and step < 0.6 * settings.steps:
                    model.quantiser.restart(self._encoded(512), self.generator)
            if resumable.due():
                resumable.save(self._state(step, streak))
        model.eval()
        return step

    def _learn(self, step: int) -> None:
        """One batch."""
        self.adam.zero_grad()
        self._loss(self._pick(step), step + 1).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        self.schedule.step()

    def _pick(self, step: int) -> Tensor:
        """Row numbers of a batch (batch,): every epoch all rows in a new order, by step and seed alone."""
        size = min(self.settings.batch, len(self.choices))
        epoch, place = divmod(step, len(self.choices) // size)
        if epoch != self.epoch:
            shuffle = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.epoch, self.order = epoch, torch.randperm(len(self.choices), generator=shuffle)
        return self.order[place * size : (place + 1) * size]

    def _state(self, step: int, streak: int) -> dict[str, Any]:
        return {
            **{"model": self.model.state_dict(), "adam": self.adam.state_dict()},
            **{"schedule": self.schedule.state_dict(), "generator": self.generator.get_state()},
            **{"step": step, "streak": streak},
        }

    def _restore(self, state: dict[str, Any]) -> tuple[int, int]:
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        if self.progress:
            self.progress(f"VQ-VAE: goes on after step {state['step']}")
        return state["step"], state["streak"]

    def _batch(self, pick: Tensor) -> Batch:
        return build_batch(self.labels[pick], self.adjacency[pick])

    def _loss(self, pick: Tensor, step: int) -> Tensor:
        model = self.model
        z = model.encoder(self._batch(pick))  # (n, L, d)
        if step <= self.settings.warm:
            return model.reconstruction(model.decoder(z), self.choices[pick])
        codes, vectors = model.quantiser(z)
        model.quantiser.follow(z.detach().flatten(0, 1))
        commitment = (z - model.quantiser.vectors[codes]).square().mean()
        loss = model.reconstruction(model.decoder(vectors), self.choices[pick])
        return loss + self.settings.commitment * commitment

    @torch.no_grad()
    def _encoded(self, n: int) -> Tensor:
        """Encoder outputs of n architectures drawn at random: (n * L, d)."""
        pick = torch.randint(len(self.choices), (n,), generator=self.generator)
        return self.model.encoder(self._batch(pick)).flatten(0, 1)

    @torch.no_grad()
    def _exact(self, n: int) -> float:
        """Share of n training rows drawn at random, at most all, that come back exactly."""
        rows = torch.randperm(len(self.choices), generator=self.generator)[:n]
        same = [
            (self.model.choices(self.model.codes(self._batch(pick))) == self.choices[pick]).all(1)
            for pick in rows.split(4096)
        ]
        return float(torch.cat(same).double().mean())


def _sentence(space: SearchSpace, metrics: dict[str, Any], fraction: float) -> str:
    what = "all" if fraction == 1 else "held-out"
    if not metrics["architectures"]:
        return f"VQ-VAE for {space.name}: no architecture is held out of so few, {metrics['seconds']:.0f} s"
    return (
        f"VQ-VAE for {space.name}: {metrics['exact']:.3%} of {metrics['architectures']} {what} architectures "
        f"reconstructed exactly, {metrics['used']} of {metrics['codebook']} codes used "
        f"(perplexity {metrics['perplexity']}), {metrics['seconds']:.0f} s"
    )
