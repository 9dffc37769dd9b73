"""The surrogate: an exact Gaussian process whose length scales are learned from what was measured.

    k(x, y) = s^2 (1 + exp(-sum_g w_g d_g(x, y)) + t [x = y])

with distances d_g of decisions and of graph histograms (`features`). Each d_g is of negative type, so the
kernel is positive definite for all w_g >= 0. Weights w and noise t are the maximum of the marginal likelihood
times log-normal priors that treat all decisions alike; the scale s^2 has an inverse gamma prior and is
integrated in closed form at its mode. A weight near zero means "this kind of difference does not matter".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

SPREAD = 1.0
"""Standard deviation of each log weight under its prior."""
NOISE, NOISE_SPREAD = 0.05, 1.5
"""Median of the noise share, and standard deviation of its logarithm."""
TOTAL = 1.0
"""Prior median of the weighted distance between two architectures drawn at random."""
STEPS = 30
"""Most steps of the optimiser: enough at every size that was tried."""


def prior_weights(typical: Array, decisions: int) -> Array:
    """Median of each weight under its prior: (G,).

    The decisions together and each histogram get equal shares of `TOTAL`; a histogram is measured in its
    typical distance, all decisions alike in their sum.

    Args:
        typical: (G,) mean of each distance between architectures that may occur, the decisions' first.
        decisions: How many of them belong to decisions.
    """
    share = TOTAL / (len(typical) - decisions + 1)
    weights = np.empty(len(typical))
    weights[:decisions] = share / max(float(typical[:decisions].sum()), 1e-3)
    weights[decisions:] = share / np.maximum(typical[decisions:], 1e-3)
    return weights


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        weights: (G,) weight of each distance.
        noise: Noise variance as a share of the scale.
        scale: Signal variance s^2.
        factor: (n, n) lower Cholesky factor of the covariance, in units of the scale.
        solved: (n,) inverse covariance times targets.
    """

    weights: Array
    noise: float
    scale: float
    factor: Array
    solved: Array

    @staticmethod
    def fit(distances: Array, targets: Array, prior_weights: Array) -> GaussianProcess:
        """Fit to what was measured.

        Args:
            distances: (G, n, n) distances among what was measured.
            targets: (n,) values of mean near 0 and variance near 1.
            prior_weights: (G,) median of each weight under its prior.
        """
        prior = np.log(np.append(prior_weights, NOISE))
        bounds = [(p - 6.0, p + 4.0) for p in prior]
        found = minimize(
            loss, prior, args=(distances, targets, prior), jac=True, method="L-BFGS-B",
            bounds=bounds, options={"maxiter": STEPS},
        )  # fmt: skip
        weights, noise = np.exp(found.x[:-1]), float(np.exp(found.x[-1]))
        covariance = 1.0 + _kernel(weights, distances) + noise * np.eye(len(targets))
        factor: Array = np.linalg.cholesky(covariance).astype(np.float64)
        half = solve_triangular(factor, targets, lower=True)
        solved = solve_triangular(factor.T, half, lower=False)
        scale = float(half @ half + 1.0) / (len(targets) + 1.0)
        return GaussianProcess(weights, noise, scale, factor, solved)

    def covariance(self, distances: Array) -> Array:
        """Prior covariance for distances (G, n, m), in units of the scale: (n, m)."""
        return 1.0 + _kernel(self.weights, distances)

    def whiten(self, covariance: Array) -> Array:
        """Covariance (n, m) with what was measured, divided by the Cholesky factor: (n, m)."""
        return solve_triangular(self.factor, covariance, lower=True)


def _kernel(weights: Array, distances: Array) -> Array:
    similar: Array = np.exp(-np.tensordot(weights, distances, axes=1))
    return similar


def loss(point: Array, distances: Array, targets: Array, prior: Array) -> tuple[float, Array]:
    """Negative log posterior and its gradient.

    Args:
        point: (G + 1,) logarithms of the weights and of the noise.
        distances: (G, n, n) distances among what was measured.
        targets: (n,) values to explain.
        prior: (G + 1,) prior medians of the point.

    Returns:
        The value up to a constant, and the gradient (G + 1,).
    """
    weights, noise, n = np.exp(point[:-1]), float(np.exp(point[-1])), len(targets)
    similar = _kernel(weights, distances)
    factor = np.linalg.cholesky(1.0 + similar + noise * np.eye(n))
    root = solve_triangular(factor, np.eye(n), lower=True)
    inverse = root.T @ root
    solved = inverse @ targets
    scale = (targets @ solved + 1.0) / (n + 1.0)
    inner = inverse - np.outer(solved, solved) / scale
    away = (point - prior) / np.append(np.full(len(weights), SPREAD), NOISE_SPREAD)
    value = 0.5 * (n + 1.0) * np.log(scale) + np.log(np.diag(factor)).sum() + 0.5 * away @ away
    gradient = np.empty(len(point))
    gradient[:-1] = -0.5 * weights * np.tensordot(distances, inner * similar, axes=2)
    gradient[-1] = 0.5 * noise * np.trace(inner)
    gradient += away / np.append(np.full(len(weights), SPREAD), NOISE_SPREAD)
    return float(value), gradient
