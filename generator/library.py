"""The trained models of a space, on disk: loaded where they are, trained where they are not."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.cards import CARD, read_card, seal
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.files import cache_folder, write_whole
from vitruvius.generator.space import SearchSpace, get_space
from vitruvius.generator.training import CodecSettings, Progress, train_codec
from vitruvius.generator.vocabulary import Vocabulary

_VERSION = 3  # raised when training changes in a way that the settings do not show
_HELD_OUT = 0.9  # share of ids that the codec sees whose figures are held out
_FREE_SAMPLE, _FREE_BATCH = 50_000, 64


@dataclass(frozen=True, slots=True)
class CodeModel:
    """A codec and the language model that writes its codes.

    Attributes:
        folder: Where both lie.
        codec: Names architectures by codes and reads codes back.
        language_model: Folder of the language model's checkpoint, as pretrained.
        card: Metrics of both: `card["codec"]`, `card["held_out"]` once it was asked for (`with_held_out`),
            `card["language_model"]`, `card["seconds"]`; `card["figures"]` where it was scored in training
            from the command line, see `generator.scoring.score`.
    """

    folder: Path
    codec: Codec
    language_model: Path
    card: dict[str, Any]


def settings_for(
    space: SearchSpace, codec: CodecSettings | None = None, language: LanguageModelSettings | None = None
) -> tuple[CodecSettings, LanguageModelSettings]:
    """How the models of a space are trained: as given, else by the defaults.

    Where any choices make an architecture and there are too many to list, a language model has only to
    learn that every choice is as likely as the others: a twentieth of the lessons brings it within 0.03
    nats of that.
    """
    if space.size is None and space.count == math.prod(space.cardinalities.tolist()):
        codec = codec or CodecSettings(sample=_FREE_SAMPLE)
        language = language or LanguageModelSettings(sample=_FREE_SAMPLE, batch=_FREE_BATCH)
    return codec or CodecSettings(), language or LanguageModelSettings()


def model_folder(
    space: SearchSpace,
    seed: int,
    codec: CodecSettings | None = None,
    language: LanguageModelSettings | None = None,
) -> Path:
    """Where the models of a space lie: the name tells space, seed and settings apart."""
    codec, language = settings_for(space, codec, language)
    settings = {
        "version": _VERSION,
        "seed": seed,
        "decisions": [[d.name, list(d.choices)] for d in space.decisions],
        "operations": list(space.operations),
        **({} if (form := space.form) is None else {"form": form}),
        "codec": asdict(codec),
        "language": asdict(language),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    return cache_folder() / "models" / f"{space.name}-{digest}"


def load_or_train(
    space: SearchSpace | str,
    *,
    folder: Path | None = None,
    seed: int = 0,
    progress: Progress = None,
    codec: CodecSettings | None = None,
    language: LanguageModelSettings | None = None,
) -> CodeModel:
    """The models of a space: from the folder if they are there and whole, else trained now.

    Training goes on where an interrupted one stopped. Two processes do not train at once: the second waits
    and then loads.

    Args:
        space: The space or its name.
        folder: Where the models lie; None takes `model_folder`.
        seed: All randomness of the training.
        progress: Receives a line now and then, a warning where a damaged model is trained again included.
        codec: How the VQ-VAE is trained; None takes the defaults.
        language: How the language model is trained; None takes the defaults.

    Returns:
        The models.

    Raises:
        UserError: They are not there, and cannot be kept either.
        CheckpointError: `folder` holds something else.
    """
    space = get_space(space)
    codec, language = settings_for(space, codec, language)
    target = folder or model_folder(space, seed, codec, language)
    if target.exists():  # read without a lock: the folder of all models may be one that is only read
        with suppress(CheckpointError):
            return open_model(target, space)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The models of {space.name} cannot be kept in {target.parent} ({error.strerror}): set "
            "VITRUVIUS_CACHE to a folder that can be written."
        ) from error
    say = progress or _silent
    with _alone(_lock(target), space, say):
        if target.exists():
            try:
                return open_model(target, space)
            except CheckpointError as error:
                if folder is not None and not (target / CARD).is_file():
                    raise  # a folder that was named, and never was one of ours
                say(f"Warning: the models of {space.name} are trained again: {error}")
                shutil.rmtree(target)
        unfinished = target.parent / f".{target.name}.unfinished"
        _train(space, unfinished, seed, say, codec, language)
        os.rename(unfinished, target)
        return open_model(target, space)


def _lock(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


@contextmanager
def _alone(file: Path, space: SearchSpace, say: Any) -> Generator[None]:
    """Hold the lock of a space's models; who must wait for another process says so."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process trains the models of {space.name}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_model(folder: Path, space: SearchSpace | None = None) -> CodeModel:
    """Load what `load_or_train` wrote, without ever training; every file is checked against its card.

    Args:
        folder: The folder.
        space: The space it must be for; None takes the one that its card names.

    Raises:
        CheckpointError: Damaged or foreign, for another space, or parts that do not fit together.
    """
    card = read_card(folder, "code model")
    codec = Codec.load(folder / "codec", space)
    language_model = folder / "language_model" / str(card.get("language_model_hash"))
    inner = read_card(language_model, "language model")
    if inner.get("codec") != codec.hash:
        raise CheckpointError(f"The language model in {language_model} writes the codes of another codec.")
    if len(Vocabulary.load(language_model).codes) != codec.codebook_size:
        raise CheckpointError(
            f"The language model in {language_model} has another number of codes than the codec."
        )
    return CodeModel(folder, codec, language_model, card)


