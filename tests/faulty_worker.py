"""A training process with faults, chosen by the seed of the job; started by test_train.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vitruvius.generator.evaluation.engine import Batches, train_and_score
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.worker import main

NOTES = Path(sys.argv[1])
EXCEPTION, HANG, EXIT, ONE_OOM, ALWAYS_OOM, TELL, NOISE, GREEDY, HANG_LATER, DIVERGE = range(1, 11)
calls = 0


def train(build: Callable[[], nn.Module], data: Batches, recipe: Recipe, seed: int, pieces: int) -> float:
    global calls
    calls += 1
    if seed == EXCEPTION:
        raise ValueError("the layer is on fire")
    if seed == HANG or (seed == HANG_LATER and calls > 1):
        helper = subprocess.Popen(["sleep", "600"])
        NOTES.write_text(json.dumps([os.getpid(), helper.pid]))
        time.sleep(600)
    if seed == EXIT:
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if seed == ALWAYS_OOM or (seed == ONE_OOM and pieces == 1):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if seed == TELL:
        NOTES.write_text(json.dumps([dict(os.environ), torch.get_num_threads()]))
    if seed == NOISE:
        print("a library says hello")
        os.write(1, b"\x00" * 64)
    if seed == GREEDY:
        torch.zeros(3_000_000_000, dtype=torch.uint8)
    if seed == DIVERGE:
        recipe = recipe.model_copy(update={"lr": 1e30})
    return train_and_score(build, data, recipe, seed, pieces)


if __name__ == "__main__":
    main(train)
