"""`vitruvius prompts`: list, show, path, edit, check and diff templates; `prompts_try` tries them."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvius.cli import prompts_try
from vitruvius.errors import SettingsError, TemplateError, UserError

if TYPE_CHECKING:
    from vitruvius.agents.exhibits import Sizes
    from vitruvius.agents.rehearsal import Room
    from vitruvius.prompts.library import Message, Problem, Template
    from vitruvius.replay import Recorded

app = typer.Typer(help="List, show, edit, check and test prompt templates.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder whose templates override ours; default: yours (see `path`)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_templates(folder: Folder = None, as_json: AsJson = False) -> None:
    """All templates: name, where it comes from, what it is for."""
    from vitruvius.prompts import library

    rows: list[dict[str, str]] = []
    for name in library.names(folder):
        place = library.locate(name, folder)
        row = {"name": name, "origin": "yours" if place.parent != library.BUILT_IN else "built in"}
        try:
            template = library.load(place)
        except TemplateError:  # one that cannot even be read hides no other
            row |= {"version": "", "hash": "-" * 12, "state": "broken", "description": "", "path": str(place)}
        else:
            row |= {"version": template.version, "hash": template.hash, "description": template.description}
            row |= {"state": "broken" if library.check(template) else "ok", "path": str(place)}
        rows.append(row)
    _tell_ignored(folder)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "" if row["state"] == "ok" else f"  (broken: vitruvius prompts check {row['name']})"
        typer.echo(f"{row['name']:{width}}  {row['origin']:8}  {row['hash']}  {row['description']}{state}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the template, path of a file, or content hash.")],
    rendered: Annotated[bool, typer.Option("--rendered", help="Fill in sample data.")] = False,
    run: Annotated[
        Path | None, typer.Option(help="Fill in what this run showed in its last reflection.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """A template as it is written, or as a model would get it with sample data or that of a run."""
    from vitruvius.prompts.inputs import samples
    from vitruvius.prompts.library import sound
    from vitruvius.prompts.versions import version

    template = version(name, folder, _runs(run))
    if not rendered and run is None:
        fields = {"name": name, "path": str(template.path), "hash": template.hash, "text": template.text}
        typer.echo(json.dumps(fields, indent=2, ensure_ascii=False) if as_json else template.text.rstrip())
        return
    sound(template)
    messages = template.render(**samples(template.inputs)) if run is None else _real(template, _record(run))
    if as_json:
        told = [{"role": message.role, "content": message.content} for message in messages]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(f"[{message.role}]\n{message.content}" for message in messages))


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Name, path or hash; with one argument: a name of yours.")],
    new: Annotated[str | None, typer.Argument(help="Name, path or hash of the other version.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder that keeps the templates of a hash.")] = None,
    folder: Folder = None,
) -> None:
    """What differs between our template and yours, or between two versions of one."""
    from vitruvius.prompts.library import locate
    from vitruvius.prompts.versions import built_in, difference, version

    second = version(old if new is None else new, folder, _runs(run))
    first = built_in(second.name) if new is None else version(old, folder, _runs(run))
    lines = difference(first, second)
    name, same = second.name, f"equal: both are {second.hash}."
    if new is None:
        same = f"{name}: yours is the same as ours."
        if locate(name, folder) == first.path:
            same = f"{name}: you have none of your own; `vitruvius prompts edit {name}` makes one from ours."
    typer.echo("\n".join(lines) if lines else same)


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(help="Name of a template; without: your folder.")] = None,
    folder: Folder = None,
) -> None:
    """Where a template lies, or where your own templates lie."""
    from vitruvius.prompts import library

    typer.echo(str(folder or library.user_folder()) if name is None else str(library.locate(name, folder)))


@app.command()
def edit(
    name: Annotated[str, typer.Argument(help="Name of the template.")],
    folder: Folder = None,
) -> None:
    """Copy a template and its tests into your folder, open $EDITOR on it, and check it afterwards."""
    from vitruvius.prompts import library

    own = folder or library.user_folder()
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise SettingsError("No editor is set: set EDITOR, for example `export EDITOR=nano`.")
    source = library.locate(name, own if own.is_dir() else None)
    target = own / source.name
    copied: dict[Path, bytes] = {}
    try:
        own.mkdir(parents=True, exist_ok=True)
        for file in (source, source.with_name(f"{name}.test.toml")):
            if file.is_file() and not (own / file.name).exists():
                copied[own / file.name] = file.read_bytes()
                (own / file.name).write_bytes(copied[own / file.name])
        status = subprocess.run([*shlex.split(editor), str(target)], check=False).returncode
    except (OSError, ValueError) as error:
        _take_back(copied, target)
        raise UserError(f"{target} could not be edited with {editor!r}: {error}.") from error
    taken_back = _take_back(copied, target)
    if status != 0:
        left = "the copy, which was not changed, was removed" if taken_back else f"{target} was left as it is"
        raise UserError(f"The editor {editor!r} ended with status {status}; {left}.")
    if taken_back:
        typer.echo(
            f"{name} was not changed, so no copy was kept and ours stays in use. An editor that returns at "
            "once has to wait until the file is closed, as `code --wait` does."
        )
        return
    _report(_problems([library.load(target)]), 1, as_json=False)


def _take_back(copied: dict[Path, bytes], target: Path) -> bool:
    """Remove what was just copied, if the template is among it and nothing was changed.

    A copy would hide every later version of ours.
    """
    unchanged = all(file.is_file() and file.read_bytes() == text for file, text in copied.items())
    if target not in copied or not unchanged:
        return False
    for file in copied:
        file.unlink()
    return True


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="Name of a template; without: all of them.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Check it with the data of this run too, which are more.")
    ] = None,
    reasoner: Annotated[
        str | None, typer.Option(help="The model whose context it must fit; by default the smallest.")
    ] = None,
    context: Annotated[int | None, typer.Option(min=1, help="The context in tokens instead.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Check templates without a model: exit status 1 and file, line and reason for each problem."""
    from vitruvius.agents.rehearsal import room_of
    from vitruvius.prompts import library

    wanted = library.names(folder) if name is None else [name]
    templates: list[Template] = []
    problems: list[Problem] = []
    for place in (library.locate(one, folder) for one in wanted):
        try:
            templates.append(library.load(place))
        except TemplateError as error:  # one that cannot even be read hides no other
            problems.append(library.Problem(str(place), 1, str(error)))
    for template in templates:
        if template.name not in (ours := library.names(library.BUILT_IN)):
            near = difflib.get_close_matches(template.name, ours, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            typer.echo(f"note: nothing asks for a template called {template.name!r}.{hint}", err=True)
    _tell_ignored(folder, name)
    record = None if run is None else _record(run)
    problems += _problems(templates, record, room_of(reasoner, context))
    _report(problems, len(wanted), as_json)


def _problems(
    templates: list[Template], record: Recorded | None = None, room: Room | None = None
) -> list[Problem]:
    """All problems: those of the text, and for sound ones those with real data and of size."""
    from vitruvius.agents.rehearsal import too_long
    from vitruvius.prompts import library
    from vitruvius.prompts.inputs import samples

    found: list[Problem] = []
    for template in templates:
        problems = library.check(template)
        if not problems and room is not None:
            try:
                given = samples(template.inputs)
                messages = template.render(**given) if record is None else _real(template, record, room.sizes)
                problems = too_long(template, messages, room)
            except TemplateError as error:
                problems = [library.Problem(str(template.path), 1, f"with the data of the run: {error}")]
        found += problems
    return found


def _tell_ignored(folder: Path | None, name: str | None = None) -> None:
    """Name files that look as if they were meant, and are not read; of one template if it is named."""
    from vitruvius.prompts.library import ignored

    for file in ignored(folder):
        if name in (None, file.name.partition(".")[0]):
            typer.echo(
                f"note: {file} is not read: a template is called NAME.md, with letters, digits, - and _, and "
                "its tests NAME.test.toml.",
                err=True,
            )


def _record(run: Path) -> Recorded:
    """The last reflection of a run."""
    from vitruvius.replay import recorded

    return recorded(run)


def _real(template: Template, record: Recorded, sizes: Sizes | None = None) -> list[Message]:
    """The messages with what was shown in a reflection."""
    from vitruvius.replay import render_recorded

    messages, missing = render_recorded(template, record, sizes)
    if missing:
        typer.echo(f"note: {template.name}: sample data stand for {', '.join(missing)}", err=True)
    return messages


def _runs(run: Path | None) -> list[Path]:
    """Run folders that are searched for a hash: the one named, else all under ./runs."""
    return [run] if run is not None else sorted(Path("runs").glob("*"))


def _report(problems: list[Problem], checked: int, as_json: bool) -> None:
    if as_json:
        told = [{"file": p.file, "line": p.line, "reason": p.reason} for p in problems]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        raise typer.Exit(1 if problems else 0)
    if problems:
        raise TemplateError("\n".join(str(problem) for problem in problems))
    typer.echo(f"{checked} {'template' if checked == 1 else 'templates'}: no problems.")


app.command("test")(prompts_try.test)
app.command("compare")(prompts_try.compare)

__all__ = ["app"]
