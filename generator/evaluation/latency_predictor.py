"""Latency on a device where only a few architectures were timed, with other devices' latencies as sources.

A device is taken for one more draw from the population that the sources are draws of. With z_s(x) the root
of the latency of architecture x on source s, centred and scaled to variance 1 over the space, a device has

    root latency(x) = a + sum_s w_s z_s(x) + sum_o u_o count_o(x) + sum_d v_d[x_d] + noise

with normal priors on all weights: the sources together share a variance of 1; operations, decisions and noise
have shares that are not known, and are averaged over as far as what was timed speaks for them. The scale of
the device is integrated out, so units and speeds need not agree. Parameters and FLOPs count as devices too.
The root stands between times that add up (the latency itself) and errors in proportion (its logarithm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from vitruvius.errors import UserError
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]
Costs = Callable[[Choices], Mapping[str, Array]]
"""What is known of rows (n, D) without measuring, by name: (n,) each; that of a bench."""

OPERATIONS, DECISIONS, NOISE = (0.02, 0.05, 0.2, 0.5), (0.01, 0.05, 0.2), (0.02, 0.05, 0.15)
"""Variances that counts of operations, single decisions, and neither may explain, beside 1 of the sources."""
ASSUMED = (0.2, 0.05, 0.05)
"""The three before anything is timed: what is proposed to be timed goes by these."""
OFFSET = 10.0
"""Prior deviation of a device's offset, in deviations of its latencies: wide."""
LEAST = 3
"""Fewest timed architectures."""
MOST_ROWS = 20_000
"""Architectures that stand for a space that is larger or cannot be enumerated."""
ERROR_ROWS = 2_000
"""Of these, architectures over which the expected error is taken."""


