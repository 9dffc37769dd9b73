"""Controls with a continuous latent space: arch2vec and the graph VAE of CR-LSO, written again and small.

- `arch2vec` (Yan et al., NeurIPS 2020, arXiv 2006.06936): variational GIN on operations and A + A^T, 16
  numbers for each node, operations by a linear layer, edges by sigmoid(Z Z^T). Kept from the authors' code:
  binary cross-entropy for operations too, edges above the diagonal only, std = exp(logvar).
- `gvae` (CR-LSO, Rao et al., arXiv 2211.05950): message passing, sum pooling, 16 numbers for the whole graph,
  a decoder that says each decision; noise scaled by 0.01, KL by 0.005.
- `cr-lso`: the same with its convex performance network, which needs scores; it stands in `_convex.py`.

All draw latents from a normal distribution with the mean and the deviation of the training set's latents,
each number by itself (of arch2vec: of each node by itself, else hardly any graph begins with an input).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.generator.space import ABSENT, INPUT, OUTPUT, Choices, SearchSpace
from vitruvius.generator.spaces.small_dags import EDGES
from vitruvius.generator.vqvae import Decoder, Sizes

NAMES = ("arch2vec", "gvae", "cr-lso")
"""The last needs scores to learn from."""
LATENT = 16


class Lesson(NamedTuple):
    """A batch of n architectures."""

    features: Tensor  # (n, V, C) one-hot labels
    adjacency: Tensor  # (n, V, V) along and against the edges
    choices: Tensor  # (n, D) long
    scores: Tensor | None = None  # (n,) 0 worst to 1 best


class Gin(nn.Module):
    """Graph isomorphism network on dense arrays: (n, V, C) and (n, V, V) to (n, V, width)."""

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        sizes = [features, *[width] * layers]
        self.own = nn.Parameter(torch.zeros(layers))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(),
                nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
            )
            for before in sizes[:-1]
        )  # fmt: skip

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for own, layer in zip(self.own, self.layers, strict=True):
            x = layer(((1 + own) * x + adjacency @ x).flatten(0, 1)).view(*x.shape[:2], -1)
        return x


class ContinuousModel(nn.Module):
    """What `Continuous` trains."""

    def encode(self, features: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        """Means and spreads of latents."""
        raise NotImplementedError

    def loss(self, batch: Lesson) -> Tensor:
        """What is minimised."""
        raise NotImplementedError

    def rows(self, z: Tensor, space: SearchSpace) -> Choices:
        """What latents decode to."""
        raise NotImplementedError

    def settle(self) -> None:
        """After every step: weights that must stay within bounds go back there."""


class Arch2Vec(ContinuousModel):
    """Latents of nodes; graphs come out as labels and edges, and need not be architectures."""

    def __init__(self, space: SearchSpace, nodes: int) -> None:
        super().__init__()
        self.kinds = len(space.operations) + 3
        self.gin = Gin(self.kinds, 128, 4)
        self.heads = nn.Linear(128, 2 * LATENT)
        self.operations = nn.Linear(LATENT, self.kinds)

    def encode(self, features: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.heads(self.gin(features, adjacency)).chunk(2, dim=-1)
        return mean, spread

    def loss(self, batch: Lesson) -> Tensor:
        features, adjacency = batch.features, batch.adjacency
        mean, spread = self.encode(features, adjacency)
        z = F.dropout(mean + spread.exp() * torch.randn_like(mean), 0.3, self.training)
        found = F.binary_cross_entropy_with_logits(self.operations(z), features)
        edges = F.binary_cross_entropy_with_logits(z @ z.mT, adjacency, reduction="none")
        found = found + edges.triu(1).mean()  # each edge once, no node to itself; all places in the mean
        divergence = -0.5 * (1 + 2 * spread - mean.square() - (2 * spread).exp()).sum(-1).mean()
        return found + divergence / mean.shape[0] / mean.shape[1]

    def labels(self, z: Tensor) -> Tensor:
        labels = self.operations(z).argmax(-1)  # (n, V)
        return torch.where(labels == self.kinds - 1, ABSENT, labels)

    def rows(self, z: Tensor, space: SearchSpace) -> Choices:
        edges = torch.triu(z @ z.mT > 0, 1)
        return read_graphs(self.labels(z).numpy().astype(np.int8), edges.numpy(), space)


class GraphVae(ContinuousModel):
    """One latent for a graph; every decision is said, so only the space's own rules can be broken."""

    def __init__(self, space: SearchSpace, nodes: int) -> None:
        super().__init__()
        self.register_buffer("places", torch.eye(nodes))
        self.gin = Gin(len(space.operations) + 3 + nodes, 128, 3)
        self.heads = nn.Linear(128, 2 * LATENT)
        self.counts = tuple(int(count) for count in space.cardinalities)
        self.decoder = Decoder(Sizes(0, nodes, self.counts, (1,), dimension=LATENT, hidden=512))

    def encode(self, features: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        places = self.get_buffer("places").expand(len(features), -1, -1)
        pooled = self.gin(torch.cat([features, places], dim=-1), adjacency).sum(dim=1)
        mean, spread = self.heads(pooled)[:, None].chunk(2, dim=-1)  # (n, 1, 16) each
        return mean, spread

    def loss(self, batch: Lesson) -> Tensor:
        return self.loss_and_latents(batch)[0]

    def loss_and_latents(self, batch: Lesson) -> tuple[Tensor, Tensor]:
        """() and (n, 1, 16)."""
        mean, spread = self.encode(batch.features, batch.adjacency)
        z = mean + 0.01 * (spread / 2).exp() * torch.randn_like(mean)
        parts = self.decoder(z).split(self.counts, dim=1)
        losses = [F.cross_entropy(part, batch.choices[:, column]) for column, part in enumerate(parts)]
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).mean()
        return torch.stack(losses).sum() + 0.005 * divergence, z

    def rows(self, z: Tensor, space: SearchSpace) -> Choices:
        parts = self.decoder(z).split(self.counts, dim=1)
        return torch.stack([part.argmax(1) for part in parts], dim=1).numpy().astype(np.int8)


