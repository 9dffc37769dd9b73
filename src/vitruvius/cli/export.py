"""`vitruvius export`: the winner of a run as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.findings import Summary
    from vitruvius.generator.networks.costs import Shape


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write; by default winner in the run.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Key of an architecture; by default the best of the run.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes, for data of your own.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the images.")] = None,
    size: Annotated[int | None, typer.Option(min=4, help="Side of the images, in pixels.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of the first stage.")] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Cells in each stage.")] = None,
) -> None:
    """Write the winner as a stand-alone PyTorch model with a card.

    The written model.py is loaded in a clean process and compared with the searched network before
    success is printed.
    """
    from vitruvius.errors import UserError
    from vitruvius.generator.export import export_architecture
    from vitruvius.generator.networks import check_networks
    from vitruvius.generator.space import get_space
    from vitruvius.summary import summarise

    summary = summarise(run)
    space_name, _, dataset = summary.task.partition("/")
    space = get_space(space_name)
    check_networks(space)
    if architecture is None and summary.best is None:
        raise UserError(f"Nothing in {run} has a score yet: go on with the run, or name an --architecture.")
    chosen = space.parse(architecture or (summary.best.key if summary.best else ""))
    shape = _shape(dataset, classes, channels, size, width, cells)
    done = export_architecture(chosen, to or run / "winner", shape, _facts(summary, chosen.key))
    typer.echo(f"exported {chosen.key}")
    typer.echo(f"  to {done.folder}: {', '.join(done.files)}")
    typer.echo(f"  checked in a clean process: largest difference of the outputs {done.difference:.1e}")
    typer.echo("  untrained: no evaluator keeps weights yet")


def _shape(
    dataset: str,
    classes: int | None,
    channels: int | None,
    size: int | None,
    width: int | None,
    cells: int | None,
) -> Shape:
    """What the network is built for: what is known of the data set, and what the options say."""
    from vitruvius.errors import UserError
    from vitruvius.generator.export import SHAPES
    from vitruvius.generator.networks.costs import Shape

    known = SHAPES.get(dataset)
    if known is None:
        if classes is None or channels is None or size is None:
            raise UserError(
                f"The images of {dataset!r} are not known here: say --classes, --channels and --size. "
                f"Known: {', '.join(SHAPES)}."
            )
        known = Shape(classes, channels, size, size)
    return Shape(
        classes or known.classes, channels or known.in_channels,
        size or known.height, size or known.width, width or known.stem, cells or known.cells,
    )  # fmt: skip


def _facts(summary: Summary, key: str) -> list[str]:
    """What the run knows of this architecture, for the card."""
    winner = next((winner for winner in summary.winners if winner.key == key), None)
    if winner is None:
        return [f"not among the best of the run {summary.run}"]
    score = f"{summary.metric} {winner.score:.4g} {summary.unit}".rstrip()
    return [
        f"{score} on {summary.task}, used for the search: expect less on new data",
        f"found at evaluation {winner.evaluation} of {summary.counted} in {summary.run}",
        *(f"agrees with a supported principle: {sentence}" for sentence in winner.principles),
    ]
