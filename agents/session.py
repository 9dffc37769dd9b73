"""The session: the loop over one task, with a budget, that can be stopped at any moment and resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from vitruvius.agents import asynchronous, learning, measuring, results
from vitruvius.agents.advice import Advice, first_batch
from vitruvius.agents.aims import read_aims
from vitruvius.agents.candidates import Batch, Drafter, batch_size, open_share
from vitruvius.agents.engine import Engine
from vitruvius.agents.guard import check_sources
from vitruvius.agents.journal import Journal
from vitruvius.agents.opening import (
    describe,
    keep_templates,
    leave_nothing,
    new_session_id,
    refuse_lost_ledger,
    start,
    template_folder,
)
from vitruvius.agents.option_values import OptionValues
from vitruvius.agents.options import Options, build_options
from vitruvius.agents.own_reasoner import Reflects, own_reasoner
from vitruvius.agents.plan import make_plan
from vitruvius.agents.results import Best, Clock
from vitruvius.agents.sources import measure_sources
from vitruvius.errors import UserError
from vitruvius.generator.evaluation.task import Measurement, Task
from vitruvius.generator.space import Architecture
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.principle import Principle
from vitruvius.knowledge.pruning import Restriction
from vitruvius.knowledge.run_folder import LEDGER_FILE
from vitruvius.knowledge.runlock import RunLock

if TYPE_CHECKING:
    from vitruvius.agents.reasoner import Reasoner
    from vitruvius.knowledge.store import Store


class Session(results.Results):
    """Searches one task and remembers what it learned.

    `run` does everything; `ask`, `tell`, `reflect` and `prune` are the same steps for those who own
    the loop. All state is in the ledger: opening the same folder again continues.
    """

    def __init__(
        self,
        task: Task,
        path: str | Path | None = None,
        *,
        sources: Sequence[Task] = (),
        options: Options | None = None,
        reasoner: str | Reflects | None = None,
        ledger: str | None = None,
        templates: Path | None = None,
        progress: Callable[[str], None] | bool | None = None,
        **settings: Unpack[OptionValues],
    ) -> None:
        """Open a run folder, or start one.

        Args:
            task: The target.
            path: Run folder; None keeps everything in memory.
            sources: Tasks to learn principles from; never the target's own data set.
            options: All settings at once.
            reasoner: A name as in `agents.reasoners`, "none", or an object as in `agents.own_reasoner`.
            ledger: SQLAlchemy URL of the ledger; by default a SQLite file in the run folder. Without a path
                the session is a new one there.
            templates: Folder with one's own prompt templates.
            progress: Takes one line at a time; True prints them, None is silent.
            settings: Single options by name: `seed=1`, `proposer="transformers"`.

        Raises:
            TargetLeakError: A source is the target.
            SettingsError: An unknown or wrong setting, or a folder that holds another session.
            RunBusyError: Another process holds the folder.
        """
        check_sources(task, sources)
        named = {"reasoner": reasoner} if isinstance(reasoner, str) else {}
        self.task = task
        self.options = build_options(options, {**settings, **named})
        self.say = print if progress is True else progress or (lambda _line: None)
        self.aims = read_aims(task, self.options, self.say)
        self.sources = tuple(sources)
        # Absolute: whoever changes the current folder stays in this one.
        self.path = Path(path).absolute() if path is not None else None
        self._templates = template_folder(templates)
        self._reasoner: Reasoner | None = own_reasoner(reasoner)
        self._store: Store | None = None
        self._restriction: Restriction | None = None
        self._spent: dict[str, float] = {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._lock = RunLock(self.path) if self.path is not None else None
        new = self.path is not None and ledger is None and not self.path.exists()
        if self._lock is not None:
            self._lock.acquire()
        try:
            self._open(ledger)
        except BaseException:
            self.close()
            if new and self.path is not None:
                leave_nothing(self.path)
            raise

    def _open(self, url: str | None) -> None:
        where: str | Path = url or (self.path / LEDGER_FILE if self.path is not None else "sqlite://")
        self.ledger = Ledger(where)
        self.id = new_session_id(self.path, shared=url is not None)
        refuse_lost_ledger(self.ledger, self.id, self.path)
        name = self._reasoner.name if self._reasoner is not None else self.options.reasoner
        settings = describe(self.task, self.sources, self.options, name)
        if self._reasoner is not None:
            self._keep_templates(self._reasoner, getattr(self._reasoner, "templates_folder", None))
        elif self.ledger.session(self.id) is None and self.options.reasoner != "none":
            _ = self.reasoner  # refused now, else a mistyped name would be this folder's for good
        start(self.ledger, self.id, self.task, self.sources, settings, self.path)
        self.journal = Journal(self.ledger, self.id, self.task, self.sources)
        self.advice = Advice(self.journal, self.options, self.aims, self.say)
        self.engine = Engine(self.task.space, self.options, say=self.say, warn=self.warn)
        model, restriction = self.journal.last("model"), self.journal.last("restriction")
        if model is not None:
            self.engine.weights = self.folder / model[1]["folder"]
        if restriction is not None:
            self._restriction = Restriction.from_json(restriction[1]["restriction"])

    # ---- what a session is ----------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where fine-tuned models are kept: the run folder, or a temporary one without it."""
        if self.path is not None:
            return self.path
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="vitruvius-")
        return Path(self._scratch.name)

    def warn(self, text: str) -> None:
        """Say a warning once, and keep it for the report."""
        if all(event.data["text"] != text for event in self.ledger.events(self.id, "warning")):
            self.say(f"warning: {text}")
            self.ledger.log(self.id, "warning", {"text": text})

    @property
    def reasoner(self) -> Reasoner:
        """What proposes principles."""
        if self._reasoner is None:
            from vitruvius.agents.reasoners import session_reasoner

            self._reasoner = session_reasoner(self.options, templates=self._templates, say=self.say)
            self._keep_templates(self._reasoner, self._templates)
        return self._reasoner

    def _keep_templates(self, reasoner: Reasoner, templates: Path | None) -> None:
        if reasoner.uses_templates and self.path is not None:
            keep_templates(templates, self.path / "prompts")

    @property
    def store(self) -> Store:
        """The principles, to be searched."""
        if self._store is None:
            from vitruvius.knowledge.store import open_store

            self._store = open_store(self.ledger, self.path)
        self._store.sync()
        return self._store

    # ---- the whole loop --------------------------------------------------------------------

    def run(self, evaluations: int = 50) -> Best:
        """Search until the budget is used up; continues where an earlier call stopped.

        Args:
            evaluations: Scores of the target that may be learned in all, earlier calls included.

        Returns:
            The best architecture by validation score.

        Raises:
            BudgetError: Fewer evaluations than the initial design needs.
        """
        self.options.check_budget(evaluations)
        if self.options.reasoner != "none" and self.options.reflect_every:
            _ = self.reasoner  # a wrong name or a broken template is refused before anything is spent
        plan = make_plan(self.journal, self.sources, self.options, evaluations, self.aims, self._reasoner)
        for line in plan["lines"]:
            self.say(line)
        self.journal.log("plan", plan)
        self.learn_sources()
        search = asynchronous.search if self.options.asynchronous else measuring.search
        if not search(self.journal, evaluations, self.draw, self._settle, self.say, self._timed):
            self.warn("the space is used up: nothing new is left to measure")
        self._finish(evaluations)
        return self.best()

    def learn_sources(self) -> None:
        """Measure the source tasks, once."""
        with self._timed("sources"):
            measure_sources(self.journal, self.sources, self.options, self.say, self.aims)

    def pending(self) -> Batch | None:
        """The latest batch, if some of it has not been measured."""
        return measuring.pending(self.journal)

    def draw(self, evaluations: int, size: int | None = None) -> Batch:
        """Draw and log the next batch; nothing of it has been measured yet."""
        self._settle()
        last = self.journal.last("batch")
        number = last[0] + 1 if last is not None else 0
        counted, known = self.journal.counted(), self.journal.known_ids()
        with self._timed("sources"):
            prior = self.advice.prior(number)
        if counted < self.options.initial:
            batch = first_batch(self.journal, self.options, self.aims, prior, number, size)
        else:
            if self.engine.writes:
                with self._timed("training or loading the code model"):
                    _ = self.engine.model
            self._learn(number, evaluations)
            limit = min(size or batch_size(self.options, counted), max(evaluations - counted, 1))
            shares = [x.share for x in self.journal.learned() if x.counted]
            shares += [share for _, _, share in self.journal.in_flight()]
            asked = self.journal.experiments()
            due, experiments = open_share(self.options, shares, asked, evaluations, limit)
            with self._timed("generation and selection"):
                observed = asynchronous.believed(self.journal, self.options.seed)
                batch = Drafter(self.task, self.options, self.engine, self.aims, prior).next_batch(
                    number, observed, self.restriction, known, size=limit, open_size=due,
                    experiments=experiments,
                )  # fmt: skip
        if batch.keys:
            random_state = [self.options.seed, number]
            self.journal.log(
                "batch",
                {"keys": batch.keys, "shares": batch.shares, "reasons": batch.reasons, "pool": batch.pool,
                 "random_state": random_state, "codes": batch.codes},
                number=number,
            )  # fmt: skip
        return batch

    def _learn(self, number: int, evaluations: int) -> None:
        """Fine-tune, reflect and prune, each when it is due, before a batch is drawn."""
        counted = self.journal.counted()
        if self._due("model", self.options.finetune_every, counted):
            with self._timed("fine-tuning"):
                learning.finetune_model(
                    self.journal, self.engine, self.options, number, self.folder, self.say
                )
        if self._due("reflection", self.options.reflect_every, counted):
            self.reflect(number=number)
        self.prune(remaining=max(evaluations - counted, 1))

    def _due(self, kind: str, every: int, counted: int) -> bool:
        """Whether a step that happens every so many evaluations is due now."""
        if every == 0 or (kind == "reflection" and self.options.reasoner == "none"):
            return False
        if kind == "model" and not self.engine.writes:
            return False
        if kind == "model" and self.options.proposer_url is not None:
            self.warn("the code model is not fine-tuned: a server given by its address keeps its weights")
            return False
        done = len(self.ledger.events(self.id, kind))
        return counted >= self.options.initial + done * every

    def _settle(self) -> None:
        """After a batch: re-score the principles, re-open what an open draw proves wrong.

        Done once for each batch: when it is complete, or before the next is drawn in a session that was
        killed in between.
        """
        for number in self.journal.unsettled():
            if self.journal.event("reference", 0) is None and self.journal.uniform() >= self.options.initial:
                self.journal.freeze_reference(self.task.name)
            with self._timed("evidence"):
                learning.rescore(self.journal)
                if self._restriction is not None:
                    learning.reopen_after(self.journal, self._restriction, number, self.say)
            self.journal.log("settled", {"counted": self.journal.counted()}, number=number)

    def _finish(self, evaluations: int) -> None:
        self._settle()  # a session killed after its last measurement has not done so yet
        learning.rescore(self.journal, keep_all=True)
        counted = self.journal.counted()
        paid = sum(x.paid for x in self.journal.learned())
        for part, seconds in self._spent.items():
            self.ledger.log(self.id, "timing", {"part": part, "seconds": round(seconds, 3)})
        self._spent.clear()
        self.store.sync()
        number = max(evaluations, counted)  # fewer than were done before ask for nothing
        if self.journal.event("done", number) is None:
            self.journal.log("done", {"counted": counted, "paid": paid}, number=number)

    # ---- the same steps, one at a time -------------------------------------------------------

    def ask(self, n: int = 1) -> list[Architecture]:
        """The n architectures to measure now: those that were asked for and not told yet, then new ones.

        So ask(4) is what four workers are to measure. Fewer only where the space is used up.
        """
        if not isinstance(n, int) or n < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"ask({n!r}): n must be a whole number, at least 1.")
        self.learn_sources()
        while (left := n - len(self.journal.in_flight())) > 0:
            if not self.draw(max(50, self.journal.counted() + n), size=left).keys:
                break
        return [self.journal.architecture(key) for _, key, _ in self.journal.in_flight()[:n]]

    def tell(
        self, architecture: Architecture, score: float | Measurement | None, *, reason: str = ""
    ) -> None:
        """Report the score of an architecture, asked for or not.

        Args:
            architecture: What was measured.
            score: Its validation score in the task's metric, a full `Measurement`, or None if it failed.
            reason: Why it failed.

        Raises:
            UserError: The architecture is of another space, the score is not finite, or another one was told.
        """
        measuring.tell(self.journal, measuring.told(self.task, architecture, score, reason), self.say)
        self._settle()

    def reflect(self, *, number: int | None = None) -> list[Principle]:
        """Let the reasoner propose principles from what was measured; returns those that are new."""
        if number is None:
            last = self.journal.last("batch")
            number = last[0] + 1 if last is not None else 0
        with self._timed("reasoning"):
            new = learning.reflect(
                self.journal, self.reasoner, self.options, number, self.say, self.warn, self.aims
            )
            scored = {principle.id: principle for principle in learning.rescore(self.journal)}
        self.say(learning.fate(self.reasoner.name, [scored[identity] for identity in new]))
        return [scored[identity] for identity in new]

    def prune(self, *, remaining: int = 50) -> Restriction:
        """Turn the supported principles into a restriction for the next draws."""
        principles = self.advice.adapt(learning.rescore(self.journal))
        restriction = learning.restrict(self.journal, principles, self.options, remaining, self.aims)
        lines = learning.keep_restriction(self.journal, restriction, self.aims)
        before = self._restriction.hard if self._restriction is not None else ()
        if [term.principle for term in restriction.hard] != [term.principle for term in before]:
            for line in lines:
                self.say(f"restriction: {line}")
        self._restriction = restriction
        return restriction

    @property
    def restriction(self) -> Restriction:
        """What may be drawn now."""
        return self._restriction if self._restriction is not None else self.prune()

    # ---- housekeeping -----------------------------------------------------------------------

    def _timed(self, part: str) -> Clock:
        return Clock(self._spent, part)

    def close(self) -> None:
        """Stop the engines and let go of the folder, whatever fails; calling twice is allowed."""
        with ExitStack() as last_first:
            if self._lock is not None:
                last_first.callback(self._lock.release)
            if self._scratch is not None:
                last_first.callback(self._scratch.cleanup)
            for name in ("ledger", "_store", "_reasoner", "engine"):
                if (part := getattr(self, name, None)) is not None:
                    last_first.callback(part.close)

    def __repr__(self) -> str:
        """Task, folder, and how far it is."""
        where = f" in {self.path}" if self.path is not None else ""
        return f"<Session {self.task.name}{where}: {self.journal.counted()} evaluations>"

    def __enter__(self) -> Session:
        """Use as a context manager: closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
