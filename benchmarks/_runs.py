"""Runs of a benchmark: in parallel processes, written down as they finish, never done twice."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vitruvius.errors import UserError


class Job(Protocol):
    """One run."""

    @property
    def key(self) -> str:
        """Equal exactly where the result is."""
        ...


J = TypeVar("J", bound=Job)
Done = dict[str, dict[str, Any]]
"""Results by the key of their job."""


class Parser(argparse.ArgumentParser):
    """What all benchmarks of many runs take: seeds, a file of finished runs, processes."""

    def __init__(self, description: str | None, *, seeds: int) -> None:
        """Take the text of `--help` and the usual number of seeds."""
        super().__init__(description=description, formatter_class=argparse.RawTextHelpFormatter)
        self.add_argument("--seeds", type=int, default=seeds, help="seeds 0 to one less than this")
        self.add_argument("--out", type=Path, help="JSON lines of finished runs, to resume from")
        self.add_argument("--jobs", type=int, default=1, help="parallel processes")

    def add_names(self, option: str, known: Iterable[str], usual: Iterable[str] | None = None) -> None:
        """An option that takes some of the known names, with commas between them."""
        names = list(known)
        chosen = ",".join(names if usual is None else usual)

        def read(text: str) -> list[str]:
            if wrong := [name for name in text.split(",") if name not in names]:
                raise argparse.ArgumentTypeError(f"unknown name {wrong[0]!r}; allowed: {', '.join(names)}")
            return text.split(",")

        self.add_argument(option, type=read, default=chosen, help=f"of {', '.join(names)}")

    @contextmanager
    def refusals(self) -> Generator[None]:
        """A user's error within is one of the command line: usage, one sentence, status 2."""
        try:
            yield
        except UserError as error:
            self.error(str(error))


def run_all(
    jobs: Sequence[J], execute: Callable[[J], Mapping[str, Any]], workers: int, out: Path | None
) -> Done:
    """Results of all jobs by key: read from the file where it has them, run where it has not.

    Args:
        jobs: The runs.
        execute: Runs one; a function of a module, so that other processes find it.
        workers: Processes.
        out: JSON lines of finished runs, appended to; None keeps nothing.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    done = {result["key"]: result for result in finished(out) if "key" in result}
    left = list({job.key: job for job in jobs if job.key not in done}.values())
    print(f"{len({job.key for job in jobs})} runs, {len(left)} of them to do", file=sys.stderr, flush=True)
    for count, (job, result) in enumerate(_run(left, execute, workers), start=1):
        done[job.key] = {"key": job.key, **result}
        if out is not None:
            append(out, done[job.key])
        print(f"[{count}/{len(left)}] {result.get('said', job.key)}", file=sys.stderr, flush=True)
    return done


def _run(
    jobs: Sequence[J], execute: Callable[[J], Mapping[str, Any]], workers: int
) -> Iterator[tuple[J, Mapping[str, Any]]]:
    if workers == 1:
        for job in jobs:
            yield job, execute(job)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(execute, job): job for job in jobs}
        for future in as_completed(running):
            yield running[future], future.result()


def append(out: Path, result: Mapping[str, Any]) -> None:
    """Add a line, after ending one that was cut off by a kill."""
    cut_off = out.exists() and not out.read_bytes().endswith(b"\n")
    with out.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut_off else "") + json.dumps(result) + "\n")


def finished(out: Path | None) -> Iterator[dict[str, Any]]:
    """Runs of the file; a line that was cut off by a kill is skipped."""
    if out is None or not out.exists():
        return
    for line in out.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE with values as JSON where they are, else as text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
