"""How fast architectures are written: each proposer, vLLM with and without us, codes from and into text.

    python benchmarks/serving.py --space nasbench201

Proposers take turns in one process, so that what else the machine does meets all of them alike. Their figure
counts architectures that are valid and new within the draw; drawing, decoding and checking are in the time.
The overhead over vLLM is the time of a draw over that of `LLM.generate` on a second engine with the same
settings, prompts and seeds, but without our logits processor, and nothing done with the tokens.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import print_record

from vitruvius.errors import VitruviusError
from vitruvius.generator.codes import Codec
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.language_model import load_model
from vitruvius.generator.library import CodeModel, load_or_train
from vitruvius.generator.pool import fill_pool
from vitruvius.generator.proposers import PROPOSERS, Proposer, Request, make_proposer
from vitruvius.generator.vocabulary import Vocabulary

TEXTS = 20_000
BATCHES = (1, 16, 64, 256)
COPIED = 1 << 30  # bytes


def spread(values: list[float], digits: int = 0) -> list[float]:
    """[median, lowest, highest]."""
    return [round(float(value), digits) for value in (np.median(values), min(values), max(values))]


def text_speed(codec: Codec, repeats: int) -> dict[str, Any]:
    """Architectures a second from official text to codes as text, and back; all of it is done on one core."""
    rows = codec.space.sample(TEXTS, np.random.default_rng(0))
    keys = codec.space.keys(rows)
    codes = codec.encode_text(keys)
    ways: dict[str, Callable[[], object]] = {
        "encode": lambda: codec.encode_text(keys),
        "decode": lambda: codec.decode_text(codes),
    }
    found: dict[str, Any] = {"architectures": TEXTS}
    for name, work in ways.items():
        for clock, per in ((time.perf_counter, "second"), (time.process_time, "second of computing")):
            found[f"{name}, per {per}"] = spread([TEXTS / seconds(work, clock) for _ in range(repeats)])
    return found


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of the work by a clock."""
    begin = clock()
    work()
    return clock() - begin


def started(
    names: list[str], model: CodeModel, stack: ExitStack
) -> tuple[dict[str, Proposer], dict[str, float]]:
    """Proposers and the seconds until each had drawn for the first time; they close with the stack."""
    running: dict[str, Proposer] = {}
    took: dict[str, float] = {}
    for name in names:
        begin = time.perf_counter()
        running[name] = make_proposer(name, model)
        stack.callback(running[name].close)
        running[name].draw(Request(n=1, seed=0))
        took[name] = round(time.perf_counter() - begin, 1)
        print(f"{name:<13} drew for the first time after {took[name]} s", flush=True)
    return running, took


