"""Successive halving and Hyperband: who is promoted, what it costs, and that nothing is paid twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_parts import SPACE, builds, cells, on_cpu
from typer.testing import CliRunner

from vitruvius.cli.commands import app
from vitruvius.errors import UserError
from vitruvius.generator import export
from vitruvius.generator.evaluation import halving
from vitruvius.generator.evaluation.engine import train_networks
from vitruvius.generator.evaluation.halving import Trainer, Trial, hyperband, promote, rung_recipes, trainer
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.stopping import bar_of
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.train_bench import TrainBench
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.space import Architecture, SearchSpace

FULL = Recipe(epochs=27, width=8)


def small() -> Train:
    recipe = Recipe(epochs=4, width=2, batch=30)
    return Train(recipe=recipe, device="cpu", workers=1, limit=60)


def quality(key: str) -> float:
    """A hidden worth, distinct for most cells."""
    return key.count("nor_conv_3x3") + sum(i * ord(c) for i, c in enumerate(key)) % 97 / 100


class Fake:
    """Scores by the hidden worth plus noise that shrinks with the epochs; notes what it trains."""

    def __init__(self, noise: float = 0.0, broken: str = "") -> None:
        self.noise, self.broken = noise, broken
        self.trained: list[tuple[int, str]] = []
        self.kept: list[int] = []

    def __call__(
        self, recipe: Recipe, architectures: Sequence[Architecture], keep: int = 0
    ) -> list[Measurement]:
        self.kept.append(keep)
        found: list[Measurement] = []
        for a in architectures:
            self.trained.append((recipe.epochs, a.key))
            rng = np.random.default_rng([recipe.epochs, *a.key.encode()])
            score = quality(a.key) + self.noise / recipe.epochs * float(rng.normal())
            if a.key == self.broken:
                found.append(Measurement("s", "t", a.key, a.id, Status.DIVERGED, None, "broken"))
            else:
                found.append(Measurement("s", "t", a.key, a.id, Status.OK, score))
        return found


def test_rungs_are_recipes_with_fewer_epochs_and_channels():
    assert [r.epochs for r in rung_recipes(FULL)] == [3, 9, 27]
    assert [r.epochs for r in rung_recipes(FULL, factor=2, rungs=4)] == [3, 7, 14, 27]
    assert [r.epochs for r in rung_recipes(Recipe(epochs=4))] == [1, 4], "less than one epoch is no rung"
    assert [r.width for r in rung_recipes(FULL, narrowest=2)] == [2, 5, 8]
    assert rung_recipes(FULL)[-1] == FULL
    digests = {r.digest for r in rung_recipes(FULL)} | {r.digest for r in rung_recipes(FULL, narrowest=2)}
    assert len(digests) == 5, "another fidelity is another identity"
    with pytest.raises(UserError, match="Halving by 1"):
        rung_recipes(FULL, factor=1)
    with pytest.raises(UserError, match="narrowest=9"):
        rung_recipes(FULL, narrowest=9)


def test_the_best_are_promoted_and_the_failed_are_not():
    best = max(cells(20), key=lambda cell: quality(cell.key))
    fake, recipes = Fake(broken=best.key), rung_recipes(FULL)
    below = fake(recipes[0], cells(20))
    middle, top = promote(below, recipes[1:], fake, SPACE)
    ranked = sorted((m for m in below if m.ok), key=lambda m: -(m.score or 0))
    assert {m.key for m in middle.measurements} == {m.key for m in ranked[:9]}
    assert [m.key for m in top.measurements] == [m.key for m in ranked[:3]], "without noise the order stays"
    assert middle.agreement == pytest.approx(1.0)
    assert (middle.compared, top.compared) == (9, 3)
    assert (middle.recipe.epochs, top.recipe.epochs) == (9, 27)
    assert fake.kept == [0, 3, 0], "three of nine can be promoted; in the last rung nobody is stopped"


def test_agreement_tells_when_cheap_scores_say_nothing():
    fake, recipes = Fake(noise=200.0), rung_recipes(FULL)
    middle, _ = promote(fake(recipes[0], cells(40)), recipes[1:], fake, SPACE, factor=5)
    assert middle.compared == 25
    assert middle.agreement is not None and middle.agreement < 0.6


def test_few_candidates_have_no_agreement():
    fake = Fake()
    (rung,) = promote(fake(FULL, cells(2)), [FULL], fake, SPACE)
    assert (len(rung.measurements), rung.agreement) == (2, None)


def test_hyperband_begins_with_many_cheap_ones_and_ends_with_few_in_full():
    fake, drawn = Fake(), iter(cells(60))
    rungs = list(hyperband(lambda n: [next(drawn) for _ in range(n)], rung_recipes(FULL), fake, SPACE))
    sizes = [(rung.recipe.epochs, len(rung.measurements)) for rung in rungs]
    assert sizes == [(3, 9), (9, 3), (27, 1), (9, 5), (27, 1), (27, 3)]
    first = max(fake.trained[:9], key=lambda one: quality(one[1]))
    assert rungs[2].measurements[0].key == first[1]
    assert fake.kept == [3, 1, 0, 1, 0, 0]
    assert [rung.drawn for rung in rungs] == [True, False, False, True, False, True]
    later, drawn = Fake(), iter(cells(60))
    draw = lambda n: [next(drawn) for _ in range(n)]  # noqa: E731
    rest = list(hyperband(draw, rung_recipes(FULL), later, SPACE, start=1))
    assert [(rung.recipe.epochs, len(rung.measurements)) for rung in rest] == sizes[3:]


def test_the_bar_is_that_of_the_worst_leader_in_the_second_half():
    inf = float("inf")
    assert bar_of([(3.0, 2.0, 1.0, 0.5), (4.0, 1.0, 1.5, 0.1), (9.0,)], 4) == (inf, 2.0, 1.5, 0.5)
    assert bar_of([(3.0, 2.0, 1.0)], 3) == (inf, 2.0, 1.0)
    assert bar_of([(3.0,), ()], 3) == (), "no leader was trained to the end"


def test_a_network_above_the_bar_is_stopped_and_those_beside_it_are_not():
    train, recipe = small(), small().recipe
    images = on_cpu(train.images, recipe)
    alone = [train_networks([build], images, recipe, 0)[0] for build in builds(cells(2), recipe.width)]
    bar = [0.0 if epoch == 1 else 99.0 for epoch in range(recipe.epochs)]
    (stopped,) = train_networks(builds(cells(1), recipe.width), images, recipe, 0, bar=bar)
    assert stopped.stopped and not stopped.diverged and stopped.score is None
    assert stopped.losses == alone[0].losses[:2] and "after epoch 2 of 4" in stopped.reason
    between = sum(one.losses[1] for one in alone) / 2
    pair = train_networks(builds(cells(2), recipe.width), images, recipe, 0, bar=[99.0, between, 99.0, 99.0])
    assert [one.stopped for one in pair] == [one.losses[1] > between for one in alone]
    kept = [one.stopped for one in pair].index(False)
    assert pair[kept].score == alone[kept].score


def test_who_is_behind_all_leaders_is_stopped_and_nothing_is_trained_twice(monkeypatch: pytest.MonkeyPatch):
    train = small()
    recorded: list[Trial] = []
    trainer = Trainer(train.with_recipe, SPACE, train.images.name, record=recorded.append)
    monkeypatch.setattr(halving, "bar_of", lambda curves, epochs: (0.0,) * epochs if curves[0] else ())
    found = trainer(train.recipe, cells(3), 1)
    assert [m.status for m in found] == [Status.OK, Status.STOPPED, Status.STOPPED]
    assert [m.key for m in found] == [cell.key for cell in cells(3)]
    assert "Stopped: after epoch 1 of 4" in found[1].reason and found[1].score is None
    assert [len(trial.curve) for trial in recorded] == [4, 1, 1]
    monkeypatch.setattr(TrainBench, "stream", lambda *_, **__: pytest.fail("trained twice"))
    again = Trainer(train.with_recipe, SPACE, train.images.name, known=recorded)
    assert again(train.recipe, cells(3), 1) == found


class Wide:
    """Workers that all train at once."""

    name, tabular = "wide", False
    evaluator = fingerprint = fidelity = "wide"
    metric, devices = Metric("validation accuracy", "%"), ()

    def __init__(self) -> None:
        self.asked: list[int] = []

    def datasets(self, space: SearchSpace) -> list[str]:
        return ["d"]

    def open(self, space: SearchSpace, dataset: str) -> Any:
        return self

    def representative(self, architecture: Architecture) -> Architecture:
        return architecture

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> list[Measurement]:
        self.asked.append(len(architectures))
        return Fake()(FULL, architectures)

    def close(self) -> None: ...


def test_a_crew_trains_a_whole_rung_at_once():
    wide = Wide()
    found = Trainer(lambda _: wide, SPACE, "d")(FULL, cells(9), 3)
    assert wide.asked == [9] and all(m.ok for m in found)


def test_real_training_climbs_the_rungs():
    train = small()
    recipes = rung_recipes(train.recipe, factor=2, rungs=2)
    measure = trainer(train, SPACE)
    below = measure(recipes[0], cells(3))
    (rung,) = promote(below, recipes[1:], measure, SPACE, factor=2)
    assert {m.fidelity for m in below} == {"2 epochs"}
    assert {m.fidelity for m in rung.measurements} == {"4 epochs"}
    assert len(rung.measurements) == 2 and all(m.ok for m in rung.measurements)
    assert not {m.identity for m in below} & {m.identity for m in rung.measurements}


def test_the_command_line_promotes_and_pays_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "missing_packages", lambda: PACKAGES)  # ONNX has tests of its own
    recipe = tmp_path / "tiny.toml"
    recipe.write_text("epochs = 4\nwidth = 2\nbatch = 30\n")
    arguments = [
        "run", "--evaluator", "train", "--run", str(tmp_path / "run"), "--recipe", str(recipe), "--halving", "2",
        "--evaluations", "6", "--proposer", "uniform", "--device", "cpu", "--set", "limit=60", "--set", "workers=1",
        "--hyperband", "--quiet",
    ]  # fmt: skip
    first = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "nasbench201/digits" in first
    assert "2 epochs: 4 candidates" in first and "4 epochs: 2 candidates" in first
    assert "Hyperband: drawn uniformly" in first and "2 epochs: 3 candidates" in first
    again = CliRunner().invoke(app, [*arguments, "--set", "time_limit=0.001"], catch_exceptions=False).output
    tail = "Promoted: the best, trained longer"
    assert tail in first and again.partition(tail)[2] == first.partition(tail)[2]
    best = first.partition("Best in full: ")[2].split()[-1]
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "run")], catch_exceptions=False).output
    assert "Trained longer after the search" in shown and best in shown.partition("4 epochs: ")[2]
    exported = CliRunner().invoke(app, ["export", str(tmp_path / "run")], catch_exceptions=False).output
    assert f"exported {best}" in exported
    assert "4 epochs" in (tmp_path / "run" / "winner" / "card.md").read_text()
