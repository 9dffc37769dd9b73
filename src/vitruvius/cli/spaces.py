"""`vitruvius spaces`: what can be searched."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_spaces() -> None:
    """Names, sizes and what the spaces are about."""
    from vitruvius.generator.space import get_space, space_names

    for name in space_names():
        space = get_space(name)
        size = "endless" if space.size is None else f"{space.size:,}"
        typer.echo(f"{name:<16} {size:>8} keys  {space.description}")


@app.command("show")
def show_space(
    name: Annotated[str, typer.Argument(help="Name of the space.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Also show the architecture with this text.")
    ] = None,
) -> None:
    """Decisions, operations and a drawing of an architecture (of the last one, if none is given)."""
    from vitruvius.generator.space import get_space

    space = get_space(name)
    if architecture is not None:
        chosen = space.parse(architecture)
    else:
        chosen = space.architectures(space.enumerate()[-1:])[0]
    typer.echo(f"{space.name}: {space.description}")
    typer.echo("\ndecisions")
    for decision in space.decisions:
        typer.echo(f"  {decision.name:<8} {' '.join(decision.choices)}")
    typer.echo("\noperations")
    others = {ours: official for official, ours in space.aliases.items()}
    for operation in space.operations:
        note = " (passes nothing on)" if operation in space.null_operations else ""
        note = " (passes its input on)" if operation in space.identity_operations else note
        also = f", also {others[operation]}" if operation in others else ""
        typer.echo(f"  {operation}{also}{note}")
    typer.echo(f"\narchitecture {chosen.key}")
    for line in space.draw(chosen).splitlines():
        typer.echo(f"  {line}")
