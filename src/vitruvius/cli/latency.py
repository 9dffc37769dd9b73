"""`vitruvius latency`: latencies on a device where only a few architectures were timed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.generator.evaluation.task import Task

app = typer.Typer(no_args_is_help=True)

TaskName = Annotated[str, typer.Option("--task", help="SPACE/DATASET whose table knows other devices.")]
TablePath = Annotated[Path | None, typer.Option("--table", help="Benchmark table: Parquet file or folder.")]


@app.command("propose")
def propose(
    task: TaskName = "nasbench201/cifar10",
    table: TablePath = None,
    number: Annotated[int, typer.Option("-n", help="How many to time.")] = 10,
    out: Annotated[Path | None, typer.Option(help="A CSV file to fill in, with the columns key,ms.")] = None,
) -> None:
    """The architectures to time on a new device, chosen to tell most about all others."""
    from vitruvius.generator.evaluation.latency_files import write_proposals
    from vitruvius.generator.evaluation.latency_predictor import LatencySources
    from vitruvius.generator.files import as_argument, check_out

    check_out(out)
    known = _open(task, table)
    sources = LatencySources(known.space, known.bench.costs)
    keys = known.space.keys(sources.telling(number))
    for key in keys:
        typer.echo(key)
    if out is not None:
        write_proposals(out, keys)
        again = f"vitruvius latency predict {as_argument(out)} {_where(known, table)}"
        typer.echo(f"wrote {out}: fill in the column ms, then `{again}`", err=True)


@app.command("predict")
def predict(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet file with `key` and `ms` of what was timed.")],
    task: TaskName = "nasbench201/cifar10",
    table: TablePath = None,
    architecture: Annotated[
        list[str] | None, typer.Option("--architecture", "-a", help="Tell that of this one; repeat it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write those of the whole space to this Parquet or CSV file.")
    ] = None,
) -> None:
    """Predict latencies from a few that were timed and other devices' tables, and say how well."""
    import numpy as np

    from vitruvius.generator.evaluation.latency_files import write_latencies
    from vitruvius.generator.evaluation.with_latency import WithLatency
    from vitruvius.generator.files import check_out

    check_out(out)
    device, known = file.stem, _open(task, table)
    space = known.space
    bench = WithLatency(known.evaluator, {device: file}).open(space, known.dataset)
    for line in bench.describe():
        typer.echo(line)
    for text in architecture or ():
        one = space.parse(text)
        typer.echo(f"{bench.costs(one.row)[f'latency[{device}]'][0]:10.4g} ms  {one.key}")
    rows = bench.predictors[device].sources.rows if space.size is None else space.enumerate()
    milliseconds = bench.costs(rows)[f"latency[{device}]"]
    least, quarter, most = np.nanquantile(milliseconds, (0.0, 0.25, 1.0)).tolist()
    typer.echo(f"from {least:.3g} to {most:.3g} ms; a quarter of the space is below {quarter:.3g} ms")
    if out is not None:
        write_latencies(out, space.keys(rows), milliseconds)
        typer.echo(f"wrote {len(rows):,} latencies to {out}; what was timed stands in it as timed")
    where = f'"latency[{device}] < {quarter:.3g}ms"'
    timed = shlex.quote(f"{device}={file}")
    typer.echo(f"next: vitruvius run {_where(known, table)} --latency-file {timed} --where {where}")


def _where(known: Task, table: Path | None) -> str:
    """The options that name the same task again."""
    from vitruvius.generator.files import as_argument

    return f"--task {shlex.quote(known.name)}" + (f" --table {as_argument(table)}" if table else "")


def _open(task: str, table: Path | None) -> Task:
    from vitruvius.generator.evaluation.table import Table
    from vitruvius.generator.evaluation.task import Task

    return Task(task, Table(table))
