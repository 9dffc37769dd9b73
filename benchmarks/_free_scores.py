"""Methods that may look at untrained networks, free of charge: the second table of `search.py`.

    flops            every class of the space, most multiply-adds first: a control
    all-3x3          the network of 3x3 convolutions alone, then uniform draws: a control
    zen, synflow     every class, largest score first
    vitruvius+zen, vitruvius+synflow     a session that has the score as a source task, and no other

The scores are those of the space's table; TransNAS-Bench-101's has zen for every task, synflow for some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from _transfer_methods import in_order
from numpy.typing import NDArray

from vitruvius.agents.baselines import Curve
from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.table import TableBench
from vitruvius.generator.evaluation.task import Measurement, Metric, Status, Task
from vitruvius.generator.networks import network_costs
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, Choices, SearchSpace

Array = NDArray[np.float64]

SCORES = ("zen", "synflow")
NAMES = ("flops", "all-3x3", *SCORES, *(f"vitruvius+{score}" for score in SCORES))
CONVOLUTION = "conv3x3"


def run_free(name: str, task: Task, evaluations: int, seed: int) -> Curve:
    """One run of a method that follows an order: what it paid for."""
    if name == "all-3x3":
        return in_order(task, _all_convolutions(task.space), evaluations, seed)
    scores = flops(task.space) if name == "flops" else known_scores(task, name)
    scores = scores[_table(task).representative_positions()]  # what is measured is what was scored
    return in_order(task, task.space.enumerate()[np.argsort(-scores, kind="stable")], evaluations, seed)


def flops(space: SearchSpace) -> Array:
    """Multiply-adds of the whole space for images of CIFAR's size, by formula: (size,)."""
    costs = network_costs(space, space.enumerate(), Shape(classes=10, in_channels=3, height=32, width=32))
    if "flops" not in costs:
        raise UserError(f"Networks of {space.name} read no images: their multiply-adds are not known.")
    return costs["flops"]


def known_scores(task: Task, score: str) -> Array:
    """A score that the task's table has, of the whole space: (size,); undefined ones count as the worst.

    Raises:
        TableError: The table does not have it.
    """
    scores = _table(task).read_extra(score)
    return np.where(np.isfinite(scores), scores, -np.inf)


def source_of(task: Task, score: str) -> Task:
    """The score as a task to learn from."""
    return Task(f"{task.space.name}/{score}", evaluator=KnownScores(score, known_scores(task, score)))


class KnownScores:
    """An evaluator that has a score of every architecture (satisfies `Evaluator`)."""

    name = "known scores"
    tabular = True

    def __init__(self, score: str, values: Array) -> None:
        """Scores (size,) by position in the space's list."""
        self.score, self.values = score, values

    def datasets(self, space: SearchSpace) -> list[str]:
        """The one that bears the score's name."""
        return [self.score]

    def open(self, space: SearchSpace, dataset: str) -> KnownBench:
        """Set up for the space that the scores are of."""
        if dataset != self.score:
            raise unknown_name("data set", dataset, [self.score])
        return KnownBench(space, self.score, self.values)


class KnownBench:
    """`KnownScores` set up for its space (satisfies `Bench`)."""

    devices: tuple[str, ...] = ()
    fidelity = "untrained"

    def __init__(self, space: SearchSpace, score: str, values: Array) -> None:
        """See `KnownScores`."""
        self.space, self.score, self.values = space, score, values
        self.metric = Metric(score, "score", True)
        self.evaluator = f"known:{score}"
        self.fingerprint = f"{float(values[np.isfinite(values)].sum()):.6g}"
        self._places = {number: i for i, number in enumerate(space.numbers(space.enumerate()).tolist())}

    def representative(self, architecture: Architecture) -> Architecture:
        """Every architecture for itself."""
        return architecture

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Look scores up."""
        for one in architectures:
            score = float(self.values[self._places[int(self.space.numbers(one.row)[0])]])
            known = bool(np.isfinite(score))
            yield Measurement(
                self.space.name, f"{self.space.name}/{self.score}", one.key, one.id,
                Status.OK if known else Status.INVALID, score if known else None,
                fidelity=self.fidelity, evaluator=self.evaluator, fingerprint=self.fingerprint,
            )  # fmt: skip

    def costs(self, choices: Choices) -> Mapping[str, Array]:
        """None are known."""
        return {}


def _all_convolutions(space: SearchSpace) -> Choices:
    """The row (1, D) of 3x3 convolutions alone."""
    if any(CONVOLUTION not in decision.choices for decision in space.decisions):
        raise UserError(f"{space.name} has a decision without {CONVOLUTION!r}: all-3x3 does not exist there.")
    row = [decision.choices.index(CONVOLUTION) for decision in space.decisions]
    return np.array([row], dtype=np.int8)


def _table(task: Task) -> TableBench:
    if not isinstance(task.bench, TableBench):
        raise UserError(f"{task.name} is not looked up in a table: free scores are those of tables.")
    return task.bench
