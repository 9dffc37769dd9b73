"""The command `vitruvius export`: what of a run is exported, and what the card says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vitruvius.building import build_rungs, build_session
from vitruvius.config import dump_settings, load_settings
from vitruvius.errors import SettingsError, UserError, VitruviusError
from vitruvius.generator import export as module
from vitruvius.generator.evaluation.task import Measurement, Status, Task
from vitruvius.generator.export import Rival, read_card
from vitruvius.generator.export.onnx_file import PACKAGES
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import get_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.share import Share
from vitruvius.summary import summarise

SPACE = get_space("nasbench201")
MIXED = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|")
EMPTY = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
TREE = get_space("nasbench-graph").parse("0112:gat,cheb,graph,skip")


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed; writing ONNX files takes seconds."""
    monkeypatch.setattr(module, "missing_packages", lambda: PACKAGES)


def run_folder(
    folder: Path, task: str, keys: list[str], scores: list[float], evaluator: str = "table:1"
) -> Path:
    """A run that measured these."""
    space = get_space(task.partition("/")[0])
    ledger = Ledger(folder / "ledger.db")
    settings = {"metric": "validation accuracy", "maximize": True}
    ledger.start_session("session", task=task, seed=0, settings=settings, labels=[])
    for key, score in zip(keys, scores, strict=True):
        measurement = Measurement(
            space=space.name, task=task, key=key, id=space.parse(key).id, status=Status.OK, score=score,
            evaluator=evaluator, fidelity="200 epochs", fingerprint="f",
        )  # fmt: skip
        ledger.record(measurement, session="session", batch=0, share=Share.INITIAL)
    ledger.close()
    return folder


def invoke(*arguments: str) -> tuple[int, str, BaseException | None]:
    import typer

    from vitruvius.cli.export import export

    app = typer.Typer()
    app.command()(export)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output, result.exception


