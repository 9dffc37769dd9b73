"""What all spaces do and say where they read the text of an architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vitruvius.errors import InvalidArchitectureError, unknown_name
from vitruvius.generator.space import SearchSpace


def shortened(text: str) -> str:
    """The text for a message, cut where it is long."""
    return text if len(text) <= 120 else text[:117] + "..."


def foreign(space: SearchSpace, text: str, shape: str) -> InvalidArchitectureError:
    """The error for a text of another form; the caller raises it.

    Args:
        space: The space whose text it should be.
        text: The text as given.
        shape: What texts of the space look like.
    """
    return InvalidArchitectureError(
        f"{shortened(text)!r} is no architecture of {space.name}: its text looks like {shape}."
    )


def choices_named(space: SearchSpace, named: Mapping[str, Any]) -> list[int]:
    """Choice indices of an architecture given by names, D integers.

    Args:
        space: The space.
        named: Decision -> choice, the choice by its name or an alias, or as a number that it spells.

    Raises:
        InvalidArchitectureError: A decision that is missing or unknown, or a choice that it does not have.
    """
    names = [decision.name for decision in space.decisions]
    if foreign := [str(name) for name in named if name not in names]:
        raise InvalidArchitectureError(str(unknown_name(f"decision of {space.name}", foreign[0], names)))
    if missing := [name for name in names if name not in named]:
        raise InvalidArchitectureError(
            f"No choice for {', '.join(missing)}: an architecture of {space.name} needs one for each of "
            f"{', '.join(names)}."
        )
    found: list[int] = []
    for decision in space.decisions:
        word = str(named[decision.name])
        word = word if word in decision.choices else space.aliases.get(word, word)
        if word not in decision.choices:
            wrong = unknown_name(f"choice of {decision.name}", shortened(word), decision.choices)
            raise InvalidArchitectureError(str(wrong))
        found.append(decision.choices.index(word))
    return found


def operation_index(space: SearchSpace, word: str, text: str, official: Iterable[str]) -> int:
    """Index in `space.operations` of an operation given by its name or an alias.

    Args:
        space: The space.
        word: The name.
        text: The text it stands in, for the message.
        official: The names that a message lists.

    Raises:
        InvalidArchitectureError: The space has no such operation.
    """
    known = space.aliases.get(word, word)
    if known not in space.operations:
        raise InvalidArchitectureError(
            f"In {shortened(text)!r}: {unknown_name('operation', shortened(word), official)}"
        )
    return space.operations.index(known)
