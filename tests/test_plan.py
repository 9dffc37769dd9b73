"""What a run says it will do before it spends anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vitruvius as vt
from vitruvius.agents.own_reasoner import own_reasoner
from vitruvius.agents.plan import make_plan
from vitruvius.agents.reasoner import Brief
from vitruvius.knowledge.imports import place_pack
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.packs import export_pack
from vitruvius.knowledge.principle import Origin, Principle, principle_id

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "statistics", "finetune_every": 0}


def lines(session: vt.Session, evaluations: int = 20) -> list[str]:
    return make_plan(session.journal, (), session.options, evaluations, session.aims)["lines"]


class Mine:
    def reflect(self, brief: Brief) -> list[vt.Proposal]:
        return []


@pytest.fixture(scope="module")
def cora() -> vt.Task:
    return vt.Task("nasbench-graph/cora")


def test_a_budget_beyond_the_space_is_told(cora: vt.Task) -> None:
    with vt.Session(cora, **QUICK) as session:
        assert not any("more than there are" in line for line in lines(session, 26_206))
        told = lines(session, 1_000_000)
    assert "1,000,000 evaluations, 0 done" in told[1]
    assert "more than there are: it ends when all 26,206 are known" in told[2]


def test_what_of_a_pack_was_left_out_is_told(cora: vt.Task, tmp_path: Path) -> None:
    with Ledger(tmp_path / "other.db") as ledger:
        label = ("nasbench201", "cifar10")
        ledger.start_session("s", task="nasbench201/cifar10", seed=0, settings={}, labels=[label])
        for text, space in (("conv3x3 >= 2", "nasbench201"), ("depth >= 2", "any")):
            claim = vt.Proposal(text, vt.Predicate.parse(text).to_json(), space)
            origin = Origin("test", labels=frozenset([label]))
            ledger.add_principle(Principle(principle_id(claim), claim, origin), session="s")
        export_pack(ledger, ledger.principles(), tmp_path / "pack.json", name="few")
    place_pack(tmp_path / "pack.json", tmp_path / "run")
    with vt.Session(cora, tmp_path / "run", **QUICK) as session:
        (told,) = [line for line in lines(session) if line.startswith("pack")]
    assert (
        "few: 1 principle taken over, to be tested here; 1 left out: names what nasbench-graph does not"
        in told
    )


def test_an_object_of_ones_own_costs_nothing_that_is_known(cora: vt.Task) -> None:
    with vt.Session(cora, **QUICK) as session:
        told = make_plan(session.journal, (), session.options, 20, session.aims, own_reasoner(Mine()))[
            "lines"
        ]
    assert "reasoner   Mine (an object of your own)" in told
