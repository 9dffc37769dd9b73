"""Objects of the user's own code, by name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from contextlib import suppress
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
    except Exception as error:  # a module of somebody else's may raise anything
        told = str(error) if isinstance(error, ImportError | OSError) else repr(error)
        raise UserError(f"The {what} {name!r} cannot be imported: {told}.") from error
    return getattr(home, attribute)


def source_hash(given: Any) -> str:
    """A hash of the source of a function, or of the whole file where it is given by name.

    Args:
        given: MODULE:NAME, FILE.py:NAME, or the function itself.
    """
    try:
        if isinstance(given, str):
            module = given.rpartition(":")[0]
            spec = None if module.endswith(".py") else importlib.util.find_spec(module)
            source = Path(module if spec is None else spec.origin or "").expanduser().read_bytes()
        else:
            source = inspect.getsource(given).encode()
    except (OSError, TypeError, ImportError, ValueError):
        return "no-source"
    return hashlib.sha256(source).hexdigest()[:16]


def _module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    finally:
        with suppress(ValueError):
            sys.path.remove("")


def _from_file(path: Path) -> ModuleType:
    """A module by its file, loaded once; what lies beside it can be imported by it."""
    path = path.expanduser().resolve()
    name = f"_vitruvius_{path.stem}_{abs(hash(str(path)))}"
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
