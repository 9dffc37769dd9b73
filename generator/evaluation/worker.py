"""The child process in which candidates are trained, one after the other (run with `python -m`).

It reads its settings and the images once, says what device it is on, then answers each job with how it
ended. It leaves when its standard input ends, in the middle of a training run too: no child outlives its
parent, however that one died.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.engine import Batches, DivergedError, standardise, train_and_score
from vitruvius.generator.evaluation.frames import read_frame, read_message, write_message
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Status
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import get_space

TrainFunction = Callable[[Callable[[], nn.Module], Batches, Recipe, int, int], float]
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def main(train: TrainFunction = train_and_score) -> None:
    """Serve jobs until standard input ends.

    Args:
        train: What trains one candidate; tests put faults here.
    """
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the messages
    settings, images = read_message(requests), read_frame(requests)
    if settings is None or images is None:
        return
    try:
        device, label = _device(settings["device"])
        _limit_memory(settings["memory"], device)
    except UserError as error:
        write_message(replies, {"refused": str(error)})
        return
    torch.set_num_threads(settings["threads"])
    if device == "cpu":
        torch.use_deterministic_algorithms(True)
    with np.load(io.BytesIO(images), allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    data = standardise(tensors["train_x"], tensors["train_y"], tensors["valid_x"], tensors["valid_y"], device)
    write_message(replies, {"ready": label})
    jobs = _listen(requests)
    while True:
        write_message(replies, _answer(jobs.get(), settings, data, train))


def _listen(requests: IO[bytes]) -> queue.Queue[dict[str, Any]]:
    """Read jobs in a thread of its own, which ends the process when the parent is gone."""
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        while (job := read_message(requests)) is not None:
            jobs.put(job)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return jobs


def _answer(
    job: dict[str, Any], settings: dict[str, Any], data: Batches, train: TrainFunction
) -> dict[str, Any]:
    """Train one candidate; whatever happens becomes a status and a reason."""
    start = time.monotonic()
    recipe = Recipe(**settings["recipe"])
    score: float | None = None
    try:
        architecture = get_space(job["space"]).parse(job["key"])

        def build() -> nn.Module:
            return build_network(
                architecture,
                classes=settings["classes"],
                in_channels=data.train_x.shape[1],
                width=recipe.width,
                cells=recipe.cells,
            )

        status, score, reason = _train(train, build, data, recipe, job["seed"])
    except VitruviusError as error:
        status, reason = Status.INVALID, str(error)
    except DivergedError as error:
        status, reason = Status.DIVERGED, f"Diverged: {error}."
    except Exception as error:  # the boundary of the process: any failure of a candidate is a measurement
        status, reason = Status.FAILED, f"{type(error).__name__}: {error}"[:500]
    return {"status": status, "score": score, "reason": reason, "seconds": time.monotonic() - start}


def _train(
    train: TrainFunction, build: Callable[[], nn.Module], data: Batches, recipe: Recipe, seed: int
) -> tuple[Status, float | None, str]:
    """Train; on too small memory once more with each batch in two halves, whose gradients are added up."""
    try:
        return Status.OK, train(build, data, recipe, seed, 1), ""
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    _release()  # outside the handler: the error held the frames, and they the tensors
    half = (min(recipe.batch, len(data.train_x)) + 1) // 2
    try:
        score = train(build, data, recipe, seed, 2)
        return Status.OK, score, f"Memory was short: each batch was computed in halves of {half} images."
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    _release()
    return Status.OUT_OF_MEMORY, None, f"Out of memory, with batches in halves of {half} images too."


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _MEMORY_WORDS)


def _release() -> None:
    """Give back what a failed run held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device(wanted: str) -> tuple[str, str]:
    """The device for torch, and its name for people.

    Raises:
        UserError: It is not there.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return "cpu", f"cpu {platform.machine()}"
    _, _, number = wanted.partition(":")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise UserError(
            f"Device {wanted!r} is not there: this machine has {count} CUDA devices. Use 'cpu' or 'auto'."
        )
    return wanted, torch.cuda.get_device_name(wanted)


def _limit_memory(gigabytes: float | None, device: str) -> None:
    """Hold this process, or its share of the GPU, to so much memory.

    Raises:
        UserError: This system cannot limit memory.
    """
    if gigabytes is None:
        return
    if device != "cpu":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total), device)
        return
    if sys.platform != "linux":
        raise UserError("A memory limit on the CPU needs Linux; leave out memory=.")
    resource = importlib.import_module("resource")
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9),) * 2)


if __name__ == "__main__":
    main()
