"""Hygiene of every text in the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = {".py", ".md", ".toml", ".txt", ".jinja", ".yaml", ".yml", ".json", ".in", ""}
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:root|work|tmp)/[A-Za-z]")
MARKERS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")


def texts() -> list[Path]:
    """All text files that git would keep."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("this is no git checkout: the files of the repository cannot be told from others")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [p for p in paths if p.is_file() and not p.is_symlink() and p.suffix in TEXTS]


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    """Places of the pattern: file, line number, line."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_path_of_a_machine() -> None:
    assert MACHINE_PATH.search("/".join(("open('", "root", "x")))
    assert not (found := lines_matching(MACHINE_PATH)), "\n".join(found)


def test_no_unfinished_markers() -> None:
    assert MARKERS.search("# TO" + "DO: later")
    assert not (found := lines_matching(MARKERS)), "\n".join(found)


def test_every_text_is_utf8_and_ends_with_one_newline() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in texts()
        if (text := path.read_text(encoding="utf-8")) and (not text.endswith("\n") or text.endswith("\n\n"))
    ]
    assert not wrong


def test_no_large_file() -> None:
    large = [str(p.relative_to(ROOT)) for p in texts() if p.stat().st_size > 500_000]
    assert not large


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"])
def test_what_people_look_for_is_there(name: str) -> None:
    assert (ROOT / name).is_file()
