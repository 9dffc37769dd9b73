"""A batch is built one by one: what was taken is believed, and its like is worth less from then on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents import pareto, selection
from vitruvius.agents.believer import Believer
from vitruvius.agents.features import distances, extract
from vitruvius.agents.selection import Selector, normal_scores
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.generator.space import get_space

Floats = NDArray[np.float64]
SPACE = get_space("nasbench201")


def test_what_is_believed_is_conditioned_on_exactly() -> None:
    """Against the formula of the posterior, with what was taken among what was measured."""
    rng = np.random.default_rng(0)
    rows = SPACE.sample(32, rng)
    targets = normal_scores(rng.normal(size=12))
    both = extract(SPACE, rows)
    known, candidates = both.take(slice(None, 12)), both.take(slice(12, None))
    believer = Believer(known, candidates, targets, rng)
    mean, before = believer.mean.copy(), believer.std
    across, within = distances(known, candidates), distances(known, known)
    prior = prior_weights(across.mean(axis=(1, 2)), known.choices.shape[1])
    process = GaussianProcess.fit(within, targets, prior)
    covariance = process.covariance(distances(both, both))
    given = list(range(12))
    for place in (4, 0, 17):
        assert believer.take(np.eye(20)[place]) == place
        given.append(12 + place)
        among = covariance[np.ix_(given, given)] + process.noise * np.eye(len(given))
        explained = covariance[:, given] @ np.linalg.solve(among, covariance[given])
        left = np.diag(covariance - explained)[12:]
        np.testing.assert_allclose(believer.std, np.sqrt(process.scale * left), rtol=1e-3)
        assert (believer.std <= before + 1e-9).all() and believer.std[place] < 0.9 * before[place]
        before = believer.std
    assert (believer.mean == mean).all(), "what is predicted is what is believed"


def test_of_two_clusters_each_gives_one() -> None:
    """Where both score alike, the second choice of a batch leaves the first one's neighbourhood."""
    one, other = np.array([[0, 1, 2, 3, 4, 0]], dtype=np.int8), np.array([[4, 3, 1, 0, 2, 3]], dtype=np.int8)
    pool = np.concatenate([one, one, one, other, other, other])
    pool[[1, 2, 4, 5], [0, 5, 0, 5]] += np.array([1, 1, -1, 1], dtype=np.int8)  # a step away
    near = [SPACE.neighbours(middle)[:6] for middle in (one, other)]
    good = np.tile(np.linspace(3.0, 4.0, 6), 2)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([*near, SPACE.sample(20, rng)])
        scores = np.concatenate([good, rng.normal(size=20)])
        chosen = Selector(SPACE).choose(rows, scores, pool, None, 2, seed=0)
        assert {row // 3 for row in chosen.rows} == {0, 1}


class Foretold:
    """Predicts what it is told to; forgets what was taken, and believes nothing."""

    def __init__(self, mean: Floats, std: Floats) -> None:
        self.mean, self.std = mean, std
        self._free = np.ones(len(mean), dtype=np.bool_)

    def take(self, value: Floats) -> int:
        row = int(np.argmax(np.where(self._free, value, -np.inf)))
        self._free[row] = False
        return row


def test_the_best_that_is_believed_is_what_the_next_has_to_beat() -> None:
    """The second nearly equals the first for certain; the third may be much better, and comes before it."""
    mean, std = np.array([2.0, 1.9, 0.5]), np.array([0.01, 0.01, 2.0])
    targets = np.linspace(-1.0, 0.0, 5)
    believer: Any = Foretold(mean, std)
    chosen = selection._one_by_one(believer, mean, targets, np.zeros(3), 3)  # pyright: ignore[reportPrivateUsage]
    assert chosen.rows == [0, 2, 1]
    believer = Foretold(mean, std)
    paid, every = np.zeros(4), np.ones((3, 4), dtype=np.bool_)
    grown = pareto._one_by_one(believer, targets, targets, paid, every, 3)  # pyright: ignore[reportPrivateUsage]
    assert [row for row, _, _ in grown] == [0, 2, 1]
    believer = Foretold(np.array([10.0, 0.5, 1.9]), np.array([0.01, 2.0, 0.01]))
    every[0], every[2] = [True, False, False, False], [False, True, True, True]
    apart = pareto._one_by_one(believer, targets, targets, paid, every, 2)  # pyright: ignore[reportPrivateUsage]
    assert [row for row, _, _ in apart] == [0, 2], "what a budget cannot pay for raises nothing there"
