"""`vitruvius prompts`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vitruvius.cli.prompts import app
from vitruvius.errors import SettingsError, TemplateError, UnknownNameError, UserError
from vitruvius.prompts import library

BROKEN = "---\ndescription: x\ninputs: []\nreply: text\nversion: 1\n---\nuser:\n{{ nobody }}\n"


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "mine"))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    return tmp_path / "mine"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def editor(tmp_path: Path, old: str, new: str) -> str:
    """A program that replaces a text, as a person would."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        f"file.write_text(file.read_text().replace({old!r}, {new!r}))\n"
    )
    return f"{sys.executable} {script}"


def test_list() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.output for name in library.names())
    rows = json.loads(run("list", "--json").output)
    assert {row["origin"] for row in rows} == {"built in"}
    assert {row["state"] for row in rows} == {"ok"}
    assert next(r for r in rows if r["name"] == "repair")["hash"] == library.find("repair").hash


def test_list_marks_what_is_broken(mine: Path) -> None:
    mine.mkdir()
    (mine / "repair.md").write_text(BROKEN)
    rows = {row["name"]: row for row in json.loads(run("list", "--json").output)}
    assert rows["repair"]["state"] == "broken" and rows["repair"]["origin"] == "yours"
    assert "vitruvius prompts check repair" in run("list").output


def test_show() -> None:
    assert run("show", "principles").output.strip() == library.find("principles").text.strip()
    rendered = run("show", "principles", "--rendered").output
    assert rendered.startswith("[system]\n") and "\n[user]\n" in rendered and "{{" not in rendered
    told = json.loads(run("show", "principles", "--rendered", "--json").output)
    assert [message["role"] for message in told] == ["system", "user"]
    assert json.loads(run("show", "repair", "--json").output)["hash"] == library.find("repair").hash


def test_show_unknown() -> None:
    assert isinstance(run("show", "princples").exception, UnknownNameError)


def test_show_broken_as_written_but_not_rendered(mine: Path) -> None:
    mine.mkdir()
    (mine / "repair.md").write_text(BROKEN)
    assert run("show", "repair").output.strip() == BROKEN.strip()
    assert isinstance(run("show", "repair", "--rendered").exception, TemplateError)


def test_path(mine: Path) -> None:
    assert run("path").output.strip() == str(mine)
    assert run("path", "repair").output.strip() == str(library.BUILT_IN / "repair.md")


def test_edit_copies_and_checks(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "cannot be used", "do not work"))
    before = library.find("repair").hash
    result = run("edit", "repair")
    assert result.exit_code == 0, result.output
    assert "no problems" in result.output
    assert library.find("repair").path == mine / "repair.md"
    assert library.find("repair").hash != before
    assert "cannot be used" in (library.BUILT_IN / "repair.md").read_text()
    monkeypatch.setenv("EDITOR", editor(tmp_path, "do not work", "are wrong"))
    assert run("edit", "repair").exit_code == 0  # goes on with one's own
    assert "are wrong" in (mine / "repair.md").read_text()


def test_edit_into_a_broken_template(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "{% endfor %}", ""))
    error = run("edit", "repair").exception
    assert isinstance(error, TemplateError)
    assert str(mine / "repair.md") in str(error) and ", line " in str(error)


def test_edit_without_an_editor(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("edit", "repair").exception, SettingsError)
    assert not mine.exists()
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert isinstance(run("edit", "repair").exception, UserError)
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c 'raise SystemExit(3)'")
    error = run("edit", "repair").exception
    assert isinstance(error, UserError) and "status 3" in str(error)


def test_a_copy_that_was_not_changed_is_taken_back(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "nothing like it", ""))
    result = run("edit", "repair")
    assert result.exit_code == 0 and "repair was not changed, so no copy was kept" in result.output
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c 'raise SystemExit(3)'")
    assert "the copy, which was not changed, was removed" in str(run("edit", "repair").exception)
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert isinstance(run("edit", "repair").exception, UserError)
    assert list(mine.iterdir()) == []
    (mine / "repair.md").write_text(text := library.find("repair").text)
    monkeypatch.setenv("EDITOR", editor(tmp_path, "nothing like it", ""))
    assert run("edit", "repair").exit_code == 0
    assert (mine / "repair.md").read_text() == text, "not copied now, so not taken back"


def test_files_that_are_not_read_are_named(mine: Path) -> None:
    mine.mkdir()
    for name in ("principles.txt", "my own.md", "nothing.test.toml", "repair.test.toml", ".hidden", "x.md~"):
        (mine / name).write_text("")
    for command in (["list"], ["check"], ["list", "--json"]):
        told = [line for line in run(*command).stderr.splitlines() if "is not read" in line]
        names = [Path(line.removeprefix("note: ").partition(" is not read")[0]).name for line in told]
        assert names == ["my own.md", "nothing.test.toml", "principles.txt"]
    assert "principles.txt is not read: a template is called NAME.md" in run("check", "principles").stderr
    assert "is not read" not in run("check", "submit_now").stderr


def test_check(mine: Path) -> None:
    assert run("check").exit_code == 0
    assert json.loads(run("check", "--json").output) == []
    mine.mkdir()
    (mine / "repair.md").write_text(BROKEN)
    error = run("check").exception
    assert isinstance(error, TemplateError)
    assert f"{mine / 'repair.md'}, line 8: 'nobody' is used but not declared" in str(error)
    assert run("check", "principles").exit_code == 0
    result = run("check", "repair", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)[0]["line"] == 8


