"""The logits processor that holds vLLM to the codes allowed at each position.

Loaded by vLLM itself, in process or in the server that we start, so this module imports vLLM. A
request carries its mask in `extra_args` as text, since a server takes nothing richer than that:
`L:K:` and the bits in hexadecimal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from vitruvius.generator.proposers.masks import ARGUMENT, unpack_mask
from vitruvius.generator.vocabulary import Vocabulary

_PRESETS = 256  # masks kept before old ones are dropped


class PositionalCodes(LogitsProcessor):
    """Forbids everything but the allowed codes, at each position, for all requests at once."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a mask that cannot be read; the server answers 400.

        Raises:
            ValueError: The mask is damaged.
        """
        text = (sampling_params.extra_args or {}).get(ARGUMENT)
        if text is not None:
            unpack_mask(text)

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        """Called by vLLM; the model's folder says which token is which code."""
        model = vllm_config.model_config
        self._codes = np.array(Vocabulary.load(Path(model.model)).codes)
        self._tokens = int(model.get_vocab_size())
        self._device = device
        self._presets: dict[str, int] = {}
        self._forbidden = torch.zeros((0, 1, self._tokens), dtype=torch.bool, device=device)  # (P, L, tokens)
        self._rows: dict[int, tuple[int, list[int]]] = {}  # batch row -> preset, tokens written so far

    def is_argmax_invariant(self) -> bool:
        """It changes what is likeliest."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests that enter, leave or move in the batch."""
        process_dict_updates(self._rows, batch_update, self._enter)

    def apply(self, logits: Tensor) -> Tensor:
        """Mask (rows, tokens) in place."""
        if not self._rows:
            return logits
        last = self._forbidden.shape[1] - 1
        rows = torch.tensor(list(self._rows), device=self._device)
        presets = torch.tensor([preset for preset, _ in self._rows.values()], device=self._device)
        places = torch.tensor([min(len(out), last) for _, out in self._rows.values()], device=self._device)
        logits[rows] = logits[rows].masked_fill(self._forbidden[presets, places], -torch.inf)
        return logits

    def _enter(
        self, params: SamplingParams, _prompt: list[int] | None, out: list[int]
    ) -> tuple[int, list[int]] | None:
        text = (params.extra_args or {}).get(ARGUMENT)
        return None if text is None else (self._preset(text), out)

    def _preset(self, text: str) -> int:
        """The number of a mask; masks already seen are not unpacked again."""
        if text not in self._presets:
            if len(self._presets) >= _PRESETS and not self._rows:
                self._presets.clear()
                self._forbidden = self._forbidden[:0]
            allowed = unpack_mask(text)  # (L, K)
            forbidden = torch.ones((len(allowed), self._tokens), dtype=torch.bool, device=self._device)
            forbidden[:, self._codes] = torch.from_numpy(~allowed).to(self._device)
            if self._forbidden.shape[1] != len(forbidden):
                self._forbidden = forbidden[None][:0]
            self._presets[text] = len(self._forbidden)
            self._forbidden = torch.cat([self._forbidden, forbidden[None]])
        return self._presets[text]
