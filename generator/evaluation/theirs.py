"""Objects of the user's own code, by name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from vitruvius.errors import UserError


def named_object(what: str, name: str) -> Any:
    """The object that MODULE:NAME or FILE.py:NAME names; modules are looked for in the current folder too.

    Args:
        what: What it should be, for the message.
        name: The name as given.

    Raises:
        UserError: It cannot be imported; whatever its module raises is told.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon or not module or not attribute:
        raise UserError(f"The {what} {name!r} is not named: write MODULE:NAME or FILE.py:NAME.")
    try:
        home = _from_file(Path(module)) if module.endswith(".py") else _module(module)
        if not hasattr(home, attribute):
            raise ImportError(f"{module} has no {attribute!r}")
    except (Exception, SystemExit) as error:  # a module of somebody else's may raise anything
        told = str(error) if isinstance(error, ImportError | OSError) else repr(error)
        raise UserError(f"The {what} {name!r} cannot be imported: {told}.") from error
    return getattr(home, attribute)


def told_of(error: BaseException) -> str:
    """What the user's code raised, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
        + f" ({Path(place.filename).name}, line {place.lineno})"
    )


def file_of(name: str) -> Path:
    """The file that holds what a name names.

    Raises:
        ImportError: There is none.
    """
    module = name.rpartition(":")[0]
    if module.endswith(".py"):
        return Path(module).expanduser()
    with _here_too():
        spec = importlib.util.find_spec(module) if module else None
    if spec is None or spec.origin is None:
        raise ImportError(f"{name!r} names no module")
    return Path(spec.origin)


@contextmanager
def _here_too() -> Generator[None]:
    """Look for modules in the current folder too."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove("")


def _module(name: str) -> ModuleType:
    with _here_too():
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """A module by its file, loaded once for each content; what lies beside it can be imported by it."""
    path = path.expanduser().resolve()
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    name = f"_vitruvius_{path.stem}_{abs(hash(str(path)))}_{content}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
