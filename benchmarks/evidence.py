"""Do the intervals of fresh evidence hold what they promise, under the search's own biased sampling?

Real sessions on NAS-Bench-201 (the folder with `nasbench201.parquet` is named by VITRUVIUS_TABLES), or
simulated ones whose batches regularised evolution draws (`--sampler evolution`): an initial uniform design,
which freezes the reference and from which principles are proposed, then batches chosen by the search, with
the open share drawn uniformly. After every batch the evidence of every principle is compared with its true
effect over the whole table. A principle is *covered* when no interval of the
session missed. The control is what one would write down without care: a normal interval over everything
measured since the principle was proposed.

    VITRUVIUS_TABLES=FOLDER python benchmarks/evidence.py --seeds 30
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _record import print_record
from numpy.typing import NDArray

from vitruvius.agents.statistics import candidates
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Choices
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.observations import Observations, midranks
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Origin, Principle, Proposal, principle_id

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
BATCH, INITIAL, RANDOM, MINED = 5, 10, 20, 20


@dataclass(frozen=True)
class World:
    """A task measured completely: row i of `choices` is what is measured when key i is drawn."""

    task: Task
    choices: Choices
    scores: Floats
    first: NDArray[np.int64]
    population: Population
    holds: Mask
    predicates: list[Predicate]


def open_world(name: str) -> World:
    """Measure every class at its representative."""
    task = Task(name)
    space = task.space
    everything = space.enumerate()
    places: dict[str, int] = {}
    first = np.array([places.setdefault(identity, i) for i, identity in enumerate(space.ids(everything))])
    classes = np.unique(first)
    members = space.architectures(everything[classes])
    stand_ins = [task.bench.representative(member) for member in members]
    measured = {m.key: m.score for m in task.bench.measure(stand_ins) if m.score is not None}
    rows, scores = np.empty_like(everything), np.empty(len(everything))
    for place, one in zip(classes, stand_ins, strict=True):
        rows[place], scores[place] = one.choices, measured[one.key]
    rows, scores = rows[first], scores[first]
    population = Population(space, rows)
    predicates = candidates(space, [population])
    holds = np.stack([predicate.holds(population) for predicate in predicates])
    split = (holds.mean(axis=1) > 0.02) & (holds.mean(axis=1) < 0.98)
    kept = np.flatnonzero(split)
    return World(task, rows, scores, first, population, holds[kept], [predicates[i] for i in kept])


@dataclass(frozen=True)
class Draws:
    """What a session measured: rows of the world in order, which were drawn uniformly, where batches end."""

    rows: list[int]
    uniform: list[bool]
    ends: list[int]


def session_draws(world: World, seed: int, evaluations: int, open_share: float) -> Draws:
    """A real session with all its parts, except that the uniform proposer stands for the code model."""
    from vitruvius.agents.session import Session

    places = dict(zip(world.task.space.numbers(world.choices).tolist(), world.first.tolist(), strict=True))
    with Session(
        world.task, None, seed=seed, initial=INITIAL, batch=BATCH, open_share=open_share,
        proposer="uniform", finetune_every=0, pool=64,
    ) as session:  # fmt: skip
        session.run(evaluations)
        learned = [x for x in session.journal.learned() if x.counted]
        rows = session.journal.observations().choices
    numbers = world.task.space.numbers(rows).tolist()
    batches = [x.batch for x in learned]
    ends = [i + 1 for i, b in enumerate(batches) if i + 1 == len(batches) or batches[i + 1] != b]
    return Draws([places[n] for n in numbers], [x.share.uniform for x in learned], ends)


def evolution_draws(world: World, seed: int, evaluations: int, open_share: float) -> Draws:
    """A simulated session: batches by regularised evolution, and the open share."""
    rng = np.random.default_rng([seed, evaluations])
    rows, uniform, ends = list(_uniform(world, INITIAL, set(), rng)), [True] * INITIAL, [INITIAL]
    while len(rows) < evaluations:
        wanted = round(open_share * (len(rows) + BATCH)) - sum(uniform[INITIAL:])
        batch = list(_uniform(world, min(max(wanted, 0), BATCH), set(world.first[rows]), rng))
        offspring = _evolve(world, rows, BATCH - len(batch), set(world.first[rows + batch]), rng)
        uniform += [True] * len(batch) + [False] * len(offspring)
        rows += batch + offspring
        ends.append(len(rows))
    return Draws(rows, uniform, ends)


def judge(world: World, draws: Draws, seed: int) -> dict[str, list[Any]]:
    """For each principle whether its intervals missed, ever and at the end of the session."""
    first = draws.rows[:INITIAL]
    reference = np.sort(world.scores[first])
    quantiles = midranks(reference, world.scores)
    chosen = _propose(world, first, quantiles, np.random.default_rng([seed, 1]))
    truth = _effects(world.holds[chosen], quantiles)
    principles = [(_principle(world, i, quantiles[first], first), INITIAL) for i in chosen]
    missed = {"fresh": np.zeros(len(chosen), bool), "naive": np.zeros(len(chosen), bool)}
    last: dict[str, Mask] = {}
    widths = np.full(len(chosen), np.nan)
    for end in draws.ends:
        rows = draws.rows[:end]
        if end <= INITIAL:
            continue
        observed = _observe(world, rows, draws.uniform[:end], reference)
        joined = [p.evidence.joined for p in assess(principles, [observed])]
        last["fresh"] = np.array(
            [e is not None and not e.low <= t <= e.high for e, t in zip(joined, truth, strict=True)]
        )
        widths = np.array([np.nan if e is None else e.high - e.low for e in joined])
        low, high = _careless(world.holds[chosen][:, rows[INITIAL:]], quantiles[rows[INITIAL:]])
        last["naive"] = ~((low <= truth) & (truth <= high))
        for kind in missed:
            missed[kind] |= last[kind]
    told = np.isfinite(widths)
    return {
        "fresh_ever": missed["fresh"][told].tolist(),
        "fresh_last": last["fresh"][told].tolist(),
        "naive_ever": missed["naive"].tolist(),
        "naive_last": last["naive"].tolist(),
        "width": widths[told].tolist(),
    }


def _uniform(world: World, n: int, taken: set[int], rng: np.random.Generator) -> list[int]:
    """Draw n keys uniformly, no class twice."""
    taken, found = set(taken), list[int]()
    while len(found) < n:
        key = int(rng.integers(len(world.scores)))
        if world.first[key] not in taken:
            taken.add(int(world.first[key]))
            found.append(key)
    return found


def _evolve(world: World, drawn: list[int], n: int, taken: set[int], rng: np.random.Generator) -> list[int]:
    """Regularised evolution: mutate the best of five out of the last fifty."""
    found: list[int] = []
    while len(found) < n:
        pool = drawn[-50:]
        some = rng.choice(len(pool), size=min(5, len(pool)), replace=False)
        parent = max((pool[i] for i in some), key=lambda i: world.scores[i])
        child = world.choices[parent][None].copy()
        column = int(rng.integers(child.shape[1]))
        child[0, column] = rng.integers(world.task.space.cardinalities[column])
        key = int(world.task.space.numbers(child)[0])
        if world.first[key] not in taken:
            taken.add(int(world.first[key]))
            found.append(key)
    return found


def _propose(
    world: World, drawn: list[int], quantiles: Floats, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Predicates drawn at random, and those with the largest contrast in the initial design."""
    holds = world.holds[:, drawn]
    both = np.flatnonzero(holds.any(axis=1) & ~holds.all(axis=1))
    contrast = np.abs(_effects(holds[both], quantiles[drawn]))
    mined = both[np.argsort(-contrast, kind="stable")[:MINED]]
    others = rng.choice(np.setdiff1d(np.arange(len(world.holds)), mined), size=RANDOM, replace=False)
    return np.concatenate([mined, others])


