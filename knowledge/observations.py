"""What was measured on one task, as arrays: the form in which evidence and reasoners read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.knowledge.principle import Label


def midranks(reference: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-rank quantile of each value in a reference: (n,) in [0, 1], 0 where nothing is in it.

    Args:
        reference: (r,) what is ranked against; often the values themselves.
        values: (n,) what is ranked.
    """
    ordered = np.sort(reference)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto) / (2.0 * max(len(ordered), 1))


@dataclass(frozen=True, slots=True)
class Observations:
    """Measured architectures of one task, n of them in ledger order.

    Attributes:
        space: The space.
        task: Name of the task.
        label: (space, data set).
        choices: (n, D) rows.
        scores: (n,) validation scores turned so that larger is better.
        uniform: (n,) bool, drawn uniformly from the whole space (initial design, open share, source sample).
        held: (n,) bool, held back from reasoners: fresh evidence for whatever they propose.
        order: (n,) position of each measurement in the ledger, increasing.
        reference: (r,) sorted scores that quantiles are taken against; frozen for the task.
        costs: name -> (n,) array: "params" and "flops" in millions, "latency[DEVICE]" in milliseconds.
    """

    space: SearchSpace
    task: str
    label: Label
    choices: Choices
    scores: NDArray[np.float64]
    uniform: NDArray[np.bool_]
    held: NDArray[np.bool_]
    order: NDArray[np.int64]
    reference: NDArray[np.float64]
    costs: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])

    @property
    def quantiles(self) -> NDArray[np.float64]:
        """Mid-rank quantile of each score in the frozen reference: (n,) in [0, 1]."""
        return midranks(self.reference, self.scores)

    def take(self, rows: NDArray[np.bool_]) -> Observations:
        """The observations where `rows` (n,) is true; the reference stays."""
        return Observations(
            self.space, self.task, self.label, self.choices[rows], self.scores[rows],
            self.uniform[rows], self.held[rows], self.order[rows], self.reference,
            {name: values[rows] for name, values in self.costs.items()},
        )  # fmt: skip

    def visible(self) -> Observations:
        """What a reasoner may see: nothing that is held back."""
        return self.take(~self.held)

    def __len__(self) -> int:
        """Number of measurements."""
        return len(self.scores)
