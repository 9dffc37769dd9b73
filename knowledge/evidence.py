"""Evidence: every principle measured on everything in its scope, without a model call.

*Seen* is what lay in the ledger, open to the reasoner, when the principle was proposed: it was mined from
there and proves nothing. *Fresh* is what was measured afterwards or held back; only it can support.
Effects are differences of mean quantile, holding minus lacking, estimated on uniform draws alone. The
same over everything, biased as the search is, is kept as `naive`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.space import Architecture
from vitruvius.knowledge import intervals, joining
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
)

Mask = NDArray[np.bool_]
Sums = NDArray[np.floating]

SHARED_DRAWS = 0.25
"""Tasks with a larger share of common uniform draws were measured on the same draws."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the evidence must show; the one place for it.

    Attributes:
        level: Chance that an interval ever misses the true effect, over all looks.
        discoveries: False discovery rate over all principles ever proposed.
        useful: Least difference of mean quantile that is worth acting on.
        fewest: Least number of fresh uniform draws that hold, and that lack, before a status changes.
        ids_kept: Ids listed for and against a principle on each task, the most telling ones.
    """

    level: float = 0.05
    discoveries: float = 0.05
    useful: float = 0.05
    fewest: int = 5
    ids_kept: int = 50


@dataclass(frozen=True, slots=True)
class _Claim:
    """A principle with what is needed to measure it."""

    principle: Principle
    predicate: Predicate
    born: int

    @property
    def direction(self) -> int:
        return 1 if self.principle.proposal.direction >= 0 else -1


class Told:
    """What tasks said last of the principles: where nothing new was measured they say the same again."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._last: dict[str, tuple[Observations, object, list[tuple[int, TaskEvidence]]]] = {}

    def ask(
        self, claims: list[_Claim], observed: Observations, thresholds: Thresholds
    ) -> list[tuple[int, TaskEvidence]]:
        """As `_measure`; remembered for the same principles and the very same observations."""
        asked = (thresholds, [(c.principle.id, c.principle.origin, c.born) for c in claims])
        last = self._last.get(observed.task)
        if last is None or last[0] is not observed or last[1] != asked:
            last = (observed, asked, _measure(claims, observed, thresholds))
            self._last[observed.task] = last
        return last[2]


def assess(
    principles: Sequence[tuple[Principle, int]],
    observations: Sequence[Observations],
    thresholds: Thresholds = Thresholds(),
    told: Told | None = None,
) -> list[Principle]:
    """Measure principles on everything in their scope and say what the evidence says of each.

    Args:
        principles: Every principle ever proposed, with its order of birth: what has a smaller order in
            the ledger, and was not held back, was seen.
        observations: Measurements, one entry for each task.
        thresholds: What the evidence must show.
        told: What was worked out before, for whoever asks again and again.

    Returns:
        The principles in the same order with new evidence and status; superseded and retracted ones keep
        their status. They count among those proposed, whatever became of them.
    """
    claims = [_Claim(p, Predicate.parse(p.proposal.predicate), born) for p, born in principles]
    found: list[list[TaskEvidence]] = [[] for _ in claims]
    told = told if told is not None else Told()
    for observed in observations:
        if len(observed):
            for i, said in told.ask(claims, observed, thresholds):
                found[i].append(said)
    draws = _draws(observations)
    joined = [_join(tasks, draws, thresholds) for tasks in found]
    log_evalues = np.array([np.log(each.evalue) if each is not None else 0.0 for each in joined])
    discovered = joining.discoveries(log_evalues, thresholds.discoveries)
    return [
        replace(
            claim.principle,
            evidence=Evidence(tuple(tasks), effect),
            status=_status(claim, tasks, effect, bool(discovery), thresholds),
        )
        for claim, tasks, effect, discovery in zip(claims, found, joined, discovered, strict=True)
    ]


def in_scope(proposal: Proposal, predicate: Predicate, observed: Observations) -> bool:
    """Whether a proposal speaks of these observations, and can be checked on them."""
    return (
        proposal.space in ("any", observed.space.name)
        and proposal.task in ("any", observed.task)
        and predicate.fits(observed.space, observed.costs)
    )


def _columns(observed: Observations) -> NDArray[np.float32]:
    """What is summed over observations: (n, BINS + 3).

    First the uniform draws' shares in the bins of `intervals`, then value and 1 of every observation.
    """
    values = observed.quantiles
    shares = intervals.spread(values) * observed.uniform[:, None].astype(np.float32)
    return np.column_stack([shares, values, np.ones(len(values))]).astype(np.float32)


