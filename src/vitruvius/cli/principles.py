"""`vitruvius principles`: what was learned, with the evidence for and against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvius.cli import principle_ask, principle_costs, principle_history, principle_packs
from vitruvius.cli import principle_lines as lines
from vitruvius.cli.principle_options import (
    About,
    AsJson,
    Limit,
    MinSupport,
    Run,
    Space,
    Status,
    Task,
    Url,
    opened,
    opened_store,
    tell,
)

if TYPE_CHECKING:
    from vitruvius.knowledge.ledger import Ledger
    from vitruvius.knowledge.principle import Evidence, Principle, PrincipleStatus

app = typer.Typer(no_args_is_help=True)


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
    """All principles, two lines each, as they were proposed."""
    from vitruvius.generator.files import as_argument
    from vitruvius.knowledge.filters import Filters

    with opened(run) as (_, ledger):
        found = Filters(space, task, status, about, min_support).select(ledger, template)
        target = task or lines.target_of(ledger)
    shown = found[:limit]
    if as_json:
        lines.print_json([lines.plain(principle) for principle in shown])
        return
    for principle in shown:
        lines.print_brief(principle, target)
    lines.say(f"{len(shown)} of {lines.principles(len(found))}." if found else "No principles.")
    if shown:
        of_run = "" if run is None else f" --run {as_argument(run)}"
        lines.say(f"All about one of them: `vitruvius principles show ID{of_run}`.")


@app.command("show")
def show(
    id: Annotated[str, typer.Argument(help="Id of the principle, such as p0123456789.")],
    run: Run = None,
    drawn: Annotated[
        int, typer.Option("--drawn", min=0, help="Architectures drawn for it, and against it.")
    ] = lines.DRAWN,
    as_json: AsJson = False,
) -> None:
    """All about one principle: claim, evidence, origin, history."""
    from vitruvius.knowledge.imports import priors

    with opened(run) as (_, ledger):
        principle = ledger.principle(id)
        history, revisions = ledger.history(id), _revisions(ledger, id)
        call = _call(ledger, principle)
        if as_json:
            steps = [_plain_step(*step) for step in history]
            lines.print_json(
                lines.plain(principle) | {"history": steps, "revisions": revisions, "call": call}
            )
            return
        lines.print_whole(principle)
        _draw(ledger, principle, drawn)
        prior = priors(ledger).get(id)
    lines.print_origin(principle, prior)
    if call is not None:
        lines.print_call(call, principle.origin.call or 0)
    lines.print_fate(history)
    lines.print_revisions(revisions)


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
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """The principles nearest in meaning to a text."""
    with opened_store(run, url) as (_, store):
        matches = store.search(
            text, space=space, task=task, status=status, about=about, min_support=min_support, limit=limit
        )
        target, kept = task or lines.target_of(store.ledger), store.count()
    if as_json:
        lines.print_json([{"similarity": m.similarity, **lines.plain(m.principle)} for m in matches])
        return
    for match in matches:
        lines.print_brief(match.principle, target, match.similarity)
    if not matches:
        lines.say("No principle passes these filters." if kept else "No principles.")


@app.command("reindex")
def reindex(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the newest.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="minilm or hashing; by default the best installed.")
    ] = None,
    url: Url = None,
) -> None:
    """Make the search index anew, for example for another embedder."""
    from vitruvius.knowledge.embedders import get_embedder
    from vitruvius.knowledge.store import open_store

    chosen = None if embedder is None else get_embedder(embedder)
    with (
        opened(run) as (folder, ledger),
        open_store(ledger, folder, embedder=chosen, url=url, rebuild=True) as store,
    ):
        lines.say(f"{lines.principles(store.count())} indexed by {store.embedder.name} in {store.place}.")


app.command("ask")(principle_ask.ask)
app.command("costs")(principle_costs.costs)
app.command("timeline")(principle_history.timeline)
app.command("contradictions")(principle_history.contradictions)
app.command("export")(principle_packs.export)
app.command("import")(principle_packs.import_)
app.command("transfer")(principle_packs.transfer)


def _call(ledger: Ledger, principle: Principle) -> dict[str, Any] | None:
    """The model call that proposed it; None where no model was asked."""
    origin = principle.origin
    if origin.call is None:
        return None
    return next((each.call for each in ledger.calls(origin.session) if each.id == origin.call), None)


def _draw(ledger: Ledger, principle: Principle, drawn: int) -> None:
    """Architectures for and against, on the target, or where it was not tested there on another task."""
    from vitruvius.knowledge.measured import measured

    places, notes = measured(ledger)
    tell(notes)
    told = {each.task: each for each in principle.evidence.tasks}
    place = next((each for each in places if each.task in told), None)
    if place is not None and drawn:
        lines.say(f"  architectures of {place.task}")
        claim = principle.proposal.direction
        lines.print_drawings("for it", told[place.task].supporting, place, claim, drawn)
        lines.print_drawings("against it", told[place.task].contradicting, place, -claim, drawn)


def _revisions(ledger: Ledger, id: str) -> list[dict[str, Any]]:
    """What reasoners wanted to become of a principle: action, reason and replacement of each, in order."""
    events = [one for session in ledger.sessions() for one in ledger.events(session.id, "reflection")]
    revisions = [one for event in events for one in event.data.get("revisions", ())]
    return [one for one in revisions if one["principle"] == id]


def _plain_step(when: float, session: str, status: PrincipleStatus, evidence: Evidence) -> dict[str, Any]:
    """One step of a principle's history as plain data."""
    counts = {"n_for": evidence.n_for, "n_against": evidence.n_against}
    return {"time": when, "session": session, "status": status.value, **counts}
