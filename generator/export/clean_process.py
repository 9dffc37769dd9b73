"""Runs exported files where nothing of ours can be imported; started with `python -I`, never imported.

Usage: clean_process.py FOLDER GIVEN ANSWER. GIVEN holds weights, and inputs under the names in `INPUTS`.
ANSWER gets what comes out: `shaken` of model.py with these weights, `trained` with those of
model.safetensors, `onnx` of model.onnx.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

INPUTS = ("input 0", "input 1")


class Refuse:
    """Finder that lets nobody import vitruvius."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Refuse us, and leave all else to others."""
        if name.partition(".")[0] == "vitruvius":
            raise ImportError("model.py must not import vitruvius")


def main(folder: Path, given: str, answer: str) -> None:
    """Load and run what is in the folder."""
    sys.meta_path.insert(0, Refuse())
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(given)
    inputs = [tensors.pop(name) for name in INPUTS if name in tensors]
    network = module.Network().eval()
    network.load_state_dict(tensors, strict=True)
    with torch.no_grad():
        outputs = {"shaken": network(*inputs)}
        if (folder / "model.safetensors").exists():
            network.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
            outputs["trained"] = network(*inputs)
    if (folder / "model.onnx").exists():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_inputs()]
        given_arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        outputs["onnx"] = torch.from_numpy(session.run(None, given_arrays)[0])
    save_file(outputs, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
