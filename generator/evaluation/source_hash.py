"""What tells a user's function from others, and from itself once it was changed."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import re
import sys
from typing import Any, cast

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.theirs import file_of


def source_hash(given: Any) -> str:
    """A hash of what a function does, as far as it can be told: of the whole file where it is given by name.

    Of an object it covers the source (the compiled code where there is none), default values, numbers and
    texts of its module that it names, what a closure holds, arguments that are bound, and the attributes of
    one that can be called or whose method is given. What it calls in turn is not covered.

    Args:
        given: MODULE:NAME, FILE.py:NAME, or the function itself.

    Returns:
        The hash; "no-source" where nothing tells, as of built-in functions or a name that leads nowhere.

    Raises:
        UserError: It holds something of which nothing tells what it is, as a lock or an open file.
    """
    try:
        said = file_of(given).read_bytes() if isinstance(given, str) else _Teller().function(given)
    except (OSError, ImportError, ValueError):
        return "no-source"
    return hashlib.sha256(said).hexdigest()[:16] if said else "no-source"


class _Teller:
    """Walks through all that a function holds; what is met again is told by the number of its first time."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._alive: list[object] = []  # or another object might get the id of one that was met

    def function(self, value: Any) -> bytes:
        """Everything of a function that tells it from others; b"" where nothing does."""
        if isinstance(value, functools.partial):
            bound = cast("functools.partial[Any]", value)
            return _joined("partial", [self._held(one) for one in (bound.func, bound.args, bound.keywords)])
        if inspect.ismethod(value):
            return _joined("method", [self._held(value.__func__), self._held(value.__self__)])
        if inspect.isfunction(value):
            cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
            held = (value.__defaults__, value.__kwdefaults__, cells, _constants(value))
            return _joined(_code(value), [self._held(one) for one in held])
        if callable(value) and not inspect.isclass(value) and not inspect.isbuiltin(value):
            return _joined(_code(type(value)), [self._held(getattr(value, "__dict__", {}))])
        return b""

    def _held(self, value: Any) -> bytes:
        """A value that a function holds: functions by what they do, data by content.

        Raises:
            UserError: Nothing tells what it is.
        """
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return f"{type(value).__name__} {value!r}".encode()
        if isinstance(value, tuple):
            return _joined("tuple", [self._held(one) for one in cast("tuple[object, ...]", value)])
        if id(value) in self._met:
            return f"met {self._met[id(value)]}".encode()
        self._met[id(value)] = len(self._met)
        self._alive.append(value)
        if isinstance(value, dict):
            items = cast("dict[object, object]", value).items()
            return _joined("dict", sorted(_joined("", [self._held(k), self._held(v)]) for k, v in items))
        if isinstance(value, list):
            return _joined("list", [self._held(one) for one in cast("list[object]", value)])
        if inspect.isclass(value):
            return _joined(value.__qualname__, [_code(value).encode()])
        if inspect.ismodule(value) or isinstance(value, logging.Logger):
            return _joined(type(value).__name__, [(getattr(value, "__name__", "") or value.name).encode()])
        return self.function(value) or _joined(_code(type(value)), [self._content(value)])

    def _content(self, value: Any) -> bytes:
        """What a value holds: its attributes if it has any, else a hash of its content, as of arrays.

        Raises:
            UserError: Nothing tells.
        """
        import joblib

        if attributes := getattr(value, "__dict__", None):
            return self._held(attributes)
        torch = sys.modules.get("torch")  # nobody holds a tensor without it
        if torch is not None and isinstance(value, torch.Tensor):  # pickled, it differs from time to time
            plain = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return _joined(f"{value.dtype} {tuple(value.shape)}", [plain.tobytes()])
        try:
            return str(joblib.hash(value)).encode()
        except Exception as error:  # pickling runs code of whatever class it is
            raise UserError(
                f"Nothing tells {value!r:.100}, which the function holds, from others of its kind: give the "
                "function a `version`."
            ) from error


def _constants(function: Any) -> dict[str, object]:
    """The numbers and texts of its module that a function names, as EPOCHS = 3 above it."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [one for one in code.co_consts if inspect.iscode(one)]
    known = {name: function.__globals__.get(name) for name in sorted(names)}
    return {name: one for name, one in known.items() if isinstance(one, bool | int | float | str | bytes)}


def _joined(head: str, parts: list[bytes]) -> bytes:
    """Parts in a row, each after its length, so that no other parts make the same row."""
    return b"".join(b"%d:%s" % (len(part), part) for part in (head.encode(), *parts))


def _code(given: Any) -> str:
    """The source of a function or class; the compiled code of a function that was typed in."""
    code = getattr(given, "__code__", None)
    compiled = "" if code is None else f"{code.co_code.hex()} {_ADDRESS.sub('', repr(code.co_consts))}"
    try:
        source = inspect.getsource(given)
    except (OSError, TypeError):
        return compiled or f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', '')}"
    return source + compiled if getattr(given, "__name__", "") == "<lambda>" else source  # two on one line


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a name that has no value yet
        return False


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
