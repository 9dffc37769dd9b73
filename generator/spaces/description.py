"""The file that describes a space of one's own: what stands in it, and what is refused.

name = "mobile"
description = "three blocks and a width"

[decisions]                       # layers, one after the other; or the edges of a cell: 0->1, 0->2, 1->2
block1 = ["mb3x3", "mb5x5"]
block2 = ["mb3x3", "mb5x5", "skip"]

[settings]                        # choices that are no layer
width = [16, 24, 32]

[operations]                      # what operations do with their input, where that is special
identity = ["skip"]               # passed on unchanged
null = []                         # nothing passed on

[tasks.flowers]                   # what is measured
metric = "validation accuracy"
unit = "%"
maximize = true
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vitruvius.errors import UserError, unknown_name

MOST = 120
"""Most decisions, most choices of one, most operations and values of settings: all are kept in a byte."""

_PARTS = ("name", "description", "decisions", "settings", "operations", "tasks")
_SPECIAL = ("identity", "null")
_METRIC = {"metric": str, "unit": str, "maximize": bool}
_EDGE = re.compile(r"(\d+)->(\d+)")
_NAME = re.compile(r"[\w.>-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a task's scores mean."""

    metric: str = "score"
    unit: str = ""
    maximize: bool = True


@dataclass(frozen=True, slots=True)
class Description:
    """A space as its file describes it; see the module's docstring.

    Attributes:
        name: Name of the space.
        description: One line for people and models.
        decisions: Layer or edge -> operations to choose from.
        settings: Setting -> values to choose from.
        identity: Operations that pass their input on unchanged.
        null: Operations that pass nothing on.
        tasks: Data set -> what its scores mean.
    """

    name: str
    description: str
    decisions: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, tuple[str, ...]]
    identity: tuple[str, ...]
    null: tuple[str, ...]
    tasks: Mapping[str, Measured]

    def to_json(self) -> str:
        """Text from which `from_json` makes an equal description: the parts of the file, as JSON."""
        plain = asdict(self)
        plain["operations"] = {kind: plain.pop(kind) for kind in _SPECIAL}
        return json.dumps(plain, ensure_ascii=False)

    @property
    def form(self) -> str:
        """What makes the architectures: tasks and wording may change, and it is the same space."""
        return json.dumps([self.name, *map(str, (self.decisions, self.settings, self.identity, self.null))])

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read what `to_json` wrote.

        Raises:
            UserError: No JSON, or a part that is missing, unknown or not allowed.
        """
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise UserError(f"The description of a space is no JSON: {error}.") from None
        return checked(_table("description", plain))


def read_description(path: Path) -> Description:
    """Read and check the file that describes a space.

    Raises:
        UserError: Not there, no TOML, or a part that is missing, unknown or not allowed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"The description of a space {str(path)!r} cannot be read ({error.strerror}): give the path of a "
            "TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} is not valid TOML: {error}.") from None
    try:
        return checked(data)
    except UserError as error:
        raise type(error)(f"{str(path)!r} describes no space: {error}") from None


def checked(data: dict[str, Any]) -> Description:
    """The description that the parts of a file make.

    Raises:
        UserError: A part that is missing, unknown or not allowed.
    """
    for part in data:
        if part not in _PARTS:
            raise unknown_name("part", part, _PARTS)
    name = data.get("name")
    if not isinstance(name, str) or re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) is None or name == "any":
        raise UserError(f"name = {name!r} is not allowed; small letters, digits and hyphens are.")
    decisions = _lists("decisions", data.get("decisions", {}))
    if not decisions:
        raise UserError('it has no [decisions]: write for example block1 = ["conv3x3", "skip"] there.')
    settings = _lists("settings", data.get("settings", {}))
    if twice := sorted(set(decisions) & set(settings)):
        raise UserError(f"{twice[0]!r} is among the decisions and among the settings: give one another name.")
    if len(decisions) + len(settings) > MOST:
        raise UserError(
            f"it has {len(decisions) + len(settings)} decisions and settings; {MOST} are allowed."
        )
    words = {choice for many in decisions.values() for choice in many}
    if len(words) + sum(map(len, settings.values())) > MOST:
        raise UserError(f"it has more than {MOST} operations and values of settings together.")
    special = _special(_table("operations", data.get("operations", {})), words)
    edges_of(list(decisions))
    tasks = {task: _measured(task, values) for task, values in _table("tasks", data.get("tasks", {})).items()}
    about = data.get("description", _counted(len(decisions), len(settings)))
    return Description(name, str(about), decisions, settings, special["identity"], special["null"], tasks)


