"""How far a target follows its sources: learned again from every measurement.

The target is modelled as sum_s b_s m_s(x) + g(x), with m_s what source s predicts and g a Gaussian process of
the target's own. The weights b_s have independent normal priors and may not be negative; their posterior mode
is a small non-negative least squares problem. A source that says nothing about the target, or the opposite of
it, gets weight 0 as soon as the measurements outweigh the prior, which takes a handful.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import nnls
from scipy.stats import rankdata
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


@dataclass(frozen=True, slots=True)
class Relatedness:
    """How far the target follows each of k sources, as it looks after n measurements.

    Attributes:
        names: The sources.
        agreement: (k,) rank correlation of predicted and measured, nan where it cannot be told.
        weights: (k,) weights b_s of their predictions, none negative.
        measured: n.
    """

    names: tuple[str, ...]
    agreement: Array
    weights: Array
    measured: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "sources": list(self.names),
            "weights": [round(float(weight), 4) for weight in self.weights],
            "agreement": [None if np.isnan(one) else round(float(one), 4) for one in self.agreement],
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Relatedness:
        """Read what `to_json` wrote."""
        agreement = [np.nan if one is None else one for one in data["agreement"]]
        return cls(tuple(data["sources"]), np.array(agreement), np.array(data["weights"]), data["measured"])

    def lines(self) -> list[str]:
        """One line for each source, for people."""
        return [
            f"{name} {_agrees(agreement, self.measured)}: weight {weight:.2f}"
            + (", left out for now" if weight < 0.005 else "")
            for name, agreement, weight in zip(self.names, self.agreement, self.weights, strict=True)
        ]


def relate(
    space: SearchSpace, names: Sequence[str], measured: Choices, scores: Array, said: Array
) -> Relatedness:
    """Weights from what was measured on the target.

    Args:
        space: The space.
        names: The k sources.
        measured: (n, D) rows of the target that have a score.
        scores: (n,) their scores, larger is better.
        said: (n, k) what each source predicts for them, as normal scores.
    """
    k = len(names)
    prior, spread = np.full(k, TRUST / k), DOUBT / np.sqrt(k)
    precision, pull = np.eye(k) / spread**2, prior / spread**2
    if len(scores) > 1:
        few = np.random.default_rng(len(scores)).permutation(len(scores))[:MEMORY]
        targets = normal_scores(scores)[few]
        root = np.linalg.cholesky(_covariance(space, measured[few]))
        ours = solve_triangular(root, said[few] - said[few].mean(axis=0), lower=True)
        precision = precision + ours.T @ ours
        pull = pull + ours.T @ solve_triangular(root, targets, lower=True)
    half = np.linalg.cholesky(precision)
    weights, _ = nnls(half.T, solve_triangular(half, pull, lower=True))
    agreement = np.array([rank_agreement(column, scores) for column in said.T])
    return Relatedness(tuple(names), agreement, weights, len(scores))


def rank_agreement(left: Array, right: Array) -> float:
    """Spearman's rank correlation of two (n,); nan for fewer than three or where all are equal."""
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


def _agrees(agreement: float, measured: int) -> str:
    if not np.isfinite(agreement):
        return "is not compared yet"
    sign = "agrees" if agreement >= 0 else "disagrees"
    return f"{sign} by {agreement:+.2f} on {measured} measured architectures"
