"""The winner as files: `model.py` in plain PyTorch and `card.md`, checked in a clean process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.networks import build_network, check_networks
from vitruvius.generator.networks.costs import Shape, nasbench201_costs
from vitruvius.generator.networks.nasbench201_source import nasbench201_source
from vitruvius.generator.serving import child_environment
from vitruvius.generator.space import Architecture

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-5
"""Largest allowed difference of the outputs, relative to the largest output where that is above 1."""

FILES = ("model.py", "card.md")

SHAPES = {
    "cifar10": Shape(10, 3, 32, 32),
    "cifar100": Shape(100, 3, 32, 32),
    "imagenet16": Shape(120, 3, 16, 16),
    "digits": Shape(10, 1, 8, 8, Recipe().width, Recipe().cells),
}
"""What networks for known data sets are built for, by the benchmark or by `Train`'s default recipe."""

_CHECK = """
import importlib.util, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vitruvius":
            raise ImportError("model.py must not import vitruvius")

sys.meta_path.insert(0, Refuse())
model, given, answer = sys.argv[1:]
spec = importlib.util.spec_from_file_location("model", model)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

import torch
from safetensors.torch import load_file, save_file

tensors = load_file(given)
images = tensors.pop("images")
network = module.Network()
network.load_state_dict(tensors, strict=True)
with torch.no_grad():
    save_file({"logits": network.eval()(images)}, answer)
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        files: Names of the files.
        difference: Largest difference between the outputs of `model.py` and of our module.
        trained: Whether weights were written too.
    """

    folder: Path
    files: tuple[str, ...]
    difference: float
    trained: bool


def export_architecture(
    architecture: Architecture, folder: Path, shape: Shape, facts: Sequence[str] = ()
) -> Exported:
    """Write an architecture as a stand-alone model and check it before anything is put in place.

    Args:
        architecture: What to write.
        folder: Where; made if it is not there. Files of an earlier export in it are replaced.
        shape: What the network is built for.
        facts: Lines for the card: what was measured, principles that it satisfies.

    Returns:
        What was written. Weights are not kept by any evaluator yet, so none are written.

    Raises:
        UserError: The space has no networks, or the folder holds other files.
        VitruviusError: The written model and ours do not agree; nothing was put in place.
    """
    check_networks(architecture.space)
    foreign = (
        sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.is_dir() else []
    )
    if foreign or folder.is_file():
        raise UserError(
            f"{folder} holds other files ({', '.join(foreign[:3]) or 'it is a file'}): "
            "choose a new or empty folder."
        )
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary)
        (draft / "model.py").write_text(nasbench201_source(architecture, shape), encoding="utf-8")
        difference = compare(architecture, draft / "model.py", shape)
        (draft / "card.md").write_text(card(architecture, shape, facts, difference), encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(draft / name, folder / name)
    return Exported(folder, FILES, difference, trained=False)


def compare(architecture: Architecture, model: Path, shape: Shape) -> float:
    """Run `model.py` in a clean process with the weights of our module and compare the outputs.

    Weights are random, those of the batch normalisations too, so that no layer can be left out unseen.

    Returns:
        The largest difference, relative to the largest output where that is above 1.

    Raises:
        VitruviusError: The process failed, or the outputs differ by more than `TOLERANCE`.
    """
    import torch
    from safetensors.torch import load_file, save_file

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as temporary:
        torch.manual_seed(0)
        network = build_network(
            architecture,
            classes=shape.classes,
            in_channels=shape.in_channels,
            width=shape.stem,
            cells=shape.cells,
        ).eval()
        weights = {name: _shaken(name, value) for name, value in network.state_dict().items()}
        network.load_state_dict(weights)
        images = torch.randn(4, shape.in_channels, shape.height, shape.width)
        given, answer = Path(temporary, "given.safetensors"), Path(temporary, "answer.safetensors")
        save_file({**weights, "images": images}, given)
        # -I: neither the current folder nor the variables of Python reach this process
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHECK, str(model), str(given), str(answer)],
            env=child_environment(), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VitruviusError(f"The written model.py does not run: {last}. Nothing was exported.")
        with torch.no_grad():
            ours: Tensor = network(images)
        theirs = load_file(answer)["logits"]
    difference = float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1.0))
    if not difference <= TOLERANCE:
        raise VitruviusError(
            f"The written model.py differs from the searched network by {difference:.1e}, more than "
            f"{TOLERANCE:.0e}. Nothing was exported."
        )
    return difference


def _shaken(name: str, value: Tensor) -> Tensor:
    """A weight or running statistic away from its initial value; scales stay positive."""
    import torch

    if not value.is_floating_point():
        return value
    scale = name.endswith("running_var") or (name.endswith("weight") and value.dim() == 1)
    return 0.5 + torch.rand_like(value) if scale else value + 0.1 * torch.randn_like(value)


def card(architecture: Architecture, shape: Shape, facts: Sequence[str], difference: float) -> str:
    """The text of `card.md`."""
    space = architecture.space
    costs = nasbench201_costs(space, architecture.row, shape)
    told = "\n".join(f"- {fact}" for fact in facts) or "- nothing was measured of it in the run"
    return f"""# {space.name}: {architecture.key}

```
{space.draw(architecture)}
```

## What it is

- {space.description}
- channels in the first stage: {shape.stem}; cells in each of the three stages: {shape.cells}
- images of {shape.in_channels} x {shape.height} x {shape.width}, {shape.classes} classes
- {float(costs["params"][0]):.6f} M parameters, {float(costs["flops"][0]):.3f} M multiply-adds for one image
- canonical identity: `{architecture.id}`

## What was measured

{told}

## How to use it

**Untrained**: no weights are in this folder, `Network()` starts from random ones.

```python
from model import Network

network = Network()
```

`model.py` was loaded in a process without Vitruvius and compared with the searched network on the same
weights: largest difference of the outputs {difference:.1e}.
"""
