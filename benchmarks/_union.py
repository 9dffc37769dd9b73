"""Several spaces as one: their disjoint union, so that one codebook and one language model can serve all.

The first decision says which space an architecture belongs to; the decisions of all spaces follow, those of
other spaces staying at their first choice. Graphs are put into one frame: input first, output last, inner
nodes in order, and operations have one label wherever they have one name. An extra node in front, joined to
nothing, has the name of the space for its label, since some graphs belong to several spaces; its code is what
a language model writes first. The output gets a code too, since in NAS-Bench-101 it is chosen what feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError
from vitruvius.generator.space import (
    ABSENT,
    INPUT,
    OUTPUT,
    Architecture,
    Choices,
    Decision,
    Graphs,
    SearchSpace,
    get_space,
)


class UnionSpace(SearchSpace):
    """The union of spaces, each as likely as the others when sampled."""

    def __init__(self, names: Sequence[str]) -> None:
        self.members = [get_space(name) for name in names]
        self.name = "+".join(names)
        self.description = f"one of {len(names)} spaces"
        inner = [Decision(f"{s.name} {d.name}", d.choices) for s in self.members for d in s.decisions]
        self.decisions = (Decision("space", tuple(names)), *inner)
        shared = dict.fromkeys(name for s in self.members for name in s.operations)
        self.operations = (*names, *shared)
        self.size = None
        nodes = [s.graphs(s.sample(1, np.random.default_rng(0))).labels.shape[1] for s in self.members]
        self.frame = max(nodes) + 1
        self.code_nodes = tuple(range(1, self.frame))
        ends = 1 + np.cumsum([len(s.decisions) for s in self.members])
        self._columns = [
            slice(end - len(s.decisions), end) for s, end in zip(self.members, ends, strict=True)
        ]

    def lift(self, member: int, rows: Choices) -> Choices:
        """Rows of a member as rows of the union: (n, D)."""
        lifted = np.zeros((len(rows), len(self.decisions)), dtype=np.int8)
        lifted[:, 0], lifted[:, self._columns[member]] = member, rows
        return lifted

    def lower(self, member: int, rows: Choices) -> Choices:
        """Rows of the union as rows of one member: (n, D of the member)."""
        return rows[:, self._columns[member]]

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        good = np.zeros(len(choices), dtype=np.bool_)
        for member, here in self._each(choices):
            good[here] = self.members[member].legal(self.lower(member, choices[here]))
        return good

    def strict(self, choices: Choices) -> NDArray[np.bool_]:
        good = self.in_range(choices)
        for member, here in self._each(choices):
            good[here] &= self.members[member].strict(self.lower(member, choices[here]))
        return good

    def normalise(self, choices: Choices) -> Choices:
        normal = np.zeros_like(choices)
        for member, here in self._each(choices):
            rows = self.members[member].normalise(self.lower(member, choices[here]))
            normal[here] = self.lift(member, rows)
        return normal

    def ids(self, choices: Choices) -> list[str]:
        found = np.empty(len(choices), dtype=object)
        for member, here in self._each(choices):
            space = self.members[member]
            found[here] = [f"{space.name}/{name}" for name in space.ids(self.lower(member, choices[here]))]
        return found.tolist()

    def graphs(self, choices: Choices) -> Graphs:
        labels = np.full((len(choices), self.frame), ABSENT, dtype=np.int8)
        adjacency = np.zeros((len(choices), self.frame, self.frame), dtype=np.bool_)
        labels[:, 0], labels[:, 1], labels[:, -1] = INPUT, choices[:, 0] + 2, OUTPUT
        for member, here in self._each(choices):
            space = self.members[member]
            graphs = space.graphs(self.lower(member, choices[here]))
            count = graphs.labels.shape[1]
            table = np.array([*(2 + self.operations.index(name) for name in space.operations), ABSENT])
            inner = graphs.labels[:, 1:-1]
            labels[np.ix_(here, np.arange(2, count))] = table[np.where(inner == ABSENT, -1, inner - 2)]
            place = np.array([0, *range(2, count), self.frame - 1])
            adjacency[np.ix_(here, place, place)] = graphs.adjacency
        return Graphs(labels, adjacency)

    def format(self, choices: Sequence[int]) -> str:
        member = int(choices[0])
        return f"{self.members[member].name}/{self.members[member].format(choices[self._columns[member]])}"

    def read(self, text: str) -> Sequence[int]:
        name, _, rest = text.partition("/")
        member = [space.name for space in self.members].index(name)
        return self.lift(member, self.members[member].parse(rest).row)[0].tolist()

    def draw(self, architecture: Architecture) -> str:
        member = architecture.choices[0]
        inner = self.members[member].architecture(self.lower(member, architecture.row)[0].tolist())
        return self.members[member].draw(inner)

    def enumerate(self) -> Choices:
        raise UserError(f"{self.name} is sampled, not listed.")

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        which = rng.integers(len(self.members), size=n)
        rows = np.zeros((n, len(self.decisions)), dtype=np.int8)
        for member, space in enumerate(self.members):
            here = np.flatnonzero(which == member)
            rows[here] = self.lift(member, space.sample(len(here), rng))
        return rows

    def _each(self, choices: Choices) -> list[tuple[int, NDArray[np.intp]]]:
        """Members that occur, with the numbers of their rows."""
        return [
            (m, here) for m in range(len(self.members)) if len(here := np.flatnonzero(choices[:, 0] == m))
        ]
