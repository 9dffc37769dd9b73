"""Finds, checks and renders prompt templates.

A template is a Markdown file (its form: `parsing`). A user's own folder overrides the built-in ones by name:
first a folder that is passed in, else the one that `VITRUVIUS_PROMPTS` names, else
`~/.config/vitruvius/prompts`; then those that come with the package.
"""

from __future__ import annotations

import hashlib
import os
import re
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2

from vitruvius.errors import TemplateError, unknown_name
from vitruvius.prompts.inputs import INPUTS, samples
from vitruvius.prompts.parsing import Parsed, Part, Problem, Role, environment, literal_braces, parse
from vitruvius.prompts.quoting import Plain, quoted

BUILT_IN = Path(__file__).parent / "templates"
"""The templates that come with the package."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a model."""

    role: Role
    content: str


@dataclass(frozen=True)
class Template:
    """A template as found: name, file and text. `find` returns only those without problems."""

    name: str
    path: Path
    text: str

    @cached_property
    def parsed(self) -> Parsed:
        """The text taken apart, with its problems."""
        return parse(self.text, str(self.path))

    @property
    def hash(self) -> str:
        """Content hash, 12 hex digits; independent of the file's name and kind of line break."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def description(self) -> str:
        """One line about it."""
        return self.parsed.description

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that it declares, and uses."""
        return self.parsed.inputs

    @property
    def reply(self) -> str:
        """Name of the reply schema; empty where it cannot be read."""
        return self.parsed.reply

    @property
    def version(self) -> str:
        """Version as its author counts."""
        return self.parsed.version

    def render(self, **inputs: Plain) -> list[Message]:
        """Fill the inputs in; all text in them is quoted as data.

        Args:
            inputs: Exactly the declared ones: text, numbers, lists and mappings.

        Returns:
            The messages in order.

        Raises:
            TemplateError: The template is broken, an input is missing, unknown or no plain data, or an
                expression fails; the message names file and line.
        """
        _refuse(self.parsed.problems)
        missing, extra = set(self.inputs) - set(inputs), set(inputs) - set(self.inputs)
        if missing or extra:
            said = [f"lacks the input {name!r}" for name in sorted(missing)]
            said += [f"was given {name!r}, which it does not declare" for name in sorted(extra)]
            raise TemplateError(f"{Problem(str(self.path), 1, 'the template ' + ' and '.join(said))}.")
        values = {name: quoted(value, name) for name, value in inputs.items()}
        filled = [(part, self.fill(part, values)) for part in self.parsed.parts]
        _refuse([text for _, text in filled if isinstance(text, Problem)])
        return [Message(part.role, str(text)) for part, text in filled]

    def fill(self, part: Part, values: dict[str, Plain]) -> str | Problem:
        """Render one part with values that are quoted already; what fails comes back as a problem."""
        jinja = environment()
        source = "\n" * (part.line - 1) + literal_braces(part.source)
        try:
            return jinja.from_string(source).render(values).strip()
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == "<template>" and frame.lineno]
            line = lines[-1] if lines else part.line
            return Problem(str(self.path), line, f"does not render: {str(error) or type(error).__name__}")


def user_folder() -> Path:
    """The user's own folder: `VITRUVIUS_PROMPTS`, else in the user's configuration; it may not exist."""
    named = os.environ.get("VITRUVIUS_PROMPTS")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "vitruvius" / "prompts"


def names(folder: Path | None = None) -> list[str]:
    """Names of all templates that `find` would find, sorted.

    Raises:
        TemplateError: `folder` is given but is no folder.
    """
    return sorted({file.stem for place in _places(folder) for file in place.glob("*.md") if _usable(file)})


def ignored(folder: Path | None = None) -> list[Path]:
    """Files in the user's folder that are neither templates nor the tests of one, sorted.

    Hidden files, and what editors keep beside a file (`NAME.md~`), are not meant to be read.

    Raises:
        TemplateError: `folder` is given but is no folder.
    """
    own, known = _places(folder)[0], names(folder)
    read = {f"{name}{ending}" for name in known for ending in (".md", ".test.toml")}
    files = sorted(file for file in own.iterdir() if file.is_file()) if own != BUILT_IN else []
    return [file for file in files if file.name not in read and file.name[0] != "." and file.name[-1] != "~"]


