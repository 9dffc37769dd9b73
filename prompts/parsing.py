"""A template's text taken apart: front matter, role lines, Jinja; each problem with its line.

    ---
    description: One line about it.
    inputs: [space, top]
    reply: principles
    version: 1
    ---
    system:
    You design networks.

    user:
    {% for a in top %}
    {{ a.id }}: {{ a.text }}
    {% endfor %}
    Answer as {"principles": []}.

Only `{{ name ...}}` with a name after the braces is substitution; single braces, and double braces before
anything else (`{{"a": 1}}`), are literal. Two filters are ours: `score` (0.91) and `signed` (+0.12). The
roles are found in the file, before anything is rendered, so no value can add one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import jinja2
import yaml
from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vitruvius.errors import unknown_name

Role = Literal["system", "user", "assistant"]
REPLIES = ("principles", "text")
"""Names of reply schemas that a template may ask for."""
LARGEST = 100_000
"""Characters in a template, at most."""

_KEYS = ("description", "inputs", "reply", "version")
_ROLE_LINE = re.compile(r"^(system|user|assistant):[ \t]*(.*)$", re.IGNORECASE)
_LITERAL_BRACES = re.compile(r"\{\{(?![-+]?\s*[A-Za-z_])")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_FORBIDDEN = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a template.

    Attributes:
        file: The file.
        line: Line in the file, from 1.
        reason: What is wrong, what is allowed.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.file}, line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a template: its role, its first line in the file, and its Jinja source."""

    role: Role
    line: int
    source: str


@dataclass(slots=True)
class Parsed:
    """A template taken apart; what could not be read is empty, and `problems` says why."""

    description: str = ""
    inputs: tuple[str, ...] = ()
    reply: str = ""
    version: str = ""
    parts: tuple[Part, ...] = ()
    problems: list[Problem] = field(default_factory=list[Problem])


def shown(value: object) -> object:
    """How a value is written where a template names it: text and whole numbers as they are, else as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str | int | jinja2.Undefined):
        raise TypeError(f"a {type(value).__name__} is no data that can be written")
    return value


def environment() -> ImmutableSandboxedEnvironment:
    """The Jinja environment of all templates: sandboxed, strict, without globals and without other files."""
    made = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        finalize=shown,
    )
    made.filters["score"] = _two_decimals
    made.filters["signed"] = _signed
    made.globals.clear()  # range, lipsum and the like: templates need none of them
    return made


def _two_decimals(value: float) -> str:
    return f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def literal_braces(source: str) -> str:
    """Make double braces literal where no name follows them; lines stay as they are."""
    return _LITERAL_BRACES.sub("{{ '{{' }}", source)


def parse(text: str, file: str) -> Parsed:
    """Take a template's text apart.

    Args:
        text: The whole file.
        file: Its name, for the problems.

    Returns:
        What was found; all problems at once, in the order of their lines.
    """
    parsed = Parsed()
    found: list[tuple[int, str]] = []
    if len(text) > LARGEST:
        found.append((1, f"the template has {len(text)} characters; at most {LARGEST} are allowed"))
    else:
        lines = text.split("\n")
        end = _front_matter_end(lines)
        if end is None:
            found.append((1, "the file must begin with front matter between two lines of '---'"))
        else:
            places = _read_front_matter("\n".join(lines[1:end]), parsed, found)
            parsed.parts = tuple(_split(lines, end + 1, found))
            _check_variables(parsed, places, found)
    parsed.problems = [Problem(file, line, reason) for line, reason in sorted(found)]
    return parsed


def _front_matter_end(lines: list[str]) -> int | None:
    if lines[0].strip() != "---":
        return None
    return next((n for n, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)


def _read_front_matter(source: str, parsed: Parsed, found: list[tuple[int, str]]) -> dict[str, int]:
    """Fill the front matter's fields; returns the line of each key."""
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        values: Any = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        found.append((mark.line + 2 if mark else 1, f"the front matter is not YAML: {reason}"))
        return {}
    if not isinstance(root, yaml.MappingNode) or not isinstance(values, dict):
        found.append((1, f"the front matter must be a mapping with the keys {', '.join(_KEYS)}"))
        return {}
    places: dict[str, int] = {}
    for key, _ in root.value:
        name, line = str(key.value), key.start_mark.line + 2
        if name in places:
            found.append((line, f"the key {name!r} stands twice in the front matter"))
        elif name not in _KEYS:
            found.append((line, str(unknown_name("key of the front matter", name, _KEYS))))
        places[name] = line
    _take_values(cast("dict[str, Any]", values), places, parsed, found)
    return places