def test_what_a_run_would_refuse_or_never_use_is_told(tmp_path: Path) -> None:
    text = library.find("principles").text
    (tmp_path / "principles.md").write_text(text.replace("reply: principles", "reply: text"))
    (told,) = json.loads(run("check", "principles", "--folder", str(tmp_path), "--json").output)
    assert told["reason"] == "reply is 'text', but whoever asks for 'principles' needs 'principles'"
    (tmp_path / "principle.md").write_text(text)
    result = run("check", "principle", "--folder", str(tmp_path))
    assert result.exit_code == 0 and "Did you mean 'principles'?" in result.stderr


def test_a_file_that_cannot_be_read_hides_no_other(mine: Path) -> None:
    mine.mkdir()
    (mine / "restrict.md").write_bytes(b"\xff\xfe\x00 no text")
    (mine / "repair.md").write_text(BROKEN)
    rows = {row["name"]: row["state"] for row in json.loads(run("list", "--json").output)}
    assert [name for name, state in rows.items() if state == "broken"] == ["repair", "restrict"]
    told = json.loads(run("check", "--json").output)
    assert {Path(one["file"]).name for one in told} == {"restrict.md", "repair.md"}


def test_check_folder(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "own.md").write_text(BROKEN)
    assert run("check", "own", "--folder", str(folder), "--json").exit_code == 1
    assert isinstance(run("check", "--folder", str(tmp_path / "none")).exception, TemplateError)


def test_show_by_path_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = library.find("repair")
    kept = tmp_path / "runs" / "one" / "prompts"
    kept.mkdir(parents=True)
    older = ours.text.replace("cannot be used", "do not work")
    (kept / "repair.0123456789ab.md").write_text(older)
    hash = library.load(kept / "repair.0123456789ab.md").hash
    assert run("show", hash).output.strip() == older.strip()  # found in the run that used it
    assert run("show", ours.hash[:8]).output.strip() == ours.text.strip()
    assert run("show", str(kept / "repair.0123456789ab.md"), "--rendered").output.startswith("[user]")
    told = run("show", "000000000000").exception
    assert isinstance(told, TemplateError) and "--run" in str(told)
    assert f"({ours.hash})" in run("diff", hash, ours.hash).output


def test_diff_of_yours_and_ours(mine: Path, tmp_path: Path) -> None:
    assert (
        "repair: you have none of your own; `vitruvius prompts edit repair`" in run("diff", "repair").output
    )
    mine.mkdir()
    ours = library.find("repair").text
    (mine / "repair.md").write_text(ours)
    assert run("diff", "repair").output.strip() == "repair: yours is the same as ours."
    (mine / "repair.md").write_text(ours.replace("cannot be used", "do not work"))
    lines = run("diff", "repair").output.splitlines()
    assert "-These parts of your reply cannot be used:" in lines
    assert "+These parts of your reply do not work:" in lines
    assert str(library.BUILT_IN / "repair.md") in lines[0] and str(mine / "repair.md") in lines[1]
    other = tmp_path / "other.md"
    other.write_text(ours)
    assert "+These parts" not in run("diff", str(other), str(library.BUILT_IN / "repair.md")).output
    (mine / "poem.md").write_text(BROKEN)
    assert isinstance(run("diff", "poem").exception, TemplateError)


def test_test(mine: Path) -> None:
    result = run("test")
    assert result.exit_code == 0, result.output
    assert "ok      repair: " in result.output and "tests passed." in result.output
    rows = json.loads(run("test", "repair", "--json").output)
    assert {row["template"] for row in rows} == {"repair"} and not any(row["failures"] for row in rows)


def test_test_of_a_template_of_ones_own(mine: Path) -> None:
    """Without tests of its own ours are taken; what it leaves out is named, with status 1."""
    mine.mkdir()
    text = library.find("repair").text.replace("{{ p.reason }}", "")
    (mine / "repair.md").write_text(text)
    result = run("test", "repair")
    assert result.exit_code == 1
    assert "FAILED  repair: what was wrong is told" in result.output and "-> lacks" in result.output
    (mine / "repair.test.toml").write_text('[[prompt]]\nname = "mine"\ncontains = ["cannot be used"]\n')
    assert run("test", "repair").output.splitlines() == ["ok      repair: mine", "1 of 1 tests passed."]
    (mine / "new.md").write_text(BROKEN.replace("nobody", "'x'"))
    assert isinstance(run("test", "new").exception, UserError)


def test_edit_copies_the_tests_too(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "cannot be used", "do not work"))
    assert run("edit", "repair").exit_code == 0
    assert (mine / "repair.test.toml").read_text() == (library.BUILT_IN / "repair.test.toml").read_text()


def test_check_that_it_fits_the_context() -> None:
    assert run("check", "principles", "--reasoner", "vllm:smollm2").exit_code == 0
    told = run("check", "principles", "--context", "2500").exception
    assert isinstance(told, TemplateError) and "a context of 2,500" in str(told)
    unknown = run("check", "--reasoner", "openai:gpt-5").exception
    assert isinstance(unknown, UserError) and "--context" in str(unknown)
