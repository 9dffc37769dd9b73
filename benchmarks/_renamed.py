"""A space in disguise: does a search know more about operations and positions than it measured?

Operations become `op_a`, `op_b`, ..., decisions lose their names and their order, choices theirs, the nodes
of the graph are numbered in another topological order, and no operation is marked as passing nothing on or
as passing its input unchanged. What is measured stays the same: row i of the disguise is row i of the space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import InvalidArchitectureError
from vitruvius.generator.evaluation.task import Bench, Evaluator, Measurement, Task
from vitruvius.generator.space import (
    INPUT,
    OUTPUT,
    Architecture,
    Choices,
    Decision,
    Graphs,
    SearchSpace,
    get_space,
    register_space,
    space_names,
)


class RenamedSpace(SearchSpace):
    """Another space under other names; `disguise` makes subclasses that are bound to one."""

    base: SearchSpace
    disguise_seed: int

    def __init__(self) -> None:
        """Shuffle operations, decisions and choices."""
        rng = np.random.default_rng([self.disguise_seed, 7])
        base = self.base
        self.size = base.size
        self.description = "a space whose operations and decisions carry no meaning in their names"
        self.operations = tuple(f"op_{chr(ord('a') + i)}" for i in range(len(base.operations)))
        self._operations = rng.permutation(len(base.operations))  # base index -> ours
        self._order = rng.permutation(len(base.decisions))  # our column -> base column
        self._choices = [rng.permutation(len(base.decisions[column].choices)) for column in self._order]
        self.decisions = tuple(self._decision(number) for number in range(len(base.decisions)))
        self._priority = rng.permutation(64).astype(np.float64)

    def _decision(self, number: int) -> Decision:
        """Our decision of this number: operations keep their new names, other choices get letters."""
        known = {name: self.operations[self._operations[i]] for i, name in enumerate(self.base.operations)}
        theirs = self.base.decisions[self._order[number]].choices
        names = [""] * len(theirs)
        for index, name in enumerate(theirs):
            ours = int(self._choices[number][index])
            names[ours] = known.get(name, f"choice_{chr(ord('a') + ours)}")
        return Decision(f"decision_{chr(ord('a') + number)}", tuple(names))

    # ---- there and back --------------------------------------------------------------------

    def uncover(self, choices: Choices) -> Choices:
        """Our rows as rows of the base: (n, D)."""
        rows = np.empty_like(choices)
        for number, column in enumerate(self._order):
            rows[:, column] = np.argsort(self._choices[number])[choices[:, number]]
        return rows

    def cover(self, choices: Choices) -> Choices:
        """Rows of the base as ours: (n, D)."""
        rows = np.empty_like(choices)
        for number, column in enumerate(self._order):
            rows[:, number] = self._choices[number][choices[:, column]]
        return rows

    def uncovered(self, architecture: Architecture) -> Architecture:
        """The base's architecture behind one of ours."""
        return self.base.architectures(self.uncover(architecture.row))[0]

    def covered(self, architecture: Architecture) -> Architecture:
        """Our name for an architecture of the base."""
        return self.architectures(self.cover(architecture.row))[0]

    # ---- the space -------------------------------------------------------------------------

    def legal(self, choices: Choices) -> NDArray[np.bool_]:
        """As the base says."""
        return self.base.legal(self.uncover(choices))

    def normalise(self, choices: Choices) -> Choices:
        """As the base does."""
        return self.cover(self.base.normalise(self.uncover(choices)))

    def ids(self, choices: Choices) -> list[str]:
        """Hashes of the base's identities."""
        identities = self.base.ids(self.uncover(choices))
        return [hashlib.sha256(identity.encode()).hexdigest()[:12] for identity in identities]

    def graphs(self, choices: Choices) -> Graphs:
        """The base's graphs with other labels, in another topological order."""
        graphs = self.base.graphs(self.uncover(choices))
        labels = graphs.labels.copy()
        inner = labels > OUTPUT
        labels[inner] = self._operations[labels[inner] - 2] + 2
        order = self._topological(graphs)
        rows = np.arange(len(labels))[:, None]
        adjacency = graphs.adjacency[rows[:, :, None], order[:, :, None], order[:, None, :]]
        return Graphs(labels[rows, order], adjacency)

    def _topological(self, graphs: Graphs) -> NDArray[np.intp]:
        """Our place -> node of the base: of the nodes whose inputs are placed, the first by priority."""
        n, nodes = graphs.labels.shape
        waiting = graphs.adjacency.sum(axis=1).astype(np.float64)
        priority = np.repeat(self._priority[None, :nodes], n, axis=0)
        priority[graphs.labels == INPUT], priority[graphs.labels == OUTPUT] = -1.0, 1e3
        placed = np.zeros((n, nodes), dtype=np.bool_)
        order = np.empty((n, nodes), dtype=np.intp)
        for place in range(nodes):
            node = np.where(placed | (waiting > 0), np.inf, priority).argmin(axis=1)
            order[:, place] = node
            placed[np.arange(n), node] = True
            waiting -= graphs.adjacency[np.arange(n), node]
        return order

    def format(self, choices: Sequence[int]) -> str:
        """Names of the choices, in the order of our decisions."""
        pairs = zip(self.decisions, choices, strict=True)
        return " ".join(decision.choices[choice] for decision, choice in pairs)

    def read(self, text: str) -> list[int]:
        """Read names of choices.

        Raises:
            InvalidArchitectureError: Another number of names, or one that its decision does not have.
        """
        words = text.split()
        if len(words) != len(self.decisions) or any(
            word not in d.choices for d, word in zip(self.decisions, words, strict=True)
        ):
            raise InvalidArchitectureError(f"{text!r} is no architecture of {self.name}.")
        return [d.choices.index(word) for d, word in zip(self.decisions, words, strict=True)]

    def draw(self, architecture: Architecture) -> str:
        """The key."""
        return architecture.key

    def enumerate(self) -> Choices:
        """All keys, in the base's order."""
        return self._everything

    @cached_property
    def _everything(self) -> Choices:
        rows = self.cover(self.base.enumerate())
        rows.setflags(write=False)
        return rows

    def sample(self, n: int, rng: np.random.Generator) -> Choices:
        """The same draws as the base's."""
        return self.cover(self.base.sample(n, rng))


