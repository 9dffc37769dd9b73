"""Settings and command line of everything that measures side by side, or without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vitruvius.building import build_evaluator, build_plan, build_session
from vitruvius.cli.commands import app
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.ray_cluster import Ray
from vitruvius.generator.evaluation.scored import ZeroCost
from vitruvius.generator.evaluation.timed import Timed
from vitruvius.generator.evaluation.train import Train


def built(**settings: Any) -> Any:
    return build_evaluator(load_settings(None, settings))


def test_each_setting_gives_its_evaluator(monkeypatch: pytest.MonkeyPatch):
    assert isinstance(built(evaluator="zero-cost", score="synflow"), ZeroCost)
    timed = built(evaluator="train", latency=4)
    assert isinstance(timed, Timed) and timed.batch == 4 and isinstance(timed.evaluator, Train)
    ray = built(evaluator="ray", address="10.0.0.5:6379", workers=7, gpus=0.25, pack=3)
    assert isinstance(ray, Ray) and isinstance(ray.evaluator, Train)
    assert (ray.address, ray._workers, ray._gpus, ray.each) == ("10.0.0.5:6379", 7, 0.25, 3)  # pyright: ignore[reportPrivateUsage]
    assert ray.evaluator.limits.workers == 1, "a worker of the cluster is one process that trains"
    for gpus, device, workers, kind in ((1, "auto", 4, Train), (4, "cpu", 4, Train), (4, "auto", None, Pool),
                                        (4, "cuda", 8, Pool)):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        made = built(evaluator="train", device=device, workers=workers)
        assert type(made) is kind
        if isinstance(made, Pool):
            assert (made.workers, made.gpus) == (workers or 4, 4)
        else:
            assert made.limits.workers == 4


def test_latencies_are_taken_beside_every_way_to_train(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    timed = built(evaluator="train", latency=1)
    assert isinstance(timed, Timed) and isinstance(timed.evaluator, Pool) and timed.evaluator.workers == 4


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"objectives": "latency"}, "latency cannot be in objectives"),
        ({"where": "latency[pixel3] < 9ms"}, r"latency\[pixel3\] cannot be in where"),
    ],
)
def test_what_is_timed_here_is_no_objective(setting: dict[str, str], told: str):
    with pytest.raises(
        SettingsError, match=f"{told}: what --latency takes is known only once .*latency-file"
    ):
        built(evaluator="train", latency=1, **setting)
    built(evaluator="train", latency=1, latency_files=["pixel3=x.csv"], where="latency[pixel3] < 9ms")


def test_scores_of_untrained_networks_are_taken_where_and_of_what_was_said(tmp_path: Path):
    for label, name in enumerate(("ash", "oak", "fir")):
        (tmp_path / name).mkdir()
        for i in range(9):
            Image.new("L", (8 + i, 8), 90 * label).save(tmp_path / name / f"{i}.png")
    scored = built(
        evaluator="zero-cost", dataset=str(tmp_path), image_size=10, limit=6, classes=2, split="0.8,0.2,0",
        device="cuda:5",
    )  # fmt: skip
    assert (scored.setup.device, scored.images.size, scored.images.classes) == ("cuda:5", (1, 10, 10), 2)
    assert (len(scored.images.train_y), scored.images.set_aside) == (6, 0)
    arguments = ["score", "nasbench201", "--sample", "1", "--scores", "params", "--dataset", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--image-size", "10"])
    assert result.exit_code == 0, result.exception


def test_settings_are_kept_and_read_again(tmp_path: Path):
    given = {"evaluator": "ray", "address": "ray://:secret@head:10001", "gpus": 0.5, "asynchronous": True}
    settings = load_settings(None, given)
    assert settings.task == "nasbench201/digits"
    text = dump_settings(settings)
    assert "secret" not in text
    (tmp_path / "settings.toml").write_text(text)
    again = load_settings(tmp_path / "settings.toml", {"address": given["address"]})
    assert again == settings


def test_a_cluster_does_not_take_latencies():
    with pytest.raises(SettingsError, match="leave it out with ray"):
        built(evaluator="ray", latency=1)


def test_halving_on_a_cluster_searches_with_the_lowest_rung_and_climbs_there():
    settings = load_settings(None, {"evaluator": "ray", "halving": 3, "address": "10.0.0.5:6379", "limit": 9})
    lowest, plan = build_evaluator(settings), build_plan(settings)
    assert isinstance(lowest, Ray) and isinstance(lowest.evaluator, Train)
    assert lowest.evaluator.recipe.epochs == 1
    assert plan is not None and [recipe.epochs for recipe in plan.recipes] == [1, 4, 12]
    full = plan.at(plan.recipes[-1])
    assert isinstance(full, Ray) and isinstance(full.evaluator, Train) and full.address == lowest.address
    assert full.evaluator.recipe.epochs == 12
    assert build_plan(load_settings(None, {"evaluator": "ray"})) is None


def test_a_search_by_score_from_the_command_line(tmp_path: Path):
    run = tmp_path / "run"
    common = ["run", "--run", str(run), "--evaluator", "zero-cost", "--score", "params", "--proposer", "uniform",
              "--reasoner", "none", "--set", "pool=32", "--set", "local=32", "--quiet"]  # fmt: skip
    done = CliRunner().invoke(app, [*common, "--evaluations", "8", "--asynchronous"], catch_exceptions=False)
    assert done.exit_code == 0 and "8 of 8 counted" in done.stdout
    assert "asynchronous = true" in (run / "settings.toml").read_text()
    more = CliRunner().invoke(
        app, ["run", "--run", str(run), "--evaluations", "10", "--quiet"], catch_exceptions=False
    )
    assert more.exit_code == 0 and "10 of 10 counted" in more.stdout
    with pytest.raises(SettingsError, match="asynchronous was True and is now False"):
        CliRunner().invoke(app, [*common, "--set", "asynchronous=false"], catch_exceptions=False)


def test_a_run_says_what_its_data_are(tmp_path: Path):
    """A folder that was not meant so, and batches that are not those of the recipe, are noticed at once."""
    (tmp_path / "mine.toml").write_text("batch = 90\n")
    given = {"evaluator": "train", "limit": 140, "recipe": str(tmp_path / "mine.toml"), "device": "cpu"}
    lines = list[str]()
    settings = load_settings(None, {**given, "proposer": "uniform", "reasoner": "none"})
    with build_session(settings, tmp_path / "run", lines.append):
        pass
    assert lines[0] == (
        "data       639 images of 1x8x8, 10 classes (0, 1, 2, 3, 4, ...), 140 to train, 140 to validate, "
        "359 set aside; batches of 70: those of 90 would leave out 50"
    )
