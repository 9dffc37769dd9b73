"""`vitruvius score`: what untrained networks tell, and how long they take here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.generator.evaluation.scored import ZeroCostBench
    from vitruvius.generator.space import Architecture, SearchSpace


def score(
    space: Annotated[str, typer.Argument(help="Name of the space.")],
    architecture: Annotated[
        list[str] | None, typer.Option("--architecture", "-a", help="An architecture; repeat it.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Also those of a CSV or Parquet file with a column `key`.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Also score so many drawn uniformly.")] = 0,
    scores: Annotated[
        str, typer.Option(help="Which scores, with commas; `none` for latency alone.")
    ] = "nwot,synflow,params,flops",
    dataset: Annotated[
        str, typer.Option(help="Images to look at: digits, mnist, cifar10, a path.")
    ] = "digits",
    image_size: Annotated[
        int | None, typer.Option(min=4, help="Height and width that image files are scaled to.")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Images that scores look at.")] = 64,
    width: Annotated[int, typer.Option(min=0, help="Channels of the first stage; 0: the benchmark's.")] = 0,
    cells: Annotated[int, typer.Option(min=0, help="Cells in each stage; 0: the benchmark's.")] = 0,
    latency: Annotated[
        list[int] | None, typer.Option(min=1, help="Also time passes of so many images; repeat it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of weights and drawn architectures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write a Parquet or CSV file.")] = None,
) -> None:
    """Score untrained networks in a batch: seconds each, no training; and time them on this device.

    Larger is better for every score but params and flops, which only say how large a network is.
    """
    from vitruvius.errors import UserError
    from vitruvius.generator.evaluation.latency_files import read_keys
    from vitruvius.generator.evaluation.scored import Setup, ZeroCost
    from vitruvius.generator.files import check_out
    from vitruvius.generator.space import get_space

    names = _names(scores, latency)
    named = [*(architecture or ()), *(read_keys(keys) if keys is not None else ())]
    chosen = _chosen(get_space(space), named, sample, seed)
    if not chosen:
        raise UserError("Nothing to score: name architectures with -a TEXT, or draw some with --sample 10.")
    check_out(out)
    evaluator = ZeroCost(dataset=dataset, setup=Setup(images, width, cells, device), image_size=image_size)
    bench = evaluator.open(get_space(space), evaluator.images.name)
    columns = [*names, *(f"ms, batch {batch}" for batch in latency or [])]
    typer.echo(f"{space} on {evaluator.images.name}, {images} images, seed {seed}, {bench.device}")
    typer.echo("  ".join([*(f"{name:>12}" for name in columns), "architecture"]))
    rows: dict[str, list[float]] = {name: [] for name in columns}
    for one in chosen:
        found = {**_scores(bench, one, names, seed), **_times(bench, one, latency or [], seed)}
        for name in columns:
            rows[name].append(found[name])
        typer.echo("  ".join([*(_cell(found[name]) for name in columns), one.key]))
    if out is not None:
        _write(out, chosen, rows)
        typer.echo(f"wrote {out}")


def _names(scores: str, latency: list[int] | None) -> list[str]:
    """The scores that are asked for, each once.

    Raises:
        UnknownNameError: No such score.
        UserError: Neither scores nor latencies.
    """
    from vitruvius.errors import UserError, unknown_name
    from vitruvius.generator.evaluation.scored import NAMES

    names = [] if scores == "none" else [name.strip() for name in scores.split(",") if name.strip()]
    for name in names:
        if name not in NAMES:
            raise unknown_name("score", name, [*NAMES, "none"])
    if not names and not latency:
        raise UserError(
            f"Nothing is asked of the networks: name --scores, of {', '.join(NAMES)}, or give --latency 1."
        )
    return list(dict.fromkeys(names))


def _write(out: Path, chosen: list[Architecture], rows: dict[str, list[float]]) -> None:
    import numpy as np

    from vitruvius.generator.evaluation.columns import Column, write_columns

    table: dict[str, Column] = {"key": [one.key for one in chosen]}
    table |= {name: np.array(values, dtype=np.float64) for name, values in rows.items()}
    write_columns(out, table)


def _chosen(space: SearchSpace, texts: list[str], sample: int, seed: int) -> list[Architecture]:
    import numpy as np

    drawn = space.architectures(space.sample(sample, np.random.default_rng(seed))) if sample else []
    return [*map(space.parse, texts), *drawn]


def _scores(bench: ZeroCostBench, one: Architecture, names: list[str], seed: int) -> dict[str, float]:
    return bench.scores(one, names, seed=seed) if names else {}


def _times(bench: ZeroCostBench, one: Architecture, batches: list[int], seed: int) -> dict[str, float]:
    """Median milliseconds by column; the spread and the energy are said at once."""
    from vitruvius.generator.evaluation.latency import measure_latency

    found: dict[str, float] = {}
    for batch in batches:
        taken = measure_latency(bench.build(one, seed), bench.images.size, batch=batch, device=bench.device)
        typer.echo(f"# {taken}", err=True)
        found[f"ms, batch {batch}"] = taken.median
    return found


def _cell(value: float) -> str:
    return f"{'undefined':>12}" if math.isnan(value) else f"{value:12.5g}"
