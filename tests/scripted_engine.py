"""A code model without a network: codes are the choices themselves, and what draws keeps what it was asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.space import Choices, SearchSpace


class ChoiceCodec:
    """Names an architecture by its row."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.codebook_size = int(space.cardinalities.max())

    def encode(self, choices: Choices) -> Codes:
        return choices.astype(np.int16)

    def decode(self, codes: Codes) -> Choices:
        return codes.astype(np.int8)


class Scripted:
    """Draws uniformly; keeps the requests, and the folders that it was told to serve."""

    name = "scripted"

    def __init__(self, codec: ChoiceCodec) -> None:
        self.codec = codec
        self.requests: list[Request] = []
        self.served: list[Path] = []

    def draw(self, request: Request) -> Draw:
        self.requests.append(request)
        rows = self.codec.space.sample(request.n, np.random.default_rng(request.seed))
        return Draw(self.codec.encode(rows), 0, 0.0)

    def reload(self, folder: Path) -> None:
        self.served.append(folder)

    def close(self) -> None: ...


def scripted(monkeypatch: pytest.MonkeyPatch, space: SearchSpace, pretrained: Path) -> Scripted:
    """Let every session of the test write with one scripted proposer."""
    codec = ChoiceCodec(space)
    proposer = Scripted(codec)
    model = SimpleNamespace(codec=codec, language_model=pretrained)
    monkeypatch.setattr("vitruvius.generator.library.load_or_train", lambda *_, **__: model)
    monkeypatch.setattr("vitruvius.generator.proposers.make_proposer", lambda *_, **__: proposer)
    return proposer
