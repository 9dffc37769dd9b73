"""Honesty by type: what was learned on a target may not come to it from outside."""

from __future__ import annotations

from collections.abc import Iterable

from vitruvius.errors import TargetLeakError
from vitruvius.knowledge.principle import Label


def refuse_target(target: Label, name: str, labels: Iterable[Label], what: str) -> None:
    """Refuse evidence that touches the target's data set.

    Another fidelity or another table of the same data set is the same target.

    Args:
        target: (space, data set) of the target.
        name: Name of the target, for the message.
        labels: (space, data set) of all evidence in `what`.
        what: What is offered, for the message.

    Raises:
        TargetLeakError: One of the labels is the target's.
    """
    if target in set(labels):
        raise TargetLeakError(
            f"{what} was learned on {name}, which is the target: what is known of a target may only "
            "come from counted evaluations; leave it out, or choose another target (if these are other "
            "data of the same name, name one of them differently, as by vt.Manual(dataset=NAME))."
        )
