"""`vitruvius spaces`: what can be searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.generator.space import SearchSpace

app = typer.Typer(no_args_is_help=True)

_AT_ONCE = 50_000  # architectures whose texts are made at a time


@app.command("list")
def list_spaces() -> None:
    """Names, sizes and what the spaces are about."""
    from vitruvius.generator.space import get_space, space_names

    for name in space_names():
        space = get_space(name)
        size = "countless" if space.size is None else f"{space.size:,}"
        typer.echo(f"{name:<22} {size:>9} keys  {space.description}")


@app.command("show")
def show_space(
    name: Annotated[str, typer.Argument(help="Name of the space.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Also show the architecture with this text.")
    ] = None,
) -> None:
    """Decisions, operations and a drawing of an architecture (if none is given, of one of the space)."""
    import numpy as np

    from vitruvius.generator.space import get_space

    space = get_space(name)
    if architecture is not None:
        chosen = space.parse(architecture)
    elif space.size is None:
        chosen = space.architectures(space.sample(1, np.random.default_rng(0)))[0]
    else:
        chosen = space.architectures(space.enumerate()[-1:])[0]
    typer.echo(f"{space.name}: {space.description}")
    typer.echo("\ndecisions")
    width = max(len(decision.name) for decision in space.decisions)
    for decision in space.decisions:
        typer.echo(f"  {decision.name:<{width}}  {' '.join(decision.choices)}")
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


@app.command("enumerate")
def enumerate_space(
    name: Annotated[str, typer.Argument(help="Name of the space.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write a Parquet or CSV file: key and id of every architecture."),
    ] = None,
) -> None:
    """List the whole space: how many keys and identities, and what that took."""
    import time

    from vitruvius.generator.evaluation.columns import write_parts
    from vitruvius.generator.files import check_out
    from vitruvius.generator.space import get_space

    space = get_space(name)
    check_out(out)
    begin = time.perf_counter()
    keys, ids = 0, set[str]()

    def counted() -> Iterator[dict[str, list[str]]]:
        nonlocal keys
        for part in _parts(space):
            keys += len(part["key"])
            ids.update(part["id"])
            yield part

    if out is None:
        for _ in counted():
            pass
    else:
        write_parts(out, counted())
    seconds = time.perf_counter() - begin
    typer.echo(f"{space.name}: {keys:,} keys, {len(ids):,} ids, {seconds:.1f} s, {_peak():,.0f} MB at most")
    if out is not None:
        typer.echo(f"wrote {out}")


@app.command("sample")
def sample_space(
    name: Annotated[str, typer.Argument(help="Name of the space.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write a Parquet or CSV file with key and id instead.")
    ] = None,
) -> None:
    """Draw architectures uniformly: every key is as likely, and some may come twice. Needs no generator."""
    import numpy as np

    from vitruvius.generator.evaluation.columns import write_columns
    from vitruvius.generator.files import check_out
    from vitruvius.generator.space import get_space

    space = get_space(name)
    check_out(out)
    rows = space.sample(n, np.random.default_rng(seed))
    if out is None:
        typer.echo("\n".join(space.keys(rows)))
    else:
        write_columns(out, {"key": space.keys(rows), "id": space.ids(rows)})
        typer.echo(f"{n} architecture{'s' * (n != 1)} written to {out}")


def _parts(space: SearchSpace) -> Iterator[dict[str, list[str]]]:
    """Keys and ids of the whole space, some at a time."""
    rows = space.enumerate()
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        yield {"key": space.keys(part), "id": space.ids(part)}


def _peak() -> float:
    """The most memory that this process has held so far, in MB."""
    import resource
    import sys

    status = Path("/proc/self/status")
    if status.exists():  # there `getrusage` also counts what the process held that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
