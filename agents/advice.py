"""Advice: what a session's sources say of its target, and how far the target has followed them so far.

Sources are asked again before every batch: how far each is believed is learned from everything that was
measured on the target (`relatedness`), so a source that turns out wrong falls silent. Without sources there
is no advice, and nothing here changes a session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vitruvius.agents.adaptation import adapted
from vitruvius.agents.aims import Aims
from vitruvius.agents.candidates import Batch, draw_new, initial_batch, stream
from vitruvius.agents.journal import Journal
from vitruvius.agents.options import Options
from vitruvius.agents.portable_model import PackModel, PortableModel
from vitruvius.agents.prior import Adviser, Prior, Remembered
from vitruvius.agents.relatedness import TRUST, Relatedness, relate
from vitruvius.agents.selection import Selector
from vitruvius.agents.source_model import SourceModel
from vitruvius.generator.space import Choices
from vitruvius.knowledge.imports import priors
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import Principle, PrincipleStatus
from vitruvius.knowledge.share import Share

Array = NDArray[np.float64]

SAMPLE = 4000
"""Architectures among which promising ones are looked for, beside the best of each source."""
BEST = 500
"""How many of the best of each source."""
STEP = 2
"""Evaluations in a batch of the first design."""
FEWEST_COMPARED = 2
"""Choices of the sources, and uniform draws, before they are compared: one of each is the toss of a coin."""
FEWEST_SOURCE = 10
"""Measurements that a source needs to have something to say."""
POOL = 256
"""Promising candidates that a batch is chosen from."""
NEWS = 0.15
"""What a source is worth is said after the first design, and again when its weight has changed by so much."""


class Advice:
    """What the sources say, for as long as a session lives."""

    def __init__(self, journal: Journal, options: Options, aims: Aims, say: Callable[[str], None]) -> None:
        """Advice for one session; models of the sources are made when first asked for."""
        self._journal, self._options, self._aims, self._say = journal, options, aims, say
        self._advisers: list[Remembered] = []
        self._candidates: Choices | None = None
        self._said: Array | None = None

    def prior(self, number: int) -> Prior | None:
        """What to expect of the target before batch `number` is drawn; None without sources.

        How far each source is believed is logged as event "relatedness".
        """
        if not self._options.transfer or self._aims.objectives is not None:
            return None
        if self._candidates is None or self._said is None:
            if len(self._journal.tasks) == 1 and not priors(self._journal.ledger, self._journal.session):
                return None
            candidates, uniform = self._looked_among()
            found = advisers(self._journal, self._options, uniform)
            if not found:
                return None
            self._advisers = [Remembered(one, self._journal.task.space) for one in found]
            self._said = np.column_stack([one.predict(candidates) for one in self._advisers])
            self._candidates = candidates
        observed = self._journal.observations()
        said = np.column_stack([one.predict(observed.choices) for one in self._advisers])
        names = [one.name for one in self._advisers]
        found = relate(
            self._journal.task.space, names, observed.choices, observed.scores, said, observed.uniform
        )
        self._tell(found, number)
        return Prior(found, self._advisers, self._candidates, self._said @ found.weights)

    def adapt(self, principles: Sequence[Principle]) -> list[Principle]:
        """Principles as they should act on the target now; with no sources they stay as they are.

        What the target contradicts is logged as event "contradicted", and said when it changes.
        """
        last = self._journal.last("relatedness")
        if last is None:
            return list(principles)
        trust = min(sum(last[1]["weights"]) / TRUST, 1.0)
        acting, against = adapted(principles, self._journal.observations(), trust)
        found = sorted(one.principle for one in against)
        before = self._journal.last("contradicted")
        known: list[str] = before[1]["principles"] if before is not None else []
        for one in against:
            if one.principle not in known:
                self._say(one.line())
        if found != known:
            number = before[0] + 1 if before is not None else 0
            self._journal.log("contradicted", {"principles": found, "trust": trust}, number=number)
        return acting

    def _looked_among(self) -> tuple[Choices, Choices]:
        """Rows that may be measured: the best of each source and a uniform sample, and that sample alone."""
        task = self._journal.task
        drawn = stream(self._options.seed, 0, 6)
        rows = [draw_new(task.space, SAMPLE, set(), drawn, tries=2, feasible=self._aims.feasible)]
        for name in self._journal.tasks:
            observed = self._journal.observations(name)
            if name != task.name and observed.space.name == task.space.name:
                rows.append(observed.choices[np.argsort(-observed.scores, kind="stable")[:BEST]])
        every = np.concatenate(rows[::-1])
        if self._aims.feasible is not None:
            every = every[self._aims.feasible.allows(every)]
        first = {identity: i for i, identity in reversed(list(enumerate(task.space.ids(every))))}
        return every[sorted(first.values())], rows[0]

    def _tell(self, found: Relatedness, number: int) -> None:
        """Log what is believed now; say it where it has changed since it was said last."""
        ledger, session = self._journal.ledger, self._journal.session
        if self._journal.event("relatedness", number) is not None:
            return
        every = [one.data["told"] for one in ledger.events(session, "relatedness")]
        told = [one for one in every if len(one) == len(found.names)]  # a pack may have come since
        tell = found.measured >= self._options.initial
        changed = (
            ~(np.abs(np.array(told[-1]) - found.weights) < NEWS) if told else np.full(len(found.names), True)
        )
        for line, news in zip(found.lines(), changed, strict=True):
            if tell and news:
                self._say(line)
        said = np.where(changed, found.weights, told[-1] if told else 0.0)
        facts = {**found.to_json(), "told": said.round(4).tolist() if tell else []}
        self._journal.log("relatedness", facts, number=number)


def advisers(journal: Journal, options: Options, typical: Choices) -> list[Adviser]:
    """Whatever has something to say of the target: source tasks, in its space or another, and packs.

    Args:
        journal: What was measured, and imported.
        options: Settings of the session.
        typical: (n, D) uniform rows of the target's space.
    """
    target, found = journal.task, list[Adviser]()
    for name, task in journal.tasks.items():
        observed = journal.observations(name) if name != target.name else None
        if observed is not None and len(observed) >= FEWEST_SOURCE:
            same = task.space.name == target.space.name
            found.append(
                SourceModel(observed, options.seed) if same else PortableModel(observed, target.space)
            )
    known = priors(journal.ledger, journal.session)
    claims: dict[str, list[tuple[Predicate, float]]] = {}
    for principle in journal.ledger.principles(session=journal.session) if known else ():
        prior = known.get(principle.id)
        if prior is not None and prior.status is PrincipleStatus.SUPPORTED and prior.evidence.joined:
            said = Predicate.parse(principle.proposal.predicate), prior.evidence.joined.estimate
            claims.setdefault(prior.name, []).append(said)
    costs = target.bench.costs
    return [*found, *(PackModel(name, said, target.space, typical, costs) for name, said in claims.items())]


def first_batch(
    journal: Journal, options: Options, aims: Aims, prior: Prior | None, number: int, size: int | None = None
) -> Batch:
    """A part of the design that a session starts with: uniform without sources.

    With them, of each two evaluations one is what they think best and one is uniform, which tells whether
    they are right; both are what they think best once each of theirs scored above every uniform draw, with
    two of each at least. Where none is believed any more, all are uniform.

    Args:
        journal: What was measured so far.
        options: Settings of the session.
        aims: The constraint.
        prior: What the sources make one expect, None without any.
        number: Number of the batch.
        size: Architectures in it; None for as many as are sensible.
    """
    task, known, counted = journal.task, journal.known_ids(), journal.counted()
    wanted = min(size or (options.initial if prior is None else STEP), options.initial - counted)
    if prior is None:
        return initial_batch(task, options, known, wanted, number, aims)
    batch, observed = Batch(number), journal.observations()
    ranked = prior.promising(len(prior.candidates))
    pool = ranked[[one not in known for one in task.space.ids(ranked)]][:POOL]
    first, ahead = counted + len(journal.in_flight()), _always_ahead(journal)
    theirs = sum(ahead or place % STEP == 0 for place in range(first, first + wanted)) if len(pool) else 0
    expected = (prior.mean(observed.choices), prior.mean(pool))
    chosen = Selector(task.space, seed=options.seed).choose(
        observed.choices, observed.scores, pool, None, theirs, number, expected
    )
    for i, reason in zip(chosen.rows, chosen.reasons, strict=True):
        batch.add(task, pool[i], Share.TRANSFER, f"{reason}, going by the sources")
    taken = known | set(task.space.ids(pool[chosen.rows]))
    drawn = stream(options.seed, number, 0)
    for row in draw_new(task.space, wanted - len(batch.keys), taken, drawn, feasible=aims.feasible):
        batch.add(task, row, Share.INITIAL, "uniform initial design")
    return batch


def _always_ahead(journal: Journal) -> bool:
    """Whether everything that the sources chose so far scored above every uniform draw."""
    told = [(x.share, x.measurement.score) for x in journal.learned() if x.measurement.score is not None]
    theirs, uniform = (
        journal.task.better(np.array([score for share, score in told if share is wanted]))
        for wanted in (Share.TRANSFER, Share.INITIAL)
    )
    return min(len(theirs), len(uniform)) >= FEWEST_COMPARED and bool(theirs.min() > uniform.max())