def _principle(world: World, i: int, values: Floats, drawn: list[int]) -> Principle:
    effect = np.nan_to_num(_effects(world.holds[[i]][:, drawn], values))[0]
    predicate = world.predicates[i]
    proposal = Proposal(
        predicate.sentence(), predicate.to_json(), world.task.space.name, direction=1 if effect >= 0 else -1
    )
    return Principle(principle_id(proposal), proposal, Origin("benchmark"))


def _observe(world: World, drawn: list[int], uniform: list[bool], reference: Floats) -> Observations:
    nothing = np.zeros(len(drawn), dtype=np.bool_)
    return Observations(
        world.task.space, world.task.name, world.task.label, world.choices[drawn], world.scores[drawn],
        np.array(uniform), nothing, np.arange(len(drawn)), reference,
    )  # fmt: skip


def _effects(holds: Mask, values: Floats) -> Floats:
    weight = holds.astype(np.float64)
    n = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weight @ values / n - (1 - weight) @ values / (len(values) - n)


def _careless(holds: Mask, values: Floats) -> tuple[Floats, Floats]:
    """Nominal 95 % normal intervals of the difference of means over whatever was sampled."""
    weight = holds.astype(np.float64)
    low, high = np.full(len(holds), -1.0), np.full(len(holds), 1.0)
    for row, mask in enumerate(weight > 0):
        if 2 <= mask.sum() <= len(mask) - 2:
            one, other = values[mask], values[~mask]
            half = 1.96 * np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
            middle = one.mean() - other.mean()
            low[row], high[row] = middle - half, middle + half
    return low, high


def _summary(sessions: Sequence[dict[str, list[Any]]]) -> dict[str, Any]:
    """Coverage with a bootstrap interval over sessions."""
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for name in ("fresh_ever", "fresh_last", "naive_ever", "naive_last"):
        hits = np.array([len(s[name]) - sum(s[name]) for s in sessions])
        counts = np.array([len(s[name]) for s in sessions])
        again = rng.integers(len(sessions), size=(2000, len(sessions)))
        drawn = hits[again].sum(axis=1) / counts[again].sum(axis=1)
        figures = [hits.sum() / counts.sum(), *np.quantile(drawn, [0.025, 0.975])]
        result[f"{name}_coverage"] = [round(float(figure), 4) for figure in figures]
    result["mean_width"] = round(float(np.mean([w for s in sessions for w in s["width"]])), 3)
    result["intervals"] = int(sum(len(s["width"]) for s in sessions))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run sessions for each data set and open share, print coverage, and the record last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--sampler", choices=["session", "evolution"], default="session")
    parser.add_argument("--open-shares", type=float, nargs="+", default=[0.1, 0.5])
    parser.add_argument("--tasks", nargs="+", default=["nasbench201/cifar10", "nasbench201/imagenet16"])
    options = parser.parse_args(arguments)
    seeds = list(range(options.seeds))
    results: dict[str, Any] = {}
    draw = session_draws if options.sampler == "session" else evolution_draws
    for name in options.tasks:
        world = open_world(name)
        for share in options.open_shares:
            sessions = [judge(world, draw(world, seed, options.evaluations, share), seed) for seed in seeds]
            results[f"{name} open {share:g}"] = summary = _summary(sessions)
            print(f"{name}, open share {share:g}: {summary}")
    settings = {
        "sampler": options.sampler, "evaluations": options.evaluations,
        "open_shares": options.open_shares, "tasks": options.tasks,
        "batch": BATCH, "initial": INITIAL, "random": RANDOM, "mined": MINED,
    }  # fmt: skip
    print_record("evidence", seeds, settings, results)


if __name__ == "__main__":
    main()
