"""What the ledger hands out, and the JSON forms of what it keeps.

The JSON of principles and evidence is strict (numbers that JSON cannot write, such as an infinite
e-value, are the texts "inf", "-inf" and "nan") and comes back as exactly the same record.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from vitruvius.errors import LedgerError
from vitruvius.generator.evaluation.task import Measurement
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
)
from vitruvius.knowledge.share import Share

Json = dict[str, Any]
"""A JSON object."""
IMPORTED = "imported"
"""Kind of the event by which a session took principles over from a pack; see `packs`."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it was started.

    Attributes:
        id: Its name.
        task: Name of the target task.
        seed: Seed of the whole session.
        settings: The settings as used, URLs without passwords.
        started: Seconds since 1970.
        labels: (space, data set) of everything that the session draws on: its target first, its sources,
            and what the principles that it took over from packs were learned on.
    """

    id: str
    task: str
    seed: int
    settings: Json
    started: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """One measurement as one session came to know it.

    Attributes:
        order: Position among what this session learned: 0, 1, 2 ...
        measurement: What was measured.
        session: Id of the session.
        batch: Number of the batch that asked for it.
        share: Why it was measured.
        counted: Whether this session first learned a score for this (task, id) here.
        paid: Whether it was measured now, not read from the cache.
    """

    order: int
    measurement: Measurement
    session: str
    batch: int
    share: Share
    counted: bool
    paid: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a session: a drawn batch, a restriction, a warning.

    Attributes:
        id: Position in the ledger.
        session: Id of the session.
        kind: What happened, for example "batch".
        number: Which one of its kind; None where it is not numbered.
        data: The facts, as JSON.
        time: Seconds since 1970.
    """

    id: int
    session: str
    kind: str
    number: int | None
    data: Json
    time: float


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a language model.

    Attributes:
        id: Number that principles name as their origin.
        session: Id of the session.
        call: The call's fields: model, template, template_hash, tokens, seconds, reply, outcome.
        time: Seconds since 1970.
    """

    id: int
    session: str
    call: Json
    time: float


class Revision(NamedTuple):
    """How far the history of the principles was read.

    Both are needed: a database may number a row before another and show it later.

    Attributes:
        number: Highest number of a row.
        rows: How many rows there were.
    """

    number: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a principle's status in one session.

    Attributes:
        principle: Id of the principle.
        session: Id of the session.
        before: Its status until then; None when the session first had it.
        status: Its status from then on.
        evidence: What that status rests on.
        evaluations: Evaluations of the session's target that had counted by then.
        time: Seconds since 1970.
    """

    principle: str
    session: str
    before: PrincipleStatus | None
    status: PrincipleStatus
    evidence: Evidence
    evaluations: int
    time: float


_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*):[^\s/]*@")


def without_password(text: str) -> str:
    """The text with the password of every URL in it replaced by three stars."""
    return _PASSWORD.sub(r"\g<head>:***@", text) if "://" in text else text


def bare_url(url: str) -> str:
    """The URL without its password: what may stand in a settings file, and still reaches the same place."""
    return _PASSWORD.sub(r"\g<head>@", url)


def _plain(value: Any) -> Any:
    """JSON data of Python and numpy values, passwords taken out of URLs.

    Raises:
        LedgerError: A value is neither.
    """
    if isinstance(value, str):
        return without_password(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return without_password(str(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise LedgerError(
        f"The ledger cannot keep {value!r} of type {type(value).__name__}: "
        f"give numbers, texts, lists and mappings."
    )


def dump(data: Any) -> str:
    """Canonical JSON text: equal data gives equal text, URLs lose their passwords."""
    return json.dumps(_plain(data), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(float(value))


def _real(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value


def _effect_to_json(effect: Effect | None) -> Json | None:
    if effect is None:
        return None
    return {
        "estimate": _number(effect.estimate),
        "low": _number(effect.low),
        "high": _number(effect.high),
        "holding": effect.holding,
        "lacking": effect.lacking,
        "evalue": _number(effect.evalue),
        "naive": _number(effect.naive),
    }


def _effect_from_json(data: Json | None) -> Effect | None:
    if data is None:
        return None
    naive = data["naive"]
    return Effect(
        estimate=_real(data["estimate"]),
        low=_real(data["low"]),
        high=_real(data["high"]),
        holding=data["holding"],
        lacking=data["lacking"],
        evalue=_real(data["evalue"]),
        naive=None if naive is None else _real(naive),
    )


def evidence_to_json(evidence: Evidence) -> Json:
    """Evidence as JSON data."""
    return {
        "tasks": [
            {
                "task": each.task,
                "seen": _effect_to_json(each.seen),
                "fresh": _effect_to_json(each.fresh),
                "supporting": list(each.supporting),
                "contradicting": list(each.contradicting),
                "agreeing": each.agreeing,
                "opposing": each.opposing,
            }
            for each in evidence.tasks
        ],
        "joined": _effect_to_json(evidence.joined),
    }


def evidence_from_json(data: Json) -> Evidence:
    """Evidence from its JSON data.

    Raises:
        KeyError, TypeError, ValueError: The data is not of that form.
    """
    tasks = tuple(
        TaskEvidence(
            task=each["task"],
            seen=_effect_from_json(each["seen"]),
            fresh=_effect_from_json(each["fresh"]),
            supporting=tuple(each["supporting"]),
            contradicting=tuple(each["contradicting"]),
            agreeing=each.get("agreeing", 0),
            opposing=each.get("opposing", 0),
        )
        for each in data["tasks"]
    )
    return Evidence(tasks, _effect_from_json(data["joined"]))


def principle_to_json(principle: Principle) -> Json:
    """A principle with status and evidence as JSON data."""
    proposal, origin = principle.proposal, principle.origin
    return {
        "id": principle.id,
        "sentence": proposal.sentence,
        "predicate": dict(proposal.predicate),
        "space": proposal.space,
        "task": proposal.task,
        "direction": proposal.direction,
        "expected": _number(proposal.expected),
        "origin": {
            "reasoner": origin.reasoner,
            "template": origin.template,
            "session": origin.session,
            "call": origin.call,
            "labels": sorted(list(label) for label in origin.labels),
            "pack": origin.pack,
        },
        "supersedes": principle.supersedes,
        "status": principle.status.value,
        "evidence": evidence_to_json(principle.evidence),
    }


def principle_from_json(data: Json) -> Principle:
    """A principle from its JSON data.

    Raises:
        KeyError, TypeError, ValueError: The data is not of that form.
    """
    origin, expected = data["origin"], data["expected"]
    return Principle(
        id=data["id"],
        proposal=Proposal(
            sentence=data["sentence"],
            predicate=data["predicate"],
            space=data["space"],
            task=data["task"],
            direction=data["direction"],
            expected=None if expected is None else _real(expected),
        ),
        origin=Origin(
            reasoner=origin["reasoner"],
            template=origin["template"],
            session=origin["session"],
            call=origin["call"],
            labels=frozenset((space, dataset) for space, dataset in origin["labels"]),
            pack=origin.get("pack", ""),
        ),
        status=PrincipleStatus(data["status"]),
        evidence=evidence_from_json(data["evidence"]),
        supersedes=data["supersedes"],
    )
