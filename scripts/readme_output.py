"""Keep the output that the README shows true.

    .venv/bin/python scripts/readme_output.py --update    run the first command, record it, paste it
    .venv/bin/python scripts/readme_output.py --check     is the README what was recorded? (in the tests)
    .venv/bin/python scripts/readme_output.py --fresh     run it again: are the headings still the same?

The whole output stands in `docs/output/run.txt`; the README gets it shortened, in the
fence that follows a mark.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RECORDED = ROOT / "docs" / "output" / "run.txt"
MARK = "<!-- output of `make run`, shortened; kept by scripts/readme_output.py -->"
BLOCK = re.compile(
    rf"(?P<head>{re.escape(MARK)}\n```text\n)(?P<shown>.*?)(?P<foot>^```$)", re.DOTALL | re.MULTILINE
)
KEPT = {"log": (20, 4), "principle": (6, 0), "pruning": (2, 0)}
"""Lines that stay at the head and at the end of a series of one kind."""
WIDTH = 110

_KINDS = {
    "log": re.compile(r"^\s*[\d.]+ s  "),
    "principle": re.compile(r"^(p[0-9a-f]{10} |    \S+: fresh evidence)"),
    "pruning": re.compile(r"^(only|rather) .*\[p[0-9a-f]{10}"),
}
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


def kind(line: str) -> str | None:
    """What kind of line this is; series of one kind are shortened."""
    return next((name for name, pattern in _KINDS.items() if pattern.match(line)), None)


def shorten(text: str) -> str:
    """The output as the README shows it: long series cut in the middle, long lines cut at the end."""
    lines: list[str] = []
    for name, group in itertools.groupby(text.splitlines(), key=kind):
        series = list(group)
        head, foot = KEPT.get(name or "", (len(series), 0))
        if len(series) > head + foot + 1:
            series = [*series[:head], "...", *series[len(series) - foot :]]
        lines += [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in series]
    return "\n".join(lines) + "\n"


def titles(text: str) -> list[str]:
    """The headings of the summary: lines after an empty line."""
    lines = text.splitlines()
    pairs = itertools.pairwise(["", *lines])
    return [
        _NUMBER.sub("#", line).split(":")[0] for before, line in pairs if not before.strip() and line.strip()
    ]


def pasted(readme: str) -> str | None:
    """What the fence after the mark holds; None without mark and fence."""
    found = BLOCK.search(readme)
    return found["shown"] if found else None


def run() -> str:
    """Carry out the first command in an empty folder; what it printed."""
    program = Path(sys.executable).with_name("vitruvius")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([program, "run"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"vitruvius run failed:\n{done.stderr[-2000:]}")
    return done.stdout


def update() -> int:
    """Record the output and paste it."""
    readme = README.read_text(encoding="utf-8")
    if pasted(readme) is None:
        print(f"{README.name} lacks the line {MARK} with a text fence below it", file=sys.stderr)
        return 1
    text = run()
    RECORDED.parent.mkdir(parents=True, exist_ok=True)
    RECORDED.write_text(text, encoding="utf-8")
    new = BLOCK.sub(lambda m: f"{m['head']}{shorten(text)}{m['foot']}", readme)
    README.write_text(new, encoding="utf-8")
    return 0


def check() -> int:
    """Whether the README shows what was recorded."""
    shown = pasted(README.read_text(encoding="utf-8"))
    if not RECORDED.is_file() or shown != shorten(RECORDED.read_text(encoding="utf-8")):
        print(
            "The README does not show the recorded output: scripts/readme_output.py --update", file=sys.stderr
        )
        return 1
    return 0


def fresh() -> int:
    """Whether a new run prints the same headings as the recorded one."""
    old, new = titles(RECORDED.read_text(encoding="utf-8")), titles(run())
    for line in sorted(set(old) ^ set(new)):
        print(f"{'no longer' if line in old else 'newly'} printed: {line}", file=sys.stderr)
    return int(old != new)


def main() -> int:
    """Read the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Keep the output that the README shows true")
    group = parser.add_mutually_exclusive_group(required=True)
    for action in (update, check, fresh):
        group.add_argument(f"--{action.__name__}", dest="action", action="store_const", const=action)
    return parser.parse_args().action()


if __name__ == "__main__":
    sys.exit(main())
