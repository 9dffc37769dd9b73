"""Part of `overhead.py`: what `posterior.predict` tells, for more candidates than memory has features for.

The patterns of the measured are found once; candidates are compared with them a part at a time, and what no
measured architecture has matters by its number only.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vitruvius.agents.features import distances, extract, patterns, unary
from vitruvius.agents.posterior import Posterior
from vitruvius.agents.selection import normal_scores
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.generator.space import Choices, SearchSpace

Array = NDArray[np.float64]

_PART = 4000
_TYPICAL = 2000


@dataclass(frozen=True, slots=True)
class _Unary:
    """What measured architectures look like in unary, for one kind of pattern.

    Attributes:
        names: (F,) patterns that occur among them, sorted.
        most: (F,) highest count of each.
        table: (n, sum of most) their unary columns, 0 or 1.
    """

    names: NDArray[np.int64]
    most: NDArray[np.int64]
    table: NDArray[np.float32]

    @staticmethod
    def of(found: NDArray[np.int64]) -> _Unary:
        """Of pattern numbers (n, m); negative ones are none."""
        names = np.unique(found[found >= 0])
        counts = _counts(found, names)
        most = counts.max(axis=0) if len(names) else np.empty(0, dtype=np.int64)
        return _Unary(names, most, unary(counts, most))

    def common(self, found: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Shared counts (n, m) with candidates' patterns, and how many patterns each candidate has (m,)."""
        columns = unary(_counts(found, self.names), self.most)
        return self.table @ columns.T, (found >= 0).sum(axis=1).astype(np.float32)


def _counts(found: NDArray[np.int64], names: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each of the named patterns occurs in each row: (n, F)."""
    rows, _ = np.nonzero(found >= 0)
    values = found[found >= 0]
    place = np.searchsorted(names, values).clip(max=max(len(names) - 1, 0))
    known = names[place] == values if len(names) else np.zeros(len(values), dtype=np.bool_)
    flat = np.bincount(rows[known] * len(names) + place[known], minlength=len(found) * len(names))
    return flat.reshape(len(found), len(names))


def score_pool(
    space: SearchSpace,
    measured: Choices,
    scores: Array,
    rows: Choices,
    *,
    workers: int = 1,
    seed: int = 0,
) -> Posterior:
    """Predict very many candidates.

    Args:
        space: The space.
        measured: (n, D) rows that have a score, some hundreds.
        scores: (n,) their scores, larger is better.
        rows: (m, D) candidates, as many as fit into memory.
        workers: Threads.
        seed: Chooses the candidates that say how far apart two are on average.

    Returns:
        Mean and deviation in normal scores of the measured ranks, in single precision up to rounding.
    """
    targets = normal_scores(scores)
    with threadpool_limits(1, user_api="blas"):
        some = rows[np.random.default_rng(seed).permutation(len(rows))[:_TYPICAL]]
        both = extract(space, np.concatenate([measured, some]))
        known = both.take(slice(None, len(measured)))
        typical = distances(known, both.take(slice(len(measured), None))).mean(axis=(1, 2))
        process = GaussianProcess.fit(
            distances(known, known), targets, prior_weights(typical, measured.shape[1])
        )
        half = process.whiten(targets[:, None])[:, 0]
        kinds = [_Unary.of(found) for found in patterns(space, measured)]

        def part(start: int) -> tuple[Array, Array]:
            these = rows[start : start + _PART]
            white = process.whiten(
                1.0 + np.exp(-_apart(process, measured, kinds, these, patterns(space, these)))
            )
            spread = np.maximum(2.0 - np.einsum("ij,ij->j", white, white), 1e-9)
            return half @ white, np.sqrt(process.scale * spread)

        with ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(part, range(0, len(rows), _PART)))
    mean, std = (np.concatenate(column) for column in zip(*done, strict=True))
    return Posterior(mean, std)


def _apart(
    process: GaussianProcess,
    measured: Choices,
    kinds: list[_Unary],
    rows: Choices,
    found: tuple[NDArray[np.int64], ...],
) -> Array:
    """Weighted distances of measured and candidates: (n, m)."""
    decisions = measured.shape[1]
    total = np.zeros((len(measured), len(rows)), dtype=np.float32)
    for column, weight in enumerate(process.weights[:decisions]):
        total += np.float32(weight) * (measured[:, column, None] != rows[None, :, column])
    for kind, weight, patterns_here in zip(kinds, process.weights[decisions:], found, strict=True):
        shared, size = kind.common(patterns_here)
        total += np.float32(weight) * (kind.table.sum(axis=1)[:, None] + size - 2.0 * shared)
    return total.astype(np.float64)
