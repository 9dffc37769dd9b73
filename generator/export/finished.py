"""What an interrupted `retrain` has finished: kept in the folder of the export until all of it is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PART = "retraining.part"
"""Name of the folder in that of the export."""


@dataclass(frozen=True, slots=True)
class Score:
    """How one network ended.

    Attributes:
        score: Accuracy in percent.
        seconds: How long it took.
    """

    score: float
    seconds: float


class Finished:
    """Networks that were trained already under the same conditions: scores, and weights.

    Everything that changes a score is in the name of a file: what was finished under another recipe, on other
    data or on another device is not taken for it.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, str]) -> None:
        """Open; nothing is written yet.

        Args:
            folder: Of the export.
            conditions: Recipe, data, part and device.
        """
        self._folder = folder / PART
        self._conditions = dict(conditions)

    def find(self, key: str, seed: int) -> tuple[Score, dict[str, Tensor]] | None:
        """Score and weights of an architecture trained with a seed; None if it is not finished."""
        from safetensors.torch import load_file

        record, weights = self._files(key, seed)
        if not record.is_file():
            return None
        return Score(**json.loads(record.read_text(encoding="utf-8"))), load_file(weights)

    def keep(self, key: str, seed: int, score: Score, state: Mapping[str, Tensor]) -> None:
        """Write a network down: the weights first, so that a score never stands without them."""
        from safetensors.torch import save_file

        self._folder.mkdir(exist_ok=True)
        record, weights = self._files(key, seed)
        save_file({name: state[name].cpu().contiguous() for name in state}, weights)
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(score)), encoding="utf-8")
        os.replace(draft, record)

    def clear(self) -> None:
        """Remove everything: the export has it now."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self, key: str, seed: int) -> tuple[Path, Path]:
        told = json.dumps({**self._conditions, "architecture": key, "seed": seed}, sort_keys=True)
        name = hashlib.sha256(told.encode()).hexdigest()[:16]
        return self._folder / f"{name}.json", self._folder / f"{name}.safetensors"
