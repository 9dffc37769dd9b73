"""A search space, its architectures and its predicates as text, for a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitruvius.generator.space import ABSENT, INPUT, OUTPUT, Choices, SearchSpace
from vitruvius.knowledge.predicate import predicate_from_json


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Name, description, decisions, operations and size of a space."""
    return {
        "name": space.name,
        "description": space.description,
        "decisions": [{"name": d.name, "choices": list(d.choices)} for d in space.decisions],
        "operations": list(space.operations),
        "size": space.size,
    }


def as_text(space: SearchSpace, row: Sequence[int]) -> str:
    """One architecture on one line: `0->1=conv3x3 0->2=skip`."""
    pairs = zip(space.decisions, row, strict=True)
    return " ".join(f"{decision.name}={decision.choices[index]}" for decision, index in pairs)


def as_program(space: SearchSpace, choices: Choices) -> str:
    """One architecture (1, D) as a program: one line for each operation, inputs of a node are added.

    Behind each line stands the decision that sets its operation, where one does.
    """
    graphs, setters = space.graphs(choices), _setters(space, choices)
    labels, adjacency = graphs.labels[0], graphs.adjacency[0]
    names: dict[int, str] = {}
    lines: list[str] = []
    inputs = ["input"] if (labels == INPUT).sum() == 1 else [f"input{node}" for node in range(len(labels))]
    for node, label in enumerate(labels.tolist()):
        given = " + ".join(names[u] for u in np.flatnonzero(adjacency[:, node]).tolist() if u in names)
        if label == INPUT:
            names[node] = inputs[node]
        elif label == OUTPUT:
            lines.append(f"output = {given or '0'}")
        elif label > OUTPUT + len(space.operations):
            lines.append(space.labels[label - 2].replace("=", " = "))
        elif label != ABSENT:
            names[node] = f"n{len(lines) + 1}"
            decision = f"  # {setters[node]}" if node in setters else ""
            lines.append(f"{names[node]} = {space.operations[label - 2]}({given or '0'}){decision}")
    return "\n".join(lines)


def _setters(space: SearchSpace, choices: Choices) -> dict[int, str]:
    """Node of the graph of one architecture (1, D) -> name of the only decision that changes its label."""
    plain = space.graphs(choices).labels[0]
    found: dict[int, set[str]] = {}
    for column, decision in enumerate(space.decisions):
        if not set(decision.choices) <= set(space.operations):
            continue
        others = np.repeat(choices, len(decision.choices), axis=0)
        others[:, column] = np.arange(len(decision.choices))
        changed = (space.graphs(others[space.legal(others)]).labels != plain).any(axis=0)
        for node in np.flatnonzero(changed).tolist():
            found.setdefault(node, set()).add(decision.name)
    return {node: names.pop() for node, names in found.items() if len(names) == 1}


def examples(space: SearchSpace, costs: Mapping[str, float]) -> list[str]:
    """One valid predicate for each form, in the names of the space.

    Args:
        space: The space.
        costs: Costs that predicates may bound, each with a usual value of it.
    """
    passing = [name for name in space.operations if name not in space.null_operations] or [*space.operations]
    first, last = passing[0], passing[-1]
    middle = passing[len(passing) // 2]
    decision = max(space.decisions, key=lambda d: len(d.choices))
    shapes: list[dict[str, Any]] = [
        _count(middle, ">=", 2),
        {"kind": "choice", "decision": decision.name, "among": list(decision.choices[:2])},
        {"kind": "all", "parts": [
            {"kind": "depth", "comparison": ">=", "value": 2}, {"kind": "not", "part": _count(last, ">", 1)}
        ]},
        {"kind": "count", "operations": [first, middle], "comparison": "<=", "value": 1},
        {"kind": "path", "operations": [first, last]},
        {"kind": "feeds", "first": middle, "second": last},
    ]  # fmt: skip
    shapes += [
        {"kind": "bound", "cost": name, "comparison": "<", "value": float(f"{value:.2g}")}
        for name, value in list(costs.items())[:3]
    ]
    return [predicate_from_json(shape).check(space).text() for shape in shapes]


def _count(operation: str, comparison: str, value: int) -> dict[str, Any]:
    return {"kind": "count", "operations": [operation], "comparison": comparison, "value": value}


__all__ = ["as_program", "as_text", "describe_space", "examples"]
