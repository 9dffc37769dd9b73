"""How good a generator is: the field's figures of what it draws.

All are taken from raw draws: nothing is rejected, repaired or drawn again before it is counted. The papers
count differently under the same names; each way has a figure of its own here (see `Reference.figures`).
Identity is the space's `id` unless a figure says "keys" (the official string) or "written" (the decisions as
decoded).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vitruvius.generator import ceilings
from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Draw, Request
from vitruvius.generator.space import INPUT, OUTPUT, Choices, SearchSpace

Figures = dict[str, float | None]
"""Figures by name; None where one does not exist: nothing valid, nothing trained on, no list of the space."""

GENERATED: Mapping[str, str] = MappingProxyType(
    {
        "nasbench101": "Generated: all 21 possible edges, which of five places hold a node, its operation. "
        "Construction: nodes are in topological order, so there are no cycles; one input, one output. Not "
        "strict: dangling nodes, edges or operations that lead nowhere, which the benchmark prunes.",
        "nasbench201": "Generated: the operation of each of six edges. Construction: which nodes are joined. "
        "Every draw is a cell, so validity says nothing.",
        "transnasbench101-micro": "Generated: the operation of each of six edges. Construction: which nodes "
        "are joined. Every draw is a cell, so validity says nothing.",
        "nasbench-graph": "Generated: input and operation of each of four nodes. Construction: a node's "
        "input comes before it, and what feeds nothing feeds the output. Invalid: four skips, no layer.",
        "darts": "Generated: two inputs and two operations of each node in both cells. Construction: inputs "
        "come before their node, all nodes feed the output. Invalid: a node that takes one input twice.",
    }
)


def generated(space: SearchSpace) -> str:
    """Which parts of a graph the generator of a space writes, and which stand by construction."""
    return GENERATED.get(
        space.name,
        f"Generated: the {len(space.decisions)} decisions. Construction: all that follows from them.",
    )


_CEILING = 7_411
"""First seed of the draws that stand for a perfect sampler."""

_CHANCE = (
    "unique",
    "unique_keys",
    "valid_unique",
    "valid_unique_keys",
    "novel",
    "novel_keys",
    "novel_repeats",
)


@dataclass(frozen=True)
class Reference:
    """What the draws of a space are held against. Made by `reference_for`.

    Attributes:
        space: The space.
        classes: Number of each id among the ids of the space; empty where the space has no list.
        sizes: (C,) keys of each id.
        operations: (O, M + 1) share of the space's architectures that have each operation 0 .. M times.
        edges: (E + 1,) share of the space's architectures that have 0 .. E edges.
        trained_ids: Ids that were trained on; None where novelty is not asked for.
        trained_keys: Rows that were trained on, as bytes.
    """

    space: SearchSpace
    classes: Mapping[str, int]
    sizes: NDArray[np.int64]
    operations: NDArray[np.float64]
    edges: NDArray[np.float64]
    trained_ids: frozenset[str] | None
    trained_keys: frozenset[bytes]

    def figures(self, rows: Choices, asked: int) -> Figures:
        """Judge what was drawn.

        Args:
            rows: (m, D) raw decoded rows, repeats kept, of any content; m <= asked.
            asked: n, draws asked for; those that were not finished count as invalid.

        Returns:
            Shares, from 0 to 1:

            - `strict`: of n, architectures as they stand, nothing repaired (`space.strict`).
            - `valid`: of n, architectures once the space has pruned them (`space.valid`; in NAS-Bench-101 the
              benchmark's own `is_valid`).
            - `unique`, `unique_keys`: distinct ids, distinct strings, of the valid draws.
            - `unique_written`: distinct decoded rows of the valid draws, as D-VAE and SVGe count: two ways to
              write an architecture are two.
            - `novel`: ids not trained on, of the distinct valid ids.
            - `novel_keys`: strings not trained on, of the distinct valid strings, as DiffusionNAG counts.
            - `novel_repeats`: draws whose decoded row was not trained on, of the valid draws, repeats
              counted, as D-VAE and SVGe count.
            - `valid_unique`, `valid_unique_keys`: distinct valid ids, strings, of n.
            - `coverage`, `coverage_keys`: of all ids, strings of the space.
            - `operations_distance`: total variation between draws and space of how often an operation occurs,
              mean over operations; `edges_distance`: the same of the number of edges.
        """
        good = self.space.valid(rows)
        written = rows[good]
        normal = self.space.normalise(written)
        ids = set(self.space.ids(normal))
        keys = _as_bytes(normal)
        raw = _as_bytes(written)
        count, distinct = len(written), len(set(keys))
        found: Figures = {
            "strict": float(self.space.strict(rows).sum()) / asked,
            "valid": count / asked,
            "unique": _share(len(ids), count),
            "unique_keys": _share(distinct, count),
            "unique_written": _share(len(set(raw)), count),
            "novel": None,
            "novel_keys": None,
            "novel_repeats": None,
            "valid_unique": len(ids) / asked,
            "valid_unique_keys": distinct / asked,
            "coverage": _share(len(ids), len(self.sizes)),
            "coverage_keys": _share(distinct, int(self.sizes.sum())),
        }
        if self.trained_ids is not None:
            found["novel"] = _share(len(ids - self.trained_ids), len(ids))
            found["novel_keys"] = _share(len(set(keys) - self.trained_keys), distinct)
            found["novel_repeats"] = _share(sum(row not in self.trained_keys for row in raw), count)
        return found | self._distances(normal)

    def ceilings(self, draws: int) -> Figures:
        """What n uniform, independent draws of the space score on average, under the names of `figures`.

        For the two distances that is the least, not the most. Computed exactly where the space has a list,
        else from one such sample. There is none for `unique_written`, which depends on how architectures are
        written, nor for coverage without a list.
        """
        found: Figures = {"strict": 1.0, "valid": 1.0}
        found["operations_distance"] = float(
            np.mean([ceilings.sampling_distance(shares, draws) for shares in self.operations])
        )
        found["edges_distance"] = ceilings.sampling_distance(self.edges, draws)
        if not self.classes:
            rng = np.random.default_rng([_CEILING, 0])  # no stream that anything was trained on
            sample = self.figures(self.space.sample(draws, rng), draws)
            return found | {name: sample[name] for name in _CHANCE if sample[name] is not None}
        keys = int(self.sizes.sum())
        by_key = ceilings.unique_share(np.ones(keys), draws)
        by_id = ceilings.unique_share(self.sizes, draws)
        found |= {"unique": by_id, "valid_unique": by_id, "unique_keys": by_key, "valid_unique_keys": by_key}
        found |= {"coverage": by_id * draws / len(self.sizes), "coverage_keys": by_key * draws / keys}
        if self.trained_ids is not None:
            trained = np.array([name in self.trained_ids for name in self.classes])
            found["novel"] = ceilings.novel_share(self.sizes, trained, draws)
            found["novel_keys"] = found["novel_repeats"] = 1 - len(self.trained_keys) / keys
        return found

    def _distances(self, rows: Choices) -> Figures:
        if not len(rows):
            return {"operations_distance": None, "edges_distance": None}
        operations, edges = _histograms(self.space, rows)
        apart = [_total_variation(*pair) for pair in zip(operations, self.operations, strict=True)]
        return {
            "operations_distance": float(np.mean(apart)),
            "edges_distance": _total_variation(edges, self.edges),
        }


def reference_for(
    space: SearchSpace, trained: Choices | None = None, *, sample: int = 100_000, seed: int = 0
) -> Reference:
    """What draws of a space are held against.

    Args:
        space: The space.
        trained: (n, D) normal rows that the generator was trained on, for novelty; None leaves novelty out.
        sample: Uniform draws that stand for the space where it has no list.
        seed: Of this sample.
    """
    classes: dict[str, int] = {}
    sizes = np.zeros(0, dtype=np.int64)
    if space.size is None:
        rows = space.sample(sample, np.random.default_rng(seed))
    else:
        rows = space.enumerate()
        sizes = np.bincount([classes.setdefault(name, len(classes)) for name in space.ids(rows)])
    operations, edges = _histograms(space, rows)
    return Reference(
        space=space,
        classes=classes,
        sizes=sizes,
        operations=operations,
        edges=edges,
        trained_ids=None if trained is None else frozenset(space.ids(trained)),
        trained_keys=frozenset() if trained is None else frozenset(_as_bytes(trained)),
    )


def measure(draw: Callable[[Request], Draw], codec: Codec, request: Request, reference: Reference) -> Figures:
    """Draw once, decode, and judge.

    Args:
        draw: The `draw` of a proposer.
        codec: Whose codes it writes.
        request: What to draw.
        reference: Of the codec's space.

    Returns:
        The figures, and `per_second`: finished sequences a second of the draw alone.
    """
    drawn = draw(request)
    found = reference.figures(codec.decode(drawn.codes), request.n)
    return found | {"per_second": len(drawn.codes) / drawn.seconds if drawn.seconds > 0 else None}


def _histograms(
    space: SearchSpace, rows: Choices, batch: int = 20_000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each operation occurs, (O, V + 1), and how many edges there are, (E + 1,), as shares.

    An edge counts where both its ends are there and pass something on: where operations sit on edges, those
    with a null operation are not counted.
    """
    nulls = [INPUT - 1, *(2 + space.operations.index(name) for name in space.null_operations)]
    operations: NDArray[np.float64] | None = None
    edges: NDArray[np.float64] | None = None
    for start in range(0, len(rows), batch):
        graphs = space.graphs(rows[start : start + batch])
        labels, nodes = graphs.labels, graphs.labels.shape[1]
        passing = ~np.isin(labels, nulls)  # (n, V)
        joined = graphs.adjacency & passing[:, :, None] & passing[:, None, :]
        counts = [(labels == OUTPUT + 1 + i).sum(axis=1) for i in range(len(space.labels))]
        part = np.array([np.bincount(count, minlength=nodes + 1) for count in counts], dtype=np.float64)
        lines = np.bincount(joined.sum(axis=(1, 2)), minlength=nodes * nodes).astype(np.float64)
        operations = part if operations is None else operations + part
        edges = lines if edges is None else edges + lines
    assert operations is not None and edges is not None, "no rows"
    return operations / len(rows), edges / len(rows)


def _total_variation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).sum()) / 2


def _as_bytes(rows: Choices) -> list[bytes]:
    """Each row as a hashable thing."""
    return [row.tobytes() for row in np.ascontiguousarray(rows, dtype=np.int8)]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
