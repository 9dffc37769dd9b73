"""Published searchers as rivals, each with its authors' settings: BANANAS, NAS-BOWL, and TPE from Optuna.

All buy through a `Purse`: validation scores only, each identity paid for once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.baselines import Curve, Purse
from vitruvius.agents.features import extract
from vitruvius.agents.offspring import mutate
from vitruvius.agents.selection import log_improvement, normal_scores
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices, Graphs, SearchSpace

Array = NDArray[np.float64]
Propose = Callable[[Choices, np.random.Generator], Choices]
"""From measured rows, best first, to candidates."""
Value = Callable[[Choices, Array, Choices, np.random.Generator], Array]
"""From measured rows, their scores and candidates (m, D) to how much each candidate is wanted (m,)."""

INITIAL = 10
"""Random architectures that BANANAS and NAS-BOWL begin with."""
BANANAS: dict[str, Any] = {
    "batch": 10, "candidates": 100, "networks": 5, "layers": 10, "width": 20, "rate": 0.01, "epochs": 150,
}  # fmt: skip
NAS_BOWL: dict[str, Any] = {"batch": 5, "candidates": 200, "parents": 10, "rounds": [0, 1, 2]}
SETTINGS: dict[str, dict[str, Any]] = {
    "bananas": {"initial": INITIAL, **BANANAS},
    "nas-bowl": {"initial": INITIAL, **NAS_BOWL},
    "tpe": {},
}
"""Everything about each that changes its results; Optuna's sampler has its defaults."""


def tpe(task: Task, evaluations: int, seed: int) -> Curve:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), Optuna's with its defaults.

    It is told the score of each architecture that it asks for, known or not; illegal ones are failed trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    purse, space = Purse(task, evaluations), task.space
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range((20 if purse.feasible is None else 200) * evaluations):
        if not purse.open:
            break
        trial = study.ask()
        drawn = [trial.suggest_categorical(d.name, list(range(len(d.choices)))) for d in space.decisions]
        row = np.array([drawn], dtype=np.int8)
        score = (
            purse.score(space.architectures(space.normalise(row))[0]) if space.legal(row)[0] else -math.inf
        )
        if math.isfinite(score):
            study.tell(trial, score)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return purse.curve


def bananas(task: Task, evaluations: int, seed: int) -> Curve:
    """BANANAS (White, Neiswanger and Savani, AAAI 2021).

    An ensemble of networks on the path encoding, not truncated; candidates are mutated from the best, and
    chosen by independent Thompson sampling.
    """

    def value(rows: Choices, scores: Array, candidates: Choices, rng: np.random.Generator) -> Array:
        paths = extract(task.space, np.concatenate([rows, candidates])).histograms[2] > 0
        mean, std = _ensemble(paths[: len(rows)], scores, paths[len(rows) :], int(rng.integers(2**31)))
        return rng.normal(mean, std)

    def propose(best: Choices, rng: np.random.Generator) -> Choices:
        return mutate(task.space, best[: BANANAS["batch"]], BANANAS["candidates"], rng)

    return _in_rounds(task, evaluations, seed, BANANAS["batch"], propose, value)


def nas_bowl(task: Task, evaluations: int, seed: int) -> Curve:
    """NAS-BOWL (Ru, Wan, Dong and Osborne, ICLR 2021): Gaussian process on Weisfeiler-Lehman histograms.

    Candidates are half mutated from the best and half random; the number of relabellings is the one with the
    largest marginal likelihood; chosen by expected improvement.
    """

    def value(rows: Choices, scores: Array, candidates: Choices, rng: np.random.Generator) -> Array:
        del rng
        histograms = relabelled(task.space.graphs(np.concatenate([rows, candidates])), NAS_BOWL["rounds"])
        return max((_fitted(h, scores) for h in histograms), key=lambda found: found[0])[1]

    def propose(best: Choices, rng: np.random.Generator) -> Choices:
        half = NAS_BOWL["candidates"] // 2
        near = mutate(task.space, best[: NAS_BOWL["parents"]], half, rng)
        return np.concatenate([near, task.space.sample(half, rng)])

    return _in_rounds(task, evaluations, seed, NAS_BOWL["batch"], propose, value)


PEERS: dict[str, Callable[[Task, int, int], Curve]] = {"tpe": tpe, "bananas": bananas, "nas-bowl": nas_bowl}
"""By the names that `search.py` takes."""


def _in_rounds(task: Task, evaluations: int, seed: int, batch: int, propose: Propose, value: Value) -> Curve:
    """Random architectures, then rounds: candidates that are new, and the most wanted of them measured."""
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    while purse.open and len(purse.curve.ids) < INITIAL:
        purse.score(purse.draw(rng))
    while purse.open:
        rows, scores = _measured(task, purse.curve)
        candidates = _new(task.space, propose(rows[np.argsort(-scores, kind="stable")], rng), purse.curve.ids)
        if purse.feasible is not None:
            candidates = candidates[purse.feasible.allows(candidates)]
        if len(candidates) == 0:
            purse.score(purse.draw(rng))
            continue
        wanted = value(rows, scores, candidates, rng)
        for one in task.space.architectures(candidates[np.argsort(-wanted, kind="stable")[:batch]]):
            if purse.open:
                purse.score(one)
    return purse.curve


