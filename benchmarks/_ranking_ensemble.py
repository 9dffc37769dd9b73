"""A multi-task Gaussian process with ranking weights, after RGPE (Feurer, Letham and Bakshy, 2018).

One Gaussian process for each source and one for the target, on normal scores of the ranks. A process counts
as often as it ranks a bootstrap sample of the target's measurements best; the target's own is judged by what
it predicts of each measurement when that is left out. The largest expected improvement of the weighted mean
is measured next. Sources give means only here: the uncertainty is the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vitruvius.agents.baselines import Curve, Purse
from vitruvius.agents.features import distances, extract
from vitruvius.agents.offspring import mutate
from vitruvius.agents.relatedness import left_out, ranking_weights
from vitruvius.agents.selection import log_improvement, normal_scores
from vitruvius.agents.source_model import SourceModel
from vitruvius.agents.surrogate import GaussianProcess, prior_weights
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices
from vitruvius.knowledge.observations import Observations

Array = NDArray[np.float64]

POOL = 1000
"""Uniform candidates of each step, beside the sources' best and the neighbours of the best found."""
LEAST = 3
"""Measurements before the target has a process of its own."""


def ranking_ensemble(task: Task, sources: Sequence[Observations], evaluations: int, seed: int) -> Curve:
    """One run.

    Args:
        task: The target.
        sources: What was measured on each source, in the target's space.
        evaluations: Budget.
        seed: All randomness comes from here.
    """
    space, purse, rng = task.space, Purse(task, evaluations), np.random.default_rng(seed)
    models = [SourceModel(source, seed) for source in sources]
    rows, scores = np.empty((0, len(space.decisions)), dtype=np.int8), list[float]()
    best = np.concatenate([s.choices[np.argsort(-s.scores, kind="stable")[:100]] for s in sources])
    while purse.open:
        near = mutate(space, rows[np.argsort(-np.array(scores), kind="stable")[:5]], 256, rng)
        pool = np.concatenate([best, space.sample(POOL, rng), near])
        known = set(purse.curve.ids)
        pool = pool[[identity not in known for identity in space.ids(pool)]]
        said = np.column_stack([model.predict(pool) for model in models])
        if len(scores) < LEAST:
            chosen = int(said.mean(axis=1).argmax())
        else:
            theirs = np.column_stack([model.predict(rows) for model in models])
            with threadpool_limits(1, user_api="blas"):
                chosen = _most_promising(task, rows, np.array(scores), theirs, pool, said, rng)
        score = purse.score(space.architectures(pool[chosen : chosen + 1])[0])
        if np.isfinite(score):
            rows, scores = np.concatenate([rows, pool[chosen : chosen + 1]]), [*scores, score]
    return purse.curve


def _most_promising(
    task: Task,
    rows: Choices,
    scores: Array,
    theirs: Array,
    pool: Choices,
    said: Array,
    rng: np.random.Generator,
) -> int:
    """Position in the pool of the largest expected improvement."""
    both = extract(task.space, np.concatenate([rows, pool]))
    known, asked = both.take(slice(None, len(rows))), both.take(slice(len(rows), None))
    across, targets = distances(known, asked), normal_scores(scores)
    prior = prior_weights(across.mean(axis=(1, 2)), rows.shape[1])
    process = GaussianProcess.fit(distances(known, known), targets, prior)
    white = process.whiten(process.covariance(across))
    own = process.whiten(targets[:, None])[:, 0] @ white
    std = np.sqrt(process.scale * np.maximum(2.0 - (white * white).sum(axis=0), 1e-9))
    inverse: Array = np.linalg.inv(process.factor @ process.factor.T).astype(np.float64)
    own_here = left_out(inverse, targets)
    weights = ranking_weights(np.column_stack([theirs, own_here]), targets, rng)
    mean = np.column_stack([said - theirs.mean(axis=0), own]) @ weights
    return int(log_improvement(mean - float(targets.max()), std).argmax())