def _take_values(
    values: dict[str, Any], places: dict[str, int], parsed: Parsed, found: list[tuple[int, str]]
) -> None:
    found.extend((1, f"the front matter lacks the key {key!r}") for key in _KEYS if key not in values)
    description, inputs = values.get("description"), values.get("inputs", [])
    reply, version = values.get("reply"), values.get("version", "")
    if isinstance(description, str) and description.strip():
        parsed.description = " ".join(description.split())
    elif "description" in values:
        found.append((places["description"], "description must be a line of text"))
    if isinstance(inputs, list) and all(
        isinstance(name, str) and _NAME.match(name) for name in cast("list[object]", inputs)
    ):
        parsed.inputs = tuple(cast("list[str]", inputs))
    else:
        line = places.pop("inputs")  # what is declared is not known, so nothing is said to lack there
        found.append((line, "inputs must be a list of names, for example [space, top]"))
    if isinstance(reply, str) and reply in REPLIES:
        parsed.reply = reply
    elif "reply" in values:
        given = reply[:60] if isinstance(reply, str) else type(reply).__name__
        found.append((places["reply"], str(unknown_name("reply", given, REPLIES))))
    if isinstance(version, str | int | float) and not isinstance(version, bool):
        parsed.version = str(version)
    else:
        found.append((places["version"], "version must be a number or a text"))


def _split(lines: list[str], start: int, found: list[tuple[int, str]]) -> Iterator[Part]:
    """Cut the body at its role lines."""
    marks: list[tuple[int, Role]] = []
    before = len(found)
    for n in range(start, len(lines)):
        match = _ROLE_LINE.match(lines[n])
        if match is None:
            if not marks and lines[n].strip():
                found.append((n + 1, "the body must begin with a line 'system:' or 'user:'"))
                return
            continue
        role, rest = match.groups()
        if rest.strip() or role != role.lower():
            found.append((n + 1, f"write the role on a line of its own, in lower case: '{role.lower()}:'"))
            continue
        marks.append((n, cast("Role", role)))
    roles = [role for _, role in marks]
    well_written = len(found) == before  # else a role that is to be written anew may be the missing one
    if well_written and "user" not in roles:
        found.append((len(lines), "the body needs a line 'user:' and text after it"))
    elif well_written and roles[-1] != "user":
        found.append((marks[-1][0] + 1, "the last part must be 'user:'"))
    ends = [n for n, _ in marks[1:]] + [len(lines)]
    for (n, role), end in zip(marks, ends, strict=False):
        if role == "system" and n != marks[0][0]:
            found.append((n + 1, "'system:' may stand only once, as the first part"))
        source = "\n".join(lines[n + 1 : end])
        if not source.strip():
            found.append((n + 1, f"the part '{role}:' is empty"))
        yield Part(role, n + 2, source)


def _check_variables(parsed: Parsed, places: dict[str, int], found: list[tuple[int, str]]) -> None:
    """Jinja syntax, forbidden statements, and declared inputs = used variables."""
    jinja, used = environment(), set[str]()
    broken = False
    for part in parsed.parts:
        padded = "\n" * (part.line - 1) + literal_braces(part.source)  # Jinja then counts the file's lines
        try:
            tree = jinja.parse(padded)
            jinja.compile(tree)
        except jinja2.TemplateSyntaxError as error:
            found.append((error.lineno, f"Jinja: {error.message}"))
            broken = True
            continue
        except (RecursionError, MemoryError):
            found.append((part.line, "Jinja: the expressions are nested too deeply"))
            broken = True
            continue
        for node in tree.find_all(_FORBIDDEN):
            found.append((node.lineno, "a template cannot include, import or extend another file"))
        names = find_undeclared_variables(jinja.parse(padded))
        used |= names
        for name in sorted(names - set(parsed.inputs)) if "inputs" in places else ():
            line = next((n.lineno for n in tree.find_all(nodes.Name) if n.name == name), part.line)
            found.append((line, f"{name!r} is used but not declared in inputs"))
    if not broken and parsed.parts:
        for name in sorted(set(parsed.inputs) - used):
            found.append((places.get("inputs", 1), f"the input {name!r} is declared but not used"))
    twice = {name for name in parsed.inputs if parsed.inputs.count(name) > 1}
    found.extend((places.get("inputs", 1), f"the input {name!r} is declared twice") for name in sorted(twice))


__all__ = [
    "LARGEST",
    "REPLIES",
    "Parsed",
    "Part",
    "Problem",
    "Role",
    "environment",
    "literal_braces",
    "parse",
    "shown",
]
