"""The code language model: tokenizer, training, fine-tuning, adaptation, and the library that keeps it."""

# pyright: reportArgumentType=false, reportIndexIssue=false
# Settings are passed on as plain dictionaries, layers are reached by position.

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator import library
from vitruvius.generator.adapters import adapt_checkpoint
from vitruvius.generator.cards import read_card
from vitruvius.generator.corpus import read_corpus
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.files import cache_folder
from vitruvius.generator.guide import CodeTree
from vitruvius.generator.language_model import (
    finetune,
    load_model,
    new_model,
    train_language_model,
)
from vitruvius.generator.library import CodeModel, load_or_train, model_folder
from vitruvius.generator.pool import fill_pool
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.proposers.transformers import TransformersProposer
from vitruvius.generator.space import get_space
from vitruvius.generator.training import CodecSettings
from vitruvius.generator.vocabulary import Vocabulary, band_weights

QUICK = LanguageModelSettings(hidden=64, heads=2, layers=1, steps=20, large=10**9, batch=32)


def test_tokenizer(code_model: CodeModel) -> None:
    """The folder is a plain Hugging Face one: text in, the ids of our vocabulary out, and back."""
    tokenizer = AutoTokenizer.from_pretrained(code_model.language_model)
    vocabulary = Vocabulary.load(code_model.language_model)
    ids = tokenizer.encode("<bos> <q9> <c3> <c31> <eos>", add_special_tokens=False)
    assert ids == [*vocabulary.prompt(9), vocabulary.codes[3], vocabulary.codes[31], vocabulary.eos]
    assert tokenizer.convert_ids_to_tokens(ids)[2:4] == ["<c3>", "<c31>"]
    assert tokenizer.decode(ids[2:4]) == "<c3><c31>"
    assert len(vocabulary.codes) == code_model.codec.codebook_size
    assert tokenizer.pad_token_id == vocabulary.pad and tokenizer.eos_token_id == vocabulary.eos


def test_sequences(code_model: CodeModel) -> None:
    vocabulary = Vocabulary.load(code_model.language_model)
    rows = vocabulary.sequences(np.array([[0, 1], [2, 3]], dtype=np.int16), np.array([-1, 4], dtype=np.int8))
    c = vocabulary.codes
    assert rows.tolist() == [
        [vocabulary.bos, vocabulary.unconditional, c[0], c[1], vocabulary.eos],
        [vocabulary.bos, vocabulary.bands[4], c[2], c[3], vocabulary.eos],
    ]


def test_it_learned_the_space(code_model: CodeModel) -> None:
    """A uniform space has ln(15625) = 9.66 nats; a model that knows nothing pays 6 ln 64 = 24.95."""
    assert code_model.card["language_model"]["nats"] < 10.6
    drawn = TransformersProposer(code_model.codec, code_model.language_model).draw(Request(n=500, seed=0))
    everything = {tuple(row) for row in read_corpus(code_model.language_model)["codes"]}
    assert np.mean([tuple(row) in everything for row in drawn.codes]) > 0.5


def test_head_sizes_that_vllm_lacks() -> None:
    with pytest.raises(UserError, match="heads of 16, but vLLM serves"):
        new_model(10, LanguageModelSettings(hidden=64, heads=4), seed=0)


def test_same_seed_same_checkpoint(code_model: CodeModel, tmp_path: Path) -> None:
    """Checkpoints are named by content: the same training twice is one folder."""
    codec = code_model.codec
    first = train_language_model(codec, tmp_path, seed=5, settings=QUICK)
    weights = load_model(first).state_dict()
    again = train_language_model(codec, tmp_path / "again", seed=5, settings=QUICK)
    other = train_language_model(codec, tmp_path, seed=6, settings=QUICK)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_model(again).state_dict().items())
    assert first.name == again.name != other.name
    assert {path.name for path in tmp_path.iterdir()} == {first.name, other.name, "again"}


