"""A reflection of a run, replayed: the same measurements, another template or model, and what became of it.

What the reasoner was shown is made again from the run's ledger: what had been measured by then, nothing that
was held back. Its principles are judged as a session would: on what was held back, and on what was measured
afterwards. Nothing is written into the run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vitruvius.agents.aims import read_aims
from vitruvius.agents.exhibits import Sizes, exhibits
from vitruvius.agents.failures import NOT_ITS_OWN
from vitruvius.agents.journal import Journal
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.agents.opening import session_id
from vitruvius.agents.options import Options
from vitruvius.agents.reasoner import Brief, Experiment, ModelCall, Reasoner
from vitruvius.agents.spending import Limits, Spent
from vitruvius.building import build_sources, build_task
from vitruvius.config import SETTINGS_FILE, load_settings
from vitruvius.errors import ModelError, SettingsError, UserError
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.files import as_argument
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.principle import Origin, Principle, PrincipleStatus, principle_id
from vitruvius.knowledge.records import SessionRecord
from vitruvius.knowledge.run_folder import open_ledger
from vitruvius.prompts.inputs import samples
from vitruvius.prompts.library import BUILT_IN, Message, Template, user_folder


@dataclass(frozen=True)
class Recorded:
    """One reflection of a run.

    Attributes:
        run: The run folder.
        number: Which reflection, counted from 1; None for one that was never made, of all that is measured.
        brief: What the reasoner was shown.
        observations: Everything that the run measured, by task: held back and afterwards as well.
        born: Order in the ledger of the first measurement after it.
        proposed: Ids of the principles that came of it.
        reasoner: Name of the reasoner of the run.
    """

    run: Path
    number: int | None
    brief: Brief
    observations: Sequence[Observations]
    born: int
    proposed: tuple[str, ...]
    reasoner: str

    @property
    def shown(self) -> int:
        """Measurements that the reasoner was shown."""
        return sum(len(one) for one in self.brief.observations)

    @property
    def unseen(self) -> int:
        """Uniform draws that were held back or made afterwards: what principles are judged on."""
        later = [one.held | (one.order >= self.born) for one in self.observations]
        return sum(
            int((mask & one.uniform).sum()) for mask, one in zip(later, self.observations, strict=True)
        )


@dataclass
class Replayed:
    """What one reasoner made of a recorded reflection, over all repeats.

    Attributes:
        label: What was tried, for people.
        principles: Sentence and status of each principle, by repeat.
        refused: Reason -> count.
        tokens: In and out.
        seconds: Of model calls and all else.
        paid: US dollars, as far as they are known.
        unpriced: Calls whose cost is not known.
        notes: Sentences for the user.
    """

    label: str
    principles: list[tuple[str, PrincipleStatus]] = field(default_factory=list[tuple[str, PrincipleStatus]])
    refused: Counter[str] = field(default_factory=Counter[str])
    tokens: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    paid: float = 0.0
    unpriced: int = 0
    notes: list[str] = field(default_factory=list[str])

    def add(self, calls: Sequence[ModelCall]) -> None:
        """Count what model calls have cost."""
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

    def count(self, status: PrincipleStatus) -> int:
        """How many principles have this status."""
        return sum(one is status for _, one in self.principles)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        told = [{"sentence": sentence, "status": status.value} for sentence, status in self.principles]
        return {
            "label": self.label, "principles": told, "refused": dict(self.refused),
            "supported": self.count(PrincipleStatus.SUPPORTED), "tokens_in": self.tokens[0],
            "tokens_out": self.tokens[1], "seconds": round(self.seconds, 2), "cost": self.cost,
            "notes": self.notes,
        }  # fmt: skip


def recorded(run: Path, number: int | None = None) -> Recorded:
    """A reflection of a run folder, as it was.

    Args:
        run: The run folder.
        number: Which one, counted from 1; None takes the last, or where none was made all that is measured.

    Raises:
        UserError: No run in this folder, or no reflection with this number.
        LedgerError: The ledger cannot be read.
        SettingsError: The run's data cannot be found as they were.
    """
    with open_ledger(run) as ledger:
        session = _session(ledger, run)
        task, sources = _tasks(run, session)
        journal = Journal(ledger, session.id, task, sources)
        events = {e.number: e for e in ledger.events(session.id, "reflection") if e.number is not None}
        batches = sorted(events)  # the batch before which each reflection was made
        number = (len(batches) or None) if number is None else _existing(run, number, len(batches))
        batch = None if number is None else batches[number - 1]
        born = _born(journal, batch)
        before_it = [event for at, event in events.items() if batch is None or at < batch]
        earlier = [one for event in before_it for one in event.data["proposed"]]
        everything = [journal.observations(name) for name in journal.tasks]
        before = [one.take(one.order < born) for one in everything]
        options = Options(**{k: v for k, v in session.settings.items() if k in Options.model_fields})
        aims, seed = read_aims(task, options), session.seed * 1000 + (batch or 0)
        brief = Brief(
            task.space,
            task.name,
            [one for one in (part.visible() for part in before) if len(one)],
            _known(journal, earlier, before),
            options.principles,
            seed,
            where=aims.words,
            objectives=() if aims.objectives is None else aims.objectives.names,
            allowed=aims.draws(seed),
            asked=[Experiment(**one) for event in before_it for one in event.data.get("experiments", ())],
        )
        proposed = tuple(events[batch].data["proposed"]) if batch is not None else ()
        reasoner = str(session.settings.get("reasoner", "statistics"))
    return Recorded(run, number, brief, everything, born, proposed, reasoner)


def replay(record: Recorded, reasoner: Reasoner, label: str, *, repeat: int = 1) -> Replayed:
    """Let a reasoner reflect on what was recorded, and judge its principles on what it was not shown.

    Args:
        record: The reflection.
        reasoner: Any; it stays open.
        label: What is tried, for people.
        repeat: So many times, each with another seed.

    Raises:
        TemplateError: A template fails on the real data.
        ModelError: Not one reply came.
    """
    found, answered, failed = Replayed(label), False, ""
    if isinstance(reasoner, LanguageReasoner):
        reasoner.connect()  # the time that a server needs to start says nothing of what is compared
    for turn in range(repeat):
        started = time.monotonic()
        spent = Spent(found.seconds, *found.tokens)  # all repeats together keep to the limits of a session
        brief = replace(record.brief, seed=record.brief.seed + turn, spent=spent)
        reflection = reasoner.reflect(brief)
        found.seconds += time.monotonic() - started
        origin = Origin(reasoner.name)
        new = [Principle(principle_id(p), p, origin) for p in reflection.proposals[: record.brief.limit]]
        judged = assess([(principle, record.born) for principle in new], record.observations)
        found.principles += [(principle.told, principle.status) for principle in judged]
        found.refused += reflection.refused
        found.notes += [note for note in reflection.notes if note not in found.notes]
        found.add(reflection.calls)
        answered |= any(call.outcome not in NOT_ITS_OWN for call in reflection.calls)
        failed = reflection.failed or failed
    if failed and not answered:
        raise ModelError(f"{label}: no reply came from {reasoner.name}, so nothing can be compared. {failed}")
    return found


def render_recorded(
    template: Template, record: Recorded, sizes: Sizes | None = None
) -> tuple[list[Message], list[str]]:
    """A template as a model would have got it in a recorded reflection.

    Args:
        template: Free of problems.
        record: The reflection.
        sizes: How much is shown; None for all that models but the smallest see.

    Returns:
        The messages, and the inputs for which sample data stand, because no reflection begins with them:
        what was wrong with a reply, for example. What may be empty is left empty.
    """
    real = {"requests": Limits().agent_calls, **exhibits(record.brief, sizes)}
    others = samples([name for name in template.inputs if name not in real], bare=True)
    values = {**others, **{name: real[name] for name in template.inputs if name in real}}
    return template.render(**values), [name for name, value in others.items() if value]


@contextmanager
def folder_with(template: Template, name: str, others: Path | None = None) -> Generator[Path]:
    """A temporary prompt folder in which a version stands under its name, beside the user's other templates.

    Args:
        template: The version.
        name: The name under which reasoners ask for it.
        others: The user's folder; None takes `user_folder()`.
    """
    own = others or user_folder()
    with tempfile.TemporaryDirectory(prefix="vitruvius-prompts-") as place:
        folder = Path(place)
        for file in own.glob("*.md") if own.is_dir() else []:
            shutil.copy(file, folder)
        (folder / f"{name}.md").write_text(template.text, encoding="utf-8")
        yield folder


def stands_for(first: Template, second: Template) -> str:
    """Under which name reasoners ask for two versions of a template: that of ours which one of them has.

    Raises:
        UserError: They are of two templates, or of none of ours.
    """
    ours = {file.stem for file in BUILT_IN.glob("*.md")}
    named = {template.name for template in (first, second)} & ours
    if len(named) != 1:
        raise UserError(
            f"{first.name!r} and {second.name!r} are not two versions of one template of ours: call the file "
            f"of at least one after what it stands for. Ours: {', '.join(sorted(ours))}."
        )
    return named.pop()


def _session(ledger: Ledger, run: Path) -> SessionRecord:
    sessions = {session.id: session for session in ledger.sessions()}
    if not sessions:
        raise UserError(
            f"The ledger of {run} holds no session yet: `vitruvius run --run {as_argument(run)}` starts one."
        )
    return sessions.get(session_id(run)) or list(sessions.values())[-1]


def _tasks(run: Path, session: SessionRecord) -> tuple[Task, list[Task]]:
    """The target and its sources, opened as the run opened them."""
    file = run / SETTINGS_FILE
    if file.is_file():
        settings = load_settings(file, {})
        task = build_task(settings)
        sources = build_sources(settings, task)
    else:
        task = Task(session.task)
        sources = [Task(name, task.evaluator) for name in session.settings.get("sources", [])]
    if task.bench.fingerprint != session.settings.get("data"):
        raise SettingsError(
            f"{run} was measured on other data than {task.name} has here: "
            "give it the same table (VITRUVIUS_TABLES) or data set."
        )
    return task, sources


def _existing(run: Path, number: int, count: int) -> int:
    """The number of a reflection, of so many."""
    if not 1 <= number <= count:
        told = {0: "it made none", 1: "it made one, 1"}.get(count, f"it made {count}, 1 to {count}")
        raise UserError(f"{run} has no reflection {number}: {told}.")
    return number


def _born(journal: Journal, batch: int | None) -> int:
    """Order of the first measurement after a reflection: the target's by batch; sources came before."""
    learned = [x for name in journal.tasks for x in journal.learned(name)]
    earlier = [
        x.order for x in learned
        if batch is None or x.measurement.task != journal.task.name or x.batch < batch
    ]  # fmt: skip
    return max(earlier, default=-1) + 1


def _known(journal: Journal, ids: Sequence[str], before: Sequence[Observations]) -> list[Principle]:
    """The principles of earlier reflections, with the evidence of that time."""
    wanted = set(ids)
    found = [p for p in journal.ledger.principles(session=journal.session) if p.id in wanted]
    born = [(principle, journal.ledger.born(principle.id, journal.session)) for principle in found]
    return assess(born, before)


__all__ = [
    "Recorded", "Replayed", "folder_with", "recorded", "render_recorded", "replay", "stands_for",
]  # fmt: skip
