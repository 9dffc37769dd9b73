"""The exam of reasoners: what is graded, against truth, and what it says of good, bad and broken ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_replies import item, reply
from typer.testing import CliRunner

import vitruvius as vt
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.reasoner import Brief, Reflection
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.exam import take_exam
from vitruvius.generator.space import get_space
from vitruvius.grading import Draw, KnownTask, agreement, area, own_effects, random_principles, regret
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Proposal
from vitruvius.testing.chat import ScriptedChatModel

TASK = "nasbench-graph/cora"


def principle(text: str, direction: int = 1, expected: float | None = 0.2) -> Proposal:
    form = parse_predicate(text).to_json()
    return Proposal("A sentence.", form, "nasbench-graph", direction=direction, expected=expected)


@pytest.fixture(scope="module")
def known() -> KnownTask:
    """The space of NAS-Bench-Graph with scores that are two thirds "gcn >= 1", one third "gat >= 1"."""
    task, space = vt.Task(TASK), get_space("nasbench-graph")
    rows = space.sample(3000, np.random.default_rng(0))
    population = Population(space, rows)
    noise = np.random.default_rng(1).uniform(0, 0.1, len(rows))
    scores = 2.0 * (population.count(["gcn"]) >= 1) + 1.0 * (population.count(["gat"]) >= 1) + noise
    return KnownTask(task, rows, scores)


def test_a_table_is_read_as_a_whole() -> None:
    table = KnownTask.open(vt.Task(TASK))
    assert len(table.scores) == 26_206
    assert 0.009 < table.best.mean() < 0.012
    measured = next(iter(table.task.bench.measure(table.task.space.architectures(table.rows[7:8]))))
    assert measured.score == table.scores[7]


def test_a_draw_shows_little_and_keeps_the_rest(known: KnownTask) -> None:
    draw = Draw.of(known, seed=0)
    assert len(draw.observed) == 50 and draw.unseen.sum() == 2950
    np.testing.assert_array_equal(draw.observed.scores, known.scores[draw.seen])
    assert not draw.observed.held.any() and draw.observed.uniform.all()
    assert not np.array_equal(draw.seen, Draw.of(known, seed=1).seen)
    np.testing.assert_array_equal(draw.seen, Draw.of(known, seed=0).seen)


def test_effects_are_the_true_ones_and_said_twice_counts_once(known: KnownTask) -> None:
    draw = Draw.of(known, seed=0)
    lists = [principle("gcn >= 1"), principle("not (gcn >= 1)", -1), principle("gat >= 1")]
    first, again, second = own_effects(draw, lists, beyond_counting=False)
    mask = (known.population.count(["gcn"]) >= 1) & draw.unseen
    rest = draw.unseen & ~mask
    assert first == pytest.approx(known.quantiles[mask].mean() - known.quantiles[rest].mean())
    assert again == 0.0
    assert second > 0.2
    assert own_effects(draw, [principle("gcn >= 1", -1)], beyond_counting=False) == [pytest.approx(-first)]
    assert own_effects(draw, [], beyond_counting=True) == []


def test_what_counting_knows_is_taken_off(known: KnownTask) -> None:
    """Where scores are what counting says, no principle tells more, however large its effect."""
    draw = Draw.of(known, seed=0)
    ranks = np.argsort(np.argsort(draw.counted)).astype(np.float64)
    told = KnownTask(known.task, known.rows, np.where(draw.unseen, ranks, known.scores))
    same = Draw.of(told, seed=0)
    np.testing.assert_array_equal(same.counted, draw.counted)
    lists = [principle("gcn >= 1"), principle("gat >= 1"), principle("fc >= 1")]
    alone = [own_effects(same, [one], beyond_counting=False)[0] for one in lists]
    beyond = [own_effects(same, [one], beyond_counting=True)[0] for one in lists]
    assert max(np.abs(alone)) > 0.1
    assert max(np.abs(beyond)) < 0.2 * max(np.abs(alone))


def test_area_and_regret_between_chance_and_truth(known: KnownTask) -> None:
    draw = Draw.of(known, seed=0)
    nothing, good = np.zeros(3000), agreement(known, [principle("gcn >= 1"), principle("gat >= 1")])
    assert area(known, nothing) == pytest.approx(0.5)
    assert area(known, known.scores) > 0.99 > area(known, good) > 0.8
    assert area(known, -good) == pytest.approx(1 - area(known, good))
    regrets = [regret(draw, ranking, 20) for ranking in (known.scores, good, nothing, -good)]
    assert regrets == sorted(regrets) and regrets[0] < regrets[-1]
    assert regret(draw, good, 50) < regret(draw, good, 20)


def test_regret_is_the_expectation_of_real_draws(known: KnownTask) -> None:
    draw, ranking = Draw.of(known, seed=0), known.scores
    rng, places = np.random.default_rng(2), np.flatnonzero(draw.unseen)
    tenth = places[np.argsort(-ranking[places])[:300]]
    simulated = [known.scores.max() - known.scores[rng.permutation(tenth)[:20]].max() for _ in range(4000)]
    assert regret(draw, ranking, 20) == pytest.approx(float(np.mean(simulated)), abs=3e-4)


@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(0.1, 9))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_a_ranking_counts(known: KnownTask, seed: int, shift: float, scale: float) -> None:
    ranking = np.random.default_rng(seed).integers(0, 40, 3000).astype(np.float64)
    draw = Draw.of(known, seed=0)
    assert area(known, ranking) == pytest.approx(area(known, shift + scale * ranking))
    assert regret(draw, ranking, 20) == pytest.approx(regret(draw, shift + scale * ranking, 20))


def test_random_principles_have_the_coverage_and_the_sign_of_what_is_shown(known: KnownTask) -> None:
    draw = Draw.of(known, seed=0)
    found = random_principles(draw, [0.1, 0.3, 0.5] * 5, np.random.default_rng(0))
    shown = Population(draw.brief.space, draw.observed.choices)
    for proposal, wanted in zip(found, [0.1, 0.3, 0.5] * 5, strict=True):
        mask = parse_predicate(vt_text(proposal)).holds(shown)
        assert abs(mask.mean() - wanted) < 0.11
        values = draw.observed.quantiles
        assert (values[mask].mean() >= values[~mask].mean()) == (proposal.direction > 0)


def vt_text(proposal: Proposal) -> str:
    from vitruvius.knowledge.predicate import predicate_from_json

    return predicate_from_json(proposal.predicate).text()


# ---- the exam -----------------------------------------------------------------------------


class Knowing:
    """A reasoner that always says the same."""

    uses_templates = False

    def __init__(self, name: str, proposals: Sequence[Proposal]) -> None:
        self.name, self.proposals = name, list(proposals)

    def reflect(self, brief: Brief) -> Reflection:
        return Reflection(proposals=self.proposals)

    def close(self) -> None:
        pass


GOOD = [principle("gat >= 2"), principle("count(graph|fc) >= 1", -1), principle("count(gat|gcn|sage) >= 3")]
BAD = [principle("count(graph|fc) >= 2"), principle("count(graph|fc|skip) >= 3")]


def test_a_good_and_a_bad_reasoner_are_told_apart() -> None:
    good = take_exam(Knowing("good", GOOD), trials=6, tasks=(TASK,))
    bad = take_exam(Knowing("bad", BAD), trials=6, tasks=(TASK,))
    assert good.useful > bad.useful
    assert bad.gain[2] < 0 and "helps less than statistics" in bad.verdict
    assert good.gain[0] > bad.gain[0]
    assert all(trial.areas[0] > 0.5 for trial in good.trials)


def test_statistics_sits_it_too() -> None:
    report = take_exam(StatisticsReasoner(), trials=2, tasks=(TASK,))
    assert report.gain[0] == 0.0
    assert report.proposed >= report.useful > 0
    assert "held against" in report.verdict
    plain = report.as_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == json.loads(json.dumps(plain))


def test_a_language_model_is_counted_with_all_that_it_says() -> None:
    said = reply(item("gcn >= 2"), item("resnet >= 1"))
    model = LanguageReasoner(ScriptedChatModel(replies=[said, '{"principles": []}']))
    report = take_exam(model, trials=2, tasks=(TASK,))
    assert [trial.proposed for trial in report.trials] == [1, 0]
    assert report.refused == {"unknown name": 1}
    assert report.replies == {"ok": 1, "no principles": 2}
    assert report.cost is None


def test_a_model_that_talks_nonsense_is_of_no_use() -> None:
    report = take_exam(LanguageReasoner(ScriptedChatModel(replies=["Hello!"])), trials=2, tasks=(TASK,))
    assert report.proposed == 0 and report.refused["not JSON"] > 0
    assert "of no use" in report.verdict
    assert report.chance == 0.0


def test_two_trials_say_nothing_of_a_difference() -> None:
    report = take_exam(Knowing("bad", BAD), trials=2, tasks=(TASK,))
    assert "cannot be told" in report.verdict


def test_on_the_command_line() -> None:
    from vitruvius.cli.commands import app

    told = CliRunner().invoke(app, ["doctor", "--reasoner", "statistics", "--trials", "1"])
    assert told.exit_code == 0, told.output
    assert "best 1 % kept" in told.stdout and "by chance" in told.stdout
    assert "no interval from 1 trial: --trials 3 or more gives one" in told.stdout
    plain = CliRunner().invoke(app, ["doctor", "--reasoner", "statistics", "--trials", "1", "--json"])
    assert json.loads(plain.stdout)["reasoner"] == "statistics"
    wrong = CliRunner().invoke(app, ["doctor", "--reasoner", "oracle"])
    assert wrong.exit_code != 0 and "oracle" in str(wrong.exception)
