"""Everything measured on a task, all sessions of a ledger together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from measured_ledger import SOURCE, TARGET, filled, measure, skips_help, skips_hurt, start

from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.measured import measured
from vitruvius.knowledge.share import Share


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return filled(tmp_path / "ledger.db")


def test_tasks_are_apart_and_the_target_comes_first(ledger: Ledger) -> None:
    places, notes = measured(ledger)
    assert [(place.task, place.target) for place in places] == [(TARGET, True), (SOURCE, False)]
    assert notes == []
    known = {(x.measurement.task, x.measurement.id): x.measurement for x in reversed(ledger.learned("s"))}
    for place in places:
        observed = place.observations
        assert observed.space.ids(observed.choices) == list(place.scores)
        assert place.scores == {id: m.score for (task, id), m in known.items() if task == place.task}
        assert observed.costs.keys() == {"params"}
        best = max(place.scores, key=lambda id: place.scores[id])
        assert place.quantile(best) == observed.quantiles.max() > 0.98
        found = place.architecture(best)
        assert found is not None
        assert found.id == best
        assert place.architecture("not measured") is None


def test_a_class_counts_once_over_sessions_and_as_uniform_if_ever_drawn_so(ledger: Ledger) -> None:
    before = len(measured(ledger)[0][0].observations)
    start(ledger, "t")
    measure(ledger, TARGET, skips_help, 150, session="t", share=Share.OPEN)  # the same architectures again
    measure(ledger, TARGET, skips_help, 10, session="t", share=Share.MODEL, seed=7)
    observed = measured(ledger)[0][0].observations
    assert before < len(observed) <= before + 10
    assert 0 < (~observed.uniform).sum() <= 10


def test_the_frozen_reference_gives_the_quantiles(ledger: Ledger) -> None:
    scores = list(np.linspace(0.0, 1000.0, 11))
    ledger.log("s", "reference", {"task": TARGET, "scores": scores}, number=0)
    assert measured(ledger)[0][0].observations.quantiles.max() < 0.2


def test_smaller_scores_can_be_better(ledger: Ledger) -> None:
    place = measured(ledger)[0][1]
    facts = {"task": SOURCE, "scores": sorted(-score for score in place.scores.values()), "maximize": False}
    ledger.log("s", "reference", facts, number=1)
    turned = measured(ledger)[0][1]
    assert turned.scores == place.scores
    np.testing.assert_allclose(turned.observations.quantiles, 1.0 - place.observations.quantiles)


def test_scores_that_cannot_be_compared_are_not_mixed(ledger: Ledger) -> None:
    start(ledger, "t")
    measure(ledger, TARGET, skips_help, 5, session="t", seed=9)
    learned = ledger.learned("t")[0].measurement
    ledger.record(dataclasses.replace(learned, evaluator="another"), session="t", batch=1, share=Share.OPEN)
    places, notes = measured(ledger)
    assert all(len(place.observations) < 200 for place in places)
    assert len(notes) == 1
    assert "1 measurements were left out" in notes[0]


def test_a_space_that_is_not_known_here_is_said(ledger: Ledger) -> None:
    learned = ledger.learned("s")[0].measurement
    foreign = dataclasses.replace(learned, space="someones-own", task="someones-own/data")
    ledger.record(foreign, session="s", batch=9, share=Share.OPEN)
    places, notes = measured(ledger)
    assert {place.task for place in places} == {TARGET, SOURCE}
    assert "someones-own" in notes[0]


def test_an_empty_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty.db") as ledger:
        assert measured(ledger) == ([], [])


def test_what_hurts_on_one_task_may_help_on_another(ledger: Ledger) -> None:
    target, source = measured(ledger)[0]
    for place, truth in ((target, skips_help), (source, skips_hurt)):
        from vitruvius.knowledge.population import Population

        expected = truth(Population(place.observations.space, place.observations.choices))
        assert np.corrcoef(expected, place.observations.quantiles)[0, 1] > 0.9
