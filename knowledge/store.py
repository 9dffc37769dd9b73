"""The store: principles found again by what they say. Chroma is an index over the ledger, never the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvius.errors import (
    InvalidPredicateError,
    MissingPartError,
    RunBusyError,
    StoreError,
    UnknownNameError,
    UserError,
)
from vitruvius.generator.files import as_argument
from vitruvius.knowledge.chroma_index import (
    Card,
    DamagedIndex,
    Index,
    UnusableServer,
    open_folder,
    open_memory,
    open_server,
    renew_folder,
)
from vitruvius.knowledge.embedders import Embedder, default_embedder, get_embedder
from vitruvius.knowledge.filters import Filters, operations_of, scope
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Principle, PrincipleStatus
from vitruvius.knowledge.records import Revision
from vitruvius.knowledge.run_folder import INDEX_FOLDER, SETTINGS_FILE, index_url
from vitruvius.knowledge.runlock import RunLock
from vitruvius.knowledge.vocabulary import called

if TYPE_CHECKING:
    from vitruvius.knowledge.answer import Answer


_AROUND = 20
"""Principles around a question that are looked through for the operations that it names."""


@dataclass(frozen=True, slots=True)
class Match:
    """A principle that was found.

    Attributes:
        similarity: Cosine similarity of question and principle, at most 1.
        principle: The principle with its status and evidence as the ledger has them now.
    """

    similarity: float
    principle: Principle


class Store:
    """Finds principles by meaning, scope, status, operation and support.

    Attributes:
        embedder: What makes the vectors.
        notes: Sentences for the user: an index made anew, one that another process holds.
        throwaway: Whether the index is in memory because the one on disk is held by another process, or
            cannot be written, or because its server is away.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path | None,
        *,
        embedder: Embedder | None = None,
        url: str | None = None,
        rebuild: bool = False,
    ) -> None:
        """Open the index and bring it up to the ledger; one that is missing or damaged is made anew.

        Args:
            ledger: The truth.
            folder: Where the index lies; None keeps it in memory. While another process holds the folder,
                or where it cannot be written, an index in memory is made from the ledger and thrown away.
            embedder: What makes the vectors; None takes what made the index, or for a new one
                `default_embedder()`.
            url: A Chroma server to use in place of the folder, `http://host:port`.
            rebuild: Make the index anew, whatever is there.

        Raises:
            StoreError: The index was made by another embedder, or the server does not answer.
            RunBusyError: It is to be made anew while another process holds it.
        """
        self.ledger = ledger
        self.notes: list[str] = []
        self.throwaway = False
        self._lock: RunLock | None = None
        self._url, self._folder = url, None if url else folder
        self._index: Index | None = None
        self._revision = Revision()
        if self._folder is not None:
            self._hold(self._folder, rebuild)
        try:
            self._open(embedder, rebuild)
            self.sync()
        except BaseException:
            self.close()
            raise

    def _hold(self, folder: Path, rebuild: bool) -> None:
        """Take the folder for this process, or do without it."""
        lock = RunLock(folder, name="index")
        try:
            lock.acquire()
            self._lock = lock
        except RunBusyError as error:
            if rebuild:
                raise
            self.throwaway, self._folder = True, None
            why = "cannot be written" if error.__cause__ else f"is in use by {lock.holder()}"
            self.notes.append(f"The search index {folder} {why}: one was made in memory for now.")

    # ---- opening ---------------------------------------------------------------------------

    def _open(self, embedder: Embedder | None, rebuild: bool) -> None:
        card = None
        try:
            self._index = self._connect()
            card = self._index.card()
        except DamagedIndex as error:
            self._replace(error)
        if card is not None and card.ledger != self.ledger.id:
            self.notes.append("The search index was of another ledger and was made anew.")
            card = None
        if rebuild:
            card = None
        self.embedder = embedder or (self._recorded(card) if card else default_embedder())
        if card is None:
            self._create()
        elif (card.embedder, card.dimension) != (self.embedder.name, self.embedder.dimension):
            raise self._mismatch(card)
        else:
            self._revision = card.revision

    def _connect(self) -> Index:
        if self._url is not None:
            return open_server(self._url, self.ledger.id)
        return open_memory() if self._folder is None else open_folder(self._folder)

    def _replace(self, error: DamagedIndex) -> None:
        """Put an empty index in the place of a damaged one."""
        if self._folder is None:
            raise StoreError(
                f"The search index on the Chroma server does not answer as it should ({error}): check it, "
                f"or leave the URL out to keep the index in the run folder."
            ) from error
        if self._index is not None:
            self._index.close()
        self._index = renew_folder(self._folder)
        self.notes.append(f"The search index was damaged ({error}) and was made anew from the ledger.")

    def _recorded(self, card: Card) -> Embedder:
        """The embedder that made the index."""
        try:
            return get_embedder(card.embedder)
        except (UnknownNameError, MissingPartError) as error:
            raise StoreError(
                f"The search index was made by the embedder {card.embedder!r}, which cannot be used here. "
                f"{error} Or make the index anew: `{self._command('hashing')}`."
            ) from error

    def _mismatch(self, card: Card) -> StoreError:
        mine = self.embedder
        return StoreError(
            f"The search index was made by the embedder {card.embedder!r} with {card.dimension} dimensions, "
            f"but {mine.name!r} with {mine.dimension} was asked for: use the former, or make the index anew "
            f"with `{self._command(mine.name)}`."
        )

    def _command(self, embedder: str) -> str:
        run = as_argument(self._folder.parent) if self._folder is not None else "RUN"
        return f"vitruvius principles reindex {run} --embedder {embedder}"

    def _card(self) -> Card:
        return Card(self.embedder.name, self.embedder.dimension, self.ledger.id, self._revision)

    def _create(self) -> None:
        self._revision = Revision()
        self._used.create(self._card())

    @property
    def _used(self) -> Index:
        if self._index is None:
            raise StoreError("The store was closed: open it again.")
        return self._index

    # ---- keeping up with the ledger --------------------------------------------------------

    def sync(self) -> int:
        """Bring the index up to the ledger.

        Returns:
            The number of principles that were new or had changed.
        """
        index = self._used
        revision, changed = self.ledger.changed(self._revision)
        if revision == self._revision:
            return 0
        index.put({principle.id: self._entry(principle) for principle in changed}, self.embedder)
        self._revision = revision
        index.sign(self._card())
        return len(changed)

    def reindex(self) -> int:
        """Make the index anew from the ledger.

        Returns:
            The number of principles in it.
        """
        self._create()
        return self.sync()

    @property
    def place(self) -> str:
        """Where the index lies: a server, a folder, or memory."""
        return self._url or str(self._folder or "memory")

    def count(self) -> int:
        """Number of principles in the index."""
        return self._used.count()

    def _entry(self, principle: Principle) -> tuple[str, dict[str, Any]]:
        """Text and metadata of a principle."""
        proposal = principle.proposal
        text, operations = proposal.sentence, frozenset[str]()
        try:
            predicate = predicate_from_json(proposal.predicate)
            operations = predicate.operations_named()
            said = predicate.sentence()
            text = text if said == text else f"{text}\n{said}"
            known_as = called(operations)  # a search for "attention" is to find `gat >= 2`
            text = f"{text}\nabout {', '.join(known_as)}" if known_as else text
        except InvalidPredicateError as error:
            self.notes.append(f"Principle {principle.id} is found by its sentence only: {error}")
        metadata: dict[str, Any] = {
            "space": proposal.space,
            "scope": scope(proposal.space, proposal.task),
            "status": principle.status.value,
            "support": principle.evidence.n_for,
        }
        return text, metadata | {f"about {operation}": True for operation in operations}

    # ---- asking ----------------------------------------------------------------------------

    def search(
        self,
        text: str,
        *,
        space: str | None = None,
        task: str | None = None,
        status: PrincipleStatus | str | None = None,
        about: str | None = None,
        min_support: int = 0,
        limit: int = 10,
    ) -> list[Match]:
        """Principles nearest in meaning to a text.

        Args:
            text: A question or a sentence.
            space: Only those that speak of this space, "any" included.
            task: Only those that speak of this task, "any" included.
            status: Only those with this status.
            about: Only those whose predicate names this operation, by its name or an alias.
            min_support: Only those that at least so many measured architectures agree with.
            limit: At most so many.

        Returns:
            The matches, best first; status and evidence as the ledger has them now.

        Raises:
            UserError: A limit below 1, or a text without content.
            UnknownNameError: A space, task, status or operation that is not known.
        """
        if limit < 1:
            raise UserError(f"The limit must be at least 1, not {limit}.")
        if not text.strip():
            raise UserError("Search needs a text: write what to look for, or use `principles list` for all.")
        self.sync()
        asked = Filters(space, task, status, about, min_support)
        where = asked.where(self.ledger)
        vectors = self.embedder.embed([text])
        try:
            nearest = self._used.nearest(vectors, where, limit)
        except DamagedIndex as error:
            self._replace(error)
            self.reindex()
            nearest = self._used.nearest(vectors, where, limit)
        found = {p.id: p for p in self.ledger.principles(ids=[id for id, _ in nearest])}
        return [Match(similarity, found[id]) for id, similarity in nearest if id in found]

    def ask(self, question: str, *, task: str | None = None, limit: int = 3) -> Answer:
        """Answer a question from the principles and from all that was measured, without a language model.

        Args:
            question: Such as "do two or more skip connections help under 1M parameters?", or a predicate,
                or two joined by "where".
            task: Only this task, whatever the question names.
            limit: Most principles that are brought along.

        Returns:
            The answer: print it, or look at its parts.

        Raises:
            UserError: A question without content.
            UnknownNameError: A task that the ledger does not know.
        """
        from vitruvius.knowledge.answer import answer
        from vitruvius.knowledge.measured import measured

        if not question.strip():
            raise UserError("There is no question: ask, for example, whether skip connections help.")
        filters = Filters(task=task)
        filters.where(self.ledger)  # an unknown task is refused before anything is computed
        places, notes = measured(self.ledger)
        found = answer(question, places, notes=notes, task=filters.task)
        claims = [each.reading.claim for each in found.spaces if each.reading.claim is not None]
        text = "\n".join([question, *(claim.sentence() for claim in claims)])
        near = self.search(text, task=task, limit=_AROUND + limit)
        named = frozenset[str]().union(*(claim.operations_named() for claim in claims))
        near.sort(key=lambda match: not named & _named(match.principle))  # stable: else by meaning
        return replace(found, nearest=tuple(near[:limit]))

    # ---- housekeeping ----------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the index and its folder; calling twice is allowed."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Store:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def open_store(
    ledger: Ledger,
    run: Path | None,
    *,
    url: str | None = None,
    embedder: Embedder | None = None,
    rebuild: bool = False,
    reading: bool = False,
) -> Store:
    """The store of a run folder, where its settings say: in the folder, or on a Chroma server.

    Args:
        ledger: The run's ledger.
        run: The run folder; None keeps the index in memory.
        url: A Chroma server, whatever the settings say.
        embedder: As in `Store`.
        rebuild: As in `Store`.
        reading: Whoever only reads does without the server that the settings name while it is away: an index
            in memory is made from the ledger and thrown away.

    Raises:
        StoreError, RunBusyError: As `Store`.
        SettingsError: The settings cannot be read.
    """
    if run is None:
        return Store(ledger, None, url=url, embedder=embedder, rebuild=rebuild)
    server = url or index_url(run)
    try:
        return Store(ledger, run / INDEX_FOLDER, url=server, embedder=embedder, rebuild=rebuild)
    except UnusableServer as error:
        if url or not reading:
            raise
        store = Store(ledger, None, embedder=embedder)
        store.throwaway = True
        named = f"the setting `index` in {run / SETTINGS_FILE} names it"
        store.notes.insert(0, f"{error.fact} ({named}): an index was made in memory for now.")
        return store


def _named(principle: Principle) -> frozenset[str]:
    """The operations that a principle names; none where its predicate cannot be read."""
    try:
        return operations_of(principle)
    except InvalidPredicateError:
        return frozenset()