def _counted(decisions: int, settings: int) -> str:
    """`3 decisions and 1 setting`."""
    parts = [(decisions, "decision"), *([(settings, "setting")] if settings else [])]
    return " and ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in parts)


def _table(part: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{part} = {value!r} is not allowed: it is a table, [{part}].")
    return cast(dict[str, Any], value)


def _lists(part: str, value: object) -> dict[str, tuple[str, ...]]:
    """Decisions or settings: name -> choices."""
    return {name: _words(f"{part}.{name}", name, many) for name, many in _table(part, value).items()}


def _words(where: str, name: str, value: object) -> tuple[str, ...]:
    """The choices of a decision: texts or whole numbers, each once."""
    if not isinstance(value, list) or not value:
        raise UserError(f'{where} = {value!r} is not allowed: it is a list of choices, ["conv3x3", "skip"].')
    choices = tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in cast(list[Any], value))
    for word in (name, *choices):
        if _NAME.fullmatch(word) is None:
            raise UserError(f"{word!r} in {where} is not allowed: letters, digits, and any of _ . - > are.")
    if len(set(choices)) < len(choices):
        raise UserError(f"{where} has a choice twice: {', '.join(choices)}.")
    if len(choices) > MOST:
        raise UserError(f"{where} has {len(choices)} choices; {MOST} are allowed.")
    return choices


def _special(value: dict[str, Any], operations: set[str]) -> dict[str, tuple[str, ...]]:
    """Operations that pass their input on, or nothing."""
    for kind in value:
        if kind not in _SPECIAL:
            raise unknown_name("part of [operations]", kind, _SPECIAL)
    found: dict[str, tuple[str, ...]] = {}
    for kind in _SPECIAL:
        many = value.get(kind, [])
        names = tuple(map(str, many)) if isinstance(many, list) else (str(many),)
        for name in names:
            if name not in operations:
                raise unknown_name(f"operation in operations.{kind}", name, operations)
        found[kind] = names
    return found


def edges_of(names: Sequence[str]) -> list[tuple[int, int]] | None:
    """Source and target of each edge where decisions are called 0->1, 0->2 ...; None where none is.

    Raises:
        UserError: Some are and some are not, or an edge that leads nowhere.
    """
    found = [_EDGE.fullmatch(name) for name in names]
    if not any(found):
        return None
    edges = [(int(edge[1]), int(edge[2])) for edge in found if edge]
    if len(edges) < len(names):
        other = next(name for name, edge in zip(names, found, strict=True) if not edge)
        raise UserError(f"{other!r} is no edge as the others are: call it for example 0->1.")
    last = max(target for _, target in edges)
    into, out_of = {target for _, target in edges}, {source for source, _ in edges}
    for source, target in edges:
        if source >= target:
            raise UserError(f"{source}->{target} leads back: edges go from a smaller number to a larger one.")
        if source not in {0, *into} or target not in {last, *out_of}:
            raise UserError(
                f"{source}->{target} is on no way from 0, the input, to {last}, the output: nodes between "
                "have edges in and out."
            )
    _refuse_order(edges)
    return edges


def _refuse_order(edges: list[tuple[int, int]]) -> None:
    """Nodes of `graphs` are in the order of the edges, and none may feed an earlier one."""
    for place, (_, target) in enumerate(edges):
        for begin, end in edges[:place]:
            if target == begin:
                raise UserError(
                    f"{begin}->{end} stands before an edge that leads to {begin}: put it after it."
                )


def _measured(task: str, value: object) -> Measured:
    values = _table(f"tasks.{task}", value)
    if re.fullmatch(r"[\w.-]+", task, re.ASCII) is None:
        raise UserError(f"the task {task!r} is not allowed: letters, digits, and any of _ . - are.")
    for key, one in values.items():
        if key not in _METRIC:
            raise unknown_name(f"part of tasks.{task}", key, _METRIC)
        if not isinstance(one, _METRIC[key]):
            raise UserError(f"tasks.{task}.{key} = {one!r} is not allowed: a {_METRIC[key].__name__} is.")
    return Measured(**values)
