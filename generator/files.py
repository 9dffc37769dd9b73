"""Where files of ours are kept, and how they are written: complete or not at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from vitruvius.errors import UserError


def cache_folder() -> Path:
    """Where things are kept that can be made again: `VITRUVIUS_CACHE`, else the user's cache folder.

    Raises:
        UserError: The user has no home folder.
    """
    if named := os.environ.get("VITRUVIUS_CACHE"):
        return Path(named).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vitruvius"
    except RuntimeError:
        raise UserError(
            "This user has no home folder: set VITRUVIUS_CACHE to a folder that can be written."
        ) from None


def absolute(path: str) -> str:
    """The same place, from whichever folder it is looked at; ~ is the user's home folder."""
    return str(Path(os.path.expanduser(path)).absolute())


TABLES = (".csv", ".parquet")
"""How the names of files end that hold tables."""


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Refuse a name that does not end as what is written there.

    Raises:
        UserError: It ends otherwise.
    """
    if path.suffix not in endings:
        ends = f"ends with {path.suffix!r}" if path.suffix else "has no ending"
        raise UserError(f"{str(path)!r} {ends}: name a file that ends with {' or '.join(endings)}.")


def check_out(out: Path | None, endings: Sequence[str] = TABLES) -> None:
    """Refuse what `--out` names where nothing can be written, or would be written over; None names none.

    Args:
        out: The file to write.
        endings: How its name may end.

    Raises:
        UserError: It is there, its folder is not, or it ends otherwise.
    """
    if out is None:
        return
    check_ending(out, endings)
    if out.exists():
        raise UserError(f"{str(out)!r} exists already: remove it, or name another file with --out.")
    if not out.absolute().parent.is_dir():
        raise UserError(f"The folder of {str(out)!r} is not there: make it, or name another file with --out.")


def as_argument(path: str | Path) -> str:
    """How a file or folder is named on a command line that can be copied."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one step: where the disk is full or the process killed, what was there before stays.

    What is no plain file, as /dev/stdout, is written to as it is; a link keeps pointing where it does.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    place = path.resolve()
    if place.exists() and not place.is_file():
        path.write_bytes(data)
        return
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(place)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # the draft's name says nothing to whoever gave this one
        draft.unlink(missing_ok=True)
        raise