def add_to_card(model: CodeModel, **entries: Any) -> CodeModel:
    """The same model, its card longer by some plain data; none of its files changes."""
    card = model.card | entries
    write_whole(model.folder / CARD, json.dumps(card, indent=2) + "\n")
    return replace(model, card=card)


def with_held_out(
    model: CodeModel, *, progress: Progress = None, settings: CodecSettings | None = None
) -> CodeModel:
    """The same model with figures of architectures that a codec has not seen, in `card["held_out"]`.

    The codec in use has seen all of them. Another one is trained on 90 % of the ids, in the same way, asked
    for the rest, and thrown away; interrupted, its training goes on where it stopped.

    Args:
        model: The model; nothing is done where its card has the figures.
        progress: Receives a line now and then.
        settings: How its codec was trained; None takes the defaults.
    """
    if "held_out" in model.card:
        return model
    space, say = model.codec.space, progress or _silent
    settings, _ = settings_for(space, settings)
    with _alone(_lock(model.folder), space, say):
        model = open_model(model.folder, space)
        if "held_out" in model.card:  # by another process meanwhile
            return model
        say(f"Training a VQ-VAE of {space.name} on 90 % of its architectures, to be asked for the rest")
        state = model.folder.parent / f".{model.folder.name}.held_out"
        _, held_out = train_codec(
            space, seed=model.card["seed"], fraction=_HELD_OUT, progress=say, settings=settings, state=state
        )
        return add_to_card(model, held_out=held_out)


def _train(
    space: SearchSpace,
    folder: Path,
    seed: int,
    say: Any,
    settings: CodecSettings,
    language: LanguageModelSettings,
) -> None:
    """Train what the folder does not hold yet, then write its card."""
    from vitruvius.generator.language_model import train_language_model  # transformers loads for seconds

    begin = time.perf_counter()
    folder.mkdir(exist_ok=True)
    codec = _codec(space, folder, seed, say, settings)
    for finished in (folder / "language_model").glob("[!.]*"):
        shutil.rmtree(finished)  # killed before its card: written again, equal or not
    say(f"Training the code language model of {space.name}")
    checkpoint = train_language_model(
        codec, folder / "language_model", seed=seed, progress=say, settings=language
    )
    metrics = read_card(checkpoint, "language model")["metrics"]
    (folder / "card.json").unlink(missing_ok=True)
    card = {
        "space": space.name,
        "seed": seed,
        "language_model_hash": checkpoint.name,
        "codec": codec.card["metrics"],
        "language_model": metrics | {"ideal_nats": _ideal(space)},
        "labels": [],
        "seconds": round(time.perf_counter() - begin, 1),
    }
    seal(folder, "code model", card)
    say(f"Models of {space.name} are ready after {card['seconds']:.0f} s")


def _codec(space: SearchSpace, folder: Path, seed: int, say: Any, settings: CodecSettings) -> Codec:
    """The codec; what was finished before is read again."""
    try:
        return Codec.load(folder / "codec", space)
    except CheckpointError:
        shutil.rmtree(folder / "codec", ignore_errors=True)
    say(f"Training the VQ-VAE of {space.name}")
    codec, _ = train_codec(space, seed=seed, progress=say, settings=settings, state=folder / ".training")
    codec.save(folder / "codec")
    return codec


def _ideal(space: SearchSpace) -> float | None:
    """The lowest possible loss in nats, that of a model which draws every architecture equally often."""
    return None if space.count is None else round(math.log(space.count), 3)


def _silent(_line: str) -> None:
    pass
