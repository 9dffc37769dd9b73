"""A short exam for a reasoner, on the table that comes with the package: does it help more than `statistics`?

In each of a few trials the reasoner is shown 50 architectures of NAS-Bench-Graph, and the other 26,000 judge
what it proposes. Three others sit the same trials: the statistical reasoner; counting, which needs no
principles; and chance, simple predicates that hold for as much, with signs read from the same 50.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from vitruvius.agents.failures import NOT_ITS_OWN, UNREADABLE
from vitruvius.agents.reasoner import ModelCall, Reasoner
from vitruvius.agents.spending import Spent
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.generator.evaluation.task import Task
from vitruvius.grading import (
    USEFUL,
    Draw,
    Floats,
    KnownTask,
    agreement,
    area,
    holds,
    own_effects,
    random_principles,
    regret,
)
from vitruvius.knowledge.principle import Proposal

TASKS = ("nasbench-graph/cora", "nasbench-graph/cs", "nasbench-graph/arxiv")
"""Their best architectures have little in common, so nothing carries over between trials."""
TRIALS = 6
EVALUATIONS = 20
"""Draws of the sampler that principles steer."""
BY_CHANCE = 10
"""Random predicates for each principle of the reasoner."""
FEWEST = 3
"""Trials below which nothing is said of a difference."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one trial.

    Attributes:
        task: Name of the task.
        proposed: Principles that were valid.
        useful: Of these, those that tell at least 0.1 that the ones before them did not.
        chance: Share of random predicates of equal coverage that tell as much, 0 where none was proposed.
        areas: Share of the best hundredth kept, averaged over all cuts: by the reasoner, by statistics, by
            counting. 0.5 is chance.
        regrets: Expected regret after 20 draws: by the reasoner, by statistics, by counting, unsteered.
    """

    task: str
    proposed: int
    useful: int
    chance: float
    areas: tuple[float, float, float]
    regrets: tuple[float, float, float, float]


@dataclass
class Report:
    """The result of an exam.

    Attributes:
        reasoner: Its name.
        trials: One after the other.
        replies: Outcomes of model calls, counted.
        refused: Reasons for which replies and principles were refused, counted.
        tokens: In and out.
        paid: US dollars, as far as they are known.
        unpriced: Calls whose cost is not known.
        failed: Why the last reflection that brought nothing did; empty if all brought something.
        seconds: Of reflections, without the start of a server.
        notes: Sentences for the user.
    """

    reasoner: str
    trials: list[Trial] = field(default_factory=list[Trial])
    replies: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    tokens: tuple[int, int] = (0, 0)
    paid: float = 0.0
    unpriced: int = 0
    failed: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list[str])

    def add(self, calls: Sequence[ModelCall]) -> None:
        """Count model calls and what they have cost."""
        self.replies += Counter(call.outcome for call in calls)
        self.tokens = (
            self.tokens[0] + sum(call.tokens_in for call in calls),
            self.tokens[1] + sum(call.tokens_out for call in calls),
        )
        self.paid += sum(call.cost or 0.0 for call in calls)
        self.unpriced += sum(call.cost is None for call in calls)

    @property
    def cost(self) -> float | None:
        """US dollars; None if it is not known for all calls."""
        return None if self.unpriced else self.paid

    @property
    def spent(self) -> Spent:
        """What the trials so far have cost: an exam keeps to the limits of a session."""
        return Spent(self.seconds, *self.tokens)

    @property
    def proposed(self) -> int:
        """Valid principles."""
        return sum(trial.proposed for trial in self.trials)

    @property
    def useful(self) -> int:
        """Those that tell something of architectures that were not shown."""
        return sum(trial.useful for trial in self.trials)

    @property
    def chance(self) -> float:
        """Share of random predicates of equal coverage that do, weighted as the principles are."""
        return sum(t.chance * t.proposed for t in self.trials) / max(self.proposed, 1)

    @property
    def gain(self) -> tuple[float, float, float]:
        """Regret of statistics less that of the reasoner, by trial: mean, and 95 % interval (Student)."""
        from scipy.stats import t as student

        gains = np.array([trial.regrets[1] - trial.regrets[0] for trial in self.trials])
        mean = float(gains.mean())
        if len(gains) < FEWEST:
            return mean, -np.inf, np.inf
        half = float(student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
        return mean, mean - half, mean + half

    @property
    def verdict(self) -> str:
        """Whether it helps more than statistics, as a sentence."""
        if self.reasoner == "statistics":
            return "This is the statistical reasoner: language models are held against it."
        if not self.proposed:
            own = (self.replies.keys() & UNREADABLE) - NOT_ITS_OWN - {"tools", "no tools"}
            others = self.replies.keys() & NOT_ITS_OWN
            if self.failed and not own and (others or not self.replies):
                return f"{self.reasoner} could not be judged, nothing of it came through: {self.failed}"
            why = f" ({self.failed.rstrip('.')})" if self.failed else ""
            return f"{self.reasoner} is of no use as a reasoner: not one principle of it could be used{why}."
        _, low, high = self.gain
        if low > 0:
            return f"{self.reasoner} helps more than statistics."
        if high < 0:
            return f"{self.reasoner} helps less than statistics: use statistics, which costs nothing."
        return (
            f"{self.reasoner} cannot be told from statistics in {len(self.trials)} trials: more trials "
            "(--trials) tell more; until then statistics does the same for nothing."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "reasoner": self.reasoner, "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "replies": dict(self.replies), "refused": dict(self.refused), "proposed": self.proposed,
            "useful": self.useful, "chance": self.chance, "gain": [_finite(x) for x in self.gain],
            "tokens_in": self.tokens[0], "tokens_out": self.tokens[1], "cost": self.cost,
            "paid": self.paid, "seconds": round(self.seconds, 2), "notes": self.notes,
            "verdict": self.verdict,
        }  # fmt: skip


def take_exam(
    reasoner: Reasoner,
    *,
    trials: int = TRIALS,
    tasks: tuple[str, ...] = TASKS,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Examine a reasoner.

    Args:
        reasoner: Any; it stays open.
        trials: Reflections that are asked for; each is one conversation with the model.
        tasks: Tasks of tables that hold every score, taken in turn.
        say: Takes one line of progress.
    """
    report = Report(reasoner.name)
    for number in range(trials):
        name = tasks[number % len(tasks)]
        draw = Draw.of(_opened(name), seed=number)
        began = time.monotonic()
        reflection = reasoner.reflect(replace(draw.brief, spent=report.spent))
        report.seconds += time.monotonic() - began
        report.add(reflection.calls)
        report.failed = reflection.failed or report.failed
        report.refused += reflection.refused
        report.notes += [note for note in reflection.notes if note not in report.notes]
        report.trials.append(_graded(draw, reflection.proposals))
        last = report.trials[-1]
        say(f"trial {number + 1} of {trials}, {name}: {last.useful} of {last.proposed} tell something")
    return report


