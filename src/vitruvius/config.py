"""Settings of a run: TOML with defaults for everything, read, checked and written down.

What they describe is made by `building`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitruvius.agents.options import Options, reason
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.sources import is_path, source_name
from vitruvius.generator.evaluation.task import task_name
from vitruvius.generator.evaluation.train_settings import TrainSettings
from vitruvius.generator.files import absolute
from vitruvius.knowledge.database import ADDRESSES
from vitruvius.knowledge.records import bare_url

_TABLES: dict[str, type[BaseModel]] = {"train": TrainSettings, "options": Options}
"""Settings that stand in a table of their own; a name is in one of them only."""

TRAINING = ("train", "ray")
"""The evaluators that train, here or on a cluster."""

CALLING = "function"
"""The evaluator that calls a function of the user's."""

_SERVES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(TrainSettings.model_fields, TRAINING),
    **dict.fromkeys(
        ("device", "dataset", "split", "limit", "classes", "image_size", "latency"), (*TRAINING, "zero-cost")
    ),
    **dict.fromkeys(("time_limit", "workers", "threads"), (*TRAINING, CALLING)),
    **dict.fromkeys(("function", "costs", "version", "maximize"), (CALLING,)),
    "score": ("zero-cost",),
    "address": ("ray",),
    "gpus": ("ray",),
    "table": ("table", CALLING),
}
"""Which evaluators a setting means something to; all others it has an effect with."""

SETTINGS_FILE = "settings.toml"
RECIPE_FILE = "recipe.toml"
"""The recipe as it was when the run began, whatever becomes of the file that the settings name."""
TRAINED_SPACE = "nasbench201"
"""The space that is searched by training where none is named."""


