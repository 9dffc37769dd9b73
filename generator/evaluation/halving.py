"""Cheap training for many, full training for few: successive halving and Hyperband over epochs and width.

Karnin, Koren & Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013; Li et al.,
"Hyperband", JMLR 2018. A rung is a recipe with fewer epochs, and if wished fewer channels. It is another
recipe, so a measurement of one rung is never taken for that of another: the recipe's hash is part of its
identity. Inside a rung those are stopped that learn more slowly than all of its leaders (`stopping`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.stopping import bar_of
from vitruvius.generator.evaluation.task import Evaluator, Measurement, Status
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.train_bench import TrainBench
from vitruvius.generator.space import Architecture, SearchSpace

Measure = Callable[[Recipe, Sequence[Architecture], int], list[Measurement]]
"""Trains architectures with a recipe; so many of them, the first ones being the likeliest, can be promoted.
Where a measurement is known already, that may be given. 0 is the last rung: none is stopped early."""


class Trains(Evaluator, Protocol):
    """An evaluator that trains, with processes of its own."""

    def close(self) -> None:
        """End them."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """A measurement in a rung, and the curve of its training loss, epoch by epoch, where it is known."""

    measurement: Measurement
    curve: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rung:
    """What was trained with one recipe.

    Attributes:
        recipe: Which.
        measurements: Best first; those without a score last.
        agreement: Spearman correlation with the scores of the rung below, over the candidates that both
            trained: the best of the one below, so over all it would be higher. None for fewer than three.
        compared: Over how many candidates.
        drawn: Whether they were drawn for this rung, not promoted to it.
    """

    recipe: Recipe
    measurements: tuple[Measurement, ...]
    agreement: float | None = None
    compared: int = 0
    drawn: bool = False

    @property
    def stopped(self) -> int:
        """How many were stopped early."""
        return sum(m.status is Status.STOPPED for m in self.measurements)


def rung_recipes(
    recipe: Recipe, factor: int = 3, rungs: int = 3, narrowest: int | None = None
) -> list[Recipe]:
    """The recipes of all rungs, the cheapest first and the full one last.

    Args:
        recipe: The full one.
        factor: From one rung to the next epochs grow by so much.
        rungs: How many at most; recipes with less than one epoch are left out.
        narrowest: Channels of the first stage in the cheapest rung, growing evenly to the full recipe's.

    Raises:
        UserError: A factor below 2, no rung, or more channels than the full recipe has.
    """
    if factor < 2 or rungs < 1:
        raise UserError(
            f"Halving by {factor} with {rungs} rungs is not allowed; at least by 2, with one rung."
        )
    if narrowest is not None and recipe.width == 0:
        raise UserError(f"narrowest={narrowest} needs a recipe that says its width; this one leaves it open.")
    if narrowest is not None and not 0 < narrowest <= recipe.width:
        raise UserError(f"narrowest={narrowest} is not allowed; the full recipe has {recipe.width} channels.")
    steps = [k for k in range(rungs - 1, -1, -1) if k == 0 or recipe.epochs >= factor**k]
    found: list[Recipe] = []
    for place, k in enumerate(steps):
        width = recipe.width
        if narrowest is not None and len(steps) > 1:
            width = round(narrowest + (recipe.width - narrowest) * place / (len(steps) - 1))
        epochs = recipe.epochs if k == 0 else round(recipe.epochs / factor**k)
        found.append(recipe.model_copy(update={"epochs": epochs, "width": width}))
    return found


class Trainer:
    """Trains rungs, whatever the recipe; its processes end after each.

    On one machine the leaders of a rung are trained first, then the others, of which those are stopped that
    fall behind all leaders. A crew of workers trains all at once, to the end.
    """

    def __init__(
        self,
        at: Callable[[Recipe], Trains],
        space: SearchSpace,
        dataset: str,
        *,
        known: Iterable[Trial] = (),
        record: Callable[[Trial], None] | None = None,
        seed: int = 0,
    ) -> None:
        """Set up.

        Args:
            at: What trains with a recipe.
            space: Of the candidates.
            dataset: Name of the data set.
            known: What need not be trained again.
            record: Called with each new trial as it is done.
            seed: Of weights, order and augmentation.
        """
        self._at, self._space, self._dataset, self._seed = at, space, dataset, seed
        self._known, self._record = list(known), record

    def __call__(
        self, recipe: Recipe, architectures: Sequence[Architecture], keep: int = 0
    ) -> list[Measurement]:
        """Train what is not known yet; a measurement for each, in order.

        Args:
            recipe: How.
            architectures: What, the likeliest first.
            keep: How many can be promoted; 0 stops none.
        """
        evaluator = self._at(recipe)
        try:
            bench = evaluator.open(self._space, self._dataset)
            identity = (bench.evaluator, bench.fingerprint, self._seed)
            known = {
                m.key: trial
                for trial in self._known
                if ((m := trial.measurement).evaluator, m.fingerprint, m.seed) == identity
            }
            asked = [bench.representative(one) for one in architectures]
            racing = keep > 0 and isinstance(bench, TrainBench)
            leaders, others = (asked[:keep], asked[keep:]) if racing else (asked, [])
            first = _without(leaders, known)
            for measurement in bench.measure(first, seed=self._seed) if first else ():
                known[measurement.key] = self._trial(bench, measurement)
            if isinstance(bench, TrainBench) and (todo := _without(others, known)):
                bar = bar_of([known[one.key].curve for one in leaders], recipe.epochs)
                for measurement in bench.measure(todo, seed=self._seed, bar=bar):
                    known[measurement.key] = self._trial(bench, measurement)
            return [known[one.key].measurement for one in asked]
        finally:
            evaluator.close()

    def _trial(self, bench: object, measurement: Measurement) -> Trial:
        curve = bench.curves.get(measurement.key, ()) if isinstance(bench, TrainBench) else ()
        trial = Trial(measurement, curve)
        self._known.append(trial)
        if self._record is not None:
            self._record(trial)
        return trial


def trainer(train: Train, space: SearchSpace, seed: int = 0) -> Trainer:
    """Trains rungs with `train`'s data and limits."""
    return Trainer(train.with_recipe, space, train.images.name, seed=seed)


