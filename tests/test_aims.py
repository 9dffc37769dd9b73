"""Constraints and objectives: no candidate leaves the feasible set, and the front is what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vitruvius.agents.aims import read_aims
from vitruvius.agents.baselines import random_search, regularised_evolution
from vitruvius.agents.options import Options
from vitruvius.agents.pareto import nondominated
from vitruvius.agents.reasoner import Brief, Experiment, Reflection
from vitruvius.agents.session import Session
from vitruvius.cli.commands import app
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import InvalidPredicateError, SettingsError, UnknownNameError, UserError
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.table import Table, TableBench
from vitruvius.generator.evaluation.task import Evaluator, Task
from vitruvius.generator.evaluation.with_latency import WithLatency
from vitruvius.generator.space import get_space
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.share import Share
from vitruvius.summary import summarise

SMALL: dict[str, Any] = {
    "proposer": "ngram", "finetune_every": 0, "source_size": 40, "pool": 32, "local": 32, "reflect_every": 10,
}  # fmt: skip
WHERE = "params < 0.8M and gat >= 1"


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


def costs_of(task: Task, keys: Sequence[str], name: str) -> Any:
    return task.bench.costs(task.space.rows(task.space.parse(key) for key in keys))[name]


class Asking:
    """Asks for two experiments, the first of them outside the constraint."""

    name, uses_templates = "asking", False

    def __init__(self, task: Task) -> None:
        rows = task.space.enumerate()
        feasible = read_aims(task, Options(where=WHERE)).feasible
        assert feasible is not None
        inside = feasible.everywhere
        keys = task.space.keys(np.stack([rows[~inside][-1], rows[inside][-1]]))
        self.keys = [task.bench.representative(task.space.parse(key)).key for key in keys]

    def reflect(self, brief: Brief) -> Reflection:
        return Reflection(experiments=[Experiment(key, "to see") for key in self.keys])

    def close(self) -> None: ...


def test_a_table_that_lacks_most_is_searched_all_the_same(cora: Task) -> None:
    """The table of proteins has 2,021 of 26,206 architectures; the others are never drawn."""
    proteins = cora.sibling("proteins")
    with Session(proteins, sources=[cora], where="params < 1.0M", reasoner="none", **SMALL) as session:
        session.run(30)
        learned = session.journal.learned()
        assert [x.measurement.task for x in learned if not x.measurement.ok] == []
        assert len([x for x in learned if x.measurement.task == proteins.name]) == 30
        curves = session.compare(30)
        assert [len(curve) for curve in curves.values()] == [30, 30]
    feasible = read_aims(proteins, Options()).feasible
    assert feasible is not None and feasible.everywhere.sum() == 2021
    assert feasible.describe() == "2,021 of 26,206 architectures (7.71%)"
    assert read_aims(proteins, Options()).describe() == [f"table      {feasible.describe()}"]
    (line,) = read_aims(proteins, Options(where="params < 1M")).describe()
    assert line.startswith("constraint params < 1M among what the table has: ")
    with pytest.raises(SettingsError, match="satisfies gat >= 1 among what the table has"):
        read_aims(proteins, Options(where="gat >= 1"))
    assert read_aims(cora, Options()).feasible is None


@pytest.mark.parametrize("foretold", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_around_a_table_hides_nothing_of_it(
    foretold: bool, pooled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Task("nasbench-graph/proteins")
    alone = read_aims(plain, Options(where="params < 1M")).feasible
    assert alone is not None and 0 < alone.everywhere.sum() < 2021
    evaluator: Evaluator = Pool(Table(), gpus=0) if pooled else Table()
    if foretold:
        keys = plain.space.keys(plain.space.enumerate()[alone.everywhere][:5])
        timed = "".join(f'"{key}",{number}\n' for number, key in enumerate(keys, start=1))
        (tmp_path / "mine.csv").write_text(f"key,ms\n{timed}")
        evaluator = WithLatency(evaluator, {"mine": tmp_path / "mine.csv"})
    task = Task(plain.name, evaluator)

    def one_by_one(*_: object) -> None:
        raise AssertionError("of a table, members are asked for all at once: else it takes minutes")

    monkeypatch.setattr(TableBench, "representative", one_by_one)
    found = read_aims(task, Options(where="params < 1M")).feasible
    assert found is not None and found.describe() == alone.describe()
    assert np.array_equal(found.everywhere, alone.everywhere)
    assert read_aims(task, Options()).feasible is not None


def test_a_source_that_lacks_most_is_measured_where_it_can_be(cora: Task) -> None:
    lines: list[str] = []
    proteins = cora.sibling("proteins")
    with Session(cora, sources=[proteins], reasoner="none", progress=lines.append, **SMALL) as session:
        session.learn_sources()
        learned = session.journal.learned(proteins.name)
    assert len(learned) == 40 and all(x.measurement.ok for x in learned)
    assert not any("leaves too little" in line for line in lines)


def test_everything_that_is_measured_is_feasible(cora: Task) -> None:
    asking = Asking(cora)
    with Session(cora, where=WHERE, reasoner=asking, open_share=0.25, **SMALL) as session:
        session.run(40)
        learned = session.journal.learned()
        assert {x.share for x in learned} >= {"initial", "open", "local"}
        keys = [x.measurement.key for x in learned]
        assert len(keys) == 40
        assert costs_of(cora, keys, "params").max() < 0.8
        predicate = Predicate.parse("gat >= 1")
        assert all(predicate.holds_one(cora.space.parse(key)) for key in keys)
        experiments = [x.measurement.key for x in learned if x.share is Share.EXPERIMENT]
        assert asking.keys[0] not in keys and experiments == asking.keys[1:]
        assert all(
            "whole space" not in e.data["reasons"].values()
            for e in session.ledger.events(session.id, "batch")
        )


def test_a_source_on_which_nothing_is_feasible_is_drawn_from_all_of_it(cora: Task) -> None:
    said: list[str] = []
    options: dict[str, Any] = {**SMALL, "where": "params < 0.6M and gat >= 1"}
    with Session(cora, sources=[cora.sibling("physics")], progress=said.append, **options) as session:
        session.run(12)
        keys = [m.key for m in session.curve()]
    assert any("physics: 40 measured" in line and "leaves too little there" in line for line in said)
    assert (costs_of(cora, keys, "params") < 0.6).all(), "what sources think best is inside as well"


def test_sources_are_measured_inside_the_same_constraint(cora: Task) -> None:
    with Session(cora, where=WHERE, sources=[cora.sibling("pubmed")], **SMALL) as session:
        session.learn_sources()
        keys = [x.measurement.key for x in session.journal.learned("nasbench-graph/pubmed")]
        assert len(keys) == 40 and costs_of(cora.sibling("pubmed"), keys, "params").max() < 0.8


def test_a_space_too_large_to_list_is_drawn_from_by_rejection() -> None:
    task = Task("darts/mine", Manual(metric="accuracy"))
    with Session(
        task, where="sep_conv_3x3 >= 5", proposer="uniform", finetune_every=0, reasoner="none"
    ) as session:
        asked = session.ask(4)
    predicate = Predicate.parse("sep_conv_3x3 >= 5")
    assert len(asked) == 4 and all(predicate.holds_one(one) for one in asked)


def test_how_much_is_feasible_is_said_exactly(cora: Task) -> None:
    lines: list[str] = []
    with Session(cora, where=WHERE, progress=lines.append, **SMALL) as session:
        session.run(6)
    rows = cora.space.enumerate()
    gat = (cora.space.graphs(rows).labels == 2 + cora.space.operations.index("gat")).any(axis=1)
    count = int(((cora.bench.costs(rows)["params"] < 0.8) & gat).sum())
    assert f"constraint params < 0.8M and gat >= 1: {count:,} of 26,206 architectures" in "\n".join(lines)


def test_a_feasible_set_that_is_smaller_than_the_budget_is_used_up(cora: Task) -> None:
    tiny = float(np.sort(cora.bench.costs(cora.space.enumerate())["params"])[9]) * 1.0001
    with Session(cora, where=f"params < {tiny:.9f}M", **SMALL) as session:
        session.run(60)
        allowed = session.aims.feasible
        assert allowed is not None
        inside = cora.space.enumerate()[allowed.everywhere]
        assert {m.id for m in session.curve()} == set(cora.space.ids(inside[allowed.allows(inside)]))


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"where": "params < 0.001M"}, SettingsError, "none of its 26,206.*params goes from 0\\.\\d+ to"),
        ({"where": "params > 0.1M and params < 0.05M"}, SettingsError, "No architecture of nasbench-graph satisfies"),
        ({"where": "  "}, SettingsError, "`where` is empty"),
        ({"where": "flops < 3M"}, UnknownNameError, "flops.*latency\\[benchmark\\], params"),
        ({"where": "conv7x7 >= 1"}, UnknownNameError, "conv7x7"),
        ({"where": "params <"}, InvalidPredicateError, "cannot be read at character"),
        ({"objectives": "latency[pixel3]"}, UnknownNameError, "latency\\[pixel3\\].*params"),
        ({"objectives": "a,b,c,d"}, SettingsError, "4 objectives .* are too many"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_starts(
    cora: Task, tmp_path: Path, settings: dict[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Session(cora, tmp_path / "run", **settings, **SMALL)
    assert not (tmp_path / "run" / "ledger.db").exists()


def test_no_cost_is_known_of_what_somebody_tells() -> None:
    with pytest.raises(UnknownNameError, match="no costs of nasbench201 are known here"):
        Session(Task("nasbench201/mine", Manual()), where="params < 1M")


@pytest.fixture(scope="module")
def traded(cora: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished session with two costs as objectives and a constraint."""
    folder = tmp_path_factory.mktemp("traded") / "run"
    aims = {"where": "depth >= 1", "objectives": ["params", "latency[benchmark]"]}
    with Session(cora, folder, **aims, **SMALL) as session:
        session.run(30)
        session.compare(30)
    return folder


