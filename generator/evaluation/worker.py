"""The child process in which candidates are trained (run with `python -m`).

It reads its settings and the images once, says what device it is on, then answers each job with how it
ended. It leaves when its standard input ends, in the middle of a training run too: no child outlives its
parent, however that one died.
"""

from __future__ import annotations

import importlib
import io
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.as_child import listen, take_pipes
from vitruvius.generator.evaluation.batches import DeviceImages, to_device
from vitruvius.generator.evaluation.engine import Trained, settle, train_networks
from vitruvius.generator.evaluation.frames import read_frame, read_message, write_message
from vitruvius.generator.evaluation.memory import in_memory, out_of_memory, release
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Status
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import get_space

TrainFunction = Callable[
    [Sequence[Callable[[], nn.Module]], DeviceImages, Recipe, int, int, bool, Sequence[float]],
    Sequence[Trained],
]
"""Builds, images, recipe, seed, pieces, graphs, bar: as `train_networks`."""


def main(train: TrainFunction = train_networks) -> None:
    """Serve jobs until standard input ends.

    Args:
        train: What trains candidates; tests put faults here.
    """
    requests, replies = take_pipes()
    settings, arrays = read_message(requests), read_frame(requests)
    if settings is None or arrays is None:
        return
    try:
        device, label = _device(settings["device"])
        _limit_memory(settings["memory"], device)
    except UserError as error:
        write_message(replies, {"refused": str(error)})
        return
    recipe = Recipe(**settings["recipe"])
    _prepare(device, settings, recipe)
    with np.load(io.BytesIO(arrays), allow_pickle=False) as unpacked:
        images = to_device(
            {name: torch.from_numpy(unpacked[name]) for name in unpacked.files}, recipe, device
        )
    del arrays
    write_message(replies, {"ready": label})
    jobs = listen(requests)
    candidates = Candidates(train, images, recipe, settings["classes"], settings["graphs"])
    while True:
        job = jobs.get()
        architectures = [(job["space"], key) for key in job["keys"]]
        write_message(replies, {"results": candidates.answer(architectures, job["seed"], job["bar"])})


def _prepare(device: str, settings: dict[str, Any], recipe: Recipe) -> None:
    """Set torch up: reproducible on the CPU, and on a GPU where it is wished; otherwise as fast as it can."""
    torch.set_num_threads(settings["threads"])
    if device == "cpu" or settings["deterministic"]:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when the GPU is first used
        # A GPU has no such kernel for every operation: a candidate with one is trained all the same.
        torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    else:
        torch.backends.cudnn.benchmark = True
    settle(device, recipe)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Trains what it is asked to; whatever happens to a candidate becomes a status and a reason."""

    train: TrainFunction
    images: DeviceImages
    recipe: Recipe
    classes: int
    graphs: bool

    def answer(
        self, architectures: Sequence[tuple[str, str]], seed: int, bar: Sequence[float] = ()
    ) -> list[dict[str, Any]]:
        """Train candidates, given as (space, key), side by side; a result for each, in order.

        If memory does not suffice for all of them, or one cannot be built, each is trained alone. Any other
        error ends the answer, for it may have spoilt this process: after that of a candidate alone its own
        result is the last, after that of several together there is none. What has no result is for another
        process.
        """
        start = time.monotonic()
        if len(architectures) > 1:
            try:
                builds = [self._build(*architecture) for architecture in architectures]
                trained = self.train(builds, self.images, self.recipe, seed, 1, self.graphs, bar)
            except Exception as error:
                if not (out_of_memory(error) or isinstance(error, VitruviusError)):
                    return []
            else:
                seconds = (time.monotonic() - start) / len(architectures)
                return [_result(_ending(one), seconds) for one in trained]
            release()
        results: list[dict[str, Any]] = []
        for architecture in architectures:
            results.append(self._alone(architecture, seed, bar))
            if results[-1]["status"] == Status.FAILED:
                break
        return results

    def _alone(self, architecture: tuple[str, str], seed: int, bar: Sequence[float]) -> dict[str, Any]:
        start = time.monotonic()
        try:
            ending = self._with_memory(self._build(*architecture), seed, bar)
        except VitruviusError as error:
            ending = _Ending(Status.INVALID, str(error))
        except Exception as error:  # the boundary of the process: any failure of a candidate is a measurement
            ending = _Ending(Status.FAILED, f"{type(error).__name__}: {error}"[:500])
        return _result(ending, time.monotonic() - start)

    def _build(self, space: str, key: str) -> Callable[[], nn.Module]:
        architecture = get_space(space).parse(key)
        return lambda: build_network(
            architecture,
            classes=self.classes,
            in_channels=self.images.channels,
            width=self.recipe.width,
            cells=self.recipe.cells,
            extras=self.recipe.extras,
        )

    def _with_memory(self, build: Callable[[], nn.Module], seed: int, bar: Sequence[float]) -> _Ending:
        """Train; on too small memory once more, each batch in two halves whose gradients are added up."""

        def train(pieces: int) -> Trained:
            return self.train([build], self.images, self.recipe, seed, pieces, self.graphs, bar)[0]

        half = (self.recipe.batch_of(len(self.images.train_y)) + 1) // 2
        done = in_memory(train)
        if done is None:
            return _Ending(
                Status.OUT_OF_MEMORY, f"Out of memory, with batches in halves of {half} images too."
            )
        trained, pieces = done
        ending = _ending(trained)
        if pieces == 1 or ending.reason:
            return ending
        return replace(
            ending, reason=f"Memory was short: each batch was computed in halves of {half} images."
        )


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a candidate ended; `losses` is its curve, as far as it was trained."""

    status: Status
    reason: str = ""
    score: float | None = None
    losses: Sequence[float] = ()


def _ending(trained: Trained) -> _Ending:
    if trained.stopped:
        return _Ending(Status.STOPPED, f"Stopped: {trained.reason}.", losses=trained.losses)
    if trained.diverged:
        return _Ending(Status.DIVERGED, f"Diverged: {trained.reason}.")
    return _Ending(Status.OK, score=trained.score, losses=trained.losses)


def _result(ending: _Ending, seconds: float) -> dict[str, Any]:
    return {**asdict(ending), "seconds": seconds}


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
