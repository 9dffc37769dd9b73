"""Every fence of the documentation is carried out, and what it prints is compared.

A page is one test, in a folder of its own. In order:

- ```` ```python ```` runs in the page's namespace. If a ```` ```text output ```` fence follows at once, it must be
  what was printed.
- ```` ```console ```` : each line that begins with `$ ` is run by bash; the lines below it, if any, are what it must print.
- ```` ```bash ```` is run as a whole.
- `...` in expected output stands for anything, a line of its own for any number of lines.
- `skip="reason"` after the language leaves a fence out; the reason is printed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts),
]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ \t]*$", re.MULTILINE | re.DOTALL
)
RUN = ("python", "console", "bash")
SHOWN = ("", "text", "toml", "json", "markdown", "jinja", "make", "yaml")
"""Languages that are only read."""


@dataclass(frozen=True)
class Fence:
    """One fence: language, what stands behind it, its text, and where it begins and ends in the page."""

    language: str
    info: str
    body: str
    line: int
    begin: int
    end: int

    @property
    def reason(self) -> str | None:
        """Why it is left out; None if it is carried out."""
        found = re.search(r'skip="([^"]+)"', self.info)
        return found.group(1) if found else None


def fences(text: str) -> list[Fence]:
    """All fences of a page."""
    found: list[Fence] = []
    for match in FENCE.finditer(text):
        language, _, info = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start()) + 1
        found.append(Fence(language, info, textwrap.dedent(match["body"]), line, match.start(), match.end()))
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether a text is what was expected; `...` stands for anything."""
    parts: list[str] = []
    for line in expected.rstrip().splitlines():
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.rstrip().split("...")) + "\n")
    text = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    return re.fullmatch("".join(parts), text) is not None


def commands(body: str) -> list[tuple[str, str]]:
    """Commands of a console fence, each with the output that stands below it."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, output = found[-1]
            found[-1] = (command, f"{output}{line}\n")
    return found


def shell(command: str, where: str) -> str:
    """Run a command as a reader would, with our programs in reach; what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, "PATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout


def expected_output(following: list[Fence], fence: Fence, text: str) -> str | None:
    """The output fence that follows a python fence at once; None without."""
    if following and following[0].info == "output" and not text[fence.end : following[0].begin].strip():
        return following[0].body
    return None


def carry_out(page: Path, text: str) -> list[str]:
    """Carry out all fences of a page in the current folder; reasons of those that were left out."""
    skipped: list[str] = []
    names: dict[str, Any] = {"__name__": "page"}
    every = fences(text)
    for number, fence in enumerate(every):
        where = f"{page.name}:{fence.line}"
        if fence.language not in RUN:
            assert fence.language in SHOWN, f"{where}: no rule for a fence {fence.language!r}"
        elif fence.reason is not None:
            skipped.append(f"{where} not run: {fence.reason}")
        elif fence.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * fence.line + fence.body, str(page), "exec"), names)
            expected = expected_output(every[number + 1 :], fence, text)
            if expected is not None:
                assert matches(expected, printed.getvalue()), f"{where} printed\n{printed.getvalue()}"
        elif fence.language == "bash":
            shell(fence.body, where)
        else:
            for command, expected in commands(fence.body):
                printed_text = shell(command, where)
                if expected.strip():
                    assert matches(expected, printed_text), f"{where}: {command} printed\n{printed_text}"
    return skipped


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_fence_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(fences(text)), f"{page.name} has a fence that does not end"
    for reason in carry_out(page, text):
        print(reason)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


def test_wrong_output_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    right = "```python\nx = 2\n```\n\n```python\nprint(x)\n```\n\n```text output\n2\n```\n"
    assert carry_out(page, right) == []
    with pytest.raises(AssertionError, match="printed"):
        carry_out(page, right.replace("\n2\n", "\n3\n"))
    with pytest.raises(AssertionError, match="printed"):
        carry_out(page, "```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="false"):
        carry_out(page, "```console\n$ false\n```\n")
    assert carry_out(page, '```python skip="no GPU"\n1 / 0\n```\n') == ["page.md:1 not run: no GPU"]


@pytest.mark.parametrize(
    ("expected", "printed", "good"),
    [
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("took ... s", "took 1.25 s\n", True),
        ("took ... s", "took 1.25\n", False),
        ("a", "a\nb\n", False),
        ("a.c", "abc\n", False),
    ],
)
def test_dots_stand_for_anything(expected: str, printed: str, good: bool) -> None:
    assert matches(expected, printed) is good


def load_script(name: str) -> Any:
    """The module `scripts/NAME.py`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_recorded_output() -> None:
    assert load_script("readme_output").check() == 0


def test_tables_of_benchmarks_are_what_was_recorded() -> None:
    script = load_script("record_tables")
    assert script.stale(update=False) == []
    page = (
        "<!-- table: search.json against -->\n| against | 10 |\n| --- | --- |\n| random | -0.99 |\n\nText.\n"
    )
    renewed = script.renewed(page)
    assert "-0.99" not in renewed and "| random | " in renewed and renewed.endswith("|\n\nText.\n")


def test_output_is_shortened_in_the_middle_of_series_only() -> None:
    script = load_script("readme_output")
    series = "".join(f"  {i}.0 s  [{i:3d}] model   0.8{i}  key\n" for i in range(30))
    short = script.shorten(f"first\n{series}\nBest architecture\nlast\n")
    assert short.splitlines() == [
        "first", *series.splitlines()[:20], "...", *series.splitlines()[-4:], "", "Best architecture", "last",
    ]  # fmt: skip


def test_changed_readme_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = load_script("readme_output")
    readme, recorded = tmp_path / "README.md", tmp_path / "run.txt"
    monkeypatch.setattr(script, "README", readme)
    monkeypatch.setattr(script, "RECORDED", recorded)
    monkeypatch.setattr(script, "run", lambda: "a title\n\nBest 1\n")
    readme.write_text(f"# x\n\n{script.MARK}\n```text\n```\n\nmore\n")
    assert script.check() == 1
    assert script.update() == 0
    assert script.check() == 0
    assert script.fresh() == 0
    assert readme.read_text().endswith("more\n")
    readme.write_text(readme.read_text().replace("Best 1", "Best 2"))
    assert script.check() == 1
    monkeypatch.setattr(script, "run", lambda: "a title\n\nNothing\n")
    assert script.fresh() == 1
