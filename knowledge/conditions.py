"""Conditions: the kinds of predicate that look at an architecture themselves, and what all kinds share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vitruvius.errors import InvalidPredicateError, UnknownNameError, unknown_name
from vitruvius.generator.space import Architecture, SearchSpace
from vitruvius.knowledge import wording
from vitruvius.knowledge.population import Mask, Population

MAX_NODES = 20
"""Most nodes that a predicate may have."""
MAX_NESTING = 8
"""Most levels of all, any and not around a condition, plus the condition."""
Comparison = Literal["<", "<=", "==", "!=", ">=", ">"]
_COMPARE = {
    "<": np.less, "<=": np.less_equal, "==": np.equal,
    "!=": np.not_equal, ">=": np.greater_equal, ">": np.greater,
}  # fmt: skip
_OPPOSITE: dict[Comparison, Comparison] = {
    "<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<=",
}  # fmt: skip
_ENGLISH = {
    "<": "fewer than", "<=": "at most", "==": "exactly",
    "!=": "any number but", ">=": "at least", ">": "more than",
}  # fmt: skip


def _plain(name: str) -> str:
    if not name.strip() or len(name) > 64 or re.search(r'["\\\x00-\x1f]', name):
        raise ValueError(
            "a name has 1 to 64 characters, not all blank, no double quotes, backslashes or control codes"
        )
    return name


def _known_cost(name: str) -> str:
    if name not in ("params", "flops") and not re.fullmatch(r"latency\[[^\[\]\"\\\s]{1,64}\]", name):
        raise ValueError('a cost is "params", "flops" or "latency[DEVICE]"')
    return name


Name = Annotated[str, AfterValidator(_plain)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=20)]
Number = Annotated[int, Field(ge=0, le=1000)]


class Predicate(BaseModel):
    """Something that holds or does not hold for an architecture. Immutable, comparable, hashable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @staticmethod
    def parse(value: str | Mapping[str, Any] | Predicate) -> Predicate:
        """Read a predicate: the text form, or the JSON form as text or as data.

        Raises:
            InvalidPredicateError: It cannot be read; for the text form the message names the position.
        """
        from vitruvius.knowledge.predicate_text import parse_predicate

        return parse_predicate(value)

    def holds(self, population: Population) -> Mask:
        """For which architectures it holds: (n,). A cost that is nan makes a bound false.

        Raises:
            UnknownNameError: An operation, decision, choice or cost that the population does not have.
        """
        raise NotImplementedError

    def holds_one(self, architecture: Architecture, costs: Mapping[str, float] | None = None) -> bool:
        """Whether it holds for one architecture; `costs` by name as in `Population`."""
        return bool(self.holds(Population.of(architecture, costs))[0])

    def check(self, space: SearchSpace, costs_known: Collection[str] | None = None) -> Predicate:
        """The same predicate in the space's own names (aliases resolved).

        Args:
            space: The space that it should speak of.
            costs_known: Names of costs that are known there; None leaves costs unchecked.

        Raises:
            UnknownNameError: An operation, decision, choice or cost is not known; with those that are.
            InvalidPredicateError: It is too large.
        """
        refuse_too_large(self.nodes, self.nesting)
        return self.resolved(space, costs_known)

    def fits(self, space: SearchSpace, costs_known: Collection[str] | None = None) -> bool:
        """Whether `check` would accept it."""
        try:
            self.check(space, costs_known)
        except (UnknownNameError, InvalidPredicateError):
            return False
        return True

    @property
    def portable(self) -> bool:
        """Whether it names no decision, and so can be asked of any space with its operations."""
        return True

    @property
    def nodes(self) -> int:
        """Number of nodes of the tree."""
        return 1

    @property
    def nesting(self) -> int:
        """Number of levels of the tree."""
        return 1

    def operations_named(self) -> frozenset[str]:
        """Every operation, or choice at a decision, that it names."""
        return frozenset()

    def text(self) -> str:
        """The text form, which `parse_predicate` reads back."""
        raise NotImplementedError

    def clause(self, negated: bool = False) -> str:
        """A verb phrase, "has at least 2 conv3x3 operations", or its negation."""
        raise NotImplementedError

    def sentence(self) -> str:
        """An English sentence that says what holds."""
        return f"The architecture {self.clause()}."

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return self.model_dump(mode="json")

    def __str__(self) -> str:
        """The text form."""
        return self.text()

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """What `check` returns, size not looked at."""
        raise NotImplementedError