class RenamedBench:
    """Measures what is behind the disguise (satisfies `Bench`)."""

    def __init__(self, space: RenamedSpace, base: Bench, dataset: str) -> None:
        """Take over what is measured."""
        self._space, self._base, self._task = space, base, f"{space.name}/{dataset}"
        self.metric, self.evaluator, self.fidelity = base.metric, base.evaluator, base.fidelity
        self.fingerprint, self.devices = base.fingerprint, base.devices

    def representative(self, architecture: Architecture) -> Architecture:
        """Our name for the base's representative."""
        return self._space.covered(self._base.representative(self._space.uncovered(architecture)))

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """What the base measures, under our names."""
        for architecture in architectures:
            for found in self._base.measure([self._space.uncovered(architecture)], seed=seed):
                key = self.representative(architecture).key
                yield replace(found, space=self._space.name, task=self._task, key=key, id=architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """What the base knows of these rows."""
        return self._base.costs(self._space.uncover(choices))


class RenamedEvaluator:
    """Opens the base's benches in disguise (satisfies `Evaluator`)."""

    name = "renamed"

    def __init__(self, base: Evaluator, space: RenamedSpace) -> None:
        """Wrap an evaluator of the base."""
        self._base, self._space = base, space
        self.tabular = base.tabular

    def open(self, space: SearchSpace, dataset: str) -> RenamedBench:
        """The bench of the base, in disguise."""
        return RenamedBench(self._space, self._base.open(self._space.base, dataset), dataset)

    def datasets(self, space: SearchSpace) -> list[str]:
        """The base's."""
        return self._base.datasets(self._space.base)


def disguise(task: Task, seed: int = 1) -> Task:
    """The same task in a space without meaning in its names; seeded alike in every process."""
    name = f"{task.space.name}-renamed{seed}"
    if name not in space_names():
        register_space(
            type("Disguise", (RenamedSpace,), {"name": name, "base": task.space, "disguise_seed": seed})
        )
    space = get_space(name)
    assert isinstance(space, RenamedSpace)  # registered above
    return Task(f"{name}/{task.dataset}", RenamedEvaluator(task.evaluator, space))
