"""Guides as files: how a request to vLLM, which carries nothing richer than text, tells what is wanted.

The file is named by the hash of its content and lies in a folder of this process, which its children know
by an environment variable. A name is all that a request carries: none can have another file read.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vitruvius.generator.guide import from_arrays
from vitruvius.generator.proposers.base import Guide

ARGUMENT = "vitruvius_guide"
"""Name under which a request carries the name of its guide, or `CODES`."""

CODES = "codes"
"""In place of a name: every code, and nothing but codes."""

FOLDER = "VITRUVIUS_GUIDES"
"""Environment variable with the folder."""

_KEPT = 8  # guides that a process keeps read
_NAME = re.compile(r"[0-9a-f]{32}")
_MADE: list[str] = []  # by this process
_READ: OrderedDict[str, Guide] = OrderedDict()


def guide_folder() -> Path:
    """The folder; made when first asked for, removed when the process that made it ends."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="vitruvius-guides-")
        _MADE.append(os.environ[FOLDER])
        atexit.register(_remove, Path(os.environ[FOLDER]), os.getpid())
    return Path(os.environ[FOLDER])


def is_shared() -> bool:
    """Whether the folder is that of another process: the user named a server's on this machine."""
    return FOLDER in os.environ and os.environ[FOLDER] not in _MADE


def write_guide(guide: Guide) -> str:
    """Write a guide where it is not written yet; its name."""
    memory = io.BytesIO()
    np.savez(memory, **guide.arrays())  # pyright: ignore[reportArgumentType]  # its stubs take the keys for options
    name = hashlib.sha256(memory.getbuffer()).hexdigest()[:32]
    target = guide_folder() / name
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}")
        part.write_bytes(memory.getbuffer())
        part.replace(target)
    return name


def read_guide(name: str) -> Guide:
    """The guide with this name.

    Raises:
        ValueError: The name is none, or there is no such guide here.
    """
    if name in _READ:
        _READ.move_to_end(name)
        return _READ[name]
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is not the name of a guide, which has 32 hexadecimal digits")
    try:
        with np.load(guide_folder() / name, allow_pickle=False) as found:
            _READ[name] = from_arrays(dict(found))
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"there is no guide {name} here") from error
    while len(_READ) > _KEPT:
        _READ.popitem(last=False)
    return _READ[name]


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends without taking it away
        shutil.rmtree(folder, ignore_errors=True)
