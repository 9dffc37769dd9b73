"""The session: budget, honesty, resume, ask and tell."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitruvius.agents.candidates import batch_size, open_due
from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Brief, ModelCall, Reflection
from vitruvius.agents.session import Session
from vitruvius.building import build_session
from vitruvius.config import load_settings
from vitruvius.errors import (
    BudgetError,
    LedgerError,
    ModelError,
    RunBusyError,
    SettingsError,
    TargetLeakError,
    UnknownNameError,
    UserError,
)
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.share import Share

SMALL: dict[str, Any] = {
    "proposer": "ngram", "finetune_every": 0, "source_size": 40, "pool": 32, "local": 32, "reflect_every": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


@pytest.fixture
def session(cora: Task, tmp_path: Path) -> Iterator[Session]:
    with Session(cora, tmp_path / "run", sources=[cora.sibling("citeseer")], **SMALL) as session:
        yield session


def facts(ledger: Ledger) -> dict[str, Any]:
    """Everything a ledger holds, without times."""

    def timeless(data: Any) -> Any:
        if isinstance(data, dict):
            return {k: timeless(v) for k, v in data.items() if k != "seconds"}
        return data

    kept = [e for e in ledger.events("session") if e.kind not in ("timing", "plan")]
    return {
        "learned": [(x.measurement, x.batch, x.share, x.counted) for x in ledger.learned("session")],
        "events": [(e.kind, e.number, timeless(e.data)) for e in kept],
        "principles": [(p, len(ledger.history(p.id))) for p in ledger.principles(session="session")],
    }


def test_run_spends_exactly_the_budget_and_finds_the_best_of_what_it_saw(session: Session) -> None:
    best = session.run(25)
    curve = session.curve()
    assert len(curve) == 25
    assert len({m.id for m in curve}) == 25
    assert best.measurement.score == max(m.score or 0 for m in curve)
    assert best.architecture.key in str(best)


def test_running_again_continues_and_running_less_does_nothing(session: Session) -> None:
    session.run(15)
    first = session.curve()
    session.run(15)
    assert session.curve() == first
    session.run(20)
    assert session.curve()[:15] == first and len(session.curve()) == 20


def test_open_share_is_at_least_what_is_promised(session: Session) -> None:
    session.run(30)
    shares = [x.share for x in session.journal.learned()]
    initial = session.options.initial
    assert shares[:2] == ["transfer", "initial"] and set(shares[:initial]) == {"transfer", "initial"}
    assert "initial" not in shares[initial:]
    assert shares.count(Share.OPEN) >= 3


@pytest.mark.parametrize(
    ("evaluations", "expected"), [(50, 5), (100, 10), (12, 2), (14, 2), (20, 2), (30, 3), (200, 20)]
)
def test_open_share_is_spread_over_the_session(evaluations: int, expected: int) -> None:
    options = Options()
    counted, opened, history = options.initial, 0, list[int]()
    while counted < evaluations:
        size = min(batch_size(options, counted), evaluations - counted)
        due = open_due(options, counted, evaluations, opened, size)
        opened, counted = opened + due, counted + size
        history.append(due)
    assert opened == expected
    assert max(history) <= min(5, 1 + expected)
    assert history[0] == 0, "the first evaluation that knows something goes where it points"


def test_only_who_writes_with_the_code_model_has_it_fine_tuned(
    cora: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned: list[int] = []

    def finetune(journal: Journal, _engine: Any, _options: Any, number: int, *_: Any) -> None:
        tuned.append(journal.counted())
        journal.log("model", {"folder": "none"}, number=number)

    monkeypatch.setattr("vitruvius.agents.learning.finetune_model", finetune)
    for proposer, every, wanted in (("uniform", 5, []), ("ngram", 0, []), ("ngram", 5, [6, 12])):
        settings: dict[str, Any] = {
            **SMALL,
            "proposer": proposer,
            "finetune_every": every,
            "reasoner": "none",
        }
        with Session(cora, **settings) as session:
            session.run(15)
        assert tuned == wanted


def test_batches_are_in_the_ledger_before_they_are_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real = type(session.task.bench).measure

    def measure(bench: Any, architectures: Any, *, seed: int = 0) -> Any:
        last = session.journal.last("batch")
        seen.append(last is not None and all(a.key in last[1]["keys"] for a in architectures))
        return real(bench, architectures, seed=seed)

    session.learn_sources()
    monkeypatch.setattr(type(session.task.bench), "measure", measure)
    session.run(15)
    assert seen and all(seen)


def test_the_same_seed_gives_the_same_session(cora: Task, tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    for name in ("a", "b"):
        with Session(cora, tmp_path / name, sources=[cora.sibling("citeseer")], **SMALL) as one:
            one.run(20)
            runs.append(facts(one.ledger))
    assert runs[0] == runs[1]
    with Session(cora, tmp_path / "c", sources=[cora.sibling("citeseer")], seed=1, **SMALL) as other:
        other.run(20)
        assert facts(other.ledger)["learned"] != runs[0]["learned"]


def _run_child(folder: Path, writes: int) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("killable.py")
    return subprocess.run(
        [sys.executable, str(script), str(folder), "20", str(writes)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_write_and_resumed_gives_the_same_facts(tmp_path: Path) -> None:
    whole = _run_child(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    writes = int(whole.stdout.split()[-1])
    assert writes > 30
    expected = facts(Ledger(tmp_path / "whole" / "ledger.db"))
    for kill in sorted({2, 6, 18, writes // 2, writes - 8, writes - 3}):
        folder = tmp_path / f"killed{kill}"
        assert _run_child(folder, kill).returncode == -9
        resumed = _run_child(folder, 0)
        assert resumed.returncode == 0, resumed.stderr
        assert facts(Ledger(folder / "ledger.db")) == expected, f"killed after write {kill}"


def test_other_settings_are_told_apart(cora: Task, tmp_path: Path) -> None:
    with Session(cora, tmp_path / "run", **SMALL):
        pass
    with pytest.raises(SettingsError, match=r"batch was 5 and is now 3"):
        Session(cora, tmp_path / "run", batch=3, **SMALL)


def test_a_folder_in_use_is_refused(session: Session, cora: Task) -> None:
    with pytest.raises(RunBusyError, match="process"):
        Session(cora, session.path, sources=[cora.sibling("citeseer")], **SMALL)


def test_the_target_is_refused_as_source(cora: Task, tmp_path: Path) -> None:
    with pytest.raises(TargetLeakError, match="nasbench-graph/cora"):
        Session(cora, tmp_path / "run", sources=[cora.sibling("cora")])
    assert not (tmp_path / "run").exists()


def test_unknown_and_wrong_settings(cora: Task) -> None:
    with pytest.raises(SettingsError, match="Did you mean 'batch'"):
        Session(cora, batches=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(SettingsError, match="open_share = 2"):
        Session(cora, open_share=2)


def test_a_budget_below_the_initial_design_is_refused(session: Session) -> None:
    with pytest.raises(BudgetError, match=f"initial design of {session.options.initial}"):
        session.run(5)


def test_ask_and_tell(cora: Task) -> None:
    task = Task("nasbench-graph", evaluator=Manual(metric="accuracy", unit="fraction"))
    with Session(task, **SMALL) as session:
        for n in (4, 2, 6):
            asked = session.ask(n)
            assert asked == session.ask(n), "asking again before telling gives the same"
            for architecture in asked:
                score = next(iter(cora.bench.measure([architecture]))).score
                session.tell(architecture, score)
        assert len(session.curve()) == 12
        assert session.best().measurement.score == max(m.score or 0 for m in session.curve())
        for wrong in (float("nan"), "0.5", [0.5], True):
            with pytest.raises(UserError, match="not a finite number"):
                session.tell(asked[0], wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(UserError, match=r"session\.ask"):
            session.run(20)


def test_a_failed_evaluation_is_remembered_and_not_counted() -> None:
    task = Task("nasbench-graph", evaluator=Manual())
    lines: list[str] = []
    with Session(task, progress=lines.append, **SMALL) as session:
        first, second, third, *_ = session.ask(5)
        session.tell(third, 0.4)
        session.tell(first, None, reason="out of memory")
        session.tell(second, 0.5)
        numbers = [line[:5] for line in lines if line.startswith("[")]
        assert numbers == ["[  1]", "[  -]", "[  2]"]
        assert [m.id for m in session.curve()] == [third.id, second.id]
        assert [x.measurement.reason for x in session.journal.learned() if not x.measurement.ok] == [
            "out of memory"
        ]


def test_what_was_told_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = Task("nasbench-graph", evaluator=Manual())
    with Session(task, "run", **SMALL) as session:
        first, second, third, *_ = session.ask(5)
        for _ in range(2):
            session.tell(first, 0.5)
        with pytest.raises(UserError, match=r"told before, as 0\.5, and now as 0\.6"):
            session.tell(first, 0.6)
        session.tell(second, None)
        with pytest.raises(UserError, match=r"told before, as failed, and now as 0\.6"):
            session.tell(second, 0.6)
        with pytest.raises(UserError, match="no architecture: tell those that ask returned"):
            session.tell(second.key, 0.6)  # pyright: ignore[reportArgumentType]
        assert [m.score for m in session.curve()] == [0.5]
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        session.store.sync()
        assert not list(Path.cwd().iterdir()), "a run stays where it was opened"
    with pytest.raises(LedgerError, match="was closed: open it again"):
        session.tell(third, 0.5)


def test_the_command_line_says_that_a_script_goes_on_with_its_runs(cora: Task, tmp_path: Path) -> None:
    task = Task("nasbench-graph", evaluator=Manual())
    with Session(task, tmp_path / "told", **SMALL) as session:
        session.tell(session.ask(1)[0], 0.5)
    settings = load_settings(None, {"sources": "none"})
    told = "holds a session on nasbench-graph/mine that a script tells the scores of: go on with that script"
    with pytest.raises(SettingsError, match=told):
        build_session(settings, tmp_path / "told")
    with Session(cora, tmp_path / "looked up", **SMALL):
        pass
    with pytest.raises(SettingsError, match="resume it, as the script that began it does, or choose"):
        build_session(settings, tmp_path / "looked up")


def test_smaller_is_better(tmp_path: Path) -> None:
    task = Task("nasbench-graph", evaluator=Manual(metric="loss", maximize=False))
    with Session(task, **SMALL) as session:
        for architecture, score in zip(session.ask(4), (3.0, 1.0, 2.0, 4.0), strict=True):
            session.tell(architecture, score)
        assert session.best().measurement.score == 1.0


def test_fewer_evaluations_than_were_done_ask_for_nothing(session: Session) -> None:
    for evaluations in (8, 10, 8, 9, 10):
        session.run(evaluations)
    assert len(session.curve()) == 10
    assert [event.number for event in session.ledger.events("session", "done")] == [8, 10]


def test_compare_runs_the_baselines_once_at_equal_budget(session: Session) -> None:
    session.run(12)
    curves = session.compare(12)
    assert {name: len(curve) for name, curve in curves.items()} == {
        "random search": 12, "regularised evolution": 12,
    }  # fmt: skip
    assert session.compare(12) == curves


class Mute:
    """A reasoner whose model gives no reply that can be read, after the first `answers` reflections."""

    name, uses_templates = "mute", False

    def __init__(self, answers: int) -> None:
        self.answers = answers

    def reflect(self, brief: Brief) -> Reflection:
        self.answers -= 1
        good = self.answers >= 0
        call = ModelCall("mute", "principles", "", "", "", 0, 0, 0.0, "ok" if good else "endpoint error")
        return Reflection(calls=[call], failed="" if good else "mute: not reached.")

    def close(self) -> None: ...


def test_a_model_that_never_answered_stops_the_run_and_is_asked_again(cora: Task, tmp_path: Path) -> None:
    for _ in range(2):
        with (
            Session(cora, tmp_path / "run", reasoner=Mute(0), **SMALL) as session,
            pytest.raises(ModelError, match=r"not reached\. Nothing measured is lost"),
        ):
            session.run(20)
        assert len(session.curve()) == session.options.initial
    with Session(cora, tmp_path / "run", reasoner=Mute(9), **SMALL) as session:
        session.run(20)
        answered = session.ledger.events("session", "reflection")
        assert answered and len(session.ledger.calls("session")) == 2 + len(answered)


def test_statistics_stand_in_for_a_model_that_fails_later(cora: Task, tmp_path: Path) -> None:
    source = cora.sibling("citeseer")
    settings: dict[str, Any] = {**SMALL, "source_size": 200}
    lines: list[str] = []
    with Session(
        cora, tmp_path / "run", sources=[source], reasoner=Mute(1), progress=lines.append, **settings
    ) as session:
        session.run(30)
        warnings = [event.data["text"] for event in session.ledger.events("session", "warning")]
        origins = {p.origin.reasoner for p in session.ledger.principles(session="session")}
    assert lines.count("loading the code model") == 1
    assert warnings == ["mute could not be used in a reflection, statistics stood in: mute: not reached."]
    assert origins == {"statistics"}
    told = [line for line in lines if re.match(r"\d+ principles? from ", line)]
    assert {line.split()[3] for line in told} == {"statistics:"}
    assert "proposed" not in "".join(told) and any("not decided yet" in line for line in told)


def test_a_name_in_place_of_a_task_is_told_how_to_write_it(cora: Task) -> None:
    name: Any = "nasbench-graph/pubmed"
    for task, sources in ((name, []), (cora, [name])):
        with pytest.raises(SettingsError, match=r"is no task: give vt\.Task\('nasbench-graph/pubmed'\)"):
            Session(task, sources=sources)


def test_a_mistyped_reasoner_leaves_no_session_behind(cora: Task, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="statistics"):
        Session(cora, tmp_path / "run", reasoner="statistic", **SMALL)
    with Session(cora, tmp_path / "run", **SMALL) as session:
        assert session.options.reasoner == "statistics"


def test_a_server_may_have_moved_when_a_session_is_resumed(cora: Task, tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"):
        settings: dict[str, Any] = {**SMALL, "proposer": "vllm-server", "proposer_url": url}
        with Session(cora, tmp_path / "run", **settings) as session:
            assert session.options.proposer_url == url


def test_a_password_in_an_address_neither_stays_nor_stops_the_resume(cora: Task, tmp_path: Path) -> None:
    for url in ("http://me:secret@127.0.0.1:9/v1", "http://me@127.0.0.1:9/v1"):
        settings: dict[str, Any] = {**SMALL, "proposer": "vllm-server", "proposer_url": url}
        with Session(cora, tmp_path / "run", **settings):
            pass
    assert b"secret" not in b"".join(file.read_bytes() for file in (tmp_path / "run").glob("ledger.db*"))
