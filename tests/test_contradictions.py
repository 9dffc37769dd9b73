"""Principles that clash, and the story of their statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from measured_ledger import SOURCE, TARGET, claim, filled, measure, skips_help
from typer.testing import CliRunner

from vitruvius.cli.principles import app
from vitruvius.knowledge.contradictions import divided, opposed
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.measured import Measured, measured
from vitruvius.knowledge.principle import Principle, PrincipleStatus


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return filled(tmp_path / "run" / "ledger.db")


@pytest.fixture
def places(ledger: Ledger) -> list[Measured]:
    return measured(ledger)[0]


def test_opposite_claims_about_the_same_architectures(places: list[Measured]) -> None:
    helps, hurts = claim("skip >= 1"), claim("skip >= 1 and depth <= 6", -1)
    (pair,) = opposed([helps, hurts, claim("conv3x3 >= 4")], places)
    assert (pair.first, pair.second) == (helps, hurts)
    assert pair.overlap > 0.99
    both, first, second, neither = pair.groups
    assert (first.number, second.number) == (0, 0)
    place = next(place for place in places if place.task == pair.task)
    assert both.number + neither.number == len(place.observations)
    assert (both.quantile > neither.quantile) is (pair.task == TARGET)


def test_the_side_that_is_named_does_not_matter(places: list[Measured]) -> None:
    with_it, without = claim("skip >= 1"), claim("skip == 0")
    assert len(opposed([with_it, without], places)) == 1  # both promise more
    assert opposed([with_it, claim("skip == 0", -1)], places) == []  # the same claim in other words
    assert opposed([with_it, claim("skip >= 2")], places) == []


def test_little_overlap_is_no_contradiction(places: list[Measured]) -> None:
    some, many = claim("skip >= 1"), claim("skip >= 3", -1)
    assert opposed([some, many], places) == []
    (pair,) = opposed([some, many], places, overlap=0.1)
    assert (pair.first, pair.second) == (some, many)
    assert 0.1 < pair.overlap < 0.5
    assert opposed([some, claim("conv3x3 >= 2", -1)], places, overlap=0.01) == []


def test_what_was_taken_back_contradicts_nothing(places: list[Measured]) -> None:
    gone = claim("skip >= 1", -1, status=PrincipleStatus.RETRACTED)
    assert opposed([claim("skip >= 1"), gone], places) == []


def scored(places: list[Measured], *principles: Principle) -> list[Principle]:
    return assess([(each, 0) for each in principles], [place.observations for place in places])


def test_held_on_one_task_and_refuted_on_another(places: list[Measured]) -> None:
    (one,) = divided(scored(places, claim("skip >= 1"), claim("conv1x1 >= 6")))
    assert one.principle.proposal.predicate["operations"] == ["skip"]
    assert one.holds.keys() == {TARGET}
    assert one.refuted.keys() == {SOURCE}
    (other,) = divided(scored(places, claim("skip >= 1", -1)))
    assert other.holds.keys() == {SOURCE}


def call(ledger: Ledger, *arguments: str) -> str:
    folder = Path(ledger.name).parent
    result = CliRunner().invoke(app, [*arguments, "--run", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_timeline_counts_evaluations(ledger: Ledger, places: list[Measured]) -> None:
    kept, other = claim("skip >= 1"), claim("conv3x3 >= 6")
    counted = len(places[0].observations)
    ledger.add_principle(kept, session="s")
    measure(ledger, TARGET, skips_help, 40, seed=5)
    ledger.add_principle(other, session="s")
    later = len(measured(ledger)[0][0].observations)
    (contested,) = scored(places, kept)
    ledger.update_principles([contested], session="s")
    ledger.update_principles([contested], session="s")
    steps = ledger.steps()
    assert [(s.principle, s.before, s.status, s.evaluations) for s in steps] == [
        (kept.id, None, PrincipleStatus.PROPOSED, counted),
        (other.id, None, PrincipleStatus.PROPOSED, later),
        (kept.id, PrincipleStatus.PROPOSED, PrincipleStatus.CONTESTED, later),
    ]
    assert steps[-1].evidence == contested.evidence
    text = call(ledger, "timeline")
    assert text.index(f"after {counted} evaluations") < text.index(f"after {later} evaluations")
    assert "(was proposed)" in text
    assert "In the end: 1 contested, 1 proposed." in text
    plain = json.loads(call(ledger, "timeline", "--json"))
    assert [step["evaluations"] for step in plain] == [counted, later, later]


def test_the_commands_name_both_and_the_figures(ledger: Ledger, places: list[Measured]) -> None:
    assert "No principles." in call(ledger, "timeline")
    helps, hurts = scored(places, claim("skip >= 1"), claim("skip >= 1 and depth <= 6", -1))
    for each in (helps, hurts):
        ledger.add_principle(each, session="s")
    text = call(ledger, "contradictions")
    for expected in (
        helps.id,
        hurts.id,
        "correlate by 1.00",
        "both 0.",
        f"holds     {TARGET}",
        f"refuted   {SOURCE}",
    ):
        assert expected in text
    plain = json.loads(call(ledger, "contradictions", "--json"))
    assert plain["pairs"][0]["groups"]["first_only"] == {"number": 0, "quantile": None}
    assert {one["id"] for one in plain["tasks"]} == {helps.id, hurts.id}
