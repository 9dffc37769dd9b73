"""NAS-Bench-101: its 423,624 cells, what is pruned and refused, and identity up to isomorphism."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.space import ABSENT, get_space
from vitruvius.generator.spaces import NASBench101

SPACE = cast(NASBench101, get_space("nasbench101"))
NAMES = ("conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3")
Cell = tuple[frozenset[tuple[int, int]], tuple[str, ...]]
"""Edges between nodes 0 .. n - 1, input first and output last, and the names of those between."""


def text_of(cell: Cell) -> str:
    edges, names = cell
    size = len(names) + 2
    bits = "".join("1" if pair in edges else "0" for pair in itertools.product(range(size), repeat=2))
    return f"{bits};{','.join(['input', *names, 'output'])}"


def row_of(edges: set[tuple[int, int]], operations: list[int]) -> np.ndarray:
    """A raw row in the space's own places: the output is node 6, unused places have operation 0."""
    wanted = [f"{u}->{v}" for u, v in edges]
    choices = [int(decision.name in wanted) for decision in SPACE.decisions]
    choices[-5:] = operations
    return np.array([choices], dtype=np.int8)


# ---- all of it ---------------------------------------------------------------------------------


def test_all_cells_in_ten_seconds_and_500_megabytes(tmp_path: Path) -> None:
    call = [
        sys.executable,
        "-c",
        "from vitruvius.cli import main; main()",
        "spaces",
        "enumerate",
        "nasbench101",
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = re.fullmatch(r"nasbench101: (.*) keys, (.*) ids, (.*) s, (.*) MB at most\n", done.stdout)
    assert found is not None, done.stdout
    keys, ids, seconds, megabytes = found.groups()
    assert keys == ids == "423,624"
    assert float(seconds) < 10 and int(megabytes) < 500


def test_cells_of_each_size() -> None:
    """The counts that the benchmark's own enumeration gives."""
    vertices = 2 + (SPACE.enumerate()[:, -5:] > 0).sum(axis=1)
    assert np.bincount(vertices)[2:].tolist() == [1, 6, 84, 2_441, 62_010, 359_082]


@pytest.mark.tables
def test_hashes_are_the_benchmarks(tables: Path) -> None:
    """All cells with at most five vertices, named in another project's runs by the benchmark's hash."""
    import pyarrow.parquet as pq

    path = tables / "ecnas_nb101_small_cells.parquet"
    table = pq.read_table(path, columns=["hash", "adjacency", "ops"]).to_pydict()
    texts = {
        f"{bits};{ops}": name
        for bits, ops, name in zip(table["adjacency"], table["ops"], table["hash"], strict=True)
    }
    cells = {text: SPACE.parse(text) for text in texts}
    assert len({cell.id for cell in cells.values()}) == len(set(texts.values())) == 1 + 6 + 84 + 2_441
    for text, cell in cells.items():
        assert SPACE.module_hash(cell) == texts[text]


# ---- what is pruned, what is refused -------------------------------------------------------------


def test_a_dangling_node_is_pruned_but_not_strict() -> None:
    edges = {(0, 1), (1, 6)}
    for extra in ({(0, 2)}, {(2, 6)}, {(2, 3)}):
        row = row_of(edges | extra, [1, 2, 3, 0, 0] if (2, 3) in extra else [1, 2, 0, 0, 0])
        assert SPACE.valid(row).all() and not SPACE.strict(row).any()
        assert (SPACE.normalise(row) == row_of(edges, [1, 0, 0, 0, 0])).all()
    bare = row_of(edges, [1, 2, 0, 0, 0])  # an operation without any edge
    assert SPACE.valid(bare).all() and not SPACE.strict(bare).any()
    assert SPACE.strict(row_of(edges, [1, 0, 0, 0, 0])).all()
    apart = row_of({(0, 3), (3, 6)}, [0, 0, 1, 0, 0])  # unused places first: nothing dangles
    assert SPACE.strict(apart).all()


def test_ten_edges_are_too_many_and_nine_are_not() -> None:
    nine = {(0, v) for v in range(1, 6)} | {(u, 6) for u in range(1, 5)}
    assert SPACE.strict(row_of(nine - {(0, 5)} | {(0, 6)}, [1, 1, 1, 1, 0])).all()
    ten = nine | {(5, 6)}
    assert not SPACE.valid(row_of(ten, [1, 1, 1, 1, 1])).any()
    dangling = nine | {(1, 5)}  # ten edges, of which two lead nowhere
    row = row_of(dangling, [1, 1, 1, 1, 1])
    assert SPACE.valid(row).all() and not SPACE.strict(row).any()


def test_cells_without_a_way_through_or_an_operation_are_refused() -> None:
    for edges, operations in [
        (set[tuple[int, int]](), [0] * 5),
        ({(0, 1), (2, 6)}, [1, 1, 0, 0, 0]),
        ({(0, 1), (1, 6)}, [0] * 5),
    ]:
        assert not SPACE.valid(row_of(edges, operations)).any()
    with pytest.raises(InvalidArchitectureError, match="not a valid architecture"):
        SPACE.parse("0000;input,output")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0100;input,conv1x1-bn-relu,output", "looks like 010001000;input,conv3x3-bn-relu,output"),
        ("0110;input,output", "an edge leads back"),
        ("010001000;input,conv5x5-bn-relu,output", "Unknown operation 'conv5x5-bn-relu'.*Did you mean"),
        ("0" * 64 + ";input" + ",maxpool3x3" * 6 + ",output", "at most 7 x 7"),
    ],
)
def test_what_a_wrong_text_is_told(text: str, match: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=match):
        SPACE.parse(text)


