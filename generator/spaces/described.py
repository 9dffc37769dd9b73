"""Spaces of one's own, described in a file instead of a class; what stands in it is told in `description`.

Key and identity are the same: no two ways to write an architecture are known to be equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, UserError, unknown_name
from vitruvius.generator.space import (
    INPUT,
    OUTPUT,
    Architecture,
    Choices,
    Decision,
    Graphs,
    SearchSpace,
    add_space,
)
from vitruvius.generator.spaces.description import Description, edges_of, read_description
from vitruvius.generator.spaces.reading import foreign, shortened

LISTED = 500_000
"""Spaces with more keys than these are sampled, not listed."""


class DescribedSpace(SearchSpace):
    """A space made from a description: layers in a chain, or operations on the edges of a cell."""

    def __init__(self, description: Description) -> None:
        """Set up; see `read_description` for what is refused."""
        self.given = description
        self.name, self.description = description.name, description.description
        both = {**description.decisions, **description.settings}
        self.decisions = tuple(Decision(name, choices) for name, choices in both.items())
        self.operations = tuple(dict.fromkeys(c for many in description.decisions.values() for c in many))
        self.settings = tuple(f"{name}={c}" for name, many in description.settings.items() for c in many)
        self.identity_operations = frozenset(description.identity)
        self.null_operations = frozenset(description.null)
        self.form, self.described = description.form, description.to_json()
        self.size = self.count if self.count <= LISTED else None

    def learn(self, other: DescribedSpace) -> None:
        """Take over wording and tasks of another description of the same space; no task is forgotten."""
        self.description = other.description
        self.given = replace(other.given, tasks={**self.given.tasks, **other.given.tasks})
        self.described = self.given.to_json()

    @property
    def count(self) -> int:
        """Number of keys: every combination of choices is one."""
        return math.prod(len(decision.choices) for decision in self.decisions)

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Every combination of choices is an architecture: all true, (n,)."""
        return np.ones(len(choices), dtype=np.bool_)

    def normalise(self, choices: Choices) -> Choices:
        """The rows as they are."""
        return choices

    def numbers(self, choices: Choices) -> NDArray[np.int64]:
        """One integer for each row, distinct for distinct rows: (n,).

        Above 2^63 keys they are hashes, of which two are equal once in some 10^18 pairs.
        """
        if self.count < 2**63:
            return super().numbers(choices)
        with np.errstate(over="ignore"):
            mixed = self._drawn[np.arange(choices.shape[1]), choices].sum(axis=1, dtype=np.uint64)
        return (mixed >> np.uint64(1)).astype(np.int64)

    @cached_property
    def _drawn(self) -> NDArray[np.uint64]:
        """A random number for each choice of each decision (Zobrist, 1970): (D, most choices)."""
        shape = (len(self.decisions), int(self.cardinalities.max()))
        return np.random.default_rng(0).integers(0, 2**64, size=shape, dtype=np.uint64)

    def ids(self, choices: Choices) -> list[str]:
        """The keys."""
        return self.keys(choices)

    def keys(self, choices: Choices) -> list[str]:
        """The keys of the rows."""
        names = [np.array(decision.choices, dtype=object) for decision in self.decisions]
        columns = [of[choices[:, place]].tolist() for place, of in enumerate(names)]
        return [",".join(words) for words in zip(*columns, strict=True)]

    def graphs(self, choices: Choices) -> Graphs:
        """Labelled DAGs of D + 2 nodes: input, one for each decision, output; all have one adjacency."""
        n, nodes = len(choices), len(self.decisions) + 2
        labels = np.empty((n, nodes), dtype=np.int8)
        labels[:, 0], labels[:, -1] = INPUT, OUTPUT
        for column, codes in enumerate(self._labels):
            labels[:, column + 1] = codes[choices[:, column]]
        return Graphs(labels, np.broadcast_to(self._adjacency, (n, nodes, nodes)))

    @cached_property
    def _labels(self) -> list[NDArray[np.int8]]:
        """For each decision the node label of each of its choices."""
        places = {name: 2 + place for place, name in enumerate(self.labels)}
        layers = len(self.given.decisions)
        return [
            np.array(
                [places[c if column < layers else f"{decision.name}={c}"] for c in decision.choices], np.int8
            )
            for column, decision in enumerate(self.decisions)
        ]

    @cached_property
    def _edges(self) -> list[tuple[int, int]]:
        """Source and target of each operation; those of a chain lie one after the other."""
        return edges_of(list(self.given.decisions)) or [(i, i + 1) for i in range(len(self.given.decisions))]

    @cached_property
    def _adjacency(self) -> NDArray[np.bool_]:
        last = max(target for _, target in self._edges)
        adjacency = np.zeros((len(self.decisions) + 2,) * 2, dtype=np.bool_)
        for u, (source, target) in enumerate(self._edges, start=1):
            adjacency[0, u], adjacency[u, -1] = source == 0, target == last
            for v, (begin, _) in enumerate(self._edges, start=1):
                adjacency[u, v] = target == begin
        return adjacency

    def format(self, choices: Sequence[int]) -> str:
        """The choices with commas between them, in the order of the decisions."""
        return ",".join(decision.choices[i] for decision, i in zip(self.decisions, choices, strict=True))

    def read(self, text: str) -> Sequence[int]:
        """The choices that the text names, D integers.

        Raises:
            InvalidArchitectureError: Too few or too many, or what a decision does not have.
        """
        words = [word.strip() for word in text.split(",")]
        if len(words) != len(self.decisions):
            raise foreign(self, text, f"{','.join(decision.choices[0] for decision in self.decisions)!r}")
        for decision, word in zip(self.decisions, words, strict=True):
            if word not in decision.choices:
                wrong = unknown_name(f"choice of {decision.name}", word, decision.choices)
                raise InvalidArchitectureError(f"In {shortened(text)!r}: {wrong}")
        return [decision.choices.index(w) for decision, w in zip(self.decisions, words, strict=True)]

    def texts_of(self, name: str, values: Sequence[str] | Sequence[float]) -> list[str]:
        """The choices that these texts or numbers of a decision are: 4.0 is 4; what is none stays."""
        choices = self.decisions[self.decision(name)].choices
        known = {np.float32(choice): choice for choice in choices if _is_number(choice)}
        texts = {value: str(value).strip() for value in dict.fromkeys(values)}
        told = {
            value: known.get(np.float32(text), text) if text not in choices and _is_number(text) else text
            for value, text in texts.items()
        }
        return [told[value] for value in values]

    def draw(self, architecture: Architecture) -> str:
        """One line for each decision; on a cell each edge with its ends."""
        named = architecture.named()
        cell = edges_of(list(self.given.decisions)) is not None
        last = str(max(target for _, target in self._edges))
        ends = {"0": "input", last: "output"}
        lines: list[str] = [] if cell else ["input"]
        width = max(len(name) for name in named)
        for name, choice in named.items():
            if cell and name in self.given.decisions:
                source, target = name.split("->")
                lines.append(f"{ends.get(source, source):>6} --{choice}--> {ends.get(target, target)}")
            elif name in self.given.decisions:
                lines.append(f"  {name:<{width}}  {choice}")
        lines += [] if cell else ["output"]
        return "\n".join(lines + [f"{name} = {named[name]}" for name in self.given.settings])

    def enumerate(self) -> Choices:
        """All keys once, the last decision changing fastest: (size, D).

        Raises:
            UserError: There are too many.
        """
        if self.size is None:
            raise UserError(
                f"The space {self.name!r} has {self.count:.3g} keys, too many to list (at most "
                f"{LISTED:,}): sample it instead."
            )
        return self._everything

    @cached_property
    def _everything(self) -> Choices:
        rows = (np.arange(self.count)[:, None] // self.radices % self.cardinalities).astype(np.int8)
        rows.setflags(write=False)
        return rows

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        """Draw n keys uniformly and independently: (n, D)."""
        return rng.integers(self.cardinalities, size=(n, len(self.decisions))).astype(np.int8)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle as the description: another process need not know the space."""
        return space_from_json, (self.given.to_json(),)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def space_from_json(text: str) -> SearchSpace:
    """The space that a description in JSON makes; known by its name from then on.

    Raises:
        UserError: Another space is known by this name.
    """
    return _add(DescribedSpace(Description.from_json(text)))


def read_space(path: str | Path) -> SearchSpace:
    """The space that a file describes; known by its name from then on.

    Raises:
        UserError: No such file, it describes no space, or another space is known by its name.
    """
    return _add(DescribedSpace(read_description(Path(path).expanduser())))


def _add(space: DescribedSpace) -> SearchSpace:
    known = add_space(space)
    if isinstance(known, DescribedSpace) and known is not space:
        known.learn(space)
    return known
