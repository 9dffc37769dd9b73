"""`vitruvius prompts`: list, show, path, edit and check prompt templates."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from vitruvius.errors import SettingsError, TemplateError, UserError

app = typer.Typer(help="List, show, edit and check prompt templates.", no_args_is_help=True)

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
        template = library.load(library.locate(name, folder))
        own = template.path.parent != library.BUILT_IN
        broken = bool(library.check(template))
        rows.append(
            {
                "name": name,
                "origin": "yours" if own else "built in",
                "version": template.version,
                "hash": template.hash,
                "state": "broken" if broken else "ok",
                "description": template.description,
                "path": str(template.path),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "" if row["state"] == "ok" else f"  (broken: vitruvius prompts check {row['name']})"
        typer.echo(f"{row['name']:{width}}  {row['origin']:8}  {row['hash']}  {row['description']}{state}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the template.")],
    rendered: Annotated[bool, typer.Option("--rendered", help="Fill in sample data.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """A template as it is written, or as a model would get it with sample data."""
    from vitruvius.prompts import library
    from vitruvius.prompts.inputs import samples

    if not rendered:
        template = library.load(library.locate(name, folder))
        fields = {"name": name, "path": str(template.path), "hash": template.hash, "text": template.text}
        typer.echo(json.dumps(fields, indent=2, ensure_ascii=False) if as_json else template.text.rstrip())
        return
    template = library.find(name, folder)
    messages = template.render(**samples(template.inputs))
    if as_json:
        told = [{"role": message.role, "content": message.content} for message in messages]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(f"[{message.role}]\n{message.content}" for message in messages))


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
    """Copy a template into your folder if it is not there, open $EDITOR on it, and check it afterwards."""
    from vitruvius.prompts import library

    own = folder or library.user_folder()
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise SettingsError("No editor is set: set EDITOR, for example `export EDITOR=nano`.")
    source = library.locate(name, own if own.is_dir() else None)
    target = own / source.name
    try:
        own.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        status = subprocess.run([*shlex.split(editor), str(target)], check=False).returncode
    except (OSError, ValueError) as error:
        raise UserError(f"{target} could not be edited with {editor!r}: {error}.") from error
    if status != 0:
        raise UserError(f"The editor {editor!r} ended with status {status}; {target} was left as it is.")
    _report([target])


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="Name of a template; without: all of them.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Check templates without a model: exit status 1 and file, line and reason for each problem."""
    from vitruvius.prompts import library

    wanted = library.names(folder) if name is None else [name]
    _report([library.locate(one, folder) for one in wanted], as_json)


def _report(files: list[Path], as_json: bool = False) -> None:
    from vitruvius.prompts import library

    problems = [problem for file in files for problem in library.check(library.load(file))]
    if as_json:
        told = [{"file": p.file, "line": p.line, "reason": p.reason} for p in problems]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        raise typer.Exit(1 if problems else 0)
    if problems:
        raise TemplateError("\n".join(str(problem) for problem in problems))
    typer.echo(f"{len(files)} {'template' if len(files) == 1 else 'templates'}: no problems.")


__all__ = ["app"]
