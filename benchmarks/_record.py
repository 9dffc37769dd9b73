"""The last line of every benchmark: one JSON object that says what was run, where, and what came out."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Twelve hex digits that are equal exactly when the settings are."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def commit() -> str:
    """The commit of the working tree, with "+changes" where it differs; "unknown" outside of git."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device() -> str:
    """The machine, as far as timings depend on it."""
    python = platform.python_version()
    return f"{platform.machine()} {platform.system()} {os.cpu_count()} cores, Python {python}"


def print_record(
    benchmark: str, seeds: Sequence[int], settings: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Print the settings on one line and, last, the record as one JSON object.

    Args:
        benchmark: Name of the benchmark.
        seeds: Seeds that were run.
        settings: Everything that changes the results, seeds apart; recorded as a hash.
        results: What came out; plain data.
    """
    print(f"settings {json.dumps(settings, sort_keys=True)}")
    record = {
        "benchmark": benchmark,
        "commit": commit(),
        "device": device(),
        "seeds": list(seeds),
        "settings": settings_hash(settings),
        "results": results,
    }
    print(json.dumps(record, sort_keys=False, allow_nan=False), flush=True)


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()
