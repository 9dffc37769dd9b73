"""The spaces: counts, identities, round trips, graphs, neighbours; and the same contract for each."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.errors import InvalidArchitectureError, UnknownNameError
from vitruvius.generator.space import INPUT, OUTPUT, SearchSpace, get_space, space_names

CELL = "|nor_conv_3x3~0|+|{}~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"


@pytest.fixture(params=["nasbench201", "nasbench-graph"])
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return get_space(request.param)


def raw_rows(space: SearchSpace, n: int, seed: int = 0) -> np.ndarray:
    """Legal rows drawn over all ways to write an architecture, not only the normal ones."""
    rng = np.random.default_rng(seed)
    rows = (rng.random((n, len(space.decisions))) * space.cardinalities).astype(np.int8)
    return rows[space.legal(rows)]


# ---- the contract of a space -------------------------------------------------------------


def test_all_keys_once_and_in_order(space: SearchSpace) -> None:
    rows = space.enumerate()
    assert rows.shape == (space.size, len(space.decisions))
    assert rows.dtype == np.int8
    assert space.valid(rows).all()
    assert (np.diff(space.numbers(rows)) > 0).all()
    assert len({space.format(row) for row in rows.tolist()}) == space.size
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1


def test_normalising_twice_is_normalising_once(space: SearchSpace) -> None:
    rows = raw_rows(space, 5000)
    normal = space.normalise(rows)
    assert (space.normalise(normal) == normal).all()
    assert space.ids(rows) == space.ids(normal)
    assert set(space.numbers(normal)) <= set(space.numbers(space.enumerate()))
    assert (space.normalise(space.enumerate()) == space.enumerate()).all()


def test_text_round_trip(space: SearchSpace) -> None:
    for row in space.sample(300, np.random.default_rng(1)):
        architecture = space.architecture(row.tolist())
        assert space.parse(architecture.key) == architecture
        assert space.parse(f"  {architecture.key} ").id == architecture.id


def test_graphs_are_graphs(space: SearchSpace) -> None:
    rows = space.sample(2000, np.random.default_rng(2))
    graphs = space.graphs(rows)
    nodes = graphs.labels.shape[1]
    assert graphs.adjacency.shape == (len(rows), nodes, nodes)
    assert not np.tril(graphs.adjacency.astype(int)).any(), "an edge goes back"
    assert (graphs.labels[:, 0] == INPUT).all() and (graphs.labels[:, -1] == OUTPUT).all()
    assert ((graphs.labels[:, 1:-1] >= 2) & (graphs.labels[:, 1:-1] < 2 + len(space.operations))).all()
    assert graphs.adjacency[:, :, 1:].any(axis=1).all(), "a node without input"
    assert graphs.adjacency[:, :-1].any(axis=2).all(), "a node that feeds nothing"


def test_neighbours_are_symmetric_and_others(space: SearchSpace) -> None:
    for row in space.sample(12, np.random.default_rng(3)):
        here = row[None]
        (mine,) = space.numbers(here)
        around = space.neighbours(here)
        numbers = space.numbers(around)
        assert len(set(numbers)) == len(numbers) and mine not in numbers
        assert (space.normalise(around) == around).all()
        for other in around[::7]:
            assert mine in space.numbers(space.neighbours(other[None]))


def test_drawing_names_every_operation(space: SearchSpace) -> None:
    for row in space.sample(20, np.random.default_rng(4)):
        (architecture,) = space.architectures(row[None])
        drawing = space.draw(architecture)
        assert drawing.isascii() and "output" in drawing
        used = {choice for choice in architecture.named().values() if choice in space.operations}
        assert all(operation in drawing for operation in used - space.null_operations)


def test_same_object_by_name_also_after_pickling(space: SearchSpace) -> None:
    assert space.name in space_names()
    assert get_space(space.name) is space
    assert pickle.loads(pickle.dumps(space)) is space
    (architecture,) = space.architectures(space.enumerate()[:1])
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_refuses_what_is_not_of_it(space: SearchSpace) -> None:
    width = len(space.decisions)
    with pytest.raises(InvalidArchitectureError, match=f"{width} decisions"):
        space.architecture([0])
    with pytest.raises(InvalidArchitectureError, match="outside"):
        space.architecture([0] * (width - 1) + [99])
    with pytest.raises(InvalidArchitectureError, match="looks like"):
        space.parse("a convolution, then a skip")
    outside = np.full((1, width), -1, dtype=np.int8)
    assert not space.valid(outside).any()


def test_other_names_of_operations(space: SearchSpace) -> None:
    for other, ours in space.aliases.items():
        assert space.operation(other) == ours
    with pytest.raises(UnknownNameError, match="skip"):
        space.operation("skp")


def test_unknown_space_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'nasbench201'"):
        get_space("nasbench-201")


# ---- NAS-Bench-201 -------------------------------------------------------------------------


def test_201_has_6466_classes() -> None:
    space = get_space("nasbench201")
    ids = space.ids(space.enumerate())
    assert len(ids) == 15_625 and len(set(ids)) == 6_466
    assert all(space.parse(text).id == text for text in sorted(set(ids))[::50]), "an id is a key of its class"


@pytest.mark.tables
def test_201_classes_are_the_benchmarks(tables: Path) -> None:
    import pyarrow.parquet as pq

    space = get_space("nasbench201")
    table = pq.read_table(tables / "nasbench201.parquet", columns=["arch_str", "unique_str"]).to_pydict()
    rows = space.rows(space.parse(text) for text in table["arch_str"])
    pairs = set(zip(space.ids(rows), table["unique_str"], strict=True))
    assert len(pairs) == len(set(table["unique_str"])) == 6_466


def test_201_reads_official_and_own_names() -> None:
    space = get_space("nasbench201")
    official = CELL.format("none")
    architecture = space.parse(official)
    assert architecture.key == official
    own = "|conv3x3~0|+|none~0|none~1|+|skip~0|conv1x1~1|avgpool3x3~2|"
    assert space.parse(own) == architecture
    assert architecture.named() == {
        "0->1": "conv3x3",
        "0->2": "none",
        "1->2": "none",
        "0->3": "skip",
        "1->3": "conv1x1",
        "2->3": "avgpool3x3",
    }


def test_201_foreign_operation_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidArchitectureError, match=r"nor_conv_7x7.*Did you mean 'nor_conv_"):
        get_space("nasbench201").parse(CELL.format("nor_conv_7x7"))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        # the two inputs of node 3 may change places when node 1 and node 2 compute alike
        ("|a~0|+|b~0|none~1|+|none~0|c~1|d~2|", "|b~0|+|a~0|none~1|+|none~0|d~1|c~2|", False),
        (
            "|skip_connect~0|+|c~0|none~1|+|none~0|d~1|none~2|",
            "|skip_connect~0|+|c~0|none~1|+|d~0|none~1|none~2|",
            True,
        ),
        ("|none~0|+|c~0|d~1|+|d~0|c~1|c~2|", "|none~0|+|c~0|c~1|+|d~0|d~1|c~2|", True),
        ("|c~0|+|none~0|none~1|+|c~0|none~1|none~2|", "|d~0|+|none~0|none~1|+|c~0|none~1|none~2|", True),
        ("|c~0|+|none~0|none~1|+|c~0|none~1|none~2|", "|c~0|+|none~0|none~1|+|d~0|none~1|none~2|", False),
    ],
)
def test_201_identity_by_hand(left: str, right: str, same: bool) -> None:
    space = get_space("nasbench201")
    names = {"a~": "nor_conv_1x1~", "b~": "avg_pool_3x3~", "c~": "nor_conv_3x3~", "d~": "avg_pool_3x3~"}

    def read(text: str) -> str:
        for short, official in names.items():
            text = text.replace(f"|{short}", f"|{official}")
        return space.parse(text).id

    assert (read(left) == read(right)) is same


def test_201_graph_follows_the_edges() -> None:
    space = get_space("nasbench201")
    graphs = space.graphs(space.enumerate()[:1])
    feeds = {(int(u), int(v)) for u, v in np.argwhere(graphs.adjacency[0])}
    # nodes 1..6 are the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3; 7 is the output
    assert feeds == {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}


# ---- NAS-Bench-Graph -----------------------------------------------------------------------


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
