"""`vitruvius export`: the winner of a run as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vitruvius.config import Settings
    from vitruvius.findings import Summary
    from vitruvius.generator.evaluation.images import Images
    from vitruvius.generator.evaluation.recipe import Recipe
    from vitruvius.generator.evaluation.task import Measurement
    from vitruvius.generator.export import Exported, Rival
    from vitruvius.generator.networks.costs import Shape
    from vitruvius.generator.networks.families.base import Family
    from vitruvius.generator.space import Architecture
    from vitruvius.knowledge.records import Learned


Classes = Annotated[int | None, typer.Option(min=2, max=1_000_000, help="Classes, for data of your own.")]
Channels = Annotated[
    int | None,
    typer.Option(min=1, max=1_000_000, help="Channels of the images; for graphs, features of a node."),
]
Size = Annotated[int | None, typer.Option(min=4, max=10_000, help="Side of the images, in pixels.")]
Width = Annotated[int | None, typer.Option(min=1, max=10_000, help="Channels of the first stage.")]
Cells = Annotated[int | None, typer.Option(min=1, max=100, help="Cells in each stage.")]


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write; by default winner in the run.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Key of an architecture; by default the best of the run.")
    ] = None,
    classes: Classes = None,
    channels: Channels = None,
    size: Size = None,
    width: Width = None,
    cells: Cells = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="What else the network has, for example auxiliary; repeat it.")
    ] = None,
) -> None:
    """Write the winner as a stand-alone PyTorch model, as ONNX, and with a card.

    The written files are loaded in a clean process and compared with the searched network before
    success is printed.
    """
    from vitruvius.errors import UserError
    from vitruvius.generator.export import Card, export_card
    from vitruvius.generator.networks import family
    from vitruvius.generator.space import get_space
    from vitruvius.summary import summarise

    summary = summarise(run)
    space = get_space(summary.task.partition("/")[0])
    networks = family(space)
    if architecture is None and summary.best is None:
        raise UserError(f"Nothing in {run} has a score yet: go on with the run, or name an --architecture.")
    settings = _settings(run)
    learned, longer = _known(run, summary)
    best = _best_key(settings, summary, longer)
    chosen = space.parse(best if architecture is None else architecture)
    given = {
        "classes": classes, "in_channels": channels, "height": size, "width": size, "stem": width,
        "cells": cells, "extras": tuple(extra) if extra is not None else None,
    }  # fmt: skip
    images = _images(settings, given)
    known = _known_shape(summary.task, settings, networks, images, given)
    scored = _scored(chosen, learned, longer)
    used = _recipe_used(scored, settings)
    card = Card(
        space=space.name, architecture=chosen.key, task=summary.task,
        shape=_with(known, given, summary.task, networks),
        **_data(settings, images),
        measured=tuple([*_measured(summary, learned, scored), *_not_known(scored, used)]),
        measured_on=_measured_on(scored, known, used),
        principles=_principles(summary, chosen.key),
        rival=_rival(settings, summary, learned),
    )  # fmt: skip
    done = export_card(card, to or run / "winner")
    typer.echo(f"exported {chosen.key}")
    for line in _told(done, networks):
        typer.echo(f"  {line}")


def _told(done: Exported, networks: Family) -> list[str]:
    """What was written and how it was checked."""
    from vitruvius.generator.files import as_argument

    onnx = f"no model.onnx: {', '.join(done.missing)} missing or not importing, pip install 'vitruvius[onnx]'"
    if done.onnx_difference is not None:
        onnx = f"model.onnx in ONNX Runtime: {done.onnx_difference:.1e}"
    hint = f": `vitruvius retrain {as_argument(done.folder)}` trains it" if networks.images else ""
    return [
        f"to {done.folder}: {', '.join(done.files)}",
        f"checked in a clean process: largest difference of the outputs {done.difference:.1e}",
        onnx,
        f"untrained{hint}",
    ]


def _settings(run: Path) -> Settings | None:
    """Settings of the run, with the recipe that it began with; None where it has none, as from a script."""
    from vitruvius.config import RECIPE_FILE, SETTINGS_FILE, load_settings

    path, recipe = run / SETTINGS_FILE, run / RECIPE_FILE
    if not path.is_file():
        return None
    kept = {"recipe": str(recipe)} if recipe.is_file() else {}
    return load_settings(path, kept)


_SIZES = ("classes", "in_channels", "height", "width")


def _images(settings: Settings | None, given: dict[str, Any]) -> Images | None:
    """What the run trained on; None where it did not, or where these are gone and `given` says their sizes.

    Raises:
        UserError: They are gone, and `given` does not say what they were like.
    """
    from vitruvius.config import TRAINING
    from vitruvius.errors import UnknownNameError, UserError
    from vitruvius.generator.evaluation.images import load_images

    if settings is None or settings.evaluator not in TRAINING:
        return None
    try:
        return load_images(
            settings.dataset, None, settings.train.split,
            classes=settings.train.classes, image_size=settings.train.image_size,
        )  # fmt: skip
    except UserError as error:
        if None not in [given[name] for name in _SIZES]:
            return None
        gone = UserError(
            f"What the run trained on is no longer at {settings.dataset}: put it back, or say --classes, "
            "--channels and --size."
        )
        raise (gone if isinstance(error, UnknownNameError) else error) from None


def _known_shape(
    task: str, settings: Settings | None, networks: Family, images: Images | None, given: dict[str, Any]
) -> Shape | None:
    """What networks for the run's data are built for, if that is known: by the benchmark, or by the data."""
    from vitruvius.config import TRAINING
    from vitruvius.generator.evaluation.recipe import Recipe, load_recipe
    from vitruvius.generator.networks.costs import Shape

    if settings is not None and settings.evaluator in TRAINING:
        recipe = load_recipe(settings.train.recipe)
        sizes = [given[name] for name in _SIZES] if images is None else [images.classes, *images.size]
        return Shape(*sizes, stem=recipe.width, cells=recipe.cells, extras=recipe.extras)
    dataset = task.partition("/")[2]
    if dataset == "digits":
        return Shape(10, 1, 8, 8, Recipe().width, Recipe().cells)
    return networks.shapes.get(dataset)


