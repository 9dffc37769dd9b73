"""Reasoners of the user's own: held to what a session needs of one, and to the same admission of predicates.

    class Mine:
        def reflect(self, brief):
            return [Proposal("Attention helps.", Predicate.parse("gat >= 1").to_json(), brief.space.name)]

That is all of it. A name, `uses_templates` and `close` may be added; `reflect` may return a `Reflection`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from vitruvius.agents.reasoner import Brief, Reasoner, Reflection
from vitruvius.errors import InvalidPredicateError, UnknownNameError, UserError, unknown_name
from vitruvius.generator.evaluation.theirs import named_object
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Proposal, principle_id


class Reflects(Protocol):
    """As much as is needed of a reasoner."""

    def reflect(self, brief: Brief) -> Reflection | Iterable[Proposal]:
        """Propose principles from what may be seen."""
        ...


def own_reasoner(given: Any) -> Reasoner | None:
    """A reasoner from an object with `reflect`; one of ours goes through unchanged, a name gives None.

    Raises:
        UserError: A class instead of an object, or there is no `reflect`.
    """
    if given is None or isinstance(given, str):
        return None
    if inspect.isclass(given):
        raise UserError(f"{given.__name__} is a class: give an object of it, {given.__name__}().")
    if not callable(getattr(given, "reflect", None)):
        raise UserError(
            f"{given!r:.100} is no reasoner: it needs a method reflect(brief) that returns Proposals."
        )
    return given if type(given).__module__.startswith("vitruvius.") else OwnReasoner(given)


def reasoner_from_file(spec: str) -> Reasoner:
    """The reasoner that FILE.py:NAME names: an object, or what makes one when it is called.

    Raises:
        UserError: It cannot be imported, or is no reasoner.
    """
    found = named_object("reasoner", spec)
    made = found() if (callable(found) and not hasattr(found, "reflect")) or inspect.isclass(found) else found
    if (reasoner := own_reasoner(made)) is None:
        raise UserError(f"{spec} is {made!r:.100} and no reasoner: it needs a method reflect(brief).")
    return reasoner


class OwnReasoner:
    """An object of the user's as a session needs it (satisfies `Reasoner`).

    Attributes:
        name: Its own, else that of its class.
        uses_templates: As it says, else False.
        templates_folder: Likewise, else None.
    """

    def __init__(self, given: Any) -> None:
        """Wrap it."""
        self._given = given
        self.name = str(getattr(given, "name", type(given).__name__))
        self.uses_templates = bool(getattr(given, "uses_templates", False))
        self.templates_folder: Path | None = getattr(given, "templates_folder", None)

    def reflect(self, brief: Brief) -> Reflection:
        """What it proposes; what does not fit the space, is known, or is too much is refused and counted.

        Raises:
            UserError: It returned something else than a `Reflection` or proposals.
        """
        if not any(len(one) for one in brief.observations):
            return Reflection(notes=["Nothing is measured yet, so the reasoner was not asked."])
        returned = self._given.reflect(brief)
        if isinstance(returned, Reflection):
            reflection = returned
        elif isinstance(returned, Iterable) and not isinstance(returned, str | bytes):
            reflection = Reflection(proposals=list(returned))
        else:
            raise UserError(f"{self.name} returned {returned!r:.100} from reflect: return Proposals.")
        costs = {name for one in brief.observations for name in one.costs}
        kept, known = list[Proposal](), {principle.id for principle in brief.known}
        for one in reflection.proposals:
            if not isinstance(one, Proposal):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UserError(f"{self.name} proposed {one!r:.100}: each has to be a Proposal.")
            fitting = _fitting(one, brief, costs, reflection)
            if fitting is None:
                continue
            if principle_id(fitting) in known:
                reflection.refused["duplicate"] += 1
                continue
            known.add(principle_id(fitting))
            kept.append(fitting)
        over = len(kept) - brief.limit
        if over > 0:
            reflection.refused["over the limit"] += over
        reflection.proposals = kept[: brief.limit]
        return reflection

    def close(self) -> None:
        """Close it, if it can be closed."""
        close = getattr(self._given, "close", None)
        if callable(close):
            close()


def _fitting(
    proposal: Proposal, brief: Brief, costs: Iterable[str], reflection: Reflection
) -> Proposal | None:
    """The proposal with its predicate checked; None, and counted, where it does not fit."""
    try:
        _check_scope(proposal, brief)
        predicate = Predicate.parse(proposal.predicate).check(brief.space, frozenset(costs))
    except (InvalidPredicateError, UnknownNameError) as error:
        unknown = isinstance(error, UnknownNameError)
        reflection.refused["unknown name" if unknown else "bad predicate"] += 1
        reflection.notes.append(f"Refused: {proposal.sentence or proposal.predicate} {error}")
        return None
    sentence = proposal.sentence or predicate.sentence()
    fitting = replace(proposal, predicate=predicate.to_json(), sentence=sentence)
    before, after = _identity(proposal), principle_id(fitting)
    if before in reflection.authors:
        reflection.authors[after] = reflection.authors[before]
    return fitting


def _check_scope(proposal: Proposal, brief: Brief) -> None:
    """Refuse what a proposal says beside its predicate, where it cannot be tested.

    Raises:
        UnknownNameError: Its space or task is neither "any" nor of this reflection.
        InvalidPredicateError: It points nowhere, or expects what is no number.
    """
    if proposal.space not in ("any", brief.space.name):
        raise unknown_name("space", proposal.space, ["any", brief.space.name])
    tasks = ["any", brief.target, *(one.task for one in brief.observations)]
    if proposal.task not in tasks:
        raise unknown_name("task", proposal.task, dict.fromkeys(tasks))
    if proposal.direction not in (1, -1):
        raise InvalidPredicateError(
            f"direction={proposal.direction!r} is not allowed: 1 is better, -1 worse."
        )
    expected = cast("object", proposal.expected)  # whatever was given
    if expected is not None and not (isinstance(expected, int | float) and -1 <= expected <= 1):
        raise InvalidPredicateError(f"expected={expected!r} is not allowed: None, or a number from -1 to 1.")


def _identity(proposal: Proposal) -> str:
    given = cast("object", proposal.predicate)  # a text or a `Predicate` is taken too
    return principle_id(proposal) if isinstance(given, Mapping) else ""


__all__ = ["OwnReasoner", "Reflects", "own_reasoner", "reasoner_from_file"]
