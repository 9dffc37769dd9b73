"""Networks of all spaces: costs and written text agree with what is built, and all with the published tables."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vitruvius.errors import UserError
from vitruvius.generator import networks as package
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.networks import (
    SPACES_WITH_NETWORKS,
    build_network,
    check_networks,
    family,
    network_costs,
)
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.networks.darts import Darts, DropPath
from vitruvius.generator.networks.nasbench101 import node_channels
from vitruvius.generator.space import Architecture, get_space

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)


def sampled(space: str, n: int, seed: int = 0) -> list[Architecture]:
    known = get_space(space)
    return known.architectures(known.sample(n, np.random.default_rng(seed)))


def shapes(space: str) -> list[Shape]:
    """Two odd shapes, between them with everything that networks of the space may have."""
    networks = family(get_space(space))
    if networks.images:
        both = (
            Shape(5, 2, 9, 12, stem=6, cells=2),
            Shape(4, 3, 40, 32, stem=8, cells=1, extras=(*networks.extras,)),
        )
    else:
        both = Shape(3, 5, stem=6), Shape(3, 7, stem=8, extras=(*networks.extras,))
    return [networks.complete(shape) for shape in both]


def parameters(network: nn.Module) -> int:
    """Of the network without a second head, which is for training only."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary"))