def test_the_front_is_that_of_what_was_measured(cora: Task, traded: Path) -> None:
    summary = summarise(traded)
    with Session(
        cora, traded, where="depth >= 1", objectives=["params", "latency[benchmark]"], **SMALL
    ) as session:
        front, curve = session.front(), session.curve()
    costs = np.stack(
        [costs_of(cora, [m.key for m in curve], name) for name in ("params", "latency[benchmark]")], 1
    )
    kept = nondominated(np.array([m.score for m in curve]), costs)
    expected = {m.key for m, is_kept in zip(curve, kept, strict=True) if is_kept}
    assert {point.architecture.key for point in front} == expected
    assert [line.key for line in summary.front] == [point.architecture.key for point in front]
    assert [line.costs for line in summary.front] == [point.costs for point in front]
    assert curve[summary.front[0].evaluation - 1].key == summary.front[0].key
    assert f"{front[0].costs['params']:.4g} M" in str(front[0]) and front[0].architecture.key in str(front[0])


def test_hypervolumes_only_grow_and_the_baselines_stand_beside(traded: Path) -> None:
    volumes = summarise(traded).volumes
    assert set(volumes) == {"vitruvius", "random search", "regularised evolution"}
    for curve in volumes.values():
        assert len(curve) == 30 and all(a <= b for a, b in pairwise(curve))
    assert volumes["vitruvius"][-1] > volumes["random search"][-1]


