"""Networks: parameter counts and multiply-adds equal the published ones, shapes, identities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.generator.networks import build_network, network_costs
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import get_space

SPACE = get_space("nasbench201")
CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|"
ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
ALL_NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def one_cell(text: str) -> Any:
    """The cell of a network that has one; its edges are attributes of their own names."""
    return build_network(SPACE.parse(text), classes=10, width=4, cells=1).get_submodule("blocks.0")


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_published_parameter_count_of_the_largest_cell():
    assert parameters(build_network(SPACE.parse(ALL_3X3), classes=10)) == 1_531_546


@pytest.mark.parametrize("shape", [Shape(10, 3, 32, 32), Shape(7, 1, 9, 12, stem=6, cells=2)])
def test_counted_parameters_equal_the_built_ones(shape: Shape):
    rows = SPACE.sample(12, np.random.default_rng(3))
    params = network_costs(SPACE, rows, shape)["params"]
    for architecture, expected in zip(SPACE.architectures(rows), params, strict=True):
        network = build_network(
            architecture,
            classes=shape.classes,
            in_channels=shape.in_channels,
            width=shape.stem,
            cells=shape.cells,
        )
        assert parameters(network) == round(expected * 1e6)
        x = torch.zeros(2, shape.in_channels, shape.height, shape.width)
        assert network(x).shape == (2, shape.classes)


@pytest.mark.tables
@pytest.mark.parametrize(
    ("dataset", "classes", "side"), [("cifar10", 10, 32), ("cifar100", 100, 32), ("imagenet16", 120, 16)]
)
def test_params_and_flops_equal_the_table_for_every_cell(tables: Path, dataset: str, classes: int, side: int):
    import pyarrow.parquet as pq

    columns = ["arch_str", f"{dataset}_params_m", f"{dataset}_flops_m"]
    table = pq.read_table(tables / "nasbench201.parquet", columns=columns)
    rows = SPACE.rows(SPACE.parse(text) for text in table["arch_str"].to_pylist())
    costs = network_costs(SPACE, rows, Shape(classes, 3, side, side))
    assert len(rows) == 15_625
    np.testing.assert_allclose(costs["params"], table[columns[1]].to_numpy(), atol=1e-9)
    np.testing.assert_allclose(costs["flops"], table[columns[2]].to_numpy(), atol=1e-9)


@pytest.mark.tables
def test_built_networks_have_the_table_s_parameters(tables: Path):
    import pyarrow.parquet as pq

    table = pq.read_table(tables / "nasbench201.parquet", columns=["arch_str", "cifar10_params_m"])
    for row in np.random.default_rng(0).choice(len(table), 25, replace=False).tolist():
        network = build_network(SPACE.parse(table["arch_str"][row].as_py()), classes=10)
        assert parameters(network) == round(table["cifar10_params_m"][row].as_py() * 1e6)


def test_a_chain_is_its_three_operations_in_order():
    torch.manual_seed(0)
    cell = one_cell(CHAIN).eval()
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(cell(x), cell.edge_2_3(cell.edge_1_2(cell.edge_0_1(x))))


def test_skips_add_up_along_all_paths():
    # 0->3, 0->1->3, 0->2->3, 0->1->2->3: four paths
    cell = one_cell(ALL_SKIP)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(cell(x), 4 * x)


def test_a_cell_of_nothing_says_the_same_of_every_image():
    network = build_network(SPACE.parse(ALL_NONE), classes=10, width=4, cells=1).eval()
    logits = network(torch.randn(3, 3, 8, 8))
    assert torch.equal(logits[0], logits[1])
    network.train()
    network(torch.randn(3, 3, 8, 8)).sum().backward()


def test_operations_as_published():
    """ReLU before the convolution, no bias, pooling that ignores the padding."""
    text = "|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|nor_conv_3x3~2|"
    cell = one_cell(text)
    names = [[type(layer).__name__ for layer in edge] for edge in (cell.edge_0_1, cell.edge_2_3)]
    assert names == [["ReLU", "Conv2d", "BatchNorm2d"]] * 2
    assert cell.edge_0_1[1].kernel_size == (1, 1)
    assert cell.edge_2_3[1].kernel_size == (3, 3)
    assert cell.edge_2_3[1].bias is None
    ones = torch.ones(1, 4, 5, 5)
    assert torch.equal(cell.edge_1_2(ones), ones)


def test_the_macro_structure_as_published():
    network = build_network(SPACE.parse(CHAIN), classes=10)
    blocks = list(network.get_submodule("blocks").children())
    kinds = [type(block).__name__ for block in blocks]
    assert kinds == [*["Cell"] * 5, "Residual", *["Cell"] * 5, "Residual", *["Cell"] * 5]
    widths: list[tuple[int, ...]] = []
    for block in blocks:
        block.register_forward_hook(lambda _m, _i, out: widths.append(tuple(out.shape[1:])))
    network(torch.zeros(2, 3, 32, 32))
    assert sorted(set(widths), reverse=False) == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
