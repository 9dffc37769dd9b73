"""A training process with faults, chosen by the seed of the job; started by test_train.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from vitruvius.generator.evaluation.batches import DeviceImages
from vitruvius.generator.evaluation.engine import Trained, train_networks
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.worker import main

NOTES = Path(sys.argv[1])
EXCEPTION, HANG, EXIT, ONE_OOM, ALWAYS_OOM, TELL, NOISE, GREEDY, HANG_LATER, DIVERGE = range(1, 11)
PACK_OOM, PACK_EXIT, PACK_HANG, ONE_OF_PACK, KILLED_ONCE, STICKY, STICKY_PACK = range(11, 18)
calls = 0
broken = False


def train(
    builds: Sequence[Callable[[], nn.Module]],
    images: DeviceImages,
    recipe: Recipe,
    seed: int,
    pieces: int,
    graphs: bool,
    bar: Sequence[float],
) -> list[Trained]:
    global calls, broken
    calls += 1
    alone = len(builds) == 1
    broken = broken or seed == STICKY or (seed == STICKY_PACK and not alone)
    if broken:  # as a GPU is after a fault, for this process
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if seed == EXCEPTION:
        raise ValueError("the layer is on fire")
    if seed == HANG or (seed == HANG_LATER and calls > 1):
        helper = subprocess.Popen(["sleep", "600"])
        NOTES.write_text(json.dumps([os.getpid(), helper.pid]))
        time.sleep(600)
    if seed == EXIT:
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if seed == PACK_EXIT and not alone:
        os._exit(7)
    if seed == KILLED_ONCE and not NOTES.with_suffix(".killed").exists():
        NOTES.with_suffix(".killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == PACK_HANG and not alone:
        time.sleep(600)
    if seed == ALWAYS_OOM or (seed == ONE_OOM and pieces == 1) or (seed == PACK_OOM and not alone):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if seed == ONE_OF_PACK:
        builds = [_poisoned(builds[0]), *builds[1:]]
    if seed == TELL:
        NOTES.write_text(json.dumps([dict(os.environ), torch.get_num_threads()]))
    if seed == NOISE:
        print("a library says hello")
        os.write(1, b"\x00" * 64)
    if seed == GREEDY:
        torch.zeros(3_000_000_000, dtype=torch.uint8)
    if seed == DIVERGE:
        recipe = recipe.model_copy(update={"lr": 1e30})
    return train_networks(builds, images, recipe, seed, pieces, graphs, bar)


def _poisoned(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def poisoned() -> nn.Module:
        network = build()
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return network

    return poisoned


if __name__ == "__main__":
    main(train)