class Choice(Predicate):
    """The choice at one decision is among those given."""

    kind: Literal["choice"] = "choice"
    decision: Name
    among: Names

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        column = population.space.decision(self.decision)
        indices = [choice_index(population.space, self.decision, name) for name in self.among]
        return np.isin(population.columns[column], indices)

    @property
    def portable(self) -> bool:
        """Never: it names a decision."""
        return False

    def operations_named(self) -> frozenset[str]:
        """The choices."""
        return frozenset(self.among)

    def text(self) -> str:
        """`op(0->3) = skip`, or `input3 = 1` where the decision's name is a plain word."""
        word = self.decision if wording.is_word(self.decision) else f"op({wording.decision(self.decision)})"
        return f"{word} = {wording.piped(self.among)}"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        return (
            f"{'does not have' if negated else 'has'} {wording.listed(self.among, 'or')} at {self.decision}"
        )

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        if self.decision in space.operations and all(name.isdecimal() for name in self.among):
            raise UnknownNameError(
                f"{self.decision} is an operation of {space.name}, no decision: write {self.decision} == "
                f"{self.among[0]} for how many."
            )
        choices = space.decisions[space.decision(self.decision)].choices
        indices = [choice_index(space, self.decision, name) for name in self.among]
        return Choice(decision=self.decision, among=tuple(choices[index] for index in indices))


class Count(Predicate):
    """The number of operations of the given kinds compares as stated."""

    kind: Literal["count"] = "count"
    operations: Names
    comparison: Comparison
    value: Number

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return _COMPARE[self.comparison](population.count(self.operations), self.value)

    def operations_named(self) -> frozenset[str]:
        """The operations."""
        return frozenset(self.operations)

    def text(self) -> str:
        """`conv3x3 >= 2` or `count(conv1x1|conv3x3) >= 3`."""
        one = len(self.operations) == 1 and wording.is_word(self.operations[0])
        what = self.operations[0] if one else f"count({wording.piped(self.operations)})"
        return f"{what} {self.comparison} {self.value}"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        many = _ENGLISH[_OPPOSITE[self.comparison] if negated else self.comparison]
        noun = "operation" if self.value == 1 else "operations"
        if len(self.operations) == 1:
            return f"has {many} {self.value} {self.operations[0]} {noun}"
        return f"has {many} {self.value} {noun} among {wording.listed(self.operations, 'and')}"

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        names = tuple(operation_of(space, name) for name in self.operations)
        return Count(operations=names, comparison=self.comparison, value=self.value)


class Depth(Predicate):
    """The depth compares as stated.

    Depth is the number of operations, identities apart, on the longest path from input to output
    that crosses no null operation; 0 where there is no such path.
    """

    kind: Literal["depth"] = "depth"
    comparison: Comparison
    value: Number

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return _COMPARE[self.comparison](population.depth, self.value)

    def text(self) -> str:
        """`depth >= 3`."""
        return f"depth {self.comparison} {self.value}"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        many = _ENGLISH[_OPPOSITE[self.comparison] if negated else self.comparison]
        return f"is {many} {self.value} {'operation' if self.value == 1 else 'operations'} deep"

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        return Depth(comparison=self.comparison, value=self.value)


class Path(Predicate):
    """Some path from input to output carries only the given operations; null operations never do."""

    kind: Literal["path"] = "path"
    operations: Names

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return population.path(self.operations)

    def operations_named(self) -> frozenset[str]:
        """The operations."""
        return frozenset(self.operations)

    def text(self) -> str:
        """`path(conv3x3|skip)`."""
        return f"path({wording.piped(self.operations)})"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        listed = wording.listed(self.operations, "and")
        return f"has {'no' if negated else 'a'} path from input to output made only of {listed}"

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        return Path(operations=tuple(operation_of(space, name) for name in self.operations))


