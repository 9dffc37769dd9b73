"""What a session asks of whatever writes its candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from described_spaces import CHAIN, described
from scripted_engine import scripted

from vitruvius.agents import learning
from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.pruning import Restriction, Term
from vitruvius.knowledge.share import Share


def test_half_of_a_pool_is_asked_for_freely_and_half_from_the_best_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = described(tmp_path, CHAIN.replace("test-chain", "test-candidates"))
    proposer = scripted(monkeypatch, space, tmp_path / "pretrained")
    wanted = Predicate.parse("skip >= 1")
    cut = Restriction(space.name, (Term("p", wanted, True, 0.3, hard=True),))
    restrictions = [Restriction(space.name), cut]
    monkeypatch.setattr(learning, "prune", lambda *_, **__: restrictions[0])
    settings: dict[str, Any] = {
        "proposer": "ngram", "reasoner": "none", "finetune_every": 0, "pool": 24, "local": 0,
        "temperature": 0.7, "open_minimum": 0, "open_share": 0.0,
    }  # fmt: skip
    with Session(Task(f"{space.name}/flowers", Manual()), **settings) as session:
        for number in range(10):
            if number == 8:
                restrictions.reverse()
            for one in session.ask(1):
                session.tell(one, float(number))
        shares = [x.share for x in session.journal.learned()]
    assert shares == [Share.INITIAL] * 6 + [Share.MODEL] * 4
    requests = proposer.requests
    assert [one.quantile for one in requests] == [None, 9] * 4
    assert {(one.n, one.temperature) for one in requests} == {(12, 0.7)}
    assert len({one.seed for one in requests}) == len(requests), "each half of each batch is another draw"
    assert [one.guide is None for one in requests] == [True] * 4 + [False] * 4
    rows = space.enumerate()
    guide = requests[-1].guide
    assert guide is not None
    assert ((guide.weigh(rows) > 0) == wanted.holds(Population(space, rows))).all()
