"""The records that a summary of a session is made of; `vitruvius.summary` fills them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitruvius.knowledge.evidence import untold
from vitruvius.knowledge.principle import Effect
from vitruvius.knowledge.share import Share

_DEVICES = 3
"""Latencies on more of them would hide the rest of a line."""


@dataclass(frozen=True, slots=True)
class Winner:
    """One of the best architectures.

    Attributes:
        key: Its exact choices.
        id: Its canonical identity.
        score: Validation metric in the task's unit.
        evaluation: Which counted evaluation found it, from 1.
        share: Why it was measured.
        params: Millions of parameters, None if not known.
        latency: Device -> milliseconds, as far as it was measured.
        flops: Millions of multiply-adds, None if not known.
        choices: Decision -> choice.
        drawing: The architecture as lines of text.
        principles: Sentences of the supported principles that it satisfies.
    """

    key: str
    id: str
    score: float
    evaluation: int
    share: Share
    params: float | None
    latency: Mapping[str, float]
    flops: float | None
    choices: Mapping[str, str]
    drawing: str
    principles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskLine:
    """What one task says of a principle: seen and fresh evidence, never mixed."""

    task: str
    seen: Effect | None
    fresh: Effect | None
    n_for: int
    n_against: int


@dataclass(frozen=True, slots=True)
class PrincipleLine:
    """A principle with its evidence.

    Attributes:
        id: Its id.
        sentence: For people.
        scope: Task or space that it speaks of, or "any".
        direction: +1 if what satisfies it should do better, -1 if worse.
        status: What the evidence says.
        reasoner: Who proposed it.
        imported: Whether it came with a pack.
        fresh: Fresh evidence joined over tasks, None where there is none.
        tasks: Evidence by task.
        n_for: Measured architectures that agree.
        n_against: Measured architectures that speak against it.
    """

    id: str
    sentence: str
    scope: str
    direction: int
    status: str
    reasoner: str
    imported: bool
    fresh: Effect | None
    tasks: tuple[TaskLine, ...]
    n_for: int
    n_against: int

    @property
    def untold(self) -> list[str]:
        """Tasks that `fresh` leaves out, because too little was measured there."""
        return untold((each.task, each.fresh) for each in self.tasks)


@dataclass(frozen=True, slots=True)
class Cut:
    """One pruning decision.

    Attributes:
        share: Part of `Summary.whole` that stayed open to guided proposals, 1 for all of it; None for a
            re-opening.
        reopened: Whether it opened what had been cut.
        lines: What was decided, in words.
    """

    share: float | None
    reopened: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallLine:
    """The calls of one model with one template.

    Attributes:
        model: Name of the model.
        template: Name of the prompt template.
        calls: How many were made.
        outcomes: Outcome -> how many calls ended so.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        seconds: Wall time.
        cost: US dollars paid; None if it is not known for all of them.
        cached: How many replies came from the cache.
        paid: US dollars paid, as far as they are known.
        unpriced: How many calls have a cost that is not known.
        estimated: Of how many the tokens are estimated.
    """

    model: str
    template: str
    calls: int
    outcomes: Mapping[str, int]
    tokens_in: int
    tokens_out: int
    seconds: float
    cost: float | None = None
    cached: int = 0
    paid: float = 0.0
    unpriced: int = 0
    estimated: int = 0


@dataclass(frozen=True, slots=True)
class FrontLine:
    """One architecture that nothing measured beats in everything.

    Attributes:
        key: Its exact choices.
        score: Validation metric in the task's unit.
        costs: The costs that were objectives, by name.
        evaluation: Which counted evaluation found it, from 1.
    """

    key: str
    score: float
    costs: Mapping[str, float]
    evaluation: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One session.

    Attributes:
        run: The run folder as given.
        session: Id of the session.
        task: Name of the target.
        metric: Name of the validation metric.
        unit: Its unit as it stands behind a number; empty where none is needed.
        maximize: Whether larger is better.
        finished: Whether the session reached its end.
        planned: Evaluations that were planned, None if not known.
        counted: Evaluations that count against the budget.
        paid: Evaluations that were carried out here and not taken from an earlier session, those without a
            score too.
        failures: Evaluations without a score, by status.
        reasoner: What was asked for principles; `authors` tells whether another stood in.
        proposer: What wrote codes.
        sources: Source tasks: name, what was seen of them, what was held back.
        plan: What was announced before the session.
        winners: The best architectures, best first.
        curve: Best score so far after each counted evaluation; None before the first score.
        baselines: The same of other methods at the same budget, by name.
        principles: All principles, supported ones first.
        cuts: What was pruned, in order.
        pruning_cost: What pruning may have cost, in words; "cannot be told" is an answer.
        pruning_effect: The figure behind it with its interval, None where there is none.
        refused: What was refused, by reason: sequences of the code model and replies of the reasoner.
        pool: Counts over all sequences that were written.
        timing: Seconds by part.
        warnings: Fallbacks and other things to know.
        calls: Model calls by model and template.
        notes: What the reasoner had to say.
        settings: The settings file as used.
        constraint: What every candidate satisfies and how much of the space that leaves; empty for none.
        tabled: How much of the space the table has; empty where it has all, or a constraint says it.
        asked: The costs that objectives or the constraint name.
        foretold: Which latencies are predicted, and how well; empty where none is.
        front: The Pareto front, cheapest first; empty without objectives beside the score.
        volumes: Hypervolume after each counted evaluation by method, 1 for the best score at the lowest cost.
        believed: How far sources and packs were believed at the end, in words; empty without any.
        dear: What makes the costs that objectives or the constraint name large or small, in words.
    """

    run: str
    session: str
    task: str
    metric: str
    unit: str
    maximize: bool
    finished: bool
    planned: int | None
    counted: int
    paid: int
    failures: Mapping[str, int]
    reasoner: str
    proposer: str
    sources: tuple[Mapping[str, Any], ...]
    plan: tuple[str, ...]
    winners: tuple[Winner, ...]
    curve: tuple[float | None, ...]
    baselines: Mapping[str, tuple[float | None, ...]]
    principles: tuple[PrincipleLine, ...]
    cuts: tuple[Cut, ...]
    pruning_cost: str
    pruning_effect: Effect | None
    refused: Mapping[str, int]
    pool: Mapping[str, int]
    timing: Mapping[str, float]
    warnings: tuple[str, ...]
    calls: tuple[CallLine, ...]
    notes: tuple[str, ...]
    settings: str = field(default="", repr=False)
    constraint: str = ""
    tabled: str = ""
    asked: tuple[str, ...] = ()
    foretold: tuple[str, ...] = ()
    front: tuple[FrontLine, ...] = ()
    volumes: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    believed: tuple[str, ...] = ()
    dear: tuple[str, ...] = ()

    @property
    def best(self) -> Winner | None:
        """The best architecture, None before the first score."""
        return self.winners[0] if self.winners else None

    @property
    def authors(self) -> str:
        """Who the principles are from, each with its number where there are several; empty without any."""
        counts = Counter("packs" if one.imported else one.reasoner for one in self.principles)
        if len(counts) == 1:
            return f"from {next(iter(counts))}"
        return ", ".join(f"{n} from {name}" for name, n in counts.most_common())

    @property
    def whole(self) -> str:
        """What was pruned, in words."""
        limited = "what the table has" if self.tabled else "the space"
        return "what the constraint allows" if self.constraint else limited

    def costs_of(self, winner: Winner) -> str:
        """What an architecture costs, as it goes on in a line: latencies where they are few or asked for."""
        named = {"M parameters": winner.params, "M multiply-adds": winner.flops}
        told = [f"{value:.3f} {name}" for name, value in named.items() if value is not None]
        told += [
            f"{value:.3g} ms on {device}"
            for device, value in winner.latency.items()
            if len(winner.latency) <= _DEVICES or f"latency[{device}]" in self.asked
        ]
        return "".join(f", {one}" for one in told)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)