def test_bands_mean_any_before_anything_was_measured(code_model: CodeModel) -> None:
    proposer = TransformersProposer(code_model.codec, code_model.language_model)
    draws = [proposer.draw(Request(n=50, seed=2, quantile=quantile)).codes for quantile in (None, 0, 9)]
    assert np.array_equal(draws[0], draws[1]) and np.array_equal(draws[0], draws[2])


def test_band_weights() -> None:
    weights = band_weights(np.array([9, 8, 0]))
    assert weights.shape == (10, 3) and np.allclose(weights.sum(axis=1), 1)
    assert np.isclose(weights[9, 0] / weights[9, 1], np.e)
    assert weights[0].argmax() == 2


@pytest.mark.tables
def test_best_band_writes_better_architectures(code_model: CodeModel, tables: Path, tmp_path: Path) -> None:
    """From 100 measured architectures to new ones: band 9 stands above the middle of the space, band 0 below."""
    import pyarrow.parquet as parquet

    space = code_model.codec.space
    table = parquet.read_table(tables / "nasbench201.parquet", columns=["arch_str", "cifar10_valid"])
    score = dict(zip(table["arch_str"].to_pylist(), table["cifar10_valid"].to_pylist(), strict=True))
    rows = space.enumerate()
    scores = np.array([score[space.format(row)] for row in rows.tolist()])
    rank = scores.argsort().argsort() / len(scores)
    means: list[tuple[float, float]] = []
    for seed in range(3):
        measured = np.random.default_rng(seed).choice(len(rows), 100, replace=False)
        tenths = scores[measured].argsort().argsort() * 10 // 100
        codes = code_model.codec.encode(rows[measured])
        tuned = finetune(code_model.language_model, codes, tenths, tmp_path / str(seed), seed=seed)
        proposer = TransformersProposer(code_model.codec, tuned)
        band_means: list[float] = []
        for quantile in (9, 0):
            pool = fill_pool(
                proposer,
                code_model.codec,
                Request(n=300, seed=seed, quantile=quantile),
                inside=None,
                known_ids=set(space.ids(rows[measured])),
            )
            band_means.append(float(rank[space.numbers(pool.choices)].mean()))
        means.append((band_means[0], band_means[1]))
    best, worst = np.mean(means, axis=0)
    assert best > 0.6 and worst < 0.48


