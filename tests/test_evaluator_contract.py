"""The evaluator contract: held by tables, by training, and by a toy; broken evaluators fail it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vitruvius.errors import unknown_name
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.table import Table
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import Architecture, Choices, SearchSpace, get_space
from vitruvius.testing.evaluators import EvaluatorContract


class CountConvolutions:
    """Scores a cell by its number of convolutions."""

    name, tabular = "toy", True
    metric, evaluator, fingerprint, fidelity = Metric("convolutions", ""), "toy:1", "none", "once"
    devices: tuple[str, ...] = ()

    def datasets(self, space: SearchSpace) -> list[str]:
        return ["air"]

    def open(self, space: SearchSpace, dataset: str) -> CountConvolutions:
        if dataset != "air":
            raise unknown_name("data set", dataset, ["air"])
        return self

    def representative(self, architecture: Architecture) -> Architecture:
        return architecture.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        return {"params": choices.sum(1).astype(np.float64)}

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        for architecture in architectures:
            cell = self.representative(architecture)
            yield Measurement(
                space=cell.space.name, task=f"{cell.space.name}/air", key=cell.key, id=cell.id, status=Status.OK,
                score=float(cell.key.count("conv")), evaluator=self.evaluator, fidelity=self.fidelity,
                fingerprint=self.fingerprint, params=float(self.costs(cell.row)["params"][0]),
            )  # fmt: skip


class TestToy(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> CountConvolutions:
        return CountConvolutions()

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("nasbench201")


class TestPackagedTable(EvaluatorContract):
    @pytest.fixture(scope="class")
    def evaluator(self) -> Table:
        return Table()

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("nasbench-graph")


@pytest.mark.tables
class TestNASBench201Table(EvaluatorContract):
    @pytest.fixture(scope="class")
    def evaluator(self, tables: Path) -> Table:
        return Table(tables / "nasbench201.parquet")

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("nasbench201")


class TestTrain(EvaluatorContract):
    n = 2

    @pytest.fixture(scope="class")
    def evaluator(self) -> Iterator[Train]:
        train = Train(recipe=Recipe(epochs=1, width=2, batch=128), device="cpu")
        yield train
        train.close()

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("nasbench201")


class Nameless(CountConvolutions):
    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        return (dataclasses.replace(m, fingerprint="") for m in super().measure(architectures))


class Forgetful(CountConvolutions):
    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        return super().measure(architectures[:-1])


class Silent(CountConvolutions):
    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        return (
            dataclasses.replace(m, status=Status.FAILED, score=None) for m in super().measure(architectures)
        )


class Moody(CountConvolutions):
    calls = 0.0

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        for m in super().measure(architectures):
            self.calls += 1
            yield dataclasses.replace(m, score=self.calls)


class Open(CountConvolutions):
    def open(self, space: SearchSpace, dataset: str) -> CountConvolutions:
        return self


class Crowded(CountConvolutions):
    def representative(self, architecture: Architecture) -> Architecture:
        return architecture.space.architectures(architecture.space.enumerate()[:1])[0]


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nameless, "test_measurements"), (Forgetful, "test_measurements"), (Silent, "test_measurements"),
        (Moody, "test_again"), (Open, "test_unknown_data_set"), (Crowded, "test_representative"),
    ],
)  # fmt: skip
def test_a_broken_evaluator_fails(broken: type[CountConvolutions], test: str):
    with pytest.raises(AssertionError):
        getattr(EvaluatorContract(), test)(broken(), get_space("nasbench201"))
