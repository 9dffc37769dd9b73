"""Versions of templates: named, by file, or by content hash, and how two of them differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vitruvius.errors import TemplateError
from vitruvius.prompts.library import BUILT_IN, Template, load, locate, names, user_folder

_HASH = re.compile(r"[0-9a-f]{6,12}\Z")
_KEPT = re.compile(r"(?P<name>.+)\.(?P<hash>[0-9a-f]{12})\Z")


def version(reference: str, folder: Path | None = None, runs: Sequence[Path] = ()) -> Template:
    """The version of a template that a person means.

    Args:
        reference: A name, the path of a file (with a "/" or ending in .md), or a content hash or its first
            6 digits or more.
        folder: The user's folder; None takes `user_folder()`.
        runs: Run folders, which keep the templates that they used.

    Raises:
        UnknownNameError: No template has this name.
        TemplateError: No such file, or no template with this hash.
    """
    if "/" in reference or reference.endswith(".md"):
        return _named(load(Path(reference).expanduser()))
    if _HASH.match(reference) and reference not in names(folder):
        for template in _all(folder, runs):
            if template.hash.startswith(reference):
                return template
        raise TemplateError(
            f"No template with the hash {reference} is in your folder, among ours, or in the run folders "
            "here: name the run that used it with --run, or give the path of the file."
        )
    return load(locate(reference, folder))


def built_in(name: str) -> Template:
    """Ours, whatever the user's folder holds.

    Raises:
        TemplateError: There is none with this name.
    """
    file = BUILT_IN / f"{name}.md"
    if not file.is_file():
        raise TemplateError(
            f"{name!r} is a template of yours only: give a second one, by path or hash, to compare it with."
        )
    return load(file)


def difference(old: Template, new: Template) -> list[str]:
    """The lines that differ, in the unified form of `diff -u`; empty if the content is equal."""
    if old.hash == new.hash:
        return []
    lines = old.text.splitlines(), new.text.splitlines()
    labels = f"{old.path} ({old.hash})", f"{new.path} ({new.hash})"
    return list(difflib.unified_diff(*lines, *labels, lineterm="", n=2))


def _all(folder: Path | None, runs: Sequence[Path]) -> Iterator[Template]:
    own = folder or user_folder()
    for place in (own, BUILT_IN, *(run / "prompts" for run in runs)):
        for file in sorted(place.glob("*.md")) if place.is_dir() else []:
            yield _named(load(file))


def _named(template: Template) -> Template:
    """The template under its own name: run folders keep it as NAME.HASH.md."""
    kept = _KEPT.match(template.name)
    return Template(kept["name"], template.path, template.text) if kept else template


__all__ = ["built_in", "difference", "version"]
