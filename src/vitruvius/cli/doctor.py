"""`vitruvius doctor`: what is installed, reachable, missing."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """What is installed, reachable, missing; each with the command that mends it.

    Ends with exit code 1 only if something is missing that `vitruvius run` without arguments needs.
    """
    from vitruvius.doctor import Check, examine

    checks: list[Check] = []
    for check in examine():
        checks.append(check)
        if not as_json:
            _print(check.name, check.ok, check.needed, check.detail, check.mend)
    if as_json:
        typer.echo(json.dumps([check.as_json() for check in checks], indent=2))
    missing = [check.name for check in checks if check.needed and not check.ok]
    if not as_json:
        typer.echo(f"missing for the main job: {', '.join(missing)}" if missing else "the main job can run")
    raise typer.Exit(1 if missing else 0)


def _print(name: str, ok: bool, needed: bool, detail: str, mend: str) -> None:
    state = "ok" if ok else "MISSING" if needed else "absent"
    typer.echo(f"{state:8}{name:22}{detail}")
    if mend:
        typer.echo(f"{'':30}-> {mend}")
