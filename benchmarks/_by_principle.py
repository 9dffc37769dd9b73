"""Part of `control.py`: how many draws satisfy predicates that nothing was trained on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import _paired
import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.ceilings import unique_share
from vitruvius.generator.library import CodeModel
from vitruvius.generator.position_masks import PositionMasks
from vitruvius.generator.proposers.base import Guide, Proposer, Request
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.population import Mask, Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.steering import all_rows, guide_towards

SHARES = (0.07, 0.13)
"""A predicate, or two joined, is used where it holds for such a share of the space."""
FEW = 2000
"""Draws of the controls, of which only the share that satisfies is counted."""
LOOSE = 0.2
"""Each of two joined predicates alone holds for at least this share: both matter."""


def texts(space: SearchSpace) -> Iterator[str]:
    """Single predicates about a space: counts, depth, paths, what feeds what, choices."""
    names = space.operations
    groups = [*names, *("|".join(pair) for pair in itertools.combinations(names, 2))]
    for value in range(1, 7):
        yield from (f"depth {sign} {value}" for sign in ("<=", ">="))
        yield from (f"count({group}) >= {value}" for group in groups)
    yield from (f"path({group})" for group in groups)
    yield from (f"{first} feeds {second}" for first in names for second in names)
    for decision in space.decisions[:: max(1, len(space.decisions) // 8)]:
        yield from (f'op("{decision.name}") = "{choice}"' for choice in decision.choices)


def choose(space: SearchSpace, singles: int, pairs: int, seed: int) -> list[tuple[str, Mask]]:
    """Predicates of about a tenth of the space, and where each holds: texts and (N,) masks."""
    population = Population(space, all_rows(space))
    found: list[tuple[str, Mask]] = []
    for text in texts(space):
        predicate = Predicate.parse(text)
        if predicate.fits(space):
            found.append((text, predicate.holds(population)))
    rng = np.random.default_rng(seed)
    order = [found[i] for i in rng.permutation(len(found))]
    low, high = SHARES
    chosen = [one for one in order if low <= one[1].mean() <= high][:singles]
    loose = [one for one in order if LOOSE <= one[1].mean() <= 1 - LOOSE / 2][:40]
    both = (
        (f"{a} and {b}", here & there)
        for (a, here), (b, there) in itertools.combinations(loose, 2)
        if low <= (here & there).mean() <= high
    )
    spread = list(itertools.islice(both, 10 * pairs))
    return chosen + [spread[i] for i in rng.permutation(len(spread))[:pairs]]


def named(space: SearchSpace, wished: list[str]) -> list[tuple[str, Mask]]:
    """Predicates that somebody wrote, as `choose` returns them."""
    population = Population(space, all_rows(space))
    return [(text, Predicate.parse(text).holds(population)) for text in wished]


@dataclass(frozen=True)
class Trial:
    """One predicate on one model, with one engine."""

    model: CodeModel
    proposer: Proposer
    text: str
    mask: Mask
    draws: int
    seed: int

    def run(self) -> dict[str, Any]:
        """Shares of draws that satisfy: unguided, held to positions, guided; how often these repeat."""
        codec = self.model.codec
        begin = time.perf_counter()
        guide = guide_towards(codec, codec.space, self.mask)
        seconds = time.perf_counter() - begin
        wanted = codec.encode(all_rows(codec.space)[self.mask][:20_000])
        few = min(self.draws, FEW)
        free, held = (
            self._satisfying(one, few) for one in (None, PositionMasks(wanted, codec.codebook_size))
        )
        led = self._satisfying(guide, self.draws)
        size = codec.space.size
        ceiling = unique_share(np.ones(int(self.mask.sum())), self.draws) if size is not None else 1.0
        return {
            "predicate": self.text, "share": float(self.mask.mean()), "rejection": free[0],
            "positions": held[0], "guide": led[0], "valid": led[1], "unique": led[2], "ceiling": ceiling,
            "of_ceiling": led[2] / ceiling, "guide_seconds": round(seconds, 3),
            "draw_seconds": round(led[3], 2),
        }  # fmt: skip

    def _satisfying(self, guide: Guide | None, draws: int) -> tuple[float, float, float, float]:
        """Shares of draws that satisfy and that are valid, of distinct keys among the former; seconds."""
        codec = self.model.codec
        drawn = self.proposer.draw(Request(n=draws, seed=self.seed, guide=guide))
        rows = codec.decode(drawn.codes)
        rows = rows[codec.space.valid(rows)]
        valid = len(rows)
        rows = codec.space.normalise(rows)
        rows = rows[Predicate.parse(self.text).holds(Population(codec.space, rows))]
        keys = len(np.unique(codec.space.numbers(rows)))
        return len(rows) / draws, valid / draws, keys / max(1, len(rows)), drawn.seconds


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, 95 % interval over predicates, and least of each figure."""
    figures: dict[str, Any] = {}
    for name in ("share", "rejection", "positions", "guide", "valid", "of_ceiling", "guide_seconds"):
        values = np.array([trial[name] for trial in trials])
        figures[name] = {**interval(values), "least": round(float(values.min()), 4)}
    return figures


def interval(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean and percentile bootstrap interval of the mean."""
    return dict(zip(("mean", "low", "high"), _paired.interval(values, 4), strict=True))