def compare(
    running: dict[str, Proposer], codec: Codec, draws: int, repeats: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Valid, distinct architectures a second of each proposer, in turns."""
    speeds: dict[str, list[float]] = {name: [] for name in running}
    shares: dict[str, list[float]] = {name: [] for name in running}
    for repeat in range(-1, repeats):
        for name, proposer in running.items():
            request = Request(n=draws, seed=seed + 1 + max(repeat, 0))
            pool = fill_pool(proposer, codec, request, inside=None, known_ids=set())
            if repeat >= 0:  # the first is to warm up
                speeds[name].append(len(pool.choices) / pool.seconds)
                shares[name].append(pool.yield_)
                print(f"{repeat + 1:3} {name:<13} {speeds[name][-1]:9,.0f} a second", flush=True)
    return {
        name: {"per_second": spread(speeds[name]), "valid_unique": spread(shares[name], 4)}
        for name in running
    }


def against_raw(
    proposer: Proposer, model: CodeModel, draws: int, repeats: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Our draws, `LLM.generate` with the same requests, and with a request for each sequence, in turns."""
    from vitruvius.generator.proposers.vllm import ENGINE, MAX_SEQUENCES, import_vllm

    vllm = import_vllm()
    engine = vllm.LLM(str(model.language_model), **ENGINE)
    prompt = vllm.TokensPrompt(prompt_token_ids=Vocabulary.load(model.language_model).prompt(None))

    def raw(number: int, samples: int) -> float:
        begin = time.perf_counter()
        starts = range(0, draws, samples)
        seeds = np.random.default_rng(number).integers(2**31, size=len(starts))
        params = [
            vllm.SamplingParams(
                n=min(samples, draws - start),
                max_tokens=model.codec.length,
                ignore_eos=True,
                seed=int(each),
                detokenize=False,
            )
            for start, each in zip(starts, seeds, strict=True)
        ]
        engine.generate([prompt] * len(params), params, use_tqdm=False)
        return time.perf_counter() - begin

    known = model.codec.encode(model.codec.space.sample(TEXTS, np.random.default_rng(0)))
    guide = CodeTree(known, model.codec.codebook_size).guide(np.arange(TEXTS) % 2 == 0)
    ways: dict[str, Callable[[int], float]] = {
        "ours": lambda number: proposer.draw(Request(n=draws, seed=number)).seconds,
        "ours, guided": lambda number: proposer.draw(Request(n=draws, seed=number, guide=guide)).seconds,
        "raw": lambda number: raw(number, MAX_SEQUENCES),
        "raw, a request for each sequence": lambda number: raw(number, 1),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name in sorted(ways, reverse=repeat % 2 == 0):  # who goes first changes
            found = ways[name](seed + 1 + repeat)
            if repeat >= 0:
                took[name].append(found)
    return {
        name: {
            "sequences_per_second": spread([draws / each for each in found]),
            "time_over_raw": spread([each / base for each, base in zip(found, took["raw"], strict=True)], 3),
        }
        for name, found in took.items()
    }


def device_limit(
    proposer: Proposer | None, model: CodeModel, repeats: int, device: str = "cuda"
) -> dict[str, Any] | str:
    """Tokens a second over batch sizes, against reading all weights once for each step of a batch.

    vLLM where it runs, else transformers. The bandwidth is that of a copy, which reads and writes.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return "no GPU: not measured"
    folder, length = model.language_model, model.codec.length
    draw = _through_transformers(folder, length, device)
    if proposer is not None:
        draw = lambda n: proposer.draw(Request(n=n, seed=0))  # noqa: E731
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies = [_finished(lambda: target.copy_(source), device) for _ in range(repeats + 1)]
    bandwidth = 2 * COPIED / min(copies)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    found: dict[str, dict[str, float]] = {}
    for batch in BATCHES:
        took = [_finished(lambda: draw(batch), device) for _ in range(repeats + 1)][1:]  # noqa: B023
        speed, limit = batch * length / float(np.median(took)), batch * bandwidth / weights
        found[str(batch)] = {"tokens_per_second": round(speed), "share_of_limit": round(speed / limit, 6)}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "engine": "transformers" if proposer is None else proposer.name,
        "bandwidth_bytes_per_second": round(bandwidth),
        "weight_bytes": weights,
        "batches": found,
    }


def _finished(work: Callable[[], object], device: str) -> float:
    """Wall time of the work until the device has done it."""

    def done() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return seconds(done)


def _through_transformers(folder: Path, length: int, device: str) -> Callable[[int], object]:
    """Sampling with the library's own loop on a device."""
    network: Any = load_model(folder).to(device)  # pyright: ignore[reportArgumentType]
    prompt = torch.tensor([Vocabulary.load(folder).prompt(None)], device=device)
    options = {"do_sample": True, "min_new_tokens": length, "max_new_tokens": length}
    return lambda n: network.generate(prompt.repeat(n, 1), **options)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--draws", type=int, default=2048, help="sequences in a draw")
    parser.add_argument("--repeats", type=int, default=9, help="draws of each, after one to warm up")
    parser.add_argument("--proposers", default=",".join(PROPOSERS), help=f"of {', '.join(PROPOSERS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the trained model, and of the draws")
    parser.add_argument("--models", type=Path, help="folder of the model; by default in the cache")
    given = parser.parse_args()
    names = given.proposers.split(",")
    if wrong := [name for name in names if name not in PROPOSERS]:
        parser.error(f"unknown proposer {wrong[0]!r}; allowed: {', '.join(PROPOSERS)}")
    if min(given.draws, given.repeats) < 1:
        parser.error("--draws and --repeats are at least 1")
    results: dict[str, Any] = {"space": given.space, "load": [round(os.getloadavg()[0], 2)]}
    try:
        model = load_or_train(given.space, folder=given.models, seed=given.seed, progress=print)
        results["text"] = text_speed(model.codec, given.repeats)
        print(f"text          {results['text']}", flush=True)
        with ExitStack() as stack:
            running, took = started(names, model, stack)
            found = compare(running, model.codec, given.draws, given.repeats, given.seed)
            results["proposers"] = {name: {"start_s": took[name], **found[name]} for name in names}
            vllm = running.get("vllm")
            if vllm is not None:
                results["vllm"] = against_raw(vllm, model, given.draws, given.repeats, given.seed)
            results["device_limit"] = device_limit(vllm, model, given.repeats)
    except VitruviusError as error:
        parser.error(str(error))
    results["load"].append(round(os.getloadavg()[0], 2))
    settings = {"space": given.space, "draws": given.draws, "repeats": given.repeats, "proposers": names}
    print_record("serving", [given.seed], settings, results)


if __name__ == "__main__":
    main()
