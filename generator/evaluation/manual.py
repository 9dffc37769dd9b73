"""The evaluator for people and programs that measure themselves: `ask`, measure, `tell`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.layouts import own_metrics
from vitruvius.generator.evaluation.task import Measurement, Metric
from vitruvius.generator.space import Architecture, Choices, SearchSpace


@dataclass(frozen=True)
class Manual:
    """Scores come from `session.tell`: nothing is measured here.

    Attributes:
        dataset: Name for the data set, used in the task's name: other data need another one. This, and what
            follows, is told by the description of a space that names tasks.
        metric: What the scores mean.
        unit: Its unit, for printing.
        maximize: Whether larger is better.
    """

    dataset: str = "mine"
    metric: str = "score"
    unit: str = ""
    maximize: bool = True
    name: str = "manual"
    tabular: bool = False

    def open(self, space: SearchSpace, dataset: str) -> ManualBench:
        """Set up for one space."""
        if dataset not in self.datasets(space):
            raise unknown_name("data set", dataset, self.datasets(space))
        return ManualBench(own_metrics(space).get(dataset, Metric(self.metric, self.unit, self.maximize)))

    def datasets(self, space: SearchSpace) -> list[str]:
        """The tasks that the space's description names, else the one name given."""
        return list(own_metrics(space)) or [self.dataset]


class ManualBench:
    """Knows the metric and nothing else."""

    evaluator = "manual"
    fingerprint = ""
    fidelity = ""
    devices: tuple[str, ...] = ()

    def __init__(self, metric: Metric) -> None:
        """Keep the metric."""
        self.metric = metric

    def representative(self, architecture: Architecture) -> Architecture:
        """Whatever was asked for is what is measured."""
        return architecture

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Refuse.

        Raises:
            UserError: Always; scores of this task are told.
        """
        raise UserError(
            "This task is measured by you: take architectures with session.ask(n) and give their scores "
            "with session.tell(architecture, score), or create the task with an evaluator such as vt.Train. "
            "It is no source of another session: that one takes its principles over as a pack."
        )

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Nothing is known without measuring."""
        return {}
