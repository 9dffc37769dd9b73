"""Settings of a run: TOML with defaults for everything; the one place where settings meet classes."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitruvius.agents.options import Options
from vitruvius.agents.session import Session
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.task import Evaluator, Task
from vitruvius.knowledge.records import bare_url

SETTINGS_FILE = "settings.toml"


class Settings(BaseModel):
    """Everything that `vitruvius run` can be told; the defaults are the main job.

    Keys of endpoints never stand here: they come from the environment.
    """

    model_config = ConfigDict(extra="forbid")

    task: str = "nasbench-graph/cora"
    """What is searched: space/data set."""
    evaluations: int = Field(50, ge=1)
    """Budget: scores of the target that may be learned."""
    evaluator: Literal["table", "train"] = "table"
    """Look scores up, or train."""
    table: str | None = None
    """Parquet file or folder; None takes the embedded table, or the folder in VITRUVIUS_TABLES."""
    dataset: str = "digits"
    """What `train` trains on."""
    sources: list[str] | Literal["auto", "none"] = "auto"
    """Source tasks; "auto" takes the other data sets of the same table, "none" starts from nothing."""
    ledger: str | None = None
    """SQLAlchemy URL of a shared ledger; None is a SQLite file in the run folder."""
    index: str | None = None
    """A Chroma server for the search index, http://host:port; None keeps the index in the run folder."""
    templates: str | None = None
    """Folder with prompt templates of one's own."""
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    """How the session works."""


def load_settings(path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read settings from a TOML file and put overrides on top.

    Args:
        path: TOML file, None for the defaults.
        overrides: Values by field; those of `Options` by their own name; None means not given.

    Raises:
        SettingsError: Not TOML, an unknown key (with the nearest valid one), or a value not allowed.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"There is no settings file {path}: give the path of a TOML file.") from None
        except OSError as error:
            raise SettingsError(
                f"The settings file {path} cannot be read ({error.strerror}): give the path of a TOML file."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    options = data.pop("options", {})
    if not isinstance(options, dict):
        raise SettingsError(f"Setting options = {options!r} is not allowed: it is a table, [options].")
    options = dict(options)
    for name, value in overrides.items():
        if value is not None:
            (options if name in Options.model_fields else data)[name] = value
    return _validated({**data, "options": options})


def _validated(data: dict[str, Any]) -> Settings:
    for known, given, where in (
        (Settings.model_fields, data, ""),
        (Options.model_fields, data["options"], "options."),
    ):
        for key in given:
            if key not in known:
                everywhere = {name: name for name in Settings.model_fields}
                everywhere |= {name: f"options.{name}" for name in Options.model_fields}
                near = difflib.get_close_matches(key, everywhere, n=1)
                hint = f" Did you mean {everywhere[near[0]]}?" if near else ""
                raise SettingsError(
                    f"Unknown setting {where}{key}.{hint} Allowed: {', '.join(sorted(everywhere.values()))}."
                )
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"Setting {where} = {first['input']!r} is not allowed: {first['msg']}.") from None


def dump_settings(settings: Settings) -> str:
    """Settings as TOML; reading it gives equal settings. None values and passwords in URLs are left out."""
    lines = ["# Settings of this run, as used. `vitruvius run` on this folder continues with them."]
    plain = settings.model_dump(exclude_none=True)
    options = plain.pop("options")
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    lines += ["", "[options]", *(f"{key} = {_toml(value)}" for key, value in options.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, str):
        escaped = bare_url(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def build_evaluator(settings: Settings) -> Evaluator:
    """The evaluator that the settings describe."""
    if settings.evaluator == "train":
        from vitruvius.generator.evaluation.train import Train

        return Train(dataset=settings.dataset)
    from vitruvius.generator.evaluation.table import Table

    return Table(settings.table)


def build_task(settings: Settings) -> Task:
    """The target task."""
    return Task(settings.task, build_evaluator(settings))


def build_sources(settings: Settings, task: Task) -> list[Task]:
    """The source tasks; "auto" takes every other data set of a table that covers the whole space."""
    if settings.sources == "none" or (settings.sources == "auto" and not task.evaluator.tabular):
        return []
    if settings.sources == "auto":
        others = [name for name in task.evaluator.datasets(task.space) if name != task.dataset]
        return [task.sibling(name) for name in others if name != "proteins"]
    return [Task(name, task.evaluator) for name in settings.sources]


def build_session(settings: Settings, run: Path, progress: Callable[[str], None] | None = None) -> Session:
    """Open the run folder with these settings, writing them down beside the ledger."""
    task = build_task(settings)
    session = Session(
        task,
        run,
        sources=build_sources(settings, task),
        options=settings.options,
        ledger=settings.ledger,
        templates=Path(settings.templates) if settings.templates else None,
        progress=progress,
    )
    (run / SETTINGS_FILE).write_text(dump_settings(settings), encoding="utf-8")
    if settings.index is not None:
        try:
            _ = session.store  # a server that does not answer is known before anything is spent
        except BaseException:
            session.close()
            raise
    return session
