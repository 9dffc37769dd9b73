"""Evaluators with faults, for crews: what a worker does is chosen by the candidate's own text."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.space import Architecture, Choices, SearchSpace


@dataclass
class Toy:
    """Scores a cell by its convolutions; `faults` says by key what happens instead.

    Attributes:
        faults: Key -> "kill once", "kill", "raise", "gpu", "hang", "slow", "refuse".
        notes: Where workers write down what they measure, one line each: the key and the process.
        fingerprint: Hash of the data; "" takes the name of the process, which differs everywhere.
    """

    notes: Path
    faults: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = "air-1"
    name: str = "toy"
    tabular: bool = False

    def datasets(self, space: SearchSpace) -> list[str]:
        return ["air"]

    def open(self, space: SearchSpace, dataset: str) -> ToyBench:
        if dataset != "air":
            raise unknown_name("data set", dataset, ["air"])
        return ToyBench(self, space)


class ToyBench:
    metric, evaluator, fidelity = Metric("convolutions", ""), "toy:1", "once"
    devices: tuple[str, ...] = ()

    def __init__(self, toy: Toy, space: SearchSpace) -> None:
        self.toy, self.space = toy, space
        self.fingerprint = toy.fingerprint or f"process {os.getpid()}"

    def representative(self, architecture: Architecture) -> Architecture:
        return architecture.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        return {"params": choices.sum(1).astype(np.float64)}

    def measure(self, architectures: Iterable[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        for architecture in architectures:
            cell = self.representative(architecture)
            self._befall(cell.key)
            yield Measurement(
                space=cell.space.name, task=f"{cell.space.name}/air", key=cell.key, id=cell.id, status=Status.OK,
                score=float(cell.key.count("conv")), evaluator=self.evaluator, fidelity=self.fidelity,
                fingerprint=self.fingerprint, params=float(self.costs(cell.row)["params"][0]), seed=seed,
            )  # fmt: skip

    def _befall(self, key: str) -> None:
        fault = self.toy.faults.get(key, "")
        again = self.toy.notes.exists() and any(
            line.startswith(key) for line in self.toy.notes.read_text().splitlines()
        )
        with self.toy.notes.open("a") as notes:
            notes.write(f"{key} {os.getpid()}\n")
        if fault == "kill" or (fault == "kill once" and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "raise":
            raise ValueError("the layer is on fire")
        if fault == "gpu":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if fault == "refuse":
            raise UserError("not with this worker")
        if fault == "hang":
            time.sleep(600)
        if fault == "slow":
            time.sleep(1.5)
