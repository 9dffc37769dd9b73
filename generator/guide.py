"""Looking ahead while codes are written: how much of what a prefix can still become is wanted.

A model says how likely each next code is; a guide says which share of the completions is wanted after
each. The product of the two is the model's own law, given that the architecture is wanted (Bayes' rule, as in
FUDGE, Yang and Klein, NAACL 2021); for a model that draws every architecture equally often it is exact.
Wanted may be yes or no (a predicate), or a number between (how likely it is in the best tenth).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.proposers.base import Codes, Guide

FAINT = 1e-12
"""What is wanted less than this is not wanted: no draw would come there, and its share would vanish."""


class CodeTree:
    """The prefixes of many code sequences, numbered level by level; makes guides within milliseconds.

    Attributes:
        codebook_size: K.
        length: L.
    """

    def __init__(self, codes: Codes, codebook_size: int) -> None:
        """Number the prefixes.

        Args:
            codes: (N, L), the sequences of a whole space; one that stands there twice counts twice.
            codebook_size: K.
        """
        self.codebook_size, self.length = codebook_size, codes.shape[1]
        self._levels: list[
            tuple[NDArray[np.int64], NDArray[np.int64]]
        ] = []  # edges, and the edge of each row
        node = np.zeros(len(codes), dtype=np.int64)
        for position in range(self.length):
            edges, node = np.unique(node * codebook_size + codes[:, position], return_inverse=True)
            self._levels.append((edges, node))

    def guide(self, wanted: NDArray[np.bool_] | NDArray[np.floating[Any]]) -> TreeGuide:
        """The guide towards some of the sequences.

        Args:
            wanted: (N,) how much each sequence is wanted, 0 to 1.

        Raises:
            UserError: Numbers outside of 0 to 1, another number of them, or nothing is wanted.
        """
        weights = checked(wanted, len(self._levels[0][1]))
        edges: list[NDArray[np.int64]] = []
        shares: list[NDArray[np.float32]] = []
        kept = np.zeros(1, dtype=np.int64)  # number in the guide of each node before
        for every, node in self._levels:
            mass = np.bincount(node, weights, len(every))
            open_ = mass > 0
            parents, codes = np.divmod(every[open_], self.codebook_size)
            edges.append(kept[parents] * self.codebook_size + codes)
            share = mass[open_] / np.bincount(node, minlength=len(every))[open_]
            shares.append(np.log(share).astype(np.float32))
            kept = np.cumsum(open_) - 1
        return TreeGuide(self.codebook_size, edges, shares)

    def following(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """How likely each code follows each prefix of some of the sequences, among all that begin so.

        Args:
            rows: (b,) numbers of sequences.

        Returns:
            (b, L, K), each distribution adding up to 1.
        """
        found = np.zeros((len(rows), self.length, self.codebook_size), dtype=np.float32)
        before = np.zeros(len(rows), dtype=np.int64)  # node of each row's prefix
        for position, ((_, node), (begins, codes, chances)) in enumerate(
            zip(self._levels, self._chances, strict=True)
        ):
            first, count = begins[before], begins[before + 1] - begins[before]
            which = np.repeat(np.arange(len(rows)), count)
            edges = (
                np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
            )
            found[which, position, codes[edges]] = chances[edges]
            before = node[rows]
        return found

    @cached_property
    def _chances(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """For each level: where the edges of each node begin, and the code and the chance of each edge."""
        found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        for edges, node in self._levels:
            parents, codes = np.divmod(edges, self.codebook_size)
            mass = np.bincount(node, minlength=len(edges)).astype(np.float64)
            begins = np.searchsorted(parents, np.arange(parents[-1] + 2))
            share = mass / np.bincount(parents, mass)[parents]
            found.append((begins, codes, share.astype(np.float32)))
        return found


class TreeGuide:
    """The share of wanted completions of every prefix of a space that was listed (satisfies `Guide`).

    Level p holds the edges from prefixes of p codes to those of p + 1: sorted numbers `node * K + code`;
    the position of an edge is the number of the node that it leads to. Edges to nothing wanted are left out.
    """

    def __init__(
        self, codebook_size: int, edges: Sequence[NDArray[np.int64]], shares: Sequence[NDArray[np.float32]]
    ) -> None:
        """Take the edges of each level, and the logarithm of the share behind each of them."""
        self.codebook_size, self.length = codebook_size, len(edges)
        self._edges, self._shares = list(edges), list(shares)
        nodes = [1, *(len(level) for level in edges)]
        self._begins = [  # where the edges of each node begin, and end
            np.searchsorted(level, np.arange(n + 1) * codebook_size)
            for level, n in zip(edges, nodes, strict=False)
        ]

    def look(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See `Guide.look`."""
        nodes = self._walk(prefixes)
        level = prefixes.shape[1]
        begins = self._begins[level]
        first, count = begins[nodes], begins[nodes + 1] - begins[nodes]
        rows = np.repeat(np.arange(len(nodes)), count)
        edges = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        found = np.full((len(nodes), self.codebook_size), -np.inf, dtype=np.float32)
        found[rows, self._edges[level][edges] % self.codebook_size] = self._shares[level][edges]
        return found

    def weigh(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """See `Guide.weigh`."""
        nodes = self._walk(codes, strict=False)
        return np.where(nodes < 0, 0.0, np.exp(self._shares[-1].astype(np.float64))[nodes])

    def _walk(self, prefixes: NDArray[np.integer[Any]], strict: bool = True) -> NDArray[np.int64]:
        """The node of each prefix (n, p): (n,); -1 where nothing wanted begins so."""
        nodes = np.zeros(len(prefixes), dtype=np.int64)
        for level in range(prefixes.shape[1]):
            numbers = nodes * self.codebook_size + prefixes[:, level]
            at = np.searchsorted(self._edges[level], numbers).clip(max=len(self._edges[level]) - 1)
            nodes = np.where((nodes >= 0) & (self._edges[level][at] == numbers), at, -1)
        if strict and (nodes < 0).any():
            raise UserError("A prefix was asked for with which nothing wanted begins.")
        return nodes

    def positions(self) -> NDArray[np.bool_]:
        """See `Guide.positions`."""
        allowed = np.zeros((self.length, self.codebook_size), dtype=np.bool_)
        for position, level in enumerate(self._edges):
            allowed[position, level % self.codebook_size] = True
        return allowed

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Guide.arrays`."""
        found: dict[str, NDArray[Any]] = {"codebook_size": np.array(self.codebook_size)}
        for level, (edges, shares) in enumerate(zip(self._edges, self._shares, strict=True)):
            found |= {f"edges{level}": edges, f"shares{level}": shares}
        return found


def checked(wanted: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """How much each of so many sequences is wanted, as numbers: (rows,).

    Raises:
        UserError: Numbers outside of 0 to 1, another number of them, or nothing is wanted.
    """
    weights = np.asarray(wanted, dtype=np.float64)
    if weights.shape != (rows,):
        raise UserError(
            f"There are {rows} code sequences, but an array of shape {weights.shape} says what is wanted."
        )
    if not ((weights >= 0) & (weights <= 1)).all():
        raise UserError("How much an architecture is wanted is a number from 0 to 1.")
    weights = np.where(weights < FAINT, 0.0, weights)
    if not weights.any():
        raise UserError("No architecture is wanted: nothing can be drawn. Ask for less at once.")
    return weights


def from_arrays(arrays: dict[str, NDArray[Any]]) -> Guide:
    """Read what `Guide.arrays` gave.

    Raises:
        KeyError: A part is missing.
    """
    if "vectors" in arrays:
        from vitruvius.generator.guide_network import NetworkGuide  # needs torch

        return NetworkGuide(**arrays)
    levels = range((len(arrays) - 1) // 2)
    edges, shares = ([arrays[f"{name}{level}"] for level in levels] for name in ("edges", "shares"))
    return TreeGuide(int(arrays["codebook_size"]), edges, shares)
