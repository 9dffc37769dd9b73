"""`vitruvius retrain`: train an exported winner in full, beside what it has to be better than."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def retrain(
    folder: Annotated[Path, typer.Argument(help="A folder that `vitruvius export` wrote.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="What to train on, as for `run`; by default as the last time, or as the run did."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="full (that of the space's benchmark), another one's name, or a TOML file.")
    ] = "full",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train of each, with seeds from 0.")] = 3,
    against: Annotated[
        str | None,
        typer.Option(help="Key of the architecture to compare with; by default the best of random search."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares for training, validation and test, 0.4,0.4,0.2; by default those of the run."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
) -> None:
    """Train the winner and its rival with the same recipe, data and seeds, and say whether it is better.

    The folder gets the weights of the first seed that did not diverge, and the card the scores, with
    intervals. After an interruption the same command goes on; seeds that were finished are not trained again.
    """
    try:
        from vitruvius.generator.evaluation.images import as_split
        from vitruvius.generator.export.retraining import retrain as train_again

        done = train_again(
            folder, dataset=dataset, recipe=recipe, seeds=seeds, against=against, device=device,
            split=None if split is None else as_split(split), progress=typer.echo,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("\nStopped. Finished seeds are kept: the same command goes on.", err=True)
        raise SystemExit(130) from None
    rows = [done.winner, *([done.rival] if done.rival else [])]
    wide = max(len(row.what) for row in rows)
    used = ", ".join(map(str, done.seeds))
    typer.echo(f"{done.part}, recipe {done.recipe} ({done.fidelity}), on {done.data}, seeds {used}")
    for row in rows:
        flops = "" if row.flops is None else f", {row.flops:.2f} M multiply-adds"
        typer.echo(f"  {row.what:<{wide}}  {row.summary}  ({row.params:.4f} M parameters{flops})")
    for line in done.diverged:
        typer.echo(line)
    typer.echo(done.verdict)
    typer.echo(f"weights of seed {done.kept} and the card are in {folder}")
