"""Settings of training: a table of their own, reachable by name from the command line, as `Train` takes them."""

from __future__ import annotations

import inspect
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from vitruvius.agents.options import Options
from vitruvius.building import build_evaluator, build_rungs, build_sources, build_task
from vitruvius.config import Settings, dump_settings, load_settings
from vitruvius.errors import SettingsError, UnknownNameError, UserError
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.train_settings import TrainSettings
from vitruvius.generator.space import get_space


def test_a_name_is_in_one_table_only():
    for one, two in combinations((Settings, Options, TrainSettings), 2):
        assert not set(one.model_fields) & set(two.model_fields)


def test_each_setting_is_an_argument_of_train_with_the_same_default():
    parameters = inspect.signature(Train.__init__).parameters
    defaults = TrainSettings().arguments()
    del defaults["recipe"]
    assert defaults == {name: parameters[name].default for name in defaults}
    assert set(TrainSettings.model_fields) - set(defaults) == {"recipe", "halving", "hyperband", "narrowest"}
    assert Train(recipe=TrainSettings().recipe).recipe == Train().recipe


def test_settings_are_written_and_read_back(tmp_path: Path):
    given = {
        "evaluator": "train",
        "recipe": "nasbench201-12",
        "pack": 4,
        "limit": 100,
        "memory": 2.5,
        "seed": 3,
    }
    settings = load_settings(None, given)
    assert (settings.train.recipe, settings.train.pack, settings.options.seed) == ("nasbench201-12", 4, 3)
    path = tmp_path / "settings.toml"
    path.write_text(dump_settings(settings))
    assert "[train]" in path.read_text()
    assert load_settings(path, {}) == settings


def test_paths_are_kept_so_that_a_run_is_resumed_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    train = {"evaluator": "train", "dataset": "photos", "recipe": "mine.toml"}
    looked_up = {"table": "tables", "templates": "../words", "latency_files": ["mine=a.csv"]}
    settings = load_settings(None, train)
    assert settings.task == "nasbench201/photos"
    assert (settings.dataset, settings.train.recipe) == (f"{tmp_path}/photos", f"{tmp_path}/mine.toml")
    settings = load_settings(None, looked_up)
    assert (settings.table, settings.templates) == (f"{tmp_path}/tables", f"{tmp_path}/../words")
    assert settings.latency_files == [f"mine={tmp_path}/a.csv"]
    named = load_settings(None, {"evaluator": "train", "dataset": "digits"})
    assert (named.dataset, named.train.recipe, named.templates) == ("digits", "fast", None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("vllm:models/mine", "vllm:{}/models/mine"),
        ("both:vllm:models/mine", "both:vllm:{}/models/mine"),
        ("vllm:org/name", "vllm:org/name"),
        ("vllm:smollm2", "vllm:smollm2"),
        ("openai:models/mine", "openai:models/mine"),
    ],
)
def test_a_model_folder_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, kept: str
):
    monkeypatch.chdir(tmp_path)
    for folder in ("models/mine", "smollm2"):
        (tmp_path / folder).mkdir(parents=True)
    assert load_settings(None, {"reasoner": given}).options.reasoner == kept.format(tmp_path)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:///shared.db", "sqlite:///{}/shared.db"),
        ("sqlite+pysqlite:///a/shared.db", "sqlite+pysqlite:///{}/a/shared.db"),
        ("sqlite:////data/shared.db", "sqlite:////data/shared.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql+psycopg://me@host/name", "postgresql+psycopg://me@host/name"),
    ],
)
def test_a_ledger_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, kept: str
):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"ledger": given})
    assert settings.ledger == kept.format(tmp_path)


def test_training_searches_nasbench201_on_its_data_set_where_no_task_is_named(tmp_path: Path):
    assert load_settings(None, {"evaluator": "train"}).task == "nasbench201/digits"
    assert load_settings(None, {"evaluator": "train", "dataset": "mnist"}).task == "nasbench201/mnist"
    for label in "ab":
        (tmp_path / "my leaves" / label).mkdir(parents=True)
    named = {"evaluator": "train", "dataset": str(tmp_path / "my leaves"), "classes": "5"}
    assert load_settings(None, named).task == "nasbench201/my-leaves-5"
    assert load_settings(None, {"evaluator": "train", "task": "darts/digits"}).task == "darts/digits"