def _effects(
    with_it: Sums, without: Sums, directions: NDArray[np.int64], level: float
) -> list[Effect | None]:
    """Effects from the sums of `_columns` over what holds and over what lacks; (p, BINS + 3) each.

    None where there are not uniform draws on both sides.
    """
    first, second = with_it[:, :-2].clip(min=0), without[:, :-2].clip(min=0)
    holding, lacking = first.sum(axis=1), second.sum(axis=1)
    both = np.flatnonzero((holding > 0.5) & (lacking > 0.5))
    first, second = first[both], second[both]
    low, high = intervals.difference(first, second, level)
    positive = (directions[both] > 0)[:, None]
    log_e = intervals.log_evalue(np.where(positive, first, second), np.where(positive, second, first))
    evalue = np.exp(log_e.clip(-600.0, 600.0))
    estimate = intervals.means(first) - intervals.means(second)
    naive = [side[both, -2] / side[both, -1].clip(min=1) for side in (with_it, without)]
    found: list[Effect | None] = [None] * len(with_it)
    for at, i in enumerate(both):
        found[i] = Effect(
            float(estimate[at]), float(low[at]), float(high[at]), round(holding[i]), round(lacking[i]),
            float(evalue[at]), float(naive[0][at] - naive[1][at]),
        )  # fmt: skip
    return found


def _measure(
    claims: list[_Claim], observed: Observations, thresholds: Thresholds
) -> list[tuple[int, TaskEvidence]]:
    """What one task says of the claims whose scope it is in, each with the claim's position."""
    places = [i for i, c in enumerate(claims) if in_scope(c.principle.proposal, c.predicate, observed)]
    if not places:
        return []
    population = Population(observed.space, observed.choices, observed.costs)
    holds = np.stack([claims[i].predicate.holds(population) for i in places])
    born = np.array([claims[i].born for i in places])
    directions = np.array([claims[i].direction for i in places])
    foreign = np.array([_came_from_there(claims[i].principle, observed) for i in places])
    fresh = observed.held[None, :] | (observed.order[None, :] >= born[:, None])
    fresh &= ~foreign[:, None]
    columns = _columns(observed)
    everywhere = holds.astype(np.float32) @ columns
    afterwards = (holds & fresh).astype(np.float32) @ columns
    total, later = columns.sum(axis=0, dtype=np.float64), _fresh_sums(observed, columns, born)
    later[foreign] = 0.0
    after = _effects(afterwards, later - afterwards, directions, thresholds.level)
    seen = everywhere - afterwards
    before = _effects(seen, total - later - seen, directions, thresholds.level)
    agrees = (holds == (observed.quantiles >= 0.5)[None, :]) == (directions > 0)[:, None]
    supporting, contradicting = _telling(agrees, observed, thresholds.ids_kept)
    agreeing = agrees.sum(axis=1).tolist()
    return [
        (i, TaskEvidence(
            observed.task, before[row], after[row], supporting[row], contradicting[row],
            agreeing[row], len(observed) - agreeing[row],
        ))
        for row, i in enumerate(places)
    ]  # fmt: skip


def _came_from_there(principle: Principle, observed: Observations) -> bool:
    """Whether it came in a pack that was learned on this very data set: nothing there is fresh for it."""
    return bool(principle.origin.pack) and observed.label in principle.origin.labels


def _fresh_sums(observed: Observations, columns: NDArray[np.float32], born: NDArray[np.int64]) -> Sums:
    """Sums of columns over what is fresh for each order of birth: (p, BINS + 3)."""
    held = columns[observed.held].sum(axis=0, dtype=np.float64)
    rest, orders = columns[~observed.held], observed.order[~observed.held]
    before = np.vstack([np.zeros(columns.shape[1]), np.cumsum(rest, axis=0, dtype=np.float64)])
    return held + before[-1] - before[np.searchsorted(orders, born, side="left")]


