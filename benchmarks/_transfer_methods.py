"""What `transfer.py` compares: ways to use measurements of source tasks on a target.

Each takes the target, the sources with what was measured on them, a budget and a seed, and gives a curve. All
see the same source measurements at the same seed: those that a session with this seed would draw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _lapt
import numpy as np
from _lapt_chain import asked
from _ranking_ensemble import ranking_ensemble
from numpy.typing import NDArray

from vitruvius.agents.baselines import Curve, Purse, random_search
from vitruvius.agents.candidates import draw_new, stream
from vitruvius.errors import UserError
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices
from vitruvius.knowledge.imports import import_pack
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.packs import export_pack, read_pack
from vitruvius.knowledge.principle import PrincipleStatus

BEST = 50
"""Best architectures of a source that counting and LAPT look at, as published; a fifth if fewer than 250."""
LEARNING = 10
"""Evaluations of the session whose principles are carried over as a pack."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        curve: What was paid for on the target, in order.
        notes: What else is counted, by name.
    """

    curve: Curve
    notes: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Measured:
    """What was measured on a source.

    Attributes:
        task: The source; inverted ones have the direction of their metric turned.
        rows: (n, D) uniform draws.
        scores: (n,) larger is better.
    """

    task: Task
    rows: Choices
    scores: NDArray[np.float64]

    @property
    def order(self) -> NDArray[np.intp]:
        """Best first."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def observations(self) -> Observations:
        """As a session would have them."""
        n, no = len(self.scores), np.zeros(len(self.scores), dtype=np.bool_)
        return Observations(
            self.task.space, self.task.name, self.task.label, self.rows, self.scores, ~no, no,
            np.arange(n), np.sort(self.scores),
        )  # fmt: skip


def measure(sources: Sequence[Task], size: int, seed: int) -> list[Measured]:
    """What a session with this seed measures on its sources."""
    found: list[Measured] = []
    for number, source in enumerate(sources, start=1):
        rows = draw_new(source.space, size, set(), stream(seed, 0, 100 + number))
        sample = [source.bench.representative(one) for one in source.space.architectures(rows)]
        scores = {one.key: one.score for one in source.bench.measure(sample) if one.score is not None}
        kept = [one for one in sample if one.key in scores]
        values = source.better(np.array([scores[one.key] for one in kept], dtype=np.float64))
        found.append(Measured(source, source.space.rows(kept), values))
    return found


def run_method(
    name: str,
    task: Task,
    sources: Sequence[Task],
    size: int,
    evaluations: int,
    seed: int,
    options: Mapping[str, Any],
    learner: Task | None = None,
    model: str | None = None,
) -> Run:
    """One run of a method; the model answers LAPT's chain.

    With a learner, sessions see nothing of the sources but the principles of an earlier session: one on the
    learner, with these sources.
    """
    if name == ASKS:
        if model is None:
            raise UserError(
                f"{ASKS} asks a language model: name it with --model, as in --model openai:gpt-5."
            )
        return lapt_model(task, measure(sources, size, seed), evaluations, seed, model)
    if name not in SESSIONS:
        return Run(METHODS[name](task, measure(sources, size, seed), evaluations, seed))
    chosen = {"seed": seed, "source_size": size, **options}
    if name == "no-source" or learner is None:
        return Run(_session(task, sources if name == "session" else (), evaluations, chosen))
    with TemporaryDirectory() as folder:
        pack = Path(folder) / "pack.json"
        learned = _learn(learner, sources, pack, chosen)
        return Run(_session(task, (), evaluations, chosen, pack if learned else None))


def _learn(learner: Task, sources: Sequence[Task], pack: Path, options: Mapping[str, Any]) -> bool:
    """Export what a short session finds supported; False where that is nothing."""
    from vitruvius.agents.session import Session

    with Session(learner, sources=sources, **options) as running:
        running.run(LEARNING)
        known = running.ledger.principles(session=running.id)
        supported = [one for one in known if one.status is PrincipleStatus.SUPPORTED]
        if supported:
            export_pack(running.ledger, supported, pack, name="earlier run")
    return bool(supported)


def _session(
    task: Task,
    sources: Sequence[Task],
    evaluations: int,
    options: Mapping[str, Any],
    pack: Path | None = None,
) -> Curve:
    from vitruvius.agents.session import Session  # loads torch: not for those who only run baselines

    with Session(task, sources=sources, **options) as running:
        if pack is not None:
            import_pack(running.ledger, running.id, read_pack(pack))
        running.run(evaluations)
        curve = Curve(task.metric.maximize)
        for one in running.curve():
            curve.keys.append(one.key)
            curve.ids.append(one.id)
            curve.scores.append(one.score)
    return curve


