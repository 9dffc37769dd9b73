"""All commands of the command line, put together."""

from __future__ import annotations

import typer

from vitruvius.cli import (
    doctor,
    export,
    generator,
    latency,
    principles,
    prompts,
    report,
    retrain,
    run,
    score,
    show,
    spaces,
    tables,
)

app = typer.Typer(
    name="vitruvius",
    help="Search for neural network architectures with language models, and remember what was learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("score")(score.score)
app.command("retrain")(retrain.retrain)
app.command("doctor")(doctor.doctor)
app.add_typer(principles.app, name="principles", help="Query what was learned.")
app.add_typer(prompts.app, name="prompts", help="List, show, edit, check and test prompt templates.")
app.add_typer(generator.app, name="generator", help="Train, sample, score and serve the code model.")
app.add_typer(spaces.app, name="spaces", help="List and show search spaces.")
app.add_typer(latency.app, name="latency", help="Predict latencies from a few that were timed.")
app.add_typer(tables.app, name="tables", help="Import and show benchmark tables.")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("vitruvius"))
        raise typer.Exit


@app.callback()
def _common(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options of every command; `--debug` is read by `main`."""
