"""`vitruvius principles ask`: a question, answered from all that was measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvius.cli import principle_lines as lines
from vitruvius.cli.principle_options import AsJson, Run, Url, opened_store

if TYPE_CHECKING:
    from vitruvius.agents.models import Chat
    from vitruvius.agents.telling import Prose
    from vitruvius.knowledge.answer import Answer
    from vitruvius.knowledge.ledger import Ledger


def ask(
    question: Annotated[
        str, typer.Argument(help='Such as "do skip connections help under 1M parameters?", or a predicate.')
    ],
    run: Run = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most principles that are brought along.")] = 3,
    drawn: Annotated[int, typer.Option(min=0, help="Counter-examples that are drawn.")] = lines.DRAWN,
    model: Annotated[
        str | None,
        typer.Option(
            help="A language model that tells it in prose: openai:MODEL, vllm:PATH. Asked only then."
        ),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """A question, answered from all that was measured."""
    from vitruvius.knowledge.answer_text import answer_lines

    chat = _chat(model) if model is not None else None
    with opened_store(run, url) as (folder, store):
        answer = _priced(store.ask(question, task=task, limit=limit), folder)
        if not as_json:
            for line in answer_lines(answer, drawn):
                lines.say(line)
        prose = _told(answer, chat, store.ledger) if chat is not None else None
    if as_json:
        plain = None if prose is None else dataclasses.asdict(prose)
        lines.print_json(answer.as_json() | {"prose": plain})
    elif prose is not None:
        _print_prose(prose)


def _priced(answer: Answer, folder: Path) -> Answer:
    """With the share of the space where costs decide that, as the run's table has them."""
    from vitruvius.building import build_task
    from vitruvius.config import SETTINGS_FILE, load_settings
    from vitruvius.errors import UserError
    from vitruvius.generator.evaluation.task import Task
    from vitruvius.knowledge.answer import with_costs
    from vitruvius.knowledge.population import CostSource

    unknown = any(math.isnan(task.share) for each in answer.spaces for task in each.tasks)
    if not unknown or not (folder / SETTINGS_FILE).is_file():
        return answer
    settings = load_settings(folder / SETTINGS_FILE, {})
    if settings.evaluator != "table":  # elsewhere data would be loaded, or the user's own function asked
        return answer
    try:
        evaluator = build_task(settings).evaluator
    except UserError:  # the table lies elsewhere now: the answer stands without
        return answer

    def costs(name: str) -> CostSource | None:
        try:
            return Task(name, evaluator).bench.costs
        except UserError:  # a source that another table measured
            return None

    return with_costs(answer, costs)


def _chat(model: str) -> Chat:
    """The model; a wrong name is told before anything is computed, nothing is started yet."""
    from vitruvius.agents.models import chat_model

    return chat_model(model, on_line=lambda line: typer.echo(line, err=True))


def _told(answer: Answer, chat: Chat, ledger: Ledger) -> Prose:
    from vitruvius.agents.telling import keep, tell

    try:
        prose = tell(answer, chat)
    finally:
        chat.close()
    keep(answer, prose, ledger)
    return prose


def _print_prose(prose: Prose) -> None:
    call = prose.calls[-1]
    costs = [each.cost for each in prose.calls if not each.cached]
    known = [cost for cost in costs if cost is not None]
    paid = f"${sum(known):.4f}" if len(known) == len(costs) else "price not known"
    lines.say(f"\nIn the words of {call.model} ({call.tokens_in} tokens in, {call.tokens_out} out, {paid})")
    lines.say(" ".join(prose.sentences) or "Nothing that it said can be kept.")
    if prose.dropped:
        many = "sentence was" if len(prose.dropped) == 1 else "sentences were"
        reasons = "; ".join(dict.fromkeys(each.reason for each in prose.dropped))
        lines.say(f"{len(prose.dropped)} {many} dropped: {reasons}")
