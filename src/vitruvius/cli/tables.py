"""`vitruvius tables`: benchmark tables, made from official files and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("import")
def import_table(
    file: Annotated[
        Path,
        typer.Argument(
            help="NAS-Bench-201-v1_1-*.pth, NATS-tss-v1_0-* (file or folder), or nasbench_*.tfrecord."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The table to write; by default nasbench201 or 101.parquet.")
    ] = None,
) -> None:
    """Turn an official benchmark file into a table, once; nothing in the file is executed."""
    from rich.console import Console

    from vitruvius.generator.evaluation.importers import import_official, usual_name
    from vitruvius.generator.files import as_argument

    out = out or Path(usual_name(file))
    with Console(stderr=True).status("reading") as status:
        count = import_official(file, out, lambda done: status.update(f"{done:,} architectures read"))
    typer.echo(f"wrote {count:,} architectures to {out}")
    typer.echo(f"next: vitruvius tables show {as_argument(out)}")


@app.command("show")
def show_table(
    file: Annotated[
        Path | None, typer.Argument(help="A table, or a folder of tables; none: what is found.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Look for this space only; one of yours is named by its file, mine.toml."),
    ] = None,
) -> None:
    """Data sets, rows, best scores and costs of a table (validation metrics only)."""
    import numpy as np

    from vitruvius.errors import TableError, UserError
    from vitruvius.generator.evaluation.layouts import table_spaces
    from vitruvius.generator.evaluation.table import Table
    from vitruvius.generator.space import get_space

    if file is not None and not file.exists():
        raise UserError(f"There is no file or folder {str(file)!r}: give a table, or a folder of tables.")
    table, shown = Table(file), 0
    reasons: list[str] = []
    for one in map(get_space, table_spaces() if space is None else [space]):
        try:
            benches = [table.open(one, dataset) for dataset in table.datasets(one)]
        except TableError as error:
            reasons.append(str(error))
            continue
        for bench in benches:
            found = bench.scores[np.isfinite(bench.scores)]
            best = bench.metric.format(bench.metric.best(found)) if len(found) else "none"
            costs = [name for name in bench.costs(one.enumerate()[:1]) if "[" not in name]
            costs += [f"latency on {', '.join(bench.devices)}"] if bench.devices else []
            typer.echo(f"{one.name}/{bench.dataset}: {len(found):,} of {one.size:,} keys")
            typer.echo(f"  {bench.metric.name}, {bench.fidelity}, best {best}; data {bench.fingerprint}")
            typer.echo(f"  costs known: {', '.join(costs) or 'none'}")
            shown += 1
    if not shown:
        needed = _needed(table_spaces() if space is None else [space])
        raise TableError(
            reasons[0] if reasons else f"{str(file)!r} holds no scores of a known benchmark: {needed}."
        )


def _needed(spaces: list[str]) -> str:
    """Which columns a table needs, by space."""
    from vitruvius.generator.evaluation.layouts import layout_of
    from vitruvius.generator.space import get_space

    parts: list[str] = []
    for space in map(get_space, spaces):
        layout = layout_of(space)
        score = next(iter(layout.score.values()))
        scores = [source.prefix + score for source in layout.sources.values()]
        told = " or ".join(scores) if space.form is not None else scores[0]
        parts.append(f"{', '.join(layout.text)} and {told} for {space.name}")
    own = "; for a space of your own name its file with --space" if len(spaces) > 1 else ""
    return f"it needs {'; '.join(parts)}{own}"
