"""The DARTS space: genotypes read and written, identities under renumbering, graphs, sampling."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from computing_time import seconds_of, within

from vitruvius.agents.exhibits import as_program
from vitruvius.agents.features import extract
from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.space import INPUT, get_space
from vitruvius.knowledge.population import Population

SPACE = get_space("darts")
CONCAT = "normal_concat=[2, 3, 4, 5]", "reduce_concat=[2, 3, 4, 5]"

# as published: the DARTS code's cnn/genotypes.py, and PC-DARTS's
DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', "
    "1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', "
    "1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
PC_DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', "
    "1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)], "
    "normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), "
    "('sep_conv_5x5', 2), ('sep_conv_3x3', 0), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"
)
NASLIB = (
    "[[[0,0],[1,0],[0,0],[2,4],[1,2],[3,6],[3,1],[4,5]],[[1,2],[0,6],[1,1],[2,0],[3,1],[2,5],[1,3],[4,6]]]"
)


def test_published_genotypes() -> None:
    second = SPACE.parse(DARTS_V2)
    assert SPACE.draw(second).splitlines() == [
        "normal cell, of 0 and 1",
        "  2 = sepconv3x3(0) + sepconv3x3(1)",
        "  3 = sepconv3x3(0) + sepconv3x3(1)",
        "  4 = skip(0) + sepconv3x3(1)",
        "  5 = skip(0) + dilconv3x3(2)",
        "  output = 2, 3, 4, 5",
        "reduce cell, of 0 and 1",
        "  2 = maxpool3x3(0) + maxpool3x3(1)",
        "  3 = maxpool3x3(1) + skip(2)",
        "  4 = maxpool3x3(0) + skip(2)",
        "  5 = maxpool3x3(1) + skip(2)",
        "  output = 2, 3, 4, 5",
    ]
    assert second.named()["normal4.op1"] == "skip" and second.named()["reduce3.in2"] == "2"
    assert len({SPACE.parse(text).id for text in (DARTS_V1, DARTS_V2, PC_DARTS)}) == 3
    for text in (DARTS_V1, DARTS_V2, PC_DARTS):
        architecture = SPACE.parse(text)
        assert SPACE.parse(architecture.key) == architecture
        for operation in SPACE.aliases:
            assert architecture.key.count(f"'{operation}'") == text.count(f"'{operation}'")


def test_the_key_has_the_smaller_input_first() -> None:
    key = SPACE.parse(DARTS_V2).key
    assert key == DARTS_V2.replace(
        "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0)",
        "('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0)",
    ).replace(
        "('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), "
        "('skip_connect', 2), ('max_pool_3x3', 1)",
        "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('skip_connect', 2), "
        "('max_pool_3x3', 1), ('skip_connect', 2)",
    )


def test_ways_to_write_a_genotype() -> None:
    wanted = SPACE.parse(DARTS_V2)
    broken = DARTS_V2.replace("), (", "),\n    (").replace("reduce=", "\n  reduce=").replace("'", '"')
    trailing = DARTS_V2.replace(")], normal", "),], normal").replace("5])", "5],)")
    for text in (broken, trailing, DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)"), DARTS_V2.replace("[2, 3, 4, 5]", "(2,3,4,5)")):  # fmt: skip
        assert SPACE.parse(text) == wanted


def test_naslib_lists() -> None:
    architecture = SPACE.parse(NASLIB)
    named = architecture.named()
    assert [named[f"normal4.{what}"] for what in ("in1", "op1", "in2", "op2")] == [
        "1",
        "skip",
        "3",
        "dilconv5x5",
    ]
    assert [named[f"reduce2.{what}"] for what in ("in1", "op1", "in2", "op2")] == [
        "0",
        "dilconv5x5",
        "1",
        "skip",
    ]
    assert SPACE.parse(NASLIB.replace("[", "(").replace("]", ")")) == architecture


@pytest.mark.tables
def test_all_genotypes_of_nasbench_suite_zero(tables: Path) -> None:
    import pyarrow.parquet as pq

    path = tables / "nasbench_suite_zero_subset.parquet"
    table = pq.read_table(path, columns=["space", "arch"]).to_pydict()
    texts = [arch for name, arch in zip(table["space"], table["arch"], strict=True) if name == "nasbench301"]
    rows = SPACE.parse_many(texts)
    assert len(rows) == 1_218 and len(set(SPACE.ids(rows))) > 1_200
    order = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip
    for text, architecture in zip(texts, SPACE.architectures(rows), strict=True):
        cells = [[(order[operation], source) for source, operation in cell] for cell in json.loads(text)]
        as_python = f"Genotype(normal={cells[0]}, {CONCAT[0]}, reduce={cells[1]}, {CONCAT[1]})"
        assert SPACE.parse(as_python) == architecture


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("normal_concat=[2, 3, 4, 5]", "normal_concat=range(2, 7)"), r"normal_concat is range\(2,7\).*range\(2, 6\)"),
        (("reduce_concat=[2, 3, 4, 5]", "reduce_concat=[4, 5]"), r"reduce_concat is \[4,5\]: in this space"),
        (("sep_conv_3x3', 0", "sep_conv_7x7', 0"), "Unknown operation 'sep_conv_7x7'.*Did you mean 'sep_conv_"),
        (("sep_conv_3x3', 0", "none', 0"), "Unknown operation 'none'"),
        (("('skip_connect', 0), ('dil_conv_3x3', 2)]", "('skip_connect', 0)]"), "normal cell has 7 pairs.*8"),
        (("('dil_conv_3x3', 2)]", "('dil_conv_3x3', 5)]"), "node 5 of the normal cell takes 0 and 5.*0 to 4"),
        (("('dil_conv_3x3', 2)]", "('dil_conv_3x3', 0)]"), "node 5 of the normal cell takes 0 and 0: two different"),
        (("Genotype(", "print("), r"looks like Genotype\("),
        (("'sep_conv_3x3', 0", "__import__('os'), 0"), r"looks like Genotype\("),
    ],
)  # fmt: skip
def test_other_genotypes_are_refused(change: tuple[str, str], match: str) -> None:
    text = DARTS_V2.replace(*change)
    assert text != DARTS_V2
    with pytest.raises(InvalidArchitectureError, match=match):
        SPACE.parse(text)


def test_a_foreign_number_is_refused() -> None:
    with pytest.raises(InvalidArchitectureError, match="number 7: they go from 0 to 6"):
        SPACE.parse(NASLIB.replace("[4,5]", "[4,7]"))


def test_equal_inputs_are_not_legal() -> None:
    row = SPACE.parse(DARTS_V2).row
    row[0, 0] = row[0, 2]
    assert not SPACE.valid(row).any() and not SPACE.strict(row).any()
    with pytest.raises(InvalidArchitectureError, match="not a valid architecture"):
        SPACE.architecture(row[0].tolist())


def renumbered(row: np.ndarray, order: tuple[int, ...]) -> np.ndarray | None:
    """The normal cell after node order[k] + 2 became node k + 2, one choice after the other; None if not possible."""
    place = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
    moved = row.copy()
    for new, old in enumerate(order):
        for side in (0, 1):
            source, operation = row[0, 4 * old + 2 * side : 4 * old + 2 * side + 2].tolist()
            if place[source] >= new + 2:
                return None
            moved[0, 4 * new + 2 * side : 4 * new + 2 * side + 2] = place[source], operation
    return SPACE.normalise(moved)


def test_renumbering_the_nodes_changes_the_key_and_not_the_id() -> None:
    twins = 0
    for row in SPACE.sample(60, np.random.default_rng(0))[:, None]:
        (mine,) = SPACE.ids(row)
        ways = [renumbered(row, order) for order in itertools.permutations(range(4))]
        every = np.concatenate([way for way in ways if way is not None])
        assert set(SPACE.ids(every)) == {mine}
        assert mine.partition(", reduce")[0] in [key.partition(", reduce")[0] for key in SPACE.keys(every)]
        twins += len(set(SPACE.keys(every))) > 1
    assert twins > 20
    other = SPACE.parse(DARTS_V2.replace("dil_conv_3x3", "dil_conv_5x5"))
    assert other.id != SPACE.parse(DARTS_V2).id


def test_classes_of_one_cell_against_a_search_over_all_numberings() -> None:
    """Cells that differ in few places, so that many are twins: ids agree exactly where a renumbering joins them."""
    rng = np.random.default_rng(1)
    rows = SPACE.sample(400, rng)
    rows[:, 1::2] %= 2  # two operations only
    rows[:, 16:] = rows[0, 16:]
    rows = SPACE.normalise(rows)
    ids = SPACE.ids(rows)
    smallest: list[int] = []
    for row in rows[:, None]:
        ways = [renumbered(row, order) for order in itertools.permutations(range(4))]
        smallest.append(min(int(SPACE.numbers(way)[0]) for way in ways if way is not None))
    assert len(set(zip(ids, smallest, strict=True))) == len(set(ids)) == len(set(smallest)) < 400


def test_samples_are_uniform_over_keys() -> None:
    rows = SPACE.sample(40_000, np.random.default_rng(2))
    pairs = rows[:, 12].astype(int) * 8 + rows[:, 14]  # inputs of the normal cell's last node
    counts = np.unique(pairs, return_counts=True)[1]
    assert len(counts) == 10 and abs(counts / 4_000 - 1).max() < 0.1
    operations = np.bincount(rows[:, 31])
    assert len(operations) == 7 and abs(operations / (40_000 / 7) - 1).max() < 0.1
    assert (rows[:, 0] == 0).all() and (rows[:, 2] == 1).all()  # node 2 has no choice
    assert len(np.unique(SPACE.numbers(rows))) == 40_000


def test_ids_are_fast() -> None:
    rows = SPACE.sample(50_000, np.random.default_rng(3))
    SPACE.ids(rows[:10])
    assert within(seconds_of(lambda: SPACE.ids(rows)), 1.0), "50,000 ids a second are promised"


def test_graph_says_what_each_operation_takes() -> None:
    architecture = SPACE.parse(DARTS_V2)
    graphs = SPACE.graphs(architecture.row)
    labels, adjacency = graphs.labels[0], graphs.adjacency[0]
    assert (labels[:2] == INPUT).all() and len(SPACE.code_nodes or ()) == 16
    fed = [np.flatnonzero(adjacency[:, node]).tolist() for node in range(2, 18)]
    # operations 2..9 are those of the normal cell's nodes 2..5, 10..17 those of the reduction cell's
    assert fed[:8] == [[0], [1], [0], [1], [0], [1], [0], [2, 3]]
    assert fed[8:] == [[0], [1], [1], [10, 11], [0], [10, 11], [1], [10, 11]]
    assert adjacency[2:18, 18].all()


def test_every_code_node_can_say_all_of_its_decisions() -> None:
    """Label and predecessors of its operation give back input and operation: 16 codes suffice for 32 decisions."""
    rows = SPACE.sample(3_000, np.random.default_rng(4))
    graphs = SPACE.graphs(rows)
    for at, node in enumerate(SPACE.code_nodes or ()):
        view = np.column_stack([graphs.labels[:, node], graphs.adjacency[:, :, node]])
        both = np.column_stack([view, rows[:, 2 * at : 2 * at + 2]])
        assert len(np.unique(both, axis=0)) == len(np.unique(view, axis=0)) <= 28


def test_what_predicates_see() -> None:
    population = Population.of(SPACE.parse(DARTS_V2))
    assert population.depth.tolist() == [
        2
    ]  # sepconv, then dilconv; the reduction cell has 1: pool, then skip
    assert population.count(["sepconv3x3"]).tolist() == [5] and population.count(["skip"]).tolist() == [5]
    assert population.feeds("sepconv3x3", "dilconv3x3").all() and not population.feeds("skip", "skip").any()
    assert population.path(["skip"]).all() and not population.path(["dilconv3x3"]).any()
    assert population.path(["maxpool3x3", "skip"]).all() and not population.path(["avgpool3x3"]).any()
    skips = SPACE.parse(NASLIB).row
    skips[:, 1::2] = SPACE.operations.index("skip")
    assert Population(SPACE, skips).depth.tolist() == [0]


def test_what_surrogate_and_language_model_see() -> None:
    architecture = SPACE.parse(DARTS_V2)
    _, _, paths = extract(SPACE, architecture.row).histograms
    assert paths.sum() == (2 + 2 + 2 + 3) + (
        2 + 3 + 3 + 3
    )  # by node: one for each input 0 or 1, two for node 2
    lines = as_program(SPACE, architecture.row).splitlines()
    assert lines[:2] == [
        "n1 = sepconv3x3(input0)  # normal2.op1",
        "n2 = sepconv3x3(input1)  # normal2.op2",
    ]
    assert lines[7].startswith("n8 = dilconv3x3(n1 + n2)  #") and lines[-1].startswith("output = n1 + n2 + ")


def test_keys_are_counted_though_not_listed() -> None:
    assert SPACE.size is None and SPACE.count == (1 * 3 * 6 * 10 * 49**4) ** 2
