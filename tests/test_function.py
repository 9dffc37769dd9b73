"""Measuring by a function of the user's: what it may return, and what becomes of what it raises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from described_spaces import CHAIN, HUGE, described

import vitruvius as vt
from vitruvius.building import build_evaluator, build_sources, build_task
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import BudgetError, SettingsError, UnknownNameError, UserError
from vitruvius.generator.evaluation.function import Function
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.task import Status, StreamingBench
from vitruvius.generator.space import SearchSpace
from vitruvius.testing.evaluators import EvaluatorContract

FILE = """
from beside import LAYERS

def measure(architecture, seed=0):
    layers = [architecture.named()[name] for name in LAYERS]
    if layers == ["mb5x5", "skip", "skip"]:
        import os
        os._exit(3)
    return {"score": layers.count("mb5x5") + 0.25 * seed, "params": 1, "latency": {"phone": 2.5}, "seconds": 60}

def costs(architecture):
    return {"params": int(architecture.named()["width"]) / 10, "latency": {"phone": 4.0}}

LIMIT = 3
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a module of the user's that imports another one beside it."""
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text('LAYERS = ("block1", "block2", "block3")\n')
    return tmp_path


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN)


class TestFunction(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Function:
        return Function(lambda architecture: len(architecture.key), costs=lambda architecture: {"params": 2})

    @pytest.fixture
    def space(self) -> SearchSpace:
        return vt.get_space("nasbench201")


class TestFunctionInProcesses(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, place: Path) -> Iterator[Pool]:
        pool = Pool(Function(f"{place}/mine.py:measure", costs=f"{place}/mine.py:costs"), 2, gpus=0)
        yield pool
        pool.close()

    @pytest.fixture
    def space(self, tmp_path: Path) -> SearchSpace:
        return described(tmp_path, CHAIN)


def measured(space: SearchSpace, measure: Any, *, seed: int = 0, **options: Any) -> vt.Measurement:
    bench = Function(measure, **options).open(space, "flowers")
    (found,) = bench.measure([space.parse("mb5x5,mb5x5,skip,24,true")], seed=seed)
    return found


def test_what_it_tells_is_kept(space: SearchSpace, place: Path) -> None:
    plain = measured(space, f"{place}/mine.py:measure", seed=2)
    assert (plain.score, plain.params, plain.seconds, plain.latency) == (2.5, 1.0, 60.0, {"phone": 2.5})
    assert plain.evaluator == "function:measure" and plain.seed == 2
    assert measured(space, lambda a: 1, version="b").fingerprint == "b"
    # what a constraint is checked with is what the measurement says
    both = measured(space, f"{place}/mine.py:measure", costs=f"{place}/mine.py:costs")
    assert (both.params, both.latency) == (2.4, {"phone": 4.0})
    assert measured(space, lambda architecture: np.float32(0.5)).score == 0.5
    assert measured(space, lambda architecture: np.array([7])).score == 7


def test_an_edited_function_is_another_one(space: SearchSpace, place: Path) -> None:
    """What was measured before is not taken for what it would measure now."""
    before = measured(space, f"{place}/mine.py:measure").fingerprint
    assert before == measured(space, f"{place}/mine.py:measure").fingerprint
    (place / "mine.py").write_text(FILE.replace("0.25", "0.5"))
    assert Function(f"{place}/mine.py:measure").version != before
    assert Function(f"{place}/mine.py:measure", version="mine").version == "mine"
    one = Function(lambda a: 1)
    two = Function(lambda a: 2)
    assert one.version != two.version
    assert Function("nowhere_at_all:f").version == "no-source"  # refused when it is imported


def test_a_run_is_not_resumed_with_an_edited_function(space: SearchSpace, tmp_path: Path) -> None:
    def begun(version: str) -> vt.Session:
        task = vt.Task("test-chain/flowers", Function(lambda a: 1, version=version))
        return vt.Session(task, tmp_path / "run", proposer="uniform", reasoner="none")

    begun("one").close()
    begun("one").close()
    with pytest.raises(SettingsError, match="was measured by a function that was edited since") as refused:
        begun("two")
    assert str(refused.value).endswith("go on with --set version=one, in a script version='one'.")


def test_functions_of_any_kind(space: SearchSpace) -> None:
    assert measured(space, max_of).score == 3.0  # takes what is called as an architecture is
    with pytest.raises(
        UserError, match=r"is called with an architecture, .*missing a required argument: 'epochs'"
    ):
        measured(space, lambda architecture, epochs: 1)
    with pytest.raises(UserError, match="too many positional arguments"):
        measured(space, lambda: 1)

    def leaves(architecture: vt.Architecture) -> float:
        sys.exit(3)

    found = measured(space, leaves)
    assert found.status is Status.FAILED
    assert found.reason.startswith("SystemExit: 3 (test_function.py, line "), found.reason


class Callable:
    def __call__(self, architecture: vt.Architecture) -> float:
        return 4.0


def test_a_class_is_no_function_but_an_instance_may_be(space: SearchSpace) -> None:
    assert measured(space, Callable()).score == 4.0
    with pytest.raises(UserError, match="Callable is a class: give a function, or an instance"):
        measured(space, Callable)


def test_a_reason_is_one_line(space: SearchSpace) -> None:
    def raises(architecture: vt.Architecture) -> float:
        raise ValueError("first\nsecond   third")

    assert measured(space, raises).reason.startswith("ValueError: first second third (")


def max_of(*architectures: vt.Architecture) -> float:
    return 3.0


def test_a_function_that_always_fails_ends_the_search_soon(space: SearchSpace) -> None:
    def fails(architecture: vt.Architecture) -> float:
        raise KeyError("block9")

    def fails_each(architecture: vt.Architecture) -> float:
        raise KeyError(architecture.key)

    for function, told in (
        (fails, r"^The first [5-9] evaluations all failed alike.*KeyError: 'block9'"),
        (fails_each, r"^2\d evaluations failed and 0 succeeded.*KeyError: "),
    ):
        with (
            vt.Session(vt.Task("test-chain/flowers", Function(function)), proposer="uniform") as session,
            pytest.raises(BudgetError, match=told),
        ):
            session.run(50)


def test_costs_that_fail_are_within_no_limit(space: SearchSpace) -> None:
    """As of an architecture that cannot be built: it is not drawn, and the search goes on."""

    def costs(architecture: vt.Architecture) -> dict[str, float]:
        if architecture.named()["block2"] == "skip":
            raise ValueError("cannot be built")
        return {"params": 1.0}

    task = vt.Task("test-chain/flowers", Function(lambda a: a.key.count("mb5x5"), costs=costs))
    lines: list[str] = []
    with vt.Session(
        task, proposer="uniform", reasoner="none", where="params < 2M", progress=lines.append
    ) as session:
        session.run(15)
        assert re.match(
            r"costs      failed on \d+ architectures, the last: ValueError: cannot be built", lines[0]
        )
        assert all(m.params == 1.0 and ",skip," not in m.key[:12] for m in session.curve())
    with pytest.raises(UserError, match=r"failed on each of 20 architectures: ZeroDivisionError"):
        Function(lambda a: 1, costs=lambda a: 1 / 0).open(space, "flowers")  # type: ignore


def test_what_takes_long_is_told_before(tmp_path: Path) -> None:
    described(tmp_path, HUGE)

    lines: list[str] = []

    def costs(architecture: vt.Architecture) -> dict[str, float]:
        if lines:
            raise KeyboardInterrupt  # whoever reads this may want to stop
        time.sleep(0.001)
        return {"params": 1.0}

    task = vt.Task("test-huge/mine", Function(lambda a: 1, costs=costs))
    with pytest.raises(KeyboardInterrupt):
        vt.Session(task, proposer="uniform", where="params < 2M", progress=lines.append)
    assert re.fullmatch(
        r"costs      asked of 100,000 architectures first, which takes about \d{3} s", lines[0]
    )


def test_costs_are_asked_where_they_are_needed(tmp_path: Path) -> None:
    space, asked = described(tmp_path, HUGE), list[str]()
    function = Function(lambda a: a.key.count("k7"), costs=lambda a: asked.append(a.key) or {"params": 1})
    task = vt.Task("test-huge/mine", function)
    with vt.Session(task, proposer="uniform", reasoner="none") as session:
        session.run(12)
    assert len(asked) < 100, "nothing speaks of costs"
    assert space.size is None


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"score": 1, "params": float("nan")}, "returned params = nan: give a number that is not negative"),
        ({"score": 1, "seconds": -1}, "returned seconds = -1.0: give a number that is not negative"),
        (10**400, "give a number"),
        (None, "returned score = None: give a number"),
        ("good", "returned score = 'good': give a number"),
        (True, "returned score = True: give a number"),
        ({"params": 1, "loss": 2}, "returned params, loss, and no 'score'"),
        ({"score": 1, "parameters": 1}, "Unknown result of the function 'parameters'. Did you mean 'params'"),
        ({"score": 1, "latency": 3}, "returned latency = 3: give device -> milliseconds"),
        ({"score": 1, "latency": {"phone": "fast"}}, r"returned latency[phone] = 'fast': give a number"),
    ],
)
def test_nonsense_costs_one_measurement(space: SearchSpace, found: object, told: str) -> None:
    end = measured(space, lambda architecture: found)
    assert end.status is Status.FAILED and end.score is None and told in end.reason


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), Status.FAILED),
        (MemoryError(), Status.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory."), Status.OUT_OF_MEMORY),
    ],
)
def test_what_it_raises_costs_one_measurement(space: SearchSpace, error: Exception, status: Status) -> None:
    def fails(architecture: vt.Architecture) -> float:
        raise error

    found = measured(space, fails)
    assert found.status is status and found.score is None and type(error).__name__ in found.reason
    assert measured(space, lambda architecture: float("nan")).status is Status.DIVERGED


