"""Evidence: intervals that survive repeated looks, controlled discoveries, statuses, and the split of seen and fresh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from computing_time import seconds_of, within
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitruvius.generator.space import get_space
from vitruvius.knowledge import evidence, intervals, joining
from vitruvius.knowledge.evidence import Thresholds, assess
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Effect, Origin, Principle, PrincipleStatus, Proposal, principle_id

SPACE = get_space("nasbench201")


def principle(text: str, direction: int = 1, task: str = "any", space: str = "nasbench201") -> Principle:
    proposal = Proposal(text, Predicate.parse(text).to_json(), space, task, direction)
    return Principle(principle_id(proposal), proposal, Origin("person"))


def observe(
    n: int,
    seed: int,
    effect: float = 0.0,
    text: str = "conv3x3 >= 2",
    task: str = "nasbench201/a",
    **changed: Any,
) -> Observations:
    """Uniform draws whose score is noise plus an effect of a predicate; all seen by an order of n."""
    rng = np.random.default_rng(seed)
    rows = SPACE.sample(n, rng)
    scores = rng.random(n) + effect * Predicate.parse(text).holds(Population(SPACE, rows))
    nothing = np.zeros(n, dtype=np.bool_)
    made = Observations(
        SPACE, task, ("nasbench201", task), rows, scores, ~nothing, nothing, np.arange(n), np.sort(scores)
    )
    return replace(made, **changed)


def one(claim: Principle, born: int, *observed: Observations) -> Principle:
    return assess([(claim, born)], observed)[0]


# ---- intervals ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_histograms_keep_mean_and_count(values: list[float]) -> None:
    histogram = intervals.spread(np.array(values)).sum(axis=0, keepdims=True)
    assert histogram.sum() == pytest.approx(len(values), rel=1e-5)
    assert intervals.means(histogram)[0] == pytest.approx(np.mean(values), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_intervals_contain_the_estimate_and_mirror(first: list[float], second: list[float]) -> None:
    a, b = (intervals.spread(np.array(x)).sum(axis=0, keepdims=True) for x in (first, second))
    low, high = intervals.difference(a, b, 0.05)
    estimate = intervals.means(a)[0] - intervals.means(b)[0]
    assert -1 <= low[0] <= estimate + 1e-6 and estimate - 1e-6 <= high[0] <= 1
    back_low, back_high = intervals.difference(b, a, 0.05)
    assert back_low[0] == pytest.approx(-high[0]) and back_high[0] == pytest.approx(-low[0])


def looks(rng: np.random.Generator, kind: str, n: int) -> NDArray[np.float64]:
    """Values in [0, 1] with mean one half: spread out, or as rough as they can be."""
    return rng.random(n) if kind == "uniform" else (rng.random(n) < 0.5).astype(np.float64)


@pytest.mark.parametrize("kind", ["uniform", "coins"])
def test_intervals_hold_over_all_looks_where_normal_ones_do_not(kind: str) -> None:
    runs, n, share = 200, 100, 0.3
    rng = np.random.default_rng(0)
    holds = rng.random((runs, n)) < share
    values = np.stack([looks(rng, kind, n) for _ in range(runs)])
    ours, normal = np.zeros(runs, bool), np.zeros(runs, bool)
    crossed = np.zeros(runs, bool)
    for upto in range(4, n + 1, 4):
        sides = [np.where(side[:, :upto], 1.0, 0.0) for side in (holds, ~holds)]
        first, second = (
            np.stack(
                [weights @ intervals.spread(x) for weights, x in zip(side, values[:, :upto], strict=True)]
            )
            for side in sides
        )
        low, high = intervals.difference(first, second, 0.05)
        ours |= (low > 0) | (high < 0)
        crossed |= intervals.log_evalue(first, second) >= np.log(20)
        counts = [side.sum(axis=1) for side in sides]
        means = [(side * values[:, :upto]).sum(axis=1) / np.maximum(side.sum(axis=1), 1) for side in sides]
        spread = values[:, :upto].std(axis=1) * np.sqrt(sum(1 / np.maximum(count, 1) for count in counts))
        normal |= (np.minimum(counts[0], counts[1]) >= 2) & (np.abs(means[0] - means[1]) > 1.96 * spread)
    assert ours.mean() <= 0.05
    assert crossed.mean() <= 0.05
    assert normal.mean() > 0.2  # the control: this test can fail


def test_intervals_find_what_is_there() -> None:
    rng = np.random.default_rng(0)
    shares = [
        intervals.spread(np.clip(rng.normal(mean, 0.2, 100), 0, 1)).sum(axis=0)[None] for mean in (0.65, 0.35)
    ]
    low, high = intervals.difference(shares[0], shares[1], 0.05)
    assert 0.1 < low[0] < 0.3 < high[0] < 0.5
    assert intervals.log_evalue(*shares)[0] > np.log(1000)
    assert intervals.log_evalue(*shares[::-1])[0] < 0


# ---- joining -----------------------------------------------------------------------------------


def test_e_bh_by_hand() -> None:
    # m = 4, level 0.05: one needs 80, two need 40 each, three 26.7 each, four 20 each
    def rejected(*evalues: float) -> list[bool]:
        return joining.discoveries(np.log(np.array(evalues)), 0.05).tolist()

    assert rejected(81, 1, 1, 1) == [True, False, False, False]
    assert rejected(79, 1, 1, 1) == [False] * 4
    assert rejected(41, 1, 42, 1) == [True, False, True, False]
    assert rejected(21, 21, 21, 21) == [True] * 4
    assert rejected(27, 27, 1, 27) == [True, True, False, True]
    assert joining.discoveries(np.array([]), 0.05).tolist() == []


def test_random_effects() -> None:
    def join(estimates: list[float], half: float) -> tuple[float, float, float]:
        values = np.array(estimates)
        return joining.random_effects(values, values - half, values + half, 0.05)

    assert join([0.2], 0.1) == pytest.approx((0.2, 0.1, 0.3))
    assert join([0.2, 0.3], 0.1) == pytest.approx((0.25, 0.1, 0.4))  # two tasks: the hull
    centre, lower, upper = np.array([0.25, 0.3]), np.array([0.1, -0.195]), np.array([0.4, 0.795])
    _, low, high = joining.random_effects(centre, lower, upper, 0.05)  # the second agrees, and tells little
    assert 0.05 < low < 0.1 and 0.4 < high < 0.5
    mean, low, high = join([0.2] * 7, 0.1)
    half = 2.447 * 0.1 / 1.96 / np.sqrt(7)  # t with 6 degrees of freedom, no spread between tasks
    assert (mean, low, high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-3)
    mean, low, high = join([0.4, 0.4, -0.2, 0.4, -0.2], 0.05)  # tasks that differ: wide
    assert low < 0 < mean < high and high - low > 0.6


def test_a_task_that_says_nothing_yet_takes_nothing_away() -> None:
    """A source's evidence stands when the first draws of the target come in, and yields to what they show."""

    def join(*tasks: tuple[float, float]) -> tuple[float, float, float]:
        values, halves = np.array(tasks).T
        return joining.random_effects(values, values - halves, values + halves, 0.05)

    for sources in ([(0.2, 0.1)], [(0.2, 0.1), (0.3, 0.1)], [(0.2, 0.1), (0.3, 0.1), (0.25, 0.1)]):
        assert join(*sources, (-0.3, 0.95)) == join(*sources)
        assert join(*sources, (-0.3, 0.1))[1] < 0 < join(*sources)[1]
    assert join((0.1, 0.9), (-0.1, 0.6)) == pytest.approx((-0.1, -0.7, 0.5)), "the one that says most"


