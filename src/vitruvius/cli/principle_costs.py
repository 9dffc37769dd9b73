"""`vitruvius principles costs`: what makes architectures large or slow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvius.cli import principle_lines as lines
from vitruvius.cli.principle_options import About, AsJson, Limit

if TYPE_CHECKING:
    from vitruvius.agents.options import Options


def costs(
    predicate: Annotated[
        str | None, typer.Argument(help='Ask about this one only: "conv3x3 feeds conv3x3".')
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="SPACE/DATASET; by default that of the run.", show_default=False)
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Benchmark table: Parquet file or folder.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run folder, for its task, table and latency files.")
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="params, flops, latency[DEVICE], or all; by default those that the run limits, if it does."
        ),
    ] = None,
    about: About = None,
    limit: Limit = 5,
    as_json: AsJson = False,
) -> None:
    """What makes architectures large or slow, by table or formula: no hypotheses, nothing is measured."""
    from vitruvius.building import build_task
    from vitruvius.config import SETTINGS_FILE, load_settings
    from vitruvius.errors import UserError
    from vitruvius.knowledge.cost_rules import cost_rules, known_costs
    from vitruvius.knowledge.run_folder import know_spaces, newest_run

    settings = None
    if task is None:
        settings = (newest_run() if run is None else run) / SETTINGS_FILE
        if not settings.is_file():
            raise UserError(
                f"{settings.parent} has no {SETTINGS_FILE}: name what it searched with --task SPACE/DATASET."
            )
        know_spaces(settings.parent)
    elif run is not None:
        raise UserError("--task and --run were both given: name one of them.")
    given = {"task": task, "table": None if table is None else str(table)}
    loaded = load_settings(settings, given)
    searched = build_task(loaded)
    known = sorted(known_costs(searched))
    if not known:
        raise UserError(f"Nothing is known of what architectures of {searched.name} cost.")
    limited = [] if cost is not None or settings is None else _limited(loaded.options)
    names = limited or (known if cost in (None, "all") else [cost])
    found = {name: cost_rules(searched, name, predicate=predicate, about=about) for name in names}
    if as_json:
        lines.print_json([rule.as_json() for rules in found.values() for rule in rules[:limit]])
        return
    for name, rules in found.items():
        lines.say(f"{name} in {searched.name}", style="bold")
        for rule in rules[:limit]:
            lines.say(f"{rule.change:+5.0%}  {rule.predicate.text()}: {rule.sentence()}")
    if limited and len(known) > len(limited):
        lines.say(f"What the run limits, of {len(known)} costs that are known; `--cost all` tells of each.")


def _limited(options: Options) -> list[str]:
    """The costs that a run bounds or wants to be small."""
    from vitruvius.knowledge.predicate import Predicate, costs_in

    bounds = () if options.where is None else costs_in(Predicate.parse(options.where))
    return list(dict.fromkeys([*options.objectives, *bounds]))
