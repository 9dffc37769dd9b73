"""Opening a session: its id, and the settings that may not change when it is resumed."""

from __future__ import annotations

import hashlib
import shutil
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitruvius.agents.options import CHANGEABLE, Options
from vitruvius.errors import LedgerError, SettingsError, VitruviusError
from vitruvius.generator.evaluation.manual import ManualBench
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.imports import import_pack, placed_packs
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.records import bare_url
from vitruvius.knowledge.run_folder import INDEX_FOLDER, LEDGER_FILE, SETTINGS_FILE, has_begun
from vitruvius.knowledge.runlock import RunLock


def describe(task: Task, sources: Sequence[Task], options: Options, reasoner: str) -> dict[str, Any]:
    """What may not change when a session is opened again, as plain data."""
    return {
        "task": task.name,
        "evaluator": task.bench.evaluator,
        "data": task.bench.fingerprint,
        "metric": task.metric.name,
        "maximize": task.metric.maximize,
        "sources": [source.name for source in sources],
        **options.model_dump(),
        "proposer_url": options.proposer_url and bare_url(options.proposer_url),
        "reasoner": reasoner,
    }


def start(
    ledger: Ledger,
    session: str,
    task: Task,
    sources: Sequence[Task],
    settings: dict[str, Any],
    folder: Path | None,
) -> None:
    """Start the session in the ledger, or find it there with the same settings; limits may differ.

    Raises:
        SettingsError: The ledger holds it with other settings; the message names each that differs.
        TargetLeakError: A pack of principles in the run folder was learned on the target.
    """
    found = ledger.session(session)
    if found is not None:
        old = {**Options().model_dump(), **found.settings}  # a setting that is newer had its default
        changed = sorted(k for k in {*settings, *old} - CHANGEABLE if settings.get(k) != old.get(k))
        if "evaluator" in changed and old.get("evaluator") == ManualBench.evaluator:
            raise SettingsError(
                f"{folder or session} holds a session on {found.task} that a script tells the scores of: go "
                "on with that script, or choose another folder."
            )
        if changed == ["data"] and task.bench.evaluator.startswith("function:"):
            raise SettingsError(
                f"{folder or session} was measured by a function that was edited since: give the old one "
                "back to go on, or choose another folder. Where both give the same scores, go on with "
                f"--set version={old['data']}, in a script version={old['data']!r}."
            )
        if changed:
            told = ", ".join(f"{k} was {old.get(k)!r} and is now {settings.get(k)!r}" for k in changed)
            scripted = folder is not None and not (folder / SETTINGS_FILE).is_file()
            by = "as the script that began it does, " if scripted else ""
            raise SettingsError(
                f"{folder or session} holds a session with other settings: {told}; "
                f"give the old values back to resume it, {by}or choose another folder."
            )
        settings = found.settings
    for one in (task, *sources):
        ledger.keep_space(one.space)
    packs = placed_packs(folder, task.label, task.name)
    labels = [task.label, *(source.label for source in sources)]
    ledger.start_session(session, task=task.name, seed=settings["seed"], settings=settings, labels=labels)
    for pack in packs:
        import_pack(ledger, session, pack)


def leave_nothing(folder: Path) -> None:
    """Remove the folder that a refused session made, unless a session was recorded in it."""
    try:
        with RunLock(folder):
            if not has_begun(folder):
                shutil.rmtree(folder, ignore_errors=True)
    except VitruviusError:  # another process has it, or it cannot be read: not ours to remove
        return


def refuse_lost_ledger(ledger: Ledger, session: str, folder: Path | None) -> None:
    """Refuse to begin anew, and pay anew, where a session was: all but its ledger is there.

    Raises:
        LedgerError: What was measured is gone.
    """
    left = [] if folder is None else [folder / SETTINGS_FILE, folder / INDEX_FOLDER]
    if left and all(one.exists() for one in left) and ledger.session(session) is None:
        raise LedgerError(
            f"{folder} has been used, but the ledger knows nothing of it, so what was measured is gone: "
            f"restore a copy of {LEDGER_FILE}, or choose another folder."
        )


def new_session_id(folder: Path | None, *, shared: bool) -> str:
    """Id of a session: one name in a ledger of its own; in a shared one its folder's, else a new one."""
    if not shared:
        return "session"
    return session_id(folder) if folder is not None else f"session-{uuid.uuid4().hex[:12]}"


def session_id(folder: Path) -> str:
    """Id of the session of a folder in a ledger that is shared: host and folder."""
    where = f"{socket.gethostname()}:{folder.resolve()}"
    return f"{folder.resolve().name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def template_folder(folder: str | Path | None) -> Path | None:
    """The user's folder of prompt templates, from whichever folder it is looked at.

    Raises:
        TemplateError: It is no folder.
    """
    if folder is None:
        return None
    from vitruvius.prompts.library import names

    names(Path(folder))
    return Path(folder).absolute()


def keep_templates(templates: Path | None, folder: Path) -> None:
    """Copy the prompt templates as used into the run folder, one file for each content: NAME.HASH.md."""
    from vitruvius.prompts.library import find, names

    folder.mkdir(parents=True, exist_ok=True)
    for name in names(templates):
        template = find(name, templates)
        (folder / f"{name}.{template.hash}.md").write_bytes(template.path.read_bytes())
