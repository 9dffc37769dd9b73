"""Messages over a pipe: eight bytes of length, then the bytes. No pickles: nothing read is executed."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTH = struct.Struct(">Q")


def write_frame(stream: IO[bytes], payload: bytes | memoryview) -> None:
    """Write one message and flush.

    Raises:
        OSError: The other end is gone.
    """
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Read one message; None when the other end is gone, in the middle of a message too."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    payload = stream.read(length)
    return payload if len(payload) == length else None


def write_message(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message as JSON."""
    write_frame(stream, json.dumps(message).encode())


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one JSON message; None when the other end is gone."""
    payload = read_frame(stream)
    return None if payload is None else json.loads(payload)
