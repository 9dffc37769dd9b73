"""Crews: what holds for processes here and for a Ray cluster alike, and the loop over any crew."""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crew_evaluators import Toy
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.crew import CrewBench, Done, Failed
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.ray_cluster import Ray
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.space import Architecture, SearchSpace, get_space
from vitruvius.testing.evaluators import EvaluatorContract

SPACE = get_space("nasbench201")
with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray (extra `ray`)")


def cells(n: int) -> list[Architecture]:
    rows = SPACE.sample(4 * n, np.random.default_rng(5))
    return [SPACE.parse(name) for name in list(dict.fromkeys(SPACE.ids(rows)))[:n]]


def spread(kind: str, evaluator: Any, **settings: Any) -> Pool | Ray:
    """Two workers of one of the two crews."""
    return Pool(evaluator, 2, gpus=0, **settings) if kind == "pool" else Ray(evaluator, workers=2, cpus=0.5,
                                                                             gpus=0, **settings)  # fmt: skip


@pytest.fixture(params=["pool", pytest.param("ray", marks=with_ray)])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session", autouse=True)
def no_cluster_left() -> Iterator[None]:
    yield
    if importlib.util.find_spec("ray") is not None:
        import ray

        ray.shutdown()


def measured(kind: str, toy: Toy, asked: Sequence[Architecture], **settings: Any) -> dict[str, Measurement]:
    evaluator = spread(kind, toy, **settings)
    found = list(evaluator.open(SPACE, "air").measure(asked))
    evaluator.close()
    assert Counter(m.key for m in found) == Counter(a.key for a in asked), "each exactly once"
    return {m.key: m for m in found}


# ---- the contract of evaluators ----------------------------------------------------------------


class CrewContract(EvaluatorContract):
    kind = ""

    @pytest.fixture(scope="class")
    def evaluator(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool | Ray]:
        it = spread(self.kind, Toy(tmp_path_factory.mktemp("crew") / "notes"))
        yield it
        it.close()

    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE


class TestPool(CrewContract):
    kind = "pool"


@with_ray
class TestRay(CrewContract):
    kind = "ray"


class TestAlone(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, tmp_path: Path) -> Toy:
        return Toy(tmp_path / "notes")

    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE


# ---- workers that are lost, and candidates that fail ---------------------------------------------


def test_every_end_is_one_measurement_and_the_others_go_on(kind: str, tmp_path: Path):
    asked = cells(8)
    faults = dict(zip([cell.key for cell in asked], ["", "kill once", "raise", "kill", "slow"], strict=False))
    found = measured(kind, Toy(tmp_path / "notes", faults), asked, retries=1)
    once, raises, kills = (found[cell.key] for cell in asked[1:4])
    assert once.ok, "the candidate of a lost worker was measured by another one"
    assert raises.status is Status.FAILED and raises.reason == "ValueError: the layer is on fire"
    assert kills.status is Status.FAILED and "(2 workers were lost over it)" in kills.reason
    assert kills.params is not None and kills.task == "nasbench201/air"
    assert all(m.ok for key, m in found.items() if faults.get(key, "") in ("", "slow"))
    assert all(m.score == m.key.count("conv") for m in found.values() if m.ok)
    tried = Counter(line.split(" ")[0] for line in (tmp_path / "notes").read_text().splitlines())
    assert [tried[cell.key] for cell in asked] == [1, 2, 1, 2, 1, 1, 1, 1]


def test_a_worker_killed_from_outside_costs_nothing(kind: str, tmp_path: Path):
    asked = cells(6)
    notes = tmp_path / "notes"
    evaluator = spread(kind, Toy(notes, {cell.key: "slow" for cell in asked}))
    found: list[Measurement] = []
    for m in evaluator.open(SPACE, "air").measure(asked):
        if not found:  # the other worker is in the middle of something, or the same of the next
            os.kill(int(notes.read_text().splitlines()[-1].split()[1]), signal.SIGKILL)
        found.append(m)
    evaluator.close()
    assert sorted(m.key for m in found) == sorted(cell.key for cell in asked)
    assert all(m.ok for m in found)
    processes = {line.split(" ")[1] for line in notes.read_text().splitlines()}
    assert len(processes) == 3, "two, and one in place of the lost one"


def test_a_hanging_candidate_is_ended_and_not_tried_again(kind: str, tmp_path: Path):
    asked = cells(3)
    found = measured(kind, Toy(tmp_path / "notes", {asked[0].key: "hang"}), asked, time_limit=5.0)
    assert found[asked[0].key].status is Status.TIMED_OUT
    assert found[asked[0].key].reason == "Took longer than the limit of 5 s."
    assert [found[cell.key].ok for cell in asked[1:]] == [True, True]
    assert (tmp_path / "notes").read_text().count(asked[0].key) == 1


