"""Repeats of a replay: another seed each, together within the limits of one session."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvius.agents.reasoner import Brief, ModelCall, Reflection
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import PrincipleStatus, Proposal
from vitruvius.replay import Recorded, replay
from vitruvius.testing.reasoners import example_brief


class Counting:
    """Keeps its briefs; each reflection costs ten tokens in and three out."""

    name, uses_templates = "counting", False

    def __init__(self) -> None:
        self.briefs: list[Brief] = []

    def reflect(self, brief: Brief) -> Reflection:
        self.briefs.append(brief)
        call = ModelCall("m", "principles", "", "", "", 10, 3, 0.0, "ok", 0.5)
        claim = Proposal("It helps.", Predicate.parse("gat >= 1").to_json(), brief.space.name)
        return Reflection(proposals=[claim], calls=[call], notes=["The same note."])

    def close(self) -> None: ...


def test_each_repeat_has_its_seed_and_all_share_one_purse() -> None:
    brief = example_brief("nasbench-graph")
    born = 1 + max(int(one.order.max()) for one in brief.observations)
    record = Recorded(Path("run"), 3, brief, brief.observations, born, (), "statistics")
    reasoner = Counting()
    found = replay(record, reasoner, "counted", repeat=3)
    assert [one.seed for one in reasoner.briefs] == [brief.seed, brief.seed + 1, brief.seed + 2]
    spent = [one.spent for one in reasoner.briefs]
    assert [(one.tokens_in, one.tokens_out) for one in spent] == [(0, 0), (10, 3), (20, 6)]
    assert spent[0].seconds == 0.0 < spent[1].seconds < spent[2].seconds < found.seconds
    assert (found.tokens, found.cost) == ((30, 9), pytest.approx(1.5))
    assert found.notes == ["The same note."] and len(found.principles) == 3
    plain = found.as_json()
    assert plain["supported"] == [one["status"] for one in plain["principles"]].count("supported")
    found.principles.append(("Another.", PrincipleStatus.SUPPORTED))
    assert found.as_json()["supported"] == plain["supported"] + 1
