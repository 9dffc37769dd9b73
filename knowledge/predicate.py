"""Predicates: what a principle claims of an architecture, as data that a machine can check.

A predicate is a small JSON tree, told apart by "kind". Nothing in it is executed. The text form
(`conv3x3 >= 2 and depth >= 3 and params < 1.0M`) is read by `predicate_text`; `.text()` writes it.

    {"kind": "choice", "decision": "0->3", "among": ["skip"]}                op(0->3) = skip
    {"kind": "count", "operations": ["conv3x3"], "comparison": ">=", "value": 2}    conv3x3 >= 2
    {"kind": "depth", "comparison": ">=", "value": 3}                        depth >= 3
    {"kind": "path", "operations": ["conv3x3", "skip"]}                      path(conv3x3|skip)
    {"kind": "feeds", "first": "conv1x1", "second": "conv3x3"}               conv1x1 feeds conv3x3
    {"kind": "bound", "cost": "params", "comparison": "<", "value": 1.0}     params < 1M
    {"kind": "all", "parts": [...]}                                          ... and ...
    {"kind": "any", "parts": [...]}                                          ... or ...
    {"kind": "not", "part": {...}}                                           not (...)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from vitruvius.errors import InvalidPredicateError
from vitruvius.generator.space import SearchSpace
from vitruvius.knowledge import wording
from vitruvius.knowledge.conditions import (
    MAX_NESTING,
    MAX_NODES,
    Bound,
    Choice,
    Count,
    Depth,
    Feeds,
    Path,
    Predicate,
    refuse_too_large,
)
from vitruvius.knowledge.population import Mask, Population


class _Joined(Predicate):
    """What all and any share."""

    parts: Annotated[tuple[AnyPredicate, ...], Field(min_length=2, max_length=MAX_NODES)]

    @property
    def portable(self) -> bool:
        """Whether every part is."""
        return all(part.portable for part in self.parts)

    @property
    def nodes(self) -> int:
        """See `Predicate.nodes`."""
        return 1 + sum(part.nodes for part in self.parts)

    @property
    def nesting(self) -> int:
        """See `Predicate.nesting`."""
        return 1 + max(part.nesting for part in self.parts)

    def operations_named(self) -> frozenset[str]:
        """Those of the parts."""
        return frozenset().union(*(part.operations_named() for part in self.parts))

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        parts = tuple(part.resolved(space, costs_known) for part in self.parts)
        return self.model_copy(update={"parts": parts})


class All(_Joined):
    """Every part holds."""

    kind: Literal["all"] = "all"

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return np.logical_and.reduce([part.holds(population) for part in self.parts])

    def text(self) -> str:
        """`... and ...`."""
        return " and ".join(_bracketed(part, (All, AnyOf)) for part in self.parts)

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        return _clauses(self.parts, negated, either=negated)


class AnyOf(_Joined):
    """At least one part holds."""

    kind: Literal["any"] = "any"

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`."""
        return np.logical_or.reduce([part.holds(population) for part in self.parts])

    def text(self) -> str:
        """`... or ...`."""
        return " or ".join(_bracketed(part, (AnyOf,)) for part in self.parts)

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        return _clauses(self.parts, negated, either=not negated)


class Not(Predicate):
    """The part does not hold."""

    kind: Literal["not"] = "not"
    part: AnyPredicate

    def holds(self, population: Population) -> Mask:
        """See `Predicate.holds`; where a cost in it is not known, nothing is."""
        mask = ~self.part.holds(population)
        for cost in costs_in(self.part):
            mask &= ~np.isnan(population.cost(cost))
        return mask

    @property
    def portable(self) -> bool:
        """Whether the part is."""
        return self.part.portable

    @property
    def nodes(self) -> int:
        """See `Predicate.nodes`."""
        return 1 + self.part.nodes

    @property
    def nesting(self) -> int:
        """See `Predicate.nesting`."""
        return 1 + self.part.nesting

    def operations_named(self) -> frozenset[str]:
        """Those of the part."""
        return self.part.operations_named()

    def text(self) -> str:
        """`not (...)`."""
        return f"not ({self.part.text()})"

    def clause(self, negated: bool = False) -> str:
        """See `Predicate.clause`."""
        return self.part.clause(not negated)

    def resolved(self, space: SearchSpace, costs_known: Collection[str] | None) -> Predicate:
        """See `Predicate.resolved`."""
        return self.model_copy(update={"part": self.part.resolved(space, costs_known)})


AnyPredicate = Annotated[
    Choice | Count | Depth | Path | Feeds | Bound | All | AnyOf | Not, Field(discriminator="kind")
]
"""One of the kinds."""

for _model in (_Joined, All, AnyOf, Not):
    _model.model_rebuild()
_ADAPTER: TypeAdapter[AnyPredicate] = TypeAdapter(AnyPredicate)


def costs_in(predicate: Predicate) -> tuple[str, ...]:
    """The costs that a predicate bounds, each once."""
    if isinstance(predicate, Bound):
        return (predicate.cost,)
    parts = [*getattr(predicate, "parts", ()), *([predicate.part] if isinstance(predicate, Not) else [])]
    return tuple(dict.fromkeys(cost for part in parts for cost in costs_in(part)))


def predicate_from_json(data: Mapping[str, Any]) -> AnyPredicate:
    """Read the JSON form.

    Raises:
        InvalidPredicateError: It does not follow the schema; the message names the place.
    """
    refuse_too_large(*_measure(data))
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the top"
        raise InvalidPredicateError(f"The predicate is not valid at {place}: {first['msg']}.") from None


def _measure(data: object) -> tuple[int, int]:
    """Nodes and levels of a JSON form that may be anything; walked without recursion."""
    nodes, deepest, stack = 0, 0, [(data, 1)]
    while stack and nodes <= MAX_NODES and deepest <= MAX_NESTING:
        item, level = stack.pop()
        if isinstance(item, Mapping):
            nodes, deepest = nodes + 1, max(deepest, level)
            parts = item.get("parts", ())
            inner = [*parts, item.get("part")] if isinstance(parts, list | tuple) else [item.get("part")]
            stack += [(part, level + 1) for part in inner if part is not None]
    return nodes, deepest


def _bracketed(part: Predicate, kinds: tuple[type[Predicate], ...]) -> str:
    return f"({part.text()})" if isinstance(part, kinds) else part.text()


def _clauses(parts: tuple[AnyPredicate, ...], negated: bool, either: bool) -> str:
    phrases = [part.clause(negated) for part in parts]
    if either:
        return "either " + ", or ".join(phrase.removeprefix("either ") for phrase in phrases)
    return wording.listed(phrases, "and")


__all__ = [
    "All", "AnyOf", "AnyPredicate", "Bound", "Choice", "Count", "Depth", "Feeds", "Not", "Path", "Predicate",
    "predicate_from_json",
]  # fmt: skip
