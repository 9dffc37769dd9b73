"""Training that was interrupted goes on and ends with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius.generator import resumable
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus import read_corpus
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.language_model import load_model, train_language_model
from vitruvius.generator.resumable import Resumable
from vitruvius.generator.space import get_space
from vitruvius.generator.training import CodecSettings, train_codec

SHORT = CodecSettings(steps=60, batch=64, warm=20, check=10, enough=1.1)  # never stops early


class Killed(Exception):
    """Stands for the end of the process."""


class Stopper:
    """A progress that kills the training at its n-th line."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "_EVERY", 0.0)


def equal(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_codec_after_a_kill_is_the_same(tmp_path: Path) -> None:
    space, state = get_space("nasbench201"), tmp_path / "state"
    whole, _ = train_codec(space, seed=1, settings=SHORT)
    with pytest.raises(Killed):
        train_codec(space, seed=1, settings=SHORT, progress=Stopper(2), state=state)
    assert state.is_file()
    again = Stopper(-1)
    resumed, figures = train_codec(space, seed=1, settings=SHORT, progress=again, state=state)
    assert "goes on after step" in again.lines[0]
    assert equal(whole.model, resumed.model) and figures["steps"] == SHORT.steps
    assert not state.exists()


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    found, _ = train_codec(get_space("nasbench201"), seed=0, settings=SHORT)
    found.save(tmp_path_factory.mktemp("codec"))
    return found


def test_language_model_after_a_kill_is_the_same(codec: Codec, tmp_path: Path) -> None:
    settings = LanguageModelSettings(
        hidden=32, heads=1, layers=1, steps=40, large=10**9, batch=16, partial=0.0
    )
    rows = get_space("nasbench201").sample(200, np.random.default_rng(0))
    whole = train_language_model(codec, tmp_path / "whole", seed=5, rows=rows, settings=settings)
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train_language_model(codec, folder, seed=5, rows=rows, settings=settings, progress=Stopper(3))
    assert (folder / ".training").is_file()
    again = Stopper(-1)
    resumed = train_language_model(codec, folder, seed=5, rows=rows, settings=settings, progress=again)
    assert "goes on after step" in again.lines[0]
    assert equal(load_model(whole), load_model(resumed))
    assert (read_corpus(whole)["codes"] == read_corpus(resumed)["codes"]).all()
    assert [path.name for path in folder.iterdir()] == [resumed.name]


def test_state_of_other_settings_or_cut_off_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "state"
    Resumable(path, "a").save({"step": 7})
    assert Resumable(path, "a").load() == {"step": 7}
    assert Resumable(path, "b").load() is None
    path.write_bytes(path.read_bytes()[:50])
    assert Resumable(path, "a").load() is None
    assert Resumable(None).load() is None and not Resumable(None).due()
