"""The store: an index that can always be thrown away, over the ledger that cannot."""

# The index behind the store is made to answer too little; rows go in without the ledger's checks.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_parts import OPERATIONS, TASK, add, found, principle
from typer.testing import CliRunner

from vitruvius.building import build_session
from vitruvius.cli.principles import app
from vitruvius.config import load_settings
from vitruvius.errors import RunBusyError, StoreError, UnknownNameError, UserError
from vitruvius.knowledge.chroma_index import passes
from vitruvius.knowledge.embedders import HashingEmbedder, Vectors
from vitruvius.knowledge.filters import Filters
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import (
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
)
from vitruvius.knowledge.store import Store


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


class TestSearch:
    def test_finds_the_relevant_one(self, ledger: Ledger, store: Store) -> None:
        everything = {operation: principle(operation) for operation in OPERATIONS}
        add(ledger, *everything.values())
        for operation, expected in everything.items():
            best, *rest = store.search(f"what of {operation}?")
            assert best.principle == expected
            assert all(best.similarity > match.similarity for match in rest)
            assert best.similarity <= 1.0

    def test_operations_are_found_by_what_people_call_them(self, ledger: Ledger, store: Store) -> None:
        wanted = principle("gat", space="nasbench-graph")
        add(ledger, *(principle(name, space="nasbench-graph") for name in ("gcn", "fc", "graph")), wanted)
        assert store.search("attention", limit=1)[0].principle == wanted

    def test_its_own_sentence_is_nearest(self, ledger: Ledger, store: Store) -> None:
        kept = principle("skip", sentence="Short ways from input to output help.")
        add(ledger, kept, principle("conv3x3"))
        assert store.search("short ways from input to output help", limit=1)[0].principle == kept

    def test_filters(self, ledger: Ledger, store: Store) -> None:
        here = principle("conv3x3", support=5, task=TASK)
        any_task = principle("conv3x3", 3, support=2)
        portable = principle("skip", space="any")
        graph = principle("skip", space="nasbench-graph", task="nasbench-graph/cora")
        add(ledger, here, any_task, portable, graph)
        refuted = dataclasses.replace(graph, status=PrincipleStatus.REFUTED)
        ledger.update_principles([refuted], session="s")
        a, b, c, d = here.id, any_task.id, portable.id, graph.id
        assert found(store) == {a, b, c, d}
        assert found(store, space="nasbench201") == {a, b, c}
        assert found(store, task=TASK) == {a, b, c}
        assert found(store, task="nasbench-graph/cora") == {c, d}
        assert found(store, status="refuted") == found(store, status=PrincipleStatus.REFUTED) == {d}
        assert found(store, about="skip") == {c, d}
        assert found(store, about="nor_conv_3x3") == {a, b}  # the benchmark's own name
        assert found(store, about="conv1x1") == set()
        assert found(store, min_support=2) == {a, b}
        assert found(store, min_support=5, about="conv3x3", space="nasbench201", status="proposed") == {a}
        assert found(store, limit=2) < {a, b, c, d}

    def test_a_filter_means_the_same_here_and_in_chroma(self, ledger: Ledger, store: Store) -> None:
        add(ledger, *(principle(name, k, support=k) for name in OPERATIONS for k in (1, 2, 5)))
        store.sync()
        collection = store._used._collection
        everything = collection.get(include=["metadatas"])
        for asked in (
            Filters(space="nasbench201"), Filters(task=TASK), Filters(status="supported"), Filters(about="skip"),
            Filters(min_support=2), Filters(space="nasbench201", about="conv3x3", min_support=5),
        ):  # fmt: skip
            where = asked.where(ledger)
            assert where is not None
            ours = {
                id
                for id, metadata in zip(everything["ids"], everything["metadatas"] or (), strict=True)
                if passes(where, metadata)
            }
            assert ours == set(collection.get(where=where, include=[])["ids"]), asked

    def test_a_filter_that_most_pass_is_not_asked_of_chroma(
        self, ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(ledger, *(principle(name, k, support=k) for name in OPERATIONS for k in (1, 2, 5)))
        expected = [match.principle.id for match in store.search("skip", limit=3)]
        collection, asked = store._used._collection, list[Any]()
        real = collection.query

        def query(**how: Any) -> Any:
            asked.append(how.get("where"))
            return real(**how)

        monkeypatch.setattr(collection, "query", query)
        found = store.search("skip", space="nasbench201", limit=3)
        assert [match.principle.id for match in found] == expected and asked == [None]
        store.search("skip", about="skip", min_support=5, limit=3)
        assert asked[1] is None and asked[2] is not None, "too few of the nearest pass: Chroma is asked"

    def test_status_and_evidence_are_the_ledgers(self, ledger: Ledger, store: Store) -> None:
        kept = principle("skip")
        add(ledger, kept)
        assert store.search("skip")[0].principle == kept
        changed = dataclasses.replace(principle("skip", support=9), status=PrincipleStatus.SUPPORTED)
        ledger.update_principles([changed], session="s")
        assert [m.principle for m in store.search("skip", status="supported", min_support=9)] == [changed]
        assert store.search("skip", status="proposed") == []

    def test_more_than_the_index_buffers(self, ledger: Ledger, store: Store) -> None:
        add_fast(ledger, [principle(operation, n) for operation in OPERATIONS for n in range(1, 241)])
        assert len(store.search("skip", limit=50)) == 50
        assert len(store.search("skip", limit=10**20)) == store.count()
        matches = store.search("at least 7 skip operations", about="conv1x1", limit=500)
        assert len({match.principle.id for match in matches}) == 240
        assert [m.similarity for m in matches] == sorted((m.similarity for m in matches), reverse=True)

    def test_nothing_that_passes_is_left_out(
        self, ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        everything = [principle(operation) for operation in OPERATIONS]
        add(ledger, *everything)
        expected = store.search("conv1x1")
        collection = store._used._collection
        query = collection.query
        # An approximate index may return fewer than there are.
        monkeypatch.setattr(collection, "query", lambda **asked: query(**(asked | {"n_results": 2})))
        matches = store.search("conv1x1")
        assert [m.principle for m in matches] == [m.principle for m in expected]
        assert [m.similarity for m in matches] == pytest.approx([m.similarity for m in expected], abs=1e-5)

    @pytest.mark.parametrize(
        ("filters", "message"),
        [
            ({"space": "nasbench20"}, r"Unknown space 'nasbench20'.*Did you mean 'nasbench201'"),
            ({"task": "nasbench201/cifar11"}, r"Unknown task.*Did you mean 'nasbench201/cifar10'"),
            ({"status": "suported"}, r"Unknown status 'suported'.*Did you mean 'supported'"),
            ({"about": "conv3x33"}, r"Unknown operation 'conv3x33'.*Did you mean 'conv3x3'"),
        ],
    )
    def test_unknown_names(self, store: Store, filters: dict[str, Any], message: str) -> None:
        with pytest.raises(UnknownNameError, match=message):
            store.search("x", **filters)

    def test_empty(self, store: Store) -> None:
        assert store.search("anything") == []
        for text, limit in (("  ", 1), ("x", 0)):
            with pytest.raises(UserError):
                store.search(text, limit=limit)

    def test_an_operation_of_a_space_that_is_not_loaded(self, ledger: Ledger, store: Store) -> None:
        mine = principle("my_own_op", space="mine")
        add(ledger, mine)
        assert found(store, about="my_own_op") == {mine.id}

    def test_a_predicate_of_tomorrow_is_found_by_its_sentence(self, ledger: Ledger, store: Store) -> None:
        proposal = Proposal("Wide networks help.", {"kind": "width"}, "nasbench201")
        add(ledger, Principle("pwide", proposal, Origin("person")))
        assert found(store, "wide") == {"pwide"}
        assert any("pwide is found by its sentence only" in note for note in store.notes)


class Other(HashingEmbedder):
    name = "other"


class TestEmbedders:
    def test_another_embedder_is_refused_and_the_command_named(self, ledger: Ledger, tmp_path: Path) -> None:
        folder = tmp_path / "chroma"
        Store(ledger, folder, embedder=HashingEmbedder()).close()
        command = re.escape(f"vitruvius principles reindex {tmp_path} --embedder other")
        with pytest.raises(StoreError, match=rf"'hashing' with 512 dimensions, but 'other'.*{command}"):
            Store(ledger, folder, embedder=Other())
        with pytest.raises(StoreError, match=r"512 dimensions, but 'hashing' with 64"):
            Store(ledger, folder, embedder=HashingEmbedder(64))
        Store(ledger, folder, embedder=HashingEmbedder()).close()

    def test_without_choice_the_one_that_made_the_index(self, ledger: Ledger, tmp_path: Path) -> None:
        add(ledger, principle("skip"))
        Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()).close()
        with Store(ledger, tmp_path / "chroma") as store:
            assert store.embedder.name == "hashing" and len(store.search("skip")) == 1

    def test_one_that_cannot_be_used_here(self, ledger: Ledger, tmp_path: Path) -> None:
        Store(ledger, tmp_path / "chroma", embedder=Other()).close()
        with pytest.raises(StoreError, match=r"'other', which cannot be used here.*--embedder hashing"):
            Store(ledger, tmp_path / "chroma")

    def test_rebuilding_changes_the_embedder(self, ledger: Ledger, tmp_path: Path) -> None:
        add(ledger, principle("skip"))
        Store(ledger, tmp_path / "chroma", embedder=Other()).close()
        for _ in range(2):
            with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder(), rebuild=True) as store:
                assert len(store.search("skip")) == store.count() == 1
        Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()).close()


