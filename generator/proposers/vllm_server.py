"""The code language model behind an OpenAI-compatible vLLM server: our own on loopback, or one by URL."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from vitruvius.errors import ModelError, UserError
from vitruvius.generator.cards import read_card
from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Draw, Request
from vitruvius.generator.proposers.checks import check, same_codec
from vitruvius.generator.proposers.guide_files import (
    ARGUMENT,
    CODES,
    FOLDER,
    guide_folder,
    is_shared,
    write_guide,
)
from vitruvius.generator.proposers.vllm import CACHE_BYTES, GPU_SHARE, MAX_SEQUENCES, finished, tokens_of
from vitruvius.generator.serving import VLLMServer, device_args
from vitruvius.generator.threads import is_small
from vitruvius.generator.vocabulary import Vocabulary

SERVED_NAME = "vitruvius-codes-"
"""What the names begin with under which our own servers serve; the hash of the codec follows."""

KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable with the key of a server given by URL, as vLLM itself calls it."""

_TIMEOUT = httpx.Timeout(300.0, connect=10.0)


def code_server(folder: Path, length: int) -> VLLMServer:
    """A server for a checkpoint, not started yet: loopback, random key, our logits processor loaded.

    Args:
        folder: The checkpoint.
        length: Codes of a sequence.
    """
    card = read_card(folder, "language model")
    return VLLMServer(
        folder,
        served_name=f"{SERVED_NAME}{card.get('codec')}",
        extra_args=[
            *device_args(share=GPU_SHARE, cache=CACHE_BYTES),
            *(
                "--dtype",
                "float32",
                "--max-model-len",
                str(tokens_of(length)),
                "--max-num-seqs",
                str(MAX_SEQUENCES),
            ),
            *("--logits-processors", "vitruvius.generator.proposers.vllm_positions:PositionalCodes"),
            *("--seed", "0", "--no-enable-prefix-caching"),
        ],
        environment={
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_USE_V2_MODEL_RUNNER": "0",
            FOLDER: str(guide_folder()),
            **({"OMP_NUM_THREADS": "1"} if is_small(folder) else {}),
        },
    )


