"""What a script of a user's meets: asking and telling side by side, tables of results, and clear refusals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from described_spaces import CHAIN, described

import vitruvius as vt
from vitruvius.agents.option_values import OptionValues
from vitruvius.agents.options import Options
from vitruvius.errors import BudgetError, LedgerError, RunBusyError, SettingsError, UserError
from vitruvius.generator.space import SearchSpace

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}


def score(architecture: vt.Architecture) -> float:
    return float(sum(architecture.choices))


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN.replace("test-chain", "test-script"))


@pytest.fixture
def manual(space: SearchSpace) -> vt.Task:
    return vt.Task("test-script/flowers", vt.Manual(metric="accuracy"))


def test_an_editor_knows_every_option_with_its_type() -> None:
    told, kept = get_type_hints(OptionValues), {n: f.annotation for n, f in Options.model_fields.items()}
    assert list(told) == [name for name in kept if name != "reasoner"]
    wider = {"model_options", "where", "objectives"}  # these take what is turned into the kept type
    assert {n: told[n] for n in told if n not in wider} == {n: kept[n] for n in told if n not in wider}
    assert "settings: Unpack[OptionValues]" in str(inspect.signature(vt.Session)).replace("'", "")


# ---- asking and telling --------------------------------------------------------------------------


def test_workers_side_by_side_get_different_architectures(manual: vt.Task) -> None:
    with vt.Session(manual, **QUICK) as session:
        first = session.ask(2)
        assert session.ask(2) == first, "what is not told yet comes again"
        four = session.ask(4)
        assert four[:2] == first and len({one.id for one in four}) == 4
        assert session.ask(1) == first[:1]
        for one in (four[3], four[0], four[2]):
            session.tell(one, score(one))
        more = session.ask(3)
        assert more[0] == four[1] and len({one.id for one in (*four, *more)}) == 6
        for one in more:
            session.tell(one, score(one))
        told = session.table()
        assert [row["evaluation"] for row in told] == [1, 2, 3, 4, 5, 6]
        assert {row["share"] for row in told} == {"initial"}


def test_a_search_by_ask_and_tell_ends_where_the_space_does(manual: vt.Task) -> None:
    with vt.Session(manual, **QUICK) as session:
        everything = session.ask(10_000)
        assert len({one.id for one in everything}) == len(everything) == manual.space.size
        for one in everything:
            session.tell(one, score(one))
        assert session.ask(3) == []


def test_another_score_is_refused_before_anything_is_written(manual: vt.Task, tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    with vt.Session(manual, tmp_path / "a", ledger=shared, **QUICK) as session:
        (one,) = session.ask()
        session.tell(one, 0.5)
    with vt.Session(manual, tmp_path / "b", ledger=shared, **QUICK) as session:
        with pytest.raises(UserError, match=r"was told before, as 0\.5"):
            session.tell(one, 0.6)
        assert session.curve() == []
        session.tell(one, 0.5)
        assert len(session.curve()) == 1


@pytest.mark.parametrize("cost", [{"params": float("nan")}, {"params": "x"}, {"latency": {"phone": -1.0}}])
def test_costs_that_are_told_are_checked(manual: vt.Task, cost: dict[str, Any]) -> None:
    with vt.Session(manual, **QUICK) as session:
        (one,) = session.ask()
        session.tell(one, 0.5)
        told = replace(session.curve()[0], **cost)
        (other,) = session.ask()
        with pytest.raises(UserError, match="cost"):
            session.tell(other, replace(told, key=other.key, id=other.id))


# ---- ledgers and folders ---------------------------------------------------------------------------


def test_sessions_without_a_folder_in_one_ledger_are_apart(manual: vt.Task, tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    with (
        vt.Session(manual, ledger=shared, **QUICK) as first,
        vt.Session(manual, ledger=shared, seed=1, **QUICK) as second,
    ):
        for session in (first, second):
            for one in session.ask(3):
                session.tell(one, score(one))
        assert first.id != second.id and len(first.curve()) == len(second.curve()) == 3


def test_a_folder_that_this_process_has_open(manual: vt.Task, tmp_path: Path) -> None:
    with (
        vt.Session(manual, tmp_path / "run", **QUICK),
        pytest.raises(RunBusyError, match="open in this process already: close that one first"),
    ):
        vt.Session(manual, tmp_path / "run", **QUICK)


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_a_lost_ledger_is_no_new_session(manual: vt.Task, tmp_path: Path, how: str) -> None:
    run = tmp_path / "run"
    with vt.Session(manual, run, **QUICK) as session:
        session.tell(session.ask()[0], 0.5)
        _ = session.store
    (run / "settings.toml").write_text("# as the command line writes it")
    for file in run.glob("ledger.db*"):
        file.unlink()
    if how == "emptied":
        (run / "ledger.db").touch()
    with pytest.raises(LedgerError, match="what was measured is gone"):
        vt.Session(manual, run, **QUICK)


def test_a_file_that_ends_the_program_is_no_function(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("raise SystemExit(0)")
    with pytest.raises(UserError, match=r"cannot be imported: SystemExit\(0\)"):
        vt.Task("test-script/flowers", vt.Function(f"{tmp_path / 'script.py'}:measure"))


# ---- results -------------------------------------------------------------------------------------


def test_results_as_a_table_and_principles_by_status(capsys: pytest.CaptureFixture[str]) -> None:
    task = vt.Task("nasbench-graph/cora")
    settings: dict[str, Any] = {**QUICK, "reasoner": "statistics", "where": vt.Predicate.parse("fc <= 2")}
    with vt.Session(task, sources=[task.sibling("pubmed")], progress=True, **settings) as session:
        session.run(12)
        rows, curve = session.table(), session.curve()
        assert [row["score"] for row in rows if row["evaluation"]] == [m.score for m in curve]
        assert all(row[d.name] in d.choices for row in rows for d in task.space.decisions)
        found = session.principles()
        supported = session.principles("supported")
        assert supported == [one for one in found if one.status == "supported"] == found[: len(supported)]
        with pytest.raises(UserError, match="Unknown status 'suported'"):
            session.principles("suported")
        assert repr(session) == "<Session nasbench-graph/cora: 12 evaluations>"
    assert "[ 12]" in capsys.readouterr().out


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vt.Task("test-script/flowers", score), r"is no evaluator: give vt\.Function"),  # type: ignore[arg-type]
        (lambda: vt.Task("test-script/flowers", vt.Table), "is no evaluator"),  # type: ignore[arg-type]
        (lambda: vt.Task(None), "named by a text"),  # type: ignore[arg-type]
        (lambda: vt.Task("test-script/flowers", vt.Function(score), maximize="min"), "maximize='min'"),  # type: ignore[arg-type]
        (lambda: vt.Function(score, maximize=0), "maximize=0"),  # type: ignore[arg-type]
        (lambda: vt.Task("nasbench-graph", vt.Manual(maximize="no")), "maximize='no'"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_task_is_told_in_a_sentence(
    space: SearchSpace, call: Callable[[], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("sources", [None, "citeseer", vt.Task("nasbench-graph/pubmed")])
def test_sources_are_a_list(manual: vt.Task, sources: Any) -> None:
    with pytest.raises(SettingsError, match="give a list of tasks"):
        vt.Session(manual, sources=sources, **QUICK)


@pytest.mark.parametrize("wrong", ["10", None, 10.5, float("nan")])
def test_a_budget_is_a_whole_number(manual: vt.Task, wrong: Any) -> None:
    with vt.Session(manual, **QUICK) as session:
        with pytest.raises(BudgetError, match="whole number"):
            session.run(wrong)
        with pytest.raises(UserError, match="whole number"):
            session.ask(wrong)


class Elsewhere:
    """An evaluator's bench whose measurements are of another task, or none at all."""

    def __init__(self, inner: Any, gives: Callable[[vt.Measurement], Any]) -> None:
        self._inner, self._gives = inner, gives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def measure(self, architectures: Sequence[vt.Architecture], *, seed: int = 0) -> Iterator[Any]:
        return (self._gives(one) for one in self._inner.measure(architectures, seed=seed))


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda m: replace(m, task="mine"), "measurement on 'mine'"),
        (lambda m: m.score, "must give Measurements"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_bench_that_measures_something_else_is_refused(
    space: SearchSpace, gives: Callable[[vt.Measurement], Any], message: str, asynchronous: bool
) -> None:
    task = vt.Task("test-script/flowers", vt.Function(score, version="1"))
    task.bench = Elsewhere(task.bench, gives)  # type: ignore[assignment]
    with (
        vt.Session(task, asynchronous=asynchronous, **QUICK) as session,
        pytest.raises(UserError, match=message),
    ):
        session.run(8)


# ---- a reasoner of one's own -----------------------------------------------------------------------


class Proposes:
    """A reasoner that proposes what it was given."""

    name = "mine"

    def __init__(self, *proposals: vt.Proposal) -> None:
        self.proposals = proposals

    def reflect(self, brief: Any) -> Sequence[vt.Proposal]:
        return self.proposals


def proposal(predicate: Any = "gat >= 1", **changed: Any) -> vt.Proposal:
    fields: dict[str, Any] = {"sentence": "It is good.", "predicate": predicate, "space": "nasbench-graph"}
    return vt.Proposal(**{**fields, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"space": "blah"},
        {"task": "small/nope"},
        {"direction": 0},
        {"direction": "worse"},
        {"expected": np.nan},
    ],
)
def test_a_proposal_that_cannot_be_tested_is_refused(changed: dict[str, Any]) -> None:
    lines: list[str] = []
    reasoner = Proposes(
        proposal(**changed), proposal(vt.Predicate.parse("gcn >= 2")), proposal(sentence=None)
    )
    settings: dict[str, Any] = {**QUICK, "reasoner": reasoner}
    with vt.Session(vt.Task("nasbench-graph/cora"), progress=lines.append, **settings) as session:
        session.run(8)
        found = {vt.Predicate.parse(one.proposal.predicate).text() for one in session.principles()}
    assert found == {"gcn >= 2", "gat >= 1"}
    assert any(line.startswith("Refused:") for line in lines)
