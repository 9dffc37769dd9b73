"""Canonical forms of the small graphs that NAS-Bench-101 cells are.

A graph has seven places in topological order, the input first and the output last; places that are not
used have no edges. Its *mask* is one bit for each possible edge (u, v), u < v, row after row: 21 bits.
Renumbering the inner nodes gives other masks of the same graph; the smallest stands for all of them.
What that takes is worked out once for every mask that is a proper cell, so that canonicalising many
graphs is a look-up.
"""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

PLACES = 7
INNER = PLACES - 2
EDGES = tuple((u, v) for u in range(PLACES) for v in range(u + 1, PLACES))
"""Edge of each bit, the first counting most."""
MAX_EDGES = 9

Masks = NDArray[np.int32]
"""Graphs as 21-bit numbers: (n,)."""

_BITS = len(EDGES)
_LOW = 10  # the bits are looked up in two parts


def bit(u: int, v: int) -> int:
    """The mask of the edge from u to v alone."""
    return 1 << (_BITS - 1 - EDGES.index((u, v)))


def masks_of(edges: NDArray[np.integer] | NDArray[np.bool_]) -> Masks:
    """Edge columns (n, 21) of 0 and 1 as masks: (n,)."""
    return (edges.astype(np.int32) @ _WEIGHTS).astype(np.int32)


def edges_of(masks: Masks) -> NDArray[np.int8]:
    """Masks (n,) as edge columns: (n, 21)."""
    return ((masks[:, None] & _WEIGHTS) != 0).astype(np.int8)


class SmallDags:
    """Every proper cell graph without its labels: from 2 to 7 nodes, at most 9 edges, none of them dangling.

    Proper graphs keep their inner nodes in the first inner places.
    """

    @cached_property
    def masks(self) -> Masks:
        """All proper graphs, in every numbering that is topological, increasing: (m,)."""
        everything = np.arange(1 << _BITS, dtype=np.int32)
        edges = np.zeros(len(everything), dtype=np.int8)
        for place in range(_BITS):
            edges += (everything >> place & 1).astype(np.int8)
        few = everything[(edges > 0) & (edges <= MAX_EDGES)]
        entered = [np.ones(len(few), dtype=np.bool_)]
        entered += [(few & _into(node)) != 0 for node in range(1, PLACES)]
        left = [(few & _out_of(node)) != 0 for node in range(PLACES - 1)]
        good = entered[-1] & left[0]
        for node in range(1, PLACES - 1):
            good &= entered[node] == left[node]
            if node > 1:
                good &= entered[node - 1] | ~entered[node]  # used places come first
        return few[good]

    @cached_property
    def canonical(self) -> Masks:
        """The smallest mask of each of `masks` under renumbering: (m,)."""
        return self._renumberings[0]

    def find(self, masks: Masks) -> NDArray[np.int64]:
        """Positions of graphs in `masks`, -1 for what is no proper graph: (n,)."""
        return self._position[masks].astype(np.int64)

    def renumber(self, at: NDArray[np.int64], labels: NDArray[np.int8]) -> tuple[Masks, NDArray[np.int8]]:
        """The canonical forms of labelled graphs.

        Args:
            at: (n,) positions in `masks`.
            labels: (n, 5) label of each inner place, 0 for unused places, below 4.

        Returns:
            Canonical masks (n,), and the smallest labels (n, 5) among all ways to number them so.
        """
        canonical, starts, chosen = self._renumberings
        first, count = starts[at], starts[at + 1] - starts[at]
        best = np.full(len(at), np.iinfo(np.int32).max, dtype=np.int32)
        wide = labels.astype(np.int32)
        for k in range(int(count.max(initial=0))):
            rows = np.flatnonzero(count > k)
            order = _ORDERS[chosen[first[rows] + k]]  # (r, 5) which old node stands at each new place
            moved = np.take_along_axis(wide[rows], order, axis=1)
            best[rows] = np.minimum(best[rows], moved @ _LABEL_WEIGHTS)
        digits = (best[:, None] // _LABEL_WEIGHTS % 4).astype(np.int8)
        return canonical[at], digits

    @cached_property
    def _position(self) -> NDArray[np.int32]:
        position = np.full(1 << _BITS, -1, dtype=np.int32)
        position[self.masks] = np.arange(len(self.masks), dtype=np.int32)
        return position

    @cached_property
    def _renumberings(self) -> tuple[Masks, NDArray[np.int64], NDArray[np.int16]]:
        """Canonical masks, and which of the 120 orders lead to them, joined: (m,), (m + 1,), (r,).

        An order that moves an unused place is passed over: the others already lead to the same forms.
        """
        masks = self.masks
        used = sum((masks & _into(node) != 0).astype(np.int8) for node in range(1, PLACES - 1))
        best = masks.copy()
        results: list[Masks] = []
        for order in _ORDERS:
            moved = _permuted(masks, order)
            moves = np.flatnonzero(order != np.arange(INNER))
            moved[used <= moves.max(initial=-1)] = -1
            results.append(moved)
            np.minimum(best, moved, out=best, where=moved >= 0)
        rows = [np.flatnonzero(moved == best) for moved in results]
        which = np.concatenate([np.full(len(row), k, dtype=np.int16) for k, row in enumerate(rows)])
        owner = np.concatenate(rows)
        sorted_by_owner = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[sorted_by_owner], np.arange(len(masks) + 1))
        return best, starts, which[sorted_by_owner]


def _permuted(masks: Masks, order: NDArray[np.int64]) -> Masks:
    """Masks after old node `order[k] + 1` became node k + 1; -1 where an edge would point backwards."""
    place = np.arange(PLACES)
    place[order + 1] = np.arange(1, PLACES - 1)
    weight = np.zeros(_BITS, dtype=np.int32)  # new bit of each old bit, from the lowest
    backwards = 0
    for number, (u, v) in enumerate(EDGES):
        if place[u] < place[v]:
            weight[_BITS - 1 - number] = bit(int(place[u]), int(place[v]))
        else:
            backwards |= 1 << (_BITS - 1 - number)
    low = _sums(weight[:_LOW])[masks & ((1 << _LOW) - 1)]
    moved = low + _sums(weight[_LOW:])[masks >> _LOW]
    moved[(masks & backwards) != 0] = -1
    return moved


def _sums(weights: Masks) -> Masks:
    """For each subset of bits, the sum of their weights: (2 ** len(weights),)."""
    bits = np.arange(1 << len(weights))[:, None] >> np.arange(len(weights)) & 1
    return (bits @ weights).astype(np.int32)


def _into(node: int) -> int:
    """All edges that enter a node."""
    return sum(bit(u, node) for u in range(node))


def _out_of(node: int) -> int:
    """All edges that leave a node."""
    return sum(bit(node, v) for v in range(node + 1, PLACES))


_WEIGHTS = np.array([bit(u, v) for u, v in EDGES], dtype=np.int32)
_ORDERS = np.array(list(itertools.permutations(range(INNER))), dtype=np.int64)
_LABEL_WEIGHTS = 4 ** np.arange(INNER - 1, -1, -1, dtype=np.int32)