def counted(network: nn.Module, *inputs: torch.Tensor) -> float:
    """Multiply-adds by hooks on the layers of a built network, by the rules of NASLib's counter."""
    total = 0.0

    def hook(layer: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        nonlocal total
        x, n = given[0], len(inputs[0])
        if isinstance(layer, nn.Conv2d):
            total += made.numel() / n * layer.weight[0].numel()
        elif isinstance(layer, nn.ReLU | nn.BatchNorm2d):
            total += x.numel() / n * (1 if isinstance(layer, nn.ReLU) else 2)
        elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
            kernel = layer.kernel_size
            assert isinstance(kernel, int)
            total += made.numel() / n * kernel**2
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            total += x.numel() / x[0, 0].numel() / n * (x.shape[2] + 1) * (x.shape[3] + 1)
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features

    hooks = [layer.register_forward_hook(hook) for layer in network.modules()]
    with torch.no_grad():
        network.eval()(*inputs)
    for one in hooks:
        one.remove()
    return total


@pytest.mark.parametrize("space", SPACES_WITH_NETWORKS)
def test_counted_parameters_equal_the_built_ones(space: str):
    for shape in shapes(space):
        for architecture in sampled(space, 15, seed=3):
            network = family(architecture.space).build(architecture, shape)
            costs = network_costs(architecture.space, architecture.row, shape)
            assert parameters(network) == round(costs["params"][0] * 1e6)


@pytest.mark.parametrize("space", ["darts", "nasbench101", "nasbench201", "transnasbench101-micro"])
def test_counted_multiply_adds_equal_those_of_the_built_layers(space: str):
    """In cells whose every node is read: layers of others are counted, but not computed."""
    shape = family(get_space(space)).complete(Shape(10, 3, 32, 32, stem=6, cells=2))
    checked = 0
    for architecture in sampled(space, 30, seed=4):
        named = architecture.named()
        if "none" in named.values():
            continue
        network = family(architecture.space).build(architecture, shape)
        expected = network_costs(architecture.space, architecture.row, shape)["flops"][0] * 1e6
        assert counted(network, torch.zeros(2, 3, 32, 32)) == pytest.approx(expected), architecture.key
        checked += 1
    assert checked > 3


@pytest.mark.parametrize("space", SPACES_WITH_NETWORKS)
def test_the_written_text_is_the_network(space: str):
    """Same names of the same weights, same outputs, for any architecture; and it is Python that stands alone."""
    for shape in shapes(space):
        for architecture in sampled(space, 12, seed=5):
            networks = family(architecture.space)
            text = networks.source(architecture, shape)
            assert "vitruvius" not in text.lower()
            written: dict[str, Any] = {"__name__": "model"}
            exec(compile(text, "model.py", "exec", dont_inherit=True), written)
            theirs, ours = written["Network"]().eval(), networks.build(architecture, shape).eval()
            shaken = {
                name: (value + 0.1 * torch.randn_like(value)).abs() if value.is_floating_point() else value
                for name, value in ours.state_dict().items()
            }
            ours.load_state_dict(shaken)
            theirs.load_state_dict(shaken, strict=True)
            inputs = networks.example(shape)
            with torch.no_grad():
                torch.testing.assert_close(theirs(*inputs), ours(*inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space", SPACES_WITH_NETWORKS)
def test_networks_learn(space: str):
    """Every weight that is read gets a gradient, from a batch of two upward."""
    (architecture,) = sampled(space, 1, seed=8)
    shape = shapes(space)[0]
    network = family(architecture.space).build(architecture, shape).train()
    inputs = family(architecture.space).example(shape)
    logits = network(*inputs)
    assert logits.shape == (len(inputs[0]), shape.classes)
    logits.square().mean().backward()
    assert all(p.grad is not None for name, p in network.named_parameters() if name.startswith("classifier"))


@pytest.mark.parametrize("space", SPACES_WITH_NETWORKS)
def test_plain_files_import_only_torch(space: str):
    """What exports are made of must run without us."""
    folder = Path(package.__file__).parent
    names = {"nasbench-graph": "nasbench_graph", "transnasbench101-micro": "transnasbench101"}
    tree = ast.parse((folder / f"{names.get(space, space)}.py").read_text())
    roots = {
        str(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert roots <= {"__future__", "collections", "torch", "torch_geometric"}


# ---- what the papers and tables say --------------------------------------------------------------


def test_the_published_parameter_count_of_darts():
    """3.3 M in the paper, 3.349342 MB in the log of its code."""
    network = build_network(get_space("darts").parse(DARTS_V2), classes=10)
    assert parameters(network) == 3_349_342


@cache
def zero_cost_rows(tables: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    columns = ["space", "dataset", "arch", "params", "flops"]
    return pq.read_table(tables / "nasbench_suite_zero_subset.parquet", columns=columns).to_pylist()


@pytest.mark.tables
def test_nasbench101_has_the_table_s_parameters(tables: Path):
    import pyarrow.parquet as pq

    space = get_space("nasbench101")
    rows = pq.read_table(
        tables / "ecnas_nb101_small_cells.parquet", columns=["adjacency", "ops", "params"]
    ).to_pydict()
    texts = [f"{bits};{ops}" for bits, ops in zip(rows["adjacency"], rows["ops"], strict=True)]
    params = network_costs(space, space.parse_many(texts), Shape(10, 3, 32, 32))["params"]
    assert np.array_equal(np.round(params * 1e6), rows["params"])
    for place in np.random.default_rng(0).choice(len(texts), 12, replace=False).tolist():
        with torch.device("meta"):
            assert parameters(build_network(space.parse(texts[place]), classes=10)) == rows["params"][place]


@pytest.mark.tables
def test_nasbench101_has_the_other_table_s_multiply_adds(tables: Path):
    """Of cells that it writes in the benchmark's order; others have their odd channel on another node."""
    space = get_space("nasbench101")
    rows = [row for row in zero_cost_rows(tables) if row["space"] == "nasbench101"]
    costs = network_costs(space, space.parse_many([row["arch"] for row in rows]), Shape(10, 3, 32, 32))
    same = np.isclose(costs["params"], [row["params"] for row in rows], atol=1e-9)
    flops = np.array([row["flops"] for row in rows])
    assert len(rows) == 500 and same.sum() == 472
    np.testing.assert_allclose(costs["flops"][same], flops[same], atol=1e-9)


@pytest.mark.tables
@pytest.mark.parametrize("task", ["class_scene", "jigsaw"])
def test_transnasbench101_has_the_table_s_costs(tables: Path, task: str):
    """For jigsaw the table counts only one of the nine tiles up to the pooling."""
    space = get_space("transnasbench101-micro")
    rows = [r for r in zero_cost_rows(tables) if r["space"].startswith("trans") and r["dataset"] == task]
    shape = family(space).shapes[task]
    costs = network_costs(space, space.parse_many([row["arch"] for row in rows]), shape)
    assert len(rows) == 711
    np.testing.assert_allclose(costs["params"], [row["params"] for row in rows], atol=1e-9)
    flops = costs["flops"]
    if task == "jigsaw":
        end = 9 * 512 * (9 + 1000) / 1e6  # pooling, whose window counts as 3 x 3, and linear layer
        flops = (flops - end) / 9 + end
    np.testing.assert_allclose(flops, [row["flops"] for row in rows], atol=1e-9)


@pytest.mark.tables
def test_darts_differs_from_nasbench301_by_norms_without_weights(tables: Path):
    """There, operations have normalisations without weights, and poolings have one; all else is equal."""
    space = get_space("darts")
    rows = [row for row in zero_cost_rows(tables) if row["space"] == "nasbench301"]
    choices = space.parse_many([row["arch"] for row in rows])
    costs = network_costs(space, choices, Shape(10, 3, 32, 32, stem=32, cells=2))
    params, flops = costs["params"].copy(), costs["flops"].copy()
    norms = {"sepconv3x3": 2, "sepconv5x5": 2, "dilconv3x3": 1, "dilconv5x5": 1}
    cells = [("normal", 32, 1024, 2), ("reduce", 64, 256, 1), ("normal", 64, 256, 2), ("reduce", 128, 64, 1),
             ("normal", 128, 64, 2)]  # fmt: skip
    for cell, channels, pixels, times in cells:
        for column, decision in enumerate(space.decisions):
            if not decision.name.startswith(cell) or ".op" not in decision.name:
                continue
            operations = np.array(decision.choices)[choices[:, column]]
            halving = (cell == "reduce") & (choices[:, column - 1] < 2) & (operations == "skip")
            weighted = np.array([norms.get(operation, 0) for operation in operations]) + halving
            pooled = np.char.find(operations, "pool") >= 0
            params -= weighted * 2 * channels * times / 1e6
            flops += (pooled.astype(int) - weighted) * channels * pixels * times / 1e6
    assert len(rows) == 1218
    np.testing.assert_allclose(params, [row["params"] for row in rows], atol=1e-9)
    np.testing.assert_allclose(flops, [row["flops"] for row in rows], atol=1e-9)


def test_nasbench_graph_has_the_table_s_parameters():
    """All eight data sets; of physics 1,567 rows are means over networks of several sizes."""
    from vitruvius.generator.evaluation.table import Table

    space = get_space("nasbench-graph")
    table = Table()
    rows = space.enumerate()
    for dataset, shape in family(space).shapes.items():
        published = table.open(space, dataset).costs(rows)["params"]
        ours = network_costs(space, rows, shape)["params"]
        same = np.abs(ours - published) <= np.spacing(published.astype(np.float32))
        assert (~same).sum() == (1567 if dataset == "physics" else 0), dataset


# ---- structure -----------------------------------------------------------------------------------


def test_nasbench101_shares_channels_as_published():
    """128 channels among three nodes: 43, 43, 42; a node before them has as many as the widest it feeds."""
    takes = [[0], [1], [1], [1], [2, 3, 4]]
    assert node_channels(takes, 128) == {1: 43, 2: 43, 3: 43, 4: 42} | {1: 43}
    assert node_channels([[0]], 128) == {}


def test_nasbench101_counts_follow_the_benchmark_s_order_and_not_ours():
    """Two ways to write one class cost the same, that of the way the benchmark has it."""
    space = get_space("nasbench101")
    one = space.parse("0111000101000010000100000;input,maxpool3x3,maxpool3x3,conv3x3-bn-relu,output")
    assert one.key != "0111000101000010000100000;input,maxpool3x3,maxpool3x3,conv3x3-bn-relu,output"
    assert parameters(build_network(one, classes=10)) == 1_907_355


def test_drop_path_drops_whole_layers_in_training_only():
    torch.manual_seed(0)
    layer = DropPath()
    x = torch.ones(400, 2, 3, 3)
    assert torch.equal(layer(x), x)
    layer.probability = 0.25
    dropped = layer.train()(x)
    kept = dropped[:, 0, 0, 0] > 0
    assert 0.6 < kept.float().mean() < 0.9
    assert torch.equal(dropped, torch.where(kept[:, None, None, None], x / 0.75, 0.0 * x))
    assert torch.equal(layer.eval()(x), x)


def test_darts_passes_its_drop_probability_on_and_has_a_second_head_in_training():
    network = build_network(
        get_space("darts").parse(DARTS_V2), classes=10, width=4, cells=1, extras=("auxiliary",)
    )
    assert isinstance(network, Darts)
    network.drop_path(0.2)
    drops = [layer for layer in network.modules() if isinstance(layer, DropPath)]
    assert len(drops) == 5 and {drop.probability for drop in drops} == {0.2}
    x = torch.randn(2, 3, 32, 32)
    logits, second = network.train()(x)
    assert logits.shape == second.shape == (2, 10) and not torch.equal(logits, second)
    assert network.eval()(x).shape == (2, 10)


def test_a_skip_of_nasbench_graph_passes_on_what_it_takes():
    space = get_space("nasbench-graph")
    chain = space.parse("0123:skip,skip,skip,fc")
    network: Any = build_network(chain, classes=3, in_channels=5, width=6).eval()
    x, edges = torch.randn(4, 5), torch.tensor([[0], [1]])
    expected = network.classifier(torch.relu(network.norm_4(network.layer_4(x))))
    torch.testing.assert_close(network(x, edges), expected)


# ---- refusals ------------------------------------------------------------------------------------


def test_an_extra_that_a_space_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"NAS-Bench-201 have no extra 'auxiliary'; allowed: none"):
        build_network(sampled("nasbench201", 1)[0], classes=10, extras=("auxiliary",))
    with pytest.raises(UserError, match=r"'aux'; allowed: auxiliary \(a second classifier"):
        build_network(sampled("darts", 1)[0], classes=10, extras=("aux",))


def test_images_that_the_auxiliary_head_cannot_read_are_refused_before_anything_is_trained():
    cell = sampled("darts", 1)[0]
    told = (
        r"Images of 28 x 28 are too small for the auxiliary head of DARTS, which needs 29 x 29: leave it out"
    )
    shape = Shape(10, 3, 28, 28, 4, 1, ("auxiliary",))
    with pytest.raises(UserError, match=told):
        family(cell.space).complete(shape)
    assert family(cell.space).complete(replace(shape, extras=())).cells == 1
    network = build_network(cell, classes=10, width=4, cells=1, extras=("auxiliary",)).train()
    for side in (29, 32):
        assert family(cell.space).complete(replace(shape, height=side, width=side)).extras == ("auxiliary",)
        assert network(torch.randn(2, 3, side, side))[1].shape == (2, 10)
    with pytest.raises(RuntimeError, match="size"):
        network(torch.randn(2, 3, 28, 28))
    with pytest.raises(UserError, match="Images of 8 x 8"):
        Task("darts/digits", Train(recipe=Recipe(auxiliary=0.4)))


def test_networks_of_graphs_cannot_be_trained_on_images():
    with pytest.raises(UserError, match=r"read graphs, not images.*nasbench201"):
        check_networks(get_space("nasbench-graph"))