class Continuous:
    """A trained one: encodes, decodes, draws."""

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        rows: Choices,
        *,
        seed: int,
        steps: int,
        scores: NDArray[np.float64] | None = None,
    ) -> None:
        """Train on rows (n, D), with scores (n,) where the model wants them.

        Batches of 32 and rate 1e-3, as in arch2vec, for all.
        """
        self.space = space
        features, adjacency = self._arrays(rows)
        choices = torch.from_numpy(rows.astype(np.int64))
        known = None if scores is None else torch.from_numpy(scores.astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = new_model(name, space, features.shape[1])
            adam = torch.optim.Adam(model.parameters(), lr=1e-3)
            for _ in range(steps):
                pick = torch.randint(len(rows), (32,))
                batch = Lesson(features[pick], adjacency[pick], choices[pick])
                adam.zero_grad()
                model.loss(batch if known is None else batch._replace(scores=known[pick])).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                adam.step()
                model.settle()
        self.model = model.eval()
        means = self.means(rows)
        self.centre, self.spread = means.mean(0), means.std(0)  # (V, 16), of the graph VAE (1, 16)

    @torch.inference_mode()
    def draw(self, n: int, seed: int) -> Choices:
        """Decoded rows of n latents from the fitted normal distribution; -1 all over where no row fits."""
        noise = np.random.default_rng(seed).normal(size=(n, *self.centre.shape)).astype(np.float32)
        return self.model.rows(self.centre + self.spread * torch.from_numpy(noise), self.space)

    @torch.inference_mode()
    def loose(self, n: int, seed: int) -> float | None:
        """arch2vec's own validity for fixed topologies: kinds of nodes count, edges do not. None for gvae."""
        if not isinstance(self.model, Arch2Vec):
            return None
        noise = np.random.default_rng(seed).normal(size=(n, *self.centre.shape)).astype(np.float32)
        labels = self.model.labels(self.centre + self.spread * torch.from_numpy(noise))
        return float(_typed(labels.numpy().astype(np.int8)).mean())

    @torch.inference_mode()
    def exact(self, rows: Choices) -> float:
        """Share of rows (n, D) that come back exactly, from the means of their latents."""
        back = self.model.rows(self.means(rows), self.space)
        good = self.space.valid(back)
        same = (self.space.normalise(back[good]) == rows[good]).all(axis=1)
        return float(same.sum()) / len(rows)

    @torch.inference_mode()
    def means(self, rows: Choices) -> Tensor:
        """Latents of rows (n, D), without noise: (n, V, 16), of graph VAEs (n, 1, 16)."""
        parts = [self.model.encode(*self._arrays(rows[i : i + 4096]))[0] for i in range(0, len(rows), 4096)]
        return torch.cat(parts)

    def _arrays(self, rows: Choices) -> tuple[Tensor, Tensor]:
        """One-hot labels (n, V, C), absent last, and A + A^T (n, V, V)."""
        graphs = self.space.graphs(rows)
        labels = torch.from_numpy(graphs.labels.astype(np.int64))
        kinds = len(self.space.operations) + 3
        features = F.one_hot(labels.remainder(kinds), kinds).float()
        adjacency = torch.from_numpy(np.array(graphs.adjacency)).float()
        return features, adjacency + adjacency.mT


def new_model(name: str, space: SearchSpace, nodes: int) -> ContinuousModel:
    """An untrained one by its name."""
    if name == "arch2vec":
        return Arch2Vec(space, nodes)
    if name == "gvae":
        return GraphVae(space, nodes)
    from _convex import ConvexVae  # builds on this module

    return ConvexVae(space, nodes, convex=name == "cr-lso")


def supports(name: str, space: SearchSpace) -> bool:
    """arch2vec's graphs are read back for NAS-Bench-101 and for cells with operations on six fixed edges."""
    return name != "arch2vec" or space.name in ("nasbench101", "nasbench201", "transnasbench101-micro")


def read_graphs(labels: NDArray[np.int8], edges: NDArray[np.bool_], space: SearchSpace) -> Choices:
    """The rows that graphs (n, V), (n, V, V) spell, strictly: -1 all over where they spell none."""
    rows = np.full((len(labels), len(space.decisions)), -1, dtype=np.int8)
    inner = labels[:, 1:-1]
    good = _typed(labels)
    if space.name == "nasbench101":
        sources, targets = (np.array(side) for side in zip(*EDGES, strict=True))
        found = [edges[:, sources, targets].astype(np.int8), np.where(inner == ABSENT, 0, inner - 1)]
        rows[good] = np.concatenate(found, axis=1)[good]
        return rows
    good &= (inner != ABSENT).all(axis=1)
    good &= (edges == space.graphs(space.enumerate()[:1]).adjacency[0]).all(axis=(1, 2))
    rows[good] = inner[good] - 2
    return rows


def _typed(labels: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Graphs (n, V) that begin with an input, end with an output, and have neither in between: (n,)."""
    between = labels[:, 1:-1]
    inner = np.all((between != INPUT) & (between != OUTPUT), axis=1)
    return (labels[:, 0] == INPUT) & (labels[:, -1] == OUTPUT) & inner
