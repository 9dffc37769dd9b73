"""Spaces of one's own: what a description means, what is refused, and that runs remember it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from described_spaces import CELL, CHAIN, HUGE, described
from sqlalchemy import create_engine, insert

import vitruvius as vt
from vitruvius.agents.exhibits import as_program
from vitruvius.errors import InvalidArchitectureError, TableError, UnknownNameError, UserError
from vitruvius.generator.evaluation.task import split_task
from vitruvius.generator.space import get_space
from vitruvius.generator.spaces.described import DescribedSpace
from vitruvius.generator.spaces.description import Description, read_description
from vitruvius.generator.training import CodecSettings, train_codec
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.schema import about

MEASURE = """
def measure(architecture, seed):
    choices = architecture.named()
    layers = [choice for name, choice in choices.items() if name.startswith("block")]
    score = 50 + 3.0 * layers.count("mb5x5") - 2.0 * layers.count("skip") + int(choices["width"]) / 8 + seed
    return {"score": score, "params": len(layers) * int(choices["width"]) / 100}
"""


def test_a_chain_is_read_drawn_and_counted(tmp_path: Path) -> None:
    space = described(tmp_path, CHAIN)
    assert space.size == space.count == 2 * 3 * 3 * 3 * 2
    one = space.parse("mb3x3, skip,mb5x5,24,true")
    assert one.key == one.id == "mb3x3,skip,mb5x5,24,true"
    assert one.named() == {
        "block1": "mb3x3", "block2": "skip", "block3": "mb5x5", "width": "24", "attention": "true",
    }  # fmt: skip
    assert space.draw(one).splitlines() == [
        "input", "  block1     mb3x3", "  block2     skip", "  block3     mb5x5", "output",
        "width = 24", "attention = true",
    ]  # fmt: skip
    assert as_program(space, one.row).splitlines() == [
        "n1 = mb3x3(input)  # block1", "n2 = skip(n1)  # block2", "n3 = mb5x5(n2)  # block3",
        "width = 24", "attention = true", "output = n3",
    ]  # fmt: skip
    rows = space.enumerate()
    everywhere = Population(space, rows)
    skips = np.array([key.count("skip") for key in space.keys(rows)])
    assert (everywhere.count(["skip"]) == skips).all()
    assert (everywhere.depth == 3 - skips).all(), "a setting is no layer, a skip adds nothing"
    for text, holds in (
        ("width = 24", True), ("block1 = mb5x5|mb3x3", True), ("mb3x3 feeds skip", True),
        ("path(mb3x3|skip)", False), ("mb5x5 >= 2", False), ("attention = false", False),
    ):  # fmt: skip
        assert vt.Predicate.parse(text).check(space).holds_one(one) == holds, text


def test_a_cell_means_what_the_built_in_one_means(tmp_path: Path) -> None:
    mine, theirs = described(tmp_path, CELL), get_space("nasbench201")
    rows = theirs.enumerate()
    assert (mine.enumerate() == rows).all() and mine.operations == theirs.operations
    here, there = Population(mine, rows), Population(theirs, rows)
    assert (here.depth == there.depth).all()
    for operation in theirs.operations:
        assert (here.count([operation]) == there.count([operation])).all()
        assert (here.path([operation, "skip"]) == there.path([operation, "skip"])).all()
        assert (here.feeds(operation, "conv3x3") == there.feeds(operation, "conv3x3")).all()
    assert mine.draw(mine.architectures(rows[6:7])[0]).splitlines()[-1] == "     2 --skip--> output"


@pytest.mark.parametrize("seed", range(10))
def test_a_huge_space_tells_neighbours_apart(tmp_path: Path, seed: int) -> None:
    space = described(tmp_path, HUGE)
    row = space.sample(1, np.random.default_rng(seed))
    around = np.concatenate([row, space.neighbours(row)])
    numbers = space.numbers(around)
    assert len(around) == 1 + 22 * 8 == len(set(numbers.tolist())) and (numbers >= 0).all()


def test_codes_name_settings_too(tmp_path: Path) -> None:
    space = described(tmp_path, CHAIN)
    codec, _ = train_codec(space, seed=0, settings=CodecSettings(), state=tmp_path / "state")
    rows = space.enumerate()
    assert (codec.decode(codec.encode(rows)) == rows).all()


# ---- identity ----------------------------------------------------------------------------------


def test_one_name_is_one_space(tmp_path: Path) -> None:
    space = described(tmp_path, CHAIN)
    assert described(tmp_path, CHAIN) is space is get_space("test-chain")
    assert pickle.loads(pickle.dumps(space)) is space
    with pytest.raises(UserError, match=r"named 'test-chain' is known already, and is another one"):
        described(tmp_path, CHAIN.replace('"skip"]', '"skip", "mb7x7"]'))
    with pytest.raises(UserError, match=r"named 'nasbench201' is known already"):
        described(tmp_path, CHAIN.replace("test-chain", "nasbench201"))
    assert isinstance(space, DescribedSpace)
    assert Description.from_json(space.given.to_json()) == space.given


def test_wording_and_tasks_may_change(tmp_path: Path) -> None:
    space = described(tmp_path, CHAIN)
    more = CHAIN.replace("three blocks", "3 blocks") + '[tasks.leaves]\nunit = "%"\n'
    assert described(tmp_path, more) is space and space.description.startswith("3 blocks")
    assert vt.Task("test-chain/leaves", vt.Manual()).metric.unit == "%"
    assert vt.Task("test-chain/flowers", vt.Manual()).metric.name == "validation accuracy"
    with pytest.raises(UnknownNameError, match="Allowed: error, flowers, leaves"):
        vt.Task("test-chain/mine", vt.Manual())


def test_many_decisions_with_one_choice_are_listed(tmp_path: Path) -> None:
    text = 'name = "test-long"\n[decisions]\n' + "".join(f'd{n} = ["conv"]\n' for n in range(100))
    space = described(tmp_path, text + 'last = ["conv", "skip"]\n')
    assert space.enumerate().tolist() == [[0] * 101, [0] * 100 + [1]]
    everywhere = Population(space, space.enumerate())
    assert everywhere.count(["conv"]).tolist() == [101, 100] and everywhere.depth.tolist() == [101, 101]


def test_commands_find_the_space_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MEASURE + "\ndef costs(a): return {'params': len(a.key)}\n")
    (tmp_path / "space.toml").write_text(CHAIN.replace("test-chain", "test-run"))

    def vitruvius(*words: str) -> str:
        command = [str(Path(sys.executable).with_name("vitruvius")), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    vitruvius(
        "run", "--task", "space.toml/flowers", "--run", "mine", "--evaluator", "function", "--function",
        "train.py:measure", "--costs", "train.py:costs", "--evaluations", "10", "--proposer", "uniform", "--quiet",
    )  # fmt: skip
    asked = vitruvius(
        "principles", "ask", "does skip in block3 hurt?", "--run", "mine", "--task", "space.toml/flowers"
    )
    assert asked.startswith("understood as: block3 = skip: does it hurt?")
    (tmp_path / "space.toml").unlink()
    assert "params in test-run/flowers" in vitruvius("principles", "costs", "--run", "mine")
    assert '"block1": "mb' in vitruvius("show", "mine", "--json")


def test_tasks_are_named_by_the_file(tmp_path: Path) -> None:
    described(tmp_path, CHAIN)
    path = tmp_path / "space.toml"
    assert split_task(f"{path}/flowers") == ("test-chain", "flowers") and split_task(str(path)) == (
        "test-chain",
        "",
    )
    assert split_task("nasbench201/cifar10") == ("nasbench201", "cifar10")
    with pytest.raises(
        UnknownNameError, match=r"One of your own is named by its file, for example mine\.toml"
    ):
        get_space("my-space")
    with pytest.raises(UserError, match=r"nowhere\.toml' cannot be read \(No such file"):
        vt.Task(str(tmp_path / "nowhere.toml"), vt.Manual())


def test_a_ledger_knows_the_spaces_of_its_sessions(tmp_path: Path) -> None:
    """Another process, in another folder, without the file."""
    (tmp_path / "train.py").write_text(MEASURE)
    task = vt.Task(str(tmp_path / described_file(tmp_path)), vt.Function(f"{tmp_path}/train.py:measure"))
    assert task.name == "test-chain/flowers" and task.metric.unit == "%"
    with vt.Session(task, tmp_path / "run", proposer="uniform", reasoner="none") as session:
        best = session.run(12)
    assert best.measurement.params is not None
    (tmp_path / "space.toml").unlink()
    command = [str(Path(sys.executable).with_name("vitruvius")), "show", str(tmp_path / "run"), "--json"]
    shown = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stderr
    assert best.architecture.key in shown.stdout
    with Ledger_(tmp_path / "other.db") as ledger:
        ledger.keep_space(task.space)
        ledger.keep_space(task.space)
        ledger.keep_space(get_space("nasbench201"))
    code = (
        "import sys, vitruvius as vt; from vitruvius.generator.spaces.described import read_space\n"
        "space, ledger = read_space(sys.argv[1]), vt.Ledger(sys.argv[2])\n"
        "try: ledger.keep_space(space)\n"
        "except vt.VitruviusError as error: print(type(error).__name__, error)\n"
    )
    for change, told in (
        (CHAIN.replace("block3", "block4"), "LedgerError The ledger"),
        (CHAIN.replace("three blocks", "3 blocks") + "[tasks.third]\n", ""),  # the same architectures
    ):
        (tmp_path / "changed.toml").write_text(change)
        command = [
            sys.executable,
            "-c",
            code,
            str(tmp_path / "changed.toml"),
            str(tmp_path / "run/ledger.db"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(told) and bool(done.stdout) == bool(told), done.stdout


def test_a_ledger_with_a_description_that_cannot_be_read_opens(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db").close()
    with create_engine(f"sqlite:///{tmp_path}/ledger.db").begin() as connection:
        for name, text in (("a", "not json"), ("b", "[]"), ("c", '{"name": "zz"}'), ("d", '{"newer": 1}')):
            connection.execute(insert(about).values(name=f"space:{name}", value=text))
    with Ledger_(tmp_path / "ledger.db") as ledger:
        assert ledger.sessions() == []


def described_file(folder: Path) -> str:
    described(folder, CHAIN)
    return "space.toml/flowers"


class Ledger_(Ledger):
    """A ledger that is closed at the end of a block."""

    def __enter__(self) -> Ledger_:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "test-chain"', 'name = "My Chain"', "name = 'My Chain' is not allowed"),
        ('name = "test-chain"', 'name = "any"', "name = 'any' is not allowed"),
        ('name = "test-chain"', 'name = "a.toml"', "name = 'a.toml' is not allowed"),
        ("[settings]", "[setting]", "Unknown part 'setting'. Did you mean 'settings'"),
        ('["mb3x3", "mb5x5"]', '"mb3x3"', "decisions.block1 = 'mb3x3' is not allowed: it is a list"),
        ('["mb3x3", "mb5x5"]', '["mb3x3", "mb3x3"]', "decisions.block1 has a choice twice"),
        ('["mb3x3", "mb5x5"]', '["mb3x3", "mb 5"]', "'mb 5' in decisions.block1 is not allowed"),
        ('identity = ["skip"]', 'identity = ["skp"]', "Unknown operation in operations.identity 'skp'"),
        ('identity = ["skip"]', 'passes = ["skip"]', "Unknown part of [operations] 'passes'"),
        ("width =", "block1 =", "'block1' is among the decisions and among the settings"),
        ("maximize = false", 'maximize = "no"', "tasks.error.maximize = 'no' is not allowed: a bool is"),
        ("maximize = false", "direction = 1", "Unknown part of tasks.error 'direction'"),
        ("[tasks.error]", '[tasks."a/b"]', "the task 'a/b' is not allowed"),
        ("block1 =", '"0->1" =', "'block2' is no edge as the others are"),
        ("[decisions]", "[decisions", "is not valid TOML"),
    ],
)  # fmt: skip
def test_bad_descriptions_say_what_is_wrong(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in CHAIN
    (tmp_path / "bad.toml").write_text(CHAIN.replace(old, new))
    with pytest.raises(UserError) as raised:
        read_description(tmp_path / "bad.toml")
    assert told in str(raised.value) and "bad.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ("0->1 2->1", "2->1 leads back"),
        ("0->3 2->3", "2->3 is on no way from 0"),
        ("0->1 0->2 0->3", "0->1 is on no way from 0, the input, to 3"),
        ("1->2 0->1", "1->2 stands before an edge that leads to 1"),
    ],
)
def test_cells_must_lead_from_input_to_output(tmp_path: Path, edges: str, told: str) -> None:
    lines = [f'"{edge}" = ["conv", "skip"]' for edge in edges.split()]
    (tmp_path / "bad.toml").write_text("\n".join(['name = "bad"', "[decisions]", *lines]))
    with pytest.raises(UserError, match=told):
        read_description(tmp_path / "bad.toml")


def test_more_than_fits_is_refused(tmp_path: Path) -> None:
    many = ", ".join(f'"o{n}"' for n in range(121))
    for text in (f"a = [{many}]", f"a = [{many[: len(many) // 2]}]\nb = [{many[len(many) // 2 + 1 :]}]"):
        (tmp_path / "bad.toml").write_text(f'name = "bad"\n[decisions]\n{text}\n')
        with pytest.raises(UserError, match=r"120|not allowed|not valid"):
            read_description(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text('name = "bad"\n')
    with pytest.raises(UserError, match=r"it has no \[decisions\]"):
        read_description(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mb3x3,skip,mb5x5,24", "its text looks like 'mb3x3,mb3x3,mb3x3,16,true'"),
        ("mb3x3,skip,mb5x5,25,true", "Unknown choice of width '25'"),
        ("skip,skip,mb5x5,24,true", "Unknown choice of block1 'skip'"),
    ],
)
def test_foreign_texts_say_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidArchitectureError) as raised:
        described(tmp_path, CHAIN).parse(text)
    assert told in str(raised.value)


# ---- tables --------------------------------------------------------------------------------------


def test_a_table_of_ones_own_space(tmp_path: Path) -> None:
    described(tmp_path, CHAIN)
    table = tmp_path / "mine.csv"
    table.write_text(
        "width,attention,block1,block2,block3,error_valid,flowers_valid,flowers_params_m\n"
        "16,true,mb3x3,mb3x3,mb3x3,0.3,70,1.5\n"
        "32,false,mb5x5,skip,mb3x3,0.2,,\n"
        "24,true,mb5x5,skip,skip,0.4,71,1.25\n"
    )
    task = vt.Task(f"{tmp_path}/space.toml/error", vt.Table(table))
    assert not task.metric.maximize and task.metric.name == "score"
    with vt.Session(task, proposer="uniform", reasoner="none", initial=3) as session:
        assert session.run(10).architecture.key == "mb5x5,skip,mb3x3,32,false"
    flowers = task.sibling("flowers")
    (one,) = flowers.bench.measure([flowers.space.parse("mb5x5,skip,skip,24,true")])
    assert one.score == 71 and one.params == 1.25
    table.write_text(table.read_text().replace("\n24,", "\n24.0,").replace("\n32,", "\n32.00,"))
    assert vt.Table(table).open(task.space, "error").fingerprint == task.bench.fingerprint  # 24.0 is 24
    table.write_text(table.read_text().replace("mb5x5,skip,skip", "mb9x9,skip,skip"))
    with pytest.raises(TableError, match=r"is not one of test-chain: .*Unknown choice of block1 'mb9x9'"):
        vt.Task(f"{tmp_path}/space.toml/error", vt.Table(table))
    space = described(tmp_path, CHAIN)
    assert isinstance(space, DescribedSpace)
    assert space.texts_of("width", [16.0, 24.0, 24.5]) == ["16", "24", "24.5"]
    described(tmp_path, HUGE)
    with pytest.raises(UserError, match=r"test-huge.* names no task"):
        vt.Task("test-huge/mine", vt.Table(table))
    (tmp_path / "space.toml").write_text(HUGE.replace("test-huge", "test-huge-2") + "\n[tasks.mine]\n")
    with pytest.raises(
        UserError, match=r"has 9.85e\+20 architectures, and tables are of spaces that can be listed"
    ):
        vt.Task(f"{tmp_path}/space.toml", vt.Table(table))
    with pytest.raises(TableError, match=r"No table for test-chain was found: pass --table PATH"):
        vt.Task("test-chain/flowers")
