"""NAS-Bench-Graph: its 26,206 architectures, canonical form and texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.space import get_space


def test_graph_has_26206_architectures_and_refuses_only_all_skips() -> None:
    space = get_space("nasbench-graph")
    everything = np.arange(int(np.prod(space.cardinalities)))
    raw = (everything[:, None] // space.radices % space.cardinalities).astype(np.int8)
    assert len(raw) == 157_464
    assert (~space.legal(raw)).sum() == 24
    normal = space.normalise(raw[space.legal(raw)])
    assert len(np.unique(space.numbers(normal))) == 26_206
    keys = [space.format(row) for row in space.enumerate().tolist()]
    assert space.ids(space.enumerate()) == keys
    with pytest.raises(InvalidArchitectureError, match="not a valid architecture"):
        space.parse("0123:skip,skip,skip,skip")


@pytest.mark.tables
def test_graph_keys_are_the_benchmarks(tables: Path) -> None:
    import pyarrow.parquet as pq

    space = get_space("nasbench-graph")
    table = pq.read_table(tables / "nasbench_graph.parquet", columns=["link", "ops"]).to_pydict()
    theirs = {f"{link}:{ops}" for link, ops in zip(table["link"], table["ops"], strict=True)}
    assert theirs == {space.format(row) for row in space.enumerate().tolist()}


NODES = st.permutations([1, 2, 3, 4])
OPERATIONS = st.lists(st.sampled_from(["gat", "gcn", "fc", "skip"]), min_size=4, max_size=4)
INPUTS = st.tuples(st.just(0), st.integers(0, 1), st.integers(0, 2), st.integers(0, 3))


@given(inputs=INPUTS, operations=OPERATIONS, order=NODES)
def test_graph_identity_ignores_the_numbering(
    inputs: tuple[int, ...], operations: list[str], order: list[int]
) -> None:
    """Any renumbering of the nodes that keeps inputs earlier is the same architecture."""
    space = get_space("nasbench-graph")
    if set(operations) == {"skip"}:
        return
    place = {0: 0, **{old: new for new, old in enumerate(order, start=1)}}
    renumbered = {place[k]: (place[parent], operations[k - 1]) for k, parent in enumerate(inputs, start=1)}
    if any(parent >= node for node, (parent, _) in renumbered.items()):
        return
    ours = f"{''.join(map(str, inputs))}:{','.join(operations)}"
    theirs = "".join(str(renumbered[k][0]) for k in range(1, 5))
    theirs += ":" + ",".join(renumbered[k][1] for k in range(1, 5))
    assert space.parse(ours) == space.parse(theirs)


@given(inputs=INPUTS, operations=OPERATIONS)
def test_graph_official_lists_and_round_trip(inputs: tuple[int, ...], operations: list[str]) -> None:
    space = get_space("nasbench-graph")
    if set(operations) == {"skip"}:
        return
    architecture = space.parse(f"({list(inputs)}, {operations})")
    assert architecture == space.parse(f"{list(inputs)}, {operations}")
    assert space.parse(architecture.key) == architecture and architecture.id == architecture.key
    assert sorted(op for op in operations) == sorted(architecture.key.partition(":")[2].split(","))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0010:gat,gcn,fc,gin", "0001:gat,gcn,gin,fc"),  # the benchmark's own example of a shape
        ("0121:gcn,gin,fc,cheb", "0112:gcn,gin,cheb,fc"),
        ("0122:gcn,skip,gat,fc", "0122:skip,gcn,gat,fc"),  # a skip on the way is moved to the front
        ("0000:skip,gcn,gcn,skip", "0122:skip,skip,gcn,gcn"),  # two skips beside layers on the input
        ("0111:gcn,skip,gat,fc", "0111:gcn,gat,fc,skip"),  # a skip beside others under a layer stays
        ("0120:gcn,gat,skip,fc", "0112:skip,gcn,fc,gat"),  # a skip that alone ends a branch moves too
    ],
)
def test_graph_canonical_by_hand(text: str, key: str) -> None:
    assert get_space("nasbench-graph").parse(text).key == key


def test_graph_leaves_feed_the_output() -> None:
    space = get_space("nasbench-graph")
    graphs = space.graphs(space.parse("0013:gat,gcn,fc,gin").row)
    feeds = {(int(u), int(v)) for u, v in np.argwhere(graphs.adjacency[0])}
    assert feeds == {(0, 1), (0, 2), (1, 3), (3, 4), (2, 5), (4, 5)}


def test_graph_input_must_be_earlier() -> None:
    with pytest.raises(InvalidArchitectureError, match="outside"):
        get_space("nasbench-graph").parse("0300:gat,gcn,fc,gin")
    with pytest.raises(InvalidArchitectureError, match=r"Unknown operation 'gtt'.*'gat'"):
        get_space("nasbench-graph").parse("0000:gtt,gcn,fc,gin")