def _telling(
    agrees: Mask, observed: Observations, kept: int
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Ids for and against each of p predicates: those farthest from the median first."""
    ranked = np.argsort(-np.abs(observed.quantiles - 0.5), kind="stable")
    pro, contra = _first_true(agrees, ranked, kept), _first_true(~agrees, ranked, kept)
    needed = np.unique(np.concatenate([*pro, *contra]))
    ids = np.empty(len(observed), dtype=object)
    ids[needed] = observed.space.ids(observed.choices[needed])
    return [tuple(ids[rows]) for rows in pro], [tuple(ids[rows]) for rows in contra]


def _first_true(masks: Mask, ranked: NDArray[np.intp], kept: int) -> list[NDArray[np.intp]]:
    """The first `kept` places, in the order of `ranked`, where each mask (n,) is true."""
    head = ranked[: 8 * kept]
    near = masks[:, head]  # nearly always enough, and much less to walk through
    found: list[NDArray[np.intp]] = []
    for mask, few in zip(masks, near, strict=True):
        places = head[few]
        found.append((places if len(places) >= kept else ranked[mask[ranked]])[:kept])
    return found


def _draws(observations: Sequence[Observations]) -> dict[str, int]:
    """Which tasks were measured on the same draws of architectures: task -> number of the draw.

    Tasks whose uniform draws overlap far beyond chance count as one draw: they are not independent.
    """
    draws: dict[str, int] = {}
    drawn = [np.unique(o.space.numbers(o.choices[o.uniform])) for o in observations]
    for i, one in enumerate(observations):
        draws[one.task] = i
        for j, other in enumerate(observations[:i]):
            smaller = min(len(drawn[i]), len(drawn[j]))
            if one.space is other.space and smaller:
                shared = len(np.intersect1d(drawn[i], drawn[j], assume_unique=True))
                if shared > SHARED_DRAWS * smaller:  # whoever went with either goes with both
                    mine, theirs = draws[one.task], draws[other.task]
                    draws = {task: theirs if draw == mine else draw for task, draw in draws.items()}
    return draws


def _join(tasks: Sequence[TaskEvidence], draws: dict[str, int], thresholds: Thresholds) -> Effect | None:
    """Fresh effects over tasks: random-effects mean and joined e-value."""
    told = [(draws[task.task], task.fresh) for task in tasks if task.fresh is not None]
    if not told:
        return None
    fresh = [effect for _, effect in told]
    values, lows, highs, log_evalues = np.array(
        [(e.estimate, e.low, e.high, np.log(e.evalue)) for e in fresh]
    ).T
    estimate, low, high = joining.random_effects(values, lows, highs, thresholds.level)
    log_evalue = joining.joined_log_evalue(log_evalues, [draw for draw, _ in told])
    weights = joining.task_weights(values, lows, highs, thresholds.level)
    entered = [e for e, weight in zip(fresh, weights, strict=True) if weight > 0]
    sampled = [(e.naive, weight) for e, weight in zip(fresh, weights, strict=True) if e.naive is not None]
    weighed = sum(weight for _, weight in sampled)
    naive = float(sum(value * weight for value, weight in sampled) / weighed) if weighed else None
    return Effect(
        estimate, low, high, sum(e.holding for e in entered), sum(e.lacking for e in entered),
        float(np.exp(np.clip(log_evalue, -600.0, 600.0))), naive,
    )  # fmt: skip


def untold(tasks: Iterable[tuple[str, Effect | None]]) -> list[str]:
    """The tasks that a joined effect leaves out, because too little was measured there.

    Args:
        tasks: Name and effect of each task.
    """
    told = [(name, effect) for name, effect in tasks if effect is not None]
    if not told:
        return []
    lows, highs = np.array([(effect.low, effect.high) for _, effect in told]).T
    entered = joining.tell(lows, highs)
    return [name for (name, _), enters in zip(told, entered, strict=True) if not enters]


def _status(
    claim: _Claim, tasks: Sequence[TaskEvidence], joined: Effect | None, discovered: bool, limits: Thresholds
) -> PrincipleStatus:
    if claim.principle.status in (PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED):
        return claim.principle.status
    if joined is None or min(joined.holding, joined.lacking) < limits.fewest:
        return PrincipleStatus.PROPOSED
    fresh = [_turned(task.fresh, claim.direction) for task in tasks if task.fresh is not None]
    if any(low > 0 for _, low, _ in fresh) and any(high < 0 for _, _, high in fresh):
        return PrincipleStatus.CONTESTED
    estimate, low, high = _turned(joined, claim.direction)
    if discovered and low > 0 and estimate >= limits.useful:
        return PrincipleStatus.SUPPORTED
    return PrincipleStatus.REFUTED if high < limits.useful else PrincipleStatus.PROPOSED


def _turned(effect: Effect, direction: int) -> tuple[float, float, float]:
    """Estimate and interval in the direction claimed."""
    if direction > 0:
        return effect.estimate, effect.low, effect.high
    return -effect.estimate, -effect.high, -effect.low


def agrees(principle: Principle, architecture: Architecture, costs: Mapping[str, float]) -> bool:
    """Whether an architecture does what a principle advises; not where its costs are not known.

    Args:
        principle: The principle.
        architecture: The architecture.
        costs: What is known of its costs, by name.
    """
    predicate = Predicate.parse(principle.proposal.predicate)
    if not predicate.fits(architecture.space, costs):
        return False
    return predicate.holds_one(architecture, costs) == (principle.proposal.direction > 0)
