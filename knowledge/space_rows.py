"""Descriptions of spaces as rows of the ledger: who opens it knows the spaces that it speaks of."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from vitruvius.generator.space import SearchSpace
from vitruvius.generator.spaces.described import space_from_json
from vitruvius.knowledge.schema import about

_MARK = "space:"  # stands before a space's name in the table `about`


def know_spaces(connection: Connection) -> None:
    """Make all spaces known that the ledger describes.

    Raises:
        UserError: This process knows another one by the name of one of them.
    """
    rows = connection.execute(select(about.c.value).where(about.c.name.startswith(_MARK)))
    for (form,) in rows.all():
        space_from_json(form)


def keep_space(connection: Connection, space: SearchSpace) -> bool:
    """Keep the description of a space, where it has one; False where another one has its name."""
    if space.form is None:
        return True
    name = _MARK + space.name
    known = connection.scalar(select(about.c.value).where(about.c.name == name))
    if known is None:
        connection.execute(insert(about).values(name=name, value=space.form))
    return known in (None, space.form)
