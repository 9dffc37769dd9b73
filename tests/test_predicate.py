"""The predicate language: both forms, English, refusals, and evaluation against a slow reference."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.errors import InvalidPredicateError, UnknownNameError
from vitruvius.generator.space import get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import (
    All,
    AnyOf,
    Bound,
    Choice,
    Count,
    Depth,
    Feeds,
    Not,
    Path,
    Predicate,
    predicate_from_json,
)

# ---- random predicates -------------------------------------------------------------------------

COMPARISONS = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])
WORDS = st.sampled_from(
    ["conv3x3", "conv1x1", "skip", "k-gnn", "max pool", "and", "not", "depth", "op", "7", "é"]
)
NAMES = WORDS | st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters='"\\'), min_size=1, max_size=8
).filter(str.strip)
GROUPS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
DECISIONS = NAMES | st.sampled_from(["0->3", "input3", "normal/2:left", "a(b"])
COSTS = st.sampled_from(["params", "flops", "latency[raspi4]", "latency[1080ti_32]"])
NUMBERS = st.integers(0, 1000)
CONDITIONS = st.one_of(
    st.builds(Choice, decision=DECISIONS, among=GROUPS),
    st.builds(Count, operations=GROUPS, comparison=COMPARISONS, value=NUMBERS),
    st.builds(Depth, comparison=COMPARISONS, value=NUMBERS),
    st.builds(Path, operations=GROUPS),
    st.builds(Feeds, first=NAMES, second=NAMES),
    st.builds(Bound, cost=COSTS, comparison=st.sampled_from(["<", "<=", ">=", ">"]), value=st.floats(0, 1e9)),
)
PREDICATES = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(Not, part=inner),
        st.builds(All, parts=st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, parts=st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
).filter(lambda predicate: predicate.nodes <= 20 and predicate.nesting <= 8)


@settings(deadline=None)
@given(PREDICATES)
def test_text_and_json_convert_both_ways(predicate: Predicate) -> None:
    assert Predicate.parse(predicate.text()) == predicate
    assert Predicate.parse(predicate.to_json()) == predicate
    assert Predicate.parse(json.dumps(predicate.to_json())) == predicate
    sentence = predicate.sentence()
    assert sentence.startswith("The architecture ") and sentence.endswith(".")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_with_one_sentence(text: str) -> None:
    try:
        predicate = Predicate.parse(text)
    except InvalidPredicateError as error:
        assert "\n" not in str(error).replace(repr(text)[1:-1], "")
    else:
        assert Predicate.parse(predicate.text()) == predicate


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "parts", "part", "value", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["kind", "parts", "part", "operations", "value"]), JSON, max_size=4))
def test_any_json_is_read_or_refused(data: dict[str, Any]) -> None:
    try:
        found = predicate_from_json(data)
    except InvalidPredicateError:
        return
    assert predicate_from_json(found.to_json()) == found and Predicate.parse(found.text()) == found


# ---- the text form -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("conv3x3 >= 2 AND depth>=3 and params < 1.0M", "conv3x3 >= 2 and depth >= 3 and params < 1M"),
        ("params < 500K", "params < 0.5M"),
        ("flops >= 1.5G", "flops >= 1500M"),
        ("latency[raspi4] < 0.012s", "latency[raspi4] < 12ms"),
        ("latency[raspi4] < 12 ms and params < 1.5 M", "latency[raspi4] < 12ms and params < 1.5M"),
        ("op( 0->3 ) = skip | conv1x1", "op(0->3) = skip|conv1x1"),
        ("op(input3) = 1", "input3 = 1"),
        ("count(conv3x3) >= 2", "conv3x3 >= 2"),
        ("not skip >= 1 and none == 0", "not (skip >= 1) and none == 0"),
        ("a >= 1 or b >= 1 and c >= 1", "a >= 1 or b >= 1 and c >= 1"),
        ("(a >= 1 or b >= 1) and c >= 1", "(a >= 1 or b >= 1) and c >= 1"),
        ('"and" feeds "max pool"', '"and" feeds "max pool"'),
        ("0->3 = skip|conv1x1 and 2-3-4 >= 1", 'op(0->3) = skip|conv1x1 and count("2-3-4") >= 1'),
        ("lr = 1e-3|0.25 and 3x3 feeds k5", 'lr = "1e-3"|"0.25" and "3x3" feeds k5'),
    ],
)
def test_text_forms(text: str, same: str) -> None:
    assert Predicate.parse(text).text() == same


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    parsed = Predicate.parse("a >= 1 or not b >= 1 and c >= 1")
    assert isinstance(parsed, AnyOf)
    assert isinstance(parsed.parts[1], All)
    assert isinstance(parsed.parts[1].parts[0], Not)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("conv3x3 >> 2", 10, "a number"),
        ("conv3x3 and skip >= 1", 9, "'feeds', '=' or a comparison"),
        ("params < 1.0", 10, "needs a unit"),
        ("latency[raspi4] < 1M", 19, "us, ms, s"),
        ("latency < 12ms", 1, "needs its device"),
        ("depth = 3", 7, "write =="),
        ("depth >= 1.5", 10, "whole number"),
        ("((skip >= 1)", 13, "')'"),
        ("skip >= 1 $", 11, "no part of the language"),
        ("op(0->3) == skip", 10, "'='"),
        ("", 1, "a condition"),
        ("path()", 6, "a name"),
        ("skip >= 1 skip >= 2", 11, "'and', 'or' or the end"),
        ("or >= 1", 1, "quote or"),
        ("skip >= 2000", 13, "less than or equal to 1000"),
    ],
)
def test_errors_point_at_the_position(text: str, position: int, says: str) -> None:
    with pytest.raises(InvalidPredicateError) as caught:
        Predicate.parse(text)
    assert f"at character {position}:" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        " and ".join(["a >= 1"] * 20),
        "(" * 5000 + "a >= 1" + ")" * 5000,
        "not " * 5000 + "a >= 1",
        "a >= 1" + " " * 3000,
        '{"kind": "not", "part": ' * 3000 + "{}" + "}" * 3000,
        {"kind": "all", "parts": [{"kind": "depth", "comparison": ">=", "value": 1}] * 20},
    ],
)
def test_too_large_is_refused_without_a_crash(value: Any) -> None:
    with pytest.raises(InvalidPredicateError):
        Predicate.parse(value)


def test_deep_data_is_refused_without_a_crash() -> None:
    data: dict[str, Any] = {"kind": "depth", "comparison": ">=", "value": 1}
    for _ in range(5000):
        data = {"kind": "not", "part": data}
    with pytest.raises(InvalidPredicateError, match="too large"):
        predicate_from_json(data)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "depth", "comparison": "=>", "value": 1},
        {"kind": "depth", "comparison": ">=", "value": 1, "code": "import os"},
        {"kind": "run", "code": "1"},
        {"kind": "bound", "cost": "energy", "comparison": "<", "value": 1},
        {"kind": "bound", "cost": "params", "comparison": "<", "value": float("nan")},
        {"kind": "all", "parts": []},
        {"kind": "path", "operations": [""]},
        [],
        None,
    ],
)
def test_json_that_breaks_the_schema_is_refused(data: Any) -> None:
    with pytest.raises(InvalidPredicateError):
        Predicate.parse(data)


# ---- English -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("conv3x3 >= 2", "has at least 2 conv3x3 operations"),
        ("not conv3x3 >= 2", "has fewer than 2 conv3x3 operations"),
        ("count(conv1x1|conv3x3) == 1", "has exactly 1 operation among conv1x1 and conv3x3"),
        ("depth > 1", "is more than 1 operation deep"),
        ("params < 1M and path(skip)", "has fewer than 1M parameters and has a path from input to output made only of skip"),
        ("not (params < 1M and path(skip))", "either has at least 1M parameters, or has no path from input to output made only of skip"),
        ("op(0->3) = skip|none", "has skip or none at 0->3"),
        ("conv1x1 feeds conv3x3", "has a conv1x1 that directly feeds a conv3x3"),
        ("avgpool3x3 feeds avgpool3x3", "has an avgpool3x3 that directly feeds an avgpool3x3"),
        ("latency[raspi4] < 12ms", "takes less than 12 ms on raspi4"),
    ],
)  # fmt: skip
def test_english(text: str, clause: str) -> None:
    assert Predicate.parse(text).clause() == clause


# ---- fitting a space ---------------------------------------------------------------------------


def test_check_resolves_aliases_and_refuses_unknown_names() -> None:
    space = get_space("nasbench201")
    checked = Predicate.parse("nor_conv_3x3 >= 2 and op(0->3) = skip_connect").check(space)
    assert checked.text() == "conv3x3 >= 2 and op(0->3) = skip"
    for text, near, allowed in [
        ("conv3x4 >= 2", "conv3x3", "avgpool3x3"),
        ("op(0->4) = skip", "0->3", "1->2"),
        ("op(0->3) = skp", "skip", "conv1x1"),
        ("not (skip >= 1 and conv1 feeds skip)", "conv1x1", "none"),
        ("path(gat)", "", "conv1x1"),
    ]:
        with pytest.raises(UnknownNameError) as caught:
            Predicate.parse(text).check(space)
        assert allowed in str(caught.value)
        assert not near or f"Did you mean {near!r}" in str(caught.value)


def test_check_refuses_costs_that_are_not_known() -> None:
    space = get_space("nasbench201")
    bound = Predicate.parse("latency[raspi5] < 3ms")
    assert bound.fits(space)
    assert not bound.fits(space, [])
    with pytest.raises(UnknownNameError, match=r"latency\[raspi4\]"):
        bound.check(space, ["params", "latency[raspi4]"])


def test_portable_means_no_decision() -> None:
    assert Predicate.parse("skip >= 1 and not depth < 2").portable
    assert not Predicate.parse("skip >= 1 and not op(0->1) = skip").portable


# ---- logic --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(PREDICATES)
def test_holds_follows_logic(predicate: Predicate) -> None:
    space = get_space("nasbench201")
    rows = space.sample(30, np.random.default_rng(1))
    costs = {
        name: np.random.default_rng(2).random(30)
        for name in ("params", "flops", "latency[raspi4]", "latency[1080ti_32]")
    }
    population = Population(space, rows, costs)
    if not predicate.fits(space, costs):
        with pytest.raises(UnknownNameError):
            predicate.holds(population)
        return
    holds = predicate.holds(population)
    assert holds.shape == (30,) and holds.dtype == np.bool_
    assert (Not.model_validate({"part": predicate}).holds(population) == ~holds).all()
