"""Learning from source tasks: a uniform sample of each, part of it held back to judge principles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from vitruvius.agents.aims import Aims
from vitruvius.agents.candidates import draw_new, stream
from vitruvius.agents.journal import Journal
from vitruvius.agents.measuring import answers, lookup
from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Brief
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Origin, Principle, principle_id
from vitruvius.knowledge.share import Share

_TOLD = 10  # measurements of a source after which a line is said


def measure_sources(
    journal: Journal,
    sources: Sequence[Task],
    options: Options,
    say: Callable[[str], None],
    aims: Aims = Aims(),
) -> None:
    """Measure a uniform sample of every source task that is not complete yet, feasible ones if known.

    The first part of a sample may be seen by reasoners, the rest (see `held_back`) is held back from them.
    Source evaluations are counted apart from the target's budget.
    """
    for number, source in enumerate(sources, start=1):
        if journal.event("reference", number) is not None:
            continue
        drawn = stream(options.seed, 0, 100 + number)
        feasible = aims.on(source, least=2 * options.source_size)
        rows = draw_new(source.space, options.source_size, set(), drawn, feasible=feasible)
        sample = [source.bench.representative(one) for one in source.space.architectures(rows)]
        seen = len(sample) - held_back(options, len(sample))
        done = {x.measurement.key for x in journal.learned(source.name)}
        for share, part in ((Share.SOURCE, sample[:seen]), (Share.HELD, sample[seen:])):
            _measure(journal, source, [one for one in part if one.key not in done], share, say)
        journal.freeze_reference(source.name)
        asked = aims.feasible is not None and aims.feasible.predicate is not None
        free = asked and (feasible is None or feasible.predicate is None)
        note = ", from all of it: the constraint leaves too little there" if free else ""
        say(f"source {source.name}: {len(sample)} measured, {len(sample) - seen} of them held back{note}")
    if options.reasoner != "none":
        for number, source in enumerate(sources, start=1):
            if source.space.name != journal.task.space.name:
                _carry_over(journal, source, options, number, say)


def held_back(options: Options, size: int) -> int:
    """How many of a sample of this size are held back from reasoners."""
    return round(options.held_share * size)


def _measure(
    journal: Journal, source: Task, todo: Sequence[Architecture], share: Share, say: Callable[[str], None]
) -> None:
    """Measure a part of a sample: what takes its time one by one, and what is known is not paid for again."""
    if source.evaluator.tabular:
        journal.record_all(list(source.bench.measure(todo)), share=share)
        return
    left: list[Architecture] = []
    for one in todo:
        known = lookup(journal, one, source)
        if known is None:
            left.append(one)
        else:
            journal.record(known, batch=0, share=share)
    for count, measurement in enumerate(answers(source, left), start=1):
        journal.record(measurement, batch=0, share=share)
        if count % _TOLD == 0 and count < len(left):
            say(f"source {source.name}: {count} of {len(left)} measured ({share})")


def _carry_over(
    journal: Journal, source: Task, options: Options, number: int, say: Callable[[str], None]
) -> None:
    """Propose what stands out on a source in another space and can be asked of the target's.

    Done once for each source. Statistics propose here whatever the reasoner: the others are asked about the
    target's space. What is held back of the source judges them, and then the target.
    """
    if journal.event("carried over", number) is not None:
        return
    visible = journal.observations(source.name).visible()
    brief = Brief(source.space, source.name, [visible], [], options.principles, options.seed)
    found = StatisticsReasoner().reflect(brief).proposals
    taken: list[str] = []
    for proposal in found:
        predicate = Predicate.parse(proposal.predicate)
        if predicate.portable and predicate.fits(journal.task.space):
            sentence = proposal.sentence.replace(f" on {source.name}.", ".")
            anywhere = replace(proposal, sentence=sentence, space="any", task="any")
            origin = Origin("statistics", "", journal.session, labels=frozenset({source.label}))
            principle = Principle(principle_id(anywhere), anywhere, origin)
            journal.ledger.add_principle(principle, session=journal.session)
            taken.append(principle.id)
    journal.log("carried over", {"source": source.name, "principles": taken}, number=number)
    say(
        f"source {source.name}: {len(taken)} of {len(found)} principles name no decision of "
        f"{source.space.name} and no operation that {journal.task.space.name} lacks; they are tested here"
    )
