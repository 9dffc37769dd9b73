"""Learning from source tasks: a uniform sample of each, part of it held back to judge principles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vitruvius.agents.candidates import draw_new, stream
from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.generator.evaluation.task import Task


def measure_sources(
    journal: Journal, sources: Sequence[Task], options: Options, say: Callable[[str], None]
) -> None:
    """Measure a uniform sample of every source task that is not complete yet.

    The first `source_size * (1 - held_share)` of a sample may be seen by reasoners, the rest is held back.
    Source evaluations are counted apart from the target's budget.
    """
    for number, source in enumerate(sources, start=1):
        if journal.event("reference", number) is not None:
            continue
        rows = draw_new(source.space, options.source_size, set(), stream(options.seed, 0, 100 + number))
        sample = [source.bench.representative(one) for one in source.space.architectures(rows)]
        seen = round(options.source_size * (1 - options.held_share))
        done = {x.measurement.key for x in journal.learned(source.name)}
        for share, part in (("source", sample[:seen]), ("held", sample[seen:])):
            todo = [one for one in part if one.key not in done]
            journal.record_all(list(source.bench.measure(todo)), share=share)
        journal.freeze_reference(source.name)
        say(f"source {source.name}: {len(sample)} measured, {len(sample) - seen} of them held back")
