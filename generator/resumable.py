"""Training that can be interrupted: the state of a loop, written now and then, found again later."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import torch

from vitruvius.generator.files import write_whole

_EVERY = 20.0  # seconds between two writings


class Resumable:
    """The state of one training loop in a file; without a file it keeps nothing.

    A state belongs to what `signature` says: with other data or settings the loop starts anew.
    """

    def __init__(self, path: Path | None, signature: str = "") -> None:
        """Name the file and what the state belongs to."""
        self._path, self._signature = path, signature
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was written last; None where there is none that can be used."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception:  # cut off by a kill, or foreign: torch raises whatever its parts raise
            return None
        mine = isinstance(state, dict) and state.get("signature") == self._signature
        return state["state"] if mine else None

    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._path is not None and time.monotonic() - self._written >= _EVERY

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, complete or not at all."""
        if self._path is None:
            return
        memory = io.BytesIO()  # of a full disk torch itself says nothing that can be understood
        torch.save({"signature": self._signature, "state": state}, memory)
        write_whole(self._path, memory.getvalue())
        self._written = time.monotonic()

    def done(self) -> None:
        """The loop has ended: forget its state."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