@pytest.fixture(scope="module")
def two_bands(code_model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned so that band 9 starts with operation 3 and band 0 with operation 0."""
    rows = code_model.codec.space.sample(400, np.random.default_rng(0))
    rows = rows[np.isin(rows[:, 0], (0, 3))]
    quantiles = np.where(rows[:, 0] == 3, 9, 0)
    return finetune(
        code_model.language_model,
        code_model.codec.encode(rows),
        quantiles,
        tmp_path_factory.mktemp("tuned"),
        seed=0,
        labels=[("nasbench201", "cifar10")],
    )


def test_finetuning_conditions_and_keeps_what_it_knew(code_model: CodeModel, two_bands: Path) -> None:
    codec = code_model.codec
    proposer = TransformersProposer(codec, two_bands)

    def share(quantile: int | None, operation: int) -> float:
        rows = codec.decode(proposer.draw(Request(n=300, seed=1, quantile=quantile)).codes)
        return float((rows[:, 0] == operation).mean())

    assert share(9, 3) > 0.5 and share(0, 0) > 0.5, "a fifth of the space has each"
    assert share(9, 0) < 0.2 and share(0, 3) < 0.2
    assert 0.05 < share(None, 1) < 0.5, "replay keeps the whole space alive where nothing is asked for"


def test_finetuned_card(code_model: CodeModel, two_bands: Path, tmp_path: Path) -> None:
    card = read_card(two_bands, "language model")
    assert card["labels"] == [["nasbench201", "cifar10"]]
    assert card["parent"] == code_model.language_model.name and card["codec"] == code_model.codec.hash
    corpus = read_corpus(two_bands)
    assert (corpus["quantiles"] == 9).any() and (corpus["quantiles"] == -1).sum() == 15625
    codes = corpus["codes"][:4]
    child = finetune(
        two_bands,
        codes,
        np.array([1, 2, 3, 4]),
        tmp_path,
        seed=0,
        steps=1,
        labels=[("nasbench201", "cifar100")],
    )
    labels = read_card(child, "language model")["labels"]
    assert labels == [["nasbench201", "cifar10"], ["nasbench201", "cifar100"]], (
        "what touched the start stays on it"
    )
    assert read_card(code_model.language_model, "language model")["labels"] == []


def test_bad_finetuning(code_model: CodeModel, tmp_path: Path) -> None:
    start, codes = code_model.language_model, np.zeros((2, 6), dtype=np.int16)
    for bad_codes, quantiles, options in [
        (codes[:0], np.zeros(0, int), {}),
        (codes, np.zeros(1, int), {}),
        (codes, np.array([0, 10]), {}),
        (codes, np.array([-1, 0]), {}),
        (codes, np.array([0, 1]), {"replay": 1.0}),
        (codes[:, :3], np.array([0, 1]), {}),
        (codes + 64, np.array([0, 1]), {}),
    ]:
        with pytest.raises(UserError):
            finetune(start, bad_codes, quantiles, tmp_path, seed=0, **options)
    assert list(tmp_path.iterdir()) == []


def foreign_checkpoint(folder: Path, tied: bool) -> Path:
    """A tiny GPT-2 with a tokenizer of its own, as a user might have."""
    words = ["<unk>", "<|end|>", "hello", "world", "<eos>"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<|end|>").save_pretrained(
        folder
    )
    config = GPT2Config(
        vocab_size=len(words), n_embd=64, n_layer=2, n_head=2, n_positions=64,
        tie_word_embeddings=tied, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("lora", "tied"), [(False, True), (True, True), (True, False)])
def test_existing_checkpoint(code_model: CodeModel, tmp_path: Path, lora: bool, tied: bool) -> None:
    """A foreign model learns the codes, by all weights or by adapters, and loads like one of ours."""
    path = foreign_checkpoint(tmp_path / "mine", tied)
    out = adapt_checkpoint(
        path, code_model.codec, tmp_path / "out", lora, steps=150, rate=3e-3 if lora else 1e-3
    )
    card = read_card(out, "language model")
    assert card["origin"] == "mine" and card["lora"] is lora
    assert card["metrics"]["nats"] < 20  # 24.95 is knowing nothing
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_tokens_to_ids("hello") == 2 and tokenizer.convert_tokens_to_ids("<eos>") == 4
    assert AutoModelForCausalLM.from_pretrained(out).get_input_embeddings().weight.shape[0] == len(tokenizer)
    proposer = TransformersProposer(code_model.codec, out)
    codes = code_model.codec.encode(code_model.codec.space.enumerate()[:100])
    guide = CodeTree(codes, code_model.codec.codebook_size).guide(np.arange(100) < 5)
    assert guide.weigh(proposer.draw(Request(n=20, seed=0, guide=guide)).codes).all()
    finetune(out, np.zeros((2, 6), dtype=np.int16), np.array([0, 9]), tmp_path / "tuned", seed=0, steps=1)


def test_existing_checkpoint_that_is_none(code_model: CodeModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        adapt_checkpoint(tmp_path / "nowhere", code_model.codec, tmp_path / "out", False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no causal model"):
        adapt_checkpoint(tmp_path / "empty", code_model.codec, tmp_path / "out", False)


def test_library_loads_what_it_trained(code_model: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(library, "FileLock")  # there is none on a disk that is only read
    lines: list[str] = []
    again = load_or_train("nasbench201", folder=code_model.folder, progress=lines.append)
    assert lines == [] and again.codec.hash == code_model.codec.hash
    assert again.language_model == code_model.language_model
    assert again.card["codec"]["exact"] >= 0.999


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[CodecSettings, LanguageModelSettings]:
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "cache"))
    return CodecSettings(steps=20, batch=64, warm=8, check=10), QUICK


def test_library_needs_a_folder_to_keep_what_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be kept in .*set VITRUVIUS_CACHE"):
        load_or_train("nasbench201")


def test_library_says_that_it_waits(code_model: CodeModel, tmp_path: Path) -> None:
    """Another process trains the same models meanwhile."""
    folder, lock = tmp_path / "model", FileLock(tmp_path / ".model.lock", thread_local=False)
    lock.acquire()
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        shutil.copytree(code_model.folder, folder)
        lock.release()

    load_or_train("nasbench201", folder=folder, progress=progress)
    assert lines == ["Another process trains the models of nasbench201: waiting for it"]


def test_held_out_figures_are_found_once(quick: tuple[CodecSettings, LanguageModelSettings]) -> None:
    codec, language = quick
    model = load_or_train("nasbench201", codec=codec, language=language)
    assert "held_out" not in model.card, "a session needs none"
    judged = library.with_held_out(model, settings=codec)
    held = judged.card["held_out"]
    assert 0 < held["architectures"] < 0.2 * 15625 and 0 <= held["exact"] <= 1
    again, lines = load_or_train("nasbench201", codec=codec, language=language), list[str]()
    assert library.with_held_out(again, progress=lines.append).card == judged.card
    assert lines == [] and again.codec.hash == model.codec.hash


def test_held_out_figures_are_not_found_twice_at_once(
    quick: tuple[CodecSettings, LanguageModelSettings],
) -> None:
    """Another process finds them meanwhile."""
    codec, language = quick
    model = load_or_train("nasbench201", codec=codec, language=language)
    lock = FileLock(model.folder.parent / f".{model.folder.name}.lock", thread_local=False)
    lock.acquire()
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        library.add_to_card(model, held_out={"exact": 0.5})
        lock.release()

    assert library.with_held_out(model, progress=progress).card["held_out"] == {"exact": 0.5}
    assert lines == ["Another process trains the models of nasbench201: waiting for it"]


def test_library_mends_a_damaged_model(quick: tuple[CodecSettings, LanguageModelSettings]) -> None:
    codec, language = quick
    first = load_or_train("nasbench201", codec=codec, language=language)
    assert first.folder == model_folder(get_space("nasbench201"), 0, codec, language)
    (first.language_model / "model.safetensors").write_bytes(b"nothing")
    lines: list[str] = []
    second = load_or_train("nasbench201", progress=lines.append, codec=codec, language=language)
    assert "trained again" in lines[0] and "model.safetensors" in lines[0]
    assert second.language_model.name == first.language_model.name, "the same seed gives the same model"
    assert second.codec.hash == first.codec.hash


def test_library_goes_on_where_it_stopped(
    quick: tuple[CodecSettings, LanguageModelSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the language model's training: the codec is not trained again, and nothing half is taken."""
    codec, language = quick
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> Path:
            raise KeyboardInterrupt

        patch.setattr("vitruvius.generator.language_model.train_language_model", killed)
        with pytest.raises(KeyboardInterrupt):
            load_or_train("nasbench201", codec=codec, language=language)
    folder = model_folder(get_space("nasbench201"), 0, codec, language)
    assert not folder.exists()
    lines: list[str] = []
    model = load_or_train("nasbench201", progress=lines.append, codec=codec, language=language)
    assert not any("VQ-VAE" in line for line in lines)
    assert model.folder == folder and folder.exists()


def test_models_of_other_settings_do_not_mix(quick: tuple[CodecSettings, LanguageModelSettings]) -> None:
    codec, language = quick
    space = get_space("nasbench201")
    folders = {
        model_folder(space, 0, codec, language),
        model_folder(space, 1, codec, language),
        model_folder(space, 0, None, language),
        model_folder(space, 0, codec, None),
        model_folder(get_space("nasbench-graph"), 0, codec, language),
    }
    assert len(folders) == 5 and all(path.parent == cache_folder() / "models" for path in folders)


@pytest.mark.parametrize("damage", ["tokenizer.json", "corpus.npz", "config.json"])
def test_damaged_checkpoint(code_model: CodeModel, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(code_model.language_model, folder)
    (folder / damage).write_text("{}")
    with pytest.raises(CheckpointError, match=damage):
        TransformersProposer(code_model.codec, folder)
    (folder / "card.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(CheckpointError, match="'other'"):
        load_model(folder)
