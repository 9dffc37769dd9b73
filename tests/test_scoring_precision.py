"""Validation images are scored in full precision, however products are computed in training."""

from __future__ import annotations

import torch
from torch import nn

from vitruvius.generator.evaluation.engine import linear_in_float


def test_linear_layers_are_computed_in_float_meanwhile() -> None:
    head = nn.Linear(4 * 36, 10)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), head)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(x).dtype == torch.bfloat16
        with linear_in_float(network):
            precise = network(x)
        assert network(x).dtype == torch.bfloat16
        hidden = network[1](network[0](x)).float()
    assert precise.dtype == torch.float32
    assert torch.equal(precise, nn.functional.linear(hidden, head.weight, head.bias))
    assert "forward" not in vars(head)
