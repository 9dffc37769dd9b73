"""Search spaces: named decisions with named choices, identity, and the graph of an architecture.

Arrays of architectures are `(n, D)` arrays of choice indices, one column for each decision: every
room that works on many architectures at once (predicates, VQ-VAE, surrogate) takes these. One
architecture is an `Architecture`: the same row as an immutable tuple, with its names.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError, UnknownNameError, UserError, unknown_name

Choices = NDArray[np.int8]
"""Architectures as rows of choice indices: (n, D)."""

DESCRIBED = ".toml"
"""How the name of a file ends that describes a space of one's own."""

INPUT, OUTPUT, ABSENT = 0, 1, -1
"""Node labels that every space shares: the cell's input, its output, and a node that is not there."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a space: a name and the choices it allows, in the order of their indices."""

    name: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graphs:
    """Labelled DAGs of n architectures, all with V nodes in topological order.

    Attributes:
        labels: (n, V) node labels: `INPUT`, `OUTPUT`, `ABSENT`, or 2 + index into `space.operations`.
        adjacency: (n, V, V) bool, `[i, u, v]` is true where node u feeds node v; upper triangular.
    """

    labels: NDArray[np.int8]
    adjacency: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """An immutable tuple of choices in a space.

    `key` names the exact choices: table rows, params, FLOPs and latency belong to it. `id` is
    canonical: isomorphic architectures share it; novelty, duplicates and repeats go by `id`.
    """

    space: SearchSpace
    choices: tuple[int, ...]

    @property
    def key(self) -> str:
        """The space's official text of exactly these choices."""
        return self.space.format(self.choices)

    @property
    def id(self) -> str:
        """The canonical identity; equal for isomorphic architectures."""
        return self.space.ids(self.row)[0]

    @property
    def row(self) -> Choices:
        """The choices as a (1, D) array."""
        return np.array([self.choices], dtype=np.int8)

    def named(self) -> dict[str, str]:
        """The choices by name: decision -> choice."""
        pairs = zip(self.space.decisions, self.choices, strict=True)
        return {decision.name: decision.choices[index] for decision, index in pairs}

    def __eq__(self, other: object) -> bool:
        """Two architectures are equal when space and exact choices are."""
        if not isinstance(other, Architecture):
            return NotImplemented
        return (self.space.name, self.choices) == (other.space.name, other.choices)

    def __hash__(self) -> int:
        """Agrees with equality."""
        return hash((self.space.name, self.choices))

    def __str__(self) -> str:
        """The key."""
        return self.key

    def __repr__(self) -> str:
        """Space and key."""
        return f"Architecture({self.space.name}, {self.key!r})"


