"""Fixtures that every test may use."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
def code_model(tmp_path_factory: pytest.TempPathFactory) -> CodeModel:
    """Codec and a quickly trained language model of NAS-Bench-201; do not write into its folder."""
    from vitruvius.generator.corpus_training import LanguageModelSettings
    from vitruvius.generator.library import load_or_train

    folder = tmp_path_factory.mktemp("models") / "nasbench201"
    return load_or_train("nasbench201", folder=folder, language=LanguageModelSettings(steps=100))


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