def add_fast(ledger: Ledger, principles: list[Principle]) -> None:
    """As `add`, in one transaction."""
    from vitruvius.knowledge import principle_rows

    with ledger._database.write() as connection:
        for each in principles:
            principle_rows.add(connection, each, "s")


class TestSharing:
    def test_a_reader_beside_a_writer_makes_its_own(
        self, ledger: Ledger, tmp_path: Path, store: Store
    ) -> None:
        add(ledger, principle("skip"))
        before = sorted(path.name for path in (tmp_path / "chroma").iterdir())
        with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()) as reader:
            assert reader.throwaway and not store.throwaway
            assert f"in use by process {os.getpid()} on {socket.gethostname()}" in reader.notes[0]
            assert found(reader, "skip") == {principle("skip").id}
            with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder(64)) as another:
                assert found(another, "skip") == {principle("skip").id}
            assert found(reader, "skip") == {principle("skip").id}
        assert sorted(path.name for path in (tmp_path / "chroma").iterdir()) == before
        assert found(store, "skip") == {principle("skip").id}

    def test_where_nothing_can_be_written_it_is_made_in_memory(self, ledger: Ledger, tmp_path: Path) -> None:
        add(ledger, principle("skip"))
        (tmp_path / "file").write_text("no folder can be made below a file")
        with Store(ledger, tmp_path / "file" / "chroma", embedder=HashingEmbedder()) as reader:
            assert reader.throwaway and "cannot be written: one was made in memory" in reader.notes[0]
            assert found(reader, "skip") == {principle("skip").id}

    def test_an_index_in_use_is_not_made_anew(self, ledger: Ledger, tmp_path: Path, store: Store) -> None:
        with pytest.raises(RunBusyError, match="open in this process already"):
            Store(ledger, tmp_path / "chroma", rebuild=True)

    def test_another_process_killed_while_writing(self, ledger: Ledger, tmp_path: Path) -> None:
        code = """
import sys, time
from pathlib import Path
from typing import Any
from vitruvius.knowledge.embedders import HashingEmbedder, Vectors
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.store import Store
store = Store(Ledger(sys.argv[1]), Path(sys.argv[2]), embedder=HashingEmbedder())
print("open", flush=True)
while True:
    store.reindex()
"""
        add(ledger, *(principle(operation, n) for operation in OPERATIONS for n in range(1, 21)))
        arguments = [sys.executable, "-c", code, str(tmp_path / "ledger.db"), str(tmp_path / "chroma")]
        writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None and writer.stdout.readline().strip() == "open"
        with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()) as reader:
            assert reader.throwaway and len(reader.search("skip", limit=100)) == 100
        time.sleep(0.3)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with Store(ledger, tmp_path / "chroma", embedder=HashingEmbedder()) as store:
            assert not store.throwaway and store.count() == 100
            assert len(store.search("skip", about="skip", limit=100)) == 20

    def test_in_memory(self, ledger: Ledger, tmp_path: Path) -> None:
        add(ledger, principle("skip"))
        before = set(tmp_path.iterdir())
        with (
            Store(ledger, None, embedder=HashingEmbedder()) as one,
            Store(ledger, None, embedder=HashingEmbedder(16)) as other,
        ):
            assert found(one, "skip") == found(other, "skip") == {principle("skip").id}
        assert set(tmp_path.iterdir()) == before

    def test_closed(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.search("x")


class TestServer:
    @pytest.fixture(scope="class")
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = Path(sys.executable).with_name("chroma")
        folder = tmp_path_factory.mktemp("server")
        arguments = [program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        server.kill()
        server.wait()

    def test_serves_several_ledgers(self, ledger: Ledger, tmp_path: Path, url: str) -> None:
        add(ledger, principle("skip"), principle("conv3x3"))
        with Store(ledger, tmp_path / "unused", embedder=HashingEmbedder(), url=url) as store:
            assert found(store, about="skip") == {principle("skip").id}
        assert not (tmp_path / "unused").exists()
        with Store(ledger, None, url=url) as again:  # the index is kept there
            assert again.embedder.name == "hashing" and again.count() == 2
        with Ledger("sqlite://") as empty, Store(empty, None, embedder=HashingEmbedder(32), url=url) as other:
            assert other.search("skip") == []

    def test_is_reached_from_the_settings_and_the_command_line(
        self, ledger: Ledger, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
        add(ledger, principle("skip"), principle("conv3x3"))
        (tmp_path / "settings.toml").write_text(f'index = "{url}"\n')
        found = CliRunner().invoke(app, ["search", "skip", "--run", str(tmp_path), "--about", "skip"])
        assert principle("skip").id in found.stdout
        with Store(ledger, None, url=url) as kept:
            assert kept.count() == 2
        command = ["reindex", str(tmp_path), "--embedder", "hashing"]
        assert f"2 principles indexed by hashing in {url}" in CliRunner().invoke(app, command).stdout
        assert not (tmp_path / "chroma").exists()
        away = CliRunner().invoke(app, ["search", "x", "--run", str(tmp_path), "--url", "http://127.0.0.1:9"])
        assert isinstance(away.exception, StoreError)

    def test_a_run_asks_for_it_before_it_spends_anything(self, tmp_path: Path) -> None:
        settings = load_settings(None, {"index": "http://127.0.0.1:9", "sources": "none"})
        assert load_settings(None, {}).index is None
        for _ in range(2):  # the folder is free again
            with pytest.raises(StoreError, match="No Chroma server answers"):
                build_session(settings, tmp_path / "run")

    @pytest.mark.parametrize("wrong", ["127.0.0.1:8000", "ftp://host", "http://me:hunter2@host:1"])
    def test_addresses(self, ledger: Ledger, wrong: str) -> None:
        with pytest.raises(StoreError, match="http://host:port") as caught:
            Store(ledger, None, url=wrong)
        assert "hunter2" not in str(caught.value)

    def test_nobody_answers(self, ledger: Ledger) -> None:
        with pytest.raises(StoreError, match=r"No Chroma server answers at http://127.0.0.1:9"):
            Store(ledger, None, url="http://127.0.0.1:9")


def test_vectors_are_made_once(ledger: Ledger, tmp_path: Path) -> None:
    class Counting(HashingEmbedder):
        texts = 0

        def embed(self, texts: Sequence[str]) -> Vectors:
            Counting.texts += len(texts)
            return super().embed(texts)

    add(ledger, principle("skip"), principle("conv3x3"))
    with Store(ledger, tmp_path / "chroma", embedder=Counting()) as store:
        assert Counting.texts == 2
        changed = dataclasses.replace(principle("skip"), status=PrincipleStatus.REFUTED)
        ledger.update_principles([changed], session="s")
        assert store.sync() == 1 and store.sync() == 0
        assert Counting.texts == 2
        assert found(store, status="refuted") == {changed.id}
    Store(ledger, tmp_path / "chroma", embedder=Counting()).close()
    assert Counting.texts == 3  # the question only
