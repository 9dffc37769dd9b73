"""The reasoner over HTTP, with a loopback endpoint: a good day, and what bad ones cannot do to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from language_replies import GOOD, item, reply

from vitruvius.agents.asking import Limits
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.reasoner import Reflection
from vitruvius.testing.reasoners import example_brief


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def completion(text: str, finish: str = "stop", refusal: str | None = None) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**body, "choices": [choice], "usage": usage}).encode()


Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


class Endpoint:
    """An OpenAI-compatible endpoint on loopback that behaves as scripted."""

    def __init__(self, *script: Behaviour) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(body)
                endpoint.keys.append(self.headers.get("Authorization"))
                step = script[min(len(endpoint.requests), len(script)) - 1]
                try:
                    step(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Endpoint]]:
    made: list[Endpoint] = []

    def make(*script: Behaviour) -> Endpoint:
        made.append(Endpoint(*script))
        monkeypatch.setenv("OPENAI_BASE_URL", made[-1].url)
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-test")
        return made[-1]

    yield make
    for one in made:
        one.close()


def says(text: str, **more: Any) -> Behaviour:
    return lambda handler, body: send(handler, completion(text, **more))


def fails(status: int, **headers: str) -> Behaviour:
    return lambda handler, body: send(handler, b'{"error": {"message": "no"}}', status, **headers)


def drips(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def floods(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b'"' + b"x" * (1 << 20))


def hangs_up(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    handler.connection.close()


def no_schemas(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    if "response_format" in body:
        fails(400)(handler, body)
    else:
        says(GOOD)(handler, body)


def reflect(limits: Limits | None = None) -> Reflection:
    reasoner = LanguageReasoner("openai:m", limits=limits or Limits(seconds=20))
    try:
        return reasoner.reflect(example_brief())
    finally:
        reasoner.close()


def test_http_good(endpoint: Callable[..., Endpoint]) -> None:
    served = endpoint(says(GOOD))
    reflection = reflect()
    assert len(reflection.proposals) == 3
    assert (reflection.calls[0].tokens_in, reflection.calls[0].tokens_out) == (11, 7)
    sent = served.requests[0]
    assert sent["response_format"]["type"] == "json_schema"
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]
    assert sent["max_completion_tokens"] == 2000
    assert served.keys == ["Bearer key-of-the-test"]
    assert "key-of-the-test" not in repr(reflection)


@pytest.mark.parametrize(
    ("script", "proposals", "reason"),
    [
        ([fails(429, Retry_After="0"), says(GOOD)], 3, "rate limited"),
        ([fails(500, Retry_After="0"), says(GOOD)], 3, "endpoint error"),
        ([fails(500, Retry_After="0")], 0, "endpoint error"),
        ([fails(429, Retry_After="3600")], 0, "limit"),
        ([fails(401)], 0, "not authorised"),
        ([no_schemas], 3, "request refused"),
        ([says(GOOD[:200], finish="length"), says("{}")], 1, "cut off"),
        ([says('{"principles": [{"wrong": 1}]}')], 0, "wrong schema"),
        ([says(reply(item("op(7->8) = skip"), item("warp >= 1")))], 0, "unknown name"),
        ([says("", refusal="I cannot help with that")], 0, "model refused"),
        ([lambda handler, body: send(handler, b"<html>gateway</html>", Content_Type="text/html")], 0, None),
        ([lambda handler, body: send(handler, b'{"choices": []}')], 0, None),
        ([lambda handler, body: send(handler, b"null")], 0, None),
        ([floods], 0, None),
        ([hangs_up], 0, None),
    ],
)  # fmt: skip
def test_http_bad_days(
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    script: list[Behaviour],
    proposals: int,
    reason: str | None,
) -> None:
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)
    served = endpoint(*script)
    reflection = reflect()
    assert len(reflection.proposals) == proposals
    assert sum(reflection.refused.values()) >= 1
    assert reason is None or reflection.refused[reason] >= 1, reflection
    assert proposals or reflection.notes
    assert len(served.requests) == len(reflection.calls) <= 6


@pytest.mark.parametrize("script", [drips, lambda handler, body: time.sleep(1.5)])
def test_http_slow(endpoint: Callable[..., Endpoint], script: Behaviour) -> None:
    endpoint(script)
    began = time.monotonic()
    reflection = reflect(Limits(seconds=0.6))
    assert time.monotonic() - began < 8
    assert reflection.proposals == [] and reflection.notes
    assert reflection.refused["endpoint slow"] >= 1


def test_http_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitruvius.agents.asking.BACKOFF", 0.01)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    reflection = reflect()
    assert reflection.refused == {"endpoint error": 3}
    assert len(reflection.notes) == 1
    assert "OPENAI_BASE_URL" in reflection.failed


def test_a_page_in_place_of_an_answer_says_to_check_the_address(endpoint: Callable[..., Endpoint]) -> None:
    endpoint(lambda handler, body: send(handler, b"<html>gateway</html>", Content_Type="text/html"))
    assert "no chat completion" in reflect().failed


@pytest.mark.parametrize(
    ("script", "failed"),
    [([says("I like turtles")], True), ([says(GOOD)], False), ([says(reply(item("warp >= 1")))], False)],
)
def test_only_what_cannot_be_read_counts_as_failed(
    endpoint: Callable[..., Endpoint], script: list[Behaviour], failed: bool
) -> None:
    endpoint(*script)
    assert bool(reflect().failed) == failed
