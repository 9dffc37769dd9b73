"""Scoring a model folder: which one is meant, and all figures of it in one plain dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.cards import CARD, read_card
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus import read_corpus
from vitruvius.generator.information import information
from vitruvius.generator.library import CodeModel, load_or_train, open_model
from vitruvius.generator.position_masks import PositionMasks
from vitruvius.generator.proposers import Request, check_proposer, make_proposer
from vitruvius.generator.proposers.checks import check_temperature, same_codec
from vitruvius.generator.quality import generated, measure, reference_for
from vitruvius.generator.space import DESCRIBED, Choices, SearchSpace, get_space, space_names
from vitruvius.generator.training import architectures_of, codec_metrics
from vitruvius.generator.vocabulary import Vocabulary

_ARCHITECTURES = 50_000  # at most so many are encoded for the figures of the codec


def find_model(
    place: str, *, codec: Path | None = None, seed: int = 0, progress: Callable[[str], None] | None = None
) -> CodeModel:
    """The model that a user means.

    Args:
        place: The name of a space (its models in the cache, trained now if they are not there), a folder
            that `load_or_train` wrote, or a language model checkpoint together with `codec`.
        codec: Folder of the codec whose codes the checkpoint writes, or of a whole code model that has it.
        seed: Of the training, for a space by name.
        progress: Receives a line now and then.

    Raises:
        UserError: Neither a space nor a folder, or a codec beside something that has its own.
        CheckpointError: Damaged or foreign, or a checkpoint that writes the codes of another codec.
    """
    folder = Path(place).expanduser()
    if place.endswith(DESCRIBED) and folder.is_file():
        place = get_space(place).name
    if place in space_names() and not (codec and folder.is_dir()):
        if codec is not None:
            raise UserError(
                f"{place} is a space, whose models have a codec of their own: leave out --codec {codec}, or "
                "give the folder of a language model checkpoint."
            )
        return load_or_train(place, seed=seed, progress=progress)
    if not folder.is_dir():
        raise UserError(
            f"{place!r} is neither a space nor a folder. Spaces: {', '.join(space_names())}. A folder is "
            "one that `vitruvius generator train` wrote, or a language model checkpoint with --codec."
        )
    if codec is None:
        return _whole(folder)
    if (folder / "config.json").is_file() and not (folder / CARD).is_file():
        raise CheckpointError(
            f"{folder} is a checkpoint that has not learned our codes: it has no {CARD}. "
            "`adapt_checkpoint` in vitruvius.generator.adapters teaches it those of a codec."
        )
    card = read_card(folder, "language model")
    names = _codec_of(codec)
    if card.get("space") != names.space.name:
        raise CheckpointError(
            f"{folder} was trained for space {card.get('space')!r}, but the codec in {codec} is for "
            f"{names.space.name!r}. Give the codec that it was trained with."
        )
    same_codec(names, card, folder)
    if len(Vocabulary.load(folder).codes) != names.codebook_size:
        raise CheckpointError(
            f"{folder} knows {len(Vocabulary.load(folder).codes)} codes, but the codec in {codec} has "
            f"{names.codebook_size}. Give the codec that it was trained with."
        )
    return CodeModel(folder, names, folder, {})


def score(
    model: CodeModel,
    engines: Sequence[str],
    *,
    draws: int = 10_000,
    temperature: float = 1.0,
    masks: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """All figures of a model.

    Args:
        model: The model.
        engines: What draws, names of `PROPOSERS`.
        draws: Sequences that each draws.
        temperature: Of the draws.
        masks: Draw a second time, held to the codes that occur at each position in training.
        seed: Of the draws.
        progress: Receives a line now and then.

    Returns:
        `space`, `generated` (which parts, in words), `draws`, `temperature`, `trained_ids`; `codec`, see
        `codec_metrics`, with the mutual information of codes and decisions; `ceilings`; and `engines`, the
        figures of each (see `Reference.figures`).
    """
    for engine in engines:
        check_proposer(engine)
    check_temperature(temperature)
    say = progress or (lambda _line: None)
    codec, space = model.codec, model.codec.space
    corpus = read_corpus(model.language_model)
    known = corpus["codes"][corpus["quantiles"] < 0]
    trained = _architectures(codec.decode(known), space)
    say("comparing with the space")
    reference = reference_for(space, trained)
    found: dict[str, dict[str, float | None]] = {}
    for engine in engines:
        proposer = make_proposer(engine, model)
        try:
            proposer.draw(Request(n=1, seed=seed + 1))  # what is done only once is not timed
            say(f"drawing {draws:,} sequences with {engine}")
            request = Request(draws, seed, temperature)
            found[engine] = measure(proposer.draw, codec, request, reference)
            if masks:
                request = Request(draws, seed, temperature, guide=PositionMasks(known, codec.codebook_size))
                found[f"{engine}, masked"] = measure(proposer.draw, codec, request, reference)
        finally:
            proposer.close()
    return {
        "space": space.name,
        "generated": generated(space),
        "draws": draws,
        "temperature": temperature,
        "trained_ids": len(reference.trained_ids or ()),
        "codec": codec_figures(codec, seed) | {"held_out_exact": model.card.get("held_out", {}).get("exact")},
        "ceilings": reference.ceilings(draws),
        "engines": found,
    }


def codec_figures(codec: Codec, seed: int = 0) -> dict[str, Any]:
    """`codec_metrics` on the space, or a sample of it, and how near codes are to names of single decisions.

    Returns:
        The metrics, with `relabelling` and `told`, the largest `symmetric` and `told` of `information` over
        positions and decisions, and `relabelling_by_position`, the largest `symmetric` for each position.
    """
    rng = np.random.default_rng(seed)
    rows = architectures_of(codec.space, _ARCHITECTURES, rng)
    if len(rows) > _ARCHITECTURES:
        rows = rows[rng.choice(len(rows), _ARCHITECTURES, replace=False)]
    shared = information(codec.encode(rows), rows)
    return codec_metrics(codec, rows) | {
        "relabelling": round(float(shared.symmetric.max()), 4),
        "told": round(float(shared.told.max()), 4),
        "relabelling_by_position": shared.per_position(),
    }


def _whole(folder: Path) -> CodeModel:
    """The code model in a folder.

    Raises:
        CheckpointError: Damaged or foreign, or a language model alone.
    """
    try:
        return open_model(folder)
    except CheckpointError:
        try:
            read_card(folder, "language model")
        except CheckpointError:
            pass
        else:
            raise CheckpointError(
                f"{folder} holds a language model alone: name the codec whose codes it writes, or the code "
                "model that has it, with --codec FOLDER."
            ) from None
        raise


def _codec_of(folder: Path) -> Codec:
    """The codec in a folder: a codec's own, or that of a code model."""
    return Codec.load(folder / "codec" if (folder / "codec").is_dir() else folder)


def _architectures(rows: Choices, space: SearchSpace) -> Choices:
    """The architectures among decoded rows, normal, once each."""
    return np.unique(space.normalise(rows[space.valid(rows)]), axis=0)