def _with(shape: Shape | None, given: dict[str, Any], task: str, networks: Family) -> Shape:
    """The shape with what was given on the command line in its place.

    Raises:
        UserError: Something that is not known was not given, or what these networks do not have.
    """
    from vitruvius.errors import UserError
    from vitruvius.generator.networks.costs import Shape

    said = {name: value for name, value in given.items() if value is not None}
    if not networks.images and ("height" in said or "cells" in said):
        raise UserError(
            "Networks that read graphs have neither images nor stages: leave --size and --cells out."
        )
    if shape is not None:
        return replace(shape, **said)
    needed = ("classes", "in_channels", *(("height",) if networks.images else ()))
    if any(name not in said for name in needed):
        options = "--classes, --channels and --size" if networks.images else "--classes and --channels"
        raise UserError(
            f"The data {task.partition('/')[2]!r} are not known here: say {options}. "
            f"Known: {', '.join(networks.shapes)}."
        )
    return replace(Shape(0, 0), **said)


def _data(settings: Settings | None, images: Images | None) -> dict[str, Any]:
    """What the run trained on, for `retrain`; nothing where it looked scores up."""
    from vitruvius.config import TRAINING

    if settings is None or settings.evaluator not in TRAINING:
        return {}
    taken = settings.train
    told = {} if images is None else {"class_names": images.names, "inputs": images.inputs(taken.image_size)}
    return told | {
        "dataset": settings.dataset, "data_classes": taken.classes, "image_size": taken.image_size,
        "split": taken.split,
    }  # fmt: skip


def _known(run: Path, summary: Summary) -> tuple[list[Learned], list[Measurement]]:
    """What the run learned of its target, in order, and what was trained longer afterwards."""
    from vitruvius.knowledge.run_folder import open_ledger
    from vitruvius.promotion import trials

    with open_ledger(run) as ledger:
        learned = ledger.learned(summary.session)
        longer = [trial.measurement for trial in trials(ledger, summary.session)]
    return [x for x in learned if x.measurement.task == summary.task], [m for m in longer if m.ok]


def _best_key(settings: Settings | None, summary: Summary, longer: list[Measurement]) -> str:
    """The best of those that were trained with the full recipe after the search, else the best of the run."""
    from vitruvius.generator.evaluation.recipe import load_recipe

    if settings is not None and longer:
        full = {f"train:{digest}" for digest in load_recipe(settings.train.recipe).digests}
        scored = [(m.score, m.key) for m in longer if m.evaluator in full and m.score is not None]
        if scored:
            return max(scored)[1]
    return summary.best.key if summary.best else ""


