"""What a code says of a single decision: are codes more than other names for decisions?

Mutual information I of a code and a decision has no scale of its own. Two scalings answer two questions:

- `symmetric`, 2 I / (H(code) + H(decision)), is 1 exactly where code and decision are two names of one thing.
  It is what most software calls NMI. Splitting a decision into many synonymous codes lowers it too.
- `told`, I / H(decision), is 1 where the code gives the decision away, whatever else it says: splitting into
  synonyms does not lower it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.proposers.base import Codes
from vitruvius.generator.space import Choices

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Information:
    """Normalised mutual information of the code at each position and each decision.

    Attributes:
        symmetric: (L, D) 2 I / (H(code) + H(decision)), 0 where both are constant.
        told: (L, D) I / H(decision), 0 where the decision is constant.
    """

    symmetric: Matrix
    told: Matrix

    def per_position(self) -> list[float]:
        """For each position the largest `symmetric` over the decisions: (L,)."""
        return [round(float(value), 4) for value in self.symmetric.max(axis=1)]


def information(codes: Codes, choices: Choices) -> Information:
    """Measure codes against the decisions of the architectures that they name.

    Args:
        codes: (n, L) codes.
        choices: (n, D) the architectures, each counted once.
    """
    shape = (codes.shape[1], choices.shape[1])
    symmetric, told = np.zeros(shape), np.zeros(shape)
    for position in range(shape[0]):
        code = codes[:, position].astype(np.int64)
        for decision in range(shape[1]):
            counts = np.zeros((code.max() + 1, int(choices[:, decision].max()) + 1))
            np.add.at(counts, (code, choices[:, decision]), 1)
            of_code, of_decision = _entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))
            shared = max(0.0, of_code + of_decision - _entropy(counts.ravel()))
            if of_code + of_decision > 0:
                symmetric[position, decision] = 2 * shared / (of_code + of_decision)
            if of_decision > 0:
                told[position, decision] = shared / of_decision
    return Information(symmetric, told)


def _entropy(counts: Matrix) -> float:
    """Entropy in nats of a distribution given by counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
