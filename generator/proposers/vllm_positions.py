"""The logits processor that lets vLLM write codes only, and those that a request's guide wants.

Loaded by vLLM itself, in process or in the server that we start, so this module imports vLLM. A request
names its guide in `extra_args`, see `guide_files`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from vitruvius.generator.proposers.base import Guide
from vitruvius.generator.proposers.guide_files import ARGUMENT, CODES, read_guide
from vitruvius.generator.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class _Row:
    """A request in the batch: guide, temperature, and the tokens written so far, to which vLLM appends."""

    guide: Guide | None
    temperature: float
    written: list[int]


class PositionalCodes(LogitsProcessor):
    """Forbids all but codes and adds what the guides say, for all requests at once."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a guide that is not there; the server answers 400.

        Raises:
            ValueError: It is not.
        """
        _guide(sampling_params)

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        """Called by vLLM; the model's folder says which token is which code."""
        model = vllm_config.model_config
        codes = Vocabulary.load(Path(model.model)).codes
        tokens = int(model.get_vocab_size())
        self._device = device
        self._codes = torch.tensor(codes, device=device)
        self._number = np.full(tokens, -1, dtype=np.int64)  # token -> code
        self._number[list(codes)] = np.arange(len(codes))
        self._forbidden = torch.ones(tokens, dtype=torch.bool, device=device)
        self._forbidden[self._codes] = False
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        """It changes what is likeliest."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests that enter, leave or move in the batch."""
        process_dict_updates(self._rows, batch_update, self._enter)

    def apply(self, logits: Tensor) -> Tensor:
        """Mask and shift (rows, tokens) in place."""
        if not self._rows:
            return logits
        if len(self._rows) == len(logits):
            logits.masked_fill_(self._forbidden, -torch.inf)
        else:
            rows = torch.tensor(list(self._rows), device=self._device)
            logits[rows] = logits[rows].masked_fill(self._forbidden, -torch.inf)
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for at, row in self._rows.items():
            if row.guide is not None and len(row.written) < row.guide.length:
                groups[id(row.guide), len(row.written)].append(at)
        for (_, position), members in groups.items():
            self._shift(logits, members, position)
        return logits

    def _shift(self, logits: Tensor, members: list[int], position: int) -> None:
        """Add what one guide says at one position to the logits of some rows."""
        rows = [self._rows[at] for at in members]
        guide = rows[0].guide
        assert guide is not None
        written = np.array([row.written for row in rows], dtype=np.int64).reshape(len(rows), position)
        heat = np.array([[row.temperature] for row in rows], dtype=np.float32)  # vLLM divides by it later
        shift = torch.from_numpy(guide.look(self._number[written]) * heat).to(self._device)
        logits[torch.tensor(members, device=self._device)[:, None], self._codes] += shift

    def _enter(self, params: SamplingParams, _prompt: list[int] | None, out: list[int]) -> _Row | None:
        if ARGUMENT not in (params.extra_args or {}):
            return None
        return _Row(_guide(params), params.temperature or 1.0, out)


def _guide(params: SamplingParams) -> Guide | None:
    """The guide that a request names; None where it names none."""
    name = str((params.extra_args or {}).get(ARGUMENT, CODES))
    return None if name == CODES else read_guide(name)
