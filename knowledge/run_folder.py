"""Where things lie in a run folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

from vitruvius.errors import LedgerError, SettingsError, UserError
from vitruvius.knowledge.database import is_there
from vitruvius.knowledge.ledger import Ledger

LEDGER_FILE = "ledger.db"
SETTINGS_FILE = "settings.toml"
INDEX_FOLDER = "chroma"


def is_run(run: Path) -> bool:
    """Whether a session has begun in this folder."""
    return (run / LEDGER_FILE).is_file() or shared_ledger(run) is not None


def open_ledger(run: Path) -> Ledger:
    """Open the ledger of a run folder: its own file, or the shared one that its settings name.

    Raises:
        UserError: There is no run in this folder.
        LedgerError: The ledger cannot be read.
    """
    if not is_run(run):
        raise UserError(
            f"{run} is no run folder: it has no {LEDGER_FILE}. `vitruvius run` starts a session and names "
            f"its folder."
        )
    return Ledger(shared_ledger(run) or run / LEDGER_FILE)


def know_spaces(run: Path, ledger: str | None = None) -> None:
    """Make the spaces known that a run's ledger describes; where there is none yet, nothing happens.

    Args:
        run: The run folder.
        ledger: Address of its ledger, where its settings do not tell yet.
    """
    address = ledger or shared_ledger(run) or run / LEDGER_FILE
    if is_there(address):
        Ledger(address).close()


def shared_ledger(run: Path) -> str | None:
    """The shared ledger that the settings of a run name; None where it has a file of its own."""
    return _setting(run, "ledger") or None


def index_url(run: Path) -> str | None:
    """The Chroma server that the settings of a run name; None where its index lies in the folder."""
    return _setting(run, "index")


def _setting(run: Path, name: str) -> str | None:
    """A setting of a run as written down; None without it, or without settings.

    Raises:
        SettingsError: The settings cannot be read.
    """
    settings = run / SETTINGS_FILE
    if not settings.is_file():
        return None
    try:
        return tomllib.loads(settings.read_text(encoding="utf-8")).get(name)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{settings} cannot be read: {error}.") from error


def newest_run(folder: Path = Path("runs")) -> Path:
    """The run folder that was written last, of those in which a session has begun.

    Raises:
        UserError: There is none.
    """
    runs = {path.parent for name in (LEDGER_FILE, SETTINGS_FILE) for path in folder.glob(f"*/{name}")}
    newest = next(filter(has_begun, sorted(runs, key=_written, reverse=True)), None)
    if newest is None:
        raise UserError(
            f"There is no run folder in {folder.resolve()}: name one with --run, or start one with "
            f"`vitruvius run`."
        )
    return newest


def _written(run: Path) -> float:
    """When a file of the folder was written last."""
    return max(path.stat().st_mtime for path in run.iterdir() if path.is_file())


def has_begun(run: Path) -> bool:
    """Whether a session was recorded: a run that was refused leaves none in its ledger."""
    if not (run / LEDGER_FILE).is_file():
        return shared_ledger(run) is not None
    try:
        with Ledger(run / LEDGER_FILE) as ledger:
            return bool(ledger.sessions())
    except LedgerError:  # whoever opens it is told why
        return True
