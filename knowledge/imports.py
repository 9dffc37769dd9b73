"""Taking principles over from a pack: as claims to be tested again, never as knowledge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vitruvius.errors import UserError
from vitruvius.generator.files import write_whole
from vitruvius.generator.space import SearchSpace, get_space
from vitruvius.knowledge.leaks import refuse_target
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.packs import Pack, read_pack
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import (
    Evidence,
    Label,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    principle_id,
)
from vitruvius.knowledge.records import IMPORTED, SessionRecord, evidence_from_json, evidence_to_json

PACKS_FOLDER = "packs"
"""Where a run folder keeps the packs that were given to it."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What a pack said of a principle that was imported.

    Attributes:
        pack: Hash of the pack.
        name: Name of the pack.
        original: Id of the principle in the pack; another one where it spoke of another space or task.
        status: Its status there.
        evidence: Its evidence there.
    """

    pack: str
    name: str
    original: str
    status: PrincipleStatus
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import.

    Attributes:
        pack: The pack.
        taken: Ids of the principles that the session has now.
        known: How many of these it had before, from the same pack.
        refused: Reason -> how many were left out for it.
    """

    pack: Pack
    taken: tuple[str, ...]
    known: int
    refused: dict[str, int]

    @property
    def new(self) -> int:
        """How many were taken over just now."""
        return len(self.taken) - self.known

    def sentence(self) -> str:
        """For people."""
        left = [f"{n} left out: {reason}" for reason, n in self.refused.items()]
        pack = f"the pack {self.pack.name!r} ({self.pack.hash})"
        if not self.taken:
            return f"took nothing of {pack} over: {', '.join(left)}"
        many = f"{self.new or self.known} principle{'s' * ((self.new or self.known) != 1)}"
        if not self.new:
            return ", ".join([f"knows {many} of {pack} already", *left])
        known = [f"{self.known} known already"] if self.known else []
        return ", ".join([f"took {many} of {pack} over, to be tested here", *known, *left])


def import_pack(ledger: Ledger, session: str, pack: Pack) -> Imported:
    """Let a session take over what it may; the same pack again changes nothing.

    Each principle starts as "proposed" and without evidence: what the pack says of it is kept beside it as
    a `Prior`. It becomes a claim about any task of the session's space; what names decisions of another space
    cannot. The pack's labels become labels of the session.

    Raises:
        TargetLeakError: Everything in it was learned on the session's target.
        UserError: No such session.
    """
    record = ledger.session(session)
    if record is None:
        raise UserError(f"The ledger {ledger.name} holds no session {session!r}.")
    target = record.labels[0]
    known = {principle.id: principle for principle in ledger.principles()}
    mine = {principle.id for principle in ledger.principles(session=session)}
    taken: dict[str, tuple[Principle, Principle]] = {}
    refused: Counter[str] = Counter()
    for old in pack.principles:
        new = _carried(old, target, get_space(target[0]), pack.hash)
        if isinstance(new, str):
            refused[new] += 1
        elif new.id in taken or (new.id in known and known[new.id].origin.pack != pack.hash):
            refused["the ledger has the same claim already"] += 1
        else:
            taken[new.id] = (old, new)
    if refused["learned on the target"] == len(pack.principles):
        refuse_target(target, record.task, [target], f"All of the pack {pack.name!r}")
    _keep(ledger, record, pack, taken, refused)
    return Imported(pack, tuple(taken), len(mine & set(taken)), dict(refused))


def _carried(old: Principle, target: Label, space: SearchSpace, pack: str) -> Principle | str:
    """A principle as a claim about the target's space; or why it cannot be one."""
    if target in old.origin.labels:
        return "learned on the target"
    if old.status in (PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED):
        return f"{old.status.value} where it comes from"
    predicate = predicate_from_json(old.proposal.predicate)
    if old.proposal.space not in ("any", space.name) and not predicate.portable:
        return f"names decisions of {old.proposal.space}"
    if not predicate.fits(space):
        return f"names what {space.name} does not have"
    sentence = old.sentence or predicate.sentence()
    if sentence.endswith(place := f" on {old.proposal.task}."):
        sentence = f"{sentence.removesuffix(place)}."  # it speaks of any task here
    proposal = Proposal(
        sentence,
        predicate.check(space).to_json(),
        space.name,
        direction=old.proposal.direction,
        expected=old.proposal.expected,
    )
    origin = Origin(old.origin.reasoner, old.origin.template, labels=old.origin.labels, pack=pack)
    return Principle(principle_id(proposal), proposal, origin)


def _keep(
    ledger: Ledger,
    record: SessionRecord,
    pack: Pack,
    taken: dict[str, tuple[Principle, Principle]],
    refused: Counter[str],
) -> None:
    """Write down where principles come from, then the principles: whoever is killed between repeats it."""
    labels = {label for _, new in taken.values() for label in new.origin.labels}
    if all(event.data["pack"] != pack.hash for event in ledger.events(record.id, IMPORTED)):
        facts = {
            "pack": pack.hash,
            "name": pack.name,
            "labels": [list(label) for label in sorted(labels)],
            "principles": {
                id: {"id": old.id, "status": old.status.value, "evidence": evidence_to_json(old.evidence)}
                for id, (old, _) in taken.items()
            },
            "refused": dict(refused),
        }
        ledger.log(record.id, IMPORTED, facts)
    for _, new in taken.values():
        ledger.add_principle(new, session=record.id)


def priors(ledger: Ledger, session: str | None = None) -> dict[str, Prior]:
    """What packs said of the principles that were imported, by id; of one session if named."""
    found: dict[str, Prior] = {}
    for record in ledger.sessions():
        if session not in (None, record.id):
            continue
        for event in ledger.events(record.id, IMPORTED):
            for id, said in event.data["principles"].items():
                found[id] = Prior(
                    event.data["pack"],
                    event.data["name"],
                    said["id"],
                    PrincipleStatus(said["status"]),
                    evidence_from_json(said["evidence"]),
                )
    return found


def place_pack(file: Path, run: Path) -> Pack:
    """Give a pack to a run folder, which may not have begun yet: its session takes it over when it opens.

    Raises:
        PackError: The pack cannot be used.
    """
    pack = read_pack(file)
    folder = run / PACKS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{pack.hash}.json"
    if place.resolve() != file.resolve():
        write_whole(place, file.read_bytes())
    return pack


def waiting(run: Path) -> int:
    """How many principles wait in a folder for a session to take them over.

    Raises:
        PackError: A pack cannot be used.
    """
    return sum(len(read_pack(file).principles) for file in (run / PACKS_FOLDER).glob("*.json"))


def placed_packs(run: Path | None, target: Label, name: str) -> list[Pack]:
    """The packs of a run folder, before its session takes them over with `import_pack`.

    Args:
        run: The run folder; None has none.
        target: (space, data set) of the session's target.
        name: Name of the target, for the message.

    Raises:
        TargetLeakError: All of one was learned on the target.
        PackError: One cannot be used.
    """
    files = sorted((run / PACKS_FOLDER).glob("*.json")) if run is not None else []
    packs = [read_pack(file) for file in files]
    for file, pack in zip(files, packs, strict=True):
        if all(target in principle.origin.labels for principle in pack.principles):
            refuse_target(target, name, [target], f"All of the pack {pack.name!r} ({file})")
    return packs
