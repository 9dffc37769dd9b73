"""`vitruvius run`: start or resume a session."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vitruvius.cli import run_options as options

if TYPE_CHECKING:
    from vitruvius.config import Settings


def run(
    config: options.Config = None,
    folder: options.Folder = None,
    task: options.Task = None,
    evaluations: options.Evaluations = None,
    reasoner: options.Reasoner = None,
    proposer: options.Proposer = None,
    proposer_url: options.ProposerUrl = None,
    seed: options.Seed = None,
    table: options.Table = None,
    evaluator: options.Evaluator = None,
    function: options.Function = None,
    costs: options.Costs = None,
    workers: options.Workers = None,
    address: options.Address = None,
    gpus: options.Gpus = None,
    score: options.Score = None,
    latency: options.Latency = None,
    latency_file: options.LatencyFile = None,
    asynchronous: options.Asynchronous = None,
    dataset: options.Dataset = None,
    recipe: options.Recipe = None,
    device: options.Device = None,
    halving: options.Halving = None,
    hyperband: options.Hyperband = None,
    where: options.Where = None,
    objectives: options.Objectives = None,
    source: options.Source = None,
    templates: options.Templates = None,
    ledger: options.Ledger = None,
    setting: options.Set = None,
    quiet: options.Quiet = False,
) -> None:
    """Search a task: learn principles from source tasks, generate, measure, and learn from it.

    Without arguments: NAS-Bench-Graph (embedded), target cora, 50 evaluations. The same command resumes.
    """
    overrides: dict[str, Any] = {
        "task": task, "evaluations": evaluations, "reasoner": reasoner, "proposer": proposer,
        "proposer_url": proposer_url, "seed": seed, "table": table, "evaluator": evaluator,
        "function": function, "costs": costs, "where": where, "objectives": objectives, "score": score,
        "workers": workers, "address": address, "gpus": gpus, "asynchronous": asynchronous,
        "latency": latency, "latency_files": latency_file, "dataset": dataset, "recipe": recipe,
        "device": device, "halving": halving, "hyperband": hyperband, "templates": templates,
        "ledger": ledger, "sources": _sources(source), **_pairs(setting or []),
    }  # fmt: skip
    started, place = time.monotonic(), None

    def progress(line: str) -> None:
        if not quiet:
            typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")

    try:
        settings, place = find_settings(config, folder, overrides)
        _search(settings, place, progress)
    except KeyboardInterrupt:
        if place is None:  # while it was being imported
            raise
        typer.echo(f"\n{_stopped(place)}", err=True)
        raise SystemExit(130) from None


def _stopped(place: Path) -> str:
    """How to go on after Ctrl-C; where nothing was begun, the folder's name alone would not do."""
    from vitruvius.config import SETTINGS_FILE
    from vitruvius.generator.files import as_argument

    if not (place / SETTINGS_FILE).is_file():
        return "Stopped before anything was begun: run the same command again."
    return f"Stopped. Nothing measured is lost: `vitruvius run --run {as_argument(place)}` goes on."


def _sources(source: list[str] | None) -> list[str] | str | None:
    if source in (["auto"], ["none"]):
        return source[0]
    return source or None


def _pairs(texts: list[str]) -> dict[str, str]:
    from vitruvius.errors import SettingsError

    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = re.sub(r"^(options|train)\.", "", name.strip())  # as settings are named in messages
        if not equals or not name:
            raise SettingsError(f"--set {text!r} is not NAME=VALUE: write for example --set batch=5.")
        pairs[name] = value.strip()
    return pairs


def find_settings(
    config: Path | None, folder: Path | None, overrides: dict[str, Any]
) -> tuple[Settings, Path]:
    """Settings and run folder: a folder that exists brings its own settings, which options then change."""
    from vitruvius.config import SETTINGS_FILE, load_settings

    if config is None and folder is not None and (folder / SETTINGS_FILE).is_file():
        return load_settings(folder / SETTINGS_FILE, overrides), folder
    settings = load_settings(config, overrides)
    if folder is not None:
        return settings, folder
    task = re.sub(r"[^\w.]+", "-", settings.task)
    mind = re.sub(r":/(.*/)?", ":", settings.options.reasoner)  # of a model folder its name
    mind = re.sub(r"[^\w.]+", "-", mind)
    where = Path("runs") / f"{task}-{mind}-seed{settings.options.seed}"
    if config is None and (where / SETTINGS_FILE).is_file():
        settings = load_settings(where / SETTINGS_FILE, overrides)
    return settings, where


def _search(settings: Settings, where: Path, progress: Any) -> None:
    alone = settings.sources == "none" or (settings.sources == "auto" and settings.evaluator != "table")
    sources = "" if alone else " and its sources"
    progress(f"run        {where}: reading {settings.task}{sources}")  # seconds, the first time
    from vitruvius.building import build_plan, build_session
    from vitruvius.cli.show import print_summary
    from vitruvius.promotion import promote_best, promotion_lines
    from vitruvius.summary import summarise_session

    with build_session(settings, where, progress) as session:
        session.run(settings.evaluations)
        session.compare(settings.evaluations)
        # Here, where the ledger is open: its password, if it has one, stands in no file.
        summary = summarise_session(session.ledger, session.id, run=str(where))
        plan = build_plan(settings)
        rungs = (
            promote_best(session.journal, plan, progress, session.aims.feasible) if plan is not None else []
        )
        lines = list(promotion_lines(rungs, session.task.metric))
    print_summary(summary)
    for line in lines:
        typer.echo(line)
