"""The contract of a search space, held by each that we bring; those that cannot be listed are sampled."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from described_spaces import CELL, CHAIN, HUGE, described

from vitruvius.errors import InvalidArchitectureError, UnknownNameError, UserError
from vitruvius.generator import spaces
from vitruvius.generator.space import ABSENT, INPUT, OUTPUT, SearchSpace, get_space, space_names
from vitruvius.knowledge.predicate import Predicate

SPACES = ["darts", "nasbench-graph", "nasbench101", "nasbench201", "transnasbench101-micro"]


OWN = {"chain": CHAIN, "cell": CELL, "huge": HUGE}


@pytest.fixture(params=[*SPACES, *OWN])
def space(request: pytest.FixtureRequest, tmp_path: Path) -> SearchSpace:
    own = OWN.get(request.param)
    return get_space(request.param) if own is None else described(tmp_path, own)


def raw_rows(space: SearchSpace, n: int, seed: int = 0) -> np.ndarray:
    """Legal rows drawn over all ways to write an architecture, not only the normal ones."""
    rng = np.random.default_rng(seed)
    rows = (rng.random((n, len(space.decisions))) * space.cardinalities).astype(np.int8)
    return rows[space.legal(rows)]


def some_rows(space: SearchSpace, n: int, seed: int) -> np.ndarray:
    return space.sample(n, np.random.default_rng(seed))


def test_every_space_is_held_to_the_contract() -> None:
    assert set(SPACES) == {getattr(spaces, name).name for name in spaces.__all__} <= set(space_names())


def test_all_keys_once_and_in_order(space: SearchSpace) -> None:
    if space.size is None:
        with pytest.raises(UserError, match="too many to list"):
            space.enumerate()
        return
    rows = space.enumerate()
    assert rows.shape == (space.size, len(space.decisions))
    assert rows.dtype == np.int8
    assert space.valid(rows).all()
    assert (np.diff(space.numbers(rows)) > 0).all()
    assert len(set(space.keys(rows))) == space.size
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1


def test_normalising_twice_is_normalising_once(space: SearchSpace) -> None:
    rows = raw_rows(space, 20_000)
    assert len(rows) > 300
    normal = space.normalise(rows)
    assert normal.dtype == np.int8 and (space.normalise(normal) == normal).all()
    assert space.ids(rows) == space.ids(normal)
    if space.size is not None:
        assert set(space.numbers(normal)) <= set(space.numbers(space.enumerate()))
        assert (space.normalise(space.enumerate()) == space.enumerate()).all()


def test_samples_are_normal_and_strict(space: SearchSpace) -> None:
    rows = some_rows(space, 3000, 5)
    assert rows.shape == (3000, len(space.decisions)) and rows.dtype == np.int8
    assert space.strict(rows).all() and (space.normalise(rows) == rows).all()
    assert (some_rows(space, 3000, 5) == rows).all()


def test_numbers_tell_keys_apart(space: SearchSpace) -> None:
    rows = some_rows(space, 3000, 6)
    numbers, keys = space.numbers(rows), space.keys(rows)
    assert numbers.dtype == np.int64 and len(set(numbers.tolist())) == len(set(keys))


def test_ids_are_keys_of_their_class(space: SearchSpace) -> None:
    rows = some_rows(space, 300, 7)
    ids = space.ids(rows)
    first = space.rows(space.parse(text) for text in ids)
    assert space.ids(first) == ids == space.keys(first)
    classes = space.classes(rows)
    assert classes[0] == 0 and len(set(zip(classes.tolist(), ids, strict=True))) == len(set(ids))


def test_text_round_trip(space: SearchSpace) -> None:
    rows = some_rows(space, 300, 1)
    keys = [space.format(row) for row in rows.tolist()]
    assert space.keys(rows) == keys and space.keys(rows[:0]) == []
    assert (space.parse_many(keys) == rows).all()
    for row, key in zip(rows.tolist(), keys, strict=True):
        architecture = space.architecture(row)
        assert architecture.key == key and space.parse(key) == architecture
        assert space.parse(f"  {key} ").id == architecture.id


def test_names_round_trip(space: SearchSpace) -> None:
    drawn = space.architectures(some_rows(space, 30, 4))
    for architecture in drawn:
        assert space.architecture(dict(reversed(architecture.named().items()))) == architecture
    named = drawn[0].named()
    last = list(named)[-1]
    with pytest.raises(InvalidArchitectureError, match=f"No choice for {re.escape(last)}: "):
        space.architecture({name: choice for name, choice in named.items() if name != last})
    with pytest.raises(InvalidArchitectureError, match=f"Unknown choice of {re.escape(last)} 'convv'"):
        space.architecture({**named, last: "convv"})
    with pytest.raises(InvalidArchitectureError, match=f"Unknown decision of {space.name} 'nowhere'"):
        space.architecture({**named, "nowhere": "conv3x3"})


def test_graphs_are_graphs(space: SearchSpace) -> None:
    rows = some_rows(space, 2000, 2)
    graphs = space.graphs(rows)
    labels, adjacency = graphs.labels, graphs.adjacency
    nodes = labels.shape[1]
    assert adjacency.shape == (len(rows), nodes, nodes)
    assert not np.tril(adjacency.astype(int)).any(), "an edge goes back"
    assert (labels[:, 0] == INPUT).all() and (labels[:, -1] == OUTPUT).all()
    inner = labels[:, 1:-1]
    assert ((inner == ABSENT) | (inner != OUTPUT) & (inner < 2 + len(space.labels))).all()
    fed, feeding = adjacency.any(axis=1), adjacency.any(axis=2)
    there = (labels != ABSENT) & (labels < 2 + len(space.operations))  # settings are joined to nothing
    assert (fed == (labels != INPUT) & there).all(), "an operation without input"
    assert (feeding == (labels != OUTPUT) & there).all(), "an operation that feeds nothing"
    code_nodes = space.code_nodes or tuple(range(1, nodes - 1))
    assert set(np.flatnonzero((labels >= 2).any(axis=0))) <= set(code_nodes) <= set(range(nodes))


def test_neighbours_are_symmetric_and_others(space: SearchSpace) -> None:
    for row in some_rows(space, 12, 3):
        here = row[None]
        (mine,) = space.numbers(here)
        around = space.neighbours(here)
        numbers = space.numbers(around)
        assert len(set(numbers)) == len(numbers) and mine not in numbers
        assert (space.normalise(around) == around).all()
        for other in around[::7]:
            assert mine in space.numbers(space.neighbours(other[None]))


def test_drawing_names_every_operation(space: SearchSpace) -> None:
    for row in some_rows(space, 20, 4):
        (architecture,) = space.architectures(row[None])
        drawing = space.draw(architecture)
        assert drawing.isascii() and "output" in drawing
        used = {choice for choice in architecture.named().values() if choice in space.operations}
        assert all(operation in drawing for operation in used - space.null_operations)


def test_same_object_by_name_also_after_pickling(space: SearchSpace) -> None:
    assert space.name in space_names()
    assert get_space(space.name) is space
    assert pickle.loads(pickle.dumps(space)) is space
    (architecture,) = space.architectures(some_rows(space, 1, 8))
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_refuses_what_is_not_of_it(space: SearchSpace) -> None:
    width = len(space.decisions)
    with pytest.raises(InvalidArchitectureError, match=f"{width} decisions"):
        space.architecture([0])
    with pytest.raises(InvalidArchitectureError, match="outside"):
        space.architecture([0] * (width - 1) + [99])
    for text in ("a convolution, then a skip", "", "64-1234-basic", "[" * 50_000):
        with pytest.raises(InvalidArchitectureError, match="looks like") as refused:
            space.parse(text)
        assert len(str(refused.value)) < 500
    outside = np.full((1, width), -1, dtype=np.int8)
    assert not space.valid(outside).any() and not space.strict(outside).any()


def test_other_names_of_operations(space: SearchSpace) -> None:
    for other, ours in space.aliases.items():
        assert space.operation(other) == ours
    with pytest.raises(UnknownNameError, match="Allowed: "):
        space.operation("skp")


def test_predicates_speak_of_every_decision(space: SearchSpace) -> None:
    for decision in space.decisions:
        predicate = Predicate.parse(
            {"kind": "choice", "decision": decision.name, "among": [decision.choices[-1]]}
        )
        assert Predicate.parse(predicate.text()) == predicate == predicate.check(space)


def test_unknown_space_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'nasbench201'"):
        get_space("nasbench-201")
