"""Scoring very many candidates: the same prediction as the plain way, in any number of parts and threads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from test_benchmarks import benchmark_module

from vitruvius.agents.posterior import predict
from vitruvius.generator.space import get_space


def scores_of(rows: NDArray[np.int8], seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=len(rows))
    return (rows == 1).sum(axis=1) + 0.5 * noise


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-graph", "darts"])
def test_the_same_as_the_plain_prediction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool_scores = benchmark_module("_pool_scores")
    space, rng = get_space(name), np.random.default_rng(0)
    measured, pool = space.sample(60, rng), space.sample(500, rng)
    scores = scores_of(measured, 1)
    plain = predict(space, measured, scores, pool)
    fast = pool_scores.score_pool(space, measured, scores, pool)
    assert np.corrcoef(plain.mean, fast.mean)[0, 1] > 0.9999
    np.testing.assert_allclose(plain.mean, fast.mean, atol=0.01)
    np.testing.assert_allclose(plain.std, fast.std, rtol=0.02)
    monkeypatch.setattr(pool_scores, "_PART", 70)
    parts = pool_scores.score_pool(space, measured, scores, pool, workers=2)
    np.testing.assert_allclose(fast.mean, parts.mean, atol=1e-4)
