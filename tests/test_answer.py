"""Questions answered from measurements whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from described_spaces import CHAIN, described
from measured_ledger import SOURCE, SPACE, TARGET, claim, filled, measure
from numpy.typing import NDArray
from typer.testing import CliRunner

from vitruvius.cli.principles import app
from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.space import Choices, get_space
from vitruvius.knowledge import answer as answers
from vitruvius.knowledge.answer import SpaceAnswer, TaskAnswer, answer, verdict, with_costs
from vitruvius.knowledge.embedders import HashingEmbedder
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.measured import Measured
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Effect
from vitruvius.knowledge.share import Share
from vitruvius.knowledge.store import Store


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with filled(tmp_path / "run" / "ledger.db") as ledger:
        yield ledger


@pytest.fixture
def store(ledger: Ledger) -> Iterator[Store]:
    with Store(ledger, None, embedder=HashingEmbedder()) as store:
        yield store


def told(store: Store, question: str, task: str | None = None) -> SpaceAnswer:
    (found,) = store.ask(question, task=task).spaces
    return found


def of(found: SpaceAnswer, task: str) -> TaskAnswer:
    return next(each for each in found.tasks if each.place.task == task)


def test_the_truth_is_found_on_each_task(store: Store) -> None:
    found = told(store, "do skip connections help?")
    target, source = of(found, TARGET).effect, of(found, SOURCE).effect
    assert target is not None
    assert source is not None
    assert target.low > 0 > source.high
    assert verdict(target) == "yes"
    assert verdict(source) == "no, it hurts"
    assert verdict(source, -1) == "yes"
    assert verdict(found.joined) == "cannot be told yet: the interval holds zero"


def test_figures_are_those_of_the_measurements(store: Store) -> None:
    found = told(store, "do two or more skips help under 0.35M parameters?", task=TARGET)
    (answer,) = found.tasks
    observed = answer.place.observations
    population = Population(SPACE, observed.choices, observed.costs)
    has, cheap = population.count(["skip"]) >= 2, observed.costs["params"] < 0.35
    assert (answer.tried, answer.compared) == ((has & cheap).sum(), cheap.sum())
    quantiles = observed.quantiles
    assert answer.effect is not None
    expected = quantiles[has & cheap].mean() - quantiles[~has & cheap].mean()
    assert answer.effect.estimate == pytest.approx(expected, abs=1e-5)
    assert answer.effect.holding + answer.effect.lacking == cheap.sum()
    assert np.isnan(answer.share)  # what parameters an architecture has is known where it was measured only


def test_counter_examples_have_it_and_score_on_the_other_side(store: Store) -> None:
    answer = of(told(store, "does skip help?"), TARGET)
    rule = Predicate.parse("skip >= 1")
    assert answer.worst
    for ids, above in ((answer.best, True), (answer.worst, False)):
        quantiles = [answer.place.quantile(id) for id in ids]
        assert quantiles == sorted(quantiles, reverse=above)
        assert all((quantile > 0.5) is above for quantile in quantiles)
        for id in ids:
            architecture = answer.place.architecture(id)
            assert architecture is not None
            assert rule.holds_one(architecture)
    text = str(store.ask("does skip help?", task=TARGET))
    worst = answer.place.architecture(answer.worst[0])
    assert worst is not None
    assert worst.key in text
    assert SPACE.draw(worst).splitlines()[-1].strip() in text


@pytest.mark.parametrize(
    ("question", "words", "hardly"),
    [
        ("do four skips help on cifar10", "hardly tried on cifar10", True),
        ("does having at most three skips help on cifar10", "hardly tried without it on cifar10", True),
        ("do skips help on cifar10", "tried on cifar10", False),
        ("do six skips help on cifar10", "never tried on cifar10: 0 of", True),
        ("do six skips and conv3x3 help on cifar10", "no architecture of nasbench201 has it on", True),
        ("does depth >= 0 help on cifar10", "all that was measured on cifar10 has it", True),
        ("do skips help above 5M parameters on cifar10", "nothing measured on cifar10 under", True),
    ],
)
def test_coverage(store: Store, question: str, words: str, hardly: bool) -> None:
    answer = of(told(store, question), TARGET)
    assert answer.coverage.startswith(words)
    assert answer.hardly_tried is hardly
    assert (f"{answer.tried} of {answer.compared}" in answer.coverage) is (answer.compared > 0)


def test_the_share_of_the_space_is_that_of_the_space(store: Store) -> None:
    answer = of(told(store, "does skip help?"), TARGET)
    assert answer.share == pytest.approx(1 - 0.8**6)  # exactly: the space can be listed
    assert "  in the whole space 73.79% have it" in str(store.ask("does skip help?")).splitlines()


def test_a_share_of_what_cannot_be_listed_is_about_so_much() -> None:
    space = get_space("darts")
    rows = space.sample(20, np.random.default_rng(0))
    nothing = np.zeros(20, dtype=np.bool_)
    scores = np.arange(20, dtype=np.float64)
    observed = Observations(
        space, "darts/a", ("darts", "a"), rows, scores, ~nothing, nothing, np.arange(20), scores
    )
    place = Measured(observed, dict(zip(space.ids(rows), scores.tolist(), strict=True)), target=True)
    assert "  in the whole space about 68.98%" in str(answer("skip >= 2", [place]))


def test_where_costs_decide_the_share_is_that_of_all_whose_costs_are_told(store: Store) -> None:
    question = "skip >= 2 and params < 0.1M"
    (each,) = store.ask(question).spaces
    assert all(np.isnan(task.share) for task in each.tasks)

    def costs(rows: Choices) -> dict[str, NDArray[np.float64]]:
        return {"params": 0.1 * Population(SPACE, rows).count(["conv3x3", "conv1x1"]).astype(np.float64)}

    found = with_costs(store.ask(question), {TARGET: costs}.get)
    target, source = of(found.spaces[0], TARGET), of(found.spaces[0], SOURCE)
    everything = Population(SPACE, SPACE.enumerate(), costs)
    assert target.share == Predicate.parse(question).holds(everything).mean()
    assert np.isnan(source.share)
    assert f"  in the whole space {target.share:.2%} have it" in str(found)
    none = with_costs(store.ask("conv3x3 >= 2 and params < 0.1M"), {TARGET: costs}.get)
    assert of(none.spaces[0], TARGET).coverage == (
        "no architecture of nasbench201 has it on cifar10: 0 of 135 measured"
    )


def test_a_search_that_went_elsewhere_does_not_move_the_effect(ledger: Ledger, store: Store) -> None:
    before = of(told(store, "does skip help?"), TARGET).effect
    measure(
        ledger,
        TARGET,
        lambda population: 200.0 - 50.0 * population.count(["skip"]),
        60,
        share=Share.LOCAL,
        seed=3,
    )
    after = of(told(store, "does skip help?"), TARGET).effect
    assert before is not None
    assert after is not None
    assert after.estimate == pytest.approx(before.estimate, abs=0.02)  # uniform draws only
    assert after.naive != pytest.approx(before.naive, abs=0.02)


def test_which_operations_help_is_answered_for_each(store: Store) -> None:
    found = told(store, "which operations help on cifar10?")
    assert found.tasks == ()
    claims = [next(iter(predicate.operations_named())) for predicate, _ in found.singles]
    assert claims[0] == "skip"
    assert set(claims) == set(SPACE.operations)
    assert found.draws == {TARGET: 135}
    whole = store.ask("which operations help?")
    assert "  from uniform draws of cifar10 (135), cifar100 (138)" in str(whole).splitlines()
    assert whole.as_json()["spaces"][0]["draws"] == {TARGET: 135, SOURCE: 138}
    assert told(store, "which operations help on cifar100?").singles[-1][0].text() == "skip >= 1"


def test_what_hurts_most_comes_first_where_that_is_asked(store: Store) -> None:
    assert told(store, "which operations hurt on cifar100?").singles[0][0].text() == "skip >= 1"


def test_rivals_are_held_against_each_other(store: Store) -> None:
    found = told(store, "is skip better than conv3x3 on cifar10?")
    (answer,) = found.tasks
    observed = answer.place.observations
    population = Population(SPACE, observed.choices, observed.costs)
    skips, convs = population.count(["skip"]) > 0, population.count(["conv3x3"]) > 0
    assert (answer.tried, answer.compared) == ((skips & ~convs).sum(), (skips ^ convs).sum())
    assert found.joined is not None
    expected = observed.quantiles[skips & ~convs].mean() - observed.quantiles[convs & ~skips].mean()
    assert found.joined.estimate == pytest.approx(expected, abs=1e-5)


def test_how_many_gives_each_number_in_order(store: Store) -> None:
    text = str(store.ask("how many skips are best on cifar10?"))
    assert "understood as: how many are best? Each number by itself:" in text
    assert text.index("skip == 0") < text.index("skip == 1") < text.index("skip == 2")


def test_what_was_not_understood_is_said(store: Store) -> None:
    text = str(store.ask("do frobnicated skips help through the conection?"))
    assert "understood as: skip >= 1: does it help?" in text
    assert text.startswith("not recognised")  # before anybody takes it for an answer to all that was asked
    assert "not recognised: frobnicated, through, conection (did you mean connection?)" in text
    odd = str(store.ask("does it help to have no operations?")).splitlines()
    assert "not recognised: no" in odd  # and not: did you mean no?
    size = str(store.ask("does parameter help?"))
    assert "not answered: 'parameter' may make another question of it" in size and "principles costs" in size
    assert "has no operation called gat" in str(store.ask("does gat help?"))


def test_principles_come_along(ledger: Ledger, store: Store) -> None:
    kept = claim("skip >= 1")
    for each in (kept, claim("conv3x3 >= 5", -1), claim("none >= 2"), claim("depth >= 2")):
        ledger.add_principle(each, session="s")
    found = store.ask("do residual connections help?", limit=1)
    assert [match.principle.id for match in found.nearest] == [kept.id]
    assert f"[{kept.id}]" in str(found)


def test_principles_about_the_operation_that_was_named_come_first(ledger: Ledger, store: Store) -> None:
    """However near in words the others are."""
    question = "do skips help where the depth is small?"
    near = [claim(f"depth <= {n}") for n in (1, 2, 3)]
    near = [replace(one, proposal=replace(one.proposal, sentence=question)) for one in near]
    far = claim("skip >= 2")
    far = replace(
        far, proposal=replace(far.proposal, sentence="Quite other words: pooling, padding, patience.")
    )
    for each in (*near, far):
        ledger.add_principle(each, session="s")
    ranked = [match.principle.id for match in store.search(question, limit=4)]
    assert ranked[-1] == far.id, "by meaning it is the last"
    assert [match.principle.id for match in store.ask(question, limit=1).nearest] == [far.id]


def test_nothing_measured_yet(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty.db") as ledger, Store(ledger, None, embedder=HashingEmbedder()) as store:
        assert "Nothing was measured yet." in str(store.ask("does skip help?"))
        with pytest.raises(UserError, match="no question"):
            store.ask("  ")


def test_a_task_that_is_not_known(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="cifar10"):
        store.ask("does skip help?", task="nasbench201/cifar11")


def call(ledger: Ledger, *arguments: str) -> str:
    folder = Path(ledger.name).parent
    result = CliRunner().invoke(app, ["ask", *arguments, "--run", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_says_the_same(ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
    question = "do skips help below 0.35M weights?"
    assert call(ledger, question, "--limit", "3").splitlines() == str(store.ask(question)).splitlines()
    plain = json.loads(call(ledger, question, "--json"))
    assert plain == json.loads(json.dumps(store.ask(question).as_json() | {"prose": None}))
    (space,) = plain["spaces"]
    assert space["understood"] == "skip >= 1, where params < 0.35M"
    assert {task["task"] for task in space["tasks"]} == {TARGET, SOURCE}
    drawn = call(ledger, question, "--drawn", "0")
    assert "counter-examples" not in drawn


def test_an_interval_below_use_is_no(store: Store) -> None:
    tiny = Effect(0.01, -0.02, 0.04, 500, 500)
    assert verdict(tiny) == "no, not to speak of"
    assert verdict(Effect(-0.15, -0.31, 0.01, 50, 50)) == "no; whether it hurts cannot be told"
    assert verdict(Effect(0.02, 0.01, 0.2, 500, 500)) == "yes, but hardly"
    assert verdict(None).startswith("cannot be told")


def test_no_yes_or_no_where_a_word_was_not_understood(store: Store) -> None:
    plain, odd = (store.ask(f"do {word} skips help on cifar10?") for word in ("", "frobnicated"))
    assert plain.spaces[0].verdict and f"{plain.spaces[0].verdict}  [measured]" in str(plain)
    assert odd.spaces[0].verdict is None and odd.spaces[0].joined is not None
    assert "no yes or no, since 'frobnicated' was not understood" in str(odd)
    assert odd.as_json()["spaces"][0]["verdict"] is None


def test_the_task_asked_for_and_the_one_named_must_agree(store: Store) -> None:
    with pytest.raises(UserError, match=r"names nasbench201/cifar100, but only nasbench201/cifar10 is"):
        store.ask("do skips help on cifar100?", task="nasbench201/cifar10")


def test_a_space_that_is_named_is_the_only_one_that_is_asked(store: Store) -> None:
    (found,) = store.ask(f"what does {SPACE.name} say about skips?").spaces
    assert found.reading.text() == "skip >= 1"
    names = answers._names  # pyright: ignore[reportPrivateUsage]
    assert names(SPACE).search("on NASBench201?") and not names(SPACE).search("on nasbench201-mine")


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (Effect(0.2, 0.1, 0.3, 9, 9), "yes: it helps"),
        (Effect(-0.2, -0.3, -0.1, 9, 9), "yes: it hurts"),
        (Effect(-0.02, -0.04, -0.01, 9, 9), "no, not to speak of"),
        (Effect(0.03, 0.01, 0.2, 9, 9), "yes: hardly, but it helps"),
        (Effect(0.1, -0.1, 0.3, 9, 9), "cannot be told yet: the interval holds zero"),
    ],
)
def test_whether_it_matters(effect: Effect, said: str) -> None:
    assert verdict(effect, 0) == said


def test_an_operation_is_no_space(tmp_path: Path) -> None:
    """A space of one's own may be called as one of its operations is."""
    space = described(tmp_path, CHAIN.replace("test-chain", "skip"))
    assert not answers._names(space).search("does skip help?")  # pyright: ignore[reportPrivateUsage]
