"""Too small memory: known by what any library says of it, and met by halves of each batch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "could not create a primitive",  # oneDNN's, on a CPU
    "unable to find an engine",  # cuDNN's, where no algorithm has room for its workspace
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _WORDS)


def in_memory(train: Callable[[int], Made]) -> tuple[Made, int] | None:
    """Train in one piece; where memory does not suffice, each batch in two whose gradients are added up.

    Args:
        train: Gets the number of pieces.

    Returns:
        What it made, and in how many pieces; None where memory does not suffice for halves either.
    """
    for pieces in (1, 2):
        try:
            return train(pieces), pieces
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        release()  # outside the handler: the error held the frames, and they the tensors
    return None


def release() -> None:
    """Give back what a failed run held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