class Feeds(Predicate):
    """An operation of the first kind directly feeds one of the second; null operations feed nothing."""

    kind: Literal["feeds"] = "feeds"
    first: Name
    second: Name

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return population.feeds(self.first, self.second)

    def operations_named(self) -> frozenset[str]:
        """Both."""
        return frozenset({self.first, self.second})

    def text(self) -> str:
        """`conv1x1 feeds conv3x3`."""
        return f"{wording.quoted(self.first)} feeds {wording.quoted(self.second)}"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        first = f"no {self.first}" if negated else wording.one(self.first)
        return f"has {first} that directly feeds {wording.one(self.second)}"

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        return Feeds(first=operation_of(space, self.first), second=operation_of(space, self.second))


class Bound(Predicate):
    """A cost compares as stated: params and flops in millions, latency in milliseconds."""

    kind: Literal["bound"] = "bound"
    cost: Annotated[str, AfterValidator(_known_cost)]
    comparison: Literal["<", "<=", ">=", ">"]
    value: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return _COMPARE[self.comparison](population.cost(self.cost), self.value)

    def text(self) -> str:
        """`params < 1.5M`, `latency[raspi4] < 12ms`."""
        unit = "ms" if self.cost.startswith("latency") else "M"
        return f"{self.cost} {self.comparison} {wording.decimal(self.value)}{unit}"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        comparison = _OPPOSITE[self.comparison] if negated else self.comparison
        many, value = _ENGLISH[comparison], wording.decimal(self.value)
        if self.cost == "params":
            return f"has {many} {value}M parameters"
        if self.cost == "flops":
            return f"needs {many} {value}M FLOPs"
        many = "less than" if comparison == "<" else many
        return f"takes {many} {value} ms on {self.cost[len('latency[') : -1]}"

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        if costs_known is not None and not costs_known:
            raise UnknownNameError(
                f"{self.cost!r} is a cost, and no costs of {space.name} are known here: leave it out. A run "
                "knows those that its table or its networks tell."
            )
        if costs_known is not None and self.cost not in costs_known:
            raise unknown_name(f"cost on {space.name}", self.cost, costs_known)
        return Bound(cost=self.cost, comparison=self.comparison, value=self.value)


def operation_of(space: SearchSpace, name: str) -> str:
    """Our name of an operation given by its name or an alias.

    Raises:
        UnknownNameError: The space has no such operation.
        InvalidPredicateError: It is a decision, which has a choice and is not counted.
    """
    decision = next((one for one in space.decisions if one.name == name), None)
    if decision is not None and name not in space.operations:
        raise InvalidPredicateError(
            f"{name} is a decision of {space.name}, not an operation that is counted: write "
            f"{name} = {decision.choices[-1]}, or {name} = {'|'.join(decision.choices[-2:])} for either."
        )
    return space.operation(name)


def choice_index(space: SearchSpace, decision: str, name: str) -> int:
    """Index of a choice at a decision, by its name or an alias.

    Raises:
        UnknownNameError: No such decision, or no such choice there.
    """
    choices = space.decisions[space.decision(decision)].choices
    known = name if name in choices else space.aliases.get(name, name)
    if known not in choices:
        raise unknown_name(f"choice at {decision} of {space.name}", name, choices)
    return choices.index(known)


def refuse_too_large(nodes: int, nesting: int) -> None:
    """Raise if a tree of this size is not allowed.

    Raises:
        InvalidPredicateError: Too many nodes or levels.
    """
    if nodes > MAX_NODES or nesting > MAX_NESTING:
        raise InvalidPredicateError(
            f"The predicate is too large: at most {MAX_NODES} conditions and connectives and "
            f"{MAX_NESTING} levels are allowed; split it into several principles."
        )