def _without(architectures: Sequence[Architecture], known: Mapping[str, Trial]) -> list[Architecture]:
    """Those that are not known, each once."""
    return list({one.key: one for one in architectures if one.key not in known}.values())


def promote(
    below: Sequence[Measurement],
    recipes: Sequence[Recipe],
    measure: Measure,
    space: SearchSpace,
    factor: int = 3,
) -> Iterator[Rung]:
    """Train the best of a rung with the next recipe, the best of these with the one after it, and so on.

    Args:
        below: What was measured in the lowest rung.
        recipes: Those of the rungs above it; the last gets `factor` candidates, each below more.
        measure: What trains.
        space: The space of the candidates.
        factor: See there; never are more promoted than a rung has scores.

    Yields:
        Each rung above the lowest, as it is done.
    """
    for place, recipe in enumerate(recipes):
        above = len(recipes) - 1 - place
        best = [space.parse(m.key) for m in _ranked(below) if m.ok][: factor ** (above + 1)]
        rung = _rung(recipe, measure(recipe, best, factor**above if above else 0), below)
        yield rung
        below = rung.measurements


def hyperband(
    draw: Callable[[int], Sequence[Architecture]],
    recipes: Sequence[Recipe],
    measure: Measure,
    space: SearchSpace,
    factor: int = 3,
    start: int = 0,
) -> Iterator[Rung]:
    """Successive halving from each rung in turn: many candidates from the cheapest, few from the full one.

    So it does not matter much whether cheap scores can be trusted. Bracket s draws R / (s + 1) * factor^s
    candidates, rounded up, with R rungs (algorithm 1 of the paper).

    Args:
        draw: Gives so many new candidates.
        recipes: Of all rungs, the cheapest first.
        measure: What trains.
        space: The space of the candidates.
        factor: So many times fewer candidates reach the next rung.
        start: The rung that the first bracket begins with; 1 leaves out the bracket with the cheapest.

    Yields:
        Each rung of each bracket, as it is done.
    """
    top = len(recipes) - 1
    for s in range(top - start, -1, -1):
        below: Sequence[Measurement] = ()
        alive = list(draw(math.ceil((top + 1) / (s + 1) * factor**s)))
        for recipe in recipes[top - s :]:
            keep = max(1, len(alive) // factor)
            rung = _rung(recipe, measure(recipe, alive, 0 if recipe is recipes[-1] else keep), below)
            yield rung
            below = rung.measurements
            alive = [space.parse(m.key) for m in below if m.ok][:keep]


def _rung(recipe: Recipe, found: Sequence[Measurement], below: Sequence[Measurement]) -> Rung:
    before = {m.id: m.score for m in below if m.ok}
    pairs = [(before[m.id], m.score) for m in found if m.ok and m.id in before]
    agreement = _spearman(np.array(pairs, dtype=np.float64)) if len(pairs) >= 3 else None
    return Rung(recipe, tuple(_ranked(found)), agreement, len(pairs), drawn=not below)


def _ranked(measurements: Sequence[Measurement]) -> list[Measurement]:
    return sorted(measurements, key=lambda m: (m.score is None, -(m.score or 0.0)))


def _spearman(pairs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float | None:
    from scipy.stats import rankdata  # here: it loads for half a second

    ranks = [rankdata(column) for column in pairs.T]
    if any(np.ptp(column) == 0 for column in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])
