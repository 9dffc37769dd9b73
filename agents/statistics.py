"""The reasoner that needs no language model: it mines contrasts between measured architectures.

Every simple predicate of the space is a candidate: a choice at a decision, counts, depth, what feeds
what, paths, and pairs of the strongest. What stands out on the uniform draws that a reasoner may see,
with false discoveries controlled, is proposed; of predicates that say nearly the same, the stronger one.
No candidate is preferred for the operation that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.reasoner import Brief, Reflection
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import All, Choice, Count, Depth, Feeds, Path, Predicate
from vitruvius.knowledge.principle import Principle, PrincipleStatus, Proposal, principle_id

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST_ROWS = 8
"""Uniform draws that a task must have to be looked at."""
FEWEST_SIDE = 3
"""Uniform draws of a task that must hold, and that must lack, for a contrast there."""
DISCOVERIES = 0.10
"""False discovery rate among what is proposed (Benjamini and Hochberg, 1995)."""
SMALLEST = 0.05
"""Least difference of mean quantile that is proposed."""
SAME = 0.7
"""Predicates that correlate more than this, in absolute value, say the same."""
PAIRED = 12
"""How many of the strongest predicates that help, and of those that hurt, are joined into pairs."""
GAIN = 0.03
"""What a pair must add to the cautious effect of either part."""


@dataclass(slots=True)
class _Contrasts:
    """c candidates measured on t tasks.

    Attributes:
        predicates: The candidates.
        holds: (c, n) where they hold, over the draws of all tasks in a row.
        mean: (c,) random-effects mean of the difference of mean quantile.
        error: (c,) its standard error.
        p: (c,) two-sided p value.
    """

    predicates: list[Predicate]
    holds: Mask
    mean: Floats
    error: Floats
    p: Floats

    @property
    def cautious(self) -> Floats:
        """Effect less three standard errors, without sign: what candidates are ranked by, (c,).

        About what fresh evidence of the same size would prove; rare predicates with large effects that
        nobody can confirm stand behind.
        """
        return np.abs(self.mean) - 3.0 * self.error


class StatisticsReasoner:
    """Proposes what stands out in the measurements. Deterministic; nothing is drawn at random."""

    name = "statistics"
    uses_templates = False

    def reflect(self, brief: Brief) -> Reflection:
        """Propose at most `brief.limit` principles; their scope is the task, or any if several were seen."""
        reflection = Reflection()
        seen = [_uniform(o) for o in brief.observations if o.space.name == brief.space.name]
        seen = [o for o in seen if len(o) >= FEWEST_ROWS]
        if not seen:
            reflection.notes.append(
                f"The statistics reasoner saw too little: no task of {brief.space.name} has "
                f"{FEWEST_ROWS} uniform draws yet."
            )
            return reflection
        populations = [Population(o.space, o.choices, o.costs) for o in seen]
        found = _measure(candidates(brief.space, populations), populations, seen)
        found, adds = _with_pairs(found, populations, seen)
        good = np.flatnonzero(_discovered(found.p, DISCOVERIES) & (np.abs(found.mean) >= SMALLEST) & adds)
        ranked = good[np.argsort(-found.cautious[good], kind="stable")]
        scope = seen[0].task if len(seen) == 1 else "any"
        reflection.proposals = _pick(brief, found, ranked, populations, scope)
        reflection.notes.append(
            f"Of {len(found.predicates)} contrasts on {len(seen)} task{'s' if len(seen) > 1 else ''}, "
            f"{len(good)} stood out (false discovery rate {DISCOVERIES:.0%}) and "
            f"{len(reflection.proposals)} that say different things were proposed."
        )
        return reflection

    def close(self) -> None:
        """Nothing to free."""


def candidates(space: SearchSpace, populations: Sequence[Population]) -> list[Predicate]:
    """Every simple predicate of the space, with counts and depths up to what occurs."""
    found: list[Predicate] = []
    for decision in space.decisions:
        if len(decision.choices) > 1:
            found += [Choice(decision=decision.name, among=(choice,)) for choice in decision.choices]
    groups = [(name,) for name in space.operations] + list(combinations(space.operations, 2))
    for group in groups:
        most = max(int(population.count(group).max()) for population in populations)
        found += [Count(operations=group, comparison=">=", value=k) for k in range(1, most + 1)]
        found.append(Path(operations=group))
    deepest = max(int(population.depth.max()) for population in populations)
    found += [Depth(comparison=">=", value=k) for k in range(1, deepest + 1)]
    found += [Feeds(first=a, second=b) for a, b in product(space.operations, repeat=2)]
    return found


def _uniform(observed: Observations) -> Observations:
    """The visible uniform draws, with quantiles among just these."""
    visible = observed.visible()
    drawn = visible.take(visible.uniform)
    return replace(drawn, reference=np.sort(drawn.scores))


def _measure(
    predicates: Sequence[Predicate], populations: Sequence[Population], seen: Sequence[Observations]
) -> _Contrasts:
    """Contrasts of the candidates that split at least one task; others are left out."""
    masks = [np.stack([p.holds(population) for p in predicates]) for population in populations]
    parts = [_differences(mask, observed.quantiles) for mask, observed in zip(masks, seen, strict=True)]
    differences = np.stack([part[0] for part in parts], axis=1)
    variances = np.stack([part[1] for part in parts], axis=1)
    kept = np.flatnonzero(np.isfinite(variances).any(axis=1))
    rows = np.array([len(observed) for observed in seen])
    mean, error, p = _join(differences[kept], variances[kept], rows)
    return _Contrasts([predicates[i] for i in kept], np.concatenate(masks, axis=1)[kept], mean, error, p)


def _differences(holds: Mask, values: Floats) -> tuple[Floats, Floats]:
    """Difference of means and its variance for c predicates; variance inf where a side is too small."""
    sides: list[tuple[Floats, Floats, Floats]] = []
    for side in (holds, ~holds):
        weight = side.astype(np.float64)
        n = weight.sum(axis=1)
        mean = weight @ values / np.maximum(n, 1)
        squares = np.maximum(weight @ values**2 - n * mean**2, 0.0)
        sides.append((n, mean, squares))
    (n1, mean1, squares1), (n0, mean0, squares0) = sides
    pooled = (squares1 + squares0) / max(len(values) - 2, 1) + 1e-6
    enough = (n1 >= FEWEST_SIDE) & (n0 >= FEWEST_SIDE)
    variance = pooled * (1 / np.maximum(n1, 1) + 1 / np.maximum(n0, 1))
    return mean1 - mean0, np.where(enough, variance, np.inf)


def _join(differences: Floats, variances: Floats, rows: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Random-effects mean over tasks (DerSimonian and Laird), its error, and a two-sided p value.

    Args:
        differences: (c, t).
        variances: (c, t), inf where a task says nothing.
        rows: (t,) draws of each task.

    Returns:
        Mean, standard error and p value, (c,) each.
    """
    from scipy.special import stdtr

    usable = np.isfinite(variances)
    tasks = usable.sum(axis=1)
    weights = np.where(usable, 1.0 / variances, 0.0)
    total = weights.sum(axis=1)
    fixed = (weights * differences).sum(axis=1) / total
    scatter = (weights * (differences - fixed[:, None]) ** 2).sum(axis=1)
    scale = total - (weights**2).sum(axis=1) / total
    between = np.where(tasks > 1, (scatter - (tasks - 1)) / np.where(scale > 0, scale, 1.0), 0.0).clip(
        min=0.0
    )
    weights = np.where(usable, 1.0 / (variances + between[:, None]), 0.0)
    total = weights.sum(axis=1)
    mean = (weights * differences).sum(axis=1) / total
    excess = (weights * (differences - mean[:, None]) ** 2).sum(axis=1) / np.maximum(tasks - 1, 1)
    error = np.sqrt(np.maximum(excess, 1.0) / total)
    within = np.where(usable, rows[None, :] - 2, 0).sum(axis=1)
    degrees = np.where(between > 0, tasks - 1, within).clip(min=1)
    return mean, error, 2.0 * stdtr(degrees, -np.abs(mean / error))


