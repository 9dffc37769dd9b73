"""A Chroma collection as a disposable index: opened, probed, and made anew where it is missing or damaged."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vitruvius.errors import StoreError
from vitruvius.knowledge.embedders import Embedder, Vectors
from vitruvius.knowledge.records import Revision, without_password

Where = dict[str, Any]
"""A condition on metadata, in Chroma's language."""

_WIDE = 8
"""How many times as many as were asked for are looked at before Chroma is asked to filter."""
_FURTHEST = 1000
"""Most that are looked at for that."""
_UPSERT = 2000  # Chroma takes at most about 5,000 at a time
_PROBED = 8  # entries looked at when an index is opened
# Principles are worded alike. With Chroma's own settings the graph of such neighbours falls apart, and
# searches miss some: of 240 entries that pass a filter, 230 came back; with these, all.
_GRAPH = {"space": "cosine", "max_neighbors": 48, "ef_construction": 200, "ef_search": 2000}
_memory_names = itertools.count()  # collections of all in-memory clients of a process share one name space


@dataclass(frozen=True, slots=True)
class Card:
    """What an index says of itself.

    Attributes:
        embedder: Name of the embedder that made its vectors.
        dimension: Length of its vectors.
        ledger: Id of the ledger that it was made from.
        revision: Revision of the ledger up to which it is complete.
    """

    embedder: str
    dimension: int
    ledger: str
    revision: Revision

    def as_metadata(self) -> dict[str, str | int]:
        """In the form that Chroma keeps."""
        return {
            "embedder": self.embedder,
            "dimension": self.dimension,
            "ledger": self.ledger,
            "revision": self.revision.number,
            "states": self.revision.rows,
        }


class DamagedIndex(StoreError):
    """The index is there but does not answer as it should; the store makes a new one."""


class UnusableServer(StoreError):
    """There is no Chroma server at an address.

    Attributes:
        fact: What is the matter, without what to do about it.
    """

    def __init__(self, fact: str, advice: str) -> None:
        """Fact and advice make up the sentence for the user."""
        super().__init__(f"{fact}: {advice}, or leave the URL out to keep the index in the run folder.")
        self.fact = fact


