"""The inputs that templates may declare: what each holds, and a small sample of it.

The samples are for `vitruvius prompts show --rendered`, for the check that a template renders, and for its
tests. They speak of NAS-Bench-201 in its own names, so that predicates in a template can be judged; the
scores are made up. Real values are built from a session's measurements by `agents.exhibits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Input:
    """One input: what it holds, for authors of templates, and sample data.

    Attributes:
        meaning: What it holds.
        sample: A small value of the usual kind.
        bare: A value with as little in it as ever happens: empty lists, none for a number. None where the
            sample is that already.
    """

    meaning: str
    sample: Any
    bare: Any = None


_OPERATIONS = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"]
_EDGES = ("0->1", "0->2", "1->2", "0->3", "1->3", "2->3")


_SPACE: dict[str, Any] = {
    "name": "nasbench201",
    "description": "image classification cell: 6 edges between 4 nodes, 5 operations on each edge",
    "decisions": [{"name": edge, "choices": _OPERATIONS} for edge in _EDGES],
    "operations": _OPERATIONS,
    "size": 15625,
}


def _cell(*operations: str) -> str:
    return " ".join(f"{edge}={operation}" for edge, operation in zip(_EDGES, operations, strict=True))


def _shown(name: str, score: float, text: str) -> dict[str, Any]:
    costs = {"params": 0.74}
    return {"name": name, "task": "nasbench201/cifar10", "quantile": score, "text": text, "costs": costs}


INPUTS: dict[str, Input] = {
    "task": Input("name of the task that is searched: text", "nasbench201/cifar100"),
    "space": Input(
        "the space: name, description, decisions (name, choices), operations, size (number or none)",
        _SPACE,
        {**_SPACE, "size": None},
    ),
    "code": Input(
        "the best architecture as a program, a line for each operation, with the decision that sets it: text",
        "n1 = conv3x3(input)  # 0->1\nn2 = conv3x3(n1)  # 1->2\nn3 = skip(input)  # 0->3\n"
        "n4 = conv1x1(n2)  # 2->3\noutput = n3 + n4",
    ),
    "drawing": Input(
        "the best architecture as the space draws it: text",
        "input --conv3x3-> 1\n    1 --conv3x3-> 2\ninput --skip----> output\n    2 --conv1x1-> output",
    ),
    "best": Input(
        "task of which code and drawing are the best architecture: text, empty where nothing is measured",
        "nasbench201/cifar10",
        "",
    ),
    "constraint": Input(
        "what an architecture must satisfy to be measured: text, empty without a constraint",
        "params < 1M",
        "",
    ),
    "objectives": Input("list of costs that should be small beside a good score: text", ["flops"], []),
    "costs": Input(
        "list of costs that were measured: name, low, middle, high (a tenth, half and nine tenths of the "
        "architectures stay below)",
        [{"name": "params", "low": 0.21, "middle": 0.4, "high": 0.83}],
        [],
    ),
    "experiments": Input(
        "list of architectures that were asked for in earlier reflections: text, reason, quantile (none "
        "if it is not measured yet)",
        [
            {
                "text": _cell("conv3x3", "skip", "none", "skip", "none", "conv3x3"),
                "reason": "is it the missing edge or the skip?",
                "quantile": 0.62,
            }
        ],
        [],
    ),
    "measured": Input(
        "list of tasks: task, count (architectures to learn from), target (whether it is the one searched)",
        [{"task": "nasbench201/cifar10", "count": 50, "target": False}],
    ),
    "top": Input(
        "list of the best: name, task, quantile (1 is best of its task), text, costs (name -> value)",
        [
            _shown("A1", 0.99, _cell("conv3x3", "none", "conv3x3", "skip", "none", "conv1x1")),
            _shown("A2", 0.97, _cell("conv3x3", "conv1x1", "skip", "skip", "conv3x3", "conv3x3")),
        ],
    ),
    "poor": Input(
        "list of poor ones, of the same form as top",
        [_shown("B1", 0.03, _cell("none", "avgpool3x3", "skip", "none", "none", "avgpool3x3"))],
    ),
    "contrasts": Input(
        "list of pairs that differ little and score far apart: task, better, worse (of the form of top), "
        "gap, changed (list of decision, better, worse)",
        [
            {
                "task": "nasbench201/cifar10",
                "better": _shown("C1", 0.91, _cell("conv3x3", "skip", "none", "skip", "none", "conv3x3")),
                "worse": _shown("C2", 0.22, _cell("none", "skip", "none", "skip", "none", "conv3x3")),
                "gap": 0.69,
                "changed": [{"decision": "0->1", "better": "conv3x3", "worse": "none"}],
            }
        ],
        [],
    ),
    "effects": Input(
        "list of single choices, clearest first: task (or '6 of 8 tasks': on how many it points this way), "
        "decision, choice, count, effect (mean quantile of architectures that have it minus that of the "
        "others, uniform draws only, averaged over tasks), margin (half of its 95 % interval)",
        [
            {
                "task": "nasbench201/cifar10",
                "decision": "0->1",
                "choice": "none",
                "count": 11,
                "effect": -0.41,
                "margin": 0.12,
            }
        ],
        [],
    ),
    "counts": Input(
        "list of operations: task (as for effects), operation, effect (rank correlation of its number of "
        "uses with the score)",
        [{"task": "nasbench201/cifar10", "operation": "conv3x3", "effect": 0.44}],
        [],
    ),
    "known": Input(
        "list of principles that are known: id, sentence, predicate (text), direction (better or worse), "
        "status, effect on what may be seen (number or none)",
        [
            {
                "id": "p0123456789",
                "sentence": "Architectures without any path from input to output are poor.",
                "predicate": "not (path(skip|conv1x1|conv3x3|avgpool3x3))",
                "direction": "worse",
                "status": "supported",
                "effect": -0.38,
            },
            {
                "id": "p9876543210",
                "sentence": "Poolings that feed poolings cost accuracy.",
                "predicate": "avgpool3x3 feeds avgpool3x3",
                "direction": "worse",
                "status": "proposed",
                "effect": None,
            },
        ],
        [],
    ),
    "examples": Input(
        "list of predicates that are valid in this space, one for each form: text",
        ["conv3x3 >= 2", "op(0->1) = none|skip", "depth >= 2 and not (avgpool3x3 > 1)"],
    ),
    "findings": Input(
        "list of what statistics found in the same measurements, empty where they were not asked: sentence, "
        "predicate (text), direction (better or worse), effect (number or none)",
        [
            {
                "sentence": "An architecture that has at least 2 conv3x3 operations does better.",
                "predicate": "conv3x3 >= 2",
                "direction": "better",
                "effect": 0.21,
            }
        ],
        [],
    ),
    "requests": Input("requests that an agent may make in a reflection: number", 14),
    "limit": Input("most principles that may be proposed: number", 12),
    "problems": Input(
        "what was wrong with the last reply, for a repair: list of item (the refused text), reason",
        [{"item": "conv9x9 >= 1", "reason": "Unknown operation of nasbench201 'conv9x9'."}],
    ),
    "question": Input(
        "a question about architectures: text", "do skip connections help under 1M parameters?"
    ),
    "facts": Input(
        "list of what is known about the question: id (of a principle, or measured), text",
        [
            {"id": "measured", "text": "hardly tried on cifar10: 3 of 50 measured"},
            {"id": "p0123456789", "text": "supported: An architecture with 2 skips does better. +0.21"},
        ],
    ),
    "schema": Input(
        "the JSON schema of the reply, for models that are not held to it: text", '{"type": "object"}'
    ),
}


def samples(names: Iterable[str], *, bare: bool = False) -> dict[str, Any]:
    """Sample data for these inputs, or their barest values; names that are not known are left out."""
    known = {name: INPUTS[name] for name in names if name in INPUTS}
    return {name: one.bare if bare and one.bare is not None else one.sample for name, one in known.items()}


__all__ = ["INPUTS", "Input", "samples"]