def _with_pairs(
    found: _Contrasts, populations: Sequence[Population], seen: Sequence[Observations]
) -> tuple[_Contrasts, Mask]:
    """The contrasts and those of pairs; and which add something to their parts, as single ones do.

    A pair is tried only where one of its parts is discovered without it (hierarchical testing; Yekutieli,
    JASA 2008): else the strongest of many chance contrasts would be joined, and found strong again.
    """
    alone = np.ones(len(found.predicates), dtype=np.bool_)
    proven = _discovered(found.p, DISCOVERIES)
    joins: list[tuple[int, int]] = []
    for sign in (1.0, -1.0):
        joins += [pair for pair in combinations(_strongest(found, sign), 2) if proven[[*pair]].any()]
    joins = [(i, j) for i, j in joins if (found.holds[i] & found.holds[j]).any()]
    if not joins:
        return found, alone
    conjunctions = [
        All.model_validate({"parts": (found.predicates[i], found.predicates[j])}) for i, j in joins
    ]
    pairs = _measure(conjunctions, populations, seen)
    parts: dict[Predicate, tuple[int, int]] = dict(zip(conjunctions, joins, strict=True))
    cautious = found.cautious
    gains = [
        pairs.cautious[at] >= max(cautious[i] for i in parts[predicate]) + GAIN
        for at, predicate in enumerate(pairs.predicates)
    ]
    together = _Contrasts(
        [*found.predicates, *pairs.predicates],
        np.concatenate([found.holds, pairs.holds]),
        np.append(found.mean, pairs.mean),
        np.append(found.error, pairs.error),
        np.append(found.p, pairs.p),
    )
    return together, np.append(alone, np.array(gains, dtype=np.bool_))