class LatencySources:
    """What the sources tell of a space's architectures: the features of a prediction.

    Attributes:
        space: The search space.
        names: The costs that serve as sources.
        rows: (N, D) architectures that stand for the space.
    """

    def __init__(self, space: SearchSpace, costs: Costs) -> None:
        """Look at the whole space, or at a fixed sample of it.

        Args:
            space: The search space.
            costs: What is known of its architectures: latencies of other devices, parameters, FLOPs.
        """
        self.space = space
        whole = space.size is not None and space.size <= MOST_ROWS
        self.rows = space.enumerate() if whole else space.sample(MOST_ROWS, np.random.default_rng(0))
        known = costs(self.rows)
        roots = {name: _roots(values) for name, values in known.items()}
        self.names = tuple(
            name for name, values in roots.items() if np.isfinite(values).any() and np.nanstd(values) > 0
        )
        self._means = [float(np.nanmean(roots[name])) for name in self.names]
        self._deviations = [float(np.nanstd(roots[name])) for name in self.names]
        counts, chosen = self._counts(self.rows), self._chosen(self.rows)
        self._centres = counts.mean(axis=0), chosen.mean(axis=0)
        self._scales = [np.sqrt(max(float(part.var(axis=0).sum()), 1e-9)) for part in (counts, chosen)]
        self._features = self.features(self.rows, known)
        self._lean = _lean(space.classes(self.rows), known.get("params"))

    def features(self, rows: Choices, costs: Mapping[str, Array]) -> Array:
        """Features of rows (n, D) whose costs are known: (n, F); not-a-number where a source has none."""
        share = 1.0 / np.sqrt(max(len(self.names), 1))
        columns = [
            share * (_roots(costs[name]) - mean) / deviation
            for name, mean, deviation in zip(self.names, self._means, self._deviations, strict=True)
        ]
        parts = (self._counts(rows) - self._centres[0], self._chosen(rows) - self._centres[1])
        scaled = [part / scale for part, scale in zip(parts, self._scales, strict=True)]
        return np.concatenate(
            [np.full((len(rows), 1), OFFSET), *(column[:, None] for column in columns), *scaled], axis=1
        )

    def shares(self, operations: float, decisions: float) -> Array:
        """Prior deviation of each feature's weight: (F,)."""
        sizes = (1 + len(self.names), len(self._centres[0]), len(self._centres[1]))
        return np.sqrt(np.repeat([1.0, operations, decisions], sizes))

    def telling(self, n: int) -> Choices:
        """The n architectures to time that tell most about all others, the most telling first: (n, D).

        Each next one lowers the summed variance of the prediction most; no latency of the new device is
        needed to know that. None has parts that compute nothing for the output: whether such parts take
        time depends on who builds the network.

        Raises:
            UserError: Fewer than three or more than there are are asked for.
        """
        known = np.flatnonzero(np.isfinite(self._features).all(axis=1) & self._lean)
        if not LEAST <= n <= len(known):
            raise UserError(f"{n} architectures cannot be proposed: ask for {LEAST} to {len(known):,}.")
        operations, decisions, noise = ASSUMED
        features = self._features[known] * self.shares(operations, decisions)
        covariance, second = np.eye(features.shape[1]), features.T @ features  # of what may be picked
        picked: list[int] = []
        for _ in range(n):
            spread = features @ covariance
            gain = ((spread @ second) * spread).sum(axis=1) / ((spread * features).sum(axis=1) + noise)
            gain[picked] = -np.inf
            one = int(np.round(gain / gain.max(), 9).argmax())  # equals: the first, on every machine
            picked.append(one)
            column = spread[one]
            covariance = covariance - np.outer(column, column) / (features[one] @ column + noise)
        return self.rows[known[picked]]

    def fit(self, rows: Choices, milliseconds: Array, costs: Mapping[str, Array]) -> LatencyPredictor:
        """Learn a device from what was timed on it.

        Args:
            rows: (n, D) different architectures.
            milliseconds: (n,) their latencies.
            costs: What is known of these rows.

        Raises:
            UserError: Fewer than three, an architecture twice, one of which a source knows nothing, or a
                latency that is no positive number.
        """
        if len(rows) < LEAST:
            raise UserError(f"{len(rows)} timed architectures are too few: give at least {LEAST}, better 10.")
        if not (np.isfinite(milliseconds) & (milliseconds > 0)).all():
            raise UserError("A latency is no positive number of milliseconds: leave out what was not timed.")
        if len(np.unique(self.space.numbers(rows))) < len(rows):
            raise UserError("An architecture was timed twice: give one latency of each, such as the median.")
        features = self.features(rows, costs)
        if not np.isfinite(features).all():
            raise UserError("A source has no latency of an architecture that was timed: leave that one out.")
        roots = np.sqrt(milliseconds)
        centre = float(roots.mean())
        fits = [
            _Posterior.of(self.shares(o, d), noise, features, roots - centre)
            for o, d, noise in product(OPERATIONS, DECISIONS, NOISE)
        ]
        beliefs = softmax([fit.evidence for fit in fits])
        weights = np.tensordot(beliefs, [fit.weights for fit in fits], axes=1)
        without = np.tensordot(beliefs, [fit.without for fit in fits], axes=1) + centre
        left_out = float(np.median(np.abs(np.square(without) / milliseconds - 1.0)))
        floor = float(np.sqrt(0.5 * milliseconds.min()))
        some = self._features[np.isfinite(self._features).all(axis=1)]
        some = some[:: max(len(some) // ERROR_ROWS, 1)]
        means = np.maximum(centre + some @ weights, floor)
        variance = np.tensordot(beliefs, [fit.variance(some) for fit in fits], axes=1)
        # Half of a normal distribution lies within 0.6745 deviations; squares are off twice as much as roots.
        error = float(np.median(2.0 * 0.6745 * np.sqrt(variance) / means))
        from scipy.stats import spearmanr  # here: it loads for half a second

        order: Any = spearmanr(without, roots) if np.ptp(without) > 0 else None
        agreement = 0.0 if order is None else float(order.statistic)
        return LatencyPredictor(self, weights, centre, floor, len(rows), error, left_out, agreement)

    def _counts(self, rows: Choices) -> Array:
        """How often each operation occurs: (n, operations)."""
        labels = self.space.graphs(rows).labels
        kinds = range(2, 2 + len(self.space.labels))
        return np.stack([(labels == kind).sum(axis=1) for kind in kinds], axis=1).astype(np.float64)

    def _chosen(self, rows: Choices) -> Array:
        """One-hot choices of all decisions: (n, all choices)."""
        blocks = [rows[:, [i]] == np.arange(len(one.choices)) for i, one in enumerate(self.space.decisions)]
        return np.concatenate(blocks, axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class LatencyPredictor:
    """Predicts a device's latencies.

    Attributes:
        sources: What was known before.
        weights: (F,) weights of the features.
        centre: Mean root of what was timed.
        floor: Root of half the least latency that was timed: no prediction is lower.
        timed: How many architectures were timed.
        error: Expected error: over the space, half of the predictions are thought to be off by more than
            this share.
        left_out: The same of what was timed, each predicted from the others; larger where these were
            proposed, for they lie at the ends.
        agreement: Rank correlation of what was timed with what is predicted of each from the others.
    """

    sources: LatencySources
    weights: Array
    centre: float
    floor: float
    timed: int
    error: float
    left_out: float
    agreement: float

    def predict(self, rows: Choices, costs: Mapping[str, Array]) -> Array:
        """Milliseconds of rows (n, D): (n,); not-a-number where a source has no latency.

        Args:
            rows: Architectures.
            costs: What is known of these rows without measuring.
        """
        roots = self.centre + self.sources.features(rows, costs) @ self.weights
        return np.square(np.maximum(roots, self.floor))

    def describe(self) -> str:
        """How much is known, as a part of a sentence."""
        devices = sum(name.startswith("latency[") for name in self.sources.names)
        others = f"{devices} other device{'s' * (devices > 1)}" if devices else "no other device"
        return (
            f"predicted from {self.timed} timed architectures and {others}; typically {self.error:.1%} off "
            f"(those timed, each from the others: {self.left_out:.1%}, rank correlation {self.agreement:.2f})"
        )


@dataclass(frozen=True, slots=True)
class _Posterior:
    """Bayesian linear regression with given prior deviations of the weights, scale integrated out.

    Attributes:
        scaled: (n, F) features of what was timed, times the prior deviations.
        shares: (F,) prior deviations.
        inverse: (n, n) inverse covariance of the targets, in units of the scale.
        weights: (F,) posterior means.
        scale: Variance that one unit stands for.
        noise: Noise variance, in units of the scale.
        evidence: Logarithm of the marginal likelihood, up to a constant.
        without: (n,) prediction of each target from the others (Rasmussen and Williams, 2006, equation 5.12).
    """

    scaled: Array
    shares: Array
    inverse: Array
    weights: Array
    scale: float
    noise: float
    evidence: float
    without: Array

    @staticmethod
    def of(shares: Array, noise: float, features: Array, targets: Array) -> _Posterior:
        scaled = features * shares
        covariance = scaled @ scaled.T + noise * np.eye(len(targets))
        inverse: Array = np.linalg.inv(covariance).astype(np.float64)
        solved, free = inverse @ targets, len(targets) - 1
        scale = max(float(targets @ solved) / free, 1e-12)
        evidence = -0.5 * free * np.log(scale) - 0.5 * float(np.linalg.slogdet(covariance).logabsdet)
        without = targets - solved / np.diag(inverse)
        return _Posterior(
            scaled, shares, inverse, shares * (scaled.T @ solved), scale, noise, evidence, without
        )

    def variance(self, features: Array) -> Array:
        """Variance of the prediction, noise included, for features (m, F): (m,)."""
        scaled = features * self.shares
        across = scaled @ self.scaled.T
        explained = ((across @ self.inverse) * across).sum(axis=1)
        return self.scale * (np.maximum((scaled * scaled).sum(axis=1) - explained, 0.0) + self.noise)


def _lean(classes: NDArray[np.int64], params: Array | None) -> NDArray[np.bool_]:
    """The first of each class of equal architectures among those with the fewest parameters: (N,)."""
    order = np.arange(len(classes)) if params is None else np.argsort(params, kind="stable")
    lean = np.zeros(len(classes), dtype=np.bool_)
    lean[order[np.unique(classes[order], return_index=True)[1]]] = True
    return lean


def _roots(values: Array) -> Array:
    """Square roots; not-a-number where there is no positive number."""
    return np.sqrt(np.where(np.isfinite(values) & (values > 0), values, np.nan))
