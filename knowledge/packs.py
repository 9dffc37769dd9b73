"""Packs: principles with their evidence in one file, to be carried from one run to another.

A pack is JSON: a kind, a version, a name, the principles as the ledger has them, each with the labels of
everything that it was mined from or tested on, and a hash over all of it. The hash tells whether the file was
changed or damaged; it is no signature, and does not tell who made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitruvius.errors import InvalidPredicateError, PackError, UserError
from vitruvius.generator.files import write_whole
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Label, Principle, principle_id
from vitruvius.knowledge.records import principle_from_json, principle_to_json

KIND = "vitruvius principles"
VERSION = 1
MOST_BYTES = 256 << 20
"""A pack of 10,000 principles has about 60 MB."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Principles out of another run.

    Attributes:
        name: Given by whoever made it.
        hash: Of its content, 16 hex digits: its identity.
        principles: As they were; `origin.labels` holds everything that each was mined from or tested on.
    """

    name: str
    hash: str
    principles: tuple[Principle, ...]

    @property
    def labels(self) -> frozenset[Label]:
        """(space, data set) of everything behind any of its principles."""
        return frozenset[Label]().union(*(principle.origin.labels for principle in self.principles))


def export_pack(ledger: Ledger, principles: Sequence[Principle], file: Path, *, name: str) -> Pack:
    """Write principles into a pack.

    Args:
        ledger: Where they come from.
        principles: What is written.
        file: Where to; a file that is there is replaced.
        name: What the pack is to be called.

    Raises:
        UserError: Nothing to write, or no such folder.
    """
    if not file.parent.is_dir():
        raise UserError(f"The pack {file} cannot be written: there is no folder {file.parent}.")
    if not principles:
        raise UserError("A pack needs at least one principle: none passes these filters.")
    known = {session.id: frozenset(session.labels) for session in ledger.sessions()}
    whole: list[Principle] = []
    for principle in principles:
        # Whoever measured it has seen all of the session's data sets, if only to pick what is shown.
        sessions = {session for _, session, _, _ in ledger.history(principle.id)}
        labels = principle.origin.labels.union(*(known[session] for session in sessions if session in known))
        whole.append(replace(principle, origin=replace(principle.origin, labels=labels)))
    body = {
        "kind": KIND,
        "version": VERSION,
        "name": name,
        "principles": [principle_to_json(principle) for principle in whole],
    }
    text = json.dumps({**body, "hash": _hash(body)}, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(file, text + "\n")
    return Pack(name, _hash(body), tuple(whole))


def read_pack(file: Path) -> Pack:
    """Read a pack.

    Raises:
        PackError: No pack, of another version, changed since it was written, or with principles that cannot
            be read.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise PackError(f"{file} is larger than {MOST_BYTES >> 20} MB, so it is no pack of principles.")
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackError(
            f"The pack {file} cannot be read ({error.strerror}): give the path of a file."
        ) from None
    except (ValueError, RecursionError):
        raise PackError(f"{file} is no pack of principles: it is not valid JSON.") from None
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise PackError(f'{file} is no pack of principles: it lacks the kind "{KIND}".')
    if data.get("version") != VERSION:
        raise PackError(
            f"{file} is a pack of version {data.get('version')!r}, but version {VERSION} can be read: export "
            f"it again with the same vitruvius that reads it."
        )
    body = {key: value for key, value in data.items() if key != "hash"}
    if data.get("hash") != _hash(body):
        raise PackError(
            f"{file} was changed or damaged after it was exported (its hash does not fit): export it again."
        )
    return Pack(str(data.get("name", "")), _hash(body), _principles(file, data.get("principles")))


def _principles(file: Path, items: Any) -> tuple[Principle, ...]:
    """The principles of a pack that is whole, but may have been written by anybody."""
    found: list[Principle] = []
    for number, item in enumerate(items if isinstance(items, list) else [], start=1):
        try:
            principle = principle_from_json(item)
            predicate_from_json(principle.proposal.predicate)
        except (KeyError, TypeError, ValueError, AttributeError, InvalidPredicateError) as error:
            raise PackError(f"Principle {number} of {file} cannot be read: {error!r}.") from None
        if principle.id != principle_id(principle.proposal):
            raise PackError(f"Principle {number} of {file} has the id of another claim: {principle.id!r}.")
        found.append(principle)
    if not found:
        raise PackError(f"{file} holds no principles.")
    return tuple(found)


def _hash(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
