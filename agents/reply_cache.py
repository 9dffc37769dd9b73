"""Replies of language models that were paid for, kept in files: the same question again costs nothing."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage


def cache_key(*parts: Any) -> str:
    """Name of a reply: a hash of everything that it depends on, as plain data."""
    body = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()


class ReplyCache:
    """One file for each reply; the folder may be deleted at any time.

    Attributes:
        broken: Why a reply could not be kept, as a sentence; empty if all were.
    """

    def __init__(self, folder: Path) -> None:
        """Use this folder; it is made when the first reply is kept."""
        self.folder = folder
        self.broken = ""

    def get(self, key: str) -> tuple[AIMessage, float] | None:
        """A reply and the seconds that it took, None if it is not there or its file is damaged."""
        from langchain_core.messages import AIMessage, messages_from_dict

        try:
            data = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            message, seconds = messages_from_dict([data["message"]])[0], float(data["seconds"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        return (message, seconds) if isinstance(message, AIMessage) else None

    def put(self, key: str, message: AIMessage, seconds: float) -> None:
        """Keep a reply; readable for its owner only."""
        from langchain_core.messages import message_to_dict

        body = json.dumps({"seconds": seconds, "message": message_to_dict(message)}, ensure_ascii=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")  # for the owner only
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(body)
            os.replace(name, self.folder / f"{key}.json")
        except (OSError, TypeError, ValueError) as error:
            self.broken = f"A reply could not be kept in {self.folder}, so asking again will cost: {error}."

    def forget(self, keys: Iterable[str]) -> None:
        """Drop replies that turned out to be useless."""
        for key in keys:
            (self.folder / f"{key}.json").unlink(missing_ok=True)


__all__ = ["ReplyCache", "cache_key"]
