"""`vitruvius spaces`: lists, shows and enumerates, also spaces that cannot be listed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from vitruvius.cli.commands import app
from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.space import get_space, space_names


def run(*words: str) -> str:
    """What a command prints; what it raises is raised."""
    result = CliRunner().invoke(app, ["spaces", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_has_a_line_for_each() -> None:
    lines = run("list").splitlines()
    assert [line.split()[0] for line in lines] == space_names()
    sizes = {line.split()[0]: line.split()[1] for line in lines}
    assert sizes["nasbench101"] == "423,624" and sizes["darts"] == "countless"


@pytest.mark.parametrize("name", ["darts", "nasbench101", "transnasbench101-micro"])
def test_show_draws_an_architecture(name: str) -> None:
    shown = run("show", name)
    assert run("show", name) == shown, "another one each time"
    space = get_space(name)
    assert all(decision.name in shown for decision in space.decisions)
    key = shown.partition("\narchitecture ")[2].splitlines()[0]
    assert space.draw(space.parse(key)).splitlines()[-1].strip() in shown
    assert run("show", name, "-a", key) == shown


def test_enumerate_writes_keys_and_ids(tmp_path: Path) -> None:
    out = tmp_path / "cells.parquet"
    printed = run("enumerate", "nasbench201", "--out", str(out))
    assert printed.startswith("nasbench201: 15,625 keys, 6,466 ids, ")
    table = pq.read_table(out).to_pydict()
    space = get_space("nasbench201")
    assert table["key"] == space.keys(space.enumerate()) and table["id"] == space.ids(space.enumerate())
    with pytest.raises(UserError, match="exists already"):
        run("enumerate", "nasbench201", "--out", str(out))


def test_enumerate_refuses_what_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too many to list"):
        run("enumerate", "darts", "--out", str(tmp_path / "all.parquet"))
    assert not list(tmp_path.iterdir()), "an unfinished file stays behind"
    with pytest.raises(UnknownNameError, match="Did you mean 'nasbench101'"):
        run("enumerate", "nasbench102")


def test_sample_draws_uniformly_and_without_a_generator(tmp_path: Path) -> None:
    space = get_space("darts")
    keys = space.keys(space.sample(3, np.random.default_rng(7)))
    assert run("sample", "darts", "-n", "3", "--seed", "7").splitlines() == keys
    out = tmp_path / "drawn.csv"
    assert run("sample", "darts", "-n", "3", "--seed", "7", "--out", str(out)).startswith("3 architectures")
    with out.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"key": key, "id": space.parse(key).id} for key in keys]
    with pytest.raises(UserError, match="exists already"):
        run("sample", "darts", "--out", str(out))
