"""What a session learns between batches: cuts that were wrong, rows for the code model, and what is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from described_spaces import CHAIN, described
from scripted_engine import scripted

from vitruvius.agents import learning
from vitruvius.agents.measuring import told
from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Architecture, SearchSpace
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Origin, Principle, Proposal, principle_id
from vitruvius.knowledge.pruning import Restriction, Term
from vitruvius.knowledge.share import Share

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0, "pool": 16}
OPEN: dict[str, Any] = {**QUICK, "open_share": 1.0}
WRONG = Predicate.parse("block1 = mb5x5")
RIGHT = Predicate.parse("skip <= 1")
CUT = Restriction(
    "test-learning", (Term("wrong", WRONG, True, 0.3, hard=True), Term("right", RIGHT, True, 0.2, hard=True))
)


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN.replace("test-chain", "test-learning"))


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the principles say, the space is cut like this."""
    monkeypatch.setattr(learning, "prune", lambda *_, **__: CUT)


def follows(predicate: Predicate, architecture: Architecture) -> bool:
    return bool(predicate.holds(Population.of(architecture))[0])


def hard(restriction: Restriction) -> list[str]:
    return [term.principle for term in restriction.hard]


# ---- cuts that an open draw proves wrong ---------------------------------------------------------


@pytest.mark.parametrize("dataset", ["flowers", "error"])
@pytest.mark.usefixtures("forced")
def test_a_wrong_cut_is_opened_by_a_good_open_draw_and_stays_open(
    space: SearchSpace, tmp_path: Path, dataset: str
) -> None:
    task, lines = Task(f"{space.name}/{dataset}", Manual()), list[str]()
    sign = 1.0 if task.metric.maximize else -1.0
    with Session(task, tmp_path / "run", progress=lines.append, **OPEN) as session:
        for number in range(60):
            (one,) = session.ask(1)
            good = follows(RIGHT, one) and not follows(WRONG, one)
            session.tell(one, sign * (1.0 + 0.01 * number * good))
            if session.journal.events("reopened"):
                break
            assert number < 6 or hard(session.restriction) == ["wrong", "right"]
        (event,) = session.journal.events("reopened")
        hit = next(x for x in session.journal.learned() if x.order == event.number)
        assert event.data == {"principles": ["wrong"], "batch": hit.batch, "key": hit.measurement.key}
        assert hit.share is Share.OPEN
        assert any(line.startswith("re-opened what wrong had cut: ") for line in lines)
        assert hard(session.prune()) == ["right"]
    with Session(task, tmp_path / "run", **OPEN) as session:
        assert hard(session.restriction) == ["right"]
        assert hard(session.prune()) == ["right"]


@pytest.mark.parametrize(
    ("share", "batch", "good", "opened"),
    [(Share.OPEN, 7, True, True), (Share.EXPERIMENT, 7, True, False), (Share.TOLD, 7, True, False),
     (Share.OPEN, 6, True, False), (Share.OPEN, 7, False, False)],
)  # fmt: skip
@pytest.mark.parametrize("dataset", ["flowers", "error"])
def test_only_a_good_open_draw_of_the_batch_opens(
    space: SearchSpace, dataset: str, share: Share, batch: int, good: bool, opened: bool
) -> None:
    task = Task(f"{space.name}/{dataset}", Manual())
    sign = 1.0 if task.metric.maximize else -1.0
    everything = space.architectures(space.enumerate())
    inside = [one for one in everything if follows(WRONG, one) and follows(RIGHT, one)]
    outside = next(one for one in everything if not follows(WRONG, one) and follows(RIGHT, one))
    with Session(task, **QUICK) as session:
        for number, one in enumerate(inside[:12]):
            session.journal.record(told(task, one, sign * number, ""), batch=0, share=Share.INITIAL)
        measured = told(task, outside, sign * (11.5 if good else 8.0), "")
        session.journal.record(measured, batch=batch, share=share)
        learning.reopen_after(session.journal, CUT, 7, lambda _line: None)
        assert [e.data["principles"] for e in session.journal.events("reopened")] == [["wrong"]] * opened


