"""The inputs that templates may declare: what each holds, and a small sample of it.

The samples are for `vitruvius prompts show --rendered` and for the check that a template renders. Real
values are built from a session's measurements by `agents.exhibits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Input:
    """One input: what it holds, for authors of templates, and sample data."""

    meaning: str
    sample: Any


def _shown(name: str, score: float, text: str) -> dict[str, Any]:
    return {"name": name, "task": "nasbench201/cifar10", "quantile": score, "text": text}


INPUTS: dict[str, Input] = {
    "task": Input("name of the task that is searched: text", "nasbench201/cifar100"),
    "space": Input(
        "the space: name, description, decisions (name, choices), operations, size (number or none)",
        {
            "name": "nasbench201",
            "description": "A cell of 4 nodes; each of its 6 edges carries one operation.",
            "decisions": [
                {"name": "edge1", "choices": ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]},
                {"name": "edge2", "choices": ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]},
            ],
            "operations": ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"],
            "size": 15625,
        },
    ),
    "code": Input(
        "the best architecture as a program, one line for each operation: text",
        "n1 = conv3x3(input)\nn2 = skip(input)\noutput = n1 + n2",
    ),
    "drawing": Input(
        "the best architecture as the space draws it: text", "input --conv3x3--> 1\ninput --skip--> output"
    ),
    "measured": Input(
        "list of tasks: task, count (architectures to learn from), target (whether it is the one searched)",
        [{"task": "nasbench201/cifar10", "count": 50, "target": False}],
    ),
    "top": Input(
        "list of the best: name, task, quantile (1 is best), text",
        [_shown("A1", 0.99, "edge1=conv3x3 edge2=skip"), _shown("A2", 0.97, "edge1=conv3x3 edge2=conv1x1")],
    ),
    "poor": Input(
        "list of poor ones, of the same form as top", [_shown("B1", 0.03, "edge1=none edge2=avgpool3x3")]
    ),
    "contrasts": Input(
        "list of pairs that differ little and score far apart: task, better, worse (of the form of top), "
        "gap, changed (list of decision, better, worse)",
        [
            {
                "task": "nasbench201/cifar10",
                "better": _shown("C1", 0.91, "edge1=conv3x3 edge2=skip"),
                "worse": _shown("C2", 0.22, "edge1=none edge2=skip"),
                "gap": 0.69,
                "changed": [{"decision": "edge1", "better": "conv3x3", "worse": "none"}],
            }
        ],
    ),
    "effects": Input(
        "list of single choices, clearest first: task, decision, choice, count, effect (mean quantile of "
        "architectures that have it minus that of the others)",
        [
            {
                "task": "nasbench201/cifar10",
                "decision": "edge1",
                "choice": "none",
                "count": 11,
                "effect": -0.41,
            }
        ],
    ),
    "counts": Input(
        "list of operations: task, operation, effect (rank correlation of its number of uses with the score)",
        [{"task": "nasbench201/cifar10", "operation": "conv3x3", "effect": 0.44}],
    ),
    "known": Input(
        "list of principles that are known: id, sentence, predicate (text), direction (better or worse), "
        "status, effect (number or none)",
        [
            {
                "id": "p0123456789",
                "sentence": "Architectures without any path from input to output are poor.",
                "predicate": "edge1 = none",
                "direction": "worse",
                "status": "supported",
                "effect": -0.38,
            }
        ],
    ),
    "examples": Input(
        "list of predicates that are valid in this space, one for each form: text",
        ["edge1 = conv3x3", "conv3x3 >= 2 and depth >= 2", "not (edge1 = none)"],
    ),
    "limit": Input("most principles that may be proposed: number", 12),
    "problems": Input(
        "what was wrong with the last reply, for a repair: list of item (the refused text), reason",
        [{"item": "edge7 = conv3x3", "reason": "Unknown decision 'edge7'. Allowed: edge1, edge2."}],
    ),
    "schema": Input(
        "the JSON schema of the reply, for models that are not held to it: text", '{"type": "object"}'
    ),
}


def samples(names: Iterable[str]) -> dict[str, Any]:
    """Sample data for these inputs; names that are not known are left out."""
    return {name: INPUTS[name].sample for name in names if name in INPUTS}


__all__ = ["INPUTS", "Input", "samples"]
