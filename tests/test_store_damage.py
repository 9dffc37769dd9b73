"""The index when it is behind the ledger, damaged, lost, or of another ledger: made anew, and said."""

# Faults are put into the index behind the store; rows go in without the ledger's checks.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import insert
from store_parts import OPERATIONS, TASK, add, found, principle
from typer.testing import CliRunner

from vitruvius.cli.principles import app
from vitruvius.errors import StoreError
from vitruvius.knowledge.chroma_index import Index
from vitruvius.knowledge.embedders import HashingEmbedder
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import Evidence, Principle, PrincipleStatus
from vitruvius.knowledge.records import dump, evidence_to_json
from vitruvius.knowledge.schema import states
from vitruvius.knowledge.store import Store, open_store

EVIDENCE = dump(evidence_to_json(Evidence()))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as ledger:
        labels = [("nasbench201", "cifar10"), ("nasbench-graph", "cora")]
        ledger.start_session("s", task=TASK, seed=0, settings={}, labels=labels)
        yield ledger


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
def store(ledger: Ledger, tmp_path: Path, embedder: HashingEmbedder) -> Iterator[Store]:
    with Store(ledger, tmp_path / "chroma", embedder=embedder) as store:
        yield store


def _files(folder: Path, pattern: str) -> list[Path]:
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    assert files
    return files


def _cut(folder: Path) -> None:
    for file in _files(folder, "chroma.sqlite3"):
        os.truncate(file, 20_000)


def _empty(folder: Path) -> None:
    for file in _files(folder, "chroma.sqlite3"):
        os.truncate(file, 0)


def _garbage(folder: Path) -> None:
    for file in _files(folder, "chroma.sqlite3"):
        file.write_bytes(b"not a database " * 5000)


def _vectors_garbage(folder: Path) -> None:
    for file in _files(folder, "*.bin"):
        file.write_bytes(b"\xff" * file.stat().st_size)


def _vectors_lost(folder: Path) -> None:
    for file in _files(folder, "*.bin"):
        shutil.rmtree(file.parent, ignore_errors=True)


def _all_lost(folder: Path) -> None:
    shutil.rmtree(folder)


class TestDamage:
    @pytest.mark.parametrize("harm", [_cut, _garbage, _vectors_garbage, _vectors_lost, _empty, _all_lost])
    def test_is_mended_from_the_ledger(
        self, ledger: Ledger, tmp_path: Path, harm: Callable[[Path], None]
    ) -> None:
        folder = tmp_path / "chroma"
        # Only the vectors of more than 1,000 entries lie in files of their own.
        each = 241 if harm in (_vectors_garbage, _vectors_lost) else 9
        many = [principle(operation, n) for operation in OPERATIONS for n in range(1, each + 1)]
        add_fast(ledger, many)
        Store(ledger, folder, embedder=HashingEmbedder(64)).close()
        harm(folder)
        with Store(ledger, folder, embedder=HashingEmbedder(64)) as store:
            assert store.count() == len(many)
            assert len(store.search("skip", about="skip", limit=300)) == each
            if harm not in (_empty, _all_lost):  # these look like no index at all
                assert any("damaged" in note and "made anew" in note for note in store.notes)
        with Store(ledger, folder, embedder=HashingEmbedder(64)) as store:
            assert store.notes == [] and store.count() == len(many)
        assert len(list(folder.glob("index-*"))) == 1

    def test_during_a_search(self, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from chromadb.errors import InternalError

        add(ledger, principle("skip"))
        real, broken = Index.nearest, [True]

        def fail_once(self: Index, *arguments: Any) -> object:
            if broken:
                broken.pop()
                collection = self._collection
                monkeypatch.setattr(
                    collection, "query", _raise(InternalError("disk image is malformed")), raising=False
                )
            return real(self, *arguments)

        with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()) as store:
            monkeypatch.setattr(Index, "nearest", fail_once)
            assert len(store.search("skip")) == 1
            assert any("malformed" in note for note in store.notes)

    def test_an_index_of_another_ledger(self, ledger: Ledger, tmp_path: Path) -> None:
        with Ledger(tmp_path / "second.db") as second:
            second.start_session("s", task=TASK, seed=0, settings={}, labels=[])
            add(second, principle("conv3x3"), principle("conv1x1"))
            Store(second, tmp_path / "chroma", embedder=HashingEmbedder()).close()
        add(ledger, principle("skip"))
        with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()) as store:
            assert found(store) == {principle("skip").id}
            assert "another ledger" in store.notes[0]

    def test_killed_between_index_and_signature(self, ledger: Ledger, tmp_path: Path) -> None:
        add(ledger, principle("skip"))
        store = Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder())
        add(ledger, principle("conv3x3"))
        entries = {p.id: store._entry(p) for p in ledger.principles()}
        store._used.put(entries, store.embedder)
        store.close()
        with Store(ledger, tmp_path / "chroma") as store:
            assert store.count() == 2 and len(store.search("x")) == 2

    @pytest.mark.parametrize("reopened", [False, True])
    def test_a_lower_number_that_is_seen_later(self, ledger: Ledger, tmp_path: Path, reopened: bool) -> None:
        """A sequence of a database server hands numbers out before what they number is committed."""
        kept = [principle("skip"), principle("conv3x3"), principle("none")]
        add(ledger, *kept)
        store = Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder())
        refute(ledger, kept[0], number=100)
        assert found(store, status="refuted") == {kept[0].id}
        refute(ledger, kept[1], number=50)
        if reopened:
            store.close()
            store = Store(ledger, tmp_path / "chroma")
        with store:
            assert found(store, status="refuted") == {kept[0].id, kept[1].id}
            assert store.sync() == 0
            refute(ledger, kept[2], number=101)
            assert store.sync() == 1


