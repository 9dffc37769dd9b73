"""Export: the written files stand alone and compute what ours computes, or nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator import export as module
from vitruvius.generator.export import Card, Exported, Retraining, Rival, Trained, export_card, read_card
from vitruvius.generator.export.checking import check_files, shake
from vitruvius.generator.export.onnx_file import PACKAGES, missing_packages
from vitruvius.generator.networks import family
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, get_space

SPACE = get_space("nasbench201")
MIXED = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|")
EMPTY = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
SMALL = Shape(5, 2, 9, 12, stem=4, cells=2)
TREE = get_space("nasbench-graph").parse("0112:gat,cheb,graph,skip")

needs_onnx = pytest.mark.skipif(bool(missing_packages()), reason="needs pip install 'vitruvius[onnx]'")


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed; writing ONNX files takes seconds."""
    monkeypatch.setattr(module, "missing_packages", lambda: PACKAGES)


def card_of(architecture: Architecture, shape: Shape = SMALL, **facts: Any) -> Card:
    return Card(space=architecture.space.name, architecture=architecture.key, shape=shape, **facts)


def export(architecture: Architecture, folder: Path, shape: Shape = SMALL, **facts: Any) -> Exported:
    return export_card(card_of(architecture, shape, **facts), folder)


@pytest.mark.usefixtures("without_onnx")
def test_the_written_model_stands_alone(tmp_path: Path):
    done = export(
        MIXED, tmp_path / "winner", measured=("accuracy 99 %",), principles=("Pooling on edge 1->2 helps.",)
    )
    assert done.difference <= 1e-5 and done.onnx_difference is None and done.missing == PACKAGES
    assert sorted(path.name for path in done.folder.iterdir()) == ["card.json", "card.md", "model.py"]
    text = (done.folder / "model.py").read_text()
    assert "vitruvius" not in text.lower()
    assert "x3 = self.edge_1_3(x1) + self.edge_2_3(x2)" in text
    ran = subprocess.run(
        [sys.executable, "-I", "model.py"], cwd=done.folder, capture_output=True, text=True, check=True
    )
    assert "torch.Size([1, 5])" in ran.stdout
    card = (done.folder / "card.md").read_text()
    for said in (
        MIXED.key,
        SPACE.draw(MIXED),
        "accuracy 99 %",
        "Pooling on edge 1->2 helps",
        "**Untrained**",
    ):
        assert said in card
    count = int(ran.stdout.split()[0])
    assert f"{count / 1e6:.6f} M parameters" in card


@pytest.mark.usefixtures("without_onnx")
def test_the_record_says_what_the_card_says(tmp_path: Path):
    rival = Rival(key=EMPTY.key, what="the best of random search at 9 evaluations")
    folder = export(MIXED, tmp_path, task="nasbench201/digits", dataset="digits", rival=rival).folder
    card = read_card(folder)
    assert (card.architecture, card.rival, card.shape) == (MIXED.key, rival, SMALL)
    assert card.text() == (folder / "card.md").read_text()
    (folder / "card.json").write_text('{"space": 7}')
    with pytest.raises(
        UserError, match=r"card\.json cannot be read \(space: Input should be a valid string\): export"
    ):
        read_card(folder)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("elsewhere", "There is no folder {}: give"),
        ("file", "{} is a file, and a folder is needed: give"),
        ("run", "{} is no export, for it has no card.json: give"),
    ],
)
def test_what_is_no_export_is_told_from_what_is(tmp_path: Path, given: str, told: str):
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as error:
        read_card(tmp_path / given)
    needed = "one that `vitruvius export RUN` wrote, RUN/winner."
    assert str(error.value) == f"{told.format(tmp_path / given)} {needed}"


@pytest.mark.usefixtures("without_onnx")
def test_the_card_says_what_goes_in_and_what_comes_out(tmp_path: Path):
    import json

    mean, deviation = (1.2e-5,), (3.4e-6,)
    done = Retraining(
        recipe="r", fidelity="1 epochs", data="d", part="p", seeds=(0,), device="cpu", seconds=1.0, mean=mean,
        deviation=deviation, winner=Trained(architecture="a", what="the winner", scores=(90.0,), params=1.0),
    )  # fmt: skip
    card = card_of(MIXED, class_names=("ash", "oak"), inputs="(n, 1, 8, 8), grey", retraining=done)
    text = card.text()
    assert "- inputs: (n, 1, 8, 8), grey\n- outputs, in order: ash, oak\n" in text
    assert "mean, deviation = torch.tensor([1.2e-05]).view(-1, 1, 1), torch.tensor([3.4e-06])" in text
    assert card.metadata == {
        "architecture": MIXED.key, "space": "nasbench201", "inputs": "(n, 1, 8, 8), grey",
        "classes": json.dumps(["ash", "oak"]), "mean": "[1.2e-05]", "deviation": "[3.4e-06]",
    }  # fmt: skip
    many = card_of(MIXED, class_names=tuple(f"c{i}" for i in range(30)))
    assert "c18, c19, ... (all 30 in `card.json`)" in many.text()


