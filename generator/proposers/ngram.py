"""N-gram proposals: how often each code followed the codes before it. The control for the language model.

Learns from the corpus that lies beside a language model's checkpoint, so it takes part in fine-tuning
like the others: what was measured in a band weighs more where that band is asked for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.cards import read_card
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus import read_corpus
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.proposers.checks import check, same_codec
from vitruvius.generator.vocabulary import band_weights

ORDER = 4
"""Codes looked at: the three before, and the one to come."""

BATCH = 4096
"""Sequences drawn at a time, so that their noise fits in memory."""
_PULL = 1.0  # weight of the shorter context, in observations


@dataclass(frozen=True, slots=True)
class _Table:
    """Probabilities after each context of one length at one position."""

    contexts: NDArray[np.int64]  # (m,) sorted numbers of the contexts that occur
    chances: NDArray[np.float32]  # (m, K)


class NgramProposer:
    """Samples position by position from interpolated n-gram counts."""

    name = "ngram"

    def __init__(self, codec: Codec, folder: Path, order: int = ORDER) -> None:
        """Count the corpus of a checkpoint."""
        self._codec, self._order = codec, order
        self.reload(folder)

    def reload(self, folder: Path) -> None:
        """Count another checkpoint's corpus."""
        same_codec(self._codec, read_card(folder, "language model"), folder)
        corpus = read_corpus(folder)
        self._codes = corpus["codes"].astype(np.int64)  # (n, L)
        self._bands = corpus["quantiles"]  # (n,)
        self._tables: dict[int | None, list[list[_Table]]] = {}

    def draw(self, request: Request) -> Draw:
        """Draw sequences; the request's guide counts at each position."""
        begin = time.perf_counter()
        check(request, self._codec)
        if request.quantile not in self._tables:
            self._tables[request.quantile] = self._count(request.quantile)
        rng = np.random.default_rng(request.seed)
        sizes = [min(BATCH, request.n - start) for start in range(0, request.n, BATCH)]
        parts = [self._sample(request, size, rng) for size in sizes]
        codes = np.concatenate(parts) if parts else np.empty((0, self._codec.length), dtype=np.int16)
        return Draw(codes, 0, time.perf_counter() - begin)

    def _sample(self, request: Request, n: int, rng: np.random.Generator) -> Codes:
        """One batch: argmax of logarithms / temperature + Gumbel noise is a draw from the chances."""
        noise = rng.gumbel(size=(n, self._codec.length, self._codec.codebook_size))
        codes = np.zeros((n, self._codec.length), dtype=np.int64)
        for position, tables in enumerate(self._tables[request.quantile]):
            chances = self._chances(codes[:, :position], tables)  # (n, K)
            scores = np.log(chances) / request.temperature
            if request.guide is not None:
                scores += request.guide.look(codes[:, :position])
            codes[:, position] = (scores + noise[:, position]).argmax(axis=1)
        return codes.astype(np.int16)

    def nats(self, codes: Codes) -> NDArray[np.float64]:
        """Minus the logarithm of the chance of each sequence (n, L), unconditionally: (n,)."""
        found = np.zeros(len(codes))
        for position, tables in enumerate(self._count(None)):
            chances = self._chances(codes[:, :position].astype(np.int64), tables)  # (n, K)
            found -= np.log(chances[np.arange(len(codes)), codes[:, position]])
        return found

    def _weights(self, quantile: int | None) -> NDArray[np.float64]:
        """How much each corpus row counts, (n,): measured rows of the band as much as all others."""
        if quantile is None:
            return (self._bands < 0).astype(float)
        base = self._bands < 0
        weights = base.astype(float)
        if not base.all():
            weights[~base] = band_weights(self._bands[~base])[quantile] * base.sum()
        return weights

    def _count(self, quantile: int | None) -> list[list[_Table]]:
        """For each position the tables of its contexts, from none to the longest."""
        weights = self._weights(quantile)
        return [self._tables_at(position, weights) for position in range(self._codec.length)]

    def _tables_at(self, position: int, weights: NDArray[np.float64]) -> list[_Table]:
        size = self._codec.codebook_size
        after = self._codes[:, position]
        tables: list[_Table] = []
        for depth in range(min(position, self._order - 1) + 1):
            past = self._codes[:, position - depth : position]
            contexts, member = np.unique(self._number(past), return_inverse=True)
            cells = np.bincount(member * size + after, weights, len(contexts) * size)
            counts = cells.reshape(-1, size)  # (m, K)
            first = np.unique(member, return_index=True)[1]
            shorter = self._chances(past[first][:, 1:], tables) if tables else np.full((1, size), 1.0 / size)
            total = counts.sum(axis=1, keepdims=True)
            tables.append(_Table(contexts, ((counts + _PULL * shorter) / (total + _PULL)).astype(np.float32)))
        return tables

    def _chances(self, past: NDArray[np.int64], tables: list[_Table]) -> NDArray[np.float32]:
        """Chances of the next code after the codes so far (n, P), longest known context first: (n, K)."""
        found = np.repeat(tables[0].chances, len(past), axis=0)  # (n, K)
        for depth, table in enumerate(tables[1:], 1):
            if depth > past.shape[1]:
                break
            numbers = self._number(past[:, past.shape[1] - depth :])
            at = np.searchsorted(table.contexts, numbers).clip(max=len(table.contexts) - 1)
            known = table.contexts[at] == numbers
            found[known] = table.chances[at[known]]
        return found

    def _number(self, past: NDArray[np.int64]) -> NDArray[np.int64]:
        """One integer for each context (n, depth): (n,)."""
        powers = self._codec.codebook_size ** np.arange(past.shape[1], dtype=np.int64)
        return past @ powers

    def close(self) -> None:
        """Nothing to free."""
