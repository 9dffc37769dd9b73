"""Export: the written model stands alone and computes what ours computes, or nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator import export as module
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.export import compare, export_architecture
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.networks.nasbench201_source import nasbench201_source
from vitruvius.generator.space import get_space
from vitruvius.knowledge.ledger import Ledger

SPACE = get_space("nasbench201")
MIXED = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|")
EMPTY = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
SMALL = Shape(5, 2, 9, 12, stem=4, cells=2)


def test_the_written_model_stands_alone(tmp_path: Path):
    done = export_architecture(MIXED, tmp_path / "winner", SMALL, ["accuracy 99 %"])
    assert done.difference <= 1e-5 and not done.trained
    assert sorted(path.name for path in done.folder.iterdir()) == ["card.md", "model.py"]
    text = (done.folder / "model.py").read_text()
    assert "vitruvius" not in text.lower()
    assert "x3 = self.edge_1_3(x1) + self.edge_2_3(x2)" in text
    ran = subprocess.run(
        [sys.executable, "-I", "model.py"], cwd=done.folder, capture_output=True, text=True, check=True
    )
    assert "torch.Size([1, 5])" in ran.stdout
    card = (done.folder / "card.md").read_text()
    assert MIXED.key in card and "accuracy 99 %" in card and "Untrained" in card
    count = int(ran.stdout.split()[0])
    assert f"{count / 1e6:.6f} M parameters" in card


def test_written_source_is_python_for_any_cell(tmp_path: Path):
    rows = SPACE.sample(40, np.random.default_rng(2))
    for cell in [EMPTY, *SPACE.architectures(rows)]:
        written: dict[str, object] = {"__name__": "model"}
        exec(compile(nasbench201_source(cell, SMALL), "model.py", "exec"), written)
        assert any(isinstance(one, type) and issubclass(one, torch.nn.Module) for one in written.values())


def test_a_cell_of_nothing_is_exported_too(tmp_path: Path):
    assert export_architecture(EMPTY, tmp_path, SMALL).difference <= 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("self.edge_0_2(x0) + self.edge_1_2(x1)", "self.edge_0_2(x0)"),  # an edge left out
        ("count_include_pad=False", "count_include_pad=True"),
    ],
)  # fmt: skip
def test_a_model_that_computes_something_else_is_refused(tmp_path: Path, right: str, wrong: str):
    text = nasbench201_source(MIXED, SMALL)
    assert right in text
    (tmp_path / "model.py").write_text(text.replace(right, wrong))
    with pytest.raises(VitruviusError, match="differs from the searched network"):
        compare(MIXED, tmp_path / "model.py", SMALL)


def test_a_model_that_imports_us_is_refused_and_nothing_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = module.nasbench201_source
    monkeypatch.setattr(module, "nasbench201_source", lambda a, s: "import vitruvius\n" + real(a, s))
    with pytest.raises(VitruviusError, match="must not import vitruvius"):
        export_architecture(MIXED, tmp_path / "winner", SMALL)
    assert not (tmp_path / "winner").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        export_architecture(MIXED, tmp_path, SMALL)


def run_folder(folder: Path, task: str, keys: list[str], scores: list[float]) -> Path:
    """A run that measured these."""
    space = get_space(task.partition("/")[0])
    ledger = Ledger(folder / "ledger.db")
    settings = {"metric": "validation accuracy", "maximize": True}
    ledger.start_session("session", task=task, seed=0, settings=settings, labels=[])
    for key, score in zip(keys, scores, strict=True):
        measurement = Measurement(
            space=space.name, task=task, key=key, id=space.parse(key).id, status=Status.OK, score=score,
            evaluator="table:1", fidelity="200 epochs", fingerprint="f",
        )  # fmt: skip
        ledger.record(measurement, session="session", batch=0, share="initial")
    ledger.close()
    return folder


def invoke(*arguments: str) -> tuple[int, str, BaseException | None]:
    import typer

    from vitruvius.cli.export import export

    app = typer.Typer()
    app.command()(export)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output, result.exception


def test_the_command_exports_the_best_of_a_run(tmp_path: Path):
    run = run_folder(tmp_path, "nasbench201/digits", [EMPTY.key, MIXED.key], [11.0, 97.5])
    code, output, error = invoke(str(run))
    assert code == 0, error
    assert f"exported {MIXED.key}" in output and "untrained" in output
    card = (run / "winner" / "card.md").read_text()
    assert "validation accuracy 97.5" in card and "evaluation 2 of 2" in card
    assert "images of 1 x 8 x 8, 10 classes" in card

    code, output, error = invoke(
        str(run), "--architecture", EMPTY.key, "--to", str(tmp_path / "other"), "--width", "6"
    )
    assert code == 0, error
    assert "channels in the first stage: 6" in (tmp_path / "other" / "card.md").read_text()


def test_the_command_says_what_it_cannot_do(tmp_path: Path):
    own = run_folder(tmp_path / "own", "nasbench201/data-12345678", [MIXED.key], [50.0])
    error = invoke(str(own))[2]
    assert isinstance(error, UserError) and "--classes, --channels and --size" in str(error)

    space = get_space("nasbench-graph")
    key = space.architectures(space.sample(1, np.random.default_rng(0)))[0].key
    graph = run_folder(tmp_path / "graph", "nasbench-graph/cora", [key], [0.8])
    error = invoke(str(graph))[2]
    assert isinstance(error, UserError) and "nasbench201" in str(error)

    error = invoke(str(tmp_path / "nowhere"))[2]
    assert isinstance(error, VitruviusError)
