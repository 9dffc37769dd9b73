"""From draws to a pool: what is kept, and that every draw is counted exactly once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vitruvius.generator.codes import Codec
from vitruvius.generator.library import CodeModel
from vitruvius.generator.pool import Pool, fill_pool
from vitruvius.generator.proposers.base import Codes, Draw, Request
from vitruvius.generator.space import Choices


@dataclasses.dataclass
class Scripted:
    """Hands out the codes it was given."""

    codes: Codes
    unfinished: int = 0
    name: str = "scripted"

    def draw(self, request: Request) -> Draw:
        assert request.n == len(self.codes) + self.unfinished
        return Draw(self.codes, self.unfinished, 0.0)

    def reload(self, folder: Path) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def codec(code_model: CodeModel) -> Codec:
    return code_model.codec


def pooled(codec: Codec, rows: Choices, unfinished: int = 0, **more: object) -> Pool:
    proposer = Scripted(codec.encode(rows), unfinished)
    request = Request(n=len(rows) + unfinished, seed=0)
    options: dict[str, object] = {"inside": None, "known_ids": set[str](), **more}
    return fill_pool(proposer, codec, request, **options)  # type: ignore[arg-type]


def balanced(pool: Pool) -> bool:
    lost = pool.unfinished + pool.invalid + pool.outside + pool.known + pool.duplicate
    return pool.asked == len(pool.choices) + lost and len(pool.choices) == len(pool.codes)


def test_repeats_go_by_identity(codec: Codec) -> None:
    """Two keys of one isomorphism class are one architecture; the first drawn is kept."""
    space = codec.space
    rows = space.enumerate()
    ids = np.array(space.ids(rows))
    name = next(name for name in ids if (ids == name).sum() > 1)
    twins = rows[ids == name][:2]
    drawn = np.concatenate([twins[::-1], rows[-3:-1], twins])
    pool = pooled(codec, drawn)
    assert np.array_equal(pool.choices, drawn[[0, 2, 3]])
    assert pool.duplicate == 3 and balanced(pool)
    assert np.array_equal(codec.decode(pool.codes), pool.choices)


def test_known_and_outside(codec: Codec) -> None:
    rows = codec.space.sample(200, np.random.default_rng(0))
    ids = codec.space.ids(rows)

    def inside(choices: Choices) -> NDArray[np.bool_]:
        return choices[:, 0] != 3

    pool = pooled(codec, rows, unfinished=7, inside=inside, known_ids=set(ids[:50]))
    assert pool.unfinished == 7 and pool.outside == int((rows[:, 0] == 3).sum())
    assert pool.known >= int((rows[:50, 0] != 3).sum()) > 0
    kept = codec.space.ids(pool.choices)
    assert len(set(kept)) == len(kept) and not set(kept) & set(ids[:50])
    assert inside(pool.choices).all() and balanced(pool)
    assert pool.yield_ == len(kept) / 207


def test_invalid(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decodes to no architecture is counted and never reaches `normalise` or `ids`."""
    rows = codec.space.sample(60, np.random.default_rng(1))
    monkeypatch.setattr(codec.space, "legal", lambda choices: choices[:, 1] != 2)
    pool = pooled(codec, rows)
    assert pool.invalid == int((rows[:, 1] == 2).sum()) > 0
    assert (pool.choices[:, 1] != 2).all() and balanced(pool)


def test_nothing_left(codec: Codec) -> None:
    rows = codec.space.sample(5, np.random.default_rng(1))
    pool = pooled(codec, rows, inside=lambda choices: np.zeros(len(choices), dtype=bool))
    assert pool.choices.shape == (0, 6) and pool.codes.shape == (0, 6) and pool.yield_ == 0 and balanced(pool)
    empty = pooled(codec, rows[:0])
    assert empty.yield_ == 0 and balanced(empty)


def test_one_line(codec: Codec) -> None:
    rows = codec.space.sample(3, np.random.default_rng(1))
    line = pooled(codec, np.concatenate([rows, rows]), unfinished=4).describe()
    assert "\n" not in line
    assert line.startswith("3 new of 10 drawn (4 unfinished, 3 repeated), 30%")