class SearchSpace(ABC):
    """A search space: decisions, validity, identity, graph, text, and sampling.

    A subclass sets the class attributes and the abstract methods; all of them work on whole
    arrays. Rows that leave a space's methods are always *normal*: `normalise` has been applied,
    so that equal keys are equal rows.
    """

    name: str
    description: str
    decisions: tuple[Decision, ...]
    operations: tuple[str, ...]
    """Names of operations, shared between spaces where they mean the same (`conv3x3`, `skip`)."""
    null_operations: frozenset[str] = frozenset()
    """Operations that pass nothing on: no path leads through them."""
    identity_operations: frozenset[str] = frozenset()
    """Operations that pass their input unchanged: they add nothing to the depth."""
    aliases: Mapping[str, str] = {}
    """Other names of operations (official names of the benchmark) -> our name."""
    size: int | None
    """Number of distinct keys, None where the space cannot be enumerated."""
    code_nodes: tuple[int, ...] | None = None
    """Nodes of `graphs` that get a code; None: all but the first and the last."""
    form: str | None = None
    """What makes the architectures of a described space; None for a class, which its name tells."""
    described: str | None = None
    """The whole description, from which `spaces.described.space_from_json` makes the space."""
    settings: tuple[str, ...] = ()
    """Labels of nodes that hold a setting, such as a width: joined to nothing, and no operation."""

    # ---- what a space must say -------------------------------------------------------------

    @abstractmethod
    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """Which of the rows (n, D), each index already in range, are architectures: (n,)."""

    @abstractmethod
    def normalise(self, choices: Choices) -> Choices:
        """The row that stands for each legal row's key (n, D); a space without twins returns it as is."""

    @abstractmethod
    def ids(self, choices: Choices) -> list[str]:
        """The canonical identity of each legal row."""

    @abstractmethod
    def graphs(self, choices: Choices) -> Graphs:
        """The labelled DAGs of the rows; operations that sit on edges become nodes."""

    @abstractmethod
    def format(self, choices: Sequence[int]) -> str:
        """The official text of one row: its key."""

    @abstractmethod
    def read(self, text: str) -> Sequence[int]:
        """The choices that the official text names, D integers; `parse` checks and normalises them.

        Raises:
            InvalidArchitectureError: The text has another form, or names what the space does not have.
        """

    @abstractmethod
    def draw(self, architecture: Architecture) -> str:
        """A drawing of the architecture as a few lines of text."""

    @abstractmethod
    def enumerate(self) -> Choices:
        """All keys once, (size, D), in a fixed order; do not write into the result.

        Raises:
            UserError: The space cannot be enumerated.
        """

    def keys(self, choices: Choices) -> list[str]:
        """The keys of normal rows; a large space may have a faster way than one by one."""
        return [self.format(row) for row in choices.tolist()]

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        """Draw n keys uniformly and independently: (n, D)."""
        everything = self.enumerate()
        return everything[rng.integers(len(everything), size=n)]

    # ---- what follows from it --------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all node labels from 2 on: operations, then settings."""
        return (*self.operations, *self.settings)

    @property
    def count(self) -> int | None:
        """Number of distinct keys where it is known; a space may know it and be too large to enumerate."""
        return self.size

    @cached_property
    def cardinalities(self) -> NDArray[np.int64]:
        """Number of choices of each decision: (D,)."""
        return np.array([len(decision.choices) for decision in self.decisions])

    @cached_property
    def radices(self) -> NDArray[np.int64]:
        """Weights (D,) that turn a row into one integer, the last decision counting fastest."""
        return np.append(np.cumprod(self.cardinalities[:0:-1])[::-1], 1)

    def numbers(self, choices: Choices) -> NDArray[np.int64]:
        """One integer for each row, distinct for distinct rows: (n,)."""
        return choices.astype(np.int64) @ self.radices

    def classes(self, choices: Choices) -> NDArray[np.int64]:
        """A number for each legal row's id, counted from 0 in the order of first appearance: (n,)."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(text, len(first)) for text in self.ids(choices)], dtype=np.int64)

    def in_range(self, choices: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which rows have every index within its decision's choices: (n,)."""
        return np.all((choices >= 0) & (choices < self.cardinalities), axis=1)

    def valid(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows, of any content, are architectures: (n,)."""
        good = self.in_range(choices)
        good[good] = self.legal(choices[good])
        return good

    def strict(self, choices: Choices) -> NDArray[np.bool_]:
        """Which rows, of any content, are architectures as they stand, with nothing to repair: (n,).

        Differs from `valid` where a space prunes what is superfluous, as NAS-Bench-101 does.
        """
        return self.valid(choices)

    def architecture(self, choices: Sequence[int] | Mapping[str, Any]) -> Architecture:
        """The architecture with these choices: their indices, or decision -> choice as `named` gives them.

        Raises:
            InvalidArchitectureError: Wrong length, index out of range, wrong or missing names, or not legal.
        """
        if isinstance(choices, Mapping):
            reading: Any = importlib.import_module("vitruvius.generator.spaces.reading")
            choices = cast(Sequence[int], reading.choices_named(self, choices))
        if len(choices) != len(self.decisions):
            raise InvalidArchitectureError(
                f"{self.name} has {len(self.decisions)} decisions, but {len(choices)} choices were given."
            )
        row = np.array([choices], dtype=np.int64)
        if not self.in_range(row).all():
            raise InvalidArchitectureError(
                f"{list(choices)} is outside {self.name}: choices go from 0 to one less than "
                f"{self.cardinalities.tolist()}."
            )
        rows = row.astype(np.int8)
        if not self.legal(rows).all():
            raise InvalidArchitectureError(f"{list(choices)} is not a valid architecture of {self.name}.")
        return self.architectures(self.normalise(rows))[0]

    def architectures(self, choices: Choices) -> list[Architecture]:
        """Rows, legal and normal, as architectures."""
        return [Architecture(self, tuple(row)) for row in choices.tolist()]

    def rows(self, architectures: Iterable[Architecture]) -> Choices:
        """Architectures as rows: (n, D)."""
        rows = [architecture.choices for architecture in architectures]
        return np.array(rows, dtype=np.int8).reshape(-1, len(self.decisions))

    def parse(self, text: str) -> Architecture:
        """Read the official text.

        Raises:
            InvalidArchitectureError: The text is no architecture of this space.
        """
        return self.architecture(self.read(text))

    def parse_many(self, texts: Sequence[str]) -> Choices:
        """Read many official texts at once: (n, D).

        Raises:
            InvalidArchitectureError: As `parse` for the first text that is none, and which one that is.
        """
        named = np.empty((len(texts), len(self.decisions)), dtype=np.int64)
        place = 0
        try:
            for place, text in enumerate(texts):
                named[place] = self.read(text)
            rows, good = named.astype(np.int8), self.in_range(named)
            good[good] = self.legal(rows[good])
            if not good.all():
                place = int(good.argmin())
                self.architecture(named[place].tolist())  # says what is wrong with it
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"Text {place + 1} of {len(texts)}: {error}") from error
        return self.normalise(rows)

    def neighbours(self, choices: Choices) -> Choices:
        """All distinct architectures one decision away from a single row (1, D): (m, D)."""
        found: list[Choices] = []
        for column, cardinality in enumerate(self.cardinalities):
            changed = np.repeat(choices, cardinality, axis=0)
            changed[:, column] = np.arange(cardinality)
            found.append(changed)
        rows = np.concatenate(found)
        rows = self.normalise(rows[self.legal(rows)])
        rows = rows[self.numbers(rows) != self.numbers(choices)]
        _, first = np.unique(self.numbers(rows), return_index=True)
        return rows[np.sort(first)]

    def decision(self, name: str) -> int:
        """The column of the decision with this name.

        Raises:
            UnknownNameError: The space has no such decision.
        """
        names = [decision.name for decision in self.decisions]
        if name not in names:
            raise unknown_name(f"decision of {self.name}", name, names)
        return names.index(name)

    def operation(self, name: str) -> str:
        """Our name of an operation given by its name or an alias.

        Raises:
            UnknownNameError: The space has no such operation.
        """
        known = self.aliases.get(name, name)
        if known not in self.operations:
            raise unknown_name(f"operation of {self.name}", name, [*self.operations, *self.aliases])
        return known

    def __repr__(self) -> str:
        """The name."""
        return f"SearchSpace({self.name})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle by name: spaces are shared, not copied."""
        return get_space, (self.name,)


_Space = TypeVar("_Space", bound=SearchSpace)
_SPACES: dict[str, type[SearchSpace]] = {}
_BUILT: dict[str, SearchSpace] = {}


def register_space(cls: type[_Space]) -> type[_Space]:
    """Class decorator: make a space known by its name."""
    if cls.name in _SPACES and _SPACES[cls.name] is not cls:
        raise UserError(f"A space named {cls.name!r} exists already: choose another name.")
    _SPACES[cls.name] = cls
    return cls


def space_names() -> list[str]:
    """Names of all known spaces, sorted."""
    importlib.import_module("vitruvius.generator.spaces")  # registers those that we bring
    return sorted({*_SPACES, *_BUILT})


def get_space(name: str | SearchSpace) -> SearchSpace:
    """The space with this name, or the one that a file describes; always the same object.

    Args:
        name: Its name, or the path of a description that ends in .toml, see `spaces.described`.

    Raises:
        UnknownNameError: No such space; the message lists those that are known.
        UserError: A file that describes no space, or another one than is known by this name.
    """
    if isinstance(name, SearchSpace):
        return name
    if name.endswith(DESCRIBED):
        described: Any = importlib.import_module("vitruvius.generator.spaces.described")
        return described.read_space(name)
    if name not in space_names():
        unknown = unknown_name("space", name, space_names())
        raise UnknownNameError(f"{unknown} One of your own is named by its file, for example mine.toml.")
    if name not in _BUILT:
        space = _SPACES[name]()
        if (most := int(space.cardinalities.max())) > 127:  # indices are 8 bits wide
            raise UserError(f"A decision of {name} has {most} choices, and at most 127 can be told apart.")
        _BUILT[name] = space
    return _BUILT[name]


def add_space(space: SearchSpace) -> SearchSpace:
    """Make a space known by its name; the one that is known already where both are equal.

    Raises:
        UserError: Another one is known by this name.
    """
    known = get_space(space.name) if space.name in space_names() else space
    if known.form is None or known.form != space.form:
        raise UserError(
            f"A space named {space.name!r} is known already, and is another one: give yours another name, or "
            "leave its description as it was when the name was first used."
        )
    return _BUILT.setdefault(space.name, known)


__all__ = [
    "ABSENT", "DESCRIBED", "INPUT", "OUTPUT", "Architecture", "Choices", "Decision", "Graphs", "SearchSpace",
    "add_space", "get_space", "register_space", "space_names",
]  # fmt: skip
