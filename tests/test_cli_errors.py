"""What the command line says when something goes wrong outside of us: one sentence, a status, a traceback on demand."""

from __future__ import annotations

import errno
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from vitruvius import cli
from vitruvius.building import build_session
from vitruvius.cli.run import find_settings
from vitruvius.cli.show import print_summary
from vitruvius.config import Settings, dump_settings, load_settings
from vitruvius.errors import SettingsError
from vitruvius.summary import summarise


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vitruvius", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr("vitruvius.cli.commands.app", app)


def from_another(text: str) -> Exception:
    """What a library raises that says it in words, under an error of its own."""
    error = RuntimeError("the index cannot be written")
    error.__cause__ = RuntimeError(text)
    return error


def test_a_value_that_is_empty_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "run", "--run", "", "--evaluations", "6") == 1
    assert "Nothing stands after --run: give it a value" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x.bin"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        from_another("(code: 13) database or disk is full"),
    ],
)
def test_a_full_disk_is_one_sentence_whoever_noticed_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    raising(monkeypatch, error)
    assert run(monkeypatch, "run") == 1
    told = capsys.readouterr().err
    assert told.startswith("error: No space is left on the disk") and told.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["vitruvius", "--debug", "run"])
    with pytest.raises(type(error)):
        cli.main()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ..")]
)
def test_too_little_memory_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    raising(monkeypatch, error)
    assert run(monkeypatch, "export") == 1
    assert capsys.readouterr().err.startswith("error: The memory of this machine does not suffice")


def test_a_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/some/report.html"))
    assert run(monkeypatch, "report") == 1
    assert "/some/report.html cannot be used (Permission denied)" in capsys.readouterr().err


def test_an_argument_that_is_no_text_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "principles", "search", "\udced") == 1
    assert capsys.readouterr().err.startswith("error: The argument '\\udced' is not valid UTF-8")


def test_an_error_of_ours_in_the_code_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("a bug"))
    monkeypatch.setattr(sys, "argv", ["vitruvius", "run"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == version("vitruvius")


def test_a_budget_that_is_too_small_leaves_no_folder_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert run(monkeypatch, "run", "--run", str(folder), "--evaluations", "4") == 1
    assert "A budget of 4 ends before the initial design of 6" in capsys.readouterr().err
    assert (
        not folder.exists()
    )  # else its settings were fixed, and the advice of the message not to be followed


@pytest.mark.parametrize(
    ("begun", "told"), [(False, "run the same command again"), (True, "--run '{}'` goes on")]
)
def test_ctrl_c_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    begun: bool,
    told: str,
) -> None:
    folder = tmp_path / "my run"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitruvius.cli.run._search", interrupted)
    if begun:
        folder.mkdir()
        (folder / "settings.toml").write_text(dump_settings(load_settings(None, {})))
    assert run(monkeypatch, "run", "--run", str(folder)) == 130
    assert told.format(folder) in capsys.readouterr().err


def test_ctrl_c_while_the_commands_are_imported_is_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from vitruvius.cli import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nStopped: the same command can be run again.\n"


def test_ctrl_c_in_any_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitruvius.summary.summarise", interrupted)
    assert run(monkeypatch, "show", "anything") == 130
    assert capsys.readouterr().err == "\nStopped: the same command can be run again.\n"
    monkeypatch.setattr("vitruvius.cli.run.find_settings", interrupted)
    assert run(monkeypatch, "run") == 130
    assert capsys.readouterr().err == "\nStopped: the same command can be run again.\n"


@pytest.mark.parametrize("name", ["my run", "-mine", "it's $(mine)"])
def test_commands_to_go_on_with_can_be_copied(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(name)
    settings = {"proposer": "uniform", "finetune_every": 0, "sources": "none", "reasoner": "none"}
    with build_session(load_settings(None, settings), folder) as session:
        session.run(6)
    print_summary(summarise(folder))
    last = capsys.readouterr().out.partition("\nNext\n")[2].splitlines()
    named = [next(word for word in shlex.split(line) if word.endswith(name)) for line in last]
    assert len(last) == 3 and all(Path(word) == folder and word[0] != "-" for word in named)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read .*give the path of a TOML file"):
        load_settings(tmp_path, {})


def test_a_run_folder_brings_its_settings_before_options_are_judged(tmp_path: Path) -> None:
    settings = load_settings(None, {"evaluator": "train", "task": "nasbench201/digits"})
    (tmp_path / "settings.toml").write_text(dump_settings(settings))
    found, where = find_settings(None, tmp_path, {"device": "cpu"})  # has no effect on a table, the default
    assert (found.evaluator, found.train.device, where) == ("train", "cpu", tmp_path)


def test_the_folder_of_a_run_is_named_after_a_model_and_not_after_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    for reasoner, named in (("both:vllm:models/mine", "both-vllm-mine"), ("vllm:org/name", "vllm-org-name")):
        _, where = find_settings(None, None, {"reasoner": reasoner})
        assert where.name == f"nasbench-graph-cora-{named}-seed0"


def test_a_table_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "tables", "show", "nowhere.parquet") == 1
    assert "There is no file or folder 'nowhere.parquet'" in capsys.readouterr().err


def test_a_setting_may_be_named_with_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vitruvius.cli.run._search", lambda settings, *_: print(settings.options.batch))
    assert run(monkeypatch, "run", "--set", "options.batch=3") == 0
    assert capsys.readouterr().out == "3\n"
    assert run(monkeypatch, "run", "--set", "=3") == 1
    assert "--set '=3' is not NAME=VALUE" in capsys.readouterr().err
    assert run(monkeypatch, "run", "--set", "train.bach=3") == 1
    assert "Unknown setting bach. Did you mean options.batch?" in capsys.readouterr().err


def test_a_task_is_space_and_data_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "run", "--task", "cora", "--run", "unused") == 1
    told = capsys.readouterr().err
    assert (
        told.startswith("error: Unknown space 'cora'. Allowed: darts") and "A task is SPACE/DATASET" in told
    )


def test_options_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("options = 3\n")
    with pytest.raises(SettingsError, match=r"options = 3 .*\[options\]"):
        load_settings(tmp_path / "bad.toml", {})


def test_passwords_in_urls_stay_out_of_the_settings_file(tmp_path: Path) -> None:
    settings = load_settings(
        None,
        {
            "ledger": "postgresql+psycopg://me:secret-1@host/name",
            "proposer": "vllm-server",
            "proposer_url": "http://u:secret-2@host/v1",
        },
    )
    path = tmp_path / "settings.toml"
    path.write_text(dump_settings(settings))
    assert "secret" not in path.read_text()
    again: Settings = load_settings(path, {})
    assert again.ledger == "postgresql+psycopg://me@host/name"
    assert again.options.proposer_url == "http://u@host/v1"
