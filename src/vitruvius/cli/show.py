"""`vitruvius show`, and the summary that ends `vitruvius run`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvius.generator.files import as_argument
from vitruvius.generator.networks import SPACES_WITH_NETWORKS

if TYPE_CHECKING:
    from rich.console import Console

    from vitruvius.findings import Summary
    from vitruvius.knowledge.principle import Effect

MILESTONES = 5
"""Columns of the curve's table."""


def show(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """Best architectures, curve, budget, principles, what was pruned, where time went."""
    from vitruvius.summary import summarise

    summary = summarise(run)
    if as_json:
        typer.echo(json.dumps(summary.as_json(), indent=2))
        return
    print_summary(summary)
    for line in _trained_longer(run, summary):
        typer.echo(line)


def _trained_longer(run: Path, summary: Summary) -> list[str]:
    """What halving trained after the search."""
    from vitruvius.knowledge.run_folder import open_ledger
    from vitruvius.promotion import trial_lines, trials

    with open_ledger(run) as ledger:
        return list(trial_lines(trials(ledger, summary.session), summary.metric, summary.unit))


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print a summary for people.

    Args:
        summary: What a session found.
        console: Where to; None is standard output.
    """
    if console is None:
        from rich.console import Console

        console = Console(highlight=False)
    for part in (_best, _front, _dear, _curve, _sources, _principles, _pruning, _costs, _next):
        part(summary, console)


def _line(console: Console, text: str = "") -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _title(console: Console, text: str) -> None:
    _line(console)
    console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)


def _best(summary: Summary, console: Console) -> None:
    _title(console, f"{summary.task} in {summary.run or 'memory'}")
    if not summary.finished:
        _line(console, f"not finished{_again(summary.run)}")
    within = summary.planned is not None and summary.counted <= summary.planned
    budget = f" of {summary.planned}" if within else ""
    _line(console, f"evaluations: {summary.counted}{budget} counted, {summary.paid} paid")
    if summary.constraint:
        _line(console, f"constraint: {summary.constraint}")
    if summary.tabled:
        _line(console, f"table: {summary.tabled}")
    for line in summary.foretold:
        _line(console, line)
    if summary.failures:
        told = ", ".join(f"{n} {status}" for status, n in summary.failures.items())
        _line(console, f"without a score: {told}")
    if summary.best is None:
        _line(console, "nothing has a score yet")
        return
    best = summary.best
    _title(console, f"Best architecture: {summary.metric} {number(best.score)} {summary.unit}".rstrip())
    _line(console, f"{best.key}  (evaluation {best.evaluation}, {best.share}{summary.costs_of(best)})")
    _line(console, best.drawing)
    for sentence in best.principles:
        _line(console, f"  agrees with: {sentence}")
    for place, winner in enumerate(summary.winners[1:], start=2):
        _line(console, f"{place}. {number(winner.score)}  {winner.key}")


def _again(run: str) -> str:
    """How a run goes on; that of a script, which has no settings file, from there."""
    from vitruvius.knowledge.run_folder import SETTINGS_FILE

    if not run:
        return ""
    if not (Path(run) / SETTINGS_FILE).is_file():
        return ": the script that began it goes on with it"
    return f": `vitruvius run --run {as_argument(run)}` goes on"


def _front(summary: Summary, console: Console) -> None:
    if not summary.front:
        return
    from vitruvius.agents.aims import unit

    names = list(summary.front[0].costs)
    _title(
        console,
        f"Pareto front: {len(summary.front)} of {summary.counted} that nothing measured beats in everything",
    )
    heads = [summary.metric, *(f"{name}, {unit(name)}" for name in names), "evaluation"]
    rows = [
        [number(one.score), *(number(one.costs[name]) for name in names), str(one.evaluation)]
        for one in summary.front
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row, key in zip([heads, *rows], ["architecture", *(one.key for one in summary.front)], strict=True):
        cells = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        _line(console, f"{cells}  {key}")
    _marks(
        console,
        "Hypervolume after so many evaluations, 1 for the best score at the lowest cost",
        summary.volumes,
    )


def _dear(summary: Summary, console: Console) -> None:
    if not summary.dear:
        return
    _title(console, "What costs, in the whole space (more: `vitruvius principles costs`)")
    for sentence in summary.dear:
        _line(console, sentence)


def _curve(summary: Summary, console: Console) -> None:
    if not summary.curve:
        return
    curves = {"vitruvius": summary.curve, **summary.baselines}
    _marks(console, f"Best {summary.metric} after so many evaluations", curves)
    if not summary.baselines:
        _line(console, "no other method was run beside it: `benchmarks/search.py` compares at equal budget")


def _marks(console: Console, title: str, curves: Mapping[str, Sequence[float | None]]) -> None:
    """A table of curves after some of the evaluations of the first."""
    n = len(next(iter(curves.values())))
    marks = sorted({max(1, round(n * k / MILESTONES)) for k in range(1, MILESTONES + 1)})
    _title(console, title)
    rows = {"": [str(mark) for mark in marks]}
    for name, curve in curves.items():
        rows[name] = [number(curve[mark - 1]) if mark <= len(curve) else "" for mark in marks]
    width = max(len(cell) for row in rows.values() for cell in row) + 2
    for name, row in rows.items():
        _line(console, f"{name:24}" + "".join(f"{cell:>{width}}" for cell in row))


_WHY_NOT = {
    "proposed": "fresh evidence cannot tell their effect from none or from chance",
    "contested": "fresh evidence of two tasks points different ways",
    "refuted": "fresh evidence excludes a useful effect in the direction claimed",
}
"""Why principles of a status steer nothing."""


def _sources(summary: Summary, console: Console) -> None:
    if summary.believed:
        _title(console, "Sources, as far as the target followed them at the end")
    for line in summary.believed:
        _line(console, line)


def _principles(summary: Summary, console: Console) -> None:
    counts: dict[str, int] = {}
    for principle in summary.principles:
        counts[principle.status] = counts.get(principle.status, 0) + 1
    told = ", ".join(f"{n} {status}" for status, n in counts.items()) or "none proposed"
    _title(console, f"Principles: {told}" + (f" ({summary.authors})" if summary.authors else ""))
    for status, why in _WHY_NOT.items():
        silent = sum(p.status == status and not p.imported for p in summary.principles)
        if silent:
            _line(console, f"{silent} {status}, so without any effect on the search: {why}")
    if carried := sum(p.imported for p in summary.principles):
        advice = "they advise as far as the target follows them, and " if summary.believed else ""
        _line(console, f"{carried} came with packs: {advice}each is tested here")
    for principle in summary.principles:
        _line(console, f"{principle.id} {principle.status:10} {principle.sentence}")
        _line(console, f"    {principle.scope}: fresh evidence {interval(principle.fresh)}")


def _pruning(summary: Summary, console: Console) -> None:
    _title(console, "Pruning")
    if not summary.cuts:
        _line(console, "no principle was supported well enough to prune: the whole space stayed open")
        return
    restrictions = [cut for cut in summary.cuts if not cut.reopened]
    for line in [line for cut in summary.cuts if cut.reopened for line in cut.lines]:
        _line(console, line)
    if len(restrictions) > 1:
        _line(console, f"changed {len(restrictions) - 1} times with the evidence; at the end:")
    for line in restrictions[-1].lines if restrictions else ():
        _line(console, line)
    _line(console, summary.pruning_cost)


def _costs(summary: Summary, console: Console) -> None:
    _title(console, "Where time went")
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in summary.timing.items())
    _line(console, parts or "not recorded yet")
    for call in summary.calls:
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in call.outcomes.items())
        many = f"{call.calls} call{'s' * (call.calls != 1)} ({outcomes})"
        tokens = f"{call.tokens_in} tokens in, {call.tokens_out} out"
        tokens += f" (estimated for {call.estimated})" if call.estimated else ""
        cached = f", {call.cached} from the cache" if call.cached else ""
        paid = dollars(call.paid, call.unpriced)
        _line(console, f"{call.model}, template {call.template}: {many}{cached}, {tokens}, {paid}")
    if summary.calls:
        paid, unpriced = (sum(getattr(c, name) for c in summary.calls) for name in ("paid", "unpriced"))
        told = dollars(paid, unpriced) + (", estimated" if any(c.estimated for c in summary.calls) else "")
        _line(console, f"paid for the reasoner: {told}")
    if summary.refused:
        _line(console, "refused: " + ", ".join(f"{n} {reason}" for reason, n in summary.refused.items()))
    for warning in summary.warnings:
        _line(console, f"warning: {warning}")


def _next(summary: Summary, console: Console) -> None:
    if not summary.run or summary.best is None:
        return
    _title(console, "Next")
    run = as_argument(summary.run)
    _line(console, f"vitruvius report {run}     all figures in one HTML file")
    if summary.task.partition("/")[0] in SPACES_WITH_NETWORKS:
        _line(console, f"vitruvius export {run}     the best architecture as a PyTorch module, with a card")
        if summary.front:
            _line(console, f"vitruvius export {run} --architecture KEY     another of the front")
    else:
        _line(console, f"vitruvius show {run} --json     the best, choice by choice, and all else as data")
    _line(console, f'vitruvius principles ask "which operations help?" --run {run}')


def number(value: float | None) -> str:
    """A score with four significant digits, empty for none."""
    return "" if value is None else f"{value:.4g}"


def dollars(paid: float, unpriced: int) -> str:
    """What was paid, and whether that is all that is known of it."""
    from vitruvius.agents.spending import told_cost

    return told_cost(paid, unpriced) if paid or unpriced else "nothing"


def interval(effect: Effect | None) -> str:
    """An effect with its interval in quantile points, or that there is none."""
    if effect is None:
        return "none yet"
    told = f"{effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"
    return f"{told} of the quantile scale, {effect.holding} with and {effect.lacking} without"
