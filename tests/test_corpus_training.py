"""The training loop: what it minimises, when it stops, and how much it plans."""

# Which attention a model has is only known to its configuration.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitruvius.generator import precision
from vitruvius.generator.corpus_training import LanguageModelSettings, Lesson, fit
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.language_model import new_model, new_tokenizer, unconditional
from vitruvius.generator.vocabulary import Vocabulary

SIZE = 8
VOCABULARY = Vocabulary.of(new_tokenizer(SIZE).backend_tokenizer)
SETTINGS = LanguageModelSettings(hidden=32, heads=1, layers=1)


def corpus(n: int, seed: int = 0) -> np.ndarray:
    """Distinct sequences of three codes, some prefixes much more frequent than others."""
    rows = np.random.default_rng(seed).integers(SIZE, size=(4 * n, 3)) // np.array([3, 2, 1])
    return np.unique(rows, axis=0)[:n].astype(np.int16)


def lesson(codes: np.ndarray, tree: CodeTree | None) -> Lesson:
    ids = VOCABULARY.sequences(codes, unconditional(len(codes)))
    chances = None if tree is None else torch.from_numpy(tree.following(np.arange(len(codes))))
    return Lesson(ids, chances)


def gradients(model: nn.Module, one: Lesson) -> tuple[float, list[Tensor]]:
    """Loss and gradients of a single step of the loop (its clipping undone by a rate of nothing)."""
    before = [weight.detach().clone() for weight in model.parameters()]
    figures = fit(model, lambda _step: one, 1, 1e-30, None, "", codes=VOCABULARY.codes)
    after = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(before, model.parameters(), strict=True))
    return figures["nats"], after


def test_chances_give_the_loss_of_single_codes_over_a_whole_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row once: what follows a prefix is then seen exactly as often as the chances say."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)  # its rounding would hide small errors
    codes = corpus(40)
    model = new_model(5 + 10 + SIZE, SETTINGS, seed=0)
    hard = gradients(model, lesson(codes, None))
    soft = gradients(model, lesson(codes, CodeTree(codes, SIZE)))
    assert abs(hard[0] - soft[0]) < 1e-3
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(hard[1], soft[1], strict=True))


@pytest.mark.skipif(not precision.has_bfloat16(), reason="this processor does not multiply bfloat16")
def test_mixed_precision_has_nearly_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = corpus(40)
    model = new_model(5 + 10 + SIZE, SETTINGS, seed=0)
    before = model.config._attn_implementation
    mixed = gradients(model, lesson(codes, None))
    assert model.config._attn_implementation == before
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    exact = gradients(model, lesson(codes, None))
    assert abs(mixed[0] - exact[0]) < 0.01 * exact[0]
    different = [not torch.equal(x, y) for x, y in zip(mixed[1], exact[1], strict=True)]
    assert any(different)  # it was in use
    left, right = (torch.cat([x.flatten() for x in one[1]]) for one in (mixed, exact))
    assert torch.cosine_similarity(left, right, dim=0) > 0.999


def test_muon_learns_faster_than_adam_alone() -> None:
    codes = corpus(60, seed=2)
    one = lesson(codes, CodeTree(codes, SIZE))
    nats: list[float] = []
    for matrix_rate in (None, 2e-2):
        model = new_model(5 + 10 + SIZE, SETTINGS, seed=0)
        figures = fit(
            model, lambda _step: one, 40, 3e-3, None, "", matrix_rate=matrix_rate, codes=VOCABULARY.codes
        )
        nats.append(figures["nats"])
    assert nats[1] < nats[0]


def test_chances_are_what_follows_in_the_corpus() -> None:
    codes = corpus(60, seed=1)
    found = CodeTree(codes, SIZE).following(np.arange(len(codes)))
    assert found.shape == (len(codes), 3, SIZE)
    for row, chances in zip(codes, found, strict=True):
        for position in range(3):
            alike = codes[(codes[:, :position] == row[:position]).all(axis=1), position]
            assert np.allclose(chances[position], np.bincount(alike, minlength=SIZE) / len(alike))


def test_stops_when_it_knows_the_corpus() -> None:
    codes = corpus(12)
    tree = CodeTree(codes, SIZE)
    model = new_model(5 + 10 + SIZE, SETTINGS, seed=0)
    figures = fit(
        model, lambda _step: lesson(codes, tree), 2000, 3e-3, None, "", codes=VOCABULARY.codes, enough=0.05
    )
    assert figures["steps"] < 2000 and figures["gap"] <= 0.05
    assert figures["nats"] >= np.log(len(codes)) - 1e-3


def test_plan_grows_with_the_corpus() -> None:
    settings = LanguageModelSettings()
    assert settings.plan(15_625) == (300, 128)
    assert settings.plan(423_624, 423_624) == settings.plan(180_000) == (1000, 512)


def test_of_a_part_of_a_space_fewer_batches_are_planned() -> None:
    settings = LanguageModelSettings()
    assert settings.plan(211_812, 423_624) == (354, 512)
    assert settings.plan(1, 15_625) == (1, 128)
