"""`vitruvius report`: one HTML file about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default report.html in the run.")
    ] = None,
    reveal_test: Annotated[
        bool, typer.Option("--reveal-test", help="Add the test metric of the best architectures.")
    ] = False,
) -> None:
    """Write one static HTML file: figures, principles with evidence, pruning, costs, settings."""
    from vitruvius.report import write_report

    typer.echo(f"wrote {write_report(run, out, reveal_test=reveal_test)}")
