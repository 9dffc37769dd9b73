"""How far a target follows its sources: learned again from every measurement.

The target is modelled as sum_s b_s m_s(x) + g(x), with m_s what source s predicts and g a Gaussian process of
the target's own. The weights b_s have independent normal priors and may not be negative; their posterior mode
is a small non-negative least squares problem. A source that says nothing about the target, or the opposite of
it, gets weight 0 as soon as the measurements outweigh the prior, which takes a handful.

A source can be right about what is poor, which earns it a weight, and know nothing about which of the good is
best, where a search soon spends its time. So all weights are scaled by how often the target's measurements
are ranked better with the sources than without them, each predicted from the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import distances, extract
from vitruvius.agents.selection import normal_scores
from vitruvius.agents.surrogate import prior_weights
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

TRUST = 0.7
"""Prior mean of the weights of all sources together."""
DOUBT = 1.0
"""Prior standard deviation of the same."""
MEMORY = 300
"""Most measurements that weights are learned from; of more, so many at random."""
SCALE, NOISE = 0.5, 0.15
"""Variance of what the sources do not explain, and of noise: normal scores have variance 1."""
BOOTSTRAPS = 200
"""Bootstrap samples of the measurements that are ranked."""
CLEAR = 2.0
"""Standard errors of a rank correlation from which on it is said to agree or disagree."""
FEWEST_RANKED = 4
"""Measurements from which ranking with the sources is compared with ranking without."""


@dataclass(frozen=True, slots=True)
class Relatedness:
    """How far the target follows each of k sources, as it looks after n measurements.

    Attributes:
        names: The sources.
        agreement: (k,) rank correlation of predicted and measured over uniform draws, nan where it cannot be
            told: among what a search chose for being good, even a source that is right hardly correlates.
        weights: (k,) weights b_s of their predictions as they count, none negative.
        measured: n.
        uniform: How many of these are uniform draws.
    """

    names: tuple[str, ...]
    agreement: Array
    weights: Array
    measured: int
    uniform: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "sources": list(self.names),
            "weights": [round(float(weight), 4) for weight in self.weights],
            "agreement": [None if np.isnan(one) else round(float(one), 4) for one in self.agreement],
            "measured": self.measured,
            "uniform": self.uniform,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Relatedness:
        """Read what `to_json` wrote."""
        uniform = data.get("uniform", 0)  # runs from before it was told have another correlation
        agreement = [np.nan if one is None or not uniform else one for one in data["agreement"]]
        return cls(
            tuple(data["sources"]), np.array(agreement), np.array(data["weights"]), data["measured"], uniform
        )

    def lines(self) -> list[str]:
        """One line for each source, for people."""
        return [
            f"{name} {_agrees(agreement, self.uniform)}: weight {weight:.2f}"
            + (", left out for now" if weight < 0.005 else "")
            for name, agreement, weight in zip(self.names, self.agreement, self.weights, strict=True)
        ]


def relate(
    space: SearchSpace,
    names: Sequence[str],
    measured: Choices,
    scores: Array,
    said: Array,
    uniform: NDArray[np.bool_],
) -> Relatedness:
    """Weights from what was measured on the target.

    Args:
        space: The space.
        names: The k sources.
        measured: (n, D) rows of the target that have a score.
        scores: (n,) their scores, larger is better.
        said: (n, k) what each source predicts for them, as normal scores.
        uniform: (n,) which of them were drawn uniformly.
    """
    few = np.random.default_rng(len(scores)).permutation(len(scores))[:MEMORY]
    targets, ours = normal_scores(scores)[few], said[few]
    if len(scores) < 2:
        weights = _most_likely(np.empty((0, 0)), targets[:0], ours[:0])
    else:
        covariance, ours = _covariance(space, measured[few]), ours - ours.mean(axis=0)
        root: Array = np.linalg.cholesky(covariance).astype(np.float64)
        weights = _most_likely(root, targets, ours)
        if len(scores) >= FEWEST_RANKED and weights.any():
            weights = weights * _ranks_better(covariance, targets, ours @ weights)
    agreement = np.array([rank_agreement(column, scores[uniform]) for column in said[uniform].T])
    return Relatedness(tuple(names), agreement, weights, len(scores), int(uniform.sum()))


def _most_likely(root: Array, targets: Array, said: Array) -> Array:
    """Posterior mode of the weights: (k,), none negative.

    Args:
        root: (n, n) Cholesky factor of the covariance of what the sources do not explain.
        targets: (n,) normal scores of what was measured.
        said: (n, k) centred predictions.
    """
    k = said.shape[1]
    prior, spread = np.full(k, TRUST / k), DOUBT / np.sqrt(k)
    ours = solve_triangular(root, said, lower=True) if len(said) else said
    seen = solve_triangular(root, targets, lower=True) if len(said) else targets
    half = np.linalg.cholesky(np.eye(k) / spread**2 + ours.T @ ours)
    weights, _ = nnls(half.T, solve_triangular(half, prior / spread**2 + ours.T @ seen, lower=True))
    return weights


def _ranks_better(covariance: Array, targets: Array, expected: Array) -> float:
    """How often measurements are ranked better with the sources than without, each left out in turn: 0 to 1.

    Args:
        covariance: (n, n) of what the sources do not explain.
        targets: (n,) normal scores of what was measured.
        expected: (n,) what the sources say together.
    """
    inverse: Array = np.linalg.inv(covariance).astype(np.float64)
    without, rest = (left_out(inverse, values) for values in (targets, targets - expected))
    rng = np.random.default_rng(len(targets))
    return float(ranking_weights(np.column_stack([expected + rest, without]), targets, rng)[0])


def left_out(inverse: Array, targets: Array) -> Array:
    """What a Gaussian process predicts of each of n targets from all others: (n,).

    Args:
        inverse: (n, n) inverse of the covariance, noise included.
        targets: (n,) what was measured (Rasmussen and Williams, 2006, equation 5.12).
    """
    return targets - (inverse @ targets) / np.diag(inverse)


def ranking_weights(predicted: Array, targets: Array, rng: np.random.Generator) -> Array:
    """How often each of k predictions ranks a bootstrap sample of n targets best: (k,), sum 1.

    The weights of RGPE (Feurer, Letham and Bakshy, 2018): a pair in the wrong order, or not told apart, is an
    error; who makes the fewest wins the sample, several share it.

    Args:
        predicted: (n, k) predictions.
        targets: (n,) what was measured.
        rng: Draws the samples.
    """
    above = targets[:, None] > targets[None, :]
    wrong = (predicted[:, None, :] <= predicted[None, :, :]) & above[:, :, None]
    drawn = rng.integers(len(targets), size=(BOOTSTRAPS, len(targets)))
    times = np.array([np.bincount(sample, minlength=len(targets)) for sample in drawn], dtype=np.float64)
    errors = [((times @ wrong[:, :, i]) * times).sum(axis=1) for i in range(predicted.shape[1])]
    losses = np.column_stack(errors)
    best = losses == losses.min(axis=1, keepdims=True)
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def rank_agreement(left: Array, right: Array) -> float:
    """Spearman's rank correlation of two (n,); nan for fewer than three or where all are equal."""
    from scipy.stats import rankdata  # here: it loads for half a second

    if len(left) < 3:
        return float("nan")
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (left, right))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def _covariance(space: SearchSpace, measured: Choices) -> Array:
    """Of what the sources do not explain, among measured rows: (n, n)."""
    features = extract(space, measured)
    with threadpool_limits(1, user_api="blas"):
        apart = distances(features, features)
        weights = prior_weights(apart.mean(axis=(1, 2)), measured.shape[1])
        alike = np.exp(-np.tensordot(weights, apart, axes=1))
    return SCALE * (1.0 + alike) + NOISE * np.eye(len(measured))


def _agrees(agreement: float, draws: int) -> str:
    """Whether a source agrees with the uniform draws; less than two standard errors from 0 tell nothing."""
    if not np.isfinite(agreement):
        return "is not compared yet"
    told = "agrees" if agreement >= 0 else "disagrees"
    if abs(agreement) * math.sqrt(draws - 1) < CLEAR:
        told = "is unclear so far"
    return f"{told} (rank correlation {agreement:+.2f} on {draws} uniform draws)"
