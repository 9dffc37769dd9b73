"""`model.onnx`: the network for other runtimes, with any number of images, or of nodes and edges, at once."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What the extra `onnx` brings: two to write the file, one to check it."""
INPUTS = {True: ("images",), False: ("features", "edges")}
"""Names of the file's inputs, for networks that read images and for those that read a graph."""


def missing_packages() -> tuple[str, ...]:
    """Those of `PACKAGES` that are not installed, or are and do not import."""
    return tuple(filter(_missing, PACKAGES))


def _missing(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, OSError):  # the second: a library of its own that does not load
        return True
    return False


def write_onnx(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    images: bool,
    metadata: Mapping[str, str],
) -> None:
    """Write a network, in evaluation mode, as ONNX.

    Args:
        network: The network.
        inputs: Inputs of `forward`; their first axes, and the second of edges, are left open.
        path: File to write.
        images: Whether it reads images.
        metadata: Texts that the file keeps beside the network, as its `metadata_props`.
    """
    import torch

    network = network.eval()
    names = list(INPUTS[images])
    open_axes = {names[0]: {0: "batch" if images else "nodes"}}
    if not images:
        open_axes["edges"] = {1: "edges"}
    with _quiet():
        if images:
            dynamic = ({0: torch.export.Dim.DYNAMIC},)
            torch.onnx.export(
                network, inputs, path, input_names=names, output_names=["logits"], dynamo=True,
                dynamic_shapes=dynamic, external_data=False, verbose=False,
            )  # fmt: skip
        else:
            # The newer exporter cannot follow layers that remove an unknown number of loops from the edges.
            open_axes["logits"] = {0: "nodes"}
            torch.onnx.export(
                network, inputs, str(path), input_names=names, output_names=["logits"], dynamo=False,
                dynamic_axes=open_axes, opset_version=18,
            )  # fmt: skip
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what torch's exporter says of its own inner workings from the user; errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