def test_costs_must_be_the_same_of_all(space: SearchSpace) -> None:
    def uneven(architecture: vt.Architecture) -> Mapping[str, float]:
        return {"params": 1} if "skip" in architecture.key else {"flops": 1}

    bench = Function(lambda architecture: 1, costs=uneven).open(space, "flowers")
    with pytest.raises(UserError, match="it must tell the same of all"):
        bench.costs(space.enumerate())
    with pytest.raises(UserError, match="The costs function returned 3: give a mapping with params, flops"):
        Function(lambda architecture: 1, costs=lambda architecture: 3).open(space, "flowers")  # type: ignore
    asked: list[str] = []
    costs = Function(lambda a: 1, costs=lambda a: asked.append(a.key) or {"flops": len(asked)})
    bench = costs.open(space, "flowers")
    rows = space.enumerate()
    first, again = bench.costs(rows)["flops"], bench.costs(rows[::-1])["flops"]
    assert (first == again[::-1]).all() and len(asked) == 3 + len(rows)
    assert bench.costs(rows[:0])["flops"].shape == (0,)


def test_a_second_data_set_must_be_told(space: SearchSpace) -> None:
    blind = Function(lambda architecture: 1)
    blind.open(space, "flowers")
    blind.open(space, "flowers")
    with pytest.raises(UserError, match=r"would measure error and flowers alike: .*`dataset`"):
        blind.open(space, "error")

    def told(architecture: vt.Architecture, dataset: str) -> int:
        return len(dataset)

    both = Function(told)
    for dataset in ("flowers", "error"):
        (found,) = both.open(space, dataset).measure([space.parse("mb5x5,mb5x5,skip,24,true")])
        assert found.score == len(dataset)


