"""What a search may be narrowed to, in the words of the user and in those of Chroma."""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.errors import unknown_name
from vitruvius.generator.evaluation.task import task_name
from vitruvius.generator.space import DESCRIBED, get_space, space_names
from vitruvius.knowledge.chroma_index import Where
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import Principle, PrincipleStatus


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that all must hold; see `Store.search`."""

    space: str | None = None
    task: str | None = None
    status: PrincipleStatus | str | None = None
    about: str | None = None
    min_support: int = 0

    def __post_init__(self) -> None:
        """A space that is named by the file which describes it is known by its name."""
        if self.space is not None and self.space.endswith(DESCRIBED):
            object.__setattr__(self, "space", get_space(self.space).name)
        if self.task is not None:
            object.__setattr__(self, "task", task_name(self.task))

    def where(self, ledger: Ledger) -> Where | None:
        """The conditions in Chroma's language; None lets everything through.

        Raises:
            UnknownNameError: A space, task, status or operation that neither we nor the ledger know.
        """
        conditions = self._scope(ledger)
        if self.status is not None:
            conditions.append({"status": status_named(str(self.status)).value})
        if self.about is not None:
            conditions.append({f"about {_operation(self.about, ledger)}": True})
        if self.min_support > 0:
            conditions.append({"support": {"$gte": self.min_support}})
        if len(conditions) > 1:
            return {"$and": conditions}
        return conditions[0] if conditions else None

    def select(self, ledger: Ledger, template: str | None = None) -> list[Principle]:
        """The principles that pass, in the order in which they were added, without a search index.

        Args:
            ledger: Where they are.
            template: Hash of the prompt template that they came from; None for any.

        Raises:
            UnknownNameError: As in `where`.
        """
        self.where(ledger)
        status = None if self.status is None else status_named(str(self.status))
        found = ledger.principles(space=self.space, task=self.task, status=status, template=template)
        if template is not None and not found:
            known = {principle.origin.template for principle in ledger.principles()} - {""}
            if template not in known:
                raise unknown_name("template", template, known)
        if self.about is not None:
            operation = _operation(self.about, ledger)
            found = [p for p in found if operation in operations_of(p)]
        return [p for p in found if p.evidence.n_for >= self.min_support]

    def _scope(self, ledger: Ledger) -> list[Where]:
        if self.space is None and self.task is None:
            return []
        labels = {label for session in ledger.sessions() for label in session.labels}
        space = self.space
        if self.task is not None:
            tasks = {f"{of}/{dataset}" for of, dataset in labels} | {s.task for s in ledger.sessions()}
            if self.task not in tasks:
                raise unknown_name("task", self.task, tasks)
            space = space or self.task.partition("/")[0]
        spaces = {of for of, _ in labels} | {"any", *space_names()}
        if space not in spaces:
            raise unknown_name("space", str(space), spaces)
        if self.task is None:
            return [{"space": {"$in": [space, "any"]}}]
        # Each condition costs Chroma about 10 ms at 10,000 entries: space and task are asked as one.
        return [{"scope": {"$in": [scope(s, t) for s in (space, "any") for t in (self.task, "any")]}}]


def scope(space: str | None, task: str) -> str:
    """Space and task as one value of the index."""
    return f"{space} {task}"


def operations_of(principle: Principle) -> frozenset[str]:
    """The operations that a principle's predicate names.

    Raises:
        InvalidPredicateError: The predicate cannot be read.
    """
    return predicate_from_json(principle.proposal.predicate).operations_named()


def status_named(name: str) -> PrincipleStatus:
    """The status with this name.

    Raises:
        UnknownNameError: No such status.
    """
    allowed = [status.value for status in PrincipleStatus]
    if name not in allowed:
        raise unknown_name("status", name, allowed)
    return PrincipleStatus(name)


def _operation(name: str, ledger: Ledger) -> str:
    """The name under which predicates speak of an operation."""
    spaces = [get_space(space) for space in space_names()]
    for space in spaces:
        known = space.aliases.get(name, name)
        if known in space.operations:
            return known
    # An operation of somebody's own space, which this process has not loaded, is known by its principles.
    principles = ledger.principles()
    if any(name in operations_of(principle) for principle in principles):
        return name
    foreign = [principle for principle in principles if principle.proposal.space not in space_names()]
    operations = (*(space.operations for space in spaces), *map(operations_of, foreign))
    raise unknown_name("operation", name, frozenset[str]().union(*operations))