def test_what_a_file_says_to_another_evaluator_is_refused_too(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("[train]\nhalving = 3\n")
    with pytest.raises(UserError, match=r"halving = 3 has no effect"):
        load_settings(tmp_path / "mine.toml", {})
    assert load_settings(tmp_path / "mine.toml", {"evaluator": "train"}).train.halving == 3
    (tmp_path / "run.toml").write_text(dump_settings(load_settings(None, {"evaluator": "table"})))
    assert load_settings(tmp_path / "run.toml", {}).evaluator == "table"


@pytest.mark.parametrize(
    ("given", "told", "left_out"),
    [
        ({}, "sources", ["dataset", "score", "[train]", "recipe"]),
        ({"evaluator": "zero-cost"}, "score", ["[train]\nworkers", "recipe", "function"]),
        ({"evaluator": "train"}, "recipe", ["score"]),
    ],
)
def test_what_has_no_effect_is_not_written_down(
    tmp_path: Path, given: dict[str, str], told: str, left_out: list[str]
):
    settings = load_settings(None, given)
    (tmp_path / "settings.toml").write_text(text := dump_settings(settings))
    assert load_settings(tmp_path / "settings.toml", {}) == settings
    assert f"\n{told} = " in text
    assert not [name for name in left_out if f"\n{name}" in text]


@pytest.mark.parametrize("given", ["[0.5,0.3,0.2]", "0.5, 0.3, 0.2", [0.5, 0.3, 0.2]])
def test_the_split_is_a_setting_as_text_or_as_a_list(tmp_path: Path, given: object):
    settings = load_settings(None, {"evaluator": "train", "split": given})
    assert settings.train.split == (0.5, 0.3, 0.2)
    path = tmp_path / "settings.toml"
    path.write_text(dump_settings(settings))
    assert "split = [0.5, 0.3, 0.2]" in path.read_text() and load_settings(path, {}) == settings
    evaluator = build_evaluator(settings)
    assert isinstance(evaluator, Train)
    assert evaluator.images.fingerprint == Train(split=(0.5, 0.3, 0.2)).images.fingerprint


@pytest.mark.parametrize(
    "sources", ["nasbench201/cifar10, nasbench-graph/arxiv", ["nasbench201/cifar10"], "auto"]
)
def test_sources_may_be_one_text(sources: str | list[str]):
    expected = {str: "auto", list: ["nasbench201/cifar10"]}
    wanted = ["nasbench201/cifar10", "nasbench-graph/arxiv"] if "," in sources else expected[type(sources)]
    assert load_settings(None, {"sources": sources}).sources == wanted


def test_halving_searches_with_the_lowest_rung():
    evaluator = build_evaluator(load_settings(None, {"evaluator": "train", "halving": 3}))
    assert isinstance(evaluator, Train)
    assert evaluator.recipe.epochs == 1
    full = build_evaluator(load_settings(None, {"evaluator": "train"}))
    assert isinstance(full, Train) and full.recipe.epochs == 12
    narrow = load_settings(None, {"evaluator": "train", "halving": 3, "narrowest": 2})
    assert [(r.epochs, r.width) for r in build_rungs(narrow)] == [(1, 2), (4, 5), (12, 8)]
    for setting in ({"hyperband": True}, {"narrowest": 2}):
        with pytest.raises(UserError, match="give --halving 3 too"):
            build_evaluator(load_settings(None, {"evaluator": "train", **setting}))


def test_a_pack_or_a_run_is_no_source(tmp_path: Path):
    settings = load_settings(None, {"sources": [str(tmp_path)]})
    with pytest.raises(SettingsError, match=r"is a file or folder, .*principles import"):
        build_sources(settings, build_task(settings))


@pytest.mark.parametrize("evaluator", ["train", "zero-cost"])
def test_a_task_that_names_another_data_set_says_so(evaluator: str):
    settings = load_settings(None, {"evaluator": evaluator, "task": "nasbench201/cifar10"})
    told = r"given twice .*'cifar10' by task = .*'digits' by dataset = .*Give --task nasbench201/digits, or"
    with pytest.raises(SettingsError, match=told):
        build_task(settings)
    graphs = load_settings(None, {"evaluator": evaluator, "task": "nasbench-graph/cora"})
    with pytest.raises(UserError, match="Networks of nasbench-graph read graphs"):
        build_task(graphs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pack": 0}, r"train.pack = 0 is not allowed"),
        ({"time_limit": "inf"}, r"train.time_limit = 'inf' is not allowed"),
        ({"split": "0.9,0.9,0.2"}, r"train.split = '0.9,0.9,0.2' is not allowed: .* three shares .* sum 1, for example"),
        ({"split": "0.5,0.5"}, r"train.split = '0.5,0.5' is not allowed: .* three shares"),
        ({"split": "[nan,0.5,0.5]"}, r"train.split = .* three shares"),
        ({"split": 1}, r"train.split = 1 is not allowed: .* three shares"),
        ({"split": "[0.5,0.5,0]"}, r"split = \(0.5, 0.5, 0.0\) has no effect with evaluator = 'table'"),
        ({"recipee": "fast"}, r"Unknown setting recipee. Did you mean train.recipe\?"),
        ({"train": 3}, r"it is a table, \[train\]"),
        ({"evaluator": "train", "dataset": "nowhere"}, "no such file or folder"),
        ({"dataset": "mnist"}, r"dataset = 'mnist' has no effect with evaluator = 'table': .*--evaluator train"),
        ({"workers": 2}, r"workers = 2 has no effect .*give --evaluator train or --evaluator ray"),
        ({"recipe": "fast"}, r"recipe = 'fast' has no effect"),
        ({"evaluator": "train", "table": "x.parquet"}, r"table = '.*x.parquet' has no effect .*'train'"),
        ({"evaluator": "zero-cost", "halving": 3}, r"halving = 3 has no effect with evaluator = 'zero-cost'"),
        ({"proposer": "ngram", "proposer_url": "http://h/v1"}, r"proposer_url = 'http://h/v1' is not allowed: only"),
        ({"proposer": "vllm-server", "proposer_url": "h:8000"}, r"proposer_url = 'h:8000' .* looks like http://host"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_sentence(tmp_path: Path, given: dict[str, object], message: str):
    path = tmp_path / "settings.toml"
    path.write_text("train = 3\n" if "train" in given else "")
    with pytest.raises(UserError, match=message):
        load_settings(path, {} if "train" in given else given)


# ---- what `Train` and recipes refuse ---------------------------------------------------------------------------------

SPACE = get_space("nasbench201")
X, Y = np.zeros((20, 8, 8)), np.arange(20) % 2


def test_values_that_cannot_be_used_are_refused():
    with pytest.raises(UserError, match="Unknown device 'tpu'"):
        Train(device="tpu")
    with pytest.raises(UserError, match="time_limit=0"):
        Train(time_limit=0)
    with pytest.raises(UserError, match="sum 1"):
        Train(split=(0.9, 0.9, 0.2))
    with pytest.raises(UserError, match="no image to train or to validate"):
        _ = Train((X, Y), split=(0.0, 0.8, 0.2)).images
    with pytest.raises(UserError, match="hold '/'"):
        Train(name="a/b")
    with pytest.raises(UnknownNameError, match=r"data set 'cifar10'.*digits"):
        Task("nasbench201/cifar10", evaluator=Train())
    with pytest.raises(UserError, match="nasbench-graph read graphs, not images"):
        Task("nasbench-graph", evaluator=Train())
    with pytest.raises(ValidationError, match="epoch"):
        Recipe(epoch=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time_limit": float("nan")}, "time_limit=nan is not allowed: Input should be a finite number"),
        ({"time_limit": float("inf")}, "time_limit=inf is not allowed"),
        ({"memory": 0}, "memory=0 is not allowed: Input should be greater than 0"),
        ({"limit": 1.5}, "limit=1.5 is not allowed: Input should be a valid integer"),
        ({"limit": True}, "limit=True is not allowed"),
        ({"threads": "2"}, "threads='2' is not allowed: Input should be a valid integer"),
        ({"threads": 1.5}, "threads=1.5 is not allowed: Input should be a valid integer"),
        ({"classes": 1}, "classes=1 is not allowed: Input should be greater than or equal to 2"),
    ],
)  # fmt: skip
def test_train_checks_what_its_settings_do(given: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        Train(**given)
    Train(limit=np.int64(100), time_limit=np.float32(5))  # type: ignore[arg-type]


def test_the_space_is_looked_at_before_the_images_are_read(tmp_path: Path):
    """Also where halving has made a second evaluator of it."""
    (tmp_path / "images.parquet").write_bytes(b"would be an error of its own")
    train = Train(str(tmp_path / "images.parquet"))
    for one in (train, train.with_recipe(Recipe(epochs=1))):
        with pytest.raises(UserError, match="nasbench-graph read graphs, not images"):
            Task("nasbench-graph", evaluator=one)


def test_images_are_read_once_for_all_recipes():
    train = Train()
    assert train.with_recipe(Recipe(epochs=1)).images is train.images


@pytest.mark.parametrize(
    "given", [{"lr": float("inf")}, {"weight_decay": float("inf")}, {"epochs": True}, {"epochs": 2.0}, {"batch": "8"}]
)  # fmt: skip
def test_a_recipe_of_impossible_values_is_refused(given: dict[str, Any]):
    with pytest.raises(ValidationError):
        Recipe(**given)
    assert Recipe(lr=1).digest == Recipe(lr=1.0).digest


def test_a_cutout_larger_than_the_images_is_refused():
    with pytest.raises(UserError, match=r"cutout = 9 is larger than images of 8 x 8, .* cutout = 4 or less"):
        Task("nasbench201", evaluator=Train(recipe=Recipe(cutout=9)))
    Task("nasbench201", evaluator=Train(recipe=Recipe(cutout=8)))


def test_a_recipe_that_asks_for_what_networks_do_not_have_is_refused_at_once():
    with pytest.raises(UserError, match="NAS-Bench-201 have no extra 'auxiliary'"):
        Task("nasbench201", evaluator=Train(recipe=Recipe(auxiliary=0.4)))
    with pytest.raises(UserError, match="NAS-Bench-201 drop no paths"):
        Task("nasbench201", evaluator=Train(recipe=Recipe(drop_path=0.2)))


def test_the_recipe_names_the_evaluator():
    names = {
        Train(recipe=r, device="cpu").open(SPACE, "digits").evaluator
        for r in (Recipe(), Recipe(epochs=5), Recipe(lr=0.3))
    }
    assert len(names) == 3 and all(name.startswith("train:") for name in names)
    assert Recipe(epochs=5).fidelity == "5 epochs"


def test_a_score_in_bfloat16_is_not_taken_for_one_in_float32():
    """A GPU and a CPU compute `auto` differently; what a cluster's workers have counts, not who asks them."""
    on_cpu, on_gpu = (Train(device=device) for device in ("cpu", "cuda"))
    names = [one.open(SPACE, "digits").evaluator for one in (on_cpu, on_gpu)]
    assert names == [f"train:{digest}" for digest in Recipe().digests]
    asked = Train()
    assert [asked.placed(gpu=gpu).open(SPACE, "digits").evaluator for gpu in (False, True)] == names
    assert on_cpu.placed(gpu=True) is on_cpu, "it was said"
    half = Recipe(precision="bf16")
    assert Train(recipe=half, device="cpu").open(SPACE, "digits").evaluator == names[1]
