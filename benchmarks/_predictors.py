"""Predictors that `predictor.py` compares: from known scores to mean and deviation of what is asked.

All learn normal scores of the ranks, as the surrogate of a session does, and see no cost and no test metric.
Embeddings are learned without scores, from the whole space; a Gaussian process on their distances predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from _continuous import Continuous
from _graph_networks import Kind, Loss, flat_features, network_predictions
from _peers import relabelled
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import distances, extract
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.generator.space import Choices, SearchSpace, get_space

Array = NDArray[np.float64]
Predictor = Callable[[SearchSpace, Choices, Array, Choices, int], tuple[Array, Array]]
"""(space, known rows (n, D), targets (n,), asked rows (m, D), seed) -> mean (m,), deviation (m,)."""

Apart = Literal["hamming", "cityblock", "sqeuclidean"]
"""Distances between rows of numbers for which the kernel is positive definite."""

MEMBERS = 3
"""Networks of an ensemble, which differ in how they begin."""
TREES = 300
ARCH2VEC_STEPS = 3000
"""Steps of 32 rows; theirs are ten passes over the space, 4,400 steps on NAS-Bench-201."""


def surrogate(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """The product's: decisions and graph histograms, a learned weight for each."""
    both = extract(space, np.concatenate([known, asked]))
    left, right = both.take(slice(None, len(known))), both.take(slice(len(known), None))
    across = distances(left, right)
    prior = prior_weights(across.mean(axis=(1, 2)), known.shape[1])
    return _process(distances(left, left), across, targets, prior)


def hamming(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """Gaussian process on the number of unequal decisions."""
    return _single(known.astype(np.float64), asked.astype(np.float64), targets, "hamming")


def weisfeiler(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """Gaussian process on Weisfeiler-Lehman histograms after two relabellings, as NAS-BOWL counts them."""
    histograms = relabelled(space.graphs(np.concatenate([known, asked])), [2])[0]
    return _single(histograms[: len(known)], histograms[len(known) :], targets, "cityblock")


def codes(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """Gaussian process on the vectors of frozen VQ-VAE codes."""
    vectors = _code_vectors(space.name)
    numbers = space.numbers(space.enumerate())
    left, right = (vectors[np.searchsorted(numbers, space.numbers(rows))] for rows in (known, asked))
    return _single(left, right, targets, "sqeuclidean")


def arch2vec(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """Gaussian process on arch2vec's embeddings: the latents of nodes, summed as in its own code."""
    model = _arch2vec(space.name)
    left, right = (model.means(rows).sum(dim=1).numpy().astype(np.float64) for rows in (known, asked))
    return _single(left, right, targets, "sqeuclidean")


def trees(
    space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
) -> tuple[Array, Array]:
    """Extremely randomised trees on one-hot decisions and paths; deviation over the trees."""
    from sklearn.ensemble import ExtraTreesRegressor

    features = flat_features(space, np.concatenate([known, asked]))
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
    forest.fit(features[: len(known)], targets)
    found = np.array([tree.predict(features[len(known) :]) for tree in forest.estimators_])
    return found.mean(axis=0), found.std(axis=0)


def network(kind: Kind, loss: Loss, members: int = 1) -> Predictor:
    """Networks of this kind; the deviation is that over an ensemble."""

    def predict(
        space: SearchSpace, known: Choices, targets: Array, asked: Choices, seed: int
    ) -> tuple[Array, Array]:
        found = [
            network_predictions(kind, loss, space, known, targets, asked, 1000 * seed + i)
            for i in range(members)
        ]
        unit = (
            [(one - one.mean()) / max(float(one.std()), 1e-9) for one in found] if loss == "hinge" else found
        )
        return np.mean(unit, axis=0), np.std(unit, axis=0)

    return predict


PREDICTORS: dict[str, Predictor] = {
    "surrogate": surrogate,
    "gp-hamming": hamming,
    "gp-wl": weisfeiler,
    "gp-codes": codes,
    "gp-arch2vec": arch2vec,
    "trees": trees,
    "mlp-mse": network("mlp", "mse"),
    "mlp-hinge": network("mlp", "hinge"),
    "gcn-hinge": network("gcn", "hinge"),
    "nn-former-mse": network("nn-former", "mse"),
    "nn-former-hinge": network("nn-former", "hinge"),
    "nn-former-ensemble": network("nn-former", "mse", MEMBERS),
}
"""By the names that `predictor.py` takes."""


def _single(known: Array, asked: Array, targets: Array, metric: Apart) -> tuple[Array, Array]:
    """A Gaussian process on one distance between rows of numbers."""
    across, here = (np.array([cdist(known, rows, metric)], dtype=np.float64) for rows in (asked, known))
    prior = np.array([1.0 / max(float(across.mean()), 1e-9)])
    return _process(here, across, targets, prior)


def _process(here: Array, across: Array, targets: Array, prior: Array) -> tuple[Array, Array]:
    with threadpool_limits(1, user_api="blas"):
        process = GaussianProcess.fit(here, targets, prior)
        white = process.whiten(process.covariance(across))
        mean = process.whiten(targets[:, None])[:, 0] @ white
        variance = np.maximum(2.0 - (white * white).sum(axis=0), 1e-9)
    return mean, np.sqrt(process.scale * variance)


@lru_cache(maxsize=4)
def _code_vectors(name: str) -> Array:
    """Codebook vectors of every architecture, side by side: (size, L * d)."""
    from vitruvius.generator.library import load_or_train

    space = get_space(name)
    codec = load_or_train(space).codec
    vectors = codec.model.quantiser.vectors.numpy()
    return vectors[codec.encode(space.enumerate())].reshape(space.size or 0, -1).astype(np.float64)


@lru_cache(maxsize=4)
def _arch2vec(name: str) -> Continuous:
    space = get_space(name)
    return Continuous("arch2vec", space, space.enumerate(), seed=0, steps=ARCH2VEC_STEPS)
