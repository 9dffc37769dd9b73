"""What codes stand for: counted from the space, drawn in the report."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vitruvius.figures import code_map, code_usage
from vitruvius.generator import library
from vitruvius.generator import portrait as portraits
from vitruvius.generator.library import CodeModel
from vitruvius.generator.portrait import Portrait, portrait


@pytest.fixture(scope="module")
def found(code_model: CodeModel) -> Portrait:
    return portrait(code_model.codec)


def test_counts_are_those_of_the_space(code_model: CodeModel, found: Portrait) -> None:
    """NAS-Bench-201 is small enough to be looked at whole: every count can be made again by hand."""
    space, codec = code_model.codec.space, code_model.codec
    rows = space.enumerate()
    codes = codec.encode(rows)
    assert found.codebook == codec.codebook_size
    assert {m.code for m in found.meanings} == set(np.unique(codes).tolist())
    assert np.isclose(sum(m.uses for m in found.meanings), 1.0)
    assert [m.uses for m in found.meanings] == sorted((m.uses for m in found.meanings), reverse=True)
    for meaning in found.meanings[:: max(1, len(found.meanings) // 5)]:
        here = codes == meaning.code
        assert np.isclose(here.mean(), meaning.uses)
        assert meaning.positions == tuple(np.flatnonzero(here.any(axis=0)).tolist())
        operations = np.bincount(rows[here], minlength=len(space.operations))  # node k holds decision k
        assert meaning.label == space.operations[int(operations.argmax())]
        assert np.isclose(meaning.purity, operations.max() / operations.sum())


def test_a_single_code_has_a_place() -> None:
    one = np.ones((1, 4), dtype=np.float32)
    places, shown, nearest = portraits._layout(one)  # pyright: ignore[reportPrivateUsage]
    assert places.tolist() == [[0.0, 0.0]] and shown == 0 and nearest.tolist() == [0]


def test_neighbours_are_judged_against_chance(found: Portrait) -> None:
    labels = [m.label for m in found.meanings]
    pairs = [a == b for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j]
    assert np.isclose(found.chance, np.mean(pairs))
    assert 0 <= found.agreement <= 1 and 0 < found.plane <= 1


def test_figures_show_every_code_in_use(found: Portrait) -> None:
    for picture in (code_usage(found), code_map(found)):
        told = {int(code) for code in re.findall(r"<title>c(\d+):", picture)}
        assert told == {m.code for m in found.meanings}
        assert all(f">{m.label}</text>" in picture for m in found.meanings)


def test_report_without_a_code_model_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vitruvius as vt
    from vitruvius.report import write_report

    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "cache"))
    task = vt.Task("nasbench201", evaluator=vt.Manual(metric="accuracy"))
    with vt.Session(task, tmp_path / "run") as session:
        session.tell(session.ask(1)[0], 0.5)
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "vitruvius generator train nasbench201" in page


def test_report_draws_the_codes(
    tmp_path: Path, code_model: CodeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vitruvius as vt
    from vitruvius.report import write_report

    monkeypatch.setattr(library, "model_folder", lambda space, seed: code_model.folder)
    task = vt.Task("nasbench201", evaluator=vt.Manual(metric="accuracy"))
    with vt.Session(task, tmp_path / "run") as session:
        session.tell(session.ask(1)[0], 0.5)
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "How often each code is used" in page and "Where the codes lie" in page
    assert "The code nearest to a code stands for\nthe same operation in " in page
