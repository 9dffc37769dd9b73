"""Control: CR-LSO (Rao et al., arXiv 2211.05950), its graph VAE with the convex performance network.

The score that is predicted at a latent z is 1 - f(z). f is an input-convex network (Amos et al., ICML 2017):
what it passes on from layer to layer has no negative weight, so f is convex, and the prediction has one
summit, which a gradient finds from everywhere. Kept: four layers of 128, weights clamped after each step,
squared error added to the loss of the VAE, and how it searches (`Steered.draw`). Other than there:
pseudo-labels are those of our Gaussian process, which the guide reads too, in place of their graph network;
lengths count in deviations of the latents, which are larger here; sizes and batches of the VAE are those of
`_continuous.py`; and nothing is measured, so nothing tuned, between the draws. `free` is the same without the
bounds: what convexity is worth.
"""

from __future__ import annotations

import numpy as np
import torch
from _continuous import LATENT, Continuous, GraphVae, Lesson
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.agents.posterior import predict
from vitruvius.generator.space import Choices, SearchSpace

LABELS = 300
"""Labelled cells that CR-LSO's own predictor learns from on NAS-Bench-201."""
BEST, NOISE, STEP, MOST = 10, 0.5, 0.2, 20
"""So many of the best to start from, noise on them, the step uphill, and how many times that at most."""


class Performance(nn.Module):
    """f: latents (n, 16) to (n,); convex if `convex`."""

    def __init__(self, convex: bool, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.convex = convex
        sizes = [width] * layers + [1]
        self.direct = nn.ModuleList(nn.Linear(LATENT, size) for size in sizes)
        self.onward = nn.ModuleList(nn.Linear(width, size, bias=False) for size in sizes[1:])
        self.clamp()

    def forward(self, z: Tensor) -> Tensor:
        first, *others = self.direct
        h = first(z)
        for direct, onward in zip(others, self.onward, strict=True):
            h = direct(z) + onward(F.leaky_relu(h))  # convex and rising, so f stays convex
        return h[:, 0]

    @torch.no_grad()
    def clamp(self) -> None:
        """Take back what would break convexity."""
        for layer in self.onward if self.convex else ():
            next(layer.parameters()).clamp_(min=0)


class ConvexVae(GraphVae):
    """The graph VAE whose latents must also let the score be predicted."""

    def __init__(self, space: SearchSpace, nodes: int, *, convex: bool) -> None:
        super().__init__(space, nodes)
        self.performance = Performance(convex)

    def loss(self, batch: Lesson) -> Tensor:
        assert batch.scores is not None, "this model learns from scores"
        loss, z = self.loss_and_latents(batch)
        return loss + (self.score(z) - batch.scores).square().mean()

    def score(self, z: Tensor) -> Tensor:
        """Predicted score of latents (n, 1, 16): (n,)."""
        return 1 - self.performance(z[:, 0])

    def settle(self) -> None:
        self.performance.clamp()


class Steered:
    """Draws from a trained one that follow the gradient of its predicted score."""

    def __init__(self, control: Continuous) -> None:
        """Take a control whose model is a `ConvexVae`."""
        assert isinstance(control.model, ConvexVae), "only this one predicts"
        self.control, self.model = control, control.model

    def draw(self, known: Choices, scores: NDArray[np.float64], n: int, seed: int) -> Choices:
        """As CR-LSO searches: from the best known with noise, one step uphill, longer ones until it is new.

        Args:
            known: (m, D) labelled rows.
            scores: (m,) their scores, larger is better.
            n: Draws.
            seed: Of the noise.

        Returns:
            (n, D) decoded rows, repeats kept where even the longest step found nothing new.
        """
        space = self.control.space
        best = self.control.means(known[np.argsort(-scores, kind="stable")[:BEST]])  # (10, 1, 16)
        noise = np.random.default_rng(seed).normal(size=(n, 1, LATENT)).astype(np.float32)
        unit = self.control.spread.mean()
        z = (best[torch.arange(n) % len(best)] + NOISE * unit * torch.from_numpy(noise)).requires_grad_()
        (uphill,) = torch.autograd.grad(self.model.score(z).sum(), z)
        uphill = uphill / uphill.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        lengths = STEP * unit * (1 + torch.arange(MOST))[:, None, None, None]  # (20, 1, 1, 1)
        with torch.inference_mode():
            tried = (z + lengths * uphill).flatten(0, 1)  # (20 * n, 1, 16)
            rows = self.model.rows(tried, space).reshape(MOST, n, -1)
        seen = set(space.ids(known))
        found = rows[-1].copy()
        good = space.valid(rows.reshape(MOST * n, -1)).reshape(MOST, n)
        for place in range(n):
            for row in rows[good[:, place], place]:
                identity = space.ids(space.normalise(row[None]))[0]
                if identity not in seen:
                    seen.add(identity)
                    found[place] = row
                    break
        return found


def pseudo_scores(
    space: SearchSpace, known: Choices, scores: NDArray[np.float64], rows: Choices, seed: int
) -> NDArray[np.float64]:
    """The quantile, 0 to 1, of what is predicted for rows (n, D) from labelled ones: (n,)."""
    mean = predict(space, known, scores, rows, seed=seed).mean
    return np.argsort(np.argsort(mean, kind="stable"), kind="stable") / (len(mean) - 1)
