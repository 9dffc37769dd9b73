"""`vitruvius principles`: what was learned, with the evidence for and against it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vitruvius.knowledge.ledger import Ledger
    from vitruvius.knowledge.principle import Effect, Evidence, Principle, PrincipleStatus, TaskEvidence

app = typer.Typer(no_args_is_help=True)

IDS = 4
"""Architectures named for and against each principle; `show` and `--json` name all."""

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
AsJson = Annotated[bool, typer.Option("--json", help="Print plain data.")]


@app.command("list")
def list_principles(
    run: Run = None,
    space: Space = None,
    task: Task = None,
    status: Status = None,
    about: About = None,
    min_support: MinSupport = 0,
    template: Annotated[str | None, typer.Option(help="Only those from the template with this hash.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """All principles of a run, in the order in which they were proposed."""
    from vitruvius.knowledge.filters import Filters

    with _open(run)[1] as ledger:
        found = Filters(space, task, status, about, min_support).select(ledger, template)
    shown = found[:limit]
    if as_json:
        _print_json([_plain(principle) for principle in shown])
        return
    for principle in shown:
        _print_principle(principle)
    _say(f"{len(shown)} of {len(found)} principles." if found else "No principles.")


@app.command("show")
def show(
    id: Annotated[str, typer.Argument(help="Id of the principle, such as p0123456789.")],
    run: Run = None,
    as_json: AsJson = False,
) -> None:
    """One principle: where it came from, all its evidence, and what became of it."""
    with _open(run)[1] as ledger:
        principle = ledger.principle(id)
        history = ledger.history(id)
    if as_json:
        _print_json(_plain(principle) | {"history": [_plain_step(*step) for step in history]})
        return
    _print_principle(principle, ids=None)
    origin = principle.origin
    _say(f"  proposed by   {origin.reasoner}, session {origin.session or 'none'}")
    if origin.template:
        _say(f"  template      {origin.template}, model call {origin.call}")
    _say(f"  mined from    {', '.join('/'.join(label) for label in sorted(origin.labels)) or 'nothing'}")
    if principle.supersedes:
        _say(f"  in place of   {principle.supersedes}")
    for when, _, status, evidence in history:
        _say(f"  {_moment(when)}  {status.value}, {evidence.n_for} for, {evidence.n_against} against")


@app.command("search")
def search(
    text: Annotated[str, typer.Argument(help="A question or a sentence.")],
    run: Run = None,
    space: Space = None,
    task: Task = None,
    status: Status = None,
    about: About = None,
    min_support: MinSupport = 0,
    limit: Limit = 5,
    as_json: AsJson = False,
) -> None:
    """The principles nearest in meaning to a text, each with its evidence."""
    from vitruvius.knowledge.run_folder import INDEX_FOLDER
    from vitruvius.knowledge.store import Store

    folder, opened = _open(run)
    with opened as ledger, Store(ledger, folder / INDEX_FOLDER) as store:
        matches = store.search(
            text, space=space, task=task, status=status, about=about, min_support=min_support, limit=limit
        )
        notes = store.notes
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        _print_json([{"similarity": m.similarity, **_plain(m.principle)} for m in matches])
        return
    for match in matches:
        _print_principle(match.principle, similarity=match.similarity)
    if not matches:
        _say("No principle passes these filters.")


@app.command("reindex")
def reindex(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the newest.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="minilm or hashing; by default the best installed.")
    ] = None,
) -> None:
    """Make the search index anew from the ledger, for example for another embedder."""
    from vitruvius.knowledge.embedders import get_embedder
    from vitruvius.knowledge.run_folder import INDEX_FOLDER
    from vitruvius.knowledge.store import Store

    chosen = None if embedder is None else get_embedder(embedder)
    folder, opened = _open(run)
    with opened as ledger, Store(ledger, folder / INDEX_FOLDER, embedder=chosen, rebuild=True) as store:
        _say(f"{store.count()} principles indexed by {store.embedder.name} in {folder / INDEX_FOLDER}.")


def _open(run: Path | None) -> tuple[Path, Ledger]:
    """The run folder, and its ledger."""
    from vitruvius.knowledge.run_folder import newest_run, open_ledger

    folder = newest_run() if run is None else run
    if run is None:
        typer.echo(f"of {folder}, the newest run", err=True)
    return folder, open_ledger(folder)


def _plain(principle: Principle) -> dict[str, Any]:
    """A principle as plain data, with what can be worked out of it."""
    from vitruvius.knowledge.predicate import predicate_from_json
    from vitruvius.knowledge.records import principle_to_json

    return principle_to_json(principle) | {
        "text": predicate_from_json(principle.proposal.predicate).text(),
        "n_for": principle.evidence.n_for,
        "n_against": principle.evidence.n_against,
    }


def _plain_step(when: float, session: str, status: PrincipleStatus, evidence: Evidence) -> dict[str, Any]:
    """One step of a principle's history as plain data."""
    counts = {"n_for": evidence.n_for, "n_against": evidence.n_against}
    return {"time": when, "session": session, "status": status.value, **counts}


def _print_json(data: object) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _say(text: str, style: str | None = None) -> None:
    from rich.console import Console

    # Sentences may come from a model: they are printed as they are, never read as markup.
    Console(highlight=False, soft_wrap=True).print(text, style=style, markup=False)


_STYLES = {"supported": "green", "refuted": "red", "contested": "yellow"}


def _print_principle(principle: Principle, *, similarity: float | None = None, ids: int | None = IDS) -> None:
    """A principle with its evidence, for people."""
    plain = _plain(principle)
    found = "" if similarity is None else f"{similarity:.2f}  "
    status = principle.status.value
    _say(f"{found}{principle.id}  {status:<10}  {principle.sentence}", _STYLES.get(status))
    toward = "higher" if principle.proposal.direction > 0 else "lower"
    scope = (
        principle.proposal.task
        if principle.proposal.task != "any"
        else f"{principle.proposal.space}, any task"
    )
    _say(f"  claims        {plain['text']}: {toward} scores ({scope})")
    _say(f"  evidence      {plain['n_for']} architectures for, {plain['n_against']} against")
    joined = principle.evidence.joined
    if joined is not None:
        _say(f"  all tasks     {_effect(joined)}")
    for task in principle.evidence.tasks:
        _print_task(task, ids)
    _say("")


def _print_task(task: TaskEvidence, ids: int | None) -> None:
    _say(f"  {task.task}")
    _say(f"    fresh       {_effect(task.fresh)}")
    _say(f"    seen        {_effect(task.seen)}")
    for word, named in (("for", task.supporting), ("against", task.contradicting)):
        if named:
            _say(f"    {word:<10}  {_shortened(named, ids)}")


def _effect(effect: Effect | None) -> str:
    """An effect in quantile units with its interval."""
    if effect is None:
        return "nothing measured"
    naive = "" if effect.naive is None else f"; as sampled {effect.naive:+.3f}"
    return (
        f"{effect.estimate:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}] quantile, "
        f"{effect.holding} with and {effect.lacking} without{naive}"
    )


def _shortened(ids: Sequence[str], most: int | None) -> str:
    shown = list(ids) if most is None else list(ids[:most])
    rest = len(ids) - len(shown)
    return "  ".join(shown) + (f"  and {rest} more" if rest else "")


def _moment(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