def copy(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """The best of the source in order; with several, the best of each in turn. Then uniform draws."""
    return in_order(task, _best_in_turn(sources), evaluations, seed)


def counting(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """First the most frequent choice of each decision among the best of the sources, then the next likely.

    Architectures go by the product of their choices' frequencies (one added to each count), which the cell of
    most frequent choices leads; what is no legal architecture is left out, and equal ones are measured once.
    """
    everything = task.space.enumerate()
    likely = np.zeros(len(everything))
    for column, often in enumerate(counts(sources)):
        likely += np.log(often + 1.0)[everything[:, column]]
    return in_order(task, everything[np.argsort(-likely, kind="stable")], evaluations, seed)


def warm_evolution(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """Regularised evolution whose first population is the best of the sources; sizes as in LAPT."""
    size, tournament = _lapt.by_budget(_lapt.EVOLUTION, evaluations)
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    population = _begin(task, purse, _best_in_turn(sources)[:size])
    while purse.open:
        parent = _lapt.winner(population, tournament, rng)
        near = task.space.neighbours(parent[None])
        _lapt.age(task, purse, population, near[int(rng.integers(len(near)))], size)
    return purse.curve


def lapt(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """LAPT without a leak and without a language model: its lists by counting, see `_lapt`."""
    kept = _lapt.LISTED.get(task.space.name, 3)
    return _lapt.search(task, _lapt.Counted(kept, counts(sources)), evaluations, seed)


def lapt_model(task: Task, sources: Sequence[Measured], evaluations: int, seed: int, model: str) -> Run:
    """LAPT without a leak, its chain answered by a language model."""
    few = min(BEST, max(sum(len(source.rows) for source in sources) // 5, 1))
    adviser = asked(task.space, _best_in_turn(sources)[:few], model, seed)
    curve = _lapt.search(task, adviser, evaluations, seed)
    return Run(curve, {"requests": len(adviser.asker.calls), "lists that no reply gave": adviser.unusable})


def in_order(task: Task, rows: Choices, evaluations: int, seed: int) -> Curve:
    """Measure rows (n, D) in order, each id once; then uniform draws."""
    purse, rng = Purse(task, evaluations), np.random.default_rng(seed)
    for start in range(0, len(rows), 64):
        for one in task.space.architectures(rows[start : start + 64]):
            if not purse.open:
                return purse.curve
            purse.score(one)
    while purse.open:
        purse.score(task.space.architectures(task.space.sample(1, rng))[0])
    return purse.curve


def _best_in_turn(sources: Sequence[Measured]) -> Choices:
    """Measured rows, best first: the best of each source, then the second of each."""
    ranked = [source.rows[source.order] for source in sources]
    return np.array([rows[i] for i in range(max(map(len, ranked))) for rows in ranked if i < len(rows)])


def counts(sources: Sequence[Measured]) -> list[NDArray[np.float64]]:
    """How often each choice occurs among the best of the sources, by decision; all sources count the same."""
    totals = [np.zeros(len(decision.choices)) for decision in sources[0].task.space.decisions]
    for source in sources:
        best = source.rows[source.order[: min(BEST, max(len(source.rows) // 5, 1))]]
        for column, total in enumerate(totals):
            total += _lapt.frequent(best, column, len(total)) / len(best) * BEST
    return totals


def _begin(task: Task, purse: Purse, rows: Choices) -> deque[tuple[float, NDArray[np.int8]]]:
    scored: deque[tuple[float, NDArray[np.int8]]] = deque()
    for one, row in zip(task.space.architectures(rows), rows, strict=True):
        if purse.open:
            scored.append((purse.score(one), row))
    return scored


def ensemble(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """Gaussian processes of target and sources with ranking weights, see `_ranking_ensemble`."""
    return ranking_ensemble(task, [source.observations for source in sources], evaluations, seed)


def uniform(task: Task, sources: Sequence[Measured], evaluations: int, seed: int) -> Curve:
    """Random search, which looks at no source."""
    return random_search(task, evaluations, seed)


METHODS: dict[str, Callable[[Task, Sequence[Measured], int, int], Curve]] = {
    "copy": copy,
    "counting": counting,
    "lapt": lapt,
    "warm-evolution": warm_evolution,
    "rgpe": ensemble,
    "random": uniform,
}
"""Methods by name, sessions apart."""
SESSIONS = ("session", "no-source")
"""A session with the sources, and the same without."""
ASKS = "lapt-model"
"""LAPT with a language model."""


def names() -> Iterator[str]:
    """All methods."""
    yield from (*SESSIONS, *METHODS, ASKS)
