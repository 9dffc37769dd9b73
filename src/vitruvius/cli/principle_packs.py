"""`vitruvius principles export`, `import` and `transfer`: knowledge carried from one run to another."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvius.cli import principle_lines as lines
from vitruvius.cli.principle_options import About, AsJson, MinSupport, Run, Space, Task, opened

if TYPE_CHECKING:
    from vitruvius.knowledge.principle import Effect
    from vitruvius.knowledge.transfer import Carried


def export(
    to: Annotated[Path, typer.Option("--to", help="The .json file to write.")],
    run: Run = None,
    space: Space = None,
    task: Task = None,
    status: Annotated[str, typer.Option(help="Only those with this status, or `any`.")] = "supported",
    about: About = None,
    min_support: MinSupport = 0,
    name: Annotated[str | None, typer.Option(help="Name of the pack; by default that of the run.")] = None,
) -> None:
    """Write principles into one file, for other runs."""
    from vitruvius.generator.files import check_ending
    from vitruvius.knowledge.filters import Filters
    from vitruvius.knowledge.packs import export_pack

    check_ending(to, (".json",))
    wanted = None if status == "any" else status
    with opened(run) as (folder, ledger):
        principles = Filters(space, task, wanted, about, min_support).select(ledger)
        pack = export_pack(ledger, principles, to, name=name or folder.resolve().name)
    lines.say(f"{lines.principles(len(principles))} in {to} (pack {pack.name!r}, {pack.hash}).")
    lines.say(f"Learned or tested on: {_labels(pack.labels)}; no run on one of these can take them over.")


def import_(
    file: Annotated[Path, typer.Argument(help="A pack that `export` wrote.")],
    run: Annotated[Path, typer.Option(help="The run folder; one that has not begun yet is made.")],
) -> None:
    """Give a run the principles of a file, to be tested."""
    from vitruvius.agents.opening import session_id
    from vitruvius.generator.files import as_argument
    from vitruvius.knowledge.imports import import_pack, place_pack
    from vitruvius.knowledge.packs import read_pack
    from vitruvius.knowledge.run_folder import SETTINGS_FILE, is_run

    again = f"vitruvius run --run {as_argument(run)}"
    if is_run(run):
        with opened(run) as (folder, ledger):
            sessions = [session.id for session in ledger.sessions()]
            mine = (
                session_id(folder) if session_id(folder) in sessions else sessions[-1] if sessions else None
            )
            done = None if mine is None else import_pack(ledger, mine, read_pack(file))
        place_pack(file, run)
        if done is not None:
            lines.say(f"{run} {done.sentence()}.")
            if not done.new:
                return
            next_time = f"`{again}`" if (run / SETTINGS_FILE).is_file() else "The script that began the run"
            lines.say(f"{next_time} tests them with its next measurements.")
            return
    pack = place_pack(file, run)
    many = lines.principles(len(pack.principles))
    waits = "waits" if len(pack.principles) == 1 else "wait"
    lines.say(f"{many} {waits} in {run}, learned on {_labels(pack.labels)}.")
    lines.say(f"`{again} --task SPACE/DATASET` takes them over and tests them: any task but these.")


def transfer(run: Run = None, as_json: AsJson = False) -> None:
    """How principles hold on the target, by origin."""
    from vitruvius.knowledge.transfer import transfer as carried

    with opened(run) as (_, ledger):
        sessions = ledger.sessions()
        found = carried(ledger, sessions[-1].id) if sessions else []
        target = lines.target_of(ledger)
    if as_json:
        lines.print_json([_plain(each) for each in found])
        return
    for origin, group in itertools.groupby(found, key=lambda each: each.origin):
        _print_group(origin, list(group), str(target))
    if not found:
        lines.say("No principles.")


def _print_group(origin: str, group: list[Carried], target: str) -> None:
    from vitruvius.knowledge.transfer import FATES

    counts = Counter(each.fate for each in group)
    told = ", ".join(f"{counts[fate]} {fate}" for fate in FATES if counts[fate])
    lines.say(f"{origin}")
    lines.say(f"  {lines.principles(len(group))}, on {target}: {told}")
    for each in group:
        before = None if each.prior is None else each.prior.evidence.joined
        said = "" if before is None else f"  before {lines.short_effect(before)}"
        here = "" if each.here is None else f"  here {lines.short_effect(each.here)}"
        lines.say(f"  {each.fate:<20}  {each.principle.id}  {each.principle.sentence}{said}{here}")


def _plain(each: Carried) -> dict[str, Any]:
    prior = each.prior
    return {
        "id": each.principle.id,
        "sentence": each.principle.sentence,
        "status": each.principle.status.value,
        "origin": each.origin,
        "fate": each.fate,
        "here": _plain_effect(each.here),
        "prior": None
        if prior is None
        else {
            "pack": prior.pack,
            "id": prior.original,
            "status": prior.status.value,
            "effect": _plain_effect(prior.evidence.joined),
        },
    }


def _plain_effect(effect: Effect | None) -> dict[str, float] | None:
    if effect is None:
        return None
    return {"estimate": effect.estimate, "low": effect.low, "high": effect.high}


def _labels(labels: frozenset[tuple[str, str]]) -> str:
    return ", ".join("/".join(label) for label in sorted(labels))
