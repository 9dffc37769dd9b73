"""Small neural predictors that read the graph: a sibling-aware transformer, a graph convolution, an MLP.

- `nn-former` (Xu et al., CVPR 2025), written again and small: each attention head sees through one mask, what
  a node is fed by, what it feeds, those that share a successor, those that share a predecessor; the
  feed-forward part mixes along and against the edges; no positional encoding. Theirs has 4.9 M parameters.
- `gcn`: three graph convolutions, each along and against the edges, and a mean (Wen et al., ECCV 2020).
- `mlp`: two hidden layers on one-hot decisions and paths.

Losses: `mse`, or `hinge`, for pairs that should be a margin apart (as PWLNAS recommends for few labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.agents.features import extract
from vitruvius.generator.space import Choices, SearchSpace

WIDTH, LAYERS, STEPS, BATCH, RATE, DECAY = 64, 2, 300, 64, 1e-3, 1e-2
MARGIN = 0.1
SETTINGS = {
    "width": WIDTH, "layers": LAYERS, "steps": STEPS, "batch": BATCH, "rate": RATE, "decay": DECAY,
    "margin": MARGIN,
}  # fmt: skip
Kind = Literal["nn-former", "gcn", "mlp"]
Loss = Literal["mse", "hinge"]


class SiblingLayer(nn.Module):
    """Attention through four masks, then a feed-forward part along and against the edges."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.along, self.against = nn.Linear(width, width), nn.Linear(width, width)
        self.mix = nn.Linear(3 * width, width)

    def forward(self, x: Tensor, masks: Tensor, edges: Tensor) -> Tensor:
        """Nodes (n, V, w), masks (n, 4, V, V), edges (n, V, V) to (n, V, w)."""
        n, nodes, width = x.shape
        split = self.inward(self.norms[0](x)).view(n, nodes, 3, 4, width // 4)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (n, 4, V, w / 4) each
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=masks)
        x = x + self.outward(seen.transpose(1, 2).reshape(n, nodes, width))
        y = self.norms[1](x)
        mixed = torch.cat([y, edges @ self.along(y), edges.mT @ self.against(y)], dim=-1)
        return x + self.mix(F.gelu(mixed))


class SiblingTransformer(nn.Module):
    """`nn-former`."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.node = nn.Linear(kinds, WIDTH)
        self.layers = nn.ModuleList(SiblingLayer(WIDTH) for _ in range(LAYERS))
        self.head = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
        )

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """One-hot labels (n, V, C) and edges (n, V, V) to predictions (n,)."""
        own = torch.eye(edges.shape[1], device=edges.device)
        seen = torch.stack([edges, edges.mT, edges @ edges.mT, edges.mT @ edges], dim=1)
        masks, x = seen + own > 0, self.node(features)
        for layer in self.layers:
            x = layer(x, masks, edges)
        return self.head(x.mean(dim=1))[:, 0]


class GraphConvolution(nn.Module):
    """`gcn`."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        sizes = list(pairwise([kinds, *[WIDTH] * 3]))
        self.along = nn.ModuleList(nn.Linear(before, after) for before, after in sizes)
        self.against = nn.ModuleList(nn.Linear(before, after) for before, after in sizes)
        self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """As above."""
        own = torch.eye(edges.shape[1])
        spread = [joined / joined.sum(dim=-1, keepdim=True) for joined in (edges + own, edges.mT + own)]
        x = features
        for along, against in zip(self.along, self.against, strict=True):
            x = 0.5 * F.relu(spread[0] @ along(x)) + 0.5 * F.relu(spread[1] @ against(x))
        return self.head(x.mean(dim=1))[:, 0]


class Flat(nn.Module):
    """`mlp`: takes (n, F) features and ignores edges."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features, 2 * WIDTH),
            nn.ReLU(),
            nn.Linear(2 * WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """As above."""
        return self.net(features)[:, 0]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What networks of a kind see of rows, with the rows whose scores are known first."""

    features: Tensor
    edges: Tensor

    @staticmethod
    def of(kind: Kind, space: SearchSpace, rows: Choices) -> Inputs:
        """Graphs for those that read graphs, one-hot decisions and path counts for the MLP."""
        graphs = space.graphs(rows)
        edges = torch.from_numpy(np.array(graphs.adjacency)).float()
        if kind == "mlp":
            return Inputs(torch.from_numpy(flat_features(space, rows)).float(), edges)
        kinds = len(space.operations) + 3
        labels = torch.from_numpy(graphs.labels.astype(np.int64)).remainder(kinds)
        return Inputs(F.one_hot(labels, kinds).float(), edges)


def flat_features(space: SearchSpace, rows: Choices) -> NDArray[np.float64]:
    """One-hot decisions and the counts of all patterns, paths included: (n, F)."""
    found = extract(space, rows)
    hot = [rows[:, [i]] == np.arange(len(one.choices)) for i, one in enumerate(space.decisions)]
    return np.concatenate([*hot, *found.histograms], axis=1).astype(np.float64)


def network_predictions(
    kind: Kind, loss: Loss, space: SearchSpace, known: Choices, targets: NDArray[np.float64],
    asked: Choices, seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Train on known rows (n, D) with targets (n,), predict asked rows (m, D): (m,)."""
    inputs = Inputs.of(kind, space, np.concatenate([known, asked]))
    n, y = len(known), torch.from_numpy(targets).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = inputs.features.shape[-1]
        makers = {"nn-former": SiblingTransformer, "gcn": GraphConvolution, "mlp": Flat}
        model = makers[kind](width)
        adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        rate = torch.optim.lr_scheduler.OneCycleLR(adam, 3 * RATE, total_steps=STEPS)
        for _ in range(STEPS):
            pick = torch.randperm(n)[:BATCH]
            found = model(inputs.features[pick], inputs.edges[pick])
            adam.zero_grad()
            (hinge(found, y[pick]) if loss == "hinge" else F.mse_loss(found, y[pick])).backward()
            adam.step()
            rate.step()
    with torch.inference_mode():
        parts = [
            model.eval()(inputs.features[i : i + 2048], inputs.edges[i : i + 2048])
            for i in range(n, n + len(asked), 2048)
        ]
    return torch.cat(parts).numpy().astype(np.float64)


def hinge(found: Tensor, targets: Tensor) -> Tensor:
    """Mean over pairs of what a prediction (n,) lacks to be a margin above that of a worse target."""
    above = (targets[:, None] > targets[None, :]).float()
    short = F.relu(MARGIN - (found[:, None] - found[None, :]))
    return (short * above).sum() / above.sum().clamp(min=1.0)
