"""Every error that Vitruvius raises on purpose, on one screen.

    VitruviusError                    catch this to catch them all
    ├── UserError                     something you passed or set; the message says what is allowed
    │   ├── UnknownNameError          a space, task, table column, model, template, setting ... not known
    │   ├── InvalidArchitectureError  choices or a text that are no architecture of the space
    │   ├── InvalidCodesError         a code text or code array that the codebook does not have
    │   ├── InvalidPredicateError     a predicate that does not parse or does not fit the space
    │   ├── TemplateError             a prompt template that is broken; carries file and line
    │   ├── SettingsError             a settings file or value, or settings that differ from the run's
    │   ├── TargetLeakError           evidence of the target offered as a source
    │   └── BudgetError               a budget that is used up or cannot be met
    ├── DataError                     a file that is damaged, foreign or of another version
    │   ├── TableError                a benchmark table
    │   ├── CheckpointError           a model folder
    │   ├── LedgerError               a ledger: other version, not reachable, network file system
    │   ├── PackError                 a pack of principles: changed, damaged, of another version
    │   └── StoreError                the search index: other embedder, damaged
    ├── RunBusyError                  the run folder is held by another process
    ├── MissingPartError              a package or program not installed; names the mending command
    └── ModelError                    a language model endpoint: down, slow, refused, nonsense

Every message is one sentence or two: what was wrong with which value, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VitruviusError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""


class UserError(VitruviusError):
    """Something that the caller passed, wrote or set."""


class UnknownNameError(UserError):
    """A name that is not known; the message lists what is allowed and the nearest."""


class InvalidArchitectureError(UserError):
    """Choices or a text that are no architecture of the space."""


class InvalidCodesError(UserError):
    """A code text or array that the codebook does not have."""


class InvalidPredicateError(UserError):
    """A predicate that does not parse or does not fit the space."""


class TemplateError(UserError):
    """A prompt template that cannot be used; the message names file and line."""


class SettingsError(UserError):
    """A settings file, key or value that is not allowed."""


class TargetLeakError(UserError):
    """Evidence that touches the target task was offered as a source."""


class BudgetError(UserError):
    """A budget that is used up or cannot be met."""


class DataError(VitruviusError):
    """A file that is damaged, foreign or of another version."""


class TableError(DataError):
    """A benchmark table that cannot be used."""


class CheckpointError(DataError):
    """A model folder that cannot be used."""


class LedgerError(DataError):
    """A ledger that cannot be opened or written."""


class PackError(DataError):
    """A pack of principles that cannot be used."""


class StoreError(DataError):
    """A search index that cannot be used as it is."""


class RunBusyError(VitruviusError):
    """The run folder is held by another process."""


class MissingPartError(VitruviusError):
    """A package or program is missing; the message names the command that installs it."""


class ModelError(VitruviusError):
    """A language model endpoint failed."""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that is not known.

    Args:
        kind: What the name should be, for example "operation".
        name: The name as given.
        allowed: All names that would have been accepted.

    Returns:
        The error, to be raised by the caller: what was given, the nearest, all that is allowed.
    """
    names = sorted(set(allowed))
    within = [one for one in names if one.rpartition("/")[2] == name]  # a data set without its space
    near = within or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownNameError(f"Unknown {kind} {name!r}.{hint} Allowed: {', '.join(names) or 'none'}.")