def _raise(error: Exception) -> Callable[..., None]:
    def fail(**_: object) -> None:
        raise error

    return fail


def add_fast(ledger: Ledger, principles: list[Principle]) -> None:
    """As `add`, in one transaction."""
    from vitruvius.knowledge import principle_rows

    with ledger._database.write() as connection:
        for each in principles:
            principle_rows.add(connection, each, "s")


def refute(ledger: Ledger, kept: Principle, number: int) -> None:
    """Write that a principle is refuted, under a number of one's own."""
    row = {"principle": kept.id, "session": "s", "added": False, "status": "refuted", "evidence": EVIDENCE}
    with ledger._database.write() as connection:
        connection.execute(insert(states).values(**row, number=number, time=0.0))


def test_what_was_met_before_is_filtered_by_what_it_is_now(ledger: Ledger, store: Store) -> None:
    kept = [principle(name, k, support=k) for name in OPERATIONS for k in (1, 2, 5)]
    add(ledger, *kept)
    with Store(ledger, None) as other:  # met in a search, not by putting it there
        assert len(other.search("skip", status="proposed", limit=3)) == 3
    assert len(store.search("skip", status="proposed", limit=3)) == 3
    changed = dataclasses.replace(kept[0], status=PrincipleStatus.REFUTED)
    ledger.update_principles([changed], session="s")
    assert kept[0].id not in found(store, status="proposed")
    assert found(store, status="refuted") == {kept[0].id}
    store.reindex()
    assert found(store, status="refuted") == {kept[0].id}


class TestServerAway:
    def test_who_only_reads_does_without_the_server_of_the_settings(
        self, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
        add(ledger, principle("skip"))
        away = "http://127.0.0.1:9"
        (tmp_path / "settings.toml").write_text(f'index = "{away}"\n')
        with open_store(ledger, tmp_path, reading=True) as store:
            assert store.throwaway and found(store) == {principle("skip").id}
            assert store.notes[0].startswith(f"No Chroma server answers at {away} (the setting `index` in ")
            assert store.notes[0].endswith("an index was made in memory for now.")
        said = CliRunner().invoke(app, ["ask", "does skip help?", "--run", str(tmp_path)])
        assert said.exit_code == 0 and "note: No Chroma server answers" in said.stderr
        assert not (tmp_path / "chroma").exists()
        with pytest.raises(StoreError, match="leave the URL out"):
            open_store(ledger, tmp_path)  # a session
        with pytest.raises(StoreError, match="leave the URL out"):
            open_store(ledger, tmp_path, reading=True, url=away)

    @pytest.mark.parametrize(
        ("status", "body"), [(200, b'{"data": []}'), (200, b"<html>"), (404, b"no"), (401, b"{}")]
    )
    def test_a_server_of_something_else(self, ledger: Ledger, status: int, body: bytes) -> None:
        class Other(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Other) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}"
            with pytest.raises(StoreError) as caught:
                Store(ledger, None, url=url)
            server.shutdown()
        assert str(caught.value) == (
            f"What answers at {url} is no Chroma server, or one that wants a password: give the address of a "
            "Chroma server, or leave the URL out to keep the index in the run folder."
        )