class ServerProposer:
    """Samples on a vLLM server over HTTP.

    A server that we started reads the guide of a request as a file, by our logits processor; so does one of
    `vitruvius generator serve` on this machine whose folder `VITRUVIUS_GUIDES` names. Another one given by
    URL cannot: it gets a regular expression with the codes that stand at each position of what is wanted,
    so that only a part of what it writes is.
    """

    name = "vllm-server"

    def __init__(self, codec: Codec, folder: Path, *, url: str | None = None) -> None:
        """Connect, after starting a server if no URL is given.

        Args:
            codec: The codec whose codes it writes.
            folder: The checkpoint; a server given by URL must serve the same.
            url: Base URL, "http://host:port/v1". Its key is read from `VLLM_API_KEY`.

        Raises:
            ModelError: The server does not start or answer.
            UserError: The address cannot be read, or a server of ours there has another codec.
            MissingPartError: No URL is given and vLLM is not installed.
        """
        same_codec(codec, read_card(folder, "language model"), folder)
        self._codec = codec
        self._vocabulary = Vocabulary.load(folder)
        self._server: VLLMServer | None = None
        self._client: httpx.Client | None = None
        if url is None:
            self._start(folder)
        else:
            self._connect(url, os.environ.get(KEY_VARIABLE, "EMPTY"))

    def _start(self, folder: Path) -> None:
        self._server = code_server(folder, self._codec.length)
        self._server.start()
        self._connect(self._server.url, self._server.key)

    def _connect(self, url: str, key: str) -> None:
        try:
            parsed = httpx.URL(url.rstrip("/") + "/")
        except httpx.InvalidURL as error:
            raise UserError(
                f"The server's URL cannot be read ({error}); it looks like http://host:8000/v1."
            ) from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UserError("The server's URL looks like http://host:8000/v1.")
        self._where = str(parsed.copy_with(userinfo=b""))
        # Loopback is never asked through a proxy.
        trust = parsed.host not in ("127.0.0.1", "localhost", "::1")
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=parsed, headers=headers, timeout=_TIMEOUT, trust_env=trust)
        models = [str(entry.get("id")) for entry in self._call("GET", "models").get("data", [])]
        if not models:
            raise ModelError(f"The server at {self._where} serves no model.")
        self._model = self._of_codec(models)

    def _of_codec(self, models: list[str]) -> str:
        """The model to ask; whether a server that is not ours has the checkpoint, only its owner knows."""
        mine = f"{SERVED_NAME}{self._codec.hash}"
        ours = [model for model in models if model.startswith(SERVED_NAME)]
        if self._codec.hash and ours and mine not in ours:
            raise UserError(
                f"The server at {self._where} writes codes of another space or codec ({ours[0]}): start one "
                f"with `vitruvius generator serve {self._codec.space.name}`."
            )
        return mine if mine in ours else models[0]

    def draw(self, request: Request) -> Draw:
        """Draw sequences; the request's guide counts at each position, by URL only as far as positions go."""
        begin = time.perf_counter()
        check(request, self._codec)
        rng = np.random.default_rng(request.seed)
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": [self._vocabulary.prompt(request.quantile)],
            "temperature": request.temperature,
            "return_token_ids": True,
            **self._constraint(request),
        }
        outputs: list[tuple[Any, str | None]] = []
        for start in range(0, request.n, MAX_SEQUENCES):
            n = min(MAX_SEQUENCES, request.n - start)
            reply = self._call("POST", "completions", {**body, "n": n, "seed": int(rng.integers(2**31))})
            choices = sorted(reply.get("choices", []), key=lambda choice: choice["index"])
            outputs += [(choice.get("token_ids") or [], choice.get("finish_reason")) for choice in choices]
        codes = finished(outputs, self._vocabulary, self._codec.length)
        if request.guide is not None:  # a foreign server may have ignored what it was told
            codes = codes[request.guide.positions()[np.arange(self._codec.length), codes].all(axis=1)]
        return Draw(codes, request.n - len(codes), time.perf_counter() - begin)

    def _constraint(self, request: Request) -> dict[str, Any]:
        """How this server is told what is wanted."""
        length = self._codec.length
        if self._server is not None or (self._model.startswith(SERVED_NAME) and is_shared()):
            wanted = CODES if request.guide is None else write_guide(request.guide)
            return {"max_tokens": length, "ignore_eos": True, "vllm_xargs": {ARGUMENT: wanted}}
        if request.guide is None:
            tokens = list(self._vocabulary.codes)
            return {"max_tokens": length, "ignore_eos": True, "allowed_token_ids": tokens}
        rows = request.guide.positions()
        words = ["(" + "|".join(f"<c{code}>" for code in np.flatnonzero(row)) + ")" for row in rows]
        return {"max_tokens": length + 1, "structured_outputs": {"regex": "".join(words)}}  # one for <eos>

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._client is None:
            raise ModelError("This connection was closed: make a new proposer.")
        try:
            reply = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ModelError(
                f"The server at {self._where} does not answer: {type(error).__name__} {error}."
            ) from error
        try:
            found = reply.json()
        except ValueError as error:
            raise ModelError(
                f"The server at {self._where} answers no JSON (status {reply.status_code})."
            ) from error
        if reply.status_code >= 400 or not isinstance(found, dict):
            said = str(found.get("error", found) if isinstance(found, dict) else found)[:300]
            hint = f" Set {KEY_VARIABLE} to its key." if reply.status_code == 401 else ""
            raise ModelError(
                f"The server at {self._where} refused with status {reply.status_code}: {said}.{hint}"
            )
        return found

    def reload(self, folder: Path) -> None:
        """Restart our own server on another checkpoint.

        Raises:
            UserError: The server was given by URL: only its owner can restart it.
        """
        same_codec(self._codec, read_card(folder, "language model"), folder)
        if self._server is None:
            raise UserError(
                f"The server at {self._where} is not ours to restart: start it again on {folder}, or use the "
                "proposer 'vllm', or 'vllm-server' without a URL."
            )
        self.close()
        self._vocabulary = Vocabulary.load(folder)
        self._start(folder)

    def close(self) -> None:
        """Close the connection and stop our own server."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._server is not None:
            self._server.stop()
            self._server = None