def test_names_that_lead_nowhere(space: SearchSpace, place: Path) -> None:
    for name, told in (
        ("mine.py", "is not named: write MODULE:NAME or FILE.py:NAME"),
        (f"{place}/mine.py:mesure", "mine.py has no 'mesure'"),
        (f"{place}/nowhere.py:measure", "No such file"),
        ("no_such_module:measure", "No module named 'no_such_module'"),
        (f"{place}/mine.py:LIMIT", "is no function: it must be called with an architecture"),
    ):
        with pytest.raises(UserError) as raised:
            Function(name).open(space, "flowers")
        assert told in str(raised.value)
    (place / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match=r"broken\.py:measure' cannot be imported: ZeroDivisionError"):
        Function(f"{place}/broken.py:measure").open(space, "flowers")
    with pytest.raises(UnknownNameError, match="Allowed: error, flowers"):
        Function(f"{place}/mine.py:measure").open(space, "cora")


def test_a_search_by_settings(place: Path, space: SearchSpace) -> None:
    given = {
        "task": f"{place}/space.toml/flowers", "evaluator": "function", "function": f"{place}/mine.py:measure",
        "costs": f"{place}/mine.py:costs", "workers": 2, "proposer": "uniform", "reasoner": "none",
        "where": "params < 3M",
    }  # fmt: skip
    settings = load_settings(None, given)
    assert settings.task == "test-chain/flowers"
    (place / "settings.toml").write_text(dump_settings(settings))
    assert load_settings(place / "settings.toml", {}) == settings
    task = build_task(settings)
    assert isinstance(task.bench, StreamingBench) and task.metric.name == "validation accuracy"
    with vt.Session(task, place / "run", options=settings.options) as session:
        best = session.run(20)
        assert best.measurement.score == 3
        failed = [x.measurement for x in session.ledger.learned(session.id) if not x.measurement.ok]
    for one in failed:  # the process that measured it was lost, and so were those that tried again
        assert one.key.startswith("mb5x5,skip,skip") and "exit status 3" in one.reason
    assert best.measurement.params is not None and best.measurement.params < 3


