"""The VQ-VAE: architecture -> short tuple of codebook indices -> architecture. All of it is in this file.

The encoder reads the labelled graph of an architecture (`SearchSpace.graphs`), passes messages along
and against its edges, and leaves one vector on each node that gets a code; the quantiser replaces each by the
nearest of K learned vectors, and the index of that vector is the node's *code*. The decoder reads
all chosen vectors at once and says for every decision of the space how likely each choice is. No
accuracy, cost or other measurement enters anywhere.

Sources: van den Oord et al. 2017 (VQ-VAE, codebook by moving averages: appendix A.1), Xu et al. 2019
(GIN), Dhariwal et al. 2020 (restart of dead codes). Shapes: n architectures, V nodes of a graph,
L nodes with a code, K codes of d numbers, width w, D decisions, C choices of all decisions together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Sizes:
    """Everything that fixes the shapes of a VQ-VAE.

    Attributes:
        operations: Operations of the space; node labels are input, output, these, and absent.
        nodes: V, nodes of each graph.
        cardinalities: Number of choices of each decision.
        code_nodes: The nodes that get a code.
        codes: K, vectors in the codebook.
        dimension: d, length of each.
        width: w, width of the message passing.
        layers: Rounds of message passing.
        hidden: Width of the decoder.
    """

    operations: int
    nodes: int
    cardinalities: tuple[int, ...]
    code_nodes: tuple[int, ...]
    codes: int = 64
    dimension: int = 32
    width: int = 64
    layers: int = 2
    hidden: int = 256

    @property
    def length(self) -> int:
        """L, codes of each architecture."""
        return len(self.code_nodes)

    def as_dict(self) -> dict[str, object]:
        """The sizes as plain data, for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sizes:
        """Read what `as_dict` wrote, after a round through JSON."""
        lists = {name: tuple(data[name]) for name in ("cardinalities", "code_nodes")}
        fields: dict[str, Any] = {**data, **lists}
        return cls(**fields)


class Batch(NamedTuple):
    """Graphs of n architectures joined into one graph of n * V nodes."""

    labels: Tensor  # (n, V) long, 0 input, 1 output, 2 + operation, last: absent
    edges: Tensor  # (2, E) long, from row 0 to row 1, numbered through all graphs


def build_batch(labels: Tensor, adjacency: Tensor) -> Batch:
    """Join graphs given as arrays, without an object for each.

    Args:
        labels: (n, V) node labels as in `Graphs`, absent = -1.
        adjacency: (n, V, V) bool.

    Returns:
        The joined graph; absent nodes have the label -1 still.
    """
    graph, source, target = adjacency.nonzero(as_tuple=True)  # (E,) each
    first = graph * labels.shape[1]
    return Batch(labels.long(), torch.stack([first + source, first + target]))


class Round(nn.Module):
    """One round of message passing, GIN with messages along and against the edges kept apart."""

    def __init__(self, width: int) -> None:
        from torch_geometric.nn.aggr import SumAggregation  # seconds to import, and not needed to say no

        super().__init__()
        self.gather = SumAggregation()  # not `MessagePassing`, which leaves a file behind in every process
        self.mix = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """States of all nodes (n * V, w) and edges (2, E) to new states (n * V, w)."""
        source, target = edges
        ahead = self.gather(x[source], target, dim_size=len(x))  # (n * V, w)
        back = self.gather(x[target], source, dim_size=len(x))  # (n * V, w)
        return self.norm(x + self.mix(torch.cat([x, ahead, back], dim=1)))


