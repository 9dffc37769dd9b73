"""What architectures cost, in rules: equal to averages over the space, and shown where users look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import vitruvius as vt
from vitruvius.cli.commands import app
from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.answer_text import answer_lines
from vitruvius.knowledge.cost_rules import cost_rules, known_costs
from vitruvius.knowledge.population import Population


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


def test_a_rule_is_the_average_over_the_space(cora: Task) -> None:
    rows = cora.space.enumerate()
    params = cora.bench.costs(rows)["params"]
    rules = cost_rules(cora, "params")
    assert len(rules) == len({rule.predicate.text() for rule in rules}) > 40
    sizes = [abs(np.log(rule.inside / rule.outside)) for rule in rules]
    assert sizes == sorted(sizes, reverse=True)
    population = Population(cora.space, rows)
    for rule in rules:
        holds = rule.predicate.holds(population)
        assert rule.inside == pytest.approx(params[holds].mean())
        assert rule.outside == pytest.approx(params[~holds].mean())
        assert rule.share == pytest.approx(holds.mean())
        assert f"{abs(rule.change):.0%} {'more' if rule.change > 0 else 'less'} params" in rule.sentence()


def test_one_predicate_or_an_operation(cora: Task) -> None:
    (one,) = cost_rules(cora, "latency[benchmark]", predicate="gat feeds gat")
    assert one.change > 0 and "gat that directly feeds a gat" in one.sentence()
    about = cost_rules(cora, "params", about="gat")
    assert about and all("gat" in rule.predicate.operations_named() for rule in about)
    by_alias = [rule.predicate for rule in cost_rules(cora, "params", about="fully-connected")]
    assert by_alias and by_alias == [rule.predicate for rule in cost_rules(cora, "params", about="fc")]


def test_what_cannot_be_told_is_one_sentence(cora: Task) -> None:
    with pytest.raises(UnknownNameError, match=r"'latency'.*Allowed: latency\[benchmark\], params"):
        cost_rules(cora, "latency")
    with pytest.raises(UnknownNameError, match="Unknown operation or choice of nasbench-graph 'nope'"):
        cost_rules(cora, "params", about="nope")
    with pytest.raises(UserError, match="for all architectures or for none"):
        cost_rules(cora, "params", predicate="gat >= 0")
    assert not known_costs(Task("nasbench-graph", vt.Manual(metric="accuracy")))


def test_a_space_that_cannot_be_listed_is_sampled() -> None:
    task = Task("darts/digits", vt.Train(dataset="digits"))
    rules = cost_rules(task, "params", about="sepconv5x5")
    assert rules and all(rule.change > 0 for rule in rules)


def test_the_command_line(cora: Task) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["principles", "costs", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    lines = said("--task", "nasbench-graph/cora", "--limit", "2").splitlines()
    heads = ["latency[benchmark] in nasbench-graph/cora", "params in nasbench-graph/cora"]
    assert [line for line in lines if " in nasbench-graph/cora" in line] == heads
    assert len(lines) == 6
    plain = json.loads(said("gat >= 1", "--task", "nasbench-graph/cora", "--cost", "params", "--json"))
    assert plain == [cost_rules(cora, "params", predicate="gat >= 1")[0].as_json()]


def test_a_run_with_a_cost_tells_what_costs(tmp_path: Path) -> None:
    from vitruvius.report import write_report
    from vitruvius.summary import summarise

    task = Task("nasbench-graph/cora")
    options: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}
    with vt.Session(
        task, tmp_path, where="params < 0.8M", objectives=["latency[benchmark]"], **options
    ) as one:
        one.run(8)
    dear = summarise(tmp_path).dear
    strongest = [cost_rules(task, cost)[:3] for cost in ("latency[benchmark]", "params")]
    assert dear == tuple(rule.sentence() for rules in strongest for rule in rules)
    shown = CliRunner().invoke(app, ["show", str(tmp_path)]).output
    assert all(sentence in shown for sentence in dear)
    assert "What costs" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_question_about_costs_is_told_where_to_ask(tmp_path: Path) -> None:
    options: dict[str, Any] = {"proposer": "uniform", "reasoner": "none", "finetune_every": 0}
    with vt.Session(Task("nasbench-graph/cora"), tmp_path, **options) as one:
        one.run(8)
        lines = list(answer_lines(one.store.ask("what makes it slow?")))
        assert any("`vitruvius principles costs`" in line for line in lines)
        lines = list(answer_lines(one.store.ask("does gat help?")))
    assert not any("`vitruvius principles costs`" in line for line in lines)
