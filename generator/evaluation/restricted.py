"""Pickles without code: a reader that builds plain data and refuses everything else.

A pickle is a program; the standard reader runs whatever it names, and holds all of a file at once.
This one knows the instructions that plain data needs, leads each name a benchmark may use to a stand-in
of ours, and can shrink what is complete while it reads, so that a file of gigabytes passes in little memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from vitruvius.generator.evaluation.standins import (
    NAMES,
    OPAQUE,
    Bytes,
    Name,
    Opaque,
    Refused,
    ScalarType,
    check_keys,
)

MOST_STEPS = 4_000_000
"""Instructions allowed in one stretch without a complete part; the benchmarks need up to 560,000."""
MOST_BYTES = 256 * 2**20
"""Bytes allowed in the same stretch."""
MOST_PARTS = 100_000
"""Complete parts allowed in one file."""
MOST_ALTOGETHER = 64 * 2**30
"""Bytes of texts and data allowed in one file: the largest real one holds 5 gigabytes."""
_KEPT_TEXTS = 65_536
Shrink = Callable[[dict[Any, Any]], bool]
"""Called with each dictionary as it grows; returns whether it was complete and has been made small."""


class Stream(Protocol):
    """What is read from: a binary file, plain, unpacked as it is read, or in memory."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none at the end."""
        ...


class PlainReader:
    """Reads pickles of plain data from a stream, one after the other."""

    def __init__(self, stream: Stream, shrink: Shrink | None = None) -> None:
        """Read from the stream's present position; `shrink` keeps memory small for large files."""
        self._read = stream.read
        self._shrink = shrink
        self._parts = self._steps = self._bytes = self._altogether = 0
        self._texts = 0

    def load(self) -> Any:
        """Read one pickle.

        Raises:
            Refused: Cut off, damaged, too large, or not plain data.
        """
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._next_memo = 0
        self._begins: dict[int, int] = {}
        try:
            return self._run()
        except (
            struct.error,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            EOFError,
            RecursionError,
        ) as error:
            raise Refused(f"it is cut off or damaged ({type(error).__name__})") from error

    def _run(self) -> Any:
        instructions, read = _INSTRUCTIONS, self._read
        while True:
            code = read(1)
            if code == b".":
                return self._stack.pop()
            if not code:
                raise Refused("it is cut off")
            instruction = instructions.get(code)
            if instruction is None:
                raise Refused(f"it uses the instruction {code!r}, which plain data does not need")
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise Refused(f"one part of it has more than {MOST_STEPS:,} values")
            instruction(self)

    def bytes(self, count: int) -> bytes:
        """Exactly this many bytes of the stream."""
        self._bytes += count
        if count < 0 or self._bytes > MOST_BYTES:
            raise Refused(f"one part of it has more than {MOST_BYTES:,} bytes")
        data = self._read(count)
        if len(data) != count:
            raise Refused("it is cut off")
        return data

    def number(self, layout: struct.Struct) -> Any:
        """The next number of a fixed size."""
        return layout.unpack(self._read(layout.size))[0]

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    # ---- instructions ----------------------------------------------------------------------

    def mark(self) -> None:
        """Begin a group."""
        self._marks.append(self._stack)
        self._stack = []

    def group(self) -> list[Any]:
        """End a group and take it from the stack."""
        group, self._stack = self._stack, self._marks.pop()
        return group

    def last(self, count: int) -> tuple[Any, ...]:
        """Take the last values from the stack."""
        values = tuple(self._stack[-count:])
        if len(values) != count:
            raise Refused("it is damaged (stack)")
        del self._stack[-count:]
        return values

    def line(self) -> str:
        """A line of text."""
        found = bytearray()
        while (byte := self.bytes(1)) != b"\n":
            found += byte
        return found.decode("ascii")

    def name(self, module: str, name: str) -> None:
        """Push what an allowed name leads to."""
        if (module, name) not in NAMES:
            raise Refused(f"it names {module:.60}.{name:.60}, which is not allowed")
        self.push(NAMES[module, name])

    def call(self) -> None:
        """Build a value by an allowed name."""
        target, arguments = self.last(2)
        if not isinstance(target, Name):
            raise Refused("it calls what is not a name")
        self.push(target.build(*arguments))

    def build(self) -> None:
        """Set the state of a value."""
        target, state = self._stack[-2], self._stack.pop()
        if isinstance(target, ScalarType | Bytes):
            target.set_state(state)
        elif not isinstance(target, Opaque | dict):
            raise Refused(f"it sets the state of a {type(target).__name__}")

    def extend(self, values: list[Any]) -> None:
        """Add to the list below."""
        target = self._stack[-1]
        if not isinstance(target, list):
            raise Refused("it is damaged (list)")
        target.extend(values)

    def fill(self, values: list[Any]) -> None:
        """Add pairs to the dictionary below; make it small where it is complete."""
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise Refused("it is damaged (dictionary)")
        check_keys(values[::2])
        target.update(zip(values[::2], values[1::2], strict=True))
        if self._shrink is not None and self._shrink(target):
            self._let_go(self._begins.get(id(target), self._next_memo))

    def add(self, values: list[Any]) -> None:
        """Add to the set below."""
        target = self._stack[-1]
        if not isinstance(target, set):
            raise Refused("it is damaged (set)")
        check_keys(values)
        target.update(values)

    def put(self, place: int) -> None:
        """Remember the value on top under a number."""
        value = self._stack[-1]
        self._memo[place] = value
        self._next_memo = max(self._next_memo, place + 1)
        if isinstance(value, dict) and not value:
            self._begins[id(value)] = place

    def memoize(self) -> None:
        """Remember the value on top under the next number."""
        self.put(self._next_memo)

    def get(self, place: int) -> None:
        """Push a remembered value."""
        if place not in self._memo:
            raise Refused("it refers back to a value that is not there, or was in a part read before")
        self._stack.append(self._memo[place])

    def _let_go(self, begin: int) -> None:
        """Forget what was remembered since a number, but names: those may be referred to again.

        Keys such as `x-valid@17` are new texts in each part of the real files, and there are 150 million
        of them; the first ones are kept in case a file does share them.
        """
        for place in range(begin + 1, self._next_memo):
            value = self._memo.get(place)
            if isinstance(value, str):
                self._texts += 1
                keep = "@" not in value or self._texts < _KEPT_TEXTS
            else:
                keep = value is None or isinstance(value, Name | ScalarType)
            if not keep:
                del self._memo[place]
        self._begins.clear()
        self._altogether += self._bytes
        self._steps = self._bytes = 0
        self._parts += 1
        if self._parts > MOST_PARTS or self._altogether > MOST_ALTOGETHER:
            raise Refused(f"it has more than {MOST_PARTS:,} parts or {MOST_ALTOGETHER:,} bytes")


