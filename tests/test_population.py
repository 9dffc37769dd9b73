"""What predicates ask of architectures, against a slow reference, by hand, and in time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from computing_time import seconds_of, within

from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.space import INPUT, OUTPUT, SearchSpace, get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import (
    Predicate,
)

SPACES = ["nasbench201", "nasbench-graph"]


def paths(labels: list[int], feeds: np.ndarray[Any, Any], end: int) -> list[list[int]]:
    """All paths from the input to a node, by plain recursion."""
    if labels[end] == INPUT:
        return [[end]]
    found: list[list[int]] = []
    for before in range(end):
        if feeds[before, end]:
            found += [[*path, end] for path in paths(labels, feeds, before)]
    return found


def slow_features(space: SearchSpace, row: np.ndarray[Any, Any]) -> dict[str, Any]:
    graphs = space.graphs(row[None])
    labels, feeds = graphs.labels[0].tolist(), graphs.adjacency[0]
    names = [space.operations[label - 2] if label >= 2 else "" for label in labels]
    outputs = [node for node, label in enumerate(labels) if label == OUTPUT]
    inner = [[names[node] for node in path[1:-1]] for end in outputs for path in paths(labels, feeds, end)]
    inner = [path for path in inner if not set(path) & space.null_operations]
    return {
        "depth": max(
            (sum(name not in space.identity_operations for name in path) for path in inner), default=0
        ),
        "paths": [set(path) for path in inner],
        "names": [name for name in names if name],
        "pairs": {
            (names[u], names[v])
            for u, v in np.argwhere(feeds)
            if names[u] and names[v] and names[u] not in space.null_operations
        },
    }


@pytest.mark.parametrize("name", SPACES)
def test_features_equal_a_slow_reference(name: str) -> None:
    space = get_space(name)
    rows = space.sample(120, np.random.default_rng(3))
    population = Population(space, rows)
    slow = [slow_features(space, row) for row in rows]
    assert population.depth.tolist() == [one["depth"] for one in slow]
    for group in itertools.chain(
        itertools.combinations(space.operations, 1), itertools.combinations(space.operations, 2)
    ):
        assert population.count(group).tolist() == [sum(n in group for n in one["names"]) for one in slow]
        assert population.path(group).tolist() == [
            any(path <= set(group) for path in one["paths"]) for one in slow
        ]
    for pair in itertools.product(space.operations, repeat=2):
        assert population.feeds(*pair).tolist() == [pair in one["pairs"] for one in slow]


@pytest.mark.parametrize("name", SPACES)
def test_one_architecture_and_many_agree(name: str) -> None:
    space = get_space(name)
    rng = np.random.default_rng(0)
    rows = space.sample(20, rng)
    costs = {"params": rng.random(20)}
    a, b = space.operations[1], space.operations[3]
    first = space.decisions[-1]
    texts = [
        f"{a} >= 1 and params < 0.5M",
        f"op({first.name}) = {first.choices[0]}|{first.choices[-1]}",
        f"{a} feeds {b} or depth > 2",
        f"not path({a}|{b})",
    ]
    for text in texts:
        predicate = Predicate.parse(text)
        many = predicate.holds(Population(space, rows, costs))
        one = [
            predicate.holds_one(arch, {"params": costs["params"][i]})
            for i, arch in enumerate(space.architectures(rows))
        ]
        assert many.tolist() == one


def test_cells_by_hand() -> None:
    space = get_space("nasbench201")
    cell = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    holding = [
        "depth == 3",
        "path(skip)",
        "conv3x3 feeds conv1x1",
        "none == 2",
        "path(conv3x3|conv1x1|avgpool3x3)",
        "op(0->3) = skip",
    ]
    lacking = [
        "conv3x3 feeds avgpool3x3",
        "none feeds conv1x1",
        "path(conv3x3|conv1x1)",
        "path(none)",
        "op(0->1) = skip|none",
    ]
    assert [text for text in holding if not Predicate.parse(text).holds_one(cell)] == []
    assert [text for text in lacking if Predicate.parse(text).holds_one(cell)] == []
    cut = space.parse("|none~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|")
    assert Predicate.parse("depth == 0 and not path(conv1x1|conv3x3|avgpool3x3)").holds_one(cut)


def test_nan_makes_a_bound_false_and_a_missing_cost_is_an_error() -> None:
    space = get_space("nasbench201")
    rows = space.sample(3, np.random.default_rng(0))
    population = Population(space, rows, {"params": np.array([0.5, np.nan, 2.0])})
    assert Predicate.parse("params < 1M").holds(population).tolist() == [True, False, False]
    assert Predicate.parse("params >= 1M").holds(population).tolist() == [False, False, True]
    with pytest.raises(UnknownNameError, match="params"):
        Predicate.parse("flops < 1M").holds(population)
    with pytest.raises(UserError, match="one value for each"):
        Population(space, rows, {"params": np.zeros(2)})


@pytest.mark.parametrize("name", SPACES)
def test_a_hundred_predicates_on_a_hundred_thousand_architectures(name: str) -> None:
    space = get_space(name)
    rng = np.random.default_rng(0)
    rows = space.sample(100_000, rng)
    costs = {"params": rng.random(100_000)}
    texts: list[str] = []
    for i in range(100):
        a, b, c = rng.choice(space.operations, 3)
        decision = space.decisions[rng.integers(len(space.decisions))]
        kinds = [f"{a} >= 2 and depth >= 3 and params < 0.5M", f"op({decision.name}) = {decision.choices[-1]}",
                 f"path({a}|{b}|{c})", f"{a} feeds {b}", f"not ({a} feeds {c} or count({b}|{c}) >= 2)"]  # fmt: skip
        texts.append(kinds[i % 5])
    predicates = [Predicate.parse(text) for text in texts]

    def check() -> None:
        population = Population(space, rows, costs)
        for predicate in predicates:
            predicate.holds(population)

    assert within(seconds_of(check, times=2), 2.0)