def locate(name: str, folder: Path | None = None) -> Path:
    """The file of a template.

    Args:
        name: Name without ".md".
        folder: The user's folder; None takes `user_folder()` where it exists.

    Raises:
        UnknownNameError: No such template; the message lists those that are known.
        TemplateError: `folder` is given but is no folder.
    """
    for place in _places(folder):
        file = place / f"{name}.md"
        if _NAME.match(name) and file.is_file():
            return file
    raise unknown_name("prompt template", name, names(folder))


def load(file: Path) -> Template:
    """Read a template's file, without judging it: `check` tells its problems.

    Raises:
        TemplateError: The file cannot be read as UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"The template {file} cannot be read as UTF-8 text: {error}.") from error
    return Template(file.stem, file, text)


def find(name: str, folder: Path | None = None) -> Template:
    """The template with this name, free of problems.

    Args:
        name: Name without ".md".
        folder: The user's folder; None takes `user_folder()` where it exists.

    Raises:
        UnknownNameError: No such template; the message lists those that are known.
        TemplateError: The template has problems; the message names file, line and reason of each.
    """
    return sound(load(locate(name, folder)))


def sound(template: Template) -> Template:
    """The template, free of problems.

    Raises:
        TemplateError: It has problems; the message names file, line and reason of each.
    """
    _refuse(check(template))
    return template


def check(template: Template) -> list[Problem]:
    """All problems of a template, without any model.

    Checked: front matter, roles, Jinja syntax, declared inputs = used variables, known inputs and reply,
    and that it renders, with the sample data and with as little in them as ever happens.
    """
    problems = list(template.parsed.problems)
    unknown = [name for name in template.inputs if name not in INPUTS]
    for name in unknown:
        reason = str(unknown_name("input", name, INPUTS))
        problems.append(Problem(str(template.path), _inputs_line(template), reason))
    ours = BUILT_IN / f"{template.name}.md"
    if template.reply and ours.is_file() and (meant := load(ours).reply) != template.reply:
        reason = f"reply is {template.reply!r}, but whoever asks for {template.name!r} needs {meant!r}"
        problems.append(Problem(str(template.path), 1, reason))
    for bare in () if problems else (False, True):
        problems += [p for p in _render_problems(template, bare) if p not in problems]
    return problems


def _render_problems(template: Template, bare: bool) -> list[Problem]:
    """What fails with the samples, or with the barest data."""
    given = samples(template.inputs, bare=bare)
    values = {name: quoted(value, name) for name, value in given.items()}
    problems: list[Problem] = []
    for part in template.parsed.parts:
        text = template.fill(part, values)
        if isinstance(text, Problem):
            empty = ", ".join(name for name, value in given.items() if not value)
            reason = f"{text.reason} (where these are empty: {empty})" if bare and empty else text.reason
            problems.append(Problem(text.file, text.line, reason))
        elif not text:
            problems.append(Problem(str(template.path), part.line, f"'{part.role}:' renders to nothing"))
    return problems


def _places(folder: Path | None) -> list[Path]:
    if folder is None:
        own = user_folder()
        return [own, BUILT_IN] if own.is_dir() else [BUILT_IN]
    if not folder.is_dir():
        raise TemplateError(f"The prompt folder {folder} does not exist: create it, or leave it out.")
    return [folder, BUILT_IN]


def _usable(file: Path) -> bool:
    return file.is_file() and _NAME.match(file.stem) is not None


def _inputs_line(template: Template) -> int:
    lines = template.text.split("\n")
    return next((n for n, line in enumerate(lines, 1) if line.startswith("inputs")), 1)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise TemplateError("\n".join(f"{str(problem).removesuffix('.')}." for problem in problems))


__all__ = [
    "BUILT_IN", "Message", "Problem", "Template", "check", "find", "ignored", "load", "locate", "names",
    "sound", "user_folder",
]  # fmt: skip