def _measured(task: Task, curve: Curve) -> tuple[Choices, Array]:
    """Rows (n, D) of what has a score, and the scores (n,), larger is better."""
    pairs = [(key, score) for key, score in zip(curve.keys, curve.scores, strict=True) if score is not None]
    scores = task.better(np.array([score for _, score in pairs], dtype=np.float64))
    return task.space.rows(task.space.parse(key) for key, _ in pairs), scores


def _new(space: SearchSpace, rows: Choices, known: list[str]) -> Choices:
    """The first of each identity that is not known."""
    first: dict[str, int] = {}
    for position, identity in enumerate(space.ids(rows)):
        first.setdefault(identity, position)
    return rows[[position for identity, position in first.items() if identity not in set(known)]]


def _ensemble(known: NDArray[Any], scores: Array, asked: NDArray[Any], seed: int) -> tuple[Array, Array]:
    """Mean and standard deviation over networks that differ in how they begin: (m,) each.

    The published loss: absolute error relative to the best, here of scores scaled to 0..1.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    sizes = [known.shape[1], *[BANANAS["width"]] * BANANAS["layers"], 1]
    nets, inputs = BANANAS["networks"], torch.tensor(known, dtype=torch.float32)
    layers: list[torch.Tensor] = []
    for left, right in itertools.pairwise(sizes):
        bound = math.sqrt(6.0 / (left + right))  # Glorot, as in Keras
        layers.append((torch.rand(nets, left, right, generator=generator) * 2 - 1) * bound)
        layers.append(torch.zeros(nets, 1, right))
    low, high = float(scores.min()), float(scores.max())
    targets = torch.tensor((scores - low) / max(high - low, 1e-9), dtype=torch.float32)

    def forward(x: torch.Tensor) -> torch.Tensor:
        hidden = x.expand(nets, *x.shape)
        for at in range(0, len(layers), 2):
            hidden = torch.baddbmm(layers[at + 1], hidden, layers[at])
            hidden = torch.relu(hidden) if at + 2 < len(layers) else hidden
        return hidden[:, :, 0]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are too small to share
    for layer in layers:
        layer.requires_grad_()
    optimiser = torch.optim.Adam(layers, lr=BANANAS["rate"])
    for _ in range(BANANAS["epochs"]):
        loss = ((forward(inputs) - targets).abs() / (1.1 - targets)).mean(dim=1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = forward(torch.tensor(asked, dtype=torch.float32)).numpy().astype(np.float64)
    torch.set_num_threads(threads)
    return found.mean(axis=0), found.std(axis=0)


def relabelled(graphs: Graphs, rounds: list[int]) -> list[Array]:
    """Weisfeiler-Lehman histograms (n, F) after each number of relabellings by the sorted predecessors."""
    labels: NDArray[np.int64] = graphs.labels.astype(np.int64)
    nodes = int(graphs.labels.shape[1])
    counts: list[Array] = []
    found: list[Array] = []
    for step in range(max(rounds) + 1):
        names, where = np.unique(labels, return_inverse=True)
        held = np.zeros((len(labels), len(names)))
        np.add.at(held, (np.repeat(np.arange(len(labels)), nodes), where.reshape(-1)), 1.0)
        counts.append(held)
        if step in rounds:
            found.append(np.concatenate(counts, axis=1))
        told = np.where(graphs.adjacency, labels[:, :, None], -1)  # [n, i, j]: what node i tells node j
        words = np.concatenate([labels[:, None, :], np.sort(told, axis=1)], axis=1)
        flat = np.moveaxis(words, 1, 2).reshape(-1, words.shape[1])
        labels = np.unique(flat, axis=0, return_inverse=True)[1].reshape(labels.shape)
    return found


def _fitted(histograms: Array, scores: Array) -> tuple[float, Array]:
    """Log marginal likelihood, and the log expected improvement of the rows that follow the scored ones."""
    unit = histograms / np.linalg.norm(histograms, axis=1, keepdims=True)
    targets, n = normal_scores(scores), len(scores)
    best: tuple[float, Array] = (-math.inf, np.empty(0))
    for noise in (1e-3, 1e-2, 1e-1):
        factor = np.linalg.cholesky(unit[:n] @ unit[:n].T + noise * np.eye(n))
        half = np.linalg.solve(factor, targets)
        scale = max(float(half @ half) / n, 1e-9)
        likelihood = -0.5 * n * math.log(scale) - float(np.log(np.diag(factor)).sum())
        white = np.linalg.solve(factor, unit[:n] @ unit[n:].T)
        std = np.sqrt(scale * np.maximum(1.0 - (white * white).sum(axis=0), 1e-9))
        if likelihood > best[0]:
            best = (likelihood, log_improvement(half @ white - float(targets.max()), std))
    return best
