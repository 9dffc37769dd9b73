"""`vitruvius generator score`: figures of the library's models and of a user's own, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from vitruvius.cli import generator as cli
from vitruvius.cli.generator import app
from vitruvius.errors import CheckpointError, ModelError, UnknownNameError, UserError
from vitruvius.generator.proposers import vllm_server

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel


def score(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["score", *arguments])


def figures(*arguments: str) -> dict[str, Any]:
    result = score(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def copy(code_model: CodeModel, tmp_path: Path) -> Path:
    """The model in a folder that a test may harm."""
    return shutil.copytree(code_model.folder, tmp_path / "model")


def test_table(code_model: CodeModel) -> None:
    result = score(str(code_model.folder), "--engine", "ngram", "--engine", "uniform", "-n", "500", "--masks")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    head = next(line for line in lines if line.endswith("perfect"))
    assert head.split() == ["ngram", "ngram,", "masked", "uniform", "uniform,", "masked", "perfect"]
    valid = next(line for line in lines if line.startswith("valid, nothing repaired"))
    assert valid.split()[-5:] == ["100.00%"] * 5
    assert "Construction: which nodes are joined" in result.stdout


def test_a_model_by_its_folder(code_model: CodeModel) -> None:
    found = figures(str(code_model.folder), "--engine", "uniform", "--draws", "2000")
    assert found["space"] == "nasbench201" and found["draws"] == 2000 and found["trained_ids"] == 6466
    assert found["codec"]["exact"] == 1 and found["codec"]["held_out_exact"] is None
    assert 0 < found["codec"]["relabelling"] <= 1 and len(found["codec"]["relabelling_by_position"]) == 6
    uniform, best = found["engines"]["uniform"], found["ceilings"]
    assert uniform["novel"] == best["novel"] == 0  # it was trained on the whole space
    assert uniform["unique_keys"] == pytest.approx(best["unique_keys"], abs=0.02)


def test_a_checkpoint_of_ones_own(code_model: CodeModel, finetuned: Path) -> None:
    """A language model from elsewhere, with the codec, or the model that holds it."""
    arguments = ("--engine", "transformers", "--draws", "50", "--temperature", "0.5")
    one = figures(str(finetuned), "--codec", str(code_model.folder), *arguments)
    two = figures(str(finetuned), "--codec", str(code_model.folder / "codec"), *arguments)
    for found in (one, two):
        assert found["temperature"] == 0.5 and found["codec"]["held_out_exact"] is None
        del found["engines"]["transformers"]["per_second"], found["codec"]
    assert one == two


def test_train_puts_the_figures_into_the_card(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn once; the card that is read back has them, and the model is whole still."""
    from vitruvius.generator import library, scoring

    monkeypatch.setattr(library, "load_or_train", lambda *_, **__: library.open_model(copy))
    first = CliRunner().invoke(app, ["train", "nasbench201"])
    assert first.exit_code == 0, first.output
    assert "10,000 draws     100.00% valid as they stand, " in first.stdout
    card = library.open_model(copy).card["figures"]
    assert card["engines"]["transformers"]["strict"] == 1 and 0.3 < card["ceilings"]["unique"] < 0.4
    monkeypatch.setattr(scoring, "score", None)  # it is not drawn again
    assert CliRunner().invoke(app, ["train", "nasbench201"]).stdout == first.stdout


def test_what_is_no_model(tmp_path: Path, code_model: CodeModel) -> None:
    with pytest.raises(UserError, match=r"'nowhere' is neither a space nor a folder.*nasbench201"):
        raise_of(score("nowhere"))
    with pytest.raises(CheckpointError, match=r"is no model folder of ours: it has no card.json"):
        raise_of(score(str(tmp_path)))
    with pytest.raises(CheckpointError, match="holds a 'code model', but a 'language model' was expected"):
        raise_of(score(str(code_model.folder), "--codec", str(code_model.folder)))
    with pytest.raises(
        CheckpointError, match=r"holds a language model alone: name the codec .* with --codec"
    ):
        raise_of(score(str(code_model.language_model)))
    with pytest.raises(UserError, match="nasbench201 is a space, whose models have a codec of their own"):
        raise_of(score("nasbench201", "--codec", str(code_model.folder)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has not learned our codes.*adapt_checkpoint"):
        raise_of(score(str(tmp_path), "--codec", str(code_model.folder)))
    with pytest.raises(UnknownNameError, match="proposer 'magic'"):
        raise_of(score(str(code_model.folder), "--engine", "magic"))


def test_damage(copy: Path) -> None:
    weights = copy / "codec" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"is damaged: codec/model.safetensors differs from its card"):
        raise_of(score(str(copy)))
    assert weights.exists()  # nothing was trained in its place
    (copy / "card.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"card of .* cannot be read"):
        raise_of(score(str(copy)))


def test_another_codec_and_another_space(copy: Path, code_model: CodeModel) -> None:
    from vitruvius.generator.cards import seal
    from vitruvius.generator.codes import Codec
    from vitruvius.generator.space import get_space
    from vitruvius.generator.training import sizes_for
    from vitruvius.generator.vqvae import VQVAE

    for space, said in (
        ("nasbench201", "writes codes of codec"),
        ("nasbench-graph", "'nasbench-graph'. Give"),
    ):
        other = get_space(space)
        foreign = copy / space
        Codec(other, VQVAE(sizes_for(other, other.enumerate()[:500]))).save(foreign)
        with pytest.raises(CheckpointError, match=said):
            raise_of(score(str(code_model.language_model), "--codec", str(foreign)))
    shutil.rmtree(copy / "codec")
    (copy / "nasbench201").rename(copy / "codec")
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").unlink()
    seal(copy, "code model", {key: card[key] for key in ("space", "language_model_hash")})
    with pytest.raises(CheckpointError, match="writes the codes of another codec"):
        raise_of(score(str(copy)))


def raise_of(result: Result) -> None:
    """What the command raised, which `vitruvius` prints as one sentence."""
    assert result.exception is not None, result.output
    assert "\n" not in str(result.exception)
    raise result.exception


def test_wrong_options_are_refused_before_anything_is_drawn(code_model: CodeModel) -> None:
    for wrong in (("--engine", "ngram", "--engine", "vllm-serve"), ("--temperature", "5")):
        result = score(str(code_model.folder), *wrong)
        assert isinstance(result.exception, UserError) and "drawing" not in result.output


def test_a_server_that_ends_by_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        url, key, running = "http://127.0.0.1:1/v1", "secret", False

        def __enter__(self) -> Ended:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def failure(self, what: str) -> ModelError:
            return ModelError(f"The vLLM server {what}: out of memory")

    monkeypatch.setattr(
        cli, "_model", lambda *_: SimpleNamespace(language_model=None, codec=SimpleNamespace(length=6))
    )
    monkeypatch.setattr(vllm_server, "code_server", lambda *_: Ended())
    result = CliRunner().invoke(app, ["serve", "nasbench201"])
    assert isinstance(result.exception, ModelError) and "ended by itself: out of memory" in str(
        result.exception
    )
