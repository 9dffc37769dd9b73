"""vLLM itself, on whatever this machine has: in process once, and once as our own server."""

# pyright: reportPrivateUsage=false
# The engine's inner state is what these tests look at.

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius.generator.language_model import load_model
from vitruvius.generator.library import CodeModel
from vitruvius.generator.proposers import make_proposer
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.proposers.vllm import VllmProposer
from vitruvius.generator.proposers.vllm_server import ServerProposer
from vitruvius.generator.vocabulary import Vocabulary
from vitruvius.testing import ProposerContract

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make install"
    ),
]


@pytest.fixture(scope="module")
def model(code_model: CodeModel) -> CodeModel:
    return code_model


@pytest.fixture(scope="module")
def proposer(code_model: CodeModel) -> Iterator[VllmProposer]:
    """One engine for the module: it starts in 10 to 40 seconds."""
    engine = make_proposer("vllm", code_model)
    assert isinstance(engine, VllmProposer)
    yield engine
    engine.close()


def logprobs(proposer: VllmProposer, model: CodeModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the codes of one architecture: (L,) by vLLM and by transformers."""
    vocabulary = Vocabulary.load(model.language_model)
    codes = model.codec.encode(model.codec.space.enumerate()[777:778])
    ids = vocabulary.sequences(codes, np.array([-1], dtype=np.int8))[:, :-1]
    vllm = proposer._vllm
    params = vllm.SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0, detokenize=False)
    (out,) = proposer._llm.generate(
        [vllm.TokensPrompt(prompt_token_ids=ids[0].tolist())], params, use_tqdm=False
    )
    theirs = [out.prompt_logprobs[i][int(ids[0, i])].logprob for i in range(2, ids.shape[1])]
    with torch.no_grad():
        logits = load_model(model.language_model)(input_ids=ids).logits.log_softmax(-1)
    ours = logits[0, 1:-1].gather(1, ids[0, 2:, None]).flatten()
    return torch.tensor(theirs), ours


def test_logprobs_agree_with_transformers(proposer: VllmProposer, code_model: CodeModel) -> None:
    theirs, ours = logprobs(proposer, code_model)
    assert theirs.shape == (6,)
    assert torch.allclose(theirs, ours, atol=1e-4)


def test_another_process_draws_the_same(
    proposer: VllmProposer, draw_elsewhere: Callable[..., dict[str, list[list[int]]]]
) -> None:
    there = draw_elsewhere("vllm")
    assert proposer.draw(Request(n=50, seed=17, quantile=4)).codes.tolist() == there["vllm"]


def test_requests_larger_than_the_batch(proposer: VllmProposer, code_model: CodeModel) -> None:
    """Guides follow their requests while others enter and leave the running batch."""
    guide = ProposerContract().some(code_model, np.arange(64) < 32)
    draw = proposer.draw(Request(n=700, seed=0, guide=guide))
    assert draw.codes.shape == (700, 6) and guide.weigh(draw.codes).all()


class TestVllm(ProposerContract):
    """The contract, in process; its last test closes the engine."""


@pytest.fixture(scope="module")
def server(code_model: CodeModel) -> Iterator[ServerProposer]:
    proposer = make_proposer("vllm-server", code_model)
    assert isinstance(proposer, ServerProposer)
    yield proposer
    proposer.close()


@pytest.mark.timeout(600)
def test_server_refuses_strangers(server: ServerProposer) -> None:
    import httpx

    assert server._server is not None and server._server.url.startswith("http://127.0.0.1:")
    reply = httpx.get(f"{server._server.url}/models", trust_env=False)
    assert reply.status_code == 401


def test_grammar_of_a_foreign_server(
    server: ServerProposer, code_model: CodeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The road for servers without our logits processor, on a real grammar engine."""
    guide = ProposerContract().some(code_model, np.arange(64) < 32)
    monkeypatch.setattr(server, "_server", None)
    draw = server.draw(Request(n=60, seed=0, guide=guide))
    assert draw.unfinished == 0 and guide.positions()[np.arange(6), draw.codes].all()
    assert not guide.weigh(draw.codes).all()  # positions alone are a superset
    assert server.draw(Request(n=5, seed=0)).codes.shape == (5, 6)


def test_fine_tuned_model_reaches_the_server(
    server: ServerProposer, code_model: CodeModel, finetuned: Path
) -> None:
    """Our own server is started again on the new weights."""
    codec = code_model.codec
    wanted = codec.encode(codec.space.enumerate()[-1:])[0]
    before = server.draw(Request(n=100, seed=8, quantile=9)).codes
    server.reload(finetuned)
    after = server.draw(Request(n=100, seed=8, quantile=9)).codes
    hits = [int((codes == wanted).all(axis=1).sum()) for codes in (before, after)]
    assert hits[0] < 10 < hits[1]


class TestServer(ProposerContract):
    """The contract, over HTTP; its last test stops the server."""

    reloads = False  # takes a start of the server each time: once is enough, above

    @pytest.fixture(scope="class")
    def proposer(self, server: ServerProposer) -> ServerProposer:
        return server