def _scored(chosen: Architecture, learned: list[Learned], longer: list[Measurement]) -> list[Measurement]:
    """Measurements of this architecture that have a score: of several fidelities of the last, the longest."""
    found = [m for m in [*(x.measurement for x in learned), *longer] if m.id == chosen.id]
    known = [m for m in found if m.score is not None]
    return [m for m in known if (m.evaluator, m.fidelity) == (known[-1].evaluator, known[-1].fidelity)]


def _recipe_used(scored: list[Measurement], settings: Settings | None) -> Recipe | None:
    """With which recipe of the run these were trained; None where they were not, or it is not known."""
    from vitruvius.building import build_rungs
    from vitruvius.config import TRAINING
    from vitruvius.generator.evaluation.recipe import Recipe

    how, _, digest = scored[-1].evaluator.partition(":") if scored else ("", "", "")
    if how != "train":
        return None
    recipes = [Recipe()]
    if settings is not None and settings.evaluator in TRAINING:
        recipes = build_rungs(settings)
    return next((recipe for recipe in recipes if digest in recipe.digests), None)


def _not_known(scored: list[Measurement], used: Recipe | None) -> list[str]:
    """A line for the card where the recipe that something was trained with is not there any more."""
    if used is not None or not scored or not scored[-1].evaluator.startswith("train:"):
        return []
    return [
        f"the recipe it was trained with ({scored[-1].evaluator}) is not that of the run's settings now: "
        "the network that was measured may be of another size than this one"
    ]


def _measured_on(scored: list[Measurement], known: Shape | None, used: Recipe | None) -> Shape | None:
    """What the network that was measured was built for; None where nothing was, or that is not known.

    Args:
        scored: Measurements of one architecture.
        known: What networks for the run's data are built for.
        used: The recipe that they were trained with, if they were and it is known.
    """
    if not scored or known is None:
        return None
    how = scored[-1].evaluator.partition(":")[0]
    if how == "table":
        return known
    if how == "zero-cost":  # of the benchmark's size
        return replace(known, stem=0, cells=0)
    return used and replace(known, stem=used.width, cells=used.cells, extras=used.extras)


def _measured(summary: Summary, learned: list[Learned], known: list[Measurement]) -> list[str]:
    """What the run knows of an architecture, whose measurements are `known`, for the card."""
    from vitruvius.generator.export.card import with_interval

    if not known:
        return [f"not measured in {summary.run}"]
    m = known[-1]
    counted = [x for x in learned if x.counted]
    first = next((number for number, x in enumerate(counted, start=1) if x.measurement.id == m.id), None)
    scores = tuple(float(one.score or 0.0) for one in known)
    told = f"{scores[0]:.4g}" if len(scores) == 1 else f"{with_interval(scores)} over {len(scores)} seeds"
    took = f"{m.seconds:.0f} s" if m.seconds else ""
    seed = "" if m.evaluator.startswith("table:") else f"seed {m.seed}"  # tables hold means over seeds
    how = [m.fidelity, seed, took, f"on {m.device}" if m.device else ""]
    return [
        f"{summary.metric} {told} {summary.unit}".rstrip()
        + f" on {summary.task}, used for the search: expect less on new data",
        ", ".join(part for part in how if part) + f", measured by {m.evaluator}",
        *([f"found at evaluation {first} of {len(counted)} in {summary.run}"] if first else []),
    ]


def _principles(summary: Summary, key: str) -> tuple[str, ...]:
    """Supported principles that this architecture agrees with."""
    return next((winner.principles for winner in summary.winners if winner.key == key), ())


def _rival(settings: Settings | None, summary: Summary, learned: list[Learned]) -> Rival | None:
    """What random search found at equal cost: looked up again, or else among what the run drew uniformly.

    It keeps to the constraint of the run, as the winner does.
    """
    from vitruvius.agents.aims import read_aims
    from vitruvius.agents.baselines import random_search
    from vitruvius.building import build_task
    from vitruvius.generator.export import Rival

    if settings is not None and settings.evaluator == "table":
        task = build_task(settings)
        aims = read_aims(task, settings.options)
        curve = random_search(task, summary.counted, settings.options.seed, aims.feasible)
        last = curve.incumbents[-1] if curve.keys else None
        if last is None:
            return None
        return Rival(key=curve.keys[last], what=f"the best of random search at {summary.counted} evaluations")
    drawn = [x.measurement for x in learned if x.counted and x.share.uniform]
    scored = [(m.score, m.key) for m in drawn if m.score is not None]
    if not scored:
        return None
    _, key = max(scored) if summary.maximize else min(scored)
    return Rival(key=key, what=f"the best of {len(drawn)} uniform draws in the same run")
