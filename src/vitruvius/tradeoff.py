"""The trade-off that a session with several objectives found, gathered from its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.pareto import hypervolume, nondominated
from vitruvius.findings import FrontLine
from vitruvius.knowledge.records import Learned

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """Scores and costs of what was measured.

    Attributes:
        names: Names of the costs.
        scores: (n,) turned so that larger is better, not-a-number where there is none.
        costs: (n, d).
    """

    names: tuple[str, ...]
    scores: Floats
    costs: Floats

    @staticmethod
    def of(counted: Sequence[Learned], names: Sequence[str], *, maximize: bool) -> Tradeoff:
        """Of a session's counted evaluations."""
        sign = 1.0 if maximize else -1.0
        scores = [np.nan if (s := x.measurement.score) is None else sign * s for x in counted]
        costs = [[known_costs(x).get(name, np.inf) for name in names] for x in counted]
        return Tradeoff(tuple(names), np.array(scores), np.array(costs).reshape(len(counted), len(names)))

    def front(self, counted: Sequence[Learned]) -> tuple[FrontLine, ...]:
        """The Pareto front, cheapest first."""
        good = np.flatnonzero(np.isfinite(self.scores))
        kept = good[nondominated(self.scores[good], self.costs[good])]
        return tuple(
            FrontLine(
                key=counted[i].measurement.key,
                score=float(counted[i].measurement.score or 0.0),
                costs=dict(zip(self.names, self.costs[i].tolist(), strict=True)),
                evaluation=int(i) + 1,
            )
            for i in kept[np.lexsort((self.scores[kept], self.costs[kept, 0]))]
        )


def volumes(
    curves: Mapping[str, Tradeoff], lowest: Sequence[float], highest: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """Hypervolume of each method after each evaluation, 1 for the best score at the lowest cost.

    Scores are scaled to what all methods together have seen, costs to their range in the space; the reference
    is the worst of each.

    Args:
        curves: What each method measured.
        lowest: (d,) lowest costs in the space.
        highest: (d,) highest costs.
    """
    every = np.concatenate([curve.scores for curve in curves.values()])
    every = every[np.isfinite(every)]
    if not len(every):
        return {}
    worst, span = float(every.min()), float(np.ptp(every)) or 1.0
    low, wide = np.array(lowest), np.maximum(np.array(highest) - np.array(lowest), 1e-12)
    found: dict[str, tuple[float, ...]] = {}
    for name, curve in curves.items():
        gain, price = (curve.scores - worst) / span, (curve.costs - low) / wide
        good = np.isfinite(gain)
        ones = np.ones(price.shape[1])
        found[name] = tuple(
            round(hypervolume(gain[:n][good[:n]], price[:n][good[:n]], 0.0, ones), 5)
            for n in range(1, len(gain) + 1)
        )
    return found


def known_costs(learned: Learned) -> dict[str, float]:
    """What a measurement knows of costs, by the names that predicates use."""
    m = learned.measurement
    known = {"params": m.params, "flops": m.flops}
    known |= {f"latency[{device}]": value for device, value in m.latency.items()}
    return {name: value for name, value in known.items() if value is not None}


def of_baseline(facts: Mapping[str, Any], names: Sequence[str], *, maximize: bool) -> Tradeoff:
    """What a baseline measured, as its event has it."""
    sign = 1.0 if maximize else -1.0
    scores = np.array([np.nan if s is None else sign * s for s in facts["scores"]], dtype=np.float64)
    return Tradeoff(
        tuple(names), scores, np.array(facts["costs"], dtype=np.float64).reshape(len(scores), len(names))
    )
