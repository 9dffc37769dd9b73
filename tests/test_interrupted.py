"""Reflections that do not come to a good end: interrupted, without anything handed in, or over a limit."""

from __future__ import annotations

import _thread
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from language_replies import GOOD, item

from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.session import Session
from vitruvius.agents.spending import Allowance, Limits, Price
from vitruvius.agents.tools import SUBMIT
from vitruvius.errors import ModelError
from vitruvius.generator.evaluation.task import Task
from vitruvius.testing.chat import ScriptedChatModel, calls

SMALL: dict[str, Any] = {"proposer": "uniform", "finetune_every": 0, "initial": 6, "reflect_every": 5}
LOOKS = calls(("coverage", {}))
SUBMITS = calls((SUBMIT, {"principles": [item("gat >= 2")], "revisions": []}))


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


@pytest.fixture
def cora() -> Task:
    return Task("nasbench-graph/cora")


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def reasoner(*replies: Any, **more: Any) -> LanguageReasoner:
    model = ScriptedChatModel(replies=list(replies), tools=True)
    more.setdefault("road", "agent")
    return LanguageReasoner(model, **more)


def test_what_an_interrupted_reflection_paid_for_is_written_down(cora: Task, tmp_path: Path) -> None:
    def interrupts(_: Any) -> str:
        _thread.interrupt_main()
        import time

        time.sleep(0.5)
        return "late"

    with Session(cora, tmp_path / "run", reasoner=reasoner(LOOKS, interrupts), **SMALL) as session:
        with pytest.raises(KeyboardInterrupt):
            session.run(12)
        written = [call.call for call in session.ledger.calls("session")]
    assert [call["outcome"] for call in written] == ["ok", "interrupted"]
    assert all(call["tokens_in"] > 0 for call in written)
    assert written[1]["cost"] is None, "it may have to be paid for, nobody knows how much"
    with Session(cora, tmp_path / "run", reasoner=reasoner(LOOKS, SUBMITS), **SMALL) as session:
        session.run(12)
        assert len(session.ledger.calls("session")) >= 4
        assert session.ledger.events("session", "reflection")


def test_statistics_stand_in_where_nothing_was_handed_in(cora: Task, tmp_path: Path) -> None:
    asked = reasoner(LOOKS, limits=Limits(agent_calls=2))
    with Session(
        cora, tmp_path / "run", sources=[cora.sibling("citeseer")], reasoner=asked, **SMALL
    ) as session:
        session.run(8)
        warned = [event.data["text"] for event in session.ledger.events("session", "warning")]
        origins = {p.origin.reasoner for p in session.ledger.principles(session="session")}
    assert any("statistics stood in: it handed in nothing in 2 of 2 requests" in text for text in warned)
    assert origins == {"statistics"}


def test_a_limit_that_forbids_to_ask_ends_no_run(cora: Task, tmp_path: Path) -> None:
    price = Price(1.0, 1.0)
    probed = calls(("answer", {"number": 7}))
    for number, asked in enumerate(
        [
            reasoner(LOOKS, price=price, allowance=Allowance(money=0.0)),
            reasoner(probed, LOOKS, price=price, allowance=Allowance(money=0.0085), road="auto"),
        ]
    ):
        with Session(cora, tmp_path / str(number), reasoner=asked, **SMALL) as session:
            session.run(8)
            warned = [event.data["text"] for event in session.ledger.events("session", "warning")]
            assert [call.call["outcome"] for call in session.ledger.calls("session")][:2] == [
                "tools"
            ] * number
        assert any("set session_money" in text for text in warned)


def test_replies_that_were_all_cut_off_stop_the_run_at_first(cora: Task, tmp_path: Path) -> None:
    from langchain_core.messages import AIMessage

    cut = AIMessage("", response_metadata={"finish_reason": "length"})
    for road in ("agent", "chain"):
        with (
            Session(cora, tmp_path / road, reasoner=reasoner(cut, road=road), **SMALL) as session,
            pytest.raises(ModelError, match="cut off at its limit"),
        ):
            session.run(8)
    later = reasoner(GOOD.replace("skip", "gat").replace("op(0->1) = none", "fc >= 1"), cut, road="chain")
    with Session(cora, tmp_path / "later", reasoner=later, **SMALL) as session:
        session.run(20)
        warned = [event.data["text"] for event in session.ledger.events("session", "warning")]
    assert any("statistics stood in" in text and "cut off" in text for text in warned)
