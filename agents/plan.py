"""What a run will do and spend, said before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.generator.evaluation.task import Task


def make_plan(
    journal: Journal, sources: Sequence[Task], options: Options, evaluations: int
) -> dict[str, Any]:
    """The plan as plain data; `lines` are for people."""
    task, counted = journal.task, journal.counted()
    held = round(options.held_share * options.source_size)
    learned_from = [{"task": s.name, "seen": options.source_size - held, "held": held} for s in sources]
    how = "look-ups in a table" if task.evaluator.tabular else "measurements that take their time"
    direction = "larger is better" if task.metric.maximize else "smaller is better"
    lines = [
        f"task       {task.name}: {task.metric.name} ({direction}), {_size(task)} architectures",
        f"budget     {evaluations} evaluations, {counted} done, {max(evaluations - counted, 0)} to do: {how}",
    ]
    if sources:
        total = len(sources) * options.source_size
        names = ", ".join(source.dataset for source in sources)
        lines.append(
            f"sources    {names}: {total} look-ups, {held * len(sources)} held back to judge principles"
        )
    lines.append(f"reasoner   {_reasoner(options.reasoner)}")
    lines.append(f"generator  VQ-VAE codes, written by a code language model (engine: {options.proposer})")
    return {
        "task": task.name,
        "evaluations": evaluations,
        "unit": task.metric.unit,
        "sources": learned_from,
        "reasoner": options.reasoner,
        "proposer": options.proposer,
        "lines": lines,
    }


def _size(task: Task) -> str:
    return f"{task.space.size:,}" if task.space.size is not None else "countless"


def _reasoner(name: str) -> str:
    if name == "statistics":
        return "statistics (no language model is asked: prompt templates have no effect, nothing is paid)"
    if name == "none":
        return "none (no principles, nothing is pruned)"
    if name.startswith("vllm:"):
        return f"{name} (served by vLLM on this machine, nothing is paid)"
    return f"{name} (a language model behind an endpoint: what it charges is yours)"
