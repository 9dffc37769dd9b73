"""Transfer: sources are believed as far as the target follows them, and wrong ones cost little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitruvius.agents import relatedness
from vitruvius.agents.adaptation import adapted, contradiction
from vitruvius.agents.portable_model import PackModel, PortableModel
from vitruvius.agents.relatedness import Relatedness, rank_agreement
from vitruvius.agents.selection import Selector, normal_scores
from vitruvius.agents.session import Session
from vitruvius.agents.source_model import MEMORY, SourceModel
from vitruvius.generator.evaluation.manual import Manual, ManualBench
from vitruvius.generator.evaluation.task import Measurement, Metric, Status, Task
from vitruvius.generator.space import Architecture, Choices, SearchSpace, get_space
from vitruvius.knowledge.imports import import_pack
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.packs import export_pack, read_pack
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
    principle_id,
)  # fmt: skip
from vitruvius.knowledge.share import Share

SPACE = get_space("nasbench201")
SMALL: dict[str, Any] = {
    "proposer": "uniform", "finetune_every": 0, "source_size": 60, "pool": 32, "local": 32, "reasoner": "none",
}  # fmt: skip


def truth(rows: Choices, seed: int = 0) -> NDArray[np.float64]:
    """A score for each row of NAS-Bench-201: a sum over decisions."""
    effects = np.random.default_rng(seed).normal(size=(6, 5))
    return effects[np.arange(6), rows].sum(axis=1)


def observed(rows: Choices, scores: NDArray[np.float64], task: str = "nasbench201/source") -> Observations:
    n = len(rows)
    return Observations(
        get_space(task.split("/")[0]), task, ("nasbench201", task.split("/")[1]), rows, scores,
        np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_), np.arange(n), np.sort(scores),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cora() -> Task:
    return Task("nasbench-graph/cora")


# ---- models of sources ------------------------------------------------------------------------


def test_a_source_ranks_what_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    rows, others = SPACE.sample(120, rng), SPACE.sample(300, rng)
    model = SourceModel(observed(rows, truth(rows)))
    assert rank_agreement(model.predict(others), truth(others)) > 0.9
    assert np.allclose(model.predict(others[:7]), model.predict(others)[:7])


def test_a_large_source_keeps_its_best() -> None:
    rows = SPACE.enumerate()[::5]
    assert len(rows) > 3 * MEMORY
    model = SourceModel(observed(rows, truth(rows)))
    best = np.argsort(-truth(rows))[:20]
    assert model.predict(rows[best]).min() > np.quantile(model.predict(rows), 0.95)


def test_a_source_expects_most_where_its_best_choices_meet() -> None:
    """Never measured together, each common among the best: what a single look at the ranks would not tell."""
    rng = np.random.default_rng(4)
    rows = SPACE.sample(400, rng)
    wanted = np.full(rows.shape[1], 2, dtype=np.int8)
    rows = rows[(rows == wanted).sum(axis=1) <= 3]
    model = SourceModel(observed(rows, (rows == wanted).sum(axis=1) + rng.normal(size=len(rows)) * 0.7))
    everything = SPACE.enumerate()
    assert (model.predict(everything) > model.predict(wanted[None])[0]).mean() < 0.001


def test_predicates_carry_over_to_another_space() -> None:
    rng, other = np.random.default_rng(2), get_space("transnasbench101-micro")
    rows, theirs = SPACE.sample(200, rng), other.sample(200, rng)
    counted = [Population(space, some).count(("conv3x3",)).astype(float)
               for space, some in ((SPACE, rows), (other, theirs))]  # fmt: skip
    model = PortableModel(observed(rows, counted[0] + rng.normal(size=200) * 0.3), other)
    assert rank_agreement(model.predict(theirs), counted[1]) > 0.9
    nothing_shared = PortableModel(observed(rows, counted[0]), get_space("nasbench-graph"))
    assert rank_agreement(model.predict(theirs), counted[1]) > 0.9
    assert "conv3x3" not in {name for p in nothing_shared.predicates for name in p.operations_named()}


# ---- how far they are believed ----------------------------------------------------------------


def relate(
    names: list[str], rows: Choices, scores: NDArray[np.float64], said: NDArray[np.float64]
) -> Relatedness:
    """Where all is drawn uniformly."""
    return relatedness.relate(SPACE, names, rows, scores, said, np.ones(len(rows), dtype=np.bool_))


def weights(n: int, *sources: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    rows = SPACE.sample(n, np.random.default_rng(seed))
    scores = truth(rows)
    said = np.column_stack([normal_scores(scores) * 0.0 + one[:n] for one in sources])
    return relate([f"source {i}" for i in range(len(sources))], rows, scores, said).weights


def test_before_anything_is_measured_all_are_believed_alike() -> None:
    found = relate(["a", "b"], SPACE.sample(0, np.random.default_rng(0)), np.empty(0), np.empty((0, 2)))
    assert np.allclose(found.weights, 0.35) and np.isnan(found.agreement).all()
    assert "is not compared yet" in found.lines()[0]


def test_a_right_source_is_believed_and_an_inverted_one_is_not_after_four() -> None:
    for seed in range(10):
        rows = SPACE.sample(30, np.random.default_rng(seed))
        right = normal_scores(truth(rows))
        for n in (4, 8, 30):
            assert weights(n, -right, seed=seed)[0] == 0.0
            assert weights(n, right, seed=seed)[0] > 0.4
        both = weights(30, right, -right, seed=seed)
        assert both[0] > 0.5 and both[1] == 0.0


def test_an_unrelated_source_loses_its_weight() -> None:
    found = [weights(30, np.random.default_rng(100 + s).normal(size=30), seed=s)[0] for s in range(20)]
    assert np.mean(found) < 0.15


def test_a_source_that_only_knows_what_is_poor_counts_less_among_the_good() -> None:
    rows = SPACE.sample(400, np.random.default_rng(5))
    order = np.argsort(-truth(rows), kind="stable")
    rows = rows[np.concatenate([order[:20], order[-4:]])]
    coarse, fine = np.repeat([1.0, -1.0], [20, 4]), normal_scores(truth(rows))
    both = [relate(["s"], rows, truth(rows), said[:, None]) for said in (coarse, fine)]
    assert both[0].agreement[0] > 0.3 and 0 < both[0].weights[0] < 0.35
    assert both[1].weights[0] > 0.7


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000))
def test_weights_are_sane_and_do_not_depend_on_the_order_of_sources(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, said = SPACE.sample(n, rng), rng.normal(size=(n, k))
    scores, names = rng.normal(size=n), [f"s{i}" for i in range(k)]
    found = relate(names, rows, scores, said)
    assert (found.weights >= 0).all() and np.isfinite(found.weights).all()
    turned = relate(names, rows, scores, said[:, ::-1])
    assert np.allclose(turned.weights, found.weights[::-1], atol=1e-6)
    assert len(found.lines()) == k


def test_lines_are_plain_words() -> None:
    rows = SPACE.sample(12, np.random.default_rng(3))
    said = normal_scores(truth(rows))[:, None]
    (agrees,) = relate(["source x"], rows, truth(rows), said).lines()
    (differs,) = relate(["source y"], rows, truth(rows), -said).lines()
    assert agrees.startswith("source x agrees (rank correlation +1.00 on 12 uniform draws): weight ")
    told = "source y disagrees (rank correlation -1.00 on 12 uniform draws)"
    assert differs == f"{told}: weight 0.00, left out for now"
    near = Relatedness(("a", "b", "c"), np.array([0.5, -0.95, np.nan]), np.full(3, 0.1), 30, 6)
    assert [line.partition(" (")[0] for line in near.lines()] == [
        "a is unclear so far", "b disagrees", "c is not compared yet: weight 0.10",
    ]  # fmt: skip


def test_the_correlation_told_is_that_of_uniform_draws() -> None:
    """Among what a search chose for being good a source that is right in the large hardly correlates."""
    rows = SPACE.sample(60, np.random.default_rng(4))
    scores = truth(rows)
    uniform = np.zeros(60, dtype=np.bool_)
    uniform[np.argsort(scores, kind="stable")[::6]] = True
    said = np.where(uniform, scores, -scores)[:, None]
    found = relatedness.relate(SPACE, ["s"], rows, scores, said, uniform)
    assert found.agreement[0] == pytest.approx(1.0) and (found.measured, found.uniform) == (60, 10)
    kept = found.to_json()
    assert Relatedness.from_json(kept).uniform == 10
    del kept["uniform"]  # a run from before it was told
    assert "is not compared yet" in Relatedness.from_json(kept).lines()[0]


# ---- what is chosen ---------------------------------------------------------------------------


def test_what_is_expected_decides_first_and_the_measured_later() -> None:
    rng = np.random.default_rng(4)
    rows, pool = SPACE.sample(40, rng), SPACE.sample(200, rng)
    selector, nothing = Selector(SPACE), SPACE.sample(0, rng)
    first = selector.choose(nothing, np.empty(0), pool, None, 3, 0, (np.empty(0), truth(pool)))
    assert first.rows == np.argsort(-truth(pool), kind="stable")[:3].tolist()
    flat = (np.zeros(40), np.zeros(200))
    plain = selector.choose(rows, truth(rows), pool, None, 5, 0)
    assert selector.choose(rows, truth(rows), pool, None, 5, 0, flat).rows == plain.rows
    few = slice(None, 6)
    helped = selector.choose(rows[few], truth(rows[few]), pool, None, 1, 0, (truth(rows[few]), truth(pool)))
    assert truth(pool)[helped.rows[0]] >= np.quantile(truth(pool), 0.97)


# ---- principles -------------------------------------------------------------------------------


def principle(text: str, direction: int = 1, own: Effect | None = None) -> Principle:
    joined = Effect(
        direction * 0.2, 0.1 if direction > 0 else -0.3, 0.3 if direction > 0 else -0.1, 50, 50, 99.0
    )
    proposal = Proposal("It helps.", Predicate.parse(text).to_json(), SPACE.name, direction=direction)
    tasks = (TaskEvidence("nasbench201/target", None, own, (), (), 0, 0),) if own else ()
    return Principle(
        principle_id(proposal),
        proposal,
        Origin("statistics"),
        PrincipleStatus.SUPPORTED,
        Evidence(tasks, joined),
    )


@pytest.mark.parametrize("direction", [1, -1])
def test_what_the_target_contradicts_is_dropped(direction: int) -> None:
    rows = SPACE.sample(40, np.random.default_rng(5))
    count = Population(SPACE, rows).count(("conv3x3",)).astype(float)
    claim = principle("conv3x3 >= 2", direction)
    for sign, dropped in ((1.0, False), (-1.0, True)):
        seen = observed(rows, sign * direction * count, "nasbench201/target")
        acting, against = adapted([claim], seen, 1.0)
        assert (not acting, len(against)) == (dropped, int(dropped))
        if dropped:
            assert against[0].effect < 0 and "the target says the opposite" in against[0].line()
    assert contradiction(claim, observed(rows[:4], -count[:4], "nasbench201/target")) is None
    of_the_source = replace(claim, proposal=replace(claim.proposal, task="nasbench201/source"))
    seen = observed(rows, -direction * count, "nasbench201/target")
    assert contradiction(of_the_source, seen) is not None, "it acts here, so it can be contradicted here"


def test_a_doubt_within_one_standard_error_drops_nothing() -> None:
    everything = SPACE.enumerate()
    holds = Population(SPACE, everything).count(("conv3x3",)) >= 2
    rows = np.concatenate([everything[holds][:8], everything[~holds][:8]])
    order = [1.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0, 15.0, 2.0, 3.0, 6.0, 7.0, 10.0, 11.0, 14.0, 16.0]
    for lift, dropped in ((0.0, False), (-6.0, True)):  # a mean rank of -0.25, and a clear one
        scores = np.array(order) + np.repeat([lift, 0.0], 8)
        seen = observed(rows, scores, "nasbench201/target")
        assert scores[:8].mean() < scores[8:].mean()
        assert (contradiction(principle("conv3x3 >= 2"), seen) is not None) is dropped
        assert contradiction(principle("conv3x3 >= 2", -1), seen) is None


def test_principles_count_as_far_as_their_sources_are_believed() -> None:
    seen = observed(SPACE.sample(0, np.random.default_rng(0)), np.empty(0), "nasbench201/target")
    for trust, low in ((1.0, 0.1), (0.5, 0.05), (0.0, 0.0)):
        (acting,), _ = adapted([principle("conv3x3 >= 2")], seen, trust)
        assert acting.evidence.joined is not None and acting.evidence.joined.low == pytest.approx(low)
    own = Effect(0.3, 0.08, 0.5, 20, 20)
    (acting,), _ = adapted([principle("conv3x3 >= 2", own=own)], seen, 0.0)
    assert acting.evidence.joined == own


# ---- in a session -----------------------------------------------------------------------------


@pytest.fixture
def session(cora: Task, tmp_path: Path) -> Iterator[Session]:
    with Session(cora, tmp_path / "run", sources=[cora.sibling("citeseer")], **SMALL) as session:
        yield session


def test_the_first_design_is_half_the_sources_choice(session: Session) -> None:
    session.run(8)
    learned = session.journal.learned()
    assert [x.share for x in learned[:4]] == ["transfer", "initial"] * 2
    scores = {
        share: [x.measurement.score or 0.0 for x in learned[:4] if x.share == share]
        for share in ("transfer", "initial")
    }
    ahead = min(scores["transfer"]) > max(scores["initial"])
    assert [x.share for x in learned[4:6]] == ["transfer", "transfer" if ahead else "initial"]
    source = session.journal.observations("nasbench-graph/citeseer")
    model = SourceModel(source, session.options.seed)
    first = session.journal.observations().choices[:1]
    assert model.predict(first)[0] > np.quantile(
        model.predict(session.task.space.sample(500, np.random.default_rng(0))), 0.99
    )
    told = session.journal.last("relatedness")
    assert told is not None and told[1]["sources"] == ["source nasbench-graph/citeseer"]


def test_without_transfer_or_sources_nothing_changes(cora: Task) -> None:
    curves: list[list[str]] = []
    for sources, transfer in (([], True), ([], False), ([cora.sibling("cs")], False)):
        with Session(cora, sources=sources, transfer=transfer, **SMALL) as session:
            session.run(12)
            assert session.journal.last("relatedness") is None
            curves.append([one.key for one in session.curve()])
    assert curves[0] == curves[1] == curves[2]


def test_an_inverted_source_falls_silent_within_the_first_design(cora: Task) -> None:
    lines: list[str] = []
    wrong = Task("nasbench-graph/citeseer", maximize=False)
    with Session(cora, sources=[wrong], progress=lines.append, **SMALL) as session:
        session.run(20)
        weights = [event.data["weights"][0] for event in session.ledger.events(session.id, "relatedness")]
        shares = [x.share for x in session.journal.learned()]
    assert weights[0] == pytest.approx(0.7) and max(weights[4:]) < 0.2
    assert shares.count(Share.TRANSFER) <= 4
    assert any("source nasbench-graph/citeseer" in line and "weight" in line for line in lines)


def test_another_space_brings_portable_principles() -> None:
    lines: list[str] = []
    source, target = (Task(f"{name}/made", Counts()) for name in ("nasbench201", "transnasbench101-micro"))
    options: dict[str, Any] = {**SMALL, "reasoner": "statistics", "source_size": 200}
    with Session(target, sources=[source], progress=lines.append, **options) as session:
        session.run(12)
        carried = session.journal.event("carried over", 1)
        assert carried is not None and carried["principles"]
        principles = {p.id: p for p in session.ledger.principles(session=session.id)}
        for identity in carried["principles"]:
            assert principles[identity].proposal.space == "any"
            assert {told.task for told in principles[identity].evidence.tasks} == {source.name, target.name}
        best = session.best().measurement.score
    assert best is not None and best >= 4
    assert any("name no decision of nasbench201" in line for line in lines)


class CountsConvolutions(ManualBench):
    """Scores an architecture by how often conv3x3 occurs."""

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        for one in architectures:
            score = float(Population.of(one).count(("conv3x3",))[0])
            task = f"{one.space.name}/made"
            yield Measurement(one.space.name, task, one.key, one.id, Status.OK, score, evaluator="counts")


class Counts(Manual):
    """Opens `CountsConvolutions` on the data set "made"."""

    def open(self, space: SearchSpace, dataset: str) -> ManualBench:
        return CountsConvolutions(Metric("convolutions", ""))


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "nasbench-graph", "darts"])
def test_a_pack_tells_apart_what_follows_by_a_wide_margin(name: str) -> None:
    space = get_space(name)
    operation = space.operations[0]
    claim = Predicate.parse(f"{operation} >= 1")
    rows = space.sample(200, np.random.default_rng(0))
    said = PackModel("found", [(claim, 0.3)], space, rows).predict(rows)
    counts = Population(space, rows).count((operation,))
    assert said[counts == 0].max() < said[counts == 1].min()
    assert said[counts == 1].mean() < said[counts >= 2].mean()
    assert abs(said.mean()) < 1e-9 and said.std() == pytest.approx(0.6)
    each = PackModel("found", [(claim, 0.3)], space, rows).predict(rows[:1])
    assert each[0] == pytest.approx(said[0])  # whatever is asked together


def test_a_pack_advises_and_is_weighed(cora: Task, tmp_path: Path) -> None:
    with Session(cora.sibling("citeseer"), sources=[cora.sibling("cs")], seed=1, **SMALL) as first:
        first.learn_sources()
        claim = Proposal(
            "Graph networks hurt.", Predicate.parse("graph >= 1").to_json(), cora.space.name, direction=-1
        )
        effect = Effect(-0.2, -0.3, -0.1, 50, 50, 99.0)
        known = Principle(
            principle_id(claim), claim, Origin("statistics"), PrincipleStatus.SUPPORTED, Evidence((), effect)
        )
        first.ledger.add_principle(known, session=first.id)
        export_pack(first.ledger, [known], tmp_path / "pack.json", name="found")
    with Session(cora, **SMALL) as session:
        import_pack(session.ledger, session.id, read_pack(tmp_path / "pack.json"))
        session.run(8)
        events = session.ledger.events(session.id, "relatedness")
        advised = [x.measurement.key for x in session.journal.learned() if x.share is Share.TRANSFER]
    assert all(event.data["sources"] == ["pack found"] for event in events)
    weights = [event.data["weights"][0] for event in events]
    assert weights[0] == pytest.approx(0.7) and len(set(weights)) > 1, "weighed anew with what is measured"
    assert advised and not any("graph" in key for key in advised)
    rows = cora.space.sample(50, np.random.default_rng(0))
    model = PackModel("found", [(Predicate.parse("graph >= 1"), -0.2)], cora.space, rows)
    holds = Predicate.parse("graph >= 1").holds(Population(cora.space, rows))
    assert model.predict(rows[holds]).max() < model.predict(rows[~holds]).min()