class Index:
    """One collection of vectors with metadata, by cosine similarity."""

    def __init__(self, client: Any, name: str, *, temporary: bool = False) -> None:
        """Use a collection of an open client; see `open_folder`, `open_memory`, `open_server`."""
        self._client: Any = client
        self._name = name
        self._temporary = temporary
        self._collection: Any = None
        self._metadata: dict[str, Mapping[str, Any]] = {}  # of entries met so far: Chroma reads it slowly

    def card(self) -> Card | None:
        """What the index says of itself; None if there is none.

        Raises:
            DamagedIndex: There is something that is no index of ours, or does not answer.
        """
        from chromadb.errors import NotFoundError

        try:
            self._collection = self._client.get_collection(self._name, embedding_function=None)
            facts = self._collection.metadata or {}
            # An older index has no count: it is brought up to the ledger as a whole.
            revision = Revision(facts["revision"], facts.get("states", 0))
            card = Card(facts["embedder"], facts["dimension"], facts["ledger"], revision)
            self._probe()
        except NotFoundError:
            return None
        # What a damaged file makes Chroma raise is not documented, and differs between its versions.
        except Exception as error:
            raise DamagedIndex(str(error)) from error
        return card

    def _probe(self) -> None:
        """Read some entries and look for one: a lost file shows here and not in the middle of a search."""
        count = self._collection.count()
        some = self._collection.get(limit=_PROBED, include=["embeddings"])
        if len(some["ids"]) < min(count, _PROBED):
            raise DamagedIndex("entries are missing")
        if count:
            found = self._collection.query(
                query_embeddings=some["embeddings"][:1], n_results=min(count, _PROBED), include=["distances"]
            )
            if len(found["ids"][0]) < min(count, _PROBED):
                raise DamagedIndex("entries are not found")

    def create(self, card: Card) -> None:
        """Make the collection, empty; one that is there is dropped."""
        from chromadb.errors import NotFoundError

        with suppress(NotFoundError):
            self._client.delete_collection(self._name)
        self._metadata.clear()
        self._collection = self._client.create_collection(
            self._name,
            embedding_function=None,
            metadata=card.as_metadata(),
            configuration={"hnsw": _GRAPH},
        )

    def count(self) -> int:
        """Number of entries."""
        return int(self._collection.count())

    def put(self, entries: Mapping[str, tuple[str, dict[str, Any]]], embedder: Embedder) -> None:
        """Add entries, or renew the metadata of those that are there (texts never change).

        Args:
            entries: Id -> (text, metadata).
            embedder: Makes the vectors of new texts.
        """
        everything = list(entries)
        for start in range(0, len(everything), _UPSERT):
            ids = everything[start : start + _UPSERT]
            known = set(self._collection.get(ids=ids, include=[])["ids"])
            old, new = [id for id in ids if id in known], [id for id in ids if id not in known]
            if old:
                self._collection.update(ids=old, metadatas=[entries[id][1] for id in old])
            if new:
                texts = [entries[id][0] for id in new]
                self._collection.upsert(
                    ids=new,
                    embeddings=embedder.embed(texts),
                    documents=texts,
                    metadatas=[entries[id][1] for id in new],
                )
            self._metadata.update({id: entries[id][1] for id in ids})

    def sign(self, card: Card) -> None:
        """Say up to which revision the index is complete; after `put`, so that a crash between repeats it."""
        self._collection.modify(metadata=card.as_metadata())

    def nearest(self, vectors: Vectors, where: Where | None, limit: int) -> list[tuple[str, float]]:
        """The ids nearest to a vector (1, d) with their cosine similarity, best first.

        Raises:
            DamagedIndex: The index does not answer.
        """
        from chromadb.errors import ChromaError

        try:
            count = max(self._collection.count(), 1)  # Chroma fails on numbers that are too large
            limit = min(limit, count)
            if where is not None and len(near := self._around(vectors, where, limit, count)) >= limit:
                return near[:limit]
            found = self._collection.query(
                query_embeddings=vectors, n_results=limit, where=where, include=["distances"]
            )
        except ChromaError as error:
            raise DamagedIndex(str(error)) from error
        near = [(id, 1.0 - far) for id, far in zip(found["ids"][0], found["distances"][0], strict=True)]
        return near if len(near) == limit else self._complete(near, vectors, where)[:limit]

    def _around(self, vectors: Vectors, where: Where, limit: int, count: int) -> list[tuple[str, float]]:
        """Those of the nearest that pass: filtering costs Chroma several times what looking further does.

        Looks twice where the first look finds that some pass, but too few; may find fewer than the limit.
        """
        look, near = min(limit * _WIDE, count), list[tuple[str, float]]()
        for _ in range(2):
            found = self._collection.query(query_embeddings=vectors, n_results=look, include=["distances"])
            self._meet(found["ids"][0])
            entries = zip(found["ids"][0], found["distances"][0], strict=True)
            near = [(id, 1.0 - far) for id, far in entries if passes(where, self._metadata.get(id, {}))]
            further = look * 2 * limit // max(len(near), 1)
            if len(near) >= limit or look == count:
                break
            look = min(max(look, min(further, _FURTHEST)), count)
        return near

    def _meet(self, ids: list[str]) -> None:
        """Read the metadata of entries that were not met before; `put` renews what changes."""
        if missing := [id for id in ids if id not in self._metadata]:
            found = self._collection.get(ids=missing, include=["metadatas"])
            self._metadata.update(zip(found["ids"], found["metadatas"], strict=True))

    def _complete(
        self, near: list[tuple[str, float]], vectors: Vectors, where: Where | None
    ) -> list[tuple[str, float]]:
        """Add what passes the filter but was missed: the search is approximate, what it leaves out is not."""
        have = {id for id, _ in near}
        missed = [id for id in self._collection.get(where=where, include=[])["ids"] if id not in have]
        if not missed:
            return near
        found = self._collection.get(ids=missed, include=["embeddings"])
        similarities = (np.asarray(found["embeddings"], dtype=np.float32) @ vectors[0]).tolist()
        everything = near + list(zip(found["ids"], similarities, strict=True))
        return sorted(everything, key=lambda entry: -entry[1])

    def close(self) -> None:
        """Let go of the files; a temporary collection is dropped."""
        if self._temporary and self._collection is not None:
            self._client.delete_collection(self._name)
        self._client.close()
        # The client of a server leaves its connections open, and has no public name for them.
        for part in (self._client, getattr(self._client, "_admin_client", None)):
            connections = getattr(getattr(part, "_server", None), "_session", None)
            if connections is not None:
                connections.close()