def test_official_and_own_names() -> None:
    official = SPACE.parse("0100001000010000;input,conv3x3-bn-relu,conv1x1-bn-relu,output")
    assert official == SPACE.parse("0100 0010 0001 0000; input, conv3x3, conv1x1, output")
    assert official.key == "0100001000010000;input,conv3x3-bn-relu,conv1x1-bn-relu,output"
    assert {name: choice for name, choice in official.named().items() if choice not in ("no", "absent")} == {
        "0->1": "yes", "1->2": "yes", "2->6": "yes", "op1": "conv3x3", "op2": "conv1x1"
    }  # fmt: skip


def test_absent_nodes_have_no_edges() -> None:
    graphs = SPACE.graphs(SPACE.parse("010001000;input,maxpool3x3,output").row)
    assert graphs.labels[0].tolist() == [0, 4, *[ABSENT] * 4, 1]
    assert {(int(u), int(v)) for u, v in np.argwhere(graphs.adjacency[0])} == {(0, 1), (1, 6)}


# ---- identity, against a search over all numberings ------------------------------------------------


def pruned(cell: Cell) -> Cell | None:
    """What lies on a path from input to output, found path by path; None where there is none."""
    edges, names = cell
    last = len(names) + 1
    paths: list[tuple[int, ...]] = [(0,)]
    for path in paths:  # grows while it is walked
        paths += [(*path, v) for u, v in edges if u == path[-1]]
    kept = sorted({node for path in paths if path[-1] == last for node in path})
    if not kept:
        return None
    place = {node: number for number, node in enumerate(kept)}
    inside = frozenset((place[u], place[v]) for u, v in edges if u in place and v in place)
    return inside, tuple(names[node - 1] for node in kept[1:-1])


def smallest(cell: Cell) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """The first of all numberings of the inner nodes."""
    edges, names = cell
    found: list[tuple[list[tuple[int, int]], tuple[str, ...]]] = []
    for order in itertools.permutations(range(1, len(names) + 1)):
        place = {0: 0, len(names) + 1: len(names) + 1, **{old: new for new, old in enumerate(order, 1)}}
        found.append((sorted((place[u], place[v]) for u, v in edges), tuple(names[old - 1] for old in order)))
    return min(found)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    inner = draw(st.integers(0, 4))
    edges = draw(st.sets(st.sampled_from([(u, v) for v in range(inner + 2) for u in range(v)]), max_size=9))
    names = draw(st.lists(st.sampled_from(NAMES[:2]), min_size=inner, max_size=inner))
    return frozenset(edges), tuple(names)


@settings(max_examples=300, deadline=None)
@given(left=cells(), right=cells())
def test_two_cells_are_one_exactly_if_a_renumbering_joins_them(left: Cell, right: Cell) -> None:
    a, b = pruned(left), pruned(right)
    if a is None or b is None:
        with pytest.raises(InvalidArchitectureError):
            SPACE.parse(text_of(left if a is None else right))
        return
    first, second = SPACE.parse(text_of(left)), SPACE.parse(text_of(right))
    assert (first == second) is (smallest(a) == smallest(b))


@settings(max_examples=200, deadline=None)
@given(cell=cells(), order=st.permutations([1, 2, 3, 4]))
def test_renumbered_cells_are_one(cell: Cell, order: list[int]) -> None:
    edges, names = cell
    order = [node for node in order if node <= len(names)]
    place = {0: 0, len(names) + 1: len(names) + 1, **{old: new for new, old in enumerate(order, 1)}}
    moved = frozenset((place[u], place[v]) for u, v in edges)
    if pruned(cell) is None or any(u >= v for u, v in moved):
        return
    other = SPACE.parse(text_of((moved, tuple(names[old - 1] for old in order))))
    one = SPACE.parse(text_of(cell))
    assert one == other and one.id == other.id == one.key


def test_hashes_tell_all_sampled_cells_apart() -> None:
    rows = SPACE.enumerate()[::1_499]
    assert len({SPACE.module_hash(cell) for cell in SPACE.architectures(rows)}) == len(rows)
