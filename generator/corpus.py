"""What a code language model was trained on, kept beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import CheckpointError

_CORPUS = "corpus.npz"  # not .safetensors: vLLM takes every such file in a folder for weights


def read_corpus(folder: Path) -> dict[str, NDArray[Any]]:
    """What a checkpoint was trained on: `codes` (n, L) int16 and `quantiles` (n,) int8, -1 unconditional.

    Raises:
        CheckpointError: The checkpoint has no corpus.
    """
    try:
        with np.load(folder / _CORPUS, allow_pickle=False) as corpus:
            return {"codes": corpus["codes"], "quantiles": corpus["quantiles"]}
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise CheckpointError(f"The corpus of {folder} cannot be read: {error}.") from error


def write_corpus(folder: Path, corpus: dict[str, NDArray[Any]]) -> None:
    """Write what `read_corpus` reads."""
    np.savez(folder / _CORPUS, codes=corpus["codes"], quantiles=corpus["quantiles"])
