"""The code language model: a small Llama over code tokens, its tokenizer, and its checkpoints.

A sequence is `<bos> <any> <c17> <c3> ... <eos>`; in place of `<any>` stands `<q0>` to `<q9>` where
the model is to write what scores in that tenth. Tokens are prefix-free, so that a grammar can tell
`<c3>` from `<c31>`. A checkpoint is an ordinary Hugging Face folder with our card and the corpus it
was trained on beside it; it is named by the hash of its content and never changes once written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.cards import read_card, seal
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus import read_corpus, write_corpus
from vitruvius.generator.corpus_training import LanguageModelSettings, Lesson, Progress, fit
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.proposers.base import Codes
from vitruvius.generator.resumable import Resumable
from vitruvius.generator.space import Choices
from vitruvius.generator.training import architectures_of
from vitruvius.generator.vocabulary import BANDS, SPECIAL, Vocabulary, band_weights

HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Head sizes that vLLM's attention has on the CPU; 16 fails there."""


def new_tokenizer(codebook_size: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the special tokens and `<c0>` to `<c{K-1}>`."""
    words = [*SPECIAL, *(f"<c{code}>" for code in range(codebook_size))]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def new_model(vocabulary_size: int, settings: LanguageModelSettings, seed: int) -> LlamaForCausalLM:
    """A small Llama with random weights.

    Raises:
        UserError: A head size that vLLM cannot serve on the CPU.
    """
    head = settings.hidden // settings.heads
    if head * settings.heads != settings.hidden or head not in HEAD_DIMS:
        raise UserError(
            f"hidden {settings.hidden} over {settings.heads} heads gives heads of "
            f"{settings.hidden / settings.heads:g}, but vLLM serves {', '.join(map(str, HEAD_DIMS))}."
        )
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=settings.hidden,
        intermediate_size=2 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<bos>"),
        eos_token_id=SPECIAL.index("<eos>"),
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_language_model(
    codec: Codec,
    folder: Path,
    *,
    seed: int,
    rows: Choices | None = None,
    progress: Progress = None,
    settings: LanguageModelSettings | None = None,
) -> Path:
    """Train a language model on the codes of a whole space (a sample where it cannot be enumerated).

    No measurement is looked at: until a fine-tuning says otherwise, every band means "any".

    Args:
        codec: Names the architectures.
        folder: Checkpoints go into this folder, each under the hash of its content.
        seed: All randomness comes from here.
        rows: (n, D) architectures to learn from; None takes the whole space, or a sample of it.
        progress: Receives a line now and then.
        settings: How; None takes the defaults.

    Returns:
        The checkpoint. Training that is interrupted goes on where it was, from a file in `folder`.
    """
    settings = settings or LanguageModelSettings()
    rng = np.random.default_rng(seed)
    corpus = codec.encode(architectures_of(codec.space, settings.sample, rng) if rows is None else rows)
    tokenizer = new_tokenizer(codec.codebook_size)
    vocabulary = Vocabulary.of(tokenizer.backend_tokenizer)
    model = new_model(len(tokenizer), settings, seed)
    steps, batch = settings.plan(len(corpus), codec.space.size)
    lesson = lessons(corpus, codec, vocabulary, batch, seed)
    folder.mkdir(parents=True, exist_ok=True)
    signature = f"{codec.hash} {hashlib.sha256(corpus.tobytes()).hexdigest()} {settings} {seed}"
    resumable = Resumable(folder / ".training", signature)
    figures = fit(
        model, lesson, steps, settings.rate, progress, "code language model",
        matrix_rate=settings.matrix_rate, codes=vocabulary.codes, enough=settings.enough, resumable=resumable,
    )  # fmt: skip
    open_bands(model, vocabulary)
    card = {"codec": codec.hash, "space": codec.space.name, "seed": seed, "labels": [], "metrics": figures}
    everything = {"codes": corpus, "quantiles": unconditional(len(corpus))}
    checkpoint = publish(model, tokenizer, everything, folder, card)
    resumable.done()
    return checkpoint


def lessons(
    corpus: Codes, codec: Codec, vocabulary: Vocabulary, batch: int, seed: int
) -> Callable[[int], Lesson]:
    """Batches of a corpus (n, L), each with the codes that may follow there; by step and seed alone."""
    tree = CodeTree(corpus, codec.codebook_size)

    def lesson(step: int) -> Lesson:
        pick = np.random.default_rng([seed, step]).integers(len(corpus), size=batch)
        ids = vocabulary.sequences(corpus[pick], unconditional(batch))
        return Lesson(ids, torch.from_numpy(tree.following(pick)))

    return lesson


def unconditional(n: int) -> NDArray[np.int8]:
    """The band of n sequences that have none: (n,)."""
    return np.full(n, -1, dtype=np.int8)


@torch.no_grad()
def open_bands(model: Any, vocabulary: Vocabulary) -> None:
    """Let every band mean "any".

    Bands that were trained on sequences of no particular score would teach the model to look past them,
    and a fine-tuning on a few dozen measurements would not undo that.
    """
    words = model.get_input_embeddings().weight
    words[list(vocabulary.bands)] = words[vocabulary.unconditional].clone()


def finetune(
    model_folder: Path,
    codes: Codes,
    quantiles: NDArray[np.integer[Any]],
    out: Path,
    *,
    seed: int,
    labels: Sequence[tuple[str, str]] = (),
    replay: float = 0.33,
    steps: int = 25,
    batch: int = 96,
    rate: float = 3e-3,
    band_rate: float = 0.3,
    progress: Progress = None,
) -> Path:
    """Teach a checkpoint what was measured: which codes scored in which tenth (see `band_weights`).

    Of the words only the bands learn, fast: until now they meant nothing, and a model that is to tell them
    apart slowly learns the measured sequences by heart before.

    Args:
        model_folder: Checkpoint to start from; it is not changed.
        codes: (n, L) what was measured; a sequence that stands there twice counts twice.
        quantiles: (n,) the tenth of each, 0 worst to 9 best.
        out: The new checkpoint goes into this folder, under the hash of its content.
        seed: All randomness comes from here.
        labels: (space, data set) of the measurements; kept in the card with those of the start.
        replay: Share of each batch that repeats the start's unconditional corpus, against forgetting.
        steps: Number of batches; with four times as many a model repeats the few dozen architectures that
            it was shown (benchmarks/finetuning.py).
        batch: Sequences in a batch.
        rate: Learning rate of all but the words.
        band_rate: Learning rate of the words for bands.
        progress: Receives a line now and then.

    Returns:
        The checkpoint.

    Raises:
        UserError: Nothing was measured, arrays that do not fit, or a share outside [0, 1).
        CheckpointError: The start is damaged or foreign.
    """
    card = read_card(model_folder, "language model")
    vocabulary = Vocabulary.load(model_folder)
    known = read_corpus(model_folder)
    base = known["codes"][known["quantiles"] < 0]
    _check_measured(codes, quantiles, replay, base.shape[1], len(vocabulary.codes))
    lesson = _measured_lessons(base, codes, quantiles, vocabulary, round(replay * batch), batch, seed)
    model = load_model(model_folder)
    words = model.get_input_embeddings().weight
    learning = torch.zeros(len(words), 1)
    learning[list(vocabulary.bands)] = 1.0
    words.register_hook(lambda gradient: gradient * learning)
    figures = fit(model, lesson, steps, rate, progress, "fine-tuning", table_rate=band_rate)
    pairs = {tuple(pair) for pair in [*card["labels"], *labels]}
    card |= {"seed": seed, "parent": card["hash"], "labels": sorted(map(list, pairs)), "metrics": figures}
    tenths = np.append(unconditional(len(base)), quantiles.astype(np.int8))
    corpus = {"codes": np.concatenate([base, codes.astype(np.int16)]), "quantiles": tenths}
    return publish(model, load_tokenizer(model_folder), corpus, out, card)


def _measured_lessons(
    base: Codes,
    codes: Codes,
    quantiles: NDArray[np.integer[Any]],
    vocabulary: Vocabulary,
    repeated: int,
    batch: int,
    seed: int,
) -> Callable[[int], Lesson]:
    """Batches of what was measured, each under a random band, and `repeated` of the old corpus under none."""
    chances = band_weights(quantiles).cumsum(axis=1)  # (10, n)

    def lesson(step: int) -> Lesson:
        rng = np.random.default_rng([seed, step])
        old = rng.integers(len(base), size=repeated)
        bands = rng.integers(BANDS, size=batch - repeated).astype(np.int8)
        new = (chances[bands] < rng.random((len(bands), 1))).sum(axis=1).clip(max=len(codes) - 1)
        mixed = np.concatenate([base[old], codes[new]])
        return Lesson(vocabulary.sequences(mixed, np.append(unconditional(repeated), bands)))

    return lesson


def _check_measured(
    codes: Codes, quantiles: NDArray[np.integer[Any]], replay: float, length: int, codebook_size: int
) -> None:
    """Refuse what a fine-tuning cannot learn from."""
    if not 0 <= replay < 1:
        raise UserError(f"replay is {replay}, but a share from 0 up to 1, without 1, is needed.")
    if len(codes) == 0 or len(codes) != len(quantiles):
        raise UserError(
            f"{len(codes)} code sequences and {len(quantiles)} quantiles: give one for each, at least one."
        )
    if quantiles.min() < 0 or quantiles.max() >= BANDS:
        raise UserError(f"Quantiles go from 0 to {BANDS - 1}, not {quantiles.min()} to {quantiles.max()}.")
    if codes.shape[1] != length or codes.min() < 0 or codes.max() >= codebook_size:
        raise UserError(
            f"The codes do not fit the model: it writes {length} codes below {codebook_size} each."
        )


def load_model(folder: Path) -> Any:
    """The causal model of a checkpoint, float32, on the CPU; weights from safetensors only.

    Raises:
        CheckpointError: Damaged or foreign.
    """
    read_card(folder, "language model")
    try:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"The language model in {folder} cannot be loaded: {error}.") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint."""
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def publish(
    model: Any, tokenizer: Any, corpus: dict[str, NDArray[Any]], parent: Path, card: dict[str, Any]
) -> Path:
    """Write a checkpoint into `parent`, under the hash of its content, all or nothing."""
    parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        with quiet():
            model.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
        write_corpus(fresh, corpus)
        written = {
            key: value
            for key, value in card.items()
            if key not in ("format", "kind", "commit", "files", "hash")
        }
        target = parent / seal(fresh, "language model", written)["hash"]
        if not target.exists():
            os.rename(fresh, target)
        return target
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def quiet() -> Generator[None]:
    """Keep transformers' progress bars off the terminal."""
    was = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was:
            transformers_logging.enable_progress_bar()