def test_e_values_of_shared_draws_are_averaged_and_others_multiplied() -> None:
    logs = np.log(np.array([4.0, 8.0, 3.0]))
    assert np.exp(joining.joined_log_evalue(logs, [0, 0, 1])) == pytest.approx(6 * 3)
    assert np.exp(joining.joined_log_evalue(logs, [0, 1, 2])) == pytest.approx(4 * 8 * 3)


# ---- assessing ---------------------------------------------------------------------------------


def test_only_fresh_evidence_supports() -> None:
    observed = observe(600, seed=1, effect=0.6)
    mined = one(principle("conv3x3 >= 2"), 600, observed)
    assert mined.status is PrincipleStatus.PROPOSED and mined.evidence.joined is None
    seen = mined.evidence.tasks[0].seen
    assert seen is not None and seen.low > 0.1 and seen.holding + seen.lacking == 600
    half = one(principle("conv3x3 >= 2"), 300, observed)
    assert half.status is PrincipleStatus.SUPPORTED
    assert half.evidence.joined is not None
    assert half.evidence.joined.holding + half.evidence.joined.lacking == 300
    held = one(principle("conv3x3 >= 2"), 600, replace(observed, held=np.arange(600) % 2 == 0))
    assert held.status is PrincipleStatus.SUPPORTED
    assert held.evidence.tasks[0].seen is not None and held.evidence.tasks[0].fresh is not None