@lru_cache(maxsize=len(TASKS))
def _opened(task: str) -> KnownTask:
    return KnownTask.open(Task(task))


def _graded(draw: Draw, proposals: list[Proposal]) -> Trial:
    """Grade what was proposed, and the controls on the same draw."""
    known = draw.known
    statistics = agreement(known, StatisticsReasoner().reflect(draw.brief).proposals)
    rankings: list[Floats] = [agreement(known, proposals), statistics, draw.counted]
    areas = tuple(area(known, ranking) for ranking in rankings)
    regrets = tuple(
        regret(draw, ranking, EVALUATIONS) for ranking in [*rankings, np.zeros(len(known.scores))]
    )
    useful = sum(effect >= USEFUL for effect in own_effects(draw, proposals, beyond_counting=False))
    assert len(areas) == 3 and len(regrets) == 4, "one figure for each that sits the exam"
    return Trial(known.task.name, len(proposals), useful, _by_chance(draw, proposals), areas, regrets)


def _by_chance(draw: Draw, proposals: list[Proposal]) -> float:
    """Share of random lists' predicates, of the coverages of the principles, that tell something."""
    if not proposals:
        return 0.0
    rng = np.random.default_rng([draw.brief.seed, 52])
    coverages = holds(draw.known, proposals)[:, draw.seen].mean(axis=1).tolist()
    lists = [random_principles(draw, coverages, rng) for _ in range(BY_CHANCE)]
    effects = [own_effects(draw, one, beyond_counting=False) for one in lists]
    return float(np.mean(np.array(effects) >= USEFUL))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


__all__ = ["EVALUATIONS", "TASKS", "TRIALS", "Report", "Trial", "take_exam"]
