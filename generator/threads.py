"""How many threads a small model gets: one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

_SMALL = 5_000_000


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
