"""Cheap training for many, full training for few: successive halving and Hyperband over epochs and width.

Karnin, Koren & Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013; Li et al.,
"Hyperband", JMLR 2018. A rung is a recipe with fewer epochs, and if wished fewer channels. It is another
recipe, so a measurement of one rung is never taken for that of another: the recipe's hash is part of its
identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.space import Architecture, SearchSpace

Measure = Callable[[Recipe, Sequence[Architecture]], list[Measurement]]
"""Trains architectures with a recipe; where a measurement is known already, that may be given."""


@dataclass(frozen=True, slots=True)
class Rung:
    """What was trained with one recipe.

    Attributes:
        recipe: Which.
        measurements: Best first; those without a score last.
        agreement: Spearman correlation with the scores of the rung below, over the candidates that both
            trained: the best of the one below, so over all it would be higher. None for fewer than three.
        compared: Over how many candidates.
    """

    recipe: Recipe
    measurements: tuple[Measurement, ...]
    agreement: float | None = None
    compared: int = 0


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


def trainer(train: Train, space: SearchSpace, seed: int = 0) -> Measure:
    """Trains with `train`'s data and limits, whatever the recipe; its processes end after each rung."""

    def measure(recipe: Recipe, architectures: Sequence[Architecture]) -> list[Measurement]:
        other = train.with_recipe(recipe)
        try:
            return list(other.open(space, train.images.name).measure(architectures, seed=seed))
        finally:
            other.close()

    return measure


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
        many = factor ** (len(recipes) - place)
        best = [space.parse(m.key) for m in _ranked(below) if m.ok][:many]
        rung = _rung(recipe, measure(recipe, best), below)
        yield rung
        below = rung.measurements


def hyperband(
    draw: Callable[[int], Sequence[Architecture]],
    recipes: Sequence[Recipe],
    measure: Measure,
    space: SearchSpace,
    factor: int = 3,
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

    Yields:
        Each rung of each bracket, as it is done.
    """
    top = len(recipes) - 1
    for s in range(top, -1, -1):
        below: Sequence[Measurement] = ()
        alive = list(draw(math.ceil((top + 1) / (s + 1) * factor**s)))
        for recipe in recipes[top - s :]:
            rung = _rung(recipe, measure(recipe, alive), below)
            yield rung
            below = rung.measurements
            keep = max(1, len(alive) // factor)
            alive = [space.parse(m.key) for m in below if m.ok][:keep]


def _rung(recipe: Recipe, found: Sequence[Measurement], below: Sequence[Measurement]) -> Rung:
    before = {m.id: m.score for m in below if m.ok}
    pairs = [(before[m.id], m.score) for m in found if m.ok and m.id in before]
    agreement = _spearman(np.array(pairs, dtype=np.float64)) if len(pairs) >= 3 else None
    return Rung(recipe, tuple(_ranked(found)), agreement, len(pairs))


def _ranked(measurements: Sequence[Measurement]) -> list[Measurement]:
    return sorted(measurements, key=lambda m: (m.score is None, -(m.score or 0.0)))


def _spearman(pairs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float | None:
    ranks = [rankdata(column) for column in pairs.T]
    if any(np.ptp(column) == 0 for column in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])
