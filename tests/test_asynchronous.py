"""The loop without batches: on a cluster in virtual time, killed at any moment, and against the one in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crew_evaluators import Toy

from vitruvius.agents.asynchronous import believed
from vitruvius.agents.session import Session
from vitruvius.errors import BudgetError
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Draw, Measurement, Status, Task, stream
from vitruvius.knowledge.share import Share
from vitruvius.testing.clusters import SimulatedBench, SimulatedCluster

SETTINGS: dict[str, Any] = {
    "proposer": "uniform", "finetune_every": 0, "pool": 32, "local": 32, "seed": 3, "asynchronous": True,
}  # fmt: skip


def seconds(measurement: Measurement) -> float:
    """Costs that differ by a factor of ten, by key."""
    return 10.0 + 90.0 * (sum(map(ord, measurement.key)) % 11) / 10


def cluster(workers: int) -> tuple[Task, SimulatedBench]:
    simulated = SimulatedCluster(Table(), workers, seconds)
    task = Task("nasbench-graph/cora", simulated)
    return task, simulated.benches["cora"]


@pytest.fixture(scope="module")
def finished() -> Iterator[tuple[Session, SimulatedBench]]:
    task, bench = cluster(4)
    with Session(task, **SETTINGS) as session:
        session.run(30)
        yield session, bench


def test_exactly_the_budget_is_spent_and_nothing_is_measured_twice(finished: tuple[Session, SimulatedBench]):
    session, bench = finished
    assert len(session.curve()) == session.journal.counted() == 30
    assert len(bench.finished) == 30
    assert max(Counter(m.id for _, m in bench.finished).values()) == 1
    assert session.journal.in_flight() == [] and session.journal.unsettled() == []


def test_no_worker_waits_and_none_gets_two(finished: tuple[Session, SimulatedBench]):
    session, bench = finished
    assert bench.most == 4
    ends = [clock for clock, _ in bench.finished]
    starts = [0.0] * 4 + ends[:-4]  # whenever one ends the next begins
    by_key = {m.key: clock for clock, m in bench.finished}
    batches = [e.data["keys"][0] for e in session.ledger.events(session.id, "batch")]
    measured = {m.key: m for _, m in bench.finished}
    for start, key in zip(starts, batches, strict=True):
        assert by_key[key] == pytest.approx(start + seconds(measured[key]))
    assert bench.clock < sum(map(seconds, measured.values())) / 3


def test_results_are_known_in_the_order_in_which_they_came(finished: tuple[Session, SimulatedBench]):
    session, bench = finished
    assert [m.key for m in session.curve()] == [m.key for _, m in bench.finished]


def test_every_result_is_worked_in_before_the_next_draw(finished: tuple[Session, SimulatedBench]):
    session, _ = finished
    settled = [event.data["counted"] for event in session.ledger.events(session.id, "settled")]
    assert settled == list(range(1, 31))
    reasons = [r for e in session.ledger.events(session.id, "batch") for r in e.data["reasons"].values()]
    assert sum("expected improvement" in reason for reason in reasons) > 10


def test_the_open_share_counts_what_is_in_flight(finished: tuple[Session, SimulatedBench]):
    session, _ = finished
    shares = Counter(x.share for x in session.journal.learned())
    assert shares[Share.OPEN] == 3, "a tenth of 30: else each draw beside an open one would be open too"


def test_the_same_cluster_gives_the_same_search(finished: tuple[Session, SimulatedBench]):
    task, bench = cluster(4)
    with Session(task, **SETTINGS) as session:
        session.run(30)
    assert [(c, m.key) for c, m in bench.finished] == [(c, m.key) for c, m in finished[1].finished]


class Killed(Exception):
    """The session's process is gone."""


@pytest.mark.parametrize("after", [0, 1, 7, 12])
def test_a_killed_session_goes_on_with_what_was_in_flight(tmp_path: Path, after: int):
    task, bench = cluster(3)
    with Session(task, tmp_path, **SETTINGS) as session:

        def dying(draw: Draw, *, seed: int = 0) -> Iterator[Measurement]:
            for number, measurement in enumerate(SimulatedBench.stream(bench, draw, seed=seed)):
                if number == after:
                    raise Killed
                yield measurement

        bench.stream = dying  # type: ignore[method-assign]
        with pytest.raises(Killed):
            session.run(16)
    task, bench = cluster(3)
    with Session(task, tmp_path, **SETTINGS) as session:
        before = [m.key for m in session.curve()]
        flying = [key for _, key, _ in session.journal.in_flight()]
        assert len(before) == after and len(flying) == 3
        session.run(16)
        assert {m.key for _, m in bench.finished} >= set(flying), "nothing that was drawn is lost"
        assert not {m.key for _, m in bench.finished} & set(before), "nothing is measured twice"
        assert [m.key for m in session.curve()][:after] == before
        assert len(session.curve()) == 16
        assert max(Counter(x.measurement.id for x in session.journal.learned()).values()) == 1


