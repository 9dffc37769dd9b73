"""How principles hold on a target that they were not learned on: what was promised, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.knowledge.evidence import Thresholds
from vitruvius.knowledge.imports import Prior, priors
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import Effect, Principle

HELD, SAME, FEW, OTHER, FAILED = (
    "held",
    "points the same way",
    "too few draws",
    "points the other way",
    "failed",
)
FATES = (HELD, SAME, FEW, OTHER, FAILED)
"""What can become of a principle on a target: its interval lies on the side claimed; its estimate does; there
are not enough uniform draws; its estimate lies on the other side; its interval excludes a useful effect."""


@dataclass(frozen=True, slots=True)
class Carried:
    """One principle on the target of a session.

    Attributes:
        principle: As it is now.
        origin: Where it came from: "pack NAME (HASH), learned on ...", or "proposed here by ...".
        prior: What its pack said; None if it was proposed here.
        here: Effect of fresh evidence on the target, None where there are not draws on both sides.
        fate: One of `FATES`.
    """

    principle: Principle
    origin: str
    prior: Prior | None
    here: Effect | None
    fate: str


def transfer(ledger: Ledger, session: str) -> list[Carried]:
    """What became of each principle of a session on its target; imported ones first, then by origin.

    Args:
        ledger: The ledger.
        session: Id of the session.
    """
    record = next(each for each in ledger.sessions() if each.id == session)
    known = priors(ledger, session)
    found = [_carried(each, known.get(each.id), record.task) for each in ledger.principles(session=session)]
    return sorted(found, key=lambda each: (each.prior is None, each.origin, FATES.index(each.fate)))


def _carried(principle: Principle, prior: Prior | None, target: str) -> Carried:
    here = next((told.fresh for told in principle.evidence.tasks if told.task == target), None)
    if prior is None:
        origin = f"proposed here by {principle.origin.reasoner}"
    else:
        tasks = ", ".join("/".join(label) for label in sorted(principle.origin.labels))
        origin = f"pack {prior.name} ({prior.pack}), {principle.origin.reasoner} on {tasks}"
    return Carried(principle, origin, prior, here, fate(here, principle.proposal.direction))


def fate(here: Effect | None, direction: int, thresholds: Thresholds = Thresholds()) -> str:
    """What an effect on the target says of a claim: one of `FATES`."""
    if here is None or min(here.holding, here.lacking) < thresholds.fewest:
        return FEW
    sign = 1.0 if direction > 0 else -1.0
    low, high = sorted((sign * here.low, sign * here.high))
    if low > 0:
        return HELD
    if high < thresholds.useful:
        return FAILED
    return SAME if sign * here.estimate >= 0 else OTHER
