"""The methods that `search.py` compares: each takes a task, a budget and a seed, and gives a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _free_scores import NAMES as FREE
from _free_scores import SCORES, run_free, source_of
from _peers import PEERS
from _peers import SETTINGS as PEER_SETTINGS
from numpy.typing import NDArray

from vitruvius.agents.baselines import METHODS as BASELINES
from vitruvius.agents.baselines import POPULATION, TOURNAMENT, Curve, random_search
from vitruvius.agents.selection import log_improvement, normal_scores
from vitruvius.agents.surrogate import GaussianProcess
from vitruvius.generator.evaluation.task import Task, measurable
from vitruvius.generator.space import Choices

NAMES = ("vitruvius", *BASELINES, "gp-hamming", *PEERS, "ag-net", *FREE)
INITIAL = 6
"""Uniform design of the Gaussian process control: as many as a session draws."""
WITH_SCORE = {f"vitruvius+{score}": score for score in SCORES}
"""Sessions that have a score of untrained networks as their source."""


def run_method(name: str, task: Task, evaluations: int, seed: int, options: Mapping[str, Any]) -> Curve:
    """One run of a method: what it paid for, in order."""
    if name == "vitruvius":
        return session(task, evaluations, seed, options)
    if name in WITH_SCORE:
        return session(task, evaluations, seed, options, [source_of(task, WITH_SCORE[name])])
    if name in FREE:
        return run_free(name, task, evaluations, seed)
    if name == "gp-hamming":
        return gp_hamming(task, evaluations, seed)
    if name in PEERS:
        return PEERS[name](task, evaluations, seed)
    if name == "ag-net":
        from _ag_net import ag_net  # loads torch

        return ag_net(task, evaluations, seed)
    return BASELINES[name](task, evaluations, seed)


def settings_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a method that changes its results."""
    if name == "vitruvius" or name in WITH_SCORE:
        return dict(options)
    if name == "evolution":
        return {"population": POPULATION, "tournament": TOURNAMENT}
    if name == "ag-net":
        from _ag_net import SETTINGS

        return SETTINGS
    return {"initial": INITIAL} if name == "gp-hamming" else PEER_SETTINGS.get(name, {})


def session(
    task: Task, evaluations: int, seed: int, options: Mapping[str, Any], sources: Sequence[Task] = ()
) -> Curve:
    """A session with an empty ledger and store."""
    from vitruvius.agents.session import Session  # loads torch: not for those who only run baselines

    with Session(task, seed=seed, sources=sources, **options) as running:
        running.run(evaluations)
        curve = Curve(task.metric.maximize)
        for found in running.curve():
            curve.keys.append(found.key)
            curve.ids.append(found.id)
            curve.scores.append(found.score)
    return curve


def gp_hamming(task: Task, evaluations: int, seed: int) -> Curve:
    """Control: Gaussian process on the number of equal decisions, over every class of the space.

    The first of random search with the same seed, then always the largest expected improvement of all
    that is left.
    """
    everything = task.space.enumerate()
    first: dict[str, int] = {}
    for position, identity in enumerate(task.space.ids(everything)):
        first.setdefault(identity, position)
    members = everything[list(first.values())]
    members = members[measurable(task.bench, members)]
    places = {identity: place for place, identity in enumerate(task.space.ids(members))}
    rows = task.space.rows(task.bench.representative(one) for one in task.space.architectures(members))
    curve = random_search(task, min(INITIAL, evaluations), seed)
    drawn = [places[identity] for identity in curve.ids]
    apart = np.array([_differences(rows, rows[one]) for one in drawn])
    while len(drawn) < min(evaluations, len(rows)):
        one = _most_promising(task, drawn, curve, apart)
        found = next(iter(task.bench.measure(task.space.architectures(rows[one : one + 1]))))
        curve.keys.append(found.key)
        curve.ids.append(found.id)
        curve.scores.append(found.score)
        drawn.append(one)
        apart = np.concatenate([apart, _differences(rows, rows[one])[None]])
    return curve


def _differences(rows: Choices, row: NDArray[np.int8]) -> NDArray[np.float64]:
    """In how many decisions each of the rows (n, D) differs from one (D,): (n,)."""
    return (rows != row).sum(axis=1, dtype=np.float64)


def _most_promising(task: Task, drawn: list[int], curve: Curve, apart: NDArray[np.float64]) -> int:
    """Largest expected improvement over every class that was not drawn."""
    usable = [i for i, score in enumerate(curve.scores) if score is not None]
    scores = np.array([curve.scores[i] for i in usable], dtype=np.float64)
    targets, here = normal_scores(task.better(scores)), [drawn[i] for i in usable]
    across = apart[usable]
    process = GaussianProcess.fit(across[None][:, :, here], targets, np.array([1.0 / across.mean()]))
    white = process.whiten(process.covariance(across[None]))
    mean = process.whiten(targets[:, None])[:, 0] @ white
    std = np.sqrt(process.scale * np.maximum(2.0 - (white * white).sum(axis=0), 1e-9))
    value = log_improvement(mean - float(targets.max()), std)
    value[drawn] = -np.inf
    return int(value.argmax())
