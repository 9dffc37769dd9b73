"""What goes wrong around a session: it is noticed, nothing paid for is lost, and nothing false is kept."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from described_spaces import CHAIN, described

import vitruvius as vt
from vitruvius.errors import CheckpointError, RunBusyError, SettingsError, UserError
from vitruvius.generator.evaluation.function import Function
from vitruvius.generator.evaluation.source_hash import source_hash
from vitruvius.generator.library import load_or_train
from vitruvius.generator.space import Decision, SearchSpace, get_space, register_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.measured import measured
from vitruvius.knowledge.population import Population
from vitruvius.summary import summarise

QUICK: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}
TWO = CHAIN.replace("test-chain", "test-misuse") + '[tasks.birds]\nmetric = "validation accuracy"\n'


def score(architecture: vt.Architecture, dataset: str = "") -> float:
    return float(sum(architecture.choices))


def heavy(architecture: vt.Architecture) -> dict[str, float]:
    return {"params": 1.0 + architecture.choices[0]}


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, TWO)


class Calls:
    """A function that counts its calls, and can fail at one of them."""

    def __init__(self, fail: Callable[[int], BaseException | None] = lambda _number: None) -> None:
        self.count, self.fail = 0, fail

    def __call__(self, architecture: vt.Architecture, dataset: str = "") -> float:
        self.count += 1
        if (error := self.fail(self.count)) is not None:
            raise error
        return score(architecture)


# ---- sources -------------------------------------------------------------------------------------


def test_sources_that_are_interrupted_lose_nothing(space: SearchSpace, tmp_path: Path) -> None:
    calls = Calls(lambda number: KeyboardInterrupt() if number == 15 else None)
    source = vt.Task("test-misuse/birds", Function(calls, version="1"))
    target = vt.Task("test-misuse/flowers", Function(score, version="1"))
    run = functools.partial(vt.Session, target, tmp_path / "run", sources=[source], source_size=20, **QUICK)
    with run() as session, pytest.raises(KeyboardInterrupt):
        session.learn_sources()
    with run() as session:
        assert len(session.journal.learned(source.name)) == 14
        session.learn_sources()
        assert len(session.journal.learned(source.name)) == 20
    assert calls.count == 21  # the one that was interrupted is repeated, no other


def test_a_source_that_another_session_paid_for_is_not_paid_again(space: SearchSpace, tmp_path: Path) -> None:
    calls, shared = Calls(), f"sqlite:///{tmp_path / 'shared.db'}"
    source = vt.Task("test-misuse/birds", Function(calls, version="1"))
    target = vt.Task("test-misuse/flowers", Function(score, version="1"))
    for name in ("a", "b"):
        with vt.Session(
            target, tmp_path / name, sources=[source], source_size=20, ledger=shared, **QUICK
        ) as session:
            session.learn_sources()
            assert len(session.journal.observations(source.name)) == 20
    assert calls.count == 20


def test_a_source_named_twice_is_refused(space: SearchSpace) -> None:
    source = vt.Task("test-misuse/birds", Function(score, version="1"))
    target = vt.Task("test-misuse/flowers", Function(score, version="1"))
    with pytest.raises(SettingsError, match=r"test-misuse/birds is named 2 times"):
        vt.Session(target, sources=[source, source], **QUICK)


# ---- evaluators ----------------------------------------------------------------------------------


def test_a_failure_of_another_session_is_tried_again(space: SearchSpace, tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    full = Calls(lambda number: OSError("disk full") if number <= 4 else None)
    for name in ("a", "b"):
        task = vt.Task("test-misuse/flowers", Function(full, version="1"))
        with vt.Session(task, tmp_path / name, ledger=shared, **QUICK) as session:
            session.run(8)
            failed = [one for one in session.journal.learned() if not one.measurement.ok]
        assert len(failed) == (4 if name == "a" else 0), "what failed in the first is measured in the second"


class Silent:
    """A bench that leaves out what it is told to, or measures another."""

    def __init__(self, inner: Any, wrong: str) -> None:
        self._inner, self._wrong = inner, wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def measure(self, architectures: Sequence[vt.Architecture], *, seed: int = 0) -> Iterator[vt.Measurement]:
        for one in self._inner.measure(architectures, seed=seed):
            if self._wrong == "foreign":
                yield replace(one, key="mb5x5,mb5x5,mb5x5,24,true")
            elif self._wrong != "nothing":
                yield one


@pytest.mark.parametrize(
    ("wrong", "message", "together"),
    [
        ("nothing", "gave no measurement of", True),
        ("foreign", "not asked", True),
        ("foreign", "not asked", False),
    ],
)
def test_a_bench_that_does_not_answer_is_refused(
    space: SearchSpace, wrong: str, message: str, together: bool
) -> None:
    task = vt.Task("test-misuse/flowers", Function(score, version="1"))
    task.bench = Silent(task.bench, wrong)  # type: ignore[assignment]
    with (
        vt.Session(task, asynchronous=not together, **QUICK) as session,
        pytest.raises(UserError, match=message),
    ):
        session.run(8)


def test_functions_are_told_apart_by_what_is_bound_to_them(tmp_path: Path) -> None:
    def made(epochs: int) -> Callable[[vt.Architecture], float]:
        return lambda architecture: score(architecture) + epochs

    kinds = [made(1), made(50), *(functools.partial(score, dataset=name) for name in ("a", "b"))]
    kinds += [Calls().__call__, Calls(lambda number: ValueError()).__call__, lambda a: 1, lambda a: 2]
    hashes = [source_hash(kind) for kind in kinds]
    assert len(set(hashes)) == len(hashes) and "no-source" not in hashes
    assert source_hash(made(1)) == hashes[0]


class Settings:
    """Something that a function may hold."""

    def __init__(self, width: Any) -> None:
        self.width = width

    def measure(self, architecture: vt.Architecture) -> float:
        return float(self.width)


def _alike_in_text() -> list[Any]:
    """Functions that hold different things, which look alike in one way or another."""

    def made(*held: Any) -> Callable[[vt.Architecture], float]:
        return lambda architecture: float(len(held))

    long = np.arange(5000.0)
    other = long.copy()
    other[2500] = 0.0
    bound: Any = functools.partial
    return [
        bound(score, 1, 23), bound(score, 12, 3), bound(score, "1", 23), made(1, 23), made(12, 3), made("1", 23),
        made(long), made(other), made(torch.zeros(3)), made(torch.zeros(3, 1)), made([1], 2), made([1, 2]),
        Settings(1).measure, Settings(5).measure, made(Settings(1)), made(Settings(5)), made({"a": 1}),
        made({"a": 2}), made(lambda: 1), made(lambda: 2), made(Settings(lambda: 1)), made(Settings(lambda: 2)),
        made({3, 4}), made({3, 5}), made(Path("a")), made(Path("b")),
    ]  # fmt: skip


def test_functions_that_hold_what_looks_alike_are_told_apart() -> None:
    hashes = [source_hash(one) for one in _alike_in_text()]
    assert len(set(hashes)) == len(hashes) and "no-source" not in hashes
    assert hashes == [source_hash(one) for one in _alike_in_text()]


EPOCHS = 3


def test_a_constant_beside_the_function_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(architecture: vt.Architecture) -> float:
        return sum(float(each) for each in range(EPOCHS))

    before = source_hash(measure)
    monkeypatch.setitem(globals(), "EPOCHS", 30)
    after = source_hash(measure)
    monkeypatch.setitem(globals(), "EPOCHS", 3)
    assert source_hash(measure) == before != after


def test_a_function_may_hold_itself_but_nothing_that_cannot_be_told() -> None:
    def again(architecture: vt.Architecture) -> float:
        return again(architecture)

    assert source_hash(again) == source_hash(again) != "no-source"
    logger = logging.getLogger("mine")
    assert source_hash(lambda architecture: logger.info("x")) != "no-source"
    lock = threading.Lock()
    with pytest.raises(UserError, match="give the function a `version`"):
        Function(lambda architecture: float(lock.locked()))
    assert Function(lambda architecture: float(lock.locked()), version="1").version == "1"


def test_a_builtin_function_needs_a_version() -> None:
    with pytest.raises(UserError, match="give it a `version`"):
        Function(len)
    assert Function(len, version="1").version == "1"


def test_an_edited_file_is_read_anew(space: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    for value in (1, 2):
        file.write_text(f"def measure(architecture):\n    return {value}\n")
        bench = Function(f"{file}:measure").open(space, "flowers")
        (found,) = bench.measure([space.parse("mb5x5,mb5x5,skip,24,true")])
        assert found.score == value
    named = Function(f"{file}:measure")
    file.write_text("def measure(architecture):\n    return 3\n")
    with pytest.raises(UserError, match="was edited since it was named"):
        named.open(space, "flowers")
    Function(f"{file}:measure", version="pinned").open(space, "flowers")


def test_a_second_task_that_is_refused_does_not_spoil_the_first(space: SearchSpace) -> None:
    alike = Function(lambda architecture: 1.0, version="1")
    alike.open(space, "flowers")
    with pytest.raises(UserError, match="alike"):
        alike.open(space, "birds")
    alike.open(space, "flowers")


# ---- telling -------------------------------------------------------------------------------------


def test_what_was_told_beforehand_freezes_no_reference(space: SearchSpace) -> None:
    task = vt.Task("test-misuse/flowers", vt.Manual(metric="accuracy"))
    with vt.Session(task, open_share=0.5, **QUICK) as session:
        rows = space.sample(40, np.random.default_rng(1))
        for one in {each.key: each for each in space.architectures(rows)}.values():
            session.tell(one, score(one))
        assert session.journal.event("reference", 0) is None
        for _ in range(20):
            (one,) = session.ask(1)
            session.tell(one, score(one))
        frozen = session.journal.event("reference", 0)
        drawn = [x.measurement.score or 0.0 for x in session.journal.learned() if x.share.uniform]
        assert frozen is not None and frozen["scores"] == sorted(drawn[: session.options.initial])
        quantiles = session.journal.observations().quantiles
    assert len(set(quantiles.round(3))) > 5


def test_a_measurement_of_something_else_is_not_taken(space: SearchSpace) -> None:
    task = vt.Task("test-misuse/flowers", Function(score, version="1"))
    with vt.Session(task, **QUICK) as session:
        first, second = session.ask(2)
        (other,) = task.bench.measure([second])
        with pytest.raises(UserError, match="The measurement is of"):
            session.tell(first, other)
        with pytest.raises(UserError, match="The measurement is of"):
            session.tell(second, replace(other, task="test-misuse/birds"))
        session.tell(second, other)
        assert [one.key for one in session.curve()] == [second.key]


def test_what_is_told_again_later_counts_once(space: SearchSpace) -> None:
    task = vt.Task("test-misuse/flowers", vt.Manual(metric="accuracy"))
    with vt.Session(task, **QUICK) as session:
        ones = list(dict.fromkeys(space.architectures(space.sample(200, np.random.default_rng(0)))))[:80]
        for one in [*ones, ones[0]]:
            session.tell(one, score(one))
        assert session.journal.counted() == len(session.curve()) == 80
        assert session.best().measurement.score == max(map(score, ones))


# ---- costs ---------------------------------------------------------------------------------------


def test_costs_that_are_not_known_are_within_no_limit_however_it_is_put(space: SearchSpace) -> None:
    costs = {"params": np.array([1.0, 9.0, np.nan])}
    population = Population(space, space.sample(3, np.random.default_rng(0)), costs)
    for text, holds in (
        ("params < 5M", [True, False, False]),
        ("not (params > 5M)", [True, False, False]),
        ("not (not (params > 5M))", [False, True, False]),
        ("not (params > 5M or params < 2M)", [False, False, False]),
    ):
        assert vt.Predicate.parse(text).holds(population).tolist() == holds, text


class Claims:
    def reflect(self, brief: Any) -> list[vt.Proposal]:
        claim = vt.Predicate.parse("params >= 2M")
        return [vt.Proposal("Large is good.", claim.to_json(), brief.space.name)]


def test_a_principle_on_costs_that_the_target_lacks_ends_nothing(space: SearchSpace, tmp_path: Path) -> None:
    def by_size(architecture: vt.Architecture, dataset: str = "") -> float:
        return float(architecture.choices[0])

    source = vt.Task("test-misuse/birds", Function(by_size, costs=heavy, version="1"))
    target = vt.Task("test-misuse/flowers", Function(by_size, version="1"))
    run: dict[str, Any] = {**QUICK, "reasoner": Claims(), "reflect_every": 6, "source_size": 80}
    with vt.Session(target, tmp_path / "run", sources=[source], **run) as session:
        best = session.run(12)
    assert best.principles == ()
    assert {line.status for line in summarise(tmp_path / "run").principles} == {"supported"}


def test_draws_under_a_constraint_are_not_draws_of_the_whole_space(
    space: SearchSpace, tmp_path: Path
) -> None:
    evaluator = Function(score, costs=heavy, version="1")
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    constrained: dict[str, Any] = {"where": "params < 2M"}
    for name, more in (("a", constrained), ("b", dict[str, Any]())):
        task = vt.Task("test-misuse/flowers", evaluator)
        with vt.Session(task, tmp_path / name, ledger=shared, **QUICK, **more) as session:
            session.run(15)
        with Ledger(shared) as ledger:
            (known,), _ = measured(ledger)
        observed = known.observations
        sizes = 1.0 + observed.choices[observed.uniform, 0]
        assert observed.uniform.any()
        assert bool((sizes < 2).all()) == (name == "a")


# ---- folders and spaces --------------------------------------------------------------------------


def test_a_folder_that_was_never_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError):
        load_or_train("nasbench201", folder=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_part_that_cannot_be_closed_keeps_no_folder(space: SearchSpace, tmp_path: Path) -> None:
    task = vt.Task("test-misuse/flowers", Function(score, version="1"))
    session = vt.Session(task, tmp_path / "run", **QUICK)

    def fails() -> None:
        raise RuntimeError("the engine hangs")

    session.engine.close = fails  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="hangs"):
        session.close()
    try:
        vt.Session(task, tmp_path / "run", **QUICK).close()
    except RunBusyError:
        pytest.fail("the folder is still held")


def test_more_choices_than_a_row_can_hold_are_refused() -> None:
    chain = type(get_space("transnasbench101-micro"))

    class Wide(chain):  # type: ignore[misc, valid-type]
        name = "too-wide"
        decisions = (Decision("a", tuple(map(str, range(200)))),)

    register_space(Wide)
    with pytest.raises(UserError, match="has 200 choices, and at most 127"):
        get_space("too-wide")
    from vitruvius.generator import space as registry

    del registry._SPACES["too-wide"]  # pyright: ignore[reportPrivateUsage]
