"""`vitruvius principles timeline` and `contradictions`: what became of principles, and where they clash."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvius.cli import principle_lines as lines
from vitruvius.cli.principle_options import AsJson, Run, opened, tell

if TYPE_CHECKING:
    from vitruvius.knowledge.contradictions import Divided, Group, Opposed
    from vitruvius.knowledge.principle import Principle
    from vitruvius.knowledge.records import Step


def timeline(run: Run = None, as_json: AsJson = False) -> None:
    """What became of principles, after how many evaluations."""
    with opened(run) as (_, ledger):
        steps = ledger.steps()
        principles = {principle.id: principle for principle in ledger.principles()}
        tasks = {session.id: session.task for session in ledger.sessions()}
    if as_json:
        lines.print_json([_plain_step(step, principles[step.principle]) for step in steps])
        return
    moment: tuple[str, int] | None = None
    for step in steps:
        if (step.session, step.evaluations) != moment:
            moment = (step.session, step.evaluations)
            where = f", session {step.session}" if len(tasks) > 1 else ""
            lines.say(f"after {step.evaluations} evaluations of {tasks[step.session]}{where}")
        _print_step(step, principles[step.principle])
    lines.say(_sum(steps) if steps else "No principles.")


def contradictions(
    run: Run = None,
    overlap: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="Least correlation of two predicates to be compared.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Principles that cannot all be right, with figures."""
    from vitruvius.knowledge.contradictions import divided, opposed
    from vitruvius.knowledge.measured import measured

    with opened(run) as (_, ledger):
        principles = ledger.principles()
        places, notes = measured(ledger)
    tell(notes)
    pairs, split = opposed(principles, places, overlap), divided(principles)
    if as_json:
        plain = {
            "pairs": [_plain_pair(pair) for pair in pairs],
            "tasks": [_plain_split(one) for one in split],
        }
        lines.print_json(plain)
        return
    for pair in pairs:
        _print_pair(pair)
    for one in split:
        _print_split(one)
    told = f"{len(pairs)} pairs with opposite claims, {len(split)} principles that hold on some tasks only"
    lines.say(f"{told}, among {len(principles)} principles.")


def _print_step(step: Step, principle: Principle) -> None:
    joined = "" if step.evidence.joined is None else f"  {lines.short_effect(step.evidence.joined)}"
    was = "" if step.before is None else f"  (was {step.before.value})"
    status = step.status.value
    lines.say(
        f"  {status:<10}  {step.principle}  {principle.sentence}{joined}{was}", lines.STYLES.get(status)
    )


def _sum(steps: list[Step]) -> str:
    """How many principles have each status at the end."""
    last = {(step.session, step.principle): step.status.value for step in steps}
    told = [f"{list(last.values()).count(status)} {status}" for status in dict.fromkeys(last.values())]
    return f"In the end: {', '.join(told)}."


def _plain_step(step: Step, principle: Principle) -> dict[str, Any]:
    return {
        "time": step.time,
        "session": step.session,
        "evaluations": step.evaluations,
        "id": step.principle,
        "sentence": principle.sentence,
        "before": None if step.before is None else step.before.value,
        "status": step.status.value,
        "effect": _plain_effect(step.evidence.joined),
    }


def _plain_effect(effect: Any) -> dict[str, float] | None:
    return None if effect is None else {"estimate": effect.estimate, "low": effect.low, "high": effect.high}


def _claim(principle: Principle) -> str:
    told = lines.short_effect(principle.evidence.joined) if principle.evidence.joined else "not tested"
    claims = f"{lines.plain(principle)['text']}: {principle.proposal.toward}"
    return f"{principle.id}  {principle.status.value}  {claims}  {told}"


def _print_pair(pair: Opposed) -> None:
    lines.say(f"opposite claims, predicates correlate by {pair.overlap:.2f} on {pair.task}")
    lines.say(f"  {_claim(pair.first)}")
    lines.say(f"  {_claim(pair.second)}")
    names = ("both", "the first only", "the second only", "neither")
    told = (f"{name} {_group(group)}" for name, group in zip(names, pair.groups, strict=True))
    lines.say(f"  mean quantile of uniform draws: {', '.join(told)}")


def _group(group: Group) -> str:
    return "none drawn" if math.isnan(group.quantile) else f"{group.quantile:.2f} ({group.number})"


def _print_split(one: Divided) -> None:
    lines.say("one principle, different tasks")
    lines.say(f"  {_claim(one.principle)}")
    for word, effects in (("holds", one.holds), ("refuted", one.refuted)):
        for task, effect in effects.items():
            lines.say(f"    {word:<8}  {task}  {lines.long_effect(effect)}")


def _plain_pair(pair: Opposed) -> dict[str, Any]:
    names = ("both", "first_only", "second_only", "neither")
    return {
        "first": pair.first.id,
        "second": pair.second.id,
        "task": pair.task,
        "overlap": pair.overlap,
        "groups": {
            name: {"number": g.number, "quantile": None if math.isnan(g.quantile) else g.quantile}
            for name, g in zip(names, pair.groups, strict=True)
        },
    }


def _plain_split(one: Divided) -> dict[str, Any]:
    return {
        "id": one.principle.id,
        "holds": {task: _plain_effect(effect) for task, effect in one.holds.items()},
        "refuted": {task: _plain_effect(effect) for task, effect in one.refuted.items()},
    }
