"""The winner as files that need nothing of ours, each checked before it is put in place."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.errors import UserError
from vitruvius.generator.export.card import CARD, RECORD, Card, Retraining, Rival, Trained, read_card
from vitruvius.generator.export.checking import check_files, shake
from vitruvius.generator.export.finished import PART
from vitruvius.generator.export.onnx_file import missing_packages, write_onnx
from vitruvius.generator.networks import family
from vitruvius.generator.space import get_space

if TYPE_CHECKING:
    from torch import nn

MODEL, WEIGHTS, ONNX = "model.py", "model.safetensors", "model.onnx"
FILES = (MODEL, WEIGHTS, ONNX, CARD, RECORD)
SEED = 0
"""Of random weights and inputs, so that the same export is checked in the same way."""

__all__ = ["Card", "Exported", "Retraining", "Rival", "Trained", "export_card", "read_card"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        files: Names of the files.
        difference: Largest difference between the outputs of `model.py` and of our module.
        onnx_difference: The same of `model.onnx`; None where it was not written.
        missing: Packages without which `model.onnx` cannot be written.
    """

    folder: Path
    files: tuple[str, ...]
    difference: float
    onnx_difference: float | None
    missing: tuple[str, ...] = ()


def export_card(card: Card, folder: Path, network: nn.Module | None = None) -> Exported:
    """Write an architecture as a stand-alone model and check it before anything is put in place.

    Args:
        card: What to write: the architecture, what the network is built for, and what is known of it.
        folder: Where; made if it is not there. Files of an earlier export in it are replaced.
        network: The trained network; None writes no weights.

    Returns:
        What was written.

    Raises:
        UserError: The space has no networks, or the folder holds other files.
        VitruviusError: A written file and our network do not agree; nothing was put in place.
    """
    import torch

    architecture = get_space(card.space).parse(card.architecture)
    networks = family(architecture.space)
    card = completed(card)
    _check_folder(folder)
    missing = missing_packages()
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary)
        (draft / MODEL).write_text(networks.source(architecture, card.shape), encoding="utf-8")
        if network is not None:
            from safetensors.torch import save_file

            state = network.state_dict()
            save_file({name: state[name].cpu().contiguous() for name in state}, draft / WEIGHTS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            shaken = shake(networks.build(architecture, card.shape))
            held = networks.build(architecture, card.shape)
            held.load_state_dict((shaken if network is None else network).state_dict())
            inputs = networks.example(card.shape)
            if not missing:
                write_onnx(held, inputs, draft / ONNX, images=networks.images, metadata=card.metadata)
            difference, onnx_difference = check_files(draft, shaken, held, inputs)
        card = card.model_copy(
            update={
                "difference": difference, "onnx_difference": onnx_difference, "trained": network is not None,
            }
        )  # fmt: skip
        card.write(draft)
        written = tuple(name for name in FILES if (draft / name).exists())
        _place(draft, folder, written)
    return Exported(folder, written, difference, onnx_difference, missing)


def _place(draft: Path, folder: Path, written: tuple[str, ...]) -> None:
    """Put the files in place once all of them are on the disk: one that is full leaves the export before."""
    folder.mkdir(parents=True, exist_ok=True)
    new = {name: folder / _draft(name) for name in written}
    try:
        for name, file in new.items():
            shutil.copyfile(draft / name, file)
        for name in FILES:
            if name in new:
                os.replace(new[name], folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        for file in new.values():
            file.unlink(missing_ok=True)


def _draft(name: str) -> str:
    return f".{name}.new"


def completed(card: Card) -> Card:
    """The card with the benchmark's numbers where its shape leaves them open."""
    networks = family(get_space(card.space))
    return card.model_copy(update={"shape": networks.complete(card.shape)})


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier export.

    Raises:
        UserError: It does, or it is a file.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: choose a new or empty folder.")
    ours = {"__pycache__", PART, *FILES, *map(_draft, FILES)}
    inside = folder.iterdir() if folder.is_dir() else ()
    foreign = sorted(path.name for path in inside if path.name not in ours)
    if foreign:
        raise UserError(
            f"{folder} holds other files ({', '.join(foreign[:3])}): choose a new or empty folder."
        )
