"""`vitruvius doctor`: what is installed, reachable, missing; and whether a reasoner is any good."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vitruvius.exam import Report


def doctor(
    reasoner: Annotated[
        str | None,
        typer.Option(
            help="Examine this reasoner instead: statistics, openai:MODEL, vllm:PATH-OR-NAME, "
            "both:openai:MODEL, FILE.py:NAME."
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Reflections of the exam; by default 6.")] = None,
    templates: Annotated[Path | None, typer.Option(help="Folder with prompt templates of your own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """What is installed, reachable, missing; each with the command that mends it.

    Ends with exit code 1 only if something is missing that `vitruvius run` without arguments needs.
    With --reasoner: a short exam on a table in which every answer is known.
    """
    if reasoner is not None:
        _examine(reasoner, trials, templates, as_json)
        return
    from vitruvius.doctor import Check, examine

    checks: list[Check] = []
    for check in examine(_say):
        checks.append(check)
        if not as_json:
            _print(check.name, check.ok, check.needed, check.detail, check.mend)
    if as_json:
        typer.echo(json.dumps([check.as_json() for check in checks], indent=2))
    missing = [check.name for check in checks if check.needed and not check.ok]
    if not as_json:
        typer.echo(f"missing for the main job: {', '.join(missing)}" if missing else "the main job can run")
    raise typer.Exit(1 if missing else 0)


def _say(line: str) -> None:
    """What is no part of the answer goes to standard error."""
    typer.echo(line, err=True)


def _print(name: str, ok: bool, needed: bool, detail: str, mend: str) -> None:
    state = "ok" if ok else "MISSING" if needed else "absent"
    typer.echo(f"{state:8}{name:30}{detail}")
    if mend:
        typer.echo(f"{'':38}-> {mend}")


def _examine(spec: str, trials: int | None, templates: Path | None, as_json: bool) -> None:
    """Put a reasoner to the exam and print the report."""
    from vitruvius.agents.prices import FREE
    from vitruvius.agents.reasoners import make_reasoner
    from vitruvius.agents.spending import Allowance, Limits
    from vitruvius.exam import TRIALS, take_exam

    reasoner = make_reasoner(spec, templates=templates, say=_say)
    count = trials or TRIALS
    if reasoner.uses_templates and getattr(reasoner, "price", None) != FREE:
        most = min(count * Limits().money, Allowance().money)
        _say(f"{count} reflection{'s' * (count != 1)} of {reasoner.name}, at most ${most:.2f} in all")
    try:
        report = take_exam(reasoner, trials=count, say=_say)
    finally:
        reasoner.close()
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)


def _print_report(report: Report) -> None:
    from vitruvius.agents.spending import told_cost
    from vitruvius.exam import EVALUATIONS, FEWEST

    count = len(report.trials)
    tasks = ", ".join(dict.fromkeys(trial.task for trial in report.trials))
    typer.echo(
        f"{count} {'trial' if count == 1 else 'trials'} on {tasks}: 50 architectures shown, all others judge"
    )
    if report.replies:
        told = ", ".join(f"{number} {outcome}" for outcome, number in report.replies.most_common())
        typer.echo(f"replies          {told}")
    refused = ", ".join(f"{number} {reason}" for reason, number in report.refused.most_common())
    typer.echo(f"principles       {report.proposed} valid; refused: {refused or 'none'}")
    share = report.useful / max(report.proposed, 1)
    typer.echo(f"tell something   {report.useful} ({share:.0%}); by chance {report.chance:.0%}")
    names = ["this reasoner", "statistics", "counting", "nothing"]
    areas = [sum(t.areas[i] for t in report.trials) / count for i in range(3)] + [0.5]
    regrets = [sum(t.regrets[i] for t in report.trials) / count for i in range(4)]
    typer.echo(f"{'':17}" + "".join(f"{name:>15}" for name in names))
    typer.echo(f"{'best 1 % kept':17}" + "".join(f"{value:15.3f}" for value in areas))
    typer.echo(f"{f'regret at {EVALUATIONS}':17}" + "".join(f"{value:15.4f}" for value in regrets))
    mean, low, high = report.gain
    interval = f"95 % interval {low:+.4f} to {high:+.4f}"
    if not math.isfinite(low):
        interval = f"no interval from {count} trial{'s' * (count != 1)}: --trials {FEWEST} or more gives one"
    typer.echo(f"better than statistics by {mean:+.4f}, {interval}")
    cost = told_cost(report.paid, report.unpriced)
    tokens = f"{report.tokens[0]:,} tokens in, {report.tokens[1]:,} out"
    typer.echo(f"spent            {report.seconds:.0f} s, {tokens}, {cost}")
    for note in report.notes[:3] if report.replies else []:
        typer.echo(f"note: {note}")
    typer.echo(report.verdict)