def test_with_objectives_no_principle_prunes(cora: Task) -> None:
    settings: dict[str, Any] = {**SMALL, "source_size": 200, "objectives": "params"}
    sources = [cora.sibling(name) for name in ("pubmed", "cs", "physics", "photo")]
    with Session(cora, sources=sources, **settings) as session:
        session.run(12)
        assert any(p.status.value == "supported" for p in session.ledger.principles(session=session.id))
        assert session.restriction.terms == ()


def test_one_objective_has_no_front(cora: Task) -> None:
    with Session(cora, **SMALL) as session, pytest.raises(UserError, match="objectives"):
        session.front()


def test_a_smaller_score_can_be_the_better_one() -> None:
    task = Task("nasbench-graph/cora", maximize=False)
    with Session(task, objectives="params", **SMALL) as session:
        session.run(12)
        front, curve = session.front(), session.curve()
    scores = np.array([m.score for m in curve])
    params = costs_of(task, [m.key for m in curve], "params")
    unbeaten = {
        m.key
        for m, score, size in zip(curve, scores, params, strict=True)
        if not ((scores <= score) & (params <= size) & ((scores < score) | (params < size))).any()
    }
    assert {p.measurement.key for p in front} == unbeaten and 1 < len(unbeaten) < 12


@pytest.mark.parametrize("method", [random_search, regularised_evolution])
def test_baselines_keep_to_the_constraint(cora: Task, method: Any) -> None:
    feasible = read_aims(cora, Options(where=WHERE)).feasible
    curve = method(cora, 40, 0, feasible)
    assert len(curve.keys) == 40 and costs_of(cora, curve.keys, "params").max() < 0.8


