"""Functions of the user's in worker processes: what they may start, and what becomes of it."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from described_spaces import CHAIN, described

import vitruvius as vt
from vitruvius.errors import BudgetError
from vitruvius.generator.evaluation.function import Function
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.evaluation.task import Status
from vitruvius.generator.space import SearchSpace


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return described(tmp_path, CHAIN)


FORKS = """
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

def doubled(number):
    return 2 * number

def pool(architecture):
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return sum(workers.map(doubled, [1, 2]))

def hangs(architecture):
    child = subprocess.Popen(["sleep", "600"])
    (Path(__file__).parent / "child").write_text(str(child.pid))
    time.sleep(600)
"""


def test_a_function_may_use_processes_of_its_own(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    evaluator = Pool(Function(f"{tmp_path}/forks.py:pool"), 1, gpus=0, time_limit=60)
    with closing(evaluator):
        bench = evaluator.open(space, "flowers")
        (found,) = bench.measure([space.parse("mb5x5,mb5x5,skip,24,true")])
    assert (found.status, found.score) == (Status.OK, 6.0), found.reason


def test_what_a_function_starts_ends_with_whoever_began(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    script = f"""
from vitruvius.generator.evaluation.function import Function
from vitruvius.generator.evaluation.pool import Pool
from vitruvius.generator.space import get_space
space = get_space({str(tmp_path / "space.toml")!r})
bench = Pool(Function({str(tmp_path / "forks.py:hangs")!r}), 1, gpus=0).open(space, "flowers")
list(bench.measure([space.parse("mb5x5,mb5x5,skip,24,true")]))
"""
    running = subprocess.Popen([sys.executable, "-c", script])
    note = tmp_path / "child"
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    child = int(note.read_text())
    running.kill()
    running.wait()
    while Path(f"/proc/{child}").exists() and "(sleep) Z" not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.1)


def test_what_a_function_prints_is_seen(
    space: SearchSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talks.py").write_text("def talks(architecture):\n    print('epoch 1')\n    return 1\n")
    evaluator = Pool(Function(f"{tmp_path}/talks.py:talks"), 1, gpus=0)
    with closing(evaluator):
        bench = evaluator.open(space, "flowers")
        (found,) = bench.measure([space.parse("mb5x5,mb5x5,skip,24,true")])
    assert found.score == 1.0
    assert "epoch 1" in capsys.readouterr().err


def test_a_limit_that_is_too_short_is_said_early(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\n\ndef slow(architecture):\n    time.sleep(60)\n")
    evaluator = Pool(Function(f"{tmp_path}/slow.py:slow"), 1, gpus=0, time_limit=0.2)
    task = vt.Task("test-chain/flowers", evaluator)
    with (
        closing(evaluator),
        vt.Session(task, proposer="uniform", reasoner="none") as session,
        pytest.raises(BudgetError, match=r"first 6 evaluations were not done in time.*limit of 0.2 s"),
    ):
        session.run(20)
