"""`vitruvius run`: start or resume a session."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vitruvius.config import Settings


def run(
    config: Annotated[
        Path | None, typer.Argument(help="Settings file (TOML); everything has a default.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--run", help="Run folder; by default one under runs/.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is searched: SPACE/DATASET.")] = None,
    evaluations: Annotated[int | None, typer.Option(help="Budget: evaluations of the target.")] = None,
    reasoner: Annotated[
        str | None, typer.Option(help="statistics, none, openai:MODEL, vllm:PATH-OR-NAME, both:MODEL.")
    ] = None,
    proposer: Annotated[
        str | None, typer.Option(help="auto, vllm, vllm-server, transformers, ngram, uniform.")
    ] = None,
    proposer_url: Annotated[str | None, typer.Option(help="Address of the server, for vllm-server.")] = None,
    seed: Annotated[int | None, typer.Option(help="All randomness comes from here.")] = None,
    table: Annotated[str | None, typer.Option(help="Benchmark table: Parquet file or folder.")] = None,
    evaluator: Annotated[str | None, typer.Option(help="table (look up) or train.")] = None,
    dataset: Annotated[str | None, typer.Option(help="What `--evaluator train` trains on.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Source task; repeat it. `auto` or `none` as the only one.")
    ] = None,
    templates: Annotated[str | None, typer.Option(help="Folder with prompt templates of your own.")] = None,
    ledger: Annotated[str | None, typer.Option(help="SQLAlchemy URL of a shared ledger.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting: NAME=VALUE; repeat it.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary at the end.")] = False,
) -> None:
    """Search a task: learn principles from source tasks, generate, measure, and learn from it.

    Without arguments: NAS-Bench-Graph (embedded), target cora, 50 evaluations. The same command on
    the same folder resumes or extends.
    """
    overrides: dict[str, Any] = {
        "task": task, "evaluations": evaluations, "reasoner": reasoner, "proposer": proposer,
        "proposer_url": proposer_url, "seed": seed, "table": table, "evaluator": evaluator,
        "dataset": dataset, "templates": templates, "ledger": ledger, "sources": _sources(source),
        **_pairs(setting or []),
    }  # fmt: skip
    settings, where = _find(config, folder, overrides)
    started = time.monotonic()

    def progress(line: str) -> None:
        if not quiet:
            typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")

    try:
        _search(settings, where, progress)
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. Nothing measured is lost: `vitruvius run --run {where}` goes on.", err=True)
        raise SystemExit(130) from None


def _sources(source: list[str] | None) -> list[str] | str | None:
    if source in (["auto"], ["none"]):
        return source[0]
    return source or None


def _pairs(texts: list[str]) -> dict[str, str]:
    from vitruvius.errors import SettingsError

    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text!r} is not NAME=VALUE: write for example --set batch=5.")
        pairs[name.strip()] = value.strip()
    return pairs


def _find(config: Path | None, folder: Path | None, overrides: dict[str, Any]) -> tuple[Settings, Path]:
    """Settings and run folder: a folder that exists brings its own settings."""
    from vitruvius.config import SETTINGS_FILE, load_settings

    settings = load_settings(config, overrides)
    task = re.sub(r"[^\w.]+", "-", settings.task)
    mind = re.sub(r"[^\w.]+", "-", settings.options.reasoner)
    where = folder or Path("runs") / f"{task}-{mind}-seed{settings.options.seed}"
    if config is None and (where / SETTINGS_FILE).is_file():
        settings = load_settings(where / SETTINGS_FILE, overrides)
    return settings, where


def _search(settings: Settings, where: Path, progress: Any) -> None:
    from vitruvius.cli.show import print_summary
    from vitruvius.config import build_session
    from vitruvius.summary import summarise_session

    with build_session(settings, where, progress) as session:
        session.run(settings.evaluations)
        session.compare(settings.evaluations)
        # Here, where the ledger is open: its password, if it has one, stands in no file.
        summary = summarise_session(session.ledger, session.id, run=str(where))
    print_summary(summary)
