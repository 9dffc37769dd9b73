"""AG-Net (Lukasik, Jung and Keuper, ECCV 2022, arXiv 2203.08734), written anew and small.

A generator turns 32 random numbers into an architecture, a predictor reads what it generates, and after every
16 measurements both learn for 30 epochs from all measurements. Kept from the paper and its authors' code: 16
random architectures first; the generator is trained beforehand without any score; measurements are drawn
with weight 1 / (0.01 n + rank), which the loss has as well; the loss is 0.1 times reconstruction of a
measured architecture from a random latent plus 0.9 times the squared error of its predicted score; then
latents uniform in [-3, 3], at most 4,500, until 100 valid architectures are new, and the 16 of these that the
predictor likes best. Four hidden layers in the predictor, Adam with rate 1e-3 and betas 0.5 and 0.999.

What differs: their generator adds the nodes of a graph one by one with message passing; ours says all
decisions of the space at once, so that only the space's own rules can be broken. Scores are scaled to 0..1 by
what was measured so far, since spaces have different units.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.agents.baselines import Curve, Purse
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices, SearchSpace, get_space

Array = NDArray[np.float64]

LATENT, WIDTH, LAYERS = 32, 128, 4
INITIAL = BATCH = 16
EPOCHS, RATE, BETAS = 30, 1e-3, (0.5, 0.999)
WEIGHT, ALPHA = 0.01, 0.9
CANDIDATES, DRAWS = 100, range(100, 1000, 100)
STEPS, PRETRAINING_BATCH, PRETRAINING_RATE = 3000, 32, 2e-4
SETTINGS = {
    "initial": INITIAL, "batch": BATCH, "latent": LATENT, "width": WIDTH, "layers": LAYERS, "epochs": EPOCHS,
    "rate": RATE, "weight": WEIGHT, "alpha": ALPHA, "candidates": CANDIDATES, "steps": STEPS,
}  # fmt: skip
"""Everything that changes the results."""


class AgNet(nn.Module):
    """Generator and predictor: latents (n, 32) to logits of all choices (n, C), and these to scores (n,)."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.counts = [int(count) for count in space.cardinalities]
        choices = sum(self.counts)
        self.generator = nn.Sequential(
            nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, choices)
        )
        hidden = [layer for _ in range(LAYERS) for layer in (nn.Linear(choices, choices), nn.ReLU())]
        self.predictor = nn.Sequential(*hidden, nn.Linear(choices, 1))

    def reconstruction(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Mean cross-entropy of the decisions of rows (n, D): (n,)."""
        parts = logits.split(self.counts, dim=1)
        losses = [F.cross_entropy(part, rows[:, i], reduction="none") for i, part in enumerate(parts)]
        return torch.stack(losses).mean(dim=0)

    def draw(self, logits: Tensor, generator: torch.Generator) -> Choices:
        """Rows (n, D), every decision drawn from its logits by itself; they need not be legal."""
        parts = [part.softmax(dim=1) for part in logits.split(self.counts, dim=1)]
        columns = [torch.multinomial(part, 1, generator=generator) for part in parts]
        return torch.cat(columns, dim=1).numpy().astype(np.int8)


def ag_net(task: Task, evaluations: int, seed: int) -> Curve:
    """One run: what it paid for, in order."""
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are too small to share
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = AgNet(task.space)
        net.generator.load_state_dict(pretrained(task.space.name))
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE, betas=BETAS)
        draws = torch.Generator().manual_seed(seed)
        while purse.open and len(purse.curve.ids) < INITIAL:
            purse.score(purse.draw(rng))
        while purse.open:
            _learn(net, optimiser, *_measured(task, purse.curve), rng)
            chosen = _wanted(net, task.space, set(purse.curve.ids), draws)
            for one in task.space.architectures(chosen):
                if purse.open:
                    purse.score(one)
            if not len(chosen):
                purse.score(purse.draw(rng))
    torch.set_num_threads(threads)
    return purse.curve


@lru_cache(maxsize=4)
def pretrained(name: str) -> dict[str, Tensor]:
    """Weights of a generator that learned from uniform draws of the space and no score, as for all seeds."""
    space, rng = get_space(name), np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = AgNet(space)
        optimiser = torch.optim.Adam(net.generator.parameters(), lr=PRETRAINING_RATE, betas=BETAS)
        for _ in range(STEPS):
            rows = torch.from_numpy(space.sample(PRETRAINING_BATCH, rng).astype(np.int64))
            optimiser.zero_grad()
            net.reconstruction(net.generator(torch.randn(len(rows), LATENT)), rows).mean().backward()
            optimiser.step()
    return net.generator.state_dict()


def _learn(
    net: AgNet, optimiser: torch.optim.Optimizer, rows: Choices, scores: Array, rng: np.random.Generator
) -> None:
    """Thirty epochs over rows (n, D) with their scores (n,), the best most often."""
    ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
    weights = 1.0 / (WEIGHT * len(scores) + ranks)
    span = max(float(np.ptp(scores)), 1e-9)
    x, y = torch.from_numpy(rows.astype(np.int64)), torch.from_numpy((scores - scores.min()) / span).float()
    w = torch.from_numpy(weights).float()
    for _ in range(EPOCHS):
        picks = rng.choice(len(scores), size=len(scores), p=weights / weights.sum())
        for start in range(0, len(picks), BATCH):
            pick = torch.from_numpy(picks[start : start + BATCH])
            logits = net.generator(torch.randn(len(pick), LATENT))
            error = (net.predictor(logits)[:, 0] - y[pick]).square()
            loss = (1 - ALPHA) * net.reconstruction(logits, x[pick]) + ALPHA * error
            optimiser.zero_grad()
            (loss * w[pick]).mean().backward()
            optimiser.step()


@torch.no_grad()
def _wanted(net: AgNet, space: SearchSpace, known: set[str], draws: torch.Generator) -> Choices:
    """The best predicted of about 100 new architectures, best first: (at most 16, D)."""
    found: dict[str, tuple[float, NDArray[np.int8]]] = {}
    for n in DRAWS:
        logits = net.generator(6 * torch.rand(n, LATENT, generator=draws) - 3)
        rows, said = net.draw(logits, draws), net.predictor(logits)[:, 0].tolist()
        legal = np.flatnonzero(space.legal(rows))
        normal = space.normalise(rows[legal])
        for place, row, identity in zip(legal, normal, space.ids(normal), strict=True):
            if identity not in known:
                found.setdefault(identity, (said[place], row))
        if len(found) > CANDIDATES:
            break
    shuffled = torch.randperm(len(found), generator=draws).tolist()[:CANDIDATES]
    every = list(found.values())
    best = sorted((every[i] for i in shuffled), key=lambda one: -one[0])[:BATCH]
    return np.array([row for _, row in best], dtype=np.int8).reshape(-1, len(space.decisions))


def _measured(task: Task, curve: Curve) -> tuple[Choices, Array]:
    """Rows (n, D) of what has a score, and the scores (n,), larger is better."""
    pairs = [(key, score) for key, score in zip(curve.keys, curve.scores, strict=True) if score is not None]
    scores = task.better(np.array([score for _, score in pairs], dtype=np.float64))
    return task.space.rows(task.space.parse(key) for key, _ in pairs), scores