@pytest.mark.usefixtures("without_onnx")
def test_the_command_exports_the_best_of_a_run(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench201/digits", [EMPTY.key, MIXED.key], [11.0, 97.5])
    code, output, error = invoke(str(run))
    assert code == 0, error
    assert f"exported {MIXED.key}" in output and "untrained" in output and "vitruvius[onnx]" in output
    card = (run / "winner" / "card.md").read_text()
    assert "validation accuracy 97.5" in card and "evaluation 2 of 2" in card
    assert "images of 1 x 8 x 8, 10 classes" in card
    rival = read_card(run / "winner").rival
    assert rival == Rival(key=MIXED.key, what="the best of 2 uniform draws in the same run")

    code, output, error = invoke(
        str(run), "--architecture", EMPTY.key, "--to", str(tmp_path / "other"), "--width", "6"
    )
    assert code == 0, error
    assert "channels in the first stage: 6" in (tmp_path / "other" / "card.md").read_text()


@pytest.mark.usefixtures("without_onnx")
def test_a_score_is_credited_to_the_network_that_was_measured(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench201/cifar10", [MIXED.key], [90.7])
    other = "measured on another network than this one: channels in the first stage: 16; cells in each of the"
    assert invoke(str(run))[0] == 0
    card = (run / "winner" / "card.md").read_text()
    assert "another network" not in card
    assert (
        "- 200 epochs, measured by table:1" in card and "seed 0" not in card
    )  # tables hold means over seeds
    code, _, error = invoke(str(run), "--width", "8", "--cells", "1")
    assert code == 0, error
    text = (run / "winner" / "card.md").read_text()
    assert "channels in the first stage: 8; cells" in text and other in text
    assert "images of 3 x 32 x 32, 10 classes\n- 200 epochs" in text
    card = read_card(run / "winner")
    again = card.model_copy(
        update={"shape": Shape(10, 3, 32, 32)}
    )  # as `retrain` makes it as large as its recipe
    assert "another network" not in again.text()


@pytest.mark.usefixtures("without_onnx")
def test_what_was_trained_narrow_is_told_from_the_full_network(tmp_path: Path):
    given = {
        "evaluator": "train",
        "dataset": "digits",
        "recipe": "nasbench201-12",
        "halving": 3,
        "narrowest": 4,
    }
    settings = load_settings(None, given)
    narrow = build_rungs(settings)[0]
    evaluator = f"train:{narrow.digest}"
    run = run_folder(tmp_path, "nasbench201/digits", [MIXED.key], [97.5], evaluator=evaluator)
    (run / "settings.toml").write_text(dump_settings(settings))
    code, _, error = invoke(str(run), "--cells", "1", "--classes", "10", "--channels", "1", "--size", "9")
    assert code == 0, error
    assert read_card(run / "winner").measured_on == Shape(10, 1, 8, 8, stem=4, cells=5)
    card = (run / "winner" / "card.md").read_text()
    assert "seed 0" in card and "stage: 4; cells in each of the three stages: 5; images of 1 x 8 x 8" in card


@pytest.mark.usefixtures("without_onnx")
def test_the_recipe_is_that_which_the_run_began_with(tmp_path: Path):
    """Edited or deleted afterwards, its file would put the score on another network."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 1\nwidth = 4\n")
    given = {"evaluator": "train", "dataset": "digits", "recipe": str(recipe), "device": "cpu"}
    given |= {"proposer": "uniform", "reasoner": "none"}
    with build_session(load_settings(None, given), tmp_path / "run") as session:
        evaluator = session.task.bench.evaluator
    kept = (tmp_path / "run" / "recipe.toml").read_text()
    recipe.unlink()
    run = run_folder(tmp_path / "other", "nasbench201/digits", [MIXED.key], [97.5], evaluator=evaluator)
    (run / "settings.toml").write_text((tmp_path / "run" / "settings.toml").read_text())
    (run / "recipe.toml").write_text(kept)
    code, _, error = invoke(str(run))
    assert code == 0, error
    card = read_card(run / "winner")
    assert card.shape.stem == 4 and card.measured_on == card.shape
    (run / "recipe.toml").unlink()  # as runs of before have none
    recipe.write_text("epochs = 1\nwidth = 6\n")
    code, _, error = invoke(str(run))
    assert code == 0, error
    card = read_card(run / "winner")
    assert card.shape.stem == 6 and card.measured_on is None
    assert f"the recipe it was trained with ({evaluator}) is not that of" in card.text()


@pytest.mark.usefixtures("without_onnx")
def test_the_command_exports_graph_networks(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench-graph/photo", [TREE.key], [0.9])
    code, output, error = invoke(str(run))
    assert code == 0, error
    card = (run / "winner" / "card.md").read_text()
    assert "nodes have 745 features, 8 classes" in card and "channels of a layer: 128" in card
    assert "retrain" not in card + output


@pytest.mark.usefixtures("without_onnx")
def test_what_a_cluster_trained_is_exported_as_what_was_trained_here(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench201/digits", [MIXED.key], [97.5])
    given = {
        "evaluator": "ray",
        "dataset": "digits",
        "recipe": "nasbench201-12",
        "classes": 3,
        "split": "0.5,0.5,0",
    }
    (run / "settings.toml").write_text(dump_settings(load_settings(None, given)))
    code, _, error = invoke(str(run), "--width", "4", "--cells", "1")
    assert code == 0, error
    card = read_card(run / "winner")
    assert (card.dataset, card.data_classes, card.shape.classes) == ("digits", 3, 3)
    assert card.class_names == ("0", "1", "2")
    assert card.inputs == "(n, 1, 8, 8), grey, values as the data set has them (0 to 16 in training)"
    assert card.split == (0.5, 0.5, 0.0)


@pytest.mark.usefixtures("without_onnx")
def test_data_that_are_gone_can_be_described(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    run = run_folder(tmp_path, "nasbench201/photos", [MIXED.key], [97.5])
    given = {"evaluator": "train", "dataset": str(tmp_path / "photos"), "recipe": "nasbench201-12"}
    (run / "settings.toml").write_text(dump_settings(load_settings(None, given)))
    (tmp_path / "photos").rmdir()
    _, _, error = invoke(str(run), "--classes", "3")
    assert isinstance(error, UserError)
    assert f"no longer at {tmp_path}/photos: put it back, or say --classes" in str(error)
    described = ("--classes", "3", "--channels", "1", "--size", "9", "--cells", "1")
    code, _, error = invoke(str(run), *described)
    assert code == 0, error
    assert read_card(run / "winner").shape == Shape(3, 1, 9, 9, stem=16, cells=1)


@pytest.mark.usefixtures("without_onnx")
def test_the_rival_keeps_to_the_constraint(tmp_path: Path):
    where = "params < 0.5M"
    settings = {
        "where": where,
        "proposer": "uniform",
        "reasoner": "none",
        "sources": "none",
        "finetune_every": 0,
    }
    with build_session(load_settings(None, settings), tmp_path / "run") as session:
        session.run(6)
    code, _, error = invoke(str(tmp_path / "run"))
    assert code == 0, error
    rival = read_card(tmp_path / "run" / "winner").rival
    assert rival is not None
    space = get_space("nasbench-graph")
    params = Task("nasbench-graph/cora").bench.costs(space.parse(rival.key).row)["params"]
    assert params[0] < 0.5


def test_settings_that_cannot_be_read_are_one_sentence(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench201/digits", [MIXED.key], [97.5])
    (run / "settings.toml").write_text('task = "x\n')
    with pytest.raises(SettingsError, match=r"settings.toml cannot be read"):
        summarise(run)


def test_the_command_says_what_it_cannot_do(tmp_path: Path):
    own = run_folder(tmp_path / "own", "nasbench201/data-12345678", [MIXED.key], [50.0])
    error = invoke(str(own))[2]
    assert isinstance(error, UserError) and "--classes, --channels and --size" in str(error)
    error = invoke(str(own), "--extra", "auxiliary", "--classes", "3", "--channels", "1", "--size", "8")[2]
    assert isinstance(error, UserError) and "no extra 'auxiliary'" in str(error)
    error = invoke(str(own), "--architecture", "")[2]
    assert isinstance(error, UserError) and "'' is no architecture of nasbench201" in str(error)
    graphs = run_folder(tmp_path / "graphs", "nasbench-graph/photo", [TREE.key], [0.9])
    error = invoke(str(graphs), "--size", "9")[2]
    assert isinstance(error, UserError) and "leave --size and --cells out" in str(error)
    assert invoke(str(graphs), "--classes", "9" * 20)[0] == 2
    error = invoke(str(tmp_path / "nowhere"))[2]
    assert isinstance(error, VitruviusError)
