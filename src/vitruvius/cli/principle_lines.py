"""How principles and their evidence are printed: one or two lines each, or everything about one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vitruvius.knowledge.imports import Prior
    from vitruvius.knowledge.ledger import Ledger
    from vitruvius.knowledge.measured import Measured
    from vitruvius.knowledge.principle import Effect, Evidence, Principle, PrincipleStatus, TaskEvidence

STYLES = {"supported": "green", "refuted": "red", "contested": "yellow"}
DRAWN = 2
"""Architectures drawn for, and against, a principle or an answer."""


def say(text: str = "", style: str | None = None) -> None:
    """Print a line; sentences may come from a model: they are printed as they are, never read as markup."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text, style=style, markup=False)


def principles(count: int) -> str:
    """`1 principle`, `3 principles`."""
    return f"{count} principle{'s' * (count != 1)}"


def print_json(data: object) -> None:
    """Print plain data."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def plain(principle: Principle) -> dict[str, Any]:
    """A principle as plain data, with what can be worked out of it."""
    from vitruvius.knowledge.predicate import predicate_from_json
    from vitruvius.knowledge.records import principle_to_json

    return principle_to_json(principle) | {
        "text": predicate_from_json(principle.proposal.predicate).text(),
        "n_for": principle.evidence.n_for,
        "n_against": principle.evidence.n_against,
    }


def target_of(ledger: Ledger) -> str | None:
    """The task of the latest session; None where there is none yet."""
    sessions = ledger.sessions()
    return sessions[-1].task if sessions else None


def print_brief(principle: Principle, target: str | None, similarity: float | None = None) -> None:
    """A principle in two lines: what it says, and what the evidence says."""
    status = principle.status.value
    found = "" if similarity is None else f"{similarity:.2f}  "
    say(f"{found}{principle.id}  {status:<10}  {principle.told}", STYLES.get(status))
    evidence = principle.evidence
    here = next((each for each in evidence.tasks if each.task == target), None)
    parts: list[str] = []
    if target is not None:
        parts.append(f"{target.rpartition('/')[2]}: {short_effect(_best_told(here))}")
    if evidence.joined is not None and len(evidence.tasks) > 1:
        left = left_out(evidence)
        parts.append(f"all tasks: {short_effect(evidence.joined)}" + (f", {left}" if left else ""))
    parts.append(f"{evidence.n_for} for, {evidence.n_against} against")
    say(f"    {'; '.join(parts)}")


def _best_told(told: TaskEvidence | None) -> Effect | None:
    return None if told is None else told.fresh


def left_out(evidence: Evidence) -> str:
    """Which tasks the effect over all tasks leaves out, and why; empty where it has all."""
    from vitruvius.knowledge.evidence import untold

    names = untold((each.task, each.fresh) for each in evidence.tasks)
    short = ", ".join(name.rpartition("/")[2] for name in names)
    return f"without {short}: too little measured there" if names else ""


def short_effect(effect: Effect | None) -> str:
    """`+0.21 [+0.05, +0.37]`, or that there is nothing to tell it from."""
    if effect is None:
        return "no fresh draws on both sides"
    return f"{effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"


def long_effect(effect: Effect | None) -> str:
    """An effect in quantile units with its interval and what it rests on."""
    if effect is None:
        return "nothing measured on one side"
    naive = "" if effect.naive is None else f"; as sampled {effect.naive:+.3f}"
    return (
        f"{effect.estimate:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}] quantile, "
        f"{effect.holding} with and {effect.lacking} without{naive}"
    )


def print_whole(principle: Principle) -> None:
    """What a principle claims, and all its evidence; `print_fate` and `print_origin` say the rest."""
    from vitruvius.knowledge.predicate import predicate_from_json

    proposal, status = principle.proposal, principle.status.value
    predicate = predicate_from_json(proposal.predicate)
    say(f"{principle.id}  {status}  {principle.sentence}", STYLES.get(status))
    say(f"  claims        {predicate.text()}: {proposal.toward}")
    say(f"  in words      {predicate.sentence()}")
    say(f"  as JSON       {json.dumps(predicate.to_json(), ensure_ascii=False)}")
    scope = proposal.task if proposal.task != "any" else f"{proposal.space}, any task"
    movable = "names no decision: can be asked of other spaces" if predicate.portable else "this space only"
    say(f"  scope         {scope} ({movable})")
    if proposal.expected is not None:
        say(f"  expected      {proposal.expected:+.2f} quantile")
    evidence = principle.evidence
    say(f"  evidence      {evidence.n_for} architectures for, {evidence.n_against} against")
    if evidence.joined is not None:
        say(f"  all tasks     {long_effect(evidence.joined)}")
        if left := left_out(evidence):
            say(f"                {left}")
    for task in evidence.tasks:
        say(f"  {task.task}")
        say(f"    fresh       {long_effect(task.fresh)}")
        say(f"    seen        {long_effect(task.seen)}")
        say(f"    counts      {task.agreeing} for, {task.opposing} against")


def print_origin(principle: Principle, prior: Prior | None = None) -> None:
    """Who proposed a principle, and from what; and what its pack said, if it came in one."""
    origin = principle.origin
    where = f"session {origin.session}" if prior is None else f"in the pack {prior.name} ({prior.pack})"
    say(f"  proposed by   {origin.reasoner}, {where}")
    if prior is not None:
        told = "" if prior.evidence.joined is None else f", {long_effect(prior.evidence.joined)}"
        say(f"  prior         {prior.status.value} there as {prior.original}{told}")
    say(f"  mined from    {', '.join('/'.join(label) for label in sorted(origin.labels)) or 'nothing'}")
    if principle.supersedes:
        say(f"  in place of   {principle.supersedes}")


def print_call(call: dict[str, Any], number: int) -> None:
    """The model call behind a principle: template, model, cost, and the reply."""
    from vitruvius.knowledge.wording import printable

    say(f"  template      {call.get('template', 'unknown')}, hash {call.get('template_hash', 'unknown')}")
    say(f"  model         {call.get('model', 'unknown')}, call {number}: {call.get('outcome', '')}")
    tokens = f"{call.get('tokens_in', 0)} tokens in, {call.get('tokens_out', 0)} out"
    paid = f", {call['cost']:.4f} US dollars" if call.get("cost") is not None else ""
    say(f"  cost          {tokens}, {call.get('seconds', 0.0)} s{paid}")
    say("  reply")
    for line in str(call.get("reply", "")).splitlines():
        say(f"    {printable(line)}")


def print_revisions(revisions: Sequence[Mapping[str, Any]]) -> None:
    """What reasoners wanted to become of it, and why."""
    for one in revisions:
        by = "" if one["replacement"] is None else f" by {one['replacement']}"
        done = {"narrow": "narrowed", "supersede": "superseded", "retract": "taken back"}[one["action"]]
        say(f"  {done}{by}: {one['reason']}")


def print_fate(history: Sequence[tuple[float, str, PrincipleStatus, Evidence]]) -> None:
    """Each status that a principle had, first and last moment of it."""
    say("  history")
    last = None
    for when, _, status, evidence in history:
        if status is not last:
            counted = evidence.n_for + evidence.n_against
            joined = "" if evidence.joined is None else f", {short_effect(evidence.joined)}"
            say(f"    {moment(when)}  {status.value:<10}  {counted} measurements in scope{joined}")
        last = status


def print_drawings(title: str, ids: Sequence[str], place: Measured, claim: int, most: int = DRAWN) -> None:
    """Some measured architectures with score and drawing.

    Args:
        title: What they have in common.
        ids: Those that may be shown, the most telling first.
        place: Where they were measured.
        claim: +1 if these score high where they have the property that is spoken of, -1 if low.
        most: How many are shown.
    """
    shown = [(id, found) for id in ids if (found := place.architecture(id)) is not None][:most]
    if shown:
        say(f"    {title}")
    for id, architecture in shown:
        quantile = place.quantile(id)
        has = "has it" if (quantile >= 0.5) == (claim > 0) else "lacks it"
        say(f"      {architecture.key}  {has}, score {place.scores[id]:.6g}, quantile {quantile:.2f}")
        for line in architecture.space.draw(architecture).splitlines():
            say(f"        {line}")


def moment(seconds: float) -> str:
    """A point in time, local."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
