"""From a request to a pool of new architectures: draw, decode, check, and count what fell away."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator.proposers.base import Codes, Proposer, Request
from vitruvius.generator.space import Choices, SearchSpace

if TYPE_CHECKING:
    from vitruvius.generator.codes import Codec


_ROUNDS = 50  # of rejection, in spaces that are too large to list


@dataclass(frozen=True, slots=True)
class Pool:
    """New, valid, distinct architectures, and what became of the other draws.

    `asked` = len(choices) + unfinished + invalid + outside + known + duplicate.

    Attributes:
        choices: (m, D) normal rows in drawing order, of distinct ids.
        codes: (m, L) the codes that each was decoded from; L is 0 where none was.
        asked: Number of sequences asked for.
        unfinished: Sequences that the proposer did not complete.
        invalid: Decoded to no architecture of the space.
        outside: Architectures outside what `inside` allows.
        known: Architectures whose id was known before.
        duplicate: Repeats of an id within the pool.
        seconds: Wall time, drawing included.
    """

    choices: Choices
    codes: Codes
    asked: int
    unfinished: int
    invalid: int
    outside: int
    known: int
    duplicate: int
    seconds: float

    @property
    def yield_(self) -> float:
        """Share of the sequences asked for that became a new architecture."""
        return len(self.choices) / self.asked if self.asked else 0.0

    def describe(self) -> str:
        """The counts in one line."""
        lost = {
            "unfinished": self.unfinished,
            "invalid": self.invalid,
            "outside the restriction": self.outside,
            "known": self.known,
            "repeated": self.duplicate,
        }
        parts = [f"{count} {what}" for what, count in lost.items() if count]
        rest = f" ({', '.join(parts)})" if parts else ""
        return f"{len(self.choices)} new of {self.asked} drawn{rest}, {self.yield_:.0%}, {self.seconds:.1f} s"


def fill_pool(
    proposer: Proposer,
    codec: Codec,
    request: Request,
    *,
    inside: Callable[[Choices], NDArray[np.bool_]] | None,
    known_ids: Set[str],
) -> Pool:
    """Draw sequences and keep the architectures that are valid, inside, new and distinct.

    The positions allowed by a request are a superset of what a restriction allows, so the decoded
    architecture is checked again here.

    Args:
        proposer: What draws.
        codec: What decodes.
        request: What to draw.
        inside: Tells for rows (n, D) which are allowed; None allows all.
        known_ids: Ids that are not wanted again.

    Returns:
        The pool and its counts.
    """
    begin = time.perf_counter()
    drawn = proposer.draw(request)
    rows = codec.decode(drawn.codes)
    return _kept(codec.space, rows, drawn.codes, request.n, inside=inside, known_ids=known_ids, begin=begin)


def uniform_pool(
    space: SearchSpace,
    n: int,
    seed: int,
    *,
    wanted: NDArray[np.bool_] | None,
    inside: Callable[[Choices], NDArray[np.bool_]] | None,
    known_ids: Set[str],
) -> Pool:
    """Draw architectures uniformly, without codes, and keep those that are inside, new and distinct.

    Args:
        space: The space.
        n: Number of draws.
        seed: All randomness of the draws comes from here.
        wanted: (size,) which of `space.enumerate()` to draw from, where the space can be listed and not all
            of it is inside; None draws from all.
        inside: Tells for rows (n, D) which are allowed; None allows all.
        known_ids: Ids that are not wanted again.

    Returns:
        The pool and its counts; draws that met nothing inside after many rounds are unfinished.
    """
    begin, rng = time.perf_counter(), np.random.default_rng(seed)
    if space.size is None and inside is not None:
        rows = np.empty((0, len(space.decisions)), dtype=np.int8)
        for _ in range(_ROUNDS):
            drawn = space.sample(max(n, 256), rng)
            rows = np.concatenate([rows, drawn[inside(drawn)]])[:n]
            if len(rows) == n:
                break
    elif wanted is None:
        rows = space.sample(n, rng)
    else:
        rows = space.enumerate()[wanted]
        rows = rows[(rng.random(n) * len(rows)).astype(np.int64)] if len(rows) else rows
    codes = np.empty((len(rows), 0), dtype=np.int16)
    return _kept(space, rows, codes, n, inside=inside, known_ids=known_ids, begin=begin)


def _kept(
    space: SearchSpace,
    rows: Choices,
    codes: Codes,
    asked: int,
    *,
    inside: Callable[[Choices], NDArray[np.bool_]] | None,
    known_ids: Set[str],
    begin: float,
) -> Pool:
    """What of the rows drawn (m, D), of any content, is valid, inside, new and distinct."""
    unfinished, valid = asked - len(rows), space.valid(rows)
    rows, codes = space.normalise(rows[valid]), codes[valid]
    allowed = np.ones(len(rows), dtype=bool) if inside is None else inside(rows)
    rows, codes = rows[allowed], codes[allowed]
    ids = np.array(space.ids(rows), dtype=object)
    new = np.array([name not in known_ids for name in ids], dtype=bool)
    rows, codes, ids = rows[new], codes[new], ids[new]
    first = np.sort(np.unique(ids.astype(str), return_index=True)[1])
    return Pool(
        choices=rows[first],
        codes=codes[first],
        asked=asked,
        unfinished=unfinished,
        invalid=int((~valid).sum()),
        outside=int((~allowed).sum()),
        known=int((~new).sum()),
        duplicate=len(rows) - len(first),
        seconds=time.perf_counter() - begin,
    )