# ---- what the code model learns from -------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["flowers", "error"])
def test_the_code_model_learns_from_tenths_and_from_nothing_held_back(
    space: SearchSpace, dataset: str
) -> None:
    task = Task(f"{space.name}/{dataset}", Manual())
    near = Task(f"{space.name}/{'error' if dataset == 'flowers' else 'flowers'}", Manual())
    far = Task("transnasbench101-micro", evaluator=Manual())
    better = 1.0 if task.metric.maximize else -1.0
    rows = space.enumerate()
    everything, other = space.architectures(rows), far.space.architectures(far.space.enumerate()[:5])
    with Session(task, sources=[near, far], **QUICK) as session:
        journal = session.journal
        for at in range(20):
            journal.record(told(task, everything[at], better * at, ""), batch=0, share=Share.INITIAL)
        for at in range(20, 30):
            share = Share.SOURCE if at < 25 else Share.HELD
            journal.record(told(near, everything[at], -better * at, ""), batch=0, share=share)
        for one in other:
            journal.record(told(far, one, 1.0, ""), batch=0, share=Share.SOURCE)
        choices, tenths = learning.training_rows(journal)
    found = [space.architectures(row[None])[0].key for row in choices]
    assert found == [one.key for one in everything[:20]] * 4 + [one.key for one in everything[20:25]]
    assert tenths.tolist() == np.repeat(np.arange(10), 2).tolist() * 4 + [0, 2, 4, 6, 8]


def test_the_engine_serves_what_was_fine_tuned_at_once_and_after_a_resume(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned: list[dict[str, Any]] = []

    def finetune(start: Path, codes: Any, tenths: Any, out: Path, *, seed: int, labels: Any) -> Path:
        tuned.append({"start": start, "codes": len(codes), "tenths": len(tenths), "seed": seed})
        (out / "hash").mkdir(parents=True)
        return out / "hash"

    monkeypatch.setattr("vitruvius.generator.language_model.finetune", finetune)
    proposer = scripted(monkeypatch, space, tmp_path / "pretrained")
    task = Task(f"{space.name}/flowers", Manual())
    settings: dict[str, Any] = {**QUICK, "proposer": "ngram", "finetune_every": 5, "seed": 3}
    with Session(task, tmp_path / "run", **settings) as session:
        for number in range(14):
            (one,) = session.ask(1)
            session.tell(one, float(number))
        events = session.journal.events("model")
        folders = [session.folder / event.data["folder"] for event in events]
        assert proposer.served == folders and len(folders) == 2
        assert session.engine.weights == folders[-1]
    assert [one["start"] for one in tuned] == [tmp_path / "pretrained"] * 2, "always from the beginning"
    assert [one["codes"] for one in tuned] == [event.data["rows"] for event in events] == [4 * 6, 4 * 11]
    assert [one["seed"] for one in tuned] == [3000 + (event.number or 0) for event in events]
    proposer.served.clear()
    with Session(task, tmp_path / "run", **settings) as session:
        session.ask(1)
        assert proposer.served == folders[-1:]


# ---- what is written down ------------------------------------------------------------------------


def test_evidence_is_written_again_only_after_it_grew(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "ALWAYS", 0)
    task = Task(f"{space.name}/flowers", Manual())
    claim = Proposal("It helps.", Predicate.parse("skip >= 1").to_json(), space.name)
    principle = Principle(principle_id(claim), claim, Origin("person"))
    rng = np.random.default_rng(0)
    everything = space.architectures(rng.permutation(space.enumerate()))
    with Session(task, **QUICK) as session:
        session.ledger.add_principle(principle, session=session.id)
        for at, one in enumerate(everything[:104], start=1):
            measured = told(task, one, float(rng.normal()), "")
            session.journal.record(measured, batch=0, share=Share.INITIAL)
            if at < 100:
                continue
            before = len(session.ledger.history(principle.id))
            learning.rescore(session.journal)
            written = len(session.ledger.history(principle.id)) - before
            assert written == (at in (100, 102)), f"after {at}"
        before = len(session.ledger.history(principle.id))
        learning.rescore(session.journal, keep_all=True)
        assert len(session.ledger.history(principle.id)) == before + 1
