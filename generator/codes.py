"""Codes: the VQ-VAE's short names of architectures, and the codec that translates both ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitruvius.errors import CheckpointError, InvalidArchitectureError, InvalidCodesError, UserError
from vitruvius.generator.cards import read_card, seal
from vitruvius.generator.code_text import format_codes, parse_codes
from vitruvius.generator.proposers.base import Codes
from vitruvius.generator.space import Choices, SearchSpace, get_space
from vitruvius.generator.spaces.described import space_from_json
from vitruvius.generator.threads import threads_for
from vitruvius.generator.vqvae import VQVAE, Sizes, build_batch

_WEIGHTS = "model.safetensors"


class Codec:
    """A trained VQ-VAE with the space it was trained on.

    Attributes:
        space: The search space.
        model: The VQ-VAE, on the CPU, in evaluation mode.
        card: What is known about it: seed, fraction of ids seen, metrics. No data set is in it: a
            codec never sees a measurement.
    """

    def __init__(self, space: SearchSpace, model: VQVAE, card: dict[str, Any] | None = None) -> None:
        """Wrap a VQ-VAE; `card` is kept and written by `save`."""
        self.space = space
        self.model = model.eval().requires_grad_(False)
        self.card: dict[str, Any] = dict(card or {})

    @property
    def length(self) -> int:
        """L, codes of each architecture."""
        return self.model.sizes.length

    @property
    def codebook_size(self) -> int:
        """K, number of different codes."""
        return self.model.sizes.codes

    @property
    def hash(self) -> str:
        """Hash of the content of the folder it was saved to or loaded from; empty before that."""
        return str(self.card.get("hash", ""))

    @torch.inference_mode()
    def encode(self, choices: Choices, batch: int = 512) -> Codes:
        """Codes of architectures.

        Args:
            choices: (n, D) valid, normal rows.
            batch: Rows at a time.

        Returns:
            (n, L) int16, each in [0, K).

        Raises:
            InvalidArchitectureError: Wrong number of columns, or an index out of range.
        """
        rows = np.asarray(choices)
        if rows.ndim != 2 or rows.shape[1] != len(self.space.decisions):
            raise InvalidArchitectureError(
                f"Architectures of {self.space.name} are rows of {len(self.space.decisions)} choices, "
                f"but an array of shape {rows.shape} was given."
            )
        if not self.space.in_range(rows).all():
            raise InvalidArchitectureError(
                f"A row has a choice that {self.space.name} does not have: choices go from 0 to one less "
                f"than {self.space.cardinalities.tolist()}."
            )
        found = np.empty((len(rows), self.length), dtype=np.int16)
        with threads_for(self.model):
            for start in range(0, len(rows), batch):
                graphs = self.space.graphs(rows[start : start + batch])
                joined = build_batch(torch.tensor(graphs.labels), torch.tensor(graphs.adjacency))
                found[start : start + batch] = self.model.codes(joined).numpy()
        return found

    @torch.inference_mode()
    def decode(self, codes: NDArray[np.integer[Any]], batch: int = 8192) -> Choices:
        """The likeliest choices for code sequences.

        Args:
            codes: (n, L), each in [0, K).
            batch: Rows at a time.

        Returns:
            (n, D) int8 raw choices: in range, but not always a legal architecture, nor normal.

        Raises:
            InvalidCodesError: Wrong shape, or a code that the codebook does not have.
        """
        rows = np.asarray(codes)
        if rows.ndim != 2 or rows.shape[1] != self.length or rows.dtype.kind not in "iu":
            raise InvalidCodesError(
                f"Codes of {self.space.name} are integer rows of {self.length}, "
                f"but an array of shape {rows.shape} and type {rows.dtype} was given."
            )
        if rows.size and not (rows.min() >= 0 and rows.max() < self.codebook_size):
            bad = int(rows.min()) if rows.min() < 0 else int(rows.max())
            raise InvalidCodesError(
                f"Code {bad} is not in the codebook: codes go from 0 to {self.codebook_size - 1}."
            )
        found = np.empty((len(rows), len(self.space.decisions)), dtype=np.int8)
        with threads_for(self.model):
            for start in range(0, len(rows), batch):
                part = torch.from_numpy(rows[start : start + batch].astype(np.int64))
                found[start : start + batch] = self.model.choices(part).numpy()
        return found

    def encode_text(self, architectures: Sequence[str]) -> list[str]:
        """Code sequences as text for architectures as text, `c11 c49 ...` for each official string.

        Raises:
            InvalidArchitectureError: As `SearchSpace.parse_many`.
        """
        return format_codes(self.encode(self.space.parse_many(architectures)))

    def decode_text(self, codes: Sequence[str]) -> list[str | None]:
        """Keys of the architectures that code sequences as text stand for; None where they stand for none.

        Raises:
            InvalidCodesError: As `parse_codes`.
        """
        rows = self.decode(parse_codes(codes, self))
        valid = self.space.valid(rows)
        found = np.full(len(rows), None, dtype=object)
        found[valid] = self.space.keys(self.space.normalise(rows[valid]))
        return found.tolist()

    def save(self, folder: Path) -> str:
        """Write weights and card into a folder (made if missing).

        Returns:
            The hash of the content.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(tensors, folder / _WEIGHTS)
        card = {key: value for key, value in self.card.items() if key not in _WRITTEN}
        card |= {
            "space": self.space.name,
            "decisions": {d.name: list(d.choices) for d in self.space.decisions},
            "operations": list(self.space.operations),
            **({"described": described} if (described := self.space.described) is not None else {}),
            "sizes": self.model.sizes.as_dict(),
            "labels": [],
        }
        self.card = seal(folder, "codec", card)
        return self.hash

    @classmethod
    def load(cls, folder: Path, space: SearchSpace | None = None) -> Codec:
        """Read what `save` wrote.

        Args:
            folder: The folder.
            space: The space it must be for; None takes the one that its card names.

        Raises:
            CheckpointError: Damaged or foreign, or for another space.
        """
        card = read_card(folder, "codec")
        space = _space_of(card, folder, space)
        try:
            sizes = Sizes.from_dict(card["sizes"])
            model = VQVAE(sizes)
            model.load_state_dict(load_file(folder / _WEIGHTS))
        except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder} does not hold the codec that its card describes: {error}."
            ) from error
        return cls(space, model, card)


_WRITTEN = {"format", "kind", "commit", "files", "hash"}


def _space_of(card: dict[str, Any], folder: Path, space: SearchSpace | None) -> SearchSpace:
    """The space of a card, after checking that it is still the space the codec was trained on."""
    name, described = str(card.get("space")), card.get("described")
    try:
        known = get_space(name) if described is None else space_from_json(str(described))
    except UserError as error:
        if space is None:
            raise CheckpointError(
                f"The codec in {folder} is for a space that is not known here: {error}"
            ) from error
        known = space
    space = space or known
    if name != space.name:
        raise CheckpointError(f"The codec in {folder} is for space {name!r}, but {space.name!r} is needed.")
    decisions = {d.name: list(d.choices) for d in space.decisions}
    if card.get("decisions") != decisions or card.get("operations") != list(space.operations):
        raise CheckpointError(
            f"The codec in {folder} was trained when {name} had other decisions or operations. "
            f"Delete the folder and train again."
        )
    return space
