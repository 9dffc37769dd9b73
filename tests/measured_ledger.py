"""A ledger with measurements whose truth is known, for whatever answers questions from one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.generator.space import get_space
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.principle import Origin, Principle, Proposal, principle_id
from vitruvius.knowledge.share import Share

TARGET, SOURCE = "nasbench201/cifar10", "nasbench201/cifar100"
SPACE = get_space("nasbench201")
Truth = Callable[[Population], Any]


def skips_help(population: Population) -> Any:
    """The more skip connections the better."""
    return 50.0 + 10.0 * population.count(["skip"])


def skips_hurt(population: Population) -> Any:
    return 100.0 - 10.0 * population.count(["skip"])


def measure(
    ledger: Ledger,
    task: str,
    truth: Truth,
    n: int,
    *,
    share: Share = Share.INITIAL,
    session: str = "s",
    seed: int = 0,
) -> None:
    """Record n random architectures of one task; params are a tenth of a million for each convolution."""
    rng = np.random.default_rng(seed)
    population = Population(SPACE, SPACE.sample(n, rng))
    scores = truth(population) + rng.normal(0.0, 1.0, n)
    params = 0.1 * population.count(["conv3x3", "conv1x1"])
    found = [
        Measurement("nasbench201", task, one.key, one.id, Status.OK, float(score), params=float(size))
        for one, score, size in zip(SPACE.architectures(population.choices), scores, params, strict=True)
    ]
    ledger.record_all(found, session=session, batch=seed, share=share)


def start(ledger: Ledger, session: str = "s", task: str = TARGET) -> None:
    labels = [tuple(task.split("/")), tuple(SOURCE.split("/"))]
    ledger.start_session(session, task=task, seed=0, settings={"maximize": True}, labels=labels)  # type: ignore[arg-type]


def filled(path: Path) -> Ledger:
    """150 draws of the target, where skips help, and 150 of a source, where they hurt."""
    ledger = Ledger(path)
    start(ledger)
    measure(ledger, TARGET, skips_help, 150)
    measure(ledger, SOURCE, skips_hurt, 150, share=Share.SOURCE, seed=1)
    return ledger


def claim(text: str, direction: int = 1, **at: Any) -> Principle:
    """A principle about NAS-Bench-201, from the text of its predicate."""
    from vitruvius.knowledge.predicate import Predicate

    predicate = Predicate.parse(text)
    proposal = Proposal(predicate.sentence(), predicate.to_json(), "nasbench201", direction=direction)
    return Principle(principle_id(proposal), proposal, Origin("person", session="s"), **at)
