"""After a search: who is trained longer, what is not trained twice, and what counts as the best in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from described_spaces import CHAIN, described

from vitruvius.agents.journal import Journal
from vitruvius.agents.measuring import told
from vitruvius.agents.session import Session
from vitruvius.errors import UserError
from vitruvius.generator.evaluation.halving import Rung, Trainer, Trial, rung_recipes
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Measurement, Metric, Status, Task
from vitruvius.generator.space import Architecture, SearchSpace
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.share import Share
from vitruvius.promotion import Plan, best_in_full, promote_best, promotion_lines, trials

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}
RECIPES = rung_recipes(Recipe(epochs=4), factor=2)
METRIC = Metric("validation accuracy", "%")


@dataclass
class Training:
    """Trains nothing: the score is the sum of the choices, and every call is written down."""

    recipe: Recipe
    calls: list[tuple[str, str]]
    status: dict[str, Status] = field(default_factory=dict[str, Status])
    broken: bool = False
    closed: int = 0
    name: str = "training"
    tabular: bool = False
    evaluator: str = ""
    fingerprint: str = "images"
    fidelity: str = ""
    metric: Metric = METRIC
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.evaluator, self.fidelity = f"training:{self.recipe.digest}", self.recipe.fidelity

    def datasets(self, space: SearchSpace) -> list[str]:
        return ["flowers"]

    def open(self, space: SearchSpace, dataset: str) -> Any:
        return self

    def representative(self, architecture: Architecture) -> Architecture:
        return architecture

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        if self.broken:
            raise UserError("The device is gone.")
        for one in architectures:
            self.calls.append((self.fidelity, one.key))
            status = self.status.get(one.key, Status.OK)
            score = float(sum(one.choices)) if status is Status.OK else None
            yield Measurement(
                one.space.name, f"{one.space.name}/flowers", one.key, one.id, status, score,
                evaluator=self.evaluator, fingerprint=self.fingerprint, fidelity=self.fidelity, seed=seed,
            )  # fmt: skip

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN.replace("test-chain", "test-promotion"))


@pytest.fixture
def session(space: SearchSpace) -> Iterator[Session]:
    """A search that has measured eight architectures, cheaply."""
    with Session(Task(f"{space.name}/flowers", Manual()), where="skip >= 1", **QUICK) as session:
        for one in space.architectures(space.enumerate()[20:28]):
            measurement = told(session.task, one, float(sum(one.choices)), "")
            session.journal.record(measurement, batch=0, share=Share.INITIAL)
        yield session


def promoted(
    journal: Journal, calls: list[tuple[str, str]], *, feasible: Any = None, **more: Any
) -> list[Rung]:
    """Promote with this journal; `calls` gets what is trained."""
    status = more.pop("status", {})
    plan = Plan(lambda recipe: Training(recipe, calls, status), RECIPES, 2, **more)
    return promote_best(journal, plan, lambda _line: None, feasible)


def drawn(session: Session, **more: Any) -> list[str]:
    return [m.key for rung in promoted(session.journal, [], **more) if rung.drawn for m in rung.measurements]


# ---- what is drawn -------------------------------------------------------------------------------


def test_hyperband_draws_what_the_constraint_leaves(session: Session, space: SearchSpace) -> None:
    wanted = Predicate.parse("skip >= 1")

    def kept(keys: list[str]) -> list[bool]:
        return wanted.holds(Population(space, space.rows(space.parse(key) for key in keys))).tolist()

    assert session.aims.feasible is not None
    inside = [kept(drawn(session, hyperband=True, seed=s, feasible=session.aims.feasible)) for s in range(4)]
    assert all(map(all, inside)) and len(inside[0]) == 6
    assert not all(all(kept(drawn(session, hyperband=True, seed=s))) for s in range(4))


def test_the_seed_decides_what_hyperband_draws(session: Session) -> None:
    one, same, other = (drawn(session, hyperband=True, seed=seed) for seed in (3, 3, 4))
    assert one == same != other


# ---- what is not trained twice -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "again"),
    [(Status.OK, 0), (Status.INVALID, 0), (Status.DIVERGED, 0), (Status.STOPPED, 0), (Status.FAILED, 1),
     (Status.TIMED_OUT, 1)],
)  # fmt: skip
def test_what_failed_for_want_of_time_or_luck_is_trained_again(
    session: Session, status: Status, again: int
) -> None:
    best = max(session.curve(), key=lambda m: m.score or 0.0).key
    first, second = list[tuple[str, str]](), list[tuple[str, str]]()
    promoted(session.journal, first, status={best: status})
    assert [key for _, key in first].count(best) == (2 if status is Status.OK else 1)
    promoted(session.journal, second)
    assert [key for _, key in second].count(best) == 2 * again, "again, and now in full as well"
    assert (("2 epochs", best) in second) is bool(again)
    known = {(t.measurement.fidelity, t.measurement.key) for t in trials(session.ledger, session.id)}
    assert {*first, *second} >= known >= {*second}


def test_another_seed_or_other_data_are_trained_anew_and_processes_end(space: SearchSpace) -> None:
    cells = space.architectures(space.enumerate()[:3])
    calls, made, kept = list[tuple[str, str]](), list[Training](), list[Trial]()

    def at(recipe: Recipe) -> Training:
        made.append(Training(recipe, calls))
        return made[-1]

    found = Trainer(at, space, "flowers", record=kept.append, seed=0)(RECIPES[0], cells)
    assert Trainer(at, space, "flowers", known=kept, seed=0)(RECIPES[0], cells) == found
    assert len(calls) == 3
    other = Trainer(at, space, "flowers", known=kept, seed=1)(RECIPES[0], cells)
    assert len(calls) == 6 and {m.seed for m in other} == {1}
    old = [Trial(replace(t.measurement, fingerprint="other images")) for t in kept]
    Trainer(at, space, "flowers", known=old)(RECIPES[0], cells)
    assert len(calls) == 9
    assert [one.closed for one in made] == [1] * 4
    gone = Training(RECIPES[0], calls, broken=True)
    with pytest.raises(UserError, match="is gone"):
        Trainer(lambda _recipe: gone, space, "flowers")(RECIPES[0], cells)
    assert gone.closed == 1, "its processes end, whatever happens"


# ---- the best ------------------------------------------------------------------------------------


def test_the_best_in_full_was_trained_in_full(space: SearchSpace) -> None:
    cells = space.architectures(space.enumerate()[:4])

    def rung(recipe: Recipe, *scores: float | None) -> Rung:
        status = [Status.DIVERGED if score is None else Status.OK for score in scores]
        made = [
            Measurement(space.name, "t", cell.key, cell.id, how, score)
            for cell, how, score in zip(cells, status, scores, strict=False)
        ]
        return Rung(recipe, tuple(made))

    short, full = rung(RECIPES[0], 99.0, 98.0), rung(RECIPES[-1], None, 70.0, 71.0)
    best = best_in_full([short, full, rung(RECIPES[1], 97.0)])
    assert best is not None and (best.key, best.score) == (cells[2].key, 71.0)
    assert f"Best in full: {METRIC.format(71.0)}  {cells[2].key}" in list(
        promotion_lines([short, full], METRIC)
    )
    assert best_in_full([short, rung(RECIPES[-1], None)]) is None
    assert best_in_full([]) is None