def passes(where: Where, metadata: Mapping[str, Any]) -> bool:
    """Whether an entry passes a filter in Chroma's language, as far as `Filters` speaks it."""
    if "$and" in where:
        return all(passes(part, metadata) for part in where["$and"])
    ((name, wanted),) = where.items()
    value = metadata.get(name)
    if not isinstance(wanted, Mapping):
        return value == wanted
    if "$in" in wanted:
        return value in wanted["$in"]
    return value is not None and value >= wanted["$gte"]


def _settings() -> Any:
    from chromadb.config import Settings

    # Without `_env_file`, Chroma would read, and stumble over, whatever `.env` lies in the working folder.
    return Settings(_env_file=None, anonymized_telemetry=False)  # pyright: ignore[reportCallIssue]


def open_memory() -> Index:
    """An empty index that ends with the process."""
    import chromadb

    name = f"principles-{next(_memory_names)}"
    return Index(chromadb.EphemeralClient(settings=_settings()), name, temporary=True)


def open_server(url: str, ledger: str) -> Index:
    """The index of one ledger on a Chroma server.

    Args:
        url: `http://host:port` or `https://host:port`.
        ledger: Id of the ledger: one server may serve many.

    Raises:
        StoreError: The URL is not of that form.
        UnusableServer: Nobody answers there, or something that is no Chroma server.
    """
    import chromadb

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise StoreError(
            f"A Chroma server must be given as http://host:port, without user and password; "
            f"{without_password(url)!r} is not."
        )
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 8000)
    try:
        client = chromadb.HttpClient(parts.hostname, port, ssl=secure, settings=_settings())
    # Chroma raises ValueError where nobody answers, its own errors or the HTTP library's elsewhere.
    except Exception as error:
        place = f"{parts.scheme}://{parts.hostname}:{port}"
        if _answered(error):
            fact = f"What answers at {place} is no Chroma server, or one that wants a password"
            raise UnusableServer(fact, "give the address of a Chroma server") from error
        advice = f"start it, for example with `chroma run --port {port}`"
        raise UnusableServer(f"No Chroma server answers at {place}", advice) from error
    return Index(client, f"vitruvius-{ledger}")


def _answered(error: BaseException) -> bool:
    """Whether a server was reached: what the HTTP library says of it stands behind Chroma's own words."""
    import httpx

    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, httpx.TransportError):
        behind = behind.__cause__ or behind.__context__
    return behind is None


def open_folder(folder: Path) -> Index:
    """The newest index in a folder, which this process alone may use.

    Raises:
        DamagedIndex: Its files cannot be opened.
    """
    import chromadb

    path = _generation(folder, _newest(folder) or 1)
    try:
        return Index(chromadb.PersistentClient(str(path), settings=_settings()), "principles")
    except Exception as error:  # as in `Index.card`
        raise DamagedIndex(str(error)) from error


def renew_folder(folder: Path) -> Index:
    """An empty index under a new name; older ones are deleted.

    Chroma remembers the files of a path for as long as the process lives, so a path is not used again.
    """
    newest = _newest(folder)
    for number in range(newest + 1):
        shutil.rmtree(_generation(folder, number), ignore_errors=True)
    _generation(folder, newest + 1).mkdir(parents=True)
    return open_folder(folder)


def _generation(folder: Path, number: int) -> Path:
    return folder / f"index-{number}"


def _newest(folder: Path) -> int:
    numbers = [path.name.removeprefix("index-") for path in folder.glob("index-*")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
