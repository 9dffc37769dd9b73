"""Descriptions of spaces as rows of the ledger: who opens it knows the spaces that it speaks of."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, insert, select

from vitruvius.errors import UserError
from vitruvius.generator.space import SearchSpace
from vitruvius.generator.spaces.described import space_from_json
from vitruvius.generator.spaces.description import Description
from vitruvius.knowledge.schema import about

_MARK = "space:"  # stands before a space's name in the table `about`


def know_spaces(connection: Connection) -> None:
    """Make all spaces known that the ledger describes.

    One that is known by its name already and is another one stays what it is here: see `keep_space`.
    """
    rows = connection.execute(select(about.c.value).where(about.c.name.startswith(_MARK)))
    for (text,) in rows.all():
        with suppress(UserError):
            space_from_json(text)


def keep_space(connection: Connection, space: SearchSpace) -> bool:
    """Keep the description of a space, where it has one; False where another one has its name here."""
    if space.described is None:
        return True
    name, text = _MARK + space.name, space.described
    known = connection.scalar(select(about.c.value).where(about.c.name == name))
    if known is None:
        connection.execute(insert(about).values(name=name, value=text))
        return True
    return Description.from_json(known).form == space.form
