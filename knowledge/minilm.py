"""The encoder of all-MiniLM-L6-v2 in numpy: to ask one question, nothing else has to be loaded.

BERT (Devlin et al., 2019): six layers of twelve heads, each a self-attention and a two-layer network, with
layer normalisation after both. torch and transformers take seconds to import; this takes none, and a
sentence of ten words some milliseconds. A test holds both to the same vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

Floats = NDArray[np.float32]

LAYERS, HEADS = 6, 12
_TOKENS = 256  # what the model was trained with; longer texts are cut
_BATCH = 32
_EPSILON = 1e-12


class MiniLM:
    """Tokenizer and weights of one folder.

    Attributes:
        dimension: Length of a sentence's vector.
    """

    dimension = 384

    def __init__(self, folder: Path) -> None:
        """Read both; nothing is downloaded.

        Args:
            folder: Has `tokenizer.json` and `model.safetensors`.
        """
        self._weights: dict[str, Floats] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_TOKENS)
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of sentences: (n, 384), of length 1, each the mean over tokens, as the model's card says.

        Texts of about the same length are computed together.
        """
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            vectors[part] = self._sentences([tokens[i] for i in part])
        return vectors

    def _sentences(self, tokens: Sequence[Sequence[int]]) -> Floats:
        longest = max(len(row) for row in tokens)
        ids = np.array([[*row, *[0] * (longest - len(row))] for row in tokens])
        real = np.arange(longest) < np.array([[len(row)] for row in tokens])  # (n, t)
        states = self._embedded(ids)
        hidden = np.where(real, 0.0, -np.inf).astype(np.float32)[:, None, None]  # (n, 1, 1, t)
        for layer in range(LAYERS):
            states = self._layer(f"encoder.layer.{layer}", states, hidden)
        means = (states * real[..., None]).sum(axis=1) / real.sum(axis=1, keepdims=True)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def _embedded(self, ids: NDArray[np.int64]) -> Floats:
        """What goes into the first layer: words, places, and "first of one sentence": (n, t, 384)."""
        words = self._weights["embeddings.word_embeddings.weight"][ids]
        places = self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        return self._normalised("embeddings.LayerNorm", words + places + kind)

    def _layer(self, name: str, states: Floats, hidden: Floats) -> Floats:
        """One layer: (n, t, 384) to the same, looking at no place where `hidden` is -inf."""
        query, key, value = (
            self._heads(self._dense(f"{name}.attention.self.{part}", states))
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(query.shape[3])) + hidden
        chances = np.exp(scores - scores.max(axis=3, keepdims=True))
        chances /= chances.sum(axis=3, keepdims=True)
        seen = (chances @ value).swapaxes(1, 2).reshape(states.shape)
        seen = self._dense(f"{name}.attention.output.dense", seen)
        states = self._normalised(f"{name}.attention.output.LayerNorm", states + seen)
        inner = self._dense(f"{name}.intermediate.dense", states)
        inner *= 0.5 + 0.5 * erf(inner * np.float32(np.sqrt(0.5)))  # GELU
        out = self._dense(f"{name}.output.dense", inner)
        return self._normalised(f"{name}.output.LayerNorm", states + out)

    def _dense(self, name: str, states: Floats) -> Floats:
        flat = states.reshape(-1, states.shape[2]) @ self._weights[f"{name}.weight"].T
        flat += self._weights[f"{name}.bias"]
        return flat.reshape(*states.shape[:2], -1)

    def _heads(self, states: Floats) -> Floats:
        n, length, width = states.shape
        return states.reshape(n, length, HEADS, width // HEADS).swapaxes(1, 2)

    def _normalised(self, name: str, states: Floats) -> Floats:
        centred = states - states.mean(axis=2, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(axis=2, keepdims=True) + np.float32(_EPSILON))
        return centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