def test_settings_survive_a_file(tmp_path: Path) -> None:
    settings = load_settings(None, {"where": WHERE, "objectives": "params,latency[pixel3]"})
    assert settings.options.objectives == ["params", "latency[pixel3]"]
    (tmp_path / "s.toml").write_text(dump_settings(settings))
    assert load_settings(tmp_path / "s.toml", {}) == settings


def test_the_command_line_shows_front_and_constraint(traded: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(traded)]).output
    assert "constraint: depth >= 1: " in shown and "Pareto front: " in shown and "Hypervolume after" in shown
    assert "latency[benchmark], ms" in shown
    run = CliRunner().invoke(
        app,
        ["run", "--run", str(tmp_path / "r"), "--quiet", "--proposer", "uniform", "--source", "none",
         "--evaluations", "8", "--where", "params < 0.8M", "--objectives", "params", "--reasoner", "none"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "Pareto front: " in run.output and "params < 0.8M" in run.output
    report = CliRunner().invoke(app, ["report", str(traded)])
    assert report.exit_code == 0, report.output
    page = (traded / "report.html").read_text()
    assert "Pareto front" in page and "depth &gt;= 1" in page


def test_measured_for_a_class_is_what_must_be_feasible(tables: Path) -> None:
    """Members of a class differ in cost where a dead convolution stays."""
    task = Task("nasbench201/cifar10")
    rows = get_space("nasbench201").enumerate()
    stands = rows[task.bench.representative_positions()]  # pyright: ignore[reportAttributeAccessIssue]
    own, counted = (task.bench.costs(r)["params"] for r in (rows, stands))
    limit = 0.5
    differ = (own < limit) != (counted < limit)
    assert differ.any()
    feasible = read_aims(task, Options(where=f"params < {limit}M")).feasible
    assert feasible is not None
    np.testing.assert_array_equal(feasible.allows(rows[differ]), counted[differ] < limit)
    np.testing.assert_array_equal(feasible.everywhere, (own < limit) & (counted < limit))
    assert feasible.classes == len(set(task.space.ids(rows[feasible.everywhere])))
    assert f"{feasible.classes:,} of them different" in feasible.describe()


def test_few_that_are_feasible_are_soon_used_up(cora: Task) -> None:
    feasible = read_aims(cora, Options(where="gat == 4")).feasible
    assert feasible is not None and feasible.classes == 9
    assert len(random_search(cora, 30_000, 0, feasible).ids) == 9  # minutes, if tried for each evaluation