class Encoder(nn.Module):
    """Graphs -> one vector for each node that gets a code."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.labels = sizes.operations + 3
        self.nodes, self.code_nodes = sizes.nodes, list(sizes.code_nodes)
        self.node = nn.Embedding(sizes.nodes * self.labels, sizes.width)  # what it is, and where
        self.rounds = nn.ModuleList([Round(sizes.width) for _ in range(sizes.layers)])
        self.out = nn.Linear(sizes.width, sizes.dimension)

    def forward(self, batch: Batch) -> Tensor:
        """Returns (n, L, d)."""
        place = torch.arange(self.nodes, device=batch.labels.device) * self.labels  # (V,)
        what = batch.labels.remainder(self.labels) + place  # (n, V); absent, -1, becomes the last label
        x = self.node(what.flatten())  # (n * V, w)
        for layer in self.rounds:
            x = layer(x, batch.edges)
        named = x.view(*batch.labels.shape, -1)[:, self.code_nodes]  # (n, L, w)
        return self.out(named)


class Quantiser(nn.Module):
    """The codebook: K vectors, each a moving average of the encoder's vectors that chose it."""

    vectors: Tensor  # (K, d)
    counts: Tensor  # (K,) moving average of how often each is chosen in a batch
    sums: Tensor  # (K, d) moving average of the sum of vectors that chose it

    def __init__(self, codes: int, dimension: int, decay: float = 0.97) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("vectors", torch.zeros(codes, dimension))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.zeros(codes, dimension))

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the nearest codebook vector, by squared distance: (..., d) -> (...)."""
        away = self.vectors.square().sum(1) - 2 * z @ self.vectors.T  # (..., K), less |z|^2
        return away.argmin(-1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs (n, L, d) to codes (n, L) and vectors (n, L, d) with straight-through gradient."""
        codes = self.nearest(z)
        return codes, z + (self.vectors[codes] - z).detach()

    @torch.no_grad()
    def start(self, z: Tensor, generator: torch.Generator, rounds: int = 8) -> None:
        """Set the codebook from encoder outputs (m, d): spread-out picks, then a few rounds of k-means.

        Without this most codes are never chosen, and a codebook that starts far from the encoder's
        outputs can make the encoder collapse.
        """
        picks = [int(torch.randint(len(z), (1,), generator=generator))]
        away = (z - z[picks[0]]).square().sum(1)  # (m,) squared distance to the nearest pick
        for _ in range(len(self.vectors) - 1):  # k-means++
            chance = away + 1e-12
            picks.append(int(torch.multinomial(chance, 1, generator=generator)))
            away = torch.minimum(away, (z - z[picks[-1]]).square().sum(1))
        self.vectors.copy_(z[picks])
        for _ in range(rounds):
            counts, sums = self._tally(z)
            used = counts > 0
            self.vectors[used] = sums[used] / counts[used, None]
        counts, _ = self._tally(z)
        self.counts.copy_(counts.clamp(min=1e-3))
        self.sums.copy_(self.vectors * self.counts[:, None])

    @torch.no_grad()
    def follow(self, z: Tensor) -> None:
        """Move the codebook towards encoder outputs (m, d) (van den Oord et al. 2017, eq. 6 to 8)."""
        counts, sums = self._tally(z)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.vectors.copy_(self.sums / self.counts.clamp(min=1e-6)[:, None])

    @torch.no_grad()
    def restart(self, z: Tensor, generator: torch.Generator, below: float = 0.05) -> int:
        """Move codes that are hardly chosen any more onto outputs that are served worst; returns how many.

        Args:
            z: Encoder outputs (m, d).
            generator: Randomness.
            below: A code is dead when chosen less often than this in an average batch.
        """
        dead = (self.counts < below).nonzero().flatten()
        if not len(dead):
            return 0
        badly = (z - self.vectors[self.nearest(z)]).square().sum(1)  # (m,)
        if float(badly.sum()) <= 1e-9:
            return 0
        picks = z[torch.multinomial(badly + 1e-12, len(dead), generator=generator)]
        self.vectors[dead], self.sums[dead], self.counts[dead] = picks, picks, 1.0
        return len(dead)

    def _tally(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """How many of (m, d) choose each code, and their sums: (K,), (K, d)."""
        codes = self.nearest(z)
        counts = torch.bincount(codes, minlength=len(self.vectors)).to(z.dtype)
        return counts, torch.zeros_like(self.vectors).index_add_(0, codes, z)


class Decoder(nn.Module):
    """Codebook vectors of one architecture -> logits of each choice of each decision."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(sizes.length * sizes.dimension, sizes.hidden),
            nn.ReLU(),
            nn.Linear(sizes.hidden, sizes.hidden),
            nn.ReLU(),
            nn.Linear(sizes.hidden, sum(sizes.cardinalities)),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, L, d) -> (n, C): the logits of all decisions side by side."""
        return self.net(vectors.flatten(1))


class VQVAE(nn.Module):
    """Encoder, quantiser and decoder."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = Encoder(sizes)
        self.quantiser = Quantiser(sizes.codes, sizes.dimension)
        self.decoder = Decoder(sizes)

    def codes(self, batch: Batch) -> Tensor:
        """Codes of the architectures: (n, L)."""
        return self.quantiser.nearest(self.encoder(batch))

    def choices(self, codes: Tensor) -> Tensor:
        """The likeliest choice of each decision for codes (n, L): (n, D), legal or not."""
        logits = self.decoder(self.quantiser.vectors[codes])  # (n, C)
        parts = logits.split(self.sizes.cardinalities, dim=1)
        return torch.stack([part.argmax(1) for part in parts], dim=1)

    def reconstruction(self, logits: Tensor, choices: Tensor) -> Tensor:
        """Cross-entropy in nats of an architecture: logits (n, C), choices (n, D) -> ()."""
        parts = logits.split(self.sizes.cardinalities, dim=1)
        losses = [F.cross_entropy(part, choices[:, column]) for column, part in enumerate(parts)]
        return torch.stack(losses).sum()
