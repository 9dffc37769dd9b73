"""Pruning: what may be cut, what must stay, and how it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.space import Choices, get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    principle_id,
)
from vitruvius.knowledge.pruning import PruneSettings, Restriction, prune, pruning_cost, reopen

SPACE = get_space("nasbench201")
EVERYTHING = SPACE.enumerate()


def supported(
    text: str, low: float, direction: int = 1, status: PrincipleStatus = PrincipleStatus.SUPPORTED
) -> Principle:
    proposal = Proposal(text, Predicate.parse(text).to_json(), "nasbench201", direction=direction)
    ends = (low, low + 0.2) if direction > 0 else (-low - 0.2, -low)
    effect = Effect(sum(ends) / 2, *ends, 50, 50, 1e4)
    return Principle(principle_id(proposal), proposal, Origin("person"), status, Evidence((), effect))


def holds(text: str, rows: Choices = EVERYTHING) -> NDArray[np.bool_]:
    return Predicate.parse(text).holds(Population(SPACE, rows))


def params(rows: Choices) -> Mapping[str, NDArray[np.float64]]:
    return {"params": (rows == 3).sum(axis=1) * 0.25}


def test_well_supported_principles_cut_and_others_only_weigh() -> None:
    restriction = prune(SPACE, [supported("conv3x3 >= 1", 0.2), supported("depth >= 2", 0.02)], remaining=10)
    assert [(term.principle, term.hard) for term in restriction.terms] == [
        (supported("conv3x3 >= 1", 0.2).id, True),
        (supported("depth >= 2", 0.02).id, False),
    ]
    inside = restriction.inside(EVERYTHING)
    assert (inside == holds("conv3x3 >= 1")).all()
    assert restriction.share == pytest.approx(inside.mean(), abs=1e-12)


def test_warnings_are_turned_round() -> None:
    restriction = prune(SPACE, [supported("none >= 3", 0.2, direction=-1)], remaining=10)
    assert (restriction.inside(EVERYTHING) == ~holds("none >= 3")).all()
    assert "not (none >= 3)" in restriction.describe()[0]


@pytest.mark.parametrize("status", [s for s in PrincipleStatus if s is not PrincipleStatus.SUPPORTED])
def test_nothing_but_support_prunes(status: PrincipleStatus) -> None:
    restriction = prune(SPACE, [supported("conv3x3 >= 1", 0.5, status=status)], remaining=10)
    assert restriction.terms == () and restriction.share == 1.0
    assert (restriction.weights(EVERYTHING[:9]) == 1.0).all()


def test_principles_that_do_not_fit_are_left_out() -> None:
    foreign = supported("gat >= 1", 0.5)
    bound = supported("params < 1M", 0.5)
    fits = supported("skip >= 1", 0.5)
    other = replace(fits, proposal=replace(fits.proposal, space="nasbench-graph"))
    assert prune(SPACE, [foreign, bound, other], remaining=10).terms == ()
    assert len(prune(SPACE, [bound], remaining=10, costs=params).terms) == 1


def test_the_minimum_is_kept_strongest_first() -> None:
    loose = PruneSettings(largest_cut=1.0)
    strong, weak = supported("conv3x3 >= 4", 0.4), supported("skip >= 1", 0.3)
    share = holds("conv3x3 >= 4").mean()  # 1.7 %
    both = prune(SPACE, [weak, strong], remaining=1, settings=loose)
    assert [term.hard for term in both.terms] == [True, False]  # both together would leave less than 1 %
    assert both.share == pytest.approx(share) and both.share >= 0.01
    many = prune(SPACE, [weak, strong], remaining=100, settings=loose)  # 2,000 architectures must stay
    assert [term.hard for term in many.terms] == [False, True]
    assert many.share * len(EVERYTHING) >= 2000
    assert not prune(SPACE, [weak, strong], remaining=10_000, settings=loose).hard


def test_one_principle_does_not_cut_more_than_its_part() -> None:
    assert not prune(SPACE, [supported("conv3x3 >= 3", 0.4)], remaining=1).hard
    assert not prune(SPACE, [supported("skip >= 0", 0.4)], remaining=1).hard  # cuts nothing


@pytest.mark.parametrize("remaining", [1, 8, 12, 30])
def test_in_a_part_of_the_space_everything_is_counted_in_that_part(remaining: int) -> None:
    """Against a count by hand in the part: what must stay, what is cut, the share left, and what is wanted."""
    among = np.random.default_rng(remaining).random(len(EVERYTHING)) < 0.05
    part = EVERYTHING[among]
    claims = [("conv3x3 >= 1", 0.4), ("skip >= 1", 0.3), ("conv1x1 >= 1", 0.2), ("depth >= 2", 0.1)]
    principles = [supported(text, low) for text, low in claims]
    inside, hard, least = (
        np.ones(len(part), dtype=np.bool_),
        list[str](),
        max(0.01, 20 * remaining / len(part)),
    )
    for (text, _), principle in zip(claims, principles, strict=True):
        left = inside & holds(text, part)
        if left.mean() >= least and 0.01 <= 1.0 - left.sum() / inside.sum() <= 0.5:
            inside = left
            hard.append(principle.id)
    restriction = prune(SPACE, principles, remaining=remaining, among=among)
    assert [term.principle for term in restriction.hard] == hard
    assert bool(hard) == (remaining < 30)
    assert restriction.share == pytest.approx(inside.mean())
    wanted = restriction.wanted(among=among)
    assert wanted is not None and not wanted[~among].any()
    assert (wanted[among] == inside).all()
    if hard:
        hit = SPACE.architectures(part[~holds(claims[0][0], part)])[0]
        wider = reopen(restriction, hit, among=among)
        assert wider.share == pytest.approx(wider.inside(part).mean()) and wider.share > restriction.share


TEXTS = st.sampled_from(
    ["conv3x3 >= 1", "conv3x3 >= 2", "skip >= 1", "none >= 2", "depth >= 2", "op(0->3) = skip|conv3x3",
     "path(skip)", "conv1x1 feeds conv3x3", "not (avgpool3x3 >= 1)", "params < 0.5M"]
)  # fmt: skip
CLAIMS = st.lists(st.tuples(TEXTS, st.floats(-0.1, 0.6), st.sampled_from([1, -1])), max_size=6)


@settings(deadline=None, max_examples=60)
@given(CLAIMS, st.integers(0, 900), st.floats(0.1, 1.0))
def test_restricting_never_grows_a_space_and_keeps_the_minimum(
    claims: list[tuple[str, float, int]], remaining: int, largest: float
) -> None:
    principles = [supported(text, low, direction) for text, low, direction in claims]
    rules = PruneSettings(largest_cut=largest)
    restriction = prune(SPACE, principles, remaining=remaining, costs=params, settings=rules)
    inside = restriction.inside(EVERYTHING, params)
    assert restriction.share == pytest.approx(inside.mean(), abs=1e-12)
    least = min(1.0, max(0.01, 20 * remaining / len(EVERYTHING)))
    assert inside.mean() >= least
    smaller = inside
    for at in range(len(restriction.terms)):  # each term more leaves a part of what was left
        fewer = replace(restriction, terms=restriction.terms[: at + 1]).inside(EVERYTHING, params)
        before = replace(restriction, terms=restriction.terms[:at]).inside(EVERYTHING, params)
        assert not (fewer & ~before).any()
        smaller = fewer
    assert (smaller == inside).all()
    weights = restriction.weights(EVERYTHING, params)
    assert (weights >= np.exp(-rules.sharpness) - 1e-12).all() and (weights <= 1.0).all()
    assert Restriction.from_json(restriction.to_json()) == restriction


def test_weights_follow_agreement() -> None:
    restriction = prune(SPACE, [supported("conv3x3 >= 1", 0.3), supported("skip >= 1", 0.1)], remaining=10)
    a, b = holds("conv3x3 >= 1"), holds("skip >= 1")
    weights = restriction.weights(EVERYTHING)
    for mask, expected in [
        (a & b, 1.0),
        (a & ~b, np.exp(-3 * 0.25)),
        (~a & b, np.exp(-3 * 0.75)),
        (~a & ~b, np.exp(-3)),
    ]:
        assert weights[mask] == pytest.approx(expected)


def test_costs_are_needed_where_they_are_bounded() -> None:
    restriction = prune(SPACE, [supported("params < 0.5M", 0.3)], remaining=10, costs=params)
    rows = EVERYTHING[:300]
    assert (restriction.inside(rows, params) == restriction.inside(rows, params(rows))).all()
    with pytest.raises(UnknownNameError, match="params"):
        restriction.inside(rows)


class Digits:
    """A codec whose codes are the choices themselves, moved by the position."""

    codebook_size = 16
    calls = 0

    def encode(self, choices: Choices) -> NDArray[np.int16]:
        self.calls += 1
        return (choices + np.arange(6)).astype(np.int16)


def test_the_guide_leads_inside() -> None:
    principle = supported("not op(0->3) = none|avgpool3x3 and params < 1M", 0.3)
    restriction = prune(SPACE, [principle], remaining=10, costs=params)
    codec = Digits()
    guide = restriction.guide(codec, params)
    assert guide is not None
    inside = restriction.inside(EVERYTHING, params)
    assert (guide.weigh(codec.encode(EVERYTHING)) == inside).all()
    assert np.flatnonzero(guide.positions()[3]).tolist() == [4, 5, 6]
    calls = codec.calls
    without = restriction.guide(codec)  # terms that bound costs are left out: a superset
    assert codec.calls == calls  # encoding the whole space is slow: it is done once for each codec
    assert without is not None and (without.weigh(codec.encode(EVERYTHING)) >= inside).all()
    assert prune(SPACE, [], remaining=10).guide(codec) is None


def test_a_hit_outside_reopens_what_excluded_it() -> None:
    terms = [supported("conv3x3 >= 1", 0.4), supported("skip >= 1", 0.3), supported("none >= 2", 0.2, -1)]
    restriction = prune(SPACE, terms, remaining=10)
    assert len(restriction.hard) == 3
    hit = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|")
    assert not restriction.inside(hit.row)[0]
    wider = reopen(restriction, hit)
    assert wider.inside(hit.row)[0]
    assert [term.hard for term in wider.terms] == [True, False, False]
    before, after = restriction.inside(EVERYTHING), wider.inside(EVERYTHING)
    assert not (before & ~after).any()
    assert wider.share == pytest.approx(after.mean(), abs=1e-12) and wider.share > restriction.share
    assert reopen(wider, hit) is wider


def test_the_cost_of_pruning_is_told_or_cannot_be_told() -> None:
    rng = np.random.default_rng(0)
    inside = rng.random(200) < 0.5
    noise = rng.random(200)
    assert pruning_cost(noise, inside).verdict == "cannot be told"
    assert "cannot be told" in pruning_cost(noise[:5], np.ones(5, dtype=np.bool_)).sentence()
    assert pruning_cost(0.4 * noise + 0.6 * inside, inside).verdict == "paid off"
    worse = pruning_cost(0.4 * noise + 0.6 * ~inside, inside)
    assert worse.verdict == "cost something" and worse.effect is not None
    assert worse.effect.low > 0.3 and worse.effect.holding == (~inside).sum()
    assert f"{worse.effect.estimate:+.2f}" in worse.sentence()


def test_least_share_that_stays() -> None:
    rules = PruneSettings()
    assert rules.minimum(SPACE, 5) == 0.01
    assert rules.minimum(SPACE, 50) == pytest.approx(1000 / 15_625)
    assert rules.minimum(SPACE, 10_000) == 1.0


@pytest.mark.parametrize(
    "data", [{}, {"terms": 3}, {"space": "nasbench201", "terms": [{}], "share": 1, "sharpness": 3}]
)
def test_foreign_data_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Restriction.from_json(data)
