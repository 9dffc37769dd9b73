"""Whether exported files compute what our network computes, told in a process without us."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.errors import VitruviusError
from vitruvius.generator.serving import child_environment

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-5
"""Largest allowed difference of `model.py`'s outputs, in units of the largest output."""
ONNX_TOLERANCE = 1e-4
"""The same of `model.onnx`, whose runtime computes in another order."""
SMALLEST = 1e-3
"""Outputs are not compared more finely than if the largest were this."""
_SCRIPT = Path(__file__).with_name("clean_process.py")


def check_files(
    folder: Path, shaken: nn.Module, held: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[float, float | None]:
    """Run the files of an export in a clean process and compare their outputs with ours.

    Args:
        folder: Where `model.py` is, and the others where they were written.
        shaken: Our network after `shake`: `model.py` is compared on its weights.
        held: Our network with the weights in `model.safetensors` and `model.onnx`.
        inputs: Inputs of `forward`.

    Returns:
        The largest differences of `model.py` and of `model.onnx`, None where it is not there.

    Raises:
        VitruviusError: The process failed, or outputs differ by more than is allowed.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights = shaken.state_dict()
    with tempfile.TemporaryDirectory() as temporary:
        given, answer = Path(temporary, "given.safetensors"), Path(temporary, "answer.safetensors")
        save_file(weights | {f"input {i}": x.contiguous() for i, x in enumerate(inputs)}, given)
        # -I: neither the current folder nor the variables of Python reach this process
        done = subprocess.run(
            [sys.executable, "-I", str(_SCRIPT), str(folder), str(given), str(answer)],
            env=child_environment(), capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VitruviusError(f"The written model.py does not run: {last}. Nothing was exported.")
        theirs = load_file(answer)
    with torch.no_grad():
        ours: Tensor = shaken.eval()(*inputs)
        of_held: Tensor = held.eval()(*inputs)
    difference = _compare("model.py", theirs["shaken"], ours, TOLERANCE)
    if "trained" in theirs:
        difference = max(difference, _compare("model.safetensors", theirs["trained"], of_held, TOLERANCE))
    if "onnx" not in theirs:
        return difference, None
    return difference, _compare("model.onnx", theirs["onnx"], of_held, ONNX_TOLERANCE)


def _compare(name: str, theirs: Tensor, ours: Tensor, allowed: float) -> float:
    """The largest difference, in units of our largest output.

    Raises:
        VitruviusError: It is larger than allowed.
    """
    difference = float((ours - theirs).abs().max() / ours.abs().max().clamp_min(SMALLEST))
    if not difference <= allowed:
        raise VitruviusError(
            f"The written {name} differs from the searched network by {difference:.1e}, more than "
            f"{allowed:.0e}. Nothing was exported."
        )
    return difference


def shake(network: nn.Module) -> nn.Module:
    """Move all weights and statistics off their first values, so that no layer can be left out unseen."""
    import torch

    state = network.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var") or (name.endswith("weight") and value.dim() == 1):
            state[name] = 0.5 + torch.rand_like(value)  # scales stay positive
        else:
            state[name] = value + 0.1 * torch.randn_like(value)
    network.load_state_dict(state)
    return network
