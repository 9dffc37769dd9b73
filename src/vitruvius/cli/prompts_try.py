"""`vitruvius prompts test` and `compare`: templates tried, without a model and on what a run recorded."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvius.errors import UserError
from vitruvius.prompts.library import Template

if TYPE_CHECKING:
    from vitruvius.agents.reasoner import Reasoner
    from vitruvius.prompts.cases import Outcome
    from vitruvius.replay import Recorded, Replayed

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder whose templates override ours; default: yours (see `path`)."),
]
AGENT = ("investigate", "submit_now")
"""Templates for models that call tools; all others are for fixed prompts."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def test(
    name: Annotated[str | None, typer.Argument(help="Name of a template; without: all with tests.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold templates to the tests beside them (NAME.test.toml), without a model; status 1 if one fails."""
    from vitruvius.agents.rehearsal import judge_reply
    from vitruvius.prompts import library
    from vitruvius.prompts.cases import cases_file, run_cases

    rows: list[tuple[str, Path, Outcome]] = []
    for one in library.names(folder) if name is None else [name]:
        template = library.find(one, folder)
        file = cases_file(template)
        if file is not None:
            rows += [(one, file, outcome) for outcome in run_cases(template, file, judge_reply)]
        elif name is not None:
            raise UserError(f"{one} has no tests: write them into {template.path.parent}/{one}.test.toml.")
    passed = sum(outcome.passed for *_, outcome in rows)
    if as_json:
        told = [
            {"template": one, "file": str(file), "case": outcome.case, "failures": outcome.failures}
            for one, file, outcome in rows
        ]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for one, _, outcome in rows:
            typer.echo(f"{'ok' if outcome.passed else 'FAILED':8}{one}: {outcome.case}")
            for failure in outcome.failures:
                typer.echo(f"{'':8}-> {failure}")
        typer.echo(f"{passed} of {len(rows)} tests passed.")
    raise typer.Exit(0 if passed == len(rows) else 1)


def compare(
    first: Annotated[str, typer.Argument(help="A template (name, path or hash), or a model.")],
    second: Annotated[str, typer.Argument(help="Another version of it, or another model.")],
    on: Annotated[Path, typer.Option("--on", help="The run folder whose reflection is replayed.")],
    reflection: Annotated[
        int | None, typer.Option(help="Which one, counted from 1; by default the last.")
    ] = None,
    reasoner: Annotated[
        str | None, typer.Option(help="The model that is asked; by default that of the run.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="So many replies of each, with other seeds.")] = 1,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Replay a recorded reflection with two templates or two models, and judge what each proposes.

    What was held back from the run's reasoner, or measured afterwards, says how many principles hold. The
    run stays as it is.
    """
    from vitruvius.replay import recorded, replay

    record = recorded(on, reflection)
    results: list[Replayed] = []
    with closing(_in_turn(_contenders(first, second, record, reasoner, folder), folder)) as in_turn:
        for label, one in in_turn:
            _say(f"asking {one.name}: {label}{_most(one, repeat)}")
            results.append(replay(record, one, label, repeat=repeat))
    if as_json:
        typer.echo(json.dumps([result.as_json() for result in results], indent=2, ensure_ascii=False))
    else:
        _print(record, results, repeat)


def _contenders(
    first: str, second: str, record: Recorded, reasoner: str | None, folder: Path | None
) -> list[tuple[str, str, Template | None]]:
    """Label, model and template of both; the template is None where two models are compared."""
    from vitruvius.prompts.library import sound
    from vitruvius.prompts.versions import version
    from vitruvius.replay import stands_for

    if "none" in (first, second):
        raise UserError("none proposes nothing: compare two templates, or reasoners such as statistics.")
    models = [":" in each or each == "statistics" for each in (first, second)]
    if all(models):
        return [(first, first, None), (second, second, None)]
    if any(models):
        raise UserError(f"{first!r} and {second!r} are a template and a model: name two of one kind.")
    model = reasoner or record.reasoner
    if model.startswith("object:"):
        raise UserError(f"{record.run} had a reasoner of a script: name a language model with --reasoner.")
    if ":" not in model:
        raise UserError(f"{model} asks no template: name a language model with --reasoner.")
    runs = [record.run, *sorted(Path("runs").glob("*"))]
    templates = [sound(version(each, folder, runs)) for each in (first, second)]
    name = stands_for(*templates)
    return [(f"{name} {found.hash}", model, Template(name, found.path, found.text)) for found in templates]


def _in_turn(
    contenders: list[tuple[str, str, Template | None]], folder: Path | None
) -> Generator[tuple[str, Reasoner]]:
    """The label and the reasoner of each; of two models one at a time is open, two templates share one."""
    from vitruvius.agents.language_reasoner import LanguageReasoner
    from vitruvius.agents.reasoners import make_reasoner
    from vitruvius.replay import folder_with

    one: Reasoner | None = None
    with ExitStack() as stack:
        for label, model, template in contenders:
            if template is None:
                stack.close()
                one = make_reasoner(model, templates=folder, say=_say)
            else:
                place = stack.enter_context(folder_with(template, template.name, folder))
                if isinstance(one, LanguageReasoner):
                    one = one.with_templates(place)
                else:
                    # One that can call tools would go another road, and not see the template compared.
                    road = "agent" if template.name in AGENT else "chain"
                    one = make_reasoner(model, templates=place, say=_say, road=road)
            stack.callback(one.close)
            yield label, one


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _most(reasoner: Reasoner, repeat: int) -> str:
    """What asking may cost, in words; nothing where no model is asked, or one that is served here."""
    from vitruvius.agents.prices import FREE
    from vitruvius.agents.spending import Allowance, Limits

    price = getattr(reasoner, "price", None)
    if not reasoner.uses_templates or price == FREE:
        return ""
    if price is None:
        return " (its price is not known: only tokens are limited)"
    return f" (at most ${min(repeat * Limits().money, Allowance().money):.2f})"


def _print(record: Recorded, results: list[Replayed], repeat: int) -> None:
    """Both side by side, for people."""
    from vitruvius.agents.spending import told_cost
    from vitruvius.knowledge.principle import PrincipleStatus

    which = "everything measured" if record.number is None else f"reflection {record.number}"
    typer.echo(f"{which} of {record.run}: {record.brief.target}, {record.shown:,} measurements shown,")
    typer.echo(f"{record.unseen:,} uniform draws that were not shown judge the principles")
    if repeat > 1:
        typer.echo(f"{repeat} replies of each, added up")
    rows = [("", [result.label for result in results])]
    rows.append(("principles", [str(len(result.principles)) for result in results]))
    for status in list(PrincipleStatus)[:4]:  # "proposed" only: it cannot be told yet
        rows.append((f"  {status.value}", [str(result.count(status)) for result in results]))
    rows.append(("refused", [_refused(result) for result in results]))
    rows.append(("tokens in, out", [f"{r.tokens[0]:,}, {r.tokens[1]:,}" for r in results]))
    rows.append(("seconds", [f"{result.seconds:.1f}" for result in results]))
    rows.append(("cost", [told_cost(r.paid, r.unpriced) for r in results]))
    wide = max(len(cell) for _, cells in rows for cell in cells) + 2
    for head, cells in rows:
        typer.echo(f"{head:18}" + "".join(f"{cell:{wide}}" for cell in cells).rstrip())
    for result in results:
        typer.echo(f"\n{result.label}")
        for sentence, status in result.principles:
            typer.echo(f"  {status.value:10} {sentence}")
        for note in result.notes:
            typer.echo(f"  note: {note}")
    if repeat == 1 and any(result.tokens[1] for result in results):
        typer.echo("\nOne reply of each says little: --repeat 5 asks for more.")


def _refused(result: Replayed) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in result.refused.most_common()) or "none"


__all__ = ["compare", "test"]
