"""What reasoners are compared with in `reasoning.py`: counting, chance, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vitruvius.agents.reasoner import ModelCall
from vitruvius.grading import Draw, Floats, agreement, random_principles
from vitruvius.knowledge.predicate import Choice
from vitruvius.knowledge.principle import Proposal

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.25) * 2
"""Of the random predicates: what reasoners are told to aim at."""


@dataclass(frozen=True)
class Advice:
    """What one method makes of a draw: principles in order, and a ranking of the whole space by them."""

    proposals: list[Proposal]
    ranking: Floats
    refused: int = 0
    calls: tuple[ModelCall, ...] = ()


def counting(draw: Draw) -> Advice:
    """At each decision, the choice that is most frequent among the ten best shown; no reasoning at all.

    The ranking is by the counts of all choices, as the published transfer of principles can be replaced by.
    """
    best = draw.observed.choices[np.argsort(-draw.observed.scores, kind="stable")[:10]]
    found: list[tuple[int, Proposal]] = []
    for column, decision in enumerate(draw.brief.space.decisions):
        counts = np.bincount(best[:, column], minlength=len(decision.choices))
        if len(decision.choices) < 2:
            continue
        predicate = Choice(decision=decision.name, among=(decision.choices[int(counts.argmax())],))
        form = predicate.to_json()
        proposal = Proposal(predicate.sentence(), form, draw.brief.space.name, draw.brief.target, 1, None)
        found.append((-int(counts.max()), proposal))
    found.sort(key=lambda pair: pair[0])
    return Advice([proposal for _, proposal in found], draw.counted)


def chance(draw: Draw) -> Advice:
    """Random simple predicates, signs and sizes read from what is shown."""
    proposals = random_principles(draw, COVERAGES, np.random.default_rng([draw.brief.seed, 53]))
    return Advice(proposals, agreement(draw.known, proposals))


def nothing(draw: Draw) -> Advice:
    """No principles: the sampler is uniform."""
    return Advice([], np.zeros(len(draw.known.scores)))


CONTROLS: dict[str, Callable[[Draw], Advice]] = {"counting": counting, "random": chance, "nothing": nothing}
"""By name."""
