"""What the command line says when something goes wrong outside of us: one sentence, a status, a traceback on demand."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from vitruvius import cli
from vitruvius.config import Settings, dump_settings, load_settings
from vitruvius.errors import SettingsError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vitruvius", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)


def from_another(text: str) -> Exception:
    """What a library raises that says it in words, under an error of its own."""
    error = RuntimeError("the index cannot be written")
    error.__cause__ = RuntimeError(text)
    return error


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


def test_a_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/some/report.html"))
    assert run(monkeypatch, "report") == 1
    assert "/some/report.html cannot be used (Permission denied)" in capsys.readouterr().err


def test_an_error_of_ours_in_the_code_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("a bug"))
    monkeypatch.setattr(sys, "argv", ["vitruvius", "run"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == version("vitruvius")


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read .*give the path of a TOML file"):
        load_settings(tmp_path, {})


def test_options_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("options = 3\n")
    with pytest.raises(SettingsError, match=r"options = 3 .*\[options\]"):
        load_settings(tmp_path / "bad.toml", {})


def test_passwords_in_urls_stay_out_of_the_settings_file(tmp_path: Path) -> None:
    settings = load_settings(
        None,
        {"ledger": "postgresql+psycopg://me:secret-1@host/name", "proposer_url": "http://u:secret-2@host/v1"},
    )
    path = tmp_path / "settings.toml"
    path.write_text(dump_settings(settings))
    assert "secret" not in path.read_text()
    again: Settings = load_settings(path, {})
    assert again.ledger == "postgresql+psycopg://me@host/name"
    assert again.options.proposer_url == "http://u@host/v1"