@pytest.mark.usefixtures("without_onnx")
def test_a_cell_of_nothing_is_exported_too(tmp_path: Path):
    assert export(EMPTY, tmp_path).difference <= 1e-5


@needs_onnx
@pytest.mark.parametrize(
    ("architecture", "shape"), [(MIXED, Shape(5, 2, 9, 12, stem=4, cells=1)), (TREE, Shape(3, 6, stem=8))]
)
def test_the_onnx_file_computes_the_same_for_any_number(
    tmp_path: Path, architecture: Architecture, shape: Shape
):
    """Images by the newer exporter of torch, graphs by the older one."""
    import onnxruntime

    torch.manual_seed(3)
    networks = family(architecture.space)
    shape = networks.complete(shape)
    trained = shake(networks.build(architecture, shape)).eval()
    done = export_card(card_of(architecture, shape), tmp_path, trained)
    assert done.onnx_difference is not None and done.onnx_difference <= 1e-4
    assert done.files == ("model.py", "model.safetensors", "model.onnx", "card.md", "card.json")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    if networks.images:
        inputs = {"images": torch.randn(7, 2, 9, 12)}
    else:
        inputs = {"features": torch.randn(5, 6), "edges": torch.randint(5, (2, 9))}
    assert session.get_modelmeta().custom_metadata_map["architecture"] == architecture.key
    logits = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]
    with torch.no_grad():
        ours = trained(*inputs.values())
    torch.testing.assert_close(torch.from_numpy(logits), ours, rtol=1e-4, atol=1e-5)
    card = (tmp_path / "card.md").read_text()
    assert "model.onnx` holds the trained weights" in card and "load_file" in card


@pytest.mark.usefixtures("without_onnx")
def test_weights_of_an_earlier_export_do_not_stay(tmp_path: Path):
    networks = family(SPACE)
    export_card(card_of(MIXED), tmp_path, networks.build(MIXED, SMALL))
    assert (tmp_path / "model.safetensors").exists()
    export(EMPTY, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


# ---- what is wrong is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("self.edge_0_2(x0) + self.edge_1_2(x1)", "self.edge_0_2(x0)"),  # an edge left out
        ("count_include_pad=False", "count_include_pad=True"),
    ],
)  # fmt: skip
def test_a_model_that_computes_something_else_is_refused(tmp_path: Path, right: str, wrong: str):
    networks = family(SPACE)
    text = networks.source(MIXED, SMALL)
    assert right in text
    (tmp_path / "model.py").write_text(text.replace(right, wrong))
    network = shake(networks.build(MIXED, SMALL))
    with pytest.raises(VitruviusError, match=r"model\.py differs from the searched network"):
        check_files(tmp_path, network, network, networks.example(SMALL))


def test_weights_that_are_not_the_network_s_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    networks = family(SPACE)
    (tmp_path / "model.py").write_text(networks.source(MIXED, SMALL))
    shaken, other = shake(networks.build(MIXED, SMALL)), shake(networks.build(MIXED, SMALL))
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(VitruviusError, match=r"model\.safetensors differs"):
        check_files(tmp_path, shaken, shaken, networks.example(SMALL))


@pytest.mark.usefixtures("without_onnx")
def test_a_model_that_imports_us_is_refused_and_nothing_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    networks = family(SPACE)
    real = networks.source

    def source(architecture: Architecture, shape: Shape) -> str:
        return real(architecture, shape).replace("import torch\n", "import torch\nimport vitruvius\n", 1)

    monkeypatch.setattr(type(networks), "source", lambda _self, a, s: source(a, s))
    with pytest.raises(VitruviusError, match="must not import vitruvius"):
        export(MIXED, tmp_path / "winner")
    assert not (tmp_path / "winner").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        export(MIXED, tmp_path)
