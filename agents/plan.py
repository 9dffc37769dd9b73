"""What a run will do and spend, said before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitruvius.agents.aims import Aims
from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.agents.own_reasoner import OwnReasoner
from vitruvius.agents.prices import price_of
from vitruvius.agents.reasoner import Reasoner
from vitruvius.agents.reasoners import BOTH, own_price
from vitruvius.agents.sources import held_back
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.evaluation.with_latency import BenchWithLatency
from vitruvius.knowledge.records import IMPORTED


def make_plan(
    journal: Journal,
    sources: Sequence[Task],
    options: Options,
    evaluations: int,
    aims: Aims = Aims(),
    reasoner: Reasoner | None = None,
) -> dict[str, Any]:
    """The plan as plain data; `lines` are for people, `reasoner` is that of the session, once it has one."""
    task, counted = journal.task, journal.counted()
    left = max(evaluations - counted, 0)
    sizes = [_sample_size(source, options) for source in sources]
    held = [held_back(options, size) for size in sizes]
    learned_from = [
        {"task": source.name, "seen": size - back, "held": back}
        for source, size, back in zip(sources, sizes, held, strict=True)
    ]
    direction = "larger is better" if task.metric.maximize else "smaller is better"
    foretold = task.bench.describe() if isinstance(task.bench, BenchWithLatency) else []
    lines = [
        f"task       {task.name}: {task.metric.name} ({direction}), {_size(task)} architectures",
        f"budget     {evaluations:,} evaluations, {counted:,} done, {left:,} to do: {_how([task])}",
    ]
    most = task.space.size if aims.feasible is None else aims.feasible.classes
    if most is not None and evaluations > most:
        lines.append(f"           more than there are: it ends when all {most:,} are known")
    lines += [*foretold, *aims.describe()]
    if sources:
        names = ", ".join(source.dataset for source in sources)
        lines.append(
            f"sources    {names}: {sum(sizes)} {_how(sources)}, {sum(held)} held back to judge principles"
        )
    for event in journal.ledger.events(journal.session, IMPORTED):
        taken = len(event.data["principles"])
        many = f"{taken} principle{'s' * (taken != 1)}"
        out = "".join(f"; {n} left out: {reason}" for reason, n in event.data["refused"].items() if n)
        lines.append(f"pack       {event.data['name']}: {many} taken over, to be tested here{out}")
    own = isinstance(reasoner, OwnReasoner)
    told = f"{reasoner.name} (an object of your own)" if own else _reasoner(options)
    lines.append(f"reasoner   {told}")
    writer = f"VQ-VAE codes, written by a code language model (engine: {options.proposer})"
    lines.append(f"generator  {_WRITERS.get(options.proposer, writer)}")
    return {
        "task": task.name,
        "evaluations": evaluations,
        "unit": task.metric.unit,
        "sources": learned_from,
        "reasoner": options.reasoner,
        "proposer": options.proposer,
        "lines": lines,
        **({"latency": foretold} if foretold else {}),
        **({"aims": facts} if (facts := aims.facts()) else {}),
    }


def _how(tasks: Sequence[Task]) -> str:
    """How something is measured on these tasks."""
    slow = any(not task.evaluator.tabular for task in tasks)
    return "measurements that take their time" if slow else "look-ups in a table"


def _sample_size(source: Task, options: Options) -> int:
    """How many architectures of a source are measured, as far as is known before."""
    size = source.space.size
    return options.source_size if size is None else min(size, options.source_size)


_WRITERS = {
    "uniform": "none: candidates are drawn uniformly, no code model is needed",
    "ngram": "VQ-VAE codes, written by an n-gram model: no language model writes them",
}
"""What writes candidates instead of a language model."""


def _size(task: Task) -> str:
    return f"{task.space.size:,}" if task.space.size is not None else "countless"


def _reasoner(options: Options) -> str:
    """Who proposes principles, and what that may cost."""
    name = options.reasoner
    if name == "statistics":
        return "statistics (no language model is asked: prompt templates have no effect, nothing is paid)"
    if name == "none":
        return "none (no principles, nothing is pruned)"
    price = own_price(options) or price_of(name.removeprefix(BOTH))
    if price is None:
        return (
            f"{name} (its price is not known, so only tokens are limited: {options.reflection_tokens:,} a "
            f"reflection, {options.session_tokens:,} in all; set price_in and price_out to limit money)"
        )
    if price.free:
        return f"{name} ({price.source}, nothing is paid)"
    return (
        f"{name} (at most ${options.reflection_money:.2f} a reflection, ${options.session_money:.2f} in all, "
        f"at ${price.tokens_in:g} and ${price.tokens_out:g} for a million tokens in and out: {price.source})"
    )
