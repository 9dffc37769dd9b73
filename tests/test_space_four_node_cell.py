"""NAS-Bench-201 and TransNAS-Bench-101, which share their cell: identities, texts, graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.space import get_space

CELL = "|nor_conv_3x3~0|+|{}~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"


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


# ---- TransNAS-Bench-101, micro ---------------------------------------------------------------


def test_trans_digits_stand_for_the_edges_in_the_benchmarks_own_example() -> None:
    """Its page says of 1_02_333: node1 = Skip(node0), node2 = None(node0) + Conv1x1(node1), node3 = 3 x Conv3x3."""
    architecture = get_space("transnasbench101-micro").parse("64-41414-1_02_333")
    assert architecture.named() == {
        "0->1": "skip",
        "0->2": "none",
        "1->2": "conv1x1",
        "0->3": "conv3x3",
        "1->3": "conv3x3",
        "2->3": "conv3x3",
    }


def test_trans_identities_are_those_of_the_cells_without_pooling() -> None:
    micro, larger = get_space("transnasbench101-micro"), get_space("nasbench201")
    rows = micro.enumerate()
    mine, theirs = micro.classes(rows), larger.classes(rows)  # operations have the same indices
    assert micro.operations == larger.operations[:4]
    assert (mine == theirs).all() and mine.max() + 1 == 1_236
    assert (micro.graphs(rows).adjacency == larger.graphs(rows).adjacency).all()


@pytest.mark.tables
def test_trans_keys_are_the_benchmarks(tables: Path) -> None:
    import pyarrow.parquet as pq

    space = get_space("transnasbench101-micro")
    table = pq.read_table(tables / "transnasbench101_micro.parquet", columns=["arch_str"]).to_pydict()
    assert set(table["arch_str"]) == set(space.keys(space.enumerate()))


@pytest.mark.parametrize("text", ["64-41414-4_00_000", "64-1234-basic", "64-41414-1_02_33", "1_02_333"])
def test_trans_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=f"{text}.*looks like 64-41414-1_02_333"):
        get_space("transnasbench101-micro").parse(text)
