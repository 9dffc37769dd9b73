"""What the codes of a trained VQ-VAE stand for: how often each is used, for what, and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.codes import Codec
from vitruvius.generator.space import ABSENT, INPUT, OUTPUT, SearchSpace
from vitruvius.generator.training import architectures_of

_SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """One code of the codebook that is in use.

    Attributes:
        code: Its number.
        uses: Share of all codes in the space that are this one.
        label: What nodes with this code mostly are: an operation, "output", "absent".
        purity: Share of its nodes that are.
        positions: Positions at which it occurs, from 0.
        x: First coordinate in the plane in which the codebook varies most.
        y: Second.
    """

    code: int
    uses: float
    label: str
    purity: float
    positions: tuple[int, ...]
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Portrait:
    """The codes of a space.

    Attributes:
        space: Its name.
        codebook: Number of codes there are.
        meanings: Those in use, most used first.
        agreement: Share of these whose nearest other code mostly stands for the same label.
        chance: The same if the nearest were any other.
        plane: Share of the codebook's variance that x and y show.
    """

    space: str
    codebook: int
    meanings: tuple[CodeMeaning, ...]
    agreement: float
    chance: float
    plane: float


def portrait(codec: Codec, *, seed: int = 0) -> Portrait:
    """Look at the codes of up to 20,000 architectures of the codec's space.

    Nothing is measured: neither scores nor costs enter.
    """
    space = codec.space
    rng = np.random.default_rng(seed)
    rows = architectures_of(space, _SAMPLE, rng)
    rows = rows[rng.permutation(len(rows))[:_SAMPLE]]
    codes = codec.encode(rows).astype(np.int64)  # (n, L)
    labels = space.graphs(rows).labels[:, list(codec.model.sizes.code_nodes)]  # (n, L)
    names = _names(space)
    kinds = np.searchsorted(np.array(sorted(names)), labels)  # (n, L) position of each label among the sorted
    tally = np.zeros((codec.codebook_size, len(names)), dtype=np.int64)
    np.add.at(tally, (codes, kinds), 1)
    used = np.flatnonzero(tally.sum(axis=1))
    used = used[np.argsort(-tally[used].sum(axis=1), kind="stable")]
    main = tally[used].argmax(axis=1)
    points, plane, nearest = _layout(codec.model.quantiser.vectors.numpy()[used])
    words = [names[label] for label in sorted(names)]
    total = codes.size
    meanings = [
        CodeMeaning(
            code=int(code),
            uses=float(tally[code].sum() / total),
            label=words[kind],
            purity=float(tally[code, kind] / tally[code].sum()),
            positions=tuple(np.flatnonzero((codes == code).any(axis=0)).tolist()),
            x=float(point[0]),
            y=float(point[1]),
        )
        for code, kind, point in zip(used, main, points, strict=True)
    ]
    same = np.bincount(main)
    pairs = len(used) * (len(used) - 1)
    chance = float((same * (same - 1)).sum() / pairs) if pairs else 0.0
    agreement = float((main[nearest] == main).mean()) if pairs else 0.0
    return Portrait(space.name, codec.codebook_size, tuple(meanings), agreement, chance, plane)


def _names(space: SearchSpace) -> dict[int, str]:
    """What each node label is called."""
    operations = dict(enumerate(space.labels, start=2))
    return {ABSENT: "absent", INPUT: "input", OUTPUT: "output"} | operations


def _layout(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, NDArray[np.intp]]:
    """A plane for the codebook's vectors.

    Args:
        vectors: (m, d).

    Returns:
        Places (m, 2) along the two main directions, the share of the variance that these show, and the
        nearest other vector of each, by all d numbers (m,).
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    apart = ((centred[:, None] - centred[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    shown = float((strengths[:2] ** 2).sum() / max((strengths**2).sum(), 1e-12))
    places = centred @ directions[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))  # one vector has one direction
    return places, shown, apart.argmin(axis=1)
