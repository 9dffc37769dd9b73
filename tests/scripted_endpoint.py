"""An OpenAI-compatible endpoint on loopback that behaves as scripted, for tests over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from language_replies import GOOD


def completion(
    text: str | None,
    finish: str = "stop",
    refusal: str | None = None,
    tools: list[tuple[str, str]] | None = None,
    tokens: tuple[int, int] | None = (11, 7),
    thought: str | None = None,
) -> bytes:
    """A chat completion; tools are names with the text of their arguments, JSON or not."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if thought is not None:
        message["reasoning_content"] = thought
    if tools:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(tools)
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    if tokens is not None:
        total = sum(tokens)
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": total}
    return json.dumps({**body, "choices": [choice]}).encode()


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


def says(text: str | None, **more: Any) -> Behaviour:
    return lambda handler, body: send(handler, completion(text, **more))


def asks(*tools: tuple[str, str], text: str | None = None, **more: Any) -> Behaviour:
    """A reply that calls tools, each a name and the text of its arguments."""
    return says(text, tools=list(tools), **more)


def fails(status: int, **headers: str) -> Behaviour:
    return lambda handler, body: send(handler, b'{"error": {"message": "no"}}', status, **headers)


def refuses(status: int, message: str, kind: str = "invalid_request_error") -> Behaviour:
    """An error as OpenAI words it."""
    body = json.dumps({"error": {"message": message, "type": kind, "code": None}}).encode()
    return lambda handler, _: send(handler, body, status)


def cut_off(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """A model that reasons out of sight until its tokens are used up."""
    most = body.get("max_completion_tokens") or body["max_tokens"]
    send(handler, completion("", finish="length", tokens=(3000, most)))


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