def test_nothing_waits_for_the_slowest(tmp_path: Path):
    asked = cells(5)
    evaluator = spread("pool", Toy(tmp_path / "notes", {asked[0].key: "slow"}))
    bench = evaluator.open(SPACE, "air")
    list(bench.measure(cells(7)[5:]))  # both workers are warm now
    assert [m.key for m in bench.measure(asked)][-1] == asked[0].key
    evaluator.close()


def test_an_evaluator_that_refuses_stops_the_search(kind: str, tmp_path: Path):
    asked = cells(2)
    with pytest.raises(UserError, match="not with this worker"):
        measured(kind, Toy(tmp_path / "notes", {asked[0].key: "refuse"}), asked)


def test_workers_that_have_other_data_are_noticed(tmp_path: Path):
    with pytest.raises(UserError, match=r"measured with toy:1 on data process \d+.*same data"):
        measured("pool", Toy(tmp_path / "notes", fingerprint=""), cells(2))


def test_several_at_a_time_and_each_of_them_again_when_the_worker_is_lost(tmp_path: Path):
    asked = cells(5)
    toy = Toy(tmp_path / "notes", {asked[1].key: "kill once"})
    assert all(m.ok for m in measured("pool", toy, asked, each=3).values())


def test_what_cannot_be_sent_is_said_before_anything_starts(tmp_path: Path):
    toy = Toy(tmp_path / "notes")
    toy.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"Toy cannot be sent to another process.*in its `open`"):
        Pool(toy, gpus=0).open(SPACE, "air")


def test_a_process_that_cannot_start_is_an_error_not_a_measurement(tmp_path: Path, monkeypatch: Any):
    evaluator = Pool(Toy(tmp_path / "notes"), gpus=0)
    bench = evaluator.open(SPACE, "air")
    monkeypatch.setattr(bench.crew, "_command", ["false"])
    with pytest.raises(UserError, match=r"did not start \(exit status 1\)"):
        list(bench.measure(cells(1)))


def test_a_process_that_is_killed_while_it_starts_is_started_again(tmp_path: Path, monkeypatch: Any):
    starts = tmp_path / "starts"
    with Pool(Toy(tmp_path / "notes"), 1, gpus=0) as evaluator:
        bench = evaluator.open(SPACE, "air")
        begin = f'echo >> {starts}; test $(wc -l < {starts}) -lt 3 && kill -9 $$; exec "$@"'
        monkeypatch.setattr(bench.crew, "_command", ["sh", "-c", begin, "sh", *bench.crew._command])
        (found,) = bench.measure(cells(1))
        assert found.ok and len(starts.read_text()) == 3
        assert next(iter(bench.measure(cells(1)))).ok, "the same process"
    monkeypatch.setattr(bench.crew, "_command", ["sh", "-c", "kill -9 $$"])
    with pytest.raises(UserError, match=r"did not start \(signal 9\)"):
        list(bench.measure(cells(1)))


@pytest.mark.parametrize(("fault", "kept"), [("raise", True), ("gpu", False)])
def test_a_process_that_a_gpu_refuses_everything_is_replaced(tmp_path: Path, fault: str, kept: bool):
    notes, (first, second) = tmp_path / "notes", cells(2)
    with Pool(Toy(notes, {first.key: fault}), 1, gpus=0) as evaluator:
        found = list(evaluator.open(SPACE, "air").measure([first, second]))
    assert [m.status for m in found] == [Status.FAILED, Status.OK]
    assert (len({line.split()[-1] for line in notes.read_text().splitlines()}) == 1) is kept


def test_workers_go_with_the_process_that_started_them(tmp_path: Path):
    notes = tmp_path / "notes"
    evaluator = Pool(Toy(notes, {cells(1)[0].key: "hang"}), 1, gpus=0)
    running = evaluator.open(SPACE, "air").measure(cells(2))
    bench = evaluator.open(SPACE, "air")
    bench.crew.send(0, [cells(1)[0].key], 0)
    while not notes.exists():
        bench.crew.receive(0.1)
    (child,) = bench.crew._busy  # type: ignore[attr-defined]
    child._process.stdin.close()  # what the end of this process would do
    assert child._process.wait(timeout=20) == -signal.SIGKILL  # itself, and what its candidate started
    running.close()
    evaluator.close()