def test_a_table_measures_the_sources_of_a_function(place: Path, space: SearchSpace) -> None:
    (place / "known.csv").write_text(
        "block1,block2,block3,width,attention,error_valid\n"
        + "".join(f"{key},{number}\n" for number, key in enumerate(space.keys(space.enumerate())))
    )
    given = {
        "task": "test-chain/flowers", "evaluator": "function", "function": f"{place}/mine.py:measure",
        "table": str(place / "known.csv"), "sources": [f"{place}/space.toml/error"],
    }  # fmt: skip
    settings = load_settings(None, given)
    (source,) = build_sources(settings, build_task(settings))
    assert source.name == "test-chain/error" and source.evaluator.tabular
    (one,) = source.bench.measure([space.parse("mb3x3,mb3x3,mb3x3,16,false")])
    assert one.score == 1


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(SettingsError, match=r"give the task, for example --task mine\.toml/NAME"):
        load_settings(None, {"evaluator": "function", "function": "a:b"})
    with pytest.raises(SettingsError, match="has no effect with evaluator = 'table'"):
        load_settings(None, {"function": "a:b"})
    with pytest.raises(SettingsError, match=r"name it, --function FILE\.py:NAME"):
        build_evaluator(load_settings(None, {"evaluator": "function", "task": "nasbench201/mine"}))


def test_uniform_draws_need_no_code_model(place: Path, space: SearchSpace) -> None:
    """Nothing is trained, and torch is not even imported."""
    code = (
        "import sys, vitruvius as vt\n"
        "task = vt.Task(f'{sys.argv[1]}/space.toml/flowers', vt.Function(lambda a: len(a.key)))\n"
        "with vt.Session(task, proposer='uniform', where='mb5x5 >= 1') as session:\n"
        "    print(session.run(30).measurement.score, [x.share for x in session.ledger.learned(session.id)])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    cache = place / "cache"
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=False,
        env={**os.environ, "VITRUVIUS_CACHE": str(cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("26.0 ") and "'drawn'" in done.stdout, done.stdout
    assert not cache.exists() or not (cache / "models").exists()
