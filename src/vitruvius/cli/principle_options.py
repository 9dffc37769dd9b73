"""What the commands about principles share: their options, and how they open a run."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.knowledge.ledger import Ledger
    from vitruvius.knowledge.store import Store

Run = Annotated[Path | None, typer.Option(help="The run folder; by default the newest under ./runs.")]
Space = Annotated[str | None, typer.Option(help='Only those that speak of this space, "any" included.')]
Task = Annotated[str | None, typer.Option(help='Only those that speak of this task, "any" included.')]
Status = Annotated[
    str | None,
    typer.Option(help="proposed, supported, contested, refuted, superseded or retracted."),
]
About = Annotated[str | None, typer.Option(help="Only those that name this operation.")]
MinSupport = Annotated[int, typer.Option(min=0, help="Only those that so many architectures agree with.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
Url = Annotated[
    str | None, typer.Option(help="A Chroma server, http://host:port, in place of the run's own index.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain data.")]


@contextmanager
def opened(run: Path | None) -> Generator[tuple[Path, Ledger]]:
    """The run folder, the newest where none is named, and its ledger."""
    from vitruvius.errors import UserError
    from vitruvius.generator.files import as_argument
    from vitruvius.knowledge.imports import waiting
    from vitruvius.knowledge.run_folder import is_run, newest_run, open_ledger

    folder = newest_run() if run is None else run
    if not is_run(folder) and (count := waiting(folder)):
        wait = f"{count} principle{' waits' if count == 1 else 's wait'}"
        raise UserError(
            f"{folder} has not begun: {wait} for `vitruvius run --run {as_argument(folder)} --task "
            "SPACE/DATASET`, which takes them over and tests them."
        )
    if run is None:
        typer.echo(f"of {folder}, the newest run", err=True)
    with open_ledger(folder) as ledger:
        yield folder, ledger


@contextmanager
def opened_store(run: Path | None, url: str | None = None) -> Generator[tuple[Path, Store]]:
    """The run folder and its store; what the store has to say goes to standard error."""
    from vitruvius.knowledge.store import open_store

    with opened(run) as (folder, ledger), open_store(ledger, folder, url=url, reading=True) as store:
        tell(store.notes)
        yield folder, store


def tell(notes: Iterable[str]) -> None:
    """Print notes where they do not mix with the answer."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)