def test_estimates_come_from_uniform_draws_and_the_naive_figure_from_all() -> None:
    observed = observe(800, seed=2)
    holds = Predicate.parse("conv3x3 >= 2").holds(Population(SPACE, observed.choices))
    chosen = np.arange(800) >= 200
    kept = ~chosen | (holds & (observed.quantiles > 0.6)) | (~holds & (observed.quantiles < 0.6))
    biased = replace(observed, uniform=~chosen).take(kept)
    effect = one(principle("conv3x3 >= 2"), 0, biased).evidence.joined
    assert effect is not None and effect.naive is not None
    assert effect.low < 0 < effect.high
    assert effect.naive > 0.15
    assert effect.holding + effect.lacking == 200
    values = biased.quantiles[biased.uniform]
    mask = Predicate.parse("conv3x3 >= 2").holds(Population(SPACE, biased.choices))[biased.uniform]
    assert effect.estimate == pytest.approx(values[mask].mean() - values[~mask].mean(), abs=1e-5)


def test_the_naive_figure_of_all_tasks_is_weighted_as_the_estimate_is() -> None:
    many = observe(600, seed=3, effect=0.6)
    few = observe(12, seed=4, effect=-0.6, task="nasbench201/b")
    alone, both = (
        one(principle("conv3x3 >= 2"), 0, *tasks).evidence.joined for tasks in ([many], [many, few])
    )
    assert alone is not None and both is not None and both.estimate == alone.estimate
    assert both.naive == pytest.approx(alone.naive), "few say nothing yet, of neither figure"
    assert (both.holding, both.lacking) == (alone.holding, alone.lacking), "nor do they count"
    said = one(principle("conv3x3 >= 2"), 0, many, few).evidence.tasks
    assert evidence.untold((each.task, each.fresh) for each in said) == ["nasbench201/b"]


def test_direction_turns_the_evidence_not_the_effect() -> None:
    observed = observe(400, seed=3, effect=-0.6)
    warns = one(principle("conv3x3 >= 2", direction=-1), 0, observed)
    claims = one(principle("conv3x3 >= 2"), 0, observed)
    assert warns.status is PrincipleStatus.SUPPORTED and claims.status is PrincipleStatus.REFUTED
    assert warns.evidence.joined is not None and claims.evidence.joined is not None
    assert warns.evidence.joined.estimate == claims.evidence.joined.estimate < 0
    assert warns.evidence.joined.evalue > 1e3 and claims.evidence.joined.evalue < 1


def test_statuses() -> None:
    claim = principle("conv3x3 >= 2")
    up, down = observe(400, 4, 0.6, task="nasbench201/a"), observe(400, 5, -0.6, task="nasbench201/b")
    assert one(claim, 0, up, down).status is PrincipleStatus.CONTESTED
    assert one(claim, 0, observe(2000, 6)).status is PrincipleStatus.REFUTED  # no useful effect left
    assert one(claim, 0, observe(40, 6)).status is PrincipleStatus.PROPOSED
    assert one(claim, 0).status is PrincipleStatus.PROPOSED
    for status in (PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED):
        kept = one(replace(claim, status=status), 0, up)
        assert kept.status is status and kept.evidence.joined is not None
    again = one(one(claim, 0, up), 0, up)
    assert again == one(claim, 0, up)


