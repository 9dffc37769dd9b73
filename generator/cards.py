"""Cards: the `card.json` beside every model we write; what it is, where it came from, what it was fed.

The card lists the hash of every other file in the folder, so that a damaged, cut-off or edited
checkpoint is refused before a weight of it is used, and two checkpoints with the same content have
the same name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from vitruvius.errors import CheckpointError

FORMAT = 1
CARD = "card.json"


@cache
def commit() -> str | None:
    """The git commit of this source tree; None where it is installed without one."""
    here = Path(__file__).resolve().parent
    if shutil.which("git") is None or not (here.parent / ".git").exists():
        return None
    call = ["git", "-C", str(here), "rev-parse", "HEAD"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() if done.returncode == 0 else None


def seal(folder: Path, kind: str, card: dict[str, Any]) -> dict[str, Any]:
    """Write the card of a finished model folder.

    Args:
        folder: Holds the model's files; its card is added.
        kind: "codec", "language model" or "code model".
        card: What to say about it; plain data.

    Returns:
        The card as written, with format, kind, commit, file hashes, and `hash` over all of these files.
    """
    files = {name: file_hash(folder / name) for name in sorted(_names(folder))}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    full = {"format": FORMAT, "kind": kind, **card, "commit": commit(), "files": files, "hash": digest}
    (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    return full


def read_card(folder: Path, kind: str) -> dict[str, Any]:
    """Read the card of a model folder and check every file against it.

    Raises:
        CheckpointError: No card, a card of another kind or format, or a file that is missing or differs.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is no model folder of ours: it has no {CARD}. Give a folder that holds a {kind}."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The card of {folder} cannot be read ({error}). {_mend(folder)}") from error
    if not isinstance(card, dict) or card.get("kind") != kind:
        found = card.get("kind") if isinstance(card, dict) else card
        raise CheckpointError(f"{folder} holds a {found!r}, but a {kind!r} was expected.")
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} was written in format {card.get('format')}, this version reads format {FORMAT}. "
            f"{_mend(folder)}"
        )
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"The card of {folder} lists no files. {_mend(folder)}")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != digest:
            state = "differs from its card" if path.is_file() else "is missing"
            raise CheckpointError(f"Model folder {folder} is damaged: {name} {state}. {_mend(folder)}")
    return card


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    """Files of a folder, those in subfolders by relative path, without the card itself."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [name for path in found if (name := path.relative_to(folder).as_posix()) != CARD]


def _mend(folder: Path) -> str:
    return f"Delete {folder} and train again."
