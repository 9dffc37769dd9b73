"""Settings of a run: TOML with defaults for everything; the one place where settings meet classes."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitruvius.agents.options import Options
from vitruvius.agents.session import Session
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.sources import source_name
from vitruvius.generator.evaluation.task import Evaluator, Task
from vitruvius.generator.evaluation.train_settings import TrainSettings
from vitruvius.knowledge.records import bare_url

if TYPE_CHECKING:
    from vitruvius.generator.evaluation.train import Train

_TABLES: dict[str, type[BaseModel]] = {"train": TrainSettings, "options": Options}
"""Settings that stand in a table of their own; a name is in one of them only."""

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


def load_settings(path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read settings from a TOML file and put overrides on top.

    Args:
        path: TOML file, None for the defaults.
        overrides: Values by field; those of `Options` and `TrainSettings` by their own name; None means not
            given.

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
    for table in _TABLES:
        given = data.get(table, {})
        if not isinstance(given, dict):
            raise SettingsError(f"Setting {table} = {given!r} is not allowed: it is a table, [{table}].")
        data[table] = dict(given)
    for name, value in overrides.items():
        if value is not None:
            table = next((table for table, model in _TABLES.items() if name in model.model_fields), None)
            (data if table is None else data[table])[name] = value
    if data.get("evaluator", "table") != "table":
        dataset = data.get("dataset", Settings.model_fields["dataset"].default)
        name = source_name(str(dataset), data["train"].get("classes"))
        data.setdefault("task", f"{TRAINED_SPACE}/{name}")
    return _validated(data)


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
        raise SettingsError(f"Setting {where} = {first['input']!r} is not allowed: {first['msg']}.") from None


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

    return Train(settings.dataset, **settings.train.model_dump(exclude={"halving"}))


def build_evaluator(settings: Settings) -> Evaluator:
    """The evaluator that the settings describe.

    Raises:
        SettingsError: Halving or latency on a cluster.
    """
    if settings.evaluator == "ray":
        from vitruvius.generator.evaluation.spread import on_cluster

        if settings.train.halving is not None or settings.latency is not None:
            raise SettingsError("Halving and latency are for this machine: leave them out with ray.")
        return on_cluster(settings.dataset, settings.train, settings.address, settings.gpus)
    if settings.evaluator == "zero-cost":
        from vitruvius.generator.evaluation.scored import ZeroCost

        return _timed(ZeroCost(settings.score, settings.dataset), settings)
    if settings.evaluator == "train":
        train = build_train(settings)
        if settings.train.halving is not None:
            from vitruvius.generator.evaluation.halving import rung_recipes

            return _timed(train.with_recipe(rung_recipes(train.recipe, settings.train.halving)[0]), settings)
        if settings.latency is None:
            from vitruvius.generator.evaluation.spread import on_gpus

            return on_gpus(train, settings.dataset, settings.train)
        return _timed(train, settings)
    from vitruvius.generator.evaluation.table import Table

    return Table(settings.table)


def _timed(evaluator: Evaluator, settings: Settings) -> Evaluator:
    """The evaluator, which also takes latencies where these are asked for."""
    if settings.latency is None:
        return evaluator
    from vitruvius.generator.evaluation.timed import Timed

    return Timed(evaluator, settings.latency, device=settings.train.device)


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