_INT1, _INT2, _INT4, _INT8 = (struct.Struct(f"<{size}") for size in "BHIQ")
_SIGNED, _FLOAT = struct.Struct("<i"), struct.Struct(">d")


def _float(reader: PlainReader) -> None:
    reader.push(reader.number(_FLOAT))


def _whole(size: struct.Struct) -> Callable[[PlainReader], None]:
    return lambda reader: reader.push(reader.number(size))


def _long(reader: PlainReader) -> None:
    reader.push(int.from_bytes(reader.bytes(reader.number(_INT1)), "little", signed=True))


def _text(size: struct.Struct, encoding: str = "utf-8") -> Callable[[PlainReader], None]:
    return lambda reader: reader.push(reader.bytes(reader.number(size)).decode(encoding, "surrogatepass"))


def _data(size: struct.Struct) -> Callable[[PlainReader], None]:
    return lambda reader: reader.push(reader.bytes(reader.number(size)))


def _constant(value: object) -> Callable[[PlainReader], None]:
    return lambda reader: reader.push(value)


def _tuple(count: int) -> Callable[[PlainReader], None]:
    return lambda reader: reader.push(reader.last(count))


def _external(reader: PlainReader) -> None:
    """A storage kept elsewhere in a torch archive."""
    reader.last(1)
    reader.push(OPAQUE)


def _stacked_name(reader: PlainReader) -> None:
    module, name = reader.last(2)
    if type(module) is not str or type(name) is not str:
        raise Refused("it is damaged (name)")
    reader.name(module, name)


def _pair(reader: PlainReader) -> None:
    reader.fill(list(reader.last(2)))


_INSTRUCTIONS: dict[bytes, Callable[[PlainReader], None]] = {
    b"\x80": lambda reader: None if reader.number(_INT1) <= 5 else reader.name("a newer", "protocol"),
    b"\x95": lambda reader: reader.number(_INT8),
    b"G": _float,
    b"K": _whole(_INT1),
    b"M": _whole(_INT2),
    b"J": _whole(_SIGNED),
    b"\x8a": _long,
    b"\x8c": _text(_INT1),
    b"X": _text(_INT4),
    b"\x8d": _text(_INT8),
    b"U": _text(_INT1, "latin1"),
    b"T": _text(_INT4, "latin1"),
    b"C": _data(_INT1),
    b"B": _data(_INT4),
    b"\x8e": _data(_INT8),
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b")": _constant(()),
    b"]": lambda reader: reader.push([]),
    b"}": lambda reader: reader.push({}),
    b"\x8f": lambda reader: reader.push(set()),
    b"(": PlainReader.mark,
    b"t": lambda reader: reader.push(tuple(reader.group())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": lambda reader: reader.extend(list(reader.last(1))),
    b"e": lambda reader: reader.extend(reader.group()),
    b"s": _pair,
    b"u": lambda reader: reader.fill(reader.group()),
    b"\x90": lambda reader: reader.add(reader.group()),
    b"\x94": PlainReader.memoize,
    b"q": lambda reader: reader.put(reader.number(_INT1)),
    b"r": lambda reader: reader.put(reader.number(_INT4)),
    b"h": lambda reader: reader.get(reader.number(_INT1)),
    b"j": lambda reader: reader.get(reader.number(_INT4)),
    b"c": lambda reader: reader.name(reader.line(), reader.line()),
    b"\x93": _stacked_name,
    b"R": PlainReader.call,
    b"b": PlainReader.build,
    b"Q": _external,
}
"""The instructions that plain data needs, by their byte (protocols 0 to 5, binary forms)."""
