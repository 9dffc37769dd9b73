"""The statistics reasoner: it finds what is there, keeps quiet where nothing is, and sees nothing held back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from computing_time import seconds_of, within

from vitruvius.agents import statistics
from vitruvius.agents.reasoner import Brief
from vitruvius.agents.statistics import StatisticsReasoner, candidates
from vitruvius.generator.space import get_space
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Origin, Principle, PrincipleStatus, Proposal, principle_id

SPACE = get_space("nasbench-graph")


def observe(text: str, effect: float, seed: int, n: int = 250, task: str = "") -> Observations:
    rng = np.random.default_rng(seed)
    rows = SPACE.sample(n, rng)
    scores = rng.random(n) + effect * Predicate.parse(text).holds(Population(SPACE, rows))
    nothing = np.zeros(n, dtype=np.bool_)
    name = task or f"nasbench-graph/{seed}"
    return Observations(
        SPACE, name, ("nasbench-graph", name), rows, scores, ~nothing, nothing, np.arange(n), np.sort(scores)
    )


def brief(*observed: Observations, known: tuple[Principle, ...] = (), limit: int = 12) -> Brief:
    return Brief(SPACE, "nasbench-graph/cora", list(observed), list(known), limit, seed=0)


def propose(*observed: Observations, known: tuple[Principle, ...] = (), limit: int = 12) -> list[Proposal]:
    return StatisticsReasoner().reflect(brief(*observed, known=known, limit=limit)).proposals


def overlap(proposal: Proposal, text: str) -> float:
    population = Population(SPACE, SPACE.sample(4000, np.random.default_rng(9)))
    masks = [Predicate.parse(p).holds(population) for p in (proposal.predicate, text)]
    return abs(np.corrcoef(masks[0], masks[1])[0, 1])


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("op2 = gcn", 0.6),
        ("count(gat|gcn) >= 2", 0.4),
        ("sage >= 1", -0.4),
        ("depth >= 3", 0.4),
        ("fc >= 1 and skip >= 1", -0.6),
    ],
)
def test_the_planted_rule_comes_first(text: str, effect: float) -> None:
    proposals = propose(*(observe(text, effect, seed) for seed in range(5)))
    assert overlap(proposals[0], text) > 0.85
    wanted = Predicate.parse(text).holds(Population(SPACE, SPACE.sample(500, np.random.default_rng(1))))
    found = Predicate.parse(proposals[0].predicate).holds(
        Population(SPACE, SPACE.sample(500, np.random.default_rng(1)))
    )
    same = np.corrcoef(wanted, found)[0, 1] > 0
    assert proposals[0].direction == (1 if (effect > 0) == same else -1)


def test_what_is_certain_and_tiny_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    many = observe("op2 = gcn", 0.04, 0, n=12_000)
    assert propose(many) == []
    monkeypatch.setattr(statistics, "SMALLEST", 0.01)
    assert propose(many), "it stands out, were it worth a principle"


def test_proposals_are_complete_and_fit_their_scope() -> None:
    proposals = propose(*(observe("op2 = gcn", 0.5, seed) for seed in range(4)))
    assert 1 <= len(proposals) <= 12
    for proposal in proposals:
        predicate = Predicate.parse(proposal.predicate).check(SPACE)
        assert predicate.clause() in proposal.sentence
        assert ("better" in proposal.sentence) == (proposal.direction == 1)
        assert (proposal.space, proposal.task) == (SPACE.name, "any")
        assert proposal.expected is not None and proposal.expected * proposal.direction > 0
    alone = propose(observe("op2 = gcn", 0.6, 1, task="nasbench-graph/cora"))
    assert {p.task for p in alone} == {"nasbench-graph/cora"}
    assert all("nasbench-graph/cora" in p.sentence for p in alone)


def test_noise_gives_few_proposals() -> None:
    counts = [
        len(propose(*(observe("op2 = gcn", 0.0, 10 * run + seed) for seed in range(3)))) for run in range(30)
    ]
    # 10 % are promised; of 30 a share of 7 or more has less than 3 % probability then. Pairs of the strongest
    # chance contrasts once made it a third and more.
    assert sum(count > 0 for count in counts) <= 6


def test_proposals_say_different_things() -> None:
    proposals = propose(*(observe("count(gat|gcn) >= 2 and depth >= 2", 0.7, seed) for seed in range(5)))
    assert len(proposals) >= 2
    rows = SPACE.sample(4000, np.random.default_rng(9))
    masks = np.stack([Predicate.parse(p.predicate).holds(Population(SPACE, rows)) for p in proposals])
    correlation = np.abs(np.corrcoef(masks) - np.eye(len(masks)))
    assert correlation.max() < 0.85  # 0.7 on what was seen


def test_what_is_known_is_not_proposed_again() -> None:
    observed = [observe("op2 = gcn", 0.6, seed) for seed in range(4)]
    first = propose(*observed)
    known = tuple(Principle(principle_id(p), p, Origin("statistics")) for p in first)
    again = propose(*observed, known=known)
    assert not {principle_id(p) for p in again} & {p.id for p in known}
    assert all(overlap(p, "op2 = gcn") < 0.8 for p in again)
    refuted = tuple(replace(p, status=PrincipleStatus.REFUTED) for p in known)
    assert not {principle_id(p) for p in propose(*observed, known=refuted)} & {p.id for p in known}


def test_only_visible_uniform_draws_count() -> None:
    honest = [observe("op2 = gcn", 0.6, seed) for seed in range(3)]
    half = np.arange(250) < 125
    hidden = [replace(o, held=~half) for o in honest]
    changed = [replace(o, scores=np.where(half, o.scores, -o.scores), held=~half) for o in honest]
    biased = [replace(o, scores=np.where(half, o.scores, -o.scores), uniform=half) for o in honest]
    expected = propose(*(o.take(half) for o in honest))
    assert expected
    for observed in (hidden, changed, biased):
        assert propose(*observed) == expected


def test_too_little_is_said_not_guessed() -> None:
    other = get_space("nasbench201")
    rows = other.sample(50, np.random.default_rng(0))
    few = observe("op2 = gcn", 0.6, 0, n=5)
    yes, scores = np.ones(50, dtype=np.bool_), np.random.default_rng(0).random(50)
    foreign = Observations(
        other,
        "nasbench201/x",
        ("nasbench201", "x"),
        rows,
        scores,
        yes,
        ~yes,
        np.arange(50),
        scores,
    )
    for observed in ((), (few,), (foreign,)):
        reflection = StatisticsReasoner().reflect(brief(*observed))
        assert reflection.proposals == [] and "too little" in reflection.notes[0]
    constant = observe("op2 = gcn", 0.0, 0)
    assert propose(replace(constant, scores=np.zeros(250), reference=np.zeros(250))) == []


def test_same_input_same_proposals_and_the_limit_holds() -> None:
    observed = [observe("count(gat|gcn) >= 2", 0.5, seed) for seed in range(4)]
    assert propose(*observed) == propose(*observed)
    assert propose(*observed, limit=2) == propose(*observed)[:2]
    assert propose(*observed, limit=0) == []


def test_names_of_operations_do_not_matter() -> None:
    rows = SPACE.sample(10, np.random.default_rng(0))
    texts = [predicate.text() for predicate in candidates(SPACE, [Population(SPACE, rows)])]
    assert len(texts) == len(set(texts))
    for operation in SPACE.operations:
        mentions = [
            text
            for text in texts
            if operation in text.replace("graph", "GRAPH" if operation != "graph" else "graph")
        ]
        assert f"op1 = {operation}" in mentions and f"path({operation})" in mentions
        assert f"{operation} feeds {operation}" in mentions


def test_seven_tasks_in_two_seconds() -> None:
    observed = [observe("op2 = gcn", 0.4, seed) for seed in range(7)]
    assert within(seconds_of(lambda: propose(*observed), times=2), 2.0)
