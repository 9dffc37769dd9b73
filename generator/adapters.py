"""The road for an existing causal checkpoint: give it the code tokens, and teach it the codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus_training import Progress, fit
from vitruvius.generator.language_model import lessons, open_bands, publish, quiet, unconditional
from vitruvius.generator.space import Choices
from vitruvius.generator.training import architectures_of
from vitruvius.generator.vocabulary import SPECIAL, Vocabulary


def adapt_checkpoint(
    path: Path,
    codec: Codec,
    out: Path,
    lora: bool,
    *,
    seed: int = 0,
    steps: int = 300,
    batch: int = 64,
    rate: float | None = None,
    rank: int = 8,
    sample: int = 50_000,
    rows: Choices | None = None,
    progress: Progress = None,
) -> Path:
    """Fine-tune a causal language model given by path on the codes of a space.

    Code and condition tokens that its tokenizer lacks are added. With `lora` only low-rank adapters on
    the linear layers and the rows of the new tokens are trained (Hu et al. 2021); they are merged into
    the weights before saving, so that every proposer loads the result like any other checkpoint.

    Args:
        path: A Hugging Face folder with safetensors weights and a fast tokenizer. Nothing is fetched
            and no code of it is run.
        codec: Names the architectures.
        out: The new checkpoint goes into this folder, under the hash of its content.
        lora: Train adapters instead of all weights.
        seed: All randomness comes from here.
        steps: Number of batches.
        batch: Sequences in a batch.
        rate: Learning rate; None takes 1e-3 with LoRA, else 3e-4.
        rank: Rank of the adapters.
        sample: Architectures drawn as corpus where the space cannot be enumerated.
        rows: (n, D) architectures to learn from; None takes the whole space, or a sample of it.
        progress: Receives a line now and then.

    Returns:
        The checkpoint.

    Raises:
        UserError: `path` is no folder.
        CheckpointError: It holds no causal model with a fast tokenizer, or damaged weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, tokenizer = _load(path)
        words = _add_words(model, tokenizer, codec.codebook_size)
        vocabulary = Vocabulary.of(tokenizer.backend_tokenizer, str(path))
        tuned = _with_adapters(model, tokenizer.convert_tokens_to_ids(words), rank) if lora else model
        rng = np.random.default_rng(seed)
        corpus = codec.encode(architectures_of(codec.space, sample, rng) if rows is None else rows)
        lesson = lessons(corpus, codec, vocabulary, batch, seed)
        rate = rate or (1e-3 if lora else 3e-4)
        figures = fit(tuned, lesson, steps, rate, progress, "adapting", codes=vocabulary.codes)
        model = tuned.merge_and_unload() if lora else tuned
        open_bands(model, vocabulary)
    card = {"codec": codec.hash, "space": codec.space.name, "seed": seed, "labels": [], "metrics": figures}
    card |= {"origin": path.name, "lora": lora}
    everything = {"codes": corpus, "quantiles": unconditional(len(corpus))}
    return publish(model, tokenizer, everything, out, card)


def _add_words(model: Any, tokenizer: Any, codebook_size: int) -> list[str]:
    """Add the words of the code language that the tokenizer lacks; returns all of them."""
    words = [*SPECIAL, *(f"<c{code}>" for code in range(codebook_size))]
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([word for word in words if word not in known], special_tokens=True)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return words


def _load(path: Path) -> tuple[Any, Any]:
    """Model in float32 and fast tokenizer."""
    if not path.is_dir():
        raise UserError(f"{path} is no folder: give the path of a Hugging Face checkpoint on this machine.")
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} holds no causal model that can be loaded: {str(error)[:300]}."
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{path} has no fast tokenizer (tokenizer.json), which code tokens are added to."
        )
    return model, tokenizer


def _with_adapters(model: Any, tokens: list[int], rank: int) -> Any:
    """The model with adapters on its linear layers and trainable rows for the given tokens."""
    from peft import LoraConfig, get_peft_model

    tables = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    if model.get_output_embeddings().weight is model.get_input_embeddings().weight:
        tables = {id(model.get_input_embeddings())}  # peft follows tied weights by itself
    rows = {name.rsplit(".", 1)[-1]: tokens for name, part in model.named_modules() if id(part) in tables}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices=rows,
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),  # GPT-2's layout
    )
    return get_peft_model(model, config)
