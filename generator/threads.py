"""How many threads a small model gets: one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

_SMALL = 5_000_000  # weights


def is_small(folder: Path) -> bool:
    """Whether the checkpoint in a folder is a small model, by the size of its float32 weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= 4 * _SMALL


@contextmanager
def threads_for(model: nn.Module) -> Generator[None]:
    """Compute with one thread while a small model is at work.

    Its matrices are too small to share: on a busy machine a second thread made training four times as
    slow, waiting for the first. It also makes sums, and so codes, the same whatever the number of cores.
    Models above five million weights keep the threads they have.
    """
    before = torch.get_num_threads()
    if sum(weight.numel() for weight in model.parameters()) > _SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
