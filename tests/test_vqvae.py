"""The VQ-VAE and its training: shapes, the codebook's arithmetic, and reconstruction of whole spaces."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from vitruvius.errors import UserError
from vitruvius.generator.space import get_space
from vitruvius.generator.training import (
    CodecSettings,
    architectures_of,
    codec_metrics,
    sizes_for,
    split_by_id,
    train_codec,
)
from vitruvius.generator.vqvae import VQVAE, Quantiser, Sizes, build_batch

SIZES = Sizes(
    operations=3, nodes=5, cardinalities=(2, 3, 4), code_nodes=(1, 2, 3), codes=8, dimension=4, width=8
)


def some_graphs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 5, size=(n, 5)).astype(np.int8)
    adjacency = np.triu(rng.random((n, 5, 5)) < 0.5, 1)
    return torch.from_numpy(labels), torch.from_numpy(adjacency)


def test_shapes() -> None:
    model = VQVAE(SIZES)
    batch = build_batch(*some_graphs(7))
    assert model.encoder(batch).shape == (7, 3, 4)
    codes = model.codes(batch)
    assert codes.shape == (7, 3) and codes.max() < 8
    choices = model.choices(codes)
    assert choices.shape == (7, 3)
    assert (choices < torch.tensor(SIZES.cardinalities)).all()


def test_no_code_is_generated() -> None:
    """torch-geometric's message passing writes a module for each class, in a file that stays behind."""
    VQVAE(SIZES)
    assert not [name for name in sys.modules if name.startswith("vitruvius") and "propagate" in name]


def test_joined_graphs_equal_single_ones() -> None:
    """Nothing leaks between the graphs of a batch, and absent nodes do not shift labels."""
    model = VQVAE(SIZES).eval()
    labels, adjacency = some_graphs(9)
    together = model.encoder(build_batch(labels, adjacency))
    for i in range(9):
        alone = model.encoder(build_batch(labels[i : i + 1], adjacency[i : i + 1]))
        assert torch.allclose(alone[0], together[i], atol=1e-6)


def test_edges_matter_in_both_directions() -> None:
    model = VQVAE(SIZES).eval()
    labels = torch.tensor([[0, 2, 3, 4, 1]], dtype=torch.int8)
    plain = torch.zeros(1, 5, 5, dtype=torch.bool)
    edge = plain.clone()
    edge[0, 1, 2] = True
    before, after = (model.encoder(build_batch(labels, a))[0] for a in (plain, edge))
    assert not torch.allclose(before[0], after[0]) and not torch.allclose(before[1], after[1])
    assert torch.allclose(before[2], after[2])  # node 3 has no edge


def test_codebook_follows_the_mean_of_what_chose_it() -> None:
    quantiser = Quantiser(2, 2, decay=0.0)
    quantiser.vectors.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    z = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]])
    quantiser.follow(z)
    assert torch.allclose(quantiser.vectors, torch.tensor([[2.0, 0.0], [9.0, 9.0]]))
    assert quantiser.counts.tolist() == [2.0, 1.0]


def test_gradient_passes_straight_through() -> None:
    quantiser = Quantiser(4, 2)
    quantiser.vectors.copy_(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    z = torch.zeros(3, 1, 2, requires_grad=True)
    codes, vectors = quantiser(z)
    assert torch.allclose(vectors, quantiser.vectors[codes])
    vectors.sum().backward()
    assert z.grad is not None and torch.equal(z.grad, torch.ones_like(z))


def test_dead_codes_restart_where_they_are_missed() -> None:
    generator = torch.Generator().manual_seed(0)
    quantiser = Quantiser(2, 1)
    quantiser.vectors.copy_(torch.tensor([[0.0], [1000.0]]))
    quantiser.counts.copy_(torch.tensor([5.0, 0.0]))
    z = torch.tensor([[0.0], [0.0], [7.0]])
    assert quantiser.restart(z, generator) == 1
    assert quantiser.vectors.tolist() == [[0.0], [7.0]]
    assert quantiser.restart(z, generator) == 0


def test_codebook_starts_on_the_encoder_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    z = centres.repeat(50, 1) + 0.01 * torch.randn(200, 2, generator=generator)
    quantiser = Quantiser(4, 2)
    quantiser.start(z, generator)
    assert torch.cdist(centres, quantiser.vectors).min(1).values.max() < 0.05


def test_isomorphic_architectures_stay_on_one_side() -> None:
    space = get_space("nasbench201")
    rows = space.enumerate()
    seen = split_by_id(space, rows, 0.9, np.random.default_rng(0))
    ids = np.array(space.ids(rows))
    assert not set(ids[seen]) & set(ids[~seen])
    assert abs(len(set(ids[seen])) / len(set(ids)) - 0.9) < 0.001


def test_codebook_size_follows_the_space() -> None:
    sizes = {
        name: sizes_for(get_space(name), get_space(name).enumerate())
        for name in ("nasbench201", "nasbench-graph")
    }
    assert (sizes["nasbench201"].length, sizes["nasbench201"].codes) == (6, 64)
    assert (sizes["nasbench-graph"].length, sizes["nasbench-graph"].codes) == (4, 128)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-graph"])
def test_held_out_architectures_come_back(name: str) -> None:
    """The promise: at least 99.9 % of architectures with ids never trained on come back exactly."""
    space = get_space(name)
    lines: list[str] = []
    codec, metrics = train_codec(space, seed=1, fraction=0.9, progress=lines.append)
    assert metrics["exact"] >= 0.999
    assert metrics["architectures"] > 1000
    assert metrics["perplexity"] > 20 and metrics["used"] > 40
    assert any("reconstructed exactly" in line for line in lines)
    again = codec_metrics(codec, space.enumerate())
    assert again["exact"] >= 0.999
    assert again["distinct"] >= 0.999 * again["architectures"]  # codes are names: no two share one


def test_same_seed_same_codes() -> None:
    """Training is repeatable, and leaves the global random state alone."""
    space = get_space("nasbench201")
    settings = CodecSettings(steps=20, batch=64, warm=8, check=10)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    before = torch.random.get_rng_state()
    first, second = (train_codec(space, seed=3, settings=settings)[0] for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads
    rows = space.enumerate()[::7]
    assert np.array_equal(first.encode(rows), second.encode(rows))
    other = train_codec(space, seed=4, settings=settings)[0]
    assert not np.array_equal(first.encode(rows), other.encode(rows))


def test_bad_fraction() -> None:
    with pytest.raises(UserError, match="fraction is 0"):
        train_codec(get_space("nasbench201"), seed=0, fraction=0)


def test_sample_where_a_space_has_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    space = get_space("nasbench201")
    monkeypatch.setattr(type(space), "size", None)
    rows = architectures_of(space, 500, np.random.default_rng(0))
    assert rows.shape == (500, len(space.decisions)) and space.valid(rows).all()
    assert len(np.unique(rows, axis=0)) > 400, "drawn, not repeated"