def _strongest(found: _Contrasts, sign: float) -> list[int]:
    """The first in rank whose effect has this sign and that say different things."""
    strong: list[int] = []
    for i in np.argsort(-found.cautious, kind="stable").tolist():
        new = found.mean[i] * sign > 0 and _different(found.holds[i], found.holds[strong], SAME)
        if new and len(strong) < PAIRED:
            strong.append(i)
    return strong


def _discovered(p: Floats, level: float) -> Mask:
    """Which hypotheses the Benjamini-Hochberg procedure rejects: (m,)."""
    ranked = np.sort(p)
    enough = np.flatnonzero(ranked <= level * np.arange(1, len(p) + 1) / len(p))
    return p <= (ranked[enough[-1]] if len(enough) else -1.0)


def _different(holds: Mask, others: Mask, limit: float) -> bool:
    """Whether a predicate correlates with none of the others, (k, n), more than the limit."""
    if not len(others):
        return True
    centred = holds - holds.mean()
    rest = others - others.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum() * (rest**2).sum(axis=1))
    return bool((np.abs(rest @ centred) <= limit * np.maximum(norms, 1e-12)).all())


def _pick(
    brief: Brief, found: _Contrasts, ranked: NDArray[np.intp], populations: Sequence[Population], scope: str
) -> list[Proposal]:
    """The first in rank that are new and say different things, at most `brief.limit`."""
    taken = _known_masks(brief.known, populations)
    old = {principle.id for principle in brief.known}
    proposals: list[Proposal] = []
    for i in ranked:
        if len(proposals) == brief.limit:
            break
        proposal = _proposal(found.predicates[i], float(found.mean[i]), brief.space, scope)
        others = np.array(taken, dtype=np.bool_).reshape(len(taken), found.holds.shape[1])
        if principle_id(proposal) not in old and _different(found.holds[i], others, SAME):
            proposals.append(proposal)
            taken.append(found.holds[i])
    return proposals


def _known_masks(known: Sequence[Principle], populations: Sequence[Population]) -> list[Mask]:
    """Where the principles that are not refuted hold, over the draws of all tasks in a row: (n,) each."""
    masks: list[Mask] = []
    for principle in known:
        predicate = Predicate.parse(principle.proposal.predicate)
        fits = all(predicate.fits(population.space, population.costs) for population in populations)
        if fits and principle.status is not PrincipleStatus.REFUTED:
            masks.append(np.concatenate([predicate.holds(population) for population in populations]))
    return masks


def _proposal(predicate: Predicate, mean: float, space: SearchSpace, scope: str) -> Proposal:
    place = "" if scope == "any" else f" on {scope}"
    effect = "better" if mean > 0 else "worse"
    return Proposal(
        sentence=f"An architecture that {predicate.clause()} does {effect}{place}.",
        predicate=predicate.to_json(),
        space=space.name,
        task=scope,
        direction=1 if mean > 0 else -1,
        expected=round(mean, 3),
    )