class Settings(BaseModel):
    """Everything that `vitruvius run` can be told; the defaults are the main job.

    Keys of endpoints never stand here: they come from the environment.
    """

    model_config = ConfigDict(extra="forbid")

    task: str = "nasbench-graph/cora"
    """What is searched: space/data set; a space of one's own may be named by its file, mine.toml/flowers."""
    evaluations: int = Field(50, ge=1)
    """Budget: scores of the target that may be learned."""
    evaluator: Literal["table", "train", "ray", "zero-cost", "function"] = "table"
    """Look scores up, train here or on a Ray cluster, score untrained networks, or call your function."""
    table: str | None = None
    """Parquet or CSV file, or folder; None takes the embedded table, or the folder in VITRUVIUS_TABLES. With
    `function` it measures the sources."""
    dataset: str = "digits"
    """What `train` trains on: digits, mnist, cifar10, cifar100, a path, or MODULE:NAME."""
    function: str | None = None
    """What `function` calls with each architecture: FILE.py:NAME or MODULE:NAME."""
    costs: str | None = None
    """A function, likewise, that tells costs without measuring, for constraints and objectives."""
    version: str | None = None
    """What tells the function from others, and from itself once changed; None: the content of its file."""
    maximize: bool | None = None
    """Whether larger is better of what `function` returns; None: as the space's description says, or yes."""
    score: str = "nwot"
    """What `zero-cost` measures: nwot, synflow, jacov, snip, grad_norm, zen, params, flops."""
    latency: int | None = Field(None, ge=1)
    """Also time passes of so many images through each network, before it is trained; None does not."""
    latency_files: list[str] | None = None
    """DEVICE=FILE: from what was timed on a device, `latency[DEVICE]` of all others is predicted."""
    address: str | None = None
    """The cluster of `ray`: host:6379, ray://host:10001, auto; None starts one on this machine."""
    gpus: float | None = Field(None, ge=0)
    """GPUs of each worker of `ray`: 0.25 puts four on each; None is one, where there are some."""
    sources: list[str] | Literal["auto", "none"] = "auto"
    """Source tasks; "auto" takes the other data sets of the same table, "none" starts from nothing."""
    ledger: str | None = None
    """SQLAlchemy URL of a shared ledger; None is a SQLite file in the run folder."""
    index: str | None = None
    """A Chroma server for the search index, http://host:port; None keeps the index in the run folder."""
    templates: str | None = None
    """Folder with prompt templates of one's own."""
    train: TrainSettings = Field(default_factory=TrainSettings)
    """How `train` trains."""
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    """How the session works."""

    @field_validator("task")
    @classmethod
    def _by_name(cls, value: str) -> str:
        """A space that was named by its file is kept in the ledger, and known by its name."""
        return task_name(value)

    @field_validator("function", "costs")
    @classmethod
    def _function_from_anywhere(cls, value: str | None) -> str | None:
        path, colon, name = (value or "").rpartition(":")
        return f"{absolute(path)}{colon}{name}" if path.endswith(".py") else value

    @field_validator("table", "templates")
    @classmethod
    def _from_anywhere(cls, value: str | None) -> str | None:
        """A run is resumed from any folder."""
        return None if value is None else absolute(value)

    @field_validator("dataset")
    @classmethod
    def _data_from_anywhere(cls, value: str) -> str:
        return absolute(value) if is_path(value) else value

    @field_validator("ledger")
    @classmethod
    def _ledger_from_anywhere(cls, value: str | None) -> str | None:
        """The path in the URL of a SQLite file; what a server keeps has one address for all."""
        if value is None:
            return None
        if "://" not in value:
            raise ValueError(ADDRESSES)
        found = re.fullmatch(r"(sqlite(?:\+\w+)?:///)((?!:memory:|file:).+)", value)
        return f"{found[1]}{absolute(found[2])}" if found else value

    @field_validator("latency_files")
    @classmethod
    def _files_from_anywhere(cls, value: list[str] | None) -> list[str] | None:
        parts = [text.partition("=") for text in value or ()]
        return value and [f"{device}={absolute(file)}" if file else device for device, _, file in parts]

    @field_validator("sources", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """One name, or names with commas between them, are a list."""
        if isinstance(value, str) and value not in ("auto", "none"):
            value = [name.strip() for name in value.split(",") if name.strip()]
        if isinstance(value, list):
            return [task_name(str(name)) for name in cast(list[Any], value)]
        return value


def load_settings(path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read settings from a TOML file and put overrides on top.

    Args:
        path: TOML file, None for the defaults.
        overrides: Values by field; those of `Options` and `TrainSettings` by their own name; None means not
            given.

    Raises:
        SettingsError: Not TOML, an unknown key (with the nearest valid one), a value not allowed, or one that
            says nothing to the evaluator.
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
    for table in _TABLES:
        given = data.get(table, {})
        if not isinstance(given, dict):
            raise SettingsError(f"Setting {table} = {given!r} is not allowed: it is a table, [{table}].")
        data[table] = dict(given)
    for name, value in overrides.items():
        if value is not None:
            table = next((table for table, model in _TABLES.items() if name in model.model_fields), None)
            (data if table is None else data[table])[name] = value
    if data.get("evaluator", "table") not in ("table", CALLING) and "task" not in data:
        dataset = data.get("dataset", Settings.model_fields["dataset"].default)
        name = source_name(str(dataset), data["train"].get("classes"))
        data["task"] = f"{TRAINED_SPACE}/{name}"
    if data.get("evaluator") == CALLING and "task" not in data:
        raise SettingsError(
            "The evaluator 'function' calls one of yours, but nothing says in which space: give the task, "
            "for example --task mine.toml/NAME."
        )
    settings = _validated(data)
    _check_effect(settings, [name for name, value in overrides.items() if value is not None])
    return settings


def _check_effect(settings: Settings, given: Sequence[str]) -> None:
    """Refuse what the evaluator would pass over; a settings file of a run has the defaults of all of them."""
    for name, evaluators in _SERVES.items():
        owner = settings if name in Settings.model_fields else settings.train
        value, default = getattr(owner, name), type(owner).model_fields[name].default
        if (value != default or name in given) and settings.evaluator not in evaluators:
            others = " or ".join(f"--evaluator {evaluator}" for evaluator in evaluators)
            raise SettingsError(
                f"Setting {name} = {value!r} has no effect with evaluator = {settings.evaluator!r}: leave it "
                f"out, or give {others}."
            )


def _validated(data: dict[str, Any]) -> Settings:
    everywhere = {name: name for name in Settings.model_fields}
    for table, model in _TABLES.items():
        everywhere |= {name: f"{table}.{name}" for name in model.model_fields}
    for known, given, where in (
        (Settings.model_fields, data, ""),
        *((model.model_fields, data[table], f"{table}.") for table, model in _TABLES.items()),
    ):
        for key in given:
            if key not in known:
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
        raise SettingsError(
            f"Setting {where} = {first['input']!r} is not allowed: {reason(first)}."
        ) from None


def dump_settings(settings: Settings) -> str:
    """Settings as TOML; reading it gives equal settings.

    None values, passwords in URLs and what has no effect with the evaluator are left out.
    """
    lines = ["# Settings of this run, as used. `vitruvius run` on this folder continues with them."]
    plain = settings.model_dump(exclude_none=True)
    tables = {"": plain, **{table: plain.pop(table) for table in _TABLES}}
    for table, values in tables.items():
        told = [
            f"{key} = {_toml(value)}"
            for key, value in values.items()
            if settings.evaluator in _SERVES.get(key, (settings.evaluator,))
        ]
        lines += ["", f"[{table}]", *told] if table and told else told
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, str):
        escaped = bare_url(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