def test_what_is_in_flight_is_believed_and_not_drawn_again(tmp_path: Path):
    task, _ = cluster(1)
    with Session(task, tmp_path, **SETTINGS) as session:
        session.run(12)
        observed = session.journal.observations()
        same = believed(session.journal, 0)
        assert np.array_equal(same.scores, observed.scores)
        drawn = [session.draw(40, 1).keys[0] for _ in range(4)]
        assert len({session.journal.architecture(key).id for key in drawn}) == 4
        assert {session.journal.architecture(key).id for key in drawn} <= session.journal.known_ids()
        more = believed(session.journal, 0)
        assert len(more) == len(observed) + 4 and not more.uniform[-4:].any()
        assert np.array_equal(more.choices[: len(observed)], observed.choices)
        keys = {session.task.space.architectures(row[None])[0].key for row in more.choices[-4:]}
        assert keys == set(drawn)
        assert (more.scores[-4:] >= observed.scores.min()).all()
        assert (more.scores[-4:] <= observed.scores.max()).all()
        assert more.costs["params"].shape == more.scores.shape
        assert session.journal.counted() == 12, "believed is not measured"


def test_one_place_is_a_search_one_by_one():
    task, bench = cluster(1)
    plain = Task("nasbench-graph/cora")
    found: list[list[str]] = []
    for one in (task, plain):  # a bench that cannot stream has one place
        with Session(one, **SETTINGS) as session:
            session.run(14)
            found.append([m.key for m in session.curve()])
    assert found[0] == found[1] and bench.most == 1


def test_failures_are_made_up_for_and_too_many_stop_the_search():
    task, bench = cluster(4)
    failing = {"every": 3}
    inner = bench.inner.measure
    count = 0

    def measure(architectures: Any, *, seed: int = 0) -> Iterator[Measurement]:
        nonlocal count
        for m in inner(architectures, seed=seed):
            count += 1
            bad = count % failing["every"] == 0
            yield replace(m, status=Status.FAILED, score=None, reason="no") if bad else m

    bench.inner.measure = measure  # type: ignore[method-assign]
    with Session(task, **SETTINGS) as session:
        session.run(15)
        assert session.journal.counted() == 15 and len(session.journal.learned()) > 20
        failing["every"] = 1
        with pytest.raises(BudgetError, match="evaluations failed"):
            session.run(20)


def test_a_bench_without_places_measures_one_after_the_other():
    bench = Table().open(Task("nasbench-graph/cora").space, "cora")
    cells = bench.space.architectures(bench.space.sample(3, np.random.default_rng(0)))
    asked: list[int] = []

    def draw(free: int) -> list[Any]:
        asked.append(free)
        return [cells.pop()] if cells else []

    assert len(list(stream(bench, draw))) == 3
    assert asked == [1, 1, 1, 1]


def test_two_real_processes_one_killed_in_the_middle(tmp_path: Path):
    plain = Toy(tmp_path / "notes")
    first = Task("nasbench201/air", plain)
    settings: dict[str, Any] = {**SETTINGS, "open_minimum": 0, "reasoner": "none"}
    with Session(first, **settings) as session:
        victim = session.draw(12, 1).keys[0]  # what the search begins with
    pool = Pool(Toy(tmp_path / "notes", {victim: "kill once"}), 2, gpus=0)
    with Session(Task("nasbench201/air", pool), tmp_path / "run", **settings) as session:
        session.run(12)
        keys = [m.key for m in session.curve()]
    pool.close()
    assert len(set(keys)) == 12 and victim in keys
    notes = [line.split(" ") for line in (tmp_path / "notes").read_text().splitlines()]
    assert Counter(key for key, _ in notes) == Counter(keys) + Counter([victim])
    assert len({process for _, process in notes}) == 3
