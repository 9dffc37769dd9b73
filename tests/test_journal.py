"""One session's view of the ledger: the best so far, and what quantiles are taken against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from described_spaces import CHAIN, described

from vitruvius.agents.measuring import told
from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.share import Share

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN.replace("test-chain", "test-journal"))


@pytest.mark.parametrize("dataset", ["flowers", "error"])
def test_the_first_of_equals_stays_the_best(space: SearchSpace, tmp_path: Path, dataset: str) -> None:
    task = Task(f"{space.name}/{dataset}", Manual())
    sign = 1.0 if task.metric.maximize else -1.0
    cells = space.architectures(space.enumerate()[:6])
    with Session(task, tmp_path / "run", **QUICK) as session:
        for cell, score, best in zip(cells, (1.0, 3.0, 2.0, 3.0, 4.0, 4.0), (0, 1, 1, 1, 4, 4), strict=True):
            session.tell(cell, sign * score)
            assert session.best().architecture == cells[best]
    with Session(task, tmp_path / "run", **QUICK) as session:
        assert session.best().architecture == cells[4]


def test_the_reference_is_the_scores_of_uniform_draws_in_order(space: SearchSpace) -> None:
    task = Task(f"{space.name}/flowers", Manual())
    cells = space.architectures(space.enumerate())
    shares = [
        Share.INITIAL,
        Share.TOLD,
        Share.OPEN,
        Share.LOCAL,
        Share.INITIAL,
        Share.EXPERIMENT,
        Share.TRANSFER,
    ]
    with Session(task, **QUICK) as session:
        for at, share in enumerate(shares):
            session.journal.record(told(task, cells[at], 10.0 - at, ""), batch=0, share=share)
        before = session.journal.observations()
        assert before.reference.tolist() == [6.0, 8.0, 10.0], "uniform from the start"
        session.journal.freeze_reference(task.name)
        frozen = session.journal.event("reference", 0)
        assert frozen == {"task": task.name, "scores": [6.0, 8.0, 10.0], "maximize": True}
        session.journal.record(told(task, cells[9], 99.0, ""), batch=0, share=Share.INITIAL)
        after = session.journal.observations()
        assert after.reference.tolist() == [6.0, 8.0, 10.0], "what comes later changes nothing"
        assert after.quantiles.tolist() == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0, 1])
