"""Settings of a run: TOML with defaults for everything; the one place where settings meet classes."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitruvius.agents.options import Options, reason
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.sources import is_path, source_name
from vitruvius.generator.evaluation.task import Evaluator, Task
from vitruvius.generator.evaluation.train_settings import TrainSettings
from vitruvius.generator.files import absolute, write_whole
from vitruvius.generator.space import get_space, space_names
from vitruvius.knowledge.records import bare_url

if TYPE_CHECKING:
    from vitruvius.agents.session import Session
    from vitruvius.generator.evaluation.halving import Trains
    from vitruvius.generator.evaluation.recipe import Recipe
    from vitruvius.generator.evaluation.train import Train
    from vitruvius.promotion import Plan

_TABLES: dict[str, type[BaseModel]] = {"train": TrainSettings, "options": Options}
"""Settings that stand in a table of their own; a name is in one of them only."""

TRAINING = ("train", "ray")
"""The evaluators that train, here or on a cluster."""

_SERVES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(TrainSettings.model_fields, TRAINING),
    "device": (*TRAINING, "zero-cost"),
    "dataset": (*TRAINING, "zero-cost"),
    "latency": (*TRAINING, "zero-cost"),
    "score": ("zero-cost",),
    "address": ("ray",),
    "gpus": ("ray",),
    "table": ("table",),
}
"""Which evaluators a setting means something to; all others it has an effect with."""

SETTINGS_FILE = "settings.toml"
TRAINED_SPACE = "nasbench201"
"""The space that is searched by training where none is named."""


class Settings(BaseModel):
    """Everything that `vitruvius run` can be told; the defaults are the main job.

    Keys of endpoints never stand here: they come from the environment.
    """

    model_config = ConfigDict(extra="forbid")

    task: str = "nasbench-graph/cora"
    """What is searched: space/data set."""
    evaluations: int = Field(50, ge=1)
    """Budget: scores of the target that may be learned."""
    evaluator: Literal["table", "train", "ray", "zero-cost"] = "table"
    """Look scores up, train here or on a Ray cluster, or score untrained networks."""
    table: str | None = None
    """Parquet file or folder; None takes the embedded table, or the folder in VITRUVIUS_TABLES."""
    dataset: str = "digits"
    """What `train` trains on: digits, mnist, cifar10, cifar100, a path, or MODULE:NAME."""
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
        """A path, or that in the URL of a SQLite file; what a server keeps has one address for all."""
        if value is None or "://" not in value:
            return value and absolute(value)
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
            return [name.strip() for name in value.split(",") if name.strip()]
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
    if data.get("evaluator", "table") != "table" and "task" not in data:
        dataset = data.get("dataset", Settings.model_fields["dataset"].default)
        name = source_name(str(dataset), data["train"].get("classes"))
        data["task"] = f"{TRAINED_SPACE}/{name}"
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
    """Settings as TOML; reading it gives equal settings. None values and passwords in URLs are left out."""
    lines = ["# Settings of this run, as used. `vitruvius run` on this folder continues with them."]
    plain = settings.model_dump(exclude_none=True)
    tables = {table: plain.pop(table) for table in _TABLES}
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
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


def build_train(settings: Settings) -> Train:
    """What trains, with the full recipe."""
    from vitruvius.generator.evaluation.train import Train

    return Train(settings.dataset, **settings.train.arguments())


def build_rungs(settings: Settings) -> list[Recipe]:
    """The recipes of all rungs of halving, the shortest first; without halving the recipe alone.

    Raises:
        SettingsError: A setting of halving without halving.
    """
    from vitruvius.generator.evaluation.halving import rung_recipes
    from vitruvius.generator.evaluation.recipe import load_recipe

    train, recipe = settings.train, load_recipe(settings.train.recipe)
    if train.halving is not None:
        return rung_recipes(recipe, train.halving, narrowest=train.narrowest)
    if train.hyperband or train.narrowest is not None:
        raise SettingsError("hyperband and narrowest say how to halve: give --halving 3 too.")
    return [recipe]


def build_trains(settings: Settings) -> Callable[[Recipe], Trains]:
    """What trains with a recipe: here, on all GPUs of this machine, or on a cluster."""
    from vitruvius.generator.evaluation.spread import on_cluster, on_gpus

    if settings.evaluator == "ray":
        return lambda recipe: on_cluster(
            settings.dataset, settings.train, recipe, settings.address, settings.gpus
        )
    train = build_train(settings)

    def here(recipe: Recipe) -> Trains:
        one = train if recipe == train.recipe else train.with_recipe(recipe)
        return on_gpus(one, settings.dataset, settings.train)

    return here


def build_plan(settings: Settings) -> Plan | None:
    """How the best are trained longer after the search; None without halving."""
    factor = settings.train.halving
    if factor is None or settings.evaluator not in TRAINING:
        return None
    from vitruvius.promotion import Plan

    return Plan(build_trains(settings), build_rungs(settings), factor, settings.train.hyperband)


def build_evaluator(settings: Settings) -> Evaluator:
    """The evaluator that the settings describe.

    Raises:
        SettingsError: Latency on a cluster, or a setting of halving without halving.
    """
    if settings.evaluator == "ray":
        if settings.latency is not None:
            raise SettingsError("Latency is taken on this machine: leave it out with ray.")
        return build_trains(settings)(build_rungs(settings)[0])
    if settings.evaluator == "zero-cost":
        from vitruvius.generator.evaluation.scored import ZeroCost

        return _timed(ZeroCost(settings.score, settings.dataset), settings)
    if settings.evaluator == "train":
        lowest = build_rungs(settings)[0]
        if settings.latency is not None:
            return _timed(build_train(settings).with_recipe(lowest), settings)
        return build_trains(settings)(lowest)
    from vitruvius.generator.evaluation.table import Table

    return Table(settings.table)


def _timed(evaluator: Evaluator, settings: Settings) -> Evaluator:
    """The evaluator, which also takes latencies where these are asked for."""
    if settings.latency is None:
        return evaluator
    from vitruvius.generator.evaluation.timed import Timed

    return Timed(evaluator, settings.latency, device=settings.train.device)


def build_task(settings: Settings) -> Task:
    """The target task.

    Raises:
        SettingsError: A latency file without the name of its device, or two data sets.
    """
    evaluator = build_evaluator(settings)
    space, _, dataset = settings.task.partition("/")
    if settings.evaluator != "table" and dataset:
        (known,) = evaluator.datasets(get_space(space))
        if dataset != known:
            raise SettingsError(
                f"The data set is given twice and not the same: {dataset!r} by task = {settings.task!r}, "
                f"{known!r} by dataset = {settings.dataset!r}. Give --task {space}/{known}, or the data of "
                f"{dataset!r} with --dataset."
            )
    if settings.latency_files:
        from vitruvius.generator.evaluation.with_latency import WithLatency

        evaluator = WithLatency(evaluator, dict(map(_device_file, settings.latency_files)))
    return Task(settings.task, evaluator)


def _device_file(text: str) -> tuple[str, str]:
    device, _, file = text.partition("=")
    if not device or not file:
        raise SettingsError(f"The latency file {text!r} is not DEVICE=FILE: write for example mine=mine.csv.")
    return device, file


def build_sources(settings: Settings, task: Task) -> list[Task]:
    """The source tasks; "auto" takes every other data set of a table that covers the whole space."""
    if settings.sources == "none" or (settings.sources == "auto" and not task.evaluator.tabular):
        return []
    if settings.sources == "auto":
        others = [name for name in task.evaluator.datasets(task.space) if name != task.dataset]
        return [task.sibling(name) for name in others if name != "proteins"]
    for name in settings.sources:
        if Path(name).exists() and name.partition("/")[0] not in space_names():
            raise SettingsError(
                f"The source {name!r} is a file or folder, but a source is a task: SPACE/DATASET. What a run "
                "learned comes to another one by `vitruvius principles export` and `principles import`."
            )
    plain = build_evaluator(settings) if settings.latency_files else task.evaluator
    same = f"{task.space.name}/"  # a latency file is of one space
    return [Task(name, task.evaluator if name.startswith(same) else plain) for name in settings.sources]


def build_session(settings: Settings, run: Path, progress: Callable[[str], None] | None = None) -> Session:
    """Open the run folder with these settings, writing them down beside the ledger.

    Raises:
        BudgetError: Fewer evaluations than a session needs: no folder is made then.
    """
    from vitruvius.agents.session import Session

    settings.options.check_budget(settings.evaluations)
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
    write_whole(run / SETTINGS_FILE, dump_settings(settings))
    if settings.index is not None:
        try:
            _ = session.store  # a server that does not answer is known before anything is spent
        except BaseException:
            session.close()
            raise
    return session
