"""The code language model through plain transformers: a batched sampling loop with a key-value cache."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitruvius.errors import ModelError
from vitruvius.generator.cards import read_card
from vitruvius.generator.codes import Codec
from vitruvius.generator.language_model import load_model
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.checks import check, same_codec
from vitruvius.generator.threads import threads_for
from vitruvius.generator.vocabulary import Vocabulary


class TransformersProposer:
    """Samples on the CPU in float32; the same request gives the same codes in every process."""

    name = "transformers"

    def __init__(self, codec: Codec, folder: Path, batch: int = 256) -> None:
        """Load a checkpoint.

        Args:
            codec: The codec whose codes it writes.
            folder: The checkpoint.
            batch: Sequences at a time.
        """
        self._codec, self._batch = codec, batch
        self.reload(folder)

    def reload(self, folder: Path) -> None:
        """Continue with another checkpoint of the same codec."""
        same_codec(self._codec, read_card(folder, "language model"), folder)
        self._vocabulary = Vocabulary.load(folder)
        self._model: Any = load_model(folder).eval()

    @torch.inference_mode()
    def draw(self, request: Request) -> Draw:
        """Draw sequences; the request's guide counts at each position."""
        begin = time.perf_counter()
        check(request, self._codec)
        if self._model is None:
            raise ModelError("This model was closed: make a new proposer.")
        # Drawn one batch after the other from one stream: what is drawn does not depend on the batch size.
        rng = np.random.default_rng(request.seed)
        sizes = [min(self._batch, request.n - start) for start in range(0, request.n, self._batch)]
        with threads_for(self._model):
            parts = [self._sample(self._noise(rng, size), request) for size in sizes]
        codes = np.concatenate(parts) if parts else np.empty((0, self._codec.length), dtype=np.int16)
        return Draw(codes, 0, time.perf_counter() - begin)

    def _noise(self, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        """Gumbel noise of all choices of n sequences: (n, L, K)."""
        return rng.gumbel(size=(n, self._codec.length, self._codec.codebook_size)).astype(np.float32)

    def _sample(self, noise: NDArray[np.float32], request: Request) -> Codes:
        """One batch: argmax of logits / temperature + Gumbel noise is a draw from the softmax."""
        columns = torch.tensor(self._vocabulary.codes)  # (K,)
        ids = torch.tensor([self._vocabulary.prompt(request.quantile)]).repeat(len(noise), 1)  # (n, 2)
        found: list[Tensor] = []
        cache = None
        for position in range(self._codec.length):
            out = self._model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits = out.logits[:, -1, columns].float() / request.temperature  # (n, K)
            if request.guide is not None:
                so_far = torch.stack(found, dim=1).numpy() if found else np.empty((len(noise), 0), np.int64)
                logits += torch.from_numpy(request.guide.look(so_far))
            code = (logits + torch.from_numpy(noise[:, position])).argmax(1)  # (n,)
            found.append(code)
            ids = columns[code][:, None]
        return torch.stack(found, dim=1).numpy().astype(np.int16)

    def close(self) -> None:
        """Free the model; `reload` brings it back."""
        self._model = None