def test_too_few_fresh_draws_change_no_status() -> None:
    observed = observe(400, 7, 0.9)
    few = replace(observed, uniform=np.arange(400) < 6)
    assert one(principle("conv3x3 >= 2"), 0, few).status is PrincipleStatus.PROPOSED


def test_scope() -> None:
    a, b = observe(300, 8, 0.6, task="nasbench201/a"), observe(300, 9, 0.6, task="nasbench201/b")
    assert [t.task for t in one(principle("conv3x3 >= 2", task="nasbench201/b"), 0, a, b).evidence.tasks] == [
        b.task
    ]
    assert len(one(principle("conv3x3 >= 2"), 0, a, b).evidence.tasks) == 2
    assert one(principle("depth >= 2", space="nasbench-graph"), 0, a).evidence.tasks == ()
    assert len(one(principle("depth >= 2", space="any"), 0, a).evidence.tasks) == 1
    assert one(principle("gat >= 2", space="any"), 0, a).evidence.tasks == ()
    assert one(principle("params < 1M"), 0, a).evidence.tasks == ()  # costs are not known here
    known = replace(a, costs={"params": np.linspace(0, 2, 300)})
    assert len(one(principle("params < 1M"), 0, known).evidence.tasks) == 1


def test_ids_for_and_against() -> None:
    observed = observe(500, 10, 0.3)
    task = one(principle("conv3x3 >= 2"), 0, observed).evidence.tasks[0]
    holds = Predicate.parse("conv3x3 >= 2").holds(Population(SPACE, observed.choices))
    agrees = holds == (observed.quantiles >= 0.5)
    assert (task.agreeing, task.opposing) == (agrees.sum(), (~agrees).sum())
    assert len(task.supporting) == len(task.contradicting) == Thresholds().ids_kept
    ids = np.array(SPACE.ids(observed.choices))
    distance = np.abs(observed.quantiles - 0.5)
    assert set(task.supporting) <= set(ids[agrees])
    assert task.supporting[0] == ids[agrees][np.argmax(distance[agrees])]
    turned = one(principle("conv3x3 >= 2", direction=-1), 0, observed).evidence
    assert turned.tasks[0].supporting == task.contradicting and turned.n_for == task.opposing


def test_principles_mined_from_noise_are_not_supported() -> None:
    supported = proposed = 0
    for seed in range(8):
        observed = observe(200, seed=seed)
        texts = [f"op({d.name}) = {choice}" for d in SPACE.decisions for choice in d.choices]
        first = assess([(principle(text), 100) for text in texts], [observed])
        seen = [p.evidence.tasks[0].seen for p in first]
        mined = [
            (principle(text, 1 if effect is not None and effect.estimate > 0 else -1), 100)
            for text, effect in zip(texts, seen, strict=True)
        ]
        scored = assess(mined, [observed])
        supported += sum(p.status is PrincipleStatus.SUPPORTED for p in scored)
        proposed += len(scored)
    assert proposed == 240
    assert supported <= 1


def test_more_proposals_make_support_harder() -> None:
    observed = observe(120, 11, 0.3)
    claim, other = principle("conv3x3 >= 2"), principle("skip >= 1", task="nasbench201/other")
    alone = one(claim, 0, observed)
    assert alone.status is PrincipleStatus.SUPPORTED and alone.evidence.joined is not None
    evalue = alone.evidence.joined.evalue
    assert 20 < evalue < 2e4

    def status(others: int) -> PrincipleStatus:
        return assess([(claim, 0), *[(other, 0)] * others], [observed])[0].status

    assert status(int(evalue * 0.05) - 1) is PrincipleStatus.SUPPORTED
    assert status(int(evalue * 0.05) + 1) is PrincipleStatus.PROPOSED


