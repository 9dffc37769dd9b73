"""The methods that `pareto.py` compares: each takes a task, costs, a budget and a seed, and gives a curve.

NSGA-II and MO-TPE come from pymoo and optuna. All see a decision as a name with unordered choices, and pay
for each identity once; a repeat costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitruvius.agents.baselines import Curve, Purse, random_search
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Architecture

NAMES = ("vitruvius", "random", "nsga2", "motpe")
POPULATION = 20
"""Of NSGA-II. The usual 100 would spend the whole budget on its first, random generation."""


def run_method(
    name: str, task: Task, costs: Sequence[str], evaluations: int, seed: int, options: Mapping[str, Any]
) -> Curve:
    """One run of a method: what it paid for, in order."""
    if name == "vitruvius":
        return session(task, costs, evaluations, seed, options)
    if name == "random":
        return random_search(task, evaluations, seed)
    return {"nsga2": nsga2, "motpe": motpe}[name](task, costs, evaluations, seed)


def settings_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a method that changes its results."""
    if name == "vitruvius":
        return dict(options)
    return {"population": POPULATION} if name == "nsga2" else {}


def session(
    task: Task, costs: Sequence[str], evaluations: int, seed: int, options: Mapping[str, Any]
) -> Curve:
    """A session from nothing, with the costs as objectives."""
    from vitruvius.agents.session import Session  # loads torch: not for those who only run baselines

    with Session(task, seed=seed, objectives=list(costs), **options) as running:
        running.run(evaluations)
        curve = Curve(task.metric.maximize)
        for found in running.curve():
            curve.keys.append(found.key)
            curve.ids.append(found.id)
            curve.scores.append(found.score)
    return curve


class _Priced:
    """Measures for a baseline: the score, and the costs of what was measured for it."""

    def __init__(self, task: Task, costs: Sequence[str], evaluations: int) -> None:
        self.purse = Purse(task, evaluations)
        self._task, self._names = task, costs

    def values(self, choices: Sequence[int]) -> list[float]:
        """Negative score, then costs: all to be small; infinite where the choices are no architecture."""
        space = self._task.space
        row = np.array([choices], dtype=np.int8)
        if not space.valid(row)[0]:
            return [np.inf] * (1 + len(self._names))
        stands = self._task.bench.representative(Architecture(space, tuple(space.normalise(row)[0].tolist())))
        costs = self._task.bench.costs(stands.row)
        return [-self.purse.score(stands), *(float(costs[name][0]) for name in self._names)]


def nsga2(task: Task, costs: Sequence[str], evaluations: int, seed: int) -> Curve:
    """NSGA-II (Deb et al., 2002) of pymoo, with its operators for categories."""
    from pymoo.algorithms.moo.nsga2 import RankAndCrowdingSurvival
    from pymoo.core.mixed import MixedVariableGA
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.core.variable import Choice

    priced = _Priced(task, costs, evaluations)
    names = [decision.name for decision in task.space.decisions]
    choices = {d.name: Choice(options=list(range(len(d.choices)))) for d in task.space.decisions}

    class Problem(ElementwiseProblem):
        def _evaluate(self, x: Mapping[str, int], out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = priced.values([int(x[name]) for name in names]) if priced.purse.open else [0.0] * n

    n = 1 + len(costs)
    algorithm = MixedVariableGA(pop_size=POPULATION, survival=RankAndCrowdingSurvival())  # pyright: ignore[reportArgumentType]
    algorithm.setup(Problem(vars=choices, n_obj=n), seed=seed, termination=("n_gen", 10_000), verbose=False)
    while priced.purse.open and algorithm.has_next():
        algorithm.next()
    return priced.purse.curve


def motpe(task: Task, costs: Sequence[str], evaluations: int, seed: int) -> Curve:
    """Multi-objective TPE (Ozaki et al., GECCO 2020) of optuna, as it comes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    priced = _Priced(task, costs, evaluations)
    study = optuna.create_study(
        directions=[optuna.study.StudyDirection.MINIMIZE] * (1 + len(costs)),
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    while priced.purse.open:
        trial = study.ask()
        drawn = [trial.suggest_categorical(d.name, range(len(d.choices))) for d in task.space.decisions]
        values = priced.values(drawn)
        usable = bool(np.isfinite(values).all())
        study.tell(trial, values if usable else None, state=None if usable else optuna.trial.TrialState.FAIL)
    return priced.purse.curve
