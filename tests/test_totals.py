"""What `vitruvius show` and the report say of calls that were estimated, or whose cost is not known."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from vitruvius.agents.asking import Asker, Question
from vitruvius.agents.failures import UNREADABLE
from vitruvius.agents.models import Chat
from vitruvius.agents.session import Session
from vitruvius.agents.spending import Limits, Price
from vitruvius.cli.show import print_summary
from vitruvius.generator.evaluation.task import Task
from vitruvius.prompts.library import find
from vitruvius.report import render
from vitruvius.summary import summarise
from vitruvius.testing.chat import ScriptedChatModel


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def test_the_known_part_of_a_cost_is_told_and_estimates_are_named(tmp_path: Path) -> None:
    model = ScriptedChatModel(replies=["a reply", TimeoutError("slow"), "a reply"])
    chat = Chat("openai:m", lambda: model, price=Price(1.0, 1.0))
    asker = Asker(chat, Limits(), 0, sleep=lambda _: None)
    for body in ("one", "two"):
        asker.send(Question(find("principles"), body * 999), lambda model: model.invoke("x"))
    assert [call.estimated for call in asker.calls] == [True, True, True]
    assert [call.cost is None for call in asker.calls] == [False, True, False]
    assert asker.calls[1].outcome in UNREADABLE
    with Session(Task("nasbench-graph/cora"), tmp_path / "run", proposer="uniform", initial=6) as session:
        session.run(6)
        for call in asker.calls:
            session.ledger.add_call(session.id, call)
    summary = summarise(tmp_path / "run")
    line = summary.calls[0]
    assert (line.cost, line.unpriced, line.estimated) == (None, 1, 3)
    out = StringIO()
    print_summary(summary, Console(file=out, width=200))
    known = sum(call.cost or 0.0 for call in asker.calls)
    assert known > 0 and f"paid for the reasoner: at least ${known:.4f}, estimated" in out.getvalue()
    assert "(estimated for 3)" in out.getvalue()
    assert f"at least {known:.4f}" in render(summary)
