"""What writes codes: vLLM in process, a vLLM server, transformers, n-gram, uniform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.proposers.base import Codes, Draw, Proposer, Request

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel

PROPOSERS = ("ngram", "transformers", "uniform", "vllm", "vllm-server")


def check_proposer(name: str, url: str | None = None) -> None:
    """Refuse what `make_proposer` would, before a model is loaded or trained for it.

    Raises:
        UnknownNameError: No such proposer.
        UserError: A URL for a proposer that has no server.
    """
    if name not in PROPOSERS:
        raise unknown_name("proposer", name, PROPOSERS)
    if url is not None and name != "vllm-server":
        raise UserError(f"The proposer {name!r} takes no URL: only 'vllm-server' talks to a server.")


def make_proposer(name: str, model: CodeModel, *, url: str | None = None) -> Proposer:
    """Start the proposer with this name.

    Args:
        name: One of `PROPOSERS`.
        model: The codec and the language model to draw with.
        url: For "vllm-server" only: an OpenAI-compatible server that serves the language model;
            None starts one on the loopback interface, and stops it on `close`.

    Raises:
        UnknownNameError: No such proposer.
        MissingPartError: vLLM was asked for and does not import; says why and what mends it.
        ModelError: The server does not answer.
        UserError: A URL for a proposer that has no server.
    """
    check_proposer(name, url)
    if name == "uniform":
        from vitruvius.generator.proposers.uniform import UniformProposer

        return UniformProposer(model.codec)
    if name == "ngram":
        from vitruvius.generator.proposers.ngram import NgramProposer

        return NgramProposer(model.codec, model.language_model)
    if name == "transformers":
        from vitruvius.generator.proposers.transformers import TransformersProposer

        return TransformersProposer(model.codec, model.language_model)
    if name == "vllm":
        from vitruvius.generator.proposers.vllm import VllmProposer

        return VllmProposer(model.codec, model.language_model)
    from vitruvius.generator.proposers.vllm_server import ServerProposer

    return ServerProposer(model.codec, model.language_model, url=url)


__all__ = ["PROPOSERS", "Codes", "Draw", "Proposer", "Request", "check_proposer", "make_proposer"]