def test_evidence_is_the_same_in_any_order_of_tasks() -> None:
    tasks = [observe(120, seed, 0.3, task=f"nasbench201/{seed}") for seed in range(4)]
    claim = principle("conv3x3 >= 2")
    forth, back = one(claim, 0, *tasks).evidence.joined, one(claim, 0, *tasks[::-1]).evidence.joined
    assert isinstance(forth, Effect) and isinstance(back, Effect)
    assert (forth.estimate, forth.low, forth.high) == pytest.approx((back.estimate, back.low, back.high))
    assert np.log(forth.evalue) == pytest.approx(np.log(back.evalue))


def test_what_a_task_said_is_asked_again_only_where_something_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, later = (observe(80 + k, k, task=name) for k, name in enumerate(("a/b", "a/c", "a/c")))
    claims = [(principle("conv3x3 >= 2"), 0), (principle("skip >= 1", -1), 10)]
    asked: list[str] = []
    real = evidence._measure  # pyright: ignore[reportPrivateUsage]

    def measure(claims: Any, observed: Observations, thresholds: Any) -> Any:
        asked.append(observed.task)
        return real(claims, observed, thresholds)

    monkeypatch.setattr(evidence, "_measure", measure)
    told = evidence.Told()
    for some, seen, new in (
        (claims[:1], [source, target], ["a/b", "a/c"]),
        (claims[:1], [source, later], ["a/c"]),
        (claims, [source, later], ["a/b", "a/c"]),
        (claims, [source, later], []),
    ):
        asked.clear()
        found = assess(some, seen, told=told)
        assert asked == new
        assert found == assess(some, seen)


def test_tasks_on_the_same_draws_are_not_counted_as_independent() -> None:
    claim, base = principle("conv3x3 >= 2"), observe(300, 12, 0.35)
    copies = [replace(base, task=f"nasbench201/{i}") for i in range(5)]
    single, five = one(claim, 0, base).evidence.joined, one(claim, 0, *copies).evidence.joined
    assert single is not None and five is not None
    assert five.evalue == pytest.approx(single.evalue)
    place = np.arange(300)
    parts = (place < 150, place >= 150, (place >= 75) & (place < 225))  # the third shares half with each
    tasks = [replace(base.take(part), task=f"nasbench201/{i}") for i, part in enumerate(parts)]
    assert len(set(evidence._draws(tasks).values())) == 1  # pyright: ignore[reportPrivateUsage]


def test_five_hundred_principles_on_ten_thousand_measurements() -> None:
    rng = np.random.default_rng(0)
    observed = observe(10_000, 0)
    claims: list[tuple[Principle, int]] = []
    for i in range(500):
        a, b = rng.choice(SPACE.operations, 2)
        decision = SPACE.decisions[i % 6].name
        texts = (
            f"{a} >= 2 and depth >= {i % 4}",
            f"op({decision}) = {a}",
            f"{a} feeds {b}",
            f"path({a}|{b})",
        )
        text = texts[i % 4]
        claims.append((principle(text), int(rng.integers(10_000))))
    assert len(assess(claims, [observed])) == 500
    assert within(seconds_of(lambda: assess(claims, [observed]), times=2), 3.0)


# ---- the benchmark -----------------------------------------------------------------------------


@pytest.mark.tables
def test_coverage_along_sessions_on_nasbench201(tables: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "evidence.py"
    told = "--seeds 4 --evaluations 120 --tasks nasbench201/cifar10 --open-shares 0.3"
    done = subprocess.run(
        [sys.executable, str(script), *told.split()],
        env={**os.environ, "VITRUVIUS_TABLES": str(tables)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    record = json.loads(done.stdout.strip().splitlines()[-1])
    assert {"benchmark", "commit", "device", "seeds", "settings", "results"} == set(record)
    result = record["results"]["nasbench201/cifar10 open 0.3"]
    assert result["fresh_ever_coverage"][0] >= 0.93
    assert result["naive_ever_coverage"][0] < 0.8  # what the search's bias does to careless intervals
