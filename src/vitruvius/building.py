"""From settings to what they describe: evaluator, task, sources, session."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.config import CALLING, RECIPE_FILE, SETTINGS_FILE, TRAINING, Settings, dump_settings
from vitruvius.errors import SettingsError
from vitruvius.generator.evaluation.task import Evaluator, Task, innermost
from vitruvius.generator.files import write_whole
from vitruvius.generator.networks import check_networks
from vitruvius.generator.space import get_space, space_names
from vitruvius.knowledge.run_folder import know_spaces

if TYPE_CHECKING:
    from vitruvius.agents.session import Session
    from vitruvius.generator.evaluation.halving import Trains
    from vitruvius.generator.evaluation.recipe import Recipe
    from vitruvius.generator.evaluation.train import Train
    from vitruvius.promotion import Plan


def build_train(settings: Settings) -> Train:
    """What trains, with the full recipe."""
    from vitruvius.generator.evaluation.train import Train

    return Train(settings.dataset, **settings.train.arguments())


def build_rungs(settings: Settings) -> list[Recipe]:
    """The recipes of all rungs of halving, the shortest first; without halving the recipe alone.

    Raises:
        SettingsError: A setting of halving without halving, or narrow networks whose costs are to be judged.
    """
    from vitruvius.generator.evaluation.halving import rung_recipes
    from vitruvius.generator.evaluation.recipe import load_recipe

    train, recipe = settings.train, load_recipe(settings.train.recipe)
    if train.narrowest is not None and (settings.options.where or settings.options.objectives):
        raise SettingsError(
            "narrowest with a constraint or objectives is not possible: costs would be those of the narrow "
            "networks. Leave one of them out."
        )
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

    rungs, seed = build_rungs(settings), settings.options.seed
    return Plan(build_trains(settings), rungs, factor, settings.train.hyperband, seed)


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
        from vitruvius.generator.evaluation.scored import Setup, ZeroCost

        taken = settings.train
        zero_cost = ZeroCost(
            settings.score, settings.dataset, setup=Setup(device=taken.device), split=taken.split,
            limit=taken.limit, classes=taken.classes, image_size=taken.image_size,
        )  # fmt: skip
        return _timed(zero_cost, settings)
    if settings.evaluator == CALLING:
        return build_function(settings)
    if settings.evaluator == "train":
        lowest = build_rungs(settings)[0]
        return _timed(build_trains(settings)(lowest), settings)
    from vitruvius.generator.evaluation.table import Table

    return Table(settings.table)


def build_function(settings: Settings) -> Evaluator:
    """What calls the user's function, in processes of its own.

    Raises:
        SettingsError: No function was named, or the space's description says what is better.
    """
    from vitruvius.generator.evaluation.function import Function
    from vitruvius.generator.evaluation.layouts import own_metrics
    from vitruvius.generator.evaluation.pool import Pool

    if settings.function is None:
        raise SettingsError(
            "evaluator = 'function' calls a function of yours: name it, --function FILE.py:NAME."
        )
    space, _, dataset = settings.task.partition("/")
    described = own_metrics(get_space(space)).get(dataset) if settings.maximize is not None else None
    if described is not None and settings.maximize != described.maximize:
        better = "larger" if described.maximize else "smaller"
        raise SettingsError(
            f"Setting maximize = {settings.maximize} has no effect: the description of {space} says of "
            f"{dataset} that {better} is better. Leave the setting out, or change the description."
        )
    return Pool(
        Function(
            settings.function,
            costs=settings.costs,
            dataset=dataset or "mine",
            maximize=settings.maximize is not False,
            version=settings.version,
        ),
        settings.train.workers or 1,
        threads=settings.train.threads,
        time_limit=settings.train.time_limit,
    )


def _timed(evaluator: Evaluator, settings: Settings) -> Evaluator:
    """The evaluator, which also takes latencies where these are asked for.

    Raises:
        SettingsError: They are to be an objective or in a constraint too.
    """
    if settings.latency is None:
        return evaluator
    known = {text.partition("=")[0] for text in settings.latency_files or ()}
    for name in ("objectives", "where"):
        said = str(getattr(settings.options, name) or "")
        for found in re.finditer(r"latency\b(?:\[([^]]*)\])?", said):
            if found[1] not in known:
                raise SettingsError(
                    f"{found[0]} cannot be in {name}: what --latency takes is known only once a candidate is "
                    "drawn. Time about ten (`vitruvius latency propose`), and have that of all others "
                    "foretold: --latency-file DEVICE=FILE, then latency[DEVICE]."
                )
    from vitruvius.generator.evaluation.timed import Timed

    return Timed(evaluator, settings.latency, device=settings.train.device)


def build_task(settings: Settings) -> Task:
    """The target task.

    Raises:
        SettingsError: A latency file without the name of its device, or two data sets.
    """
    space, _, dataset = settings.task.partition("/")
    trained = settings.evaluator not in ("table", CALLING)
    if trained and space in space_names():
        check_networks(get_space(space))  # before anything is loaded
    evaluator = build_evaluator(settings)
    if trained and dataset:
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
        if name in task.evaluator.datasets(task.space) and name not in space_names():
            raise SettingsError(
                f"The source {name!r} names no task: write SPACE/DATASET, {task.space.name}/{name}."
            )
        if Path(name).exists() and name.partition("/")[0] not in space_names():
            raise SettingsError(
                f"The source {name!r} is a file or folder, but a source is a task: SPACE/DATASET. What a run "
                "learned comes to another one by `vitruvius principles export` and `principles import`."
            )
    if settings.evaluator == CALLING and settings.table is not None:
        from vitruvius.generator.evaluation.table import Table

        return [Task(name, Table(settings.table)) for name in settings.sources]
    plain = build_evaluator(settings) if settings.latency_files else task.evaluator
    same = f"{task.space.name}/"  # a latency file is of one space
    return [Task(name, task.evaluator if name.startswith(same) else plain) for name in settings.sources]


def _data_line(task: Task) -> str:
    """What a task's images are, so that a folder that was not meant so is noticed; "" where it has none."""
    if task.evaluator.tabular:
        return ""
    from vitruvius.generator.evaluation.scored import ZeroCostBench
    from vitruvius.generator.evaluation.train_bench import TrainBench

    bench = innermost(task.bench)
    if not isinstance(bench, TrainBench | ZeroCostBench):
        return ""
    images, told = bench.images, ""
    if isinstance(bench, TrainBench):
        recipe, count = bench.recipe, len(bench.images.train_y)
        if bench.fidelity != recipe.fidelity:
            left = count % min(recipe.batch, count)
            told = f"; batches of {recipe.batch_of(count)}: those of {recipe.batch} would leave out {left}"
    return f"data       {images.told()}{told}"


def build_session(settings: Settings, run: Path, progress: Callable[[str], None] | None = None) -> Session:
    """Open the run folder with these settings, writing them down beside the ledger.

    Raises:
        BudgetError: Fewer evaluations than a session needs: no folder is made then.
    """
    from vitruvius.agents.session import Session

    settings.options.check_budget(settings.evaluations)
    know_spaces(run, settings.ledger)
    task = build_task(settings)
    if progress is not None and (line := _data_line(task)):
        progress(line)
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
    if settings.evaluator in TRAINING:
        from vitruvius.generator.evaluation.recipe import dump_recipe, load_recipe

        write_whole(run / RECIPE_FILE, dump_recipe(load_recipe(settings.train.recipe)))
    if settings.index is not None:
        try:
            _ = session.store  # a server that does not answer is known before anything is spent
        except BaseException:
            session.close()
            raise
    return session
