"""Objects of the user's own code, by name."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

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
    """A hash of what a function does, as far as it can be told: of the whole file where it is given by name.

    Of an object it covers the source (the compiled code where there is none), default values, what a closure
    holds, arguments that are bound, and the attributes of one that can be called. What it calls in turn is
    not covered.

    Args:
        given: MODULE:NAME, FILE.py:NAME, or the function itself.

    Returns:
        The hash; "no-source" where nothing tells, as of built-in functions or a name that leads nowhere.
    """
    try:
        said = _file_of(given).read_bytes() if isinstance(given, str) else _told(given, 0).encode()
    except (OSError, ImportError, ValueError):
        return "no-source"
    return hashlib.sha256(said).hexdigest()[:16] if said else "no-source"


def _file_of(name: str) -> Path:
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


def _told(value: Any, depth: int) -> str:
    """Everything of a value that tells it from others, as text; "" where nothing does."""
    if depth > _DEEPEST:
        return repr(type(value))
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *sorted(value.keywords.items())]
        return "partial" + "".join(_told(part, depth + 1) for part in parts)
    if inspect.ismethod(value):
        return _told(value.__func__, depth) + _told(value.__self__, depth + 1)
    if inspect.isfunction(value):
        held = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        given = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).items(), *held]
        return _code(value) + "".join(_told(one, depth + 1) for one in given)
    if callable(value) and not inspect.isclass(value) and not inspect.isbuiltin(value):
        attributes = sorted(getattr(value, "__dict__", {}).items())
        return _code(type(value)) + "".join(_told(one, depth + 1) for one in attributes)
    if depth == 0:
        return ""
    if isinstance(value, set | frozenset):  # their order differs from process to process
        return repr(sorted(_told(one, depth + 1) for one in cast("set[object]", value)))
    return _ADDRESS.sub("", repr(value))


def _code(given: Any) -> str:
    """The source of a function or class; the compiled code of a function that was typed in."""
    code = getattr(given, "__code__", None)
    compiled = "" if code is None else f"{code.co_code.hex()} {_ADDRESS.sub('', repr(code.co_consts))}"
    try:
        source = inspect.getsource(given)
    except (OSError, TypeError):
        return compiled
    return source + compiled if getattr(given, "__name__", "") == "<lambda>" else source  # two on one line


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a name that has no value yet
        return False


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 4  # values within values


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
