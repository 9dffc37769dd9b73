"""The command line: one module for each noun; heavy imports wait until a command needs them."""

from __future__ import annotations

import errno
import os
import sys

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


def main() -> None:
    """Run the command line: errors of ours become one sentence and exit code 1, `--debug` shows where."""
    from vitruvius.errors import VitruviusError

    # Read when torch is loaded; else its CPU backend tells about memory nodes in the middle of a run.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    debug = "--debug" in sys.argv
    if debug:
        # Accepted anywhere on the line: whoever adds it adds it at the end.
        sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except VitruviusError as error:
        if debug:
            raise
        _fail(str(error))
    except Exception as error:
        if debug or (not isinstance(error, OSError) and not _disk_full(error)):
            raise
        if _disk_full(error):
            where = getattr(error, "filename", None) or "while writing"
            _fail(
                f"No space is left on the disk ({where}): free some and run the same again; "
                "all that was recorded before is kept."
            )
        _fail(
            f"{getattr(error, 'filename', None) or 'A file'} cannot be used "
            f"({getattr(error, 'strerror', None) or error}): give a path that can be read and written."
        )


def _disk_full(error: BaseException) -> bool:
    """Whether this, or what it was raised from, says that the disk is full.

    Libraries that write files in another language (safetensors, Chroma, Arrow) raise errors of their
    own, which tell it in words only.
    """
    told = str(error).lower()
    if getattr(error, "errno", None) == errno.ENOSPC or any(words in told for words in _FULL):
        return True
    return error.__cause__ is not None and _disk_full(error.__cause__)


_FULL = ("no space left on device", "disk is full")


def _fail(sentence: str) -> None:
    typer.echo(f"error: {sentence}", err=True)
    raise SystemExit(1)
