"""Honesty by type: what may be a source of what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.leaks import refuse_target
from vitruvius.knowledge.principle import Label


def check_labels(target: Task, labels: Iterable[Label], what: str) -> None:
    """Refuse evidence that touches the target's data set.

    Another fidelity or another table of the same data set is the same target.

    Args:
        target: The task to be searched.
        labels: (space, data set) of all evidence in `what`.
        what: What is offered, for the message.

    Raises:
        TargetLeakError: One of the labels is the target's.
    """
    refuse_target(target.label, target.name, labels, what)


def check_sources(target: Task, sources: Sequence[Task]) -> None:
    """Refuse source tasks that are the target, and what is no task.

    Raises:
        TargetLeakError: A source is the target under any table or fidelity.
        SettingsError: The target or a source is no task, but its name, say; or a source is named twice.
    """
    if not isinstance(sources, Sequence) or isinstance(sources, str):  # pyright: ignore
        raise SettingsError(f"sources={sources!r} is not allowed: give a list of tasks, [] for none.")
    _refuse_names((target, *sources))
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"The source {twice[0]} is named {names.count(twice[0])} times: name it once.")
    for source in sources:
        check_labels(target, [source.label], f"Source task {source.name}")


def _refuse_names(given: Iterable[object]) -> None:
    for one in given:
        if not isinstance(one, Task):
            raise SettingsError(f"{one!r} is no task: give vt.Task({one!r}), sources as a list of tasks.")
