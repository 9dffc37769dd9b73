"""What a session does with a reflection: experiments are measured, revisions take effect, budgets carry over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from language_replies import item
from scripted_endpoint import Endpoint, asks, endpoint
from typer.testing import CliRunner

from vitruvius.agents import learning
from vitruvius.agents.candidates import open_share
from vitruvius.agents.learning import revised
from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Author, Brief, Experiment, ModelCall, Reflection, Revision
from vitruvius.agents.session import Session
from vitruvius.agents.tools import SUBMIT
from vitruvius.cli.principles import app
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Origin, Principle, PrincipleStatus, Proposal, principle_id
from vitruvius.knowledge.share import Share
from vitruvius.summary import summarise_session

_ = endpoint  # the fixture, for pytest to find
SMALL: dict[str, Any] = {
    "proposer": "uniform",
    "finetune_every": 0,
    "pool": 16,
    "local": 16,
    "reflect_every": 10,
}
SUBMITS = asks((SUBMIT, json.dumps({"principles": [item("gat >= 2"), item("gin >= 2", "worse")]})))


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))
    monkeypatch.setattr("vitruvius.generator.files.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)


def proposal(text: str, direction: int = 1) -> Proposal:
    return Proposal(
        f"{text} matters.", parse_predicate(text).to_json(), "nasbench-graph", direction=direction
    )


class Script:
    """A reasoner that gives these reflections in order, the last again and again; keeps what it was told."""

    name, uses_templates = "script", False

    def __init__(self, *reflections: Callable[[Brief], Reflection]) -> None:
        self.reflections = list(reflections)
        self.briefs: list[Brief] = []

    def reflect(self, brief: Brief) -> Reflection:
        self.briefs.append(brief)
        return self.reflections[min(len(self.briefs), len(self.reflections)) - 1](brief)

    def close(self) -> None: ...


def wants(*keys: str) -> Callable[[Brief], Reflection]:
    return lambda brief: Reflection(experiments=[Experiment(key, "to tell them apart") for key in keys])


KEYS = ["0000:gcn,gcn,sage,graph", "0123:gcn,cheb,fc,arma", "0000:gcn,gcn,gin,cheb", "0012:gat,gat,gat,gat"]


def test_experiments_are_measured_and_counted(cora: Task, tmp_path: Path) -> None:
    with Session(cora, tmp_path / "run", reasoner=Script(wants(*KEYS)), **SMALL) as session:
        session.run(30)
        learned = [x for x in session.journal.learned() if x.counted]
        batches = session.ledger.events("session", "batch")
    made = [x.measurement.id for x in learned if x.share is Share.EXPERIMENT]
    assert len(learned) == 30
    assert 1 <= len(made) <= sum(x.share.unpruned for x in learned) // 2
    assert set(made) <= {cora.space.parse(key).id for key in KEYS}
    reasons = [why for event in batches for why in event.data["reasons"].values()]
    assert sum("to tell them apart" in why for why in reasons) == len(made)
    shares = {x.share: x for x in learned}
    uniform = session.journal.observations().uniform
    assert not uniform[[i for i, x in enumerate(learned) if x.share is Share.EXPERIMENT]].any(), shares


def test_what_was_measured_is_not_measured_again(cora: Task) -> None:
    with Session(cora, reasoner=Script(wants(*KEYS)), **SMALL) as session:
        session.tell(cora.space.parse(KEYS[0]), 0.7)
        session.run(20)
        assert KEYS[0] not in [key for key, _ in session.journal.experiments()]
        ids = [x.measurement.id for x in session.journal.learned() if x.counted]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("opened", "made", "size", "expected"),
    [(0, 0, 1, 0), (1, 0, 1, 1), (2, 1, 1, 0), (0, 0, 4, 2), (3, 1, 1, 1)],
)
def test_experiments_take_half_of_the_open_share(opened: int, made: int, size: int, expected: int) -> None:
    made_of = {Share.INITIAL: 10, Share.OPEN: opened - made, Share.EXPERIMENT: made, Share.MODEL: 35}
    shares = [share for share, count in made_of.items() for _ in range(count)]
    options = Options(open_share=1.0, open_minimum=0)
    due, experiments = open_share(options, shares, [(key, "") for key in KEYS], 10_000, size)
    assert due == size
    assert len(experiments) == expected


def test_revisions_reach_status_and_history(cora: Task, tmp_path: Path) -> None:
    old, wrong = proposal("gat >= 1"), proposal("fc >= 2")
    new = proposal("gat >= 3")

    def second(brief: Brief) -> Reflection:
        assert {p.id for p in brief.known} == {principle_id(old), principle_id(wrong)}
        return Reflection(
            proposals=[new],
            revisions=[
                Revision("narrow", principle_id(old), "Only with many.", principle_id(new)),
                Revision("retract", principle_id(wrong), "It does not hold."),
            ],
        )

    script = Script(lambda brief: Reflection(proposals=[old, wrong]), second)
    for evaluations in (25, 30):  # and it stays so when the session is resumed
        with Session(cora, tmp_path / "run", reasoner=script, **SMALL) as session:
            session.run(evaluations)
            found = {p.id: p for p in session.ledger.principles(session="session")}
            history = session.ledger.history(principle_id(wrong))
            events = session.ledger.events("session", "reflection")
        assert found[principle_id(wrong)].status is PrincipleStatus.RETRACTED
        assert found[principle_id(new)].supersedes == principle_id(old)
        assert found[principle_id(old)].status is PrincipleStatus.SUPERSEDED
        assert [status for _, _, status, _ in history][-1] is PrincipleStatus.RETRACTED
        assert events[1].data["revisions"][1]["reason"] == "It does not hold."
        told = CliRunner().invoke(app, ["show", principle_id(old), "--run", str(tmp_path / "run")]).output
        assert f"narrowed by {principle_id(new)}: Only with many." in told


@pytest.mark.parametrize(
    ("old", "new", "becomes"),
    [
        ("supported", "proposed", "supported"),
        ("supported", "supported", "superseded"),
        ("proposed", "proposed", "superseded"),
        ("contested", "supported", "superseded"),
        ("proposed", "refuted", "proposed"),
        ("retracted", "supported", "retracted"),
    ],
)
def test_a_supported_principle_waits_for_its_replacement(old: str, new: str, becomes: str) -> None:
    first = Principle("p1", proposal("gat >= 1"), Origin("x"), PrincipleStatus(old))
    second = Principle("p2", proposal("gat >= 2"), Origin("x"), PrincipleStatus(new), supersedes="p1")
    assert [p.status.value for p in revised([first, second], [])] == [becomes, new]
    assert revised([first, second], ["p2"])[1].status is PrincipleStatus.RETRACTED


def test_each_principle_names_its_author(cora: Task) -> None:
    one, two, three = proposal("gat >= 1"), proposal("gat >= 2"), proposal("gat >= 3")
    asked = [ModelCall("m", "t", f"hash{i}", "", "", 1, 1, 0.0, "ok", 0.0) for i in range(2)]

    def says(brief: Brief) -> Reflection:
        authors = {principle_id(one): Author("statistics"), principle_id(two): Author("m", 0)}
        return Reflection(proposals=[one, two, three], calls=asked, authors=authors)

    with Session(cora, reasoner=Script(says), **SMALL) as session:
        session.ask(10)
        for architecture in session.ask(10):
            session.tell(architecture, 0.5)
        found = {p.id: p.origin for p in session.reflect()}
        calls = [call.id for call in session.ledger.calls("session")]
    told = [(o.reasoner, o.template, o.call) for o in (found[principle_id(p)] for p in (one, two, three))]
    assert told == [("statistics", "", None), ("m", "hash0", calls[0]), ("script", "", None)]


def test_what_a_pack_brought_is_known(cora: Task) -> None:
    brought = proposal("gat >= 2")
    script = Script(lambda brief: Reflection())
    with Session(cora, reasoner=script, **SMALL) as session:
        principle = Principle(principle_id(brought), brought, Origin("statistics", pack="mine"))
        session.ledger.add_principle(principle, session=session.id)
        (one, *_) = session.ask(1)
        session.tell(one, 0.5)
        session.reflect()
    assert [p.id for p in script.briefs[0].known] == [principle.id]


# ---- a language model in a session, over HTTP ---------------------------------------------------


def opened(cora: Task, where: Path, lines: list[str] | None = None, **more: Any) -> Session:
    settings: dict[str, Any] = {**SMALL, "reasoning": "agent", **more}
    say = lines.append if lines is not None else None
    sources = [cora.sibling("citeseer")]
    return Session(cora, where, sources=sources, reasoner="openai:gpt-5", progress=say, **settings)


def test_a_run_that_is_made_again_pays_nothing(
    cora: Task, tmp_path: Path, endpoint: Callable[..., Endpoint]
) -> None:
    served = endpoint(SUBMITS)
    lines: list[str] = []
    with opened(cora, tmp_path / "first", lines) as session:
        session.run(25)
        first = summarise_session(session.ledger)
        facts = [(x.measurement.key, x.share) for x in session.journal.learned()]
    paid = len(served.requests)
    assert paid == first.calls[0].calls == 2 and (first.calls[0].cost or 0) > 0 and not first.calls[0].cached
    assert any("at most $0.50 a reflection, $2.00 in all" in line for line in lines)
    with opened(cora, tmp_path / "second") as session:
        session.run(25)
        second = summarise_session(session.ledger)
        assert facts == [(x.measurement.key, x.share) for x in session.journal.learned()]
    assert len(served.requests) == paid
    assert (second.calls[0].cached, second.calls[0].cost) == (2, 0.0)
    assert [p.id for p in second.principles] == [p.id for p in first.principles]
    with opened(cora, tmp_path / "third", cache_replies=False) as session:
        session.run(25)
    assert len(served.requests) == 2 * paid


def test_a_cap_of_the_session_holds_over_resumes_and_can_be_raised(
    cora: Task, tmp_path: Path, endpoint: Callable[..., Endpoint]
) -> None:
    served = endpoint(SUBMITS)
    caps: dict[str, Any] = {"price_in": 100.0, "price_out": 100.0, "reflection_money": 5.0}
    with opened(cora, tmp_path / "run", session_money=0.6, **caps) as session:
        session.run(15)
        assert len(served.requests) == 1
    with opened(cora, tmp_path / "run", session_money=0.0005, **caps) as session:
        session.run(25)  # not enough for another request: the search goes on without
        assert len(served.requests) == 1 and len(session.curve()) == 25
        assert any("set session_money" in note for note in summarise_session(session.ledger).notes)
    with opened(cora, tmp_path / "run", session_money=50.0, **caps) as session:
        session.run(35)
        assert len(served.requests) == 2


def test_half_a_price_is_refused(cora: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-the-test")
    with pytest.raises(SettingsError, match="price_in and price_out"):
        opened(cora, tmp_path / "run", price_in=1.0)


def test_principles_are_scored_once_for_the_same_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = learning.assess

    def assess(born: Any, *rest: Any, **named: Any) -> Any:
        asked.append(len(born))
        return plain(born, *rest, **named)

    monkeypatch.setattr(learning, "assess", assess)
    task = Task("nasbench-graph/cora")
    with Session(
        task, tmp_path / "run", sources=[task.sibling("pubmed")], source_size=400, proposer="uniform"
    ) as session:
        session.run(12)
        once = learning.rescore(session.journal)
        before = len(asked)
        assert once and learning.rescore(session.journal) == once and len(asked) == before
        assert learning.rescore(session.journal, keep_all=True) == once and len(asked) == before + 1
        (another,) = session.ask(1)
        session.tell(another, 0.5)
        assert len(asked) > before + 1, "a measurement is a new fact"