def test_each_worker_sees_its_gpu(tmp_path: Path, monkeypatch: Any):
    from vitruvius.generator.evaluation.place import choose_gpu

    for seen, number, chosen in (("", 1, "1"), ("4,7", 1, "7"), ("4,7", 0, "4")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        choose_gpu(number)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
    choose_gpu(None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    bench = Pool(Toy(tmp_path / "notes"), 3, gpus=2).open(SPACE, "air")
    for ticket in range(3):
        bench.crew.send(ticket, [cells(1)[0].key], 0)
    gpus = [order.gpu for order in bench.crew._busy.values()]  # type: ignore[attr-defined]
    assert sorted(gpus) == [0, 0, 1], "three workers share two cards"
    bench.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"workers": 0}, "workers=0"), ({"each": 0}, "each=0"), ({"retries": -1}, "retries=-1"),
     ({"time_limit": 0.0}, "time_limit=0")],
)  # fmt: skip
def test_values_that_cannot_be_used_are_refused(settings: Any, message: str, tmp_path: Path):
    for kind in (Pool, Ray):
        with pytest.raises(UserError, match=message):
            kind(Toy(tmp_path), **settings)
    with pytest.raises(UserError, match="cpus=0, gpus=0"):
        Ray(Toy(tmp_path), cpus=0, gpus=0)


@with_ray
def test_a_cluster_that_is_too_small_or_not_there_is_said(tmp_path: Path):
    bench = Ray(Toy(tmp_path / "notes"), cpus=0.5, gpus=8).open(SPACE, "air")
    with pytest.raises(UserError, match=r"no place for a worker with 0.5 CPUs and 8 GPUs"):
        list(bench.measure(cells(1)))


# ---- the loop over any crew ----------------------------------------------------------------------


class Scripted:
    """A crew whose workers end as a list of numbers says: which of those that are out, and whether it is lost."""

    def __init__(self, places: int, script: Sequence[tuple[int, bool]]) -> None:
        self.places, self._script = places, list(script)
        self.out: dict[int, Sequence[str]] = {}
        self.losses: Counter[str] = Counter()
        self.most = 0

    def send(self, ticket: int, keys: Sequence[str], seed: int) -> None:
        self.out[ticket] = keys
        self.most = max(self.most, len(self.out))

    def receive(self, seconds: float) -> tuple[int, Done | Failed] | None:
        which, lost = self._script.pop() if self._script else (0, False)
        ticket = list(self.out)[which % len(self.out)]
        keys = self.out.pop(ticket)
        if lost:
            self.losses.update(keys)
            return ticket, Failed(Status.FAILED, "lost", True)
        bench = Toy(Path(os.devnull)).open(SPACE, "air")
        return ticket, Done(list(bench.measure([SPACE.parse(key) for key in keys])))

    def drop(self) -> None:
        self.out.clear()

    def close(self) -> None:
        self.out.clear()


@given(
    n=st.integers(0, 12), places=st.integers(1, 5), each=st.integers(1, 4), retries=st.integers(0, 3),
    script=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40),
)  # fmt: skip
def test_whatever_is_lost_each_candidate_ends_once(
    n: int, places: int, each: int, retries: int, script: list[tuple[int, bool]]
):
    asked, crew = cells(12)[:n], Scripted(places, script)
    bench = CrewBench(
        Toy(Path(os.devnull)).open(SPACE, "air"), SPACE, "air", crew, retries=retries, each=each
    )
    waiting, out = list(asked), 0
    found: list[Measurement] = []

    def draw(free: int) -> list[Architecture]:
        nonlocal waiting, out
        assert 0 < free <= places * each
        drawn, waiting = waiting[:free], waiting[free:]
        out += len(drawn)
        return drawn

    for m in bench.stream(draw):
        found.append(m)
        out -= 1
    assert Counter(m.key for m in found) == Counter(cell.key for cell in asked)
    assert out == 0 and crew.most <= places and not crew.out
    for m in found:
        assert m.ok == (crew.losses[m.key] <= retries)
        assert crew.losses[m.key] <= retries + 1


def test_draws_go_on_after_nothing_was_drawn():
    """Where the last candidates fail, a search draws more, though it had said that nothing is left."""
    crew = Scripted(2, [])
    bench = CrewBench(Toy(Path(os.devnull)).open(SPACE, "air"), SPACE, "air", crew, retries=0, each=1)
    answers = iter([cells(1), [], cells(2)[1:], []])
    assert len(list(bench.stream(lambda free: next(answers, [])))) == 2


def test_leaving_early_stops_what_is_out():
    crew = Scripted(3, [])
    bench = CrewBench(Toy(Path(os.devnull)).open(SPACE, "air"), SPACE, "air", crew, retries=0, each=1)
    running = bench.measure(cells(6))
    next(running)
    assert len(crew.out) == 2
    running.close()
    assert not crew.out
