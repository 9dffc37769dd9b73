"""The winner trained in full, beside what it has to be better than: same recipe, data and seeds for both.

What was finished when it is interrupted is kept in the folder and taken from there the next time.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.images import SPLIT, Images, Source, Split, as_split, load_images
from vitruvius.generator.evaluation.recipe import Recipe, load_recipe, recipe_names
from vitruvius.generator.evaluation.sources import is_path, source_name
from vitruvius.generator.export import export_card, read_card
from vitruvius.generator.export.card import Card, Retraining, Rival, Trained
from vitruvius.generator.export.finished import Finished, Score
from vitruvius.generator.files import absolute
from vitruvius.generator.networks import check_networks, family
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, get_space

if TYPE_CHECKING:
    import torch

    from vitruvius.generator.evaluation.batches import DeviceImages
    from vitruvius.generator.evaluation.engine import Trained as TrainedNetwork

FULL = "full"
"""Stands for the recipe of the space's benchmark."""
TEST, VALIDATION = "test accuracy, %", "validation accuracy, %"


def retrain(
    folder: Path,
    *,
    dataset: Source | None = None,
    recipe: Recipe | str = FULL,
    seeds: int | Sequence[int] = 3,
    against: str | None = None,
    device: str = "auto",
    split: Split | None = None,
    progress: Callable[[str], None] | None = None,
) -> Retraining:
    """Train an exported architecture and its rival, and put weights and results into the folder.

    The networks are as large as the recipe says. They are trained on what the search trained and validated
    on, and judged on what it never saw: the data set's own test part, else the images that were set aside.
    Where there are none they are judged on the validation part, and the card says so. What the search left
    out by its `limit` is trained on too.

    Args:
        folder: A folder that `export_card` wrote.
        dataset: What to train on, as for `Train`; None takes that of the run.
        recipe: "full" for that of the space's benchmark, another recipe's name, a TOML file, or a recipe.
        seeds: So many seeds from 0, or the seeds.
        against: Key of the architecture to compare with; None takes that of the card.
        device: "auto", "cpu", "cuda" or "cuda:N".
        split: Shares that the search had; None takes those of the card, or for another data set by name the
            usual ones.
        progress: Is told what happened, a line for each network.

    Returns:
        What came out. The weights in the folder are those of the first seed with which the winner did not
        diverge; a rival that diverged is written down as such.

    Raises:
        UserError: Networks of this space do not read images, no data set is known, the recipe does not exist,
            or memory does not suffice.
        VitruviusError: The winner diverged with every seed, or the new files do not pass their check.
    """
    card = _on_data(read_card(folder), dataset, split)
    space = get_space(card.space)
    check_networks(space)
    tell = progress or (lambda line: None)
    used, name = _recipe(recipe, card.space)
    rival = _rival(card, against, tell)
    images, part = _images(card, dataset, tell)
    numbers = _numbers(seeds)
    runs = _Runs(folder, images, part, used, device, tell)
    winner, first = runs.train(space.parse(card.architecture), "the winner", numbers)
    if first is None:
        raise VitruviusError(f"The winner diverged with every seed: {runs.reason}. Nothing was written.")
    other = runs.train(space.parse(rival.key), rival.what, numbers)[0] if rival is not None else None
    retraining = Retraining(
        recipe=name, fidelity=runs.fidelity, data=images.name, part=part, seeds=numbers, device=runs.label,
        seconds=runs.seconds, winner=winner, rival=other, mean=runs.mean, deviation=runs.deviation,
    )  # fmt: skip
    told = {"class_names": images.names, "inputs": images.inputs(card.image_size)}
    changed = {**told, "shape": runs.shape, "retraining": retraining, "rival": rival}
    export_card(card.model_copy(update=changed), folder, first.float().cpu())
    runs.finished.clear()
    return retraining


def _numbers(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds: so many from 0, or those given.

    Raises:
        UserError: There are none.
    """
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not numbers:
        raise UserError(f"seeds={seeds} is not allowed: at least one network must be trained.")
    return numbers


class _Runs:
    """Trains architectures one by one on the same images with the same recipe.

    Attributes:
        seconds: How long all training took, that before an interruption too.
        finished: What is not trained again.
        reason: Why the last one that diverged did.
    """

    def __init__(
        self,
        folder: Path,
        images: Images,
        part: str,
        recipe: Recipe,
        device: str,
        progress: Callable[[str], None],
    ) -> None:
        import torch

        from vitruvius.generator.evaluation.batches import to_device
        from vitruvius.generator.evaluation.engine import settle
        from vitruvius.generator.evaluation.latency import find_device

        where = find_device(device)
        recipe = recipe.resolved(gpu=where != "cpu")
        settle(where, recipe)
        self.label = f"cpu {platform.machine()}" if where == "cpu" else torch.cuda.get_device_name(where)
        conditions = {"recipe": recipe.digest, "data": images.fingerprint, "part": part, "device": self.label}
        self.finished = Finished(folder, conditions)
        arrays = {
            "train_x": images.train_x, "train_y": images.train_y,
            "valid_x": images.valid_x, "valid_y": images.valid_y,
        }  # fmt: skip
        tensors = {part: torch.from_numpy(np.ascontiguousarray(array)) for part, array in arrays.items()}
        self._images: DeviceImages = to_device(tensors, recipe, where)
        self.mean = tuple(self._images.mean.tolist())
        self.deviation = tuple(self._images.deviation.tolist())
        self._recipe, self._progress, self.seconds, self.reason = recipe, progress, 0.0, ""
        self.fidelity = recipe.fidelity_of(len(images.train_y))
        channels, height, width = images.size
        recipe.check_size(height, width)
        self.shape = Shape(images.classes, channels, height, width, recipe.width, recipe.cells, recipe.extras)

    def train(
        self, architecture: Architecture, what: str, seeds: Sequence[int]
    ) -> tuple[Trained, torch.nn.Module | None]:
        """Train with each seed what is not finished; the scores, and the first network that has one.

        Raises:
            UserError: Memory does not suffice.
        """
        networks = family(architecture.space)
        shape = networks.complete(self.shape)
        costs = networks.costs(architecture.space, architecture.row, shape)
        build = partial(networks.build, architecture, shape)
        scores: list[float | None] = []
        first: torch.nn.Module | None = None
        for seed in seeds:
            network, score, again = self._trained_or_kept(architecture.key, build, seed)
            scores.append(None if score is None else score.score)
            if score is None:
                self._progress(f"{what}, seed {seed}: diverged: {self.reason}")
                continue
            self.seconds += score.seconds
            first = first or network
            told = "finished before" if again else f"in {score.seconds:.0f} s"
            self._progress(f"{what}, seed {seed}: {score.score:.2f} % {told}")
        summary = Trained(
            architecture=architecture.key, what=what, scores=tuple(scores),
            params=float(costs["params"][0]), flops=float(costs["flops"][0]),
        )  # fmt: skip
        return summary, first

    def _trained_or_kept(
        self, key: str, build: Callable[[], torch.nn.Module], seed: int
    ) -> tuple[torch.nn.Module, Score | None, bool]:
        """The network, how it ended, None where it diverged, and whether it was finished before."""
        kept = self.finished.find(key, seed)
        if kept is not None:
            network = build()
            network.load_state_dict(kept[1])
            return network, kept[0], True
        start = time.monotonic()
        trained = self._once(build, seed)
        if trained.score is None:
            self.reason = trained.reason
            return trained.network, None, False
        score = Score(trained.score, time.monotonic() - start)
        self.finished.keep(key, seed, score, trained.network.state_dict())
        return trained.network, score, False

    def _once(self, build: Callable[[], torch.nn.Module], seed: int) -> TrainedNetwork:
        from vitruvius.generator.evaluation.engine import train_networks
        from vitruvius.generator.evaluation.memory import in_memory

        done = in_memory(lambda pieces: train_networks([build], self._images, self._recipe, seed, pieces)[0])
        if done is None:
            raise UserError(
                f"Memory of {self.label} does not suffice for batches of {self._recipe.batch}, in halves "
                "neither: give a recipe file with a smaller batch or width."
            )
        return done[0]


def _recipe(recipe: Recipe | str, space: str) -> tuple[Recipe, str]:
    """The recipe and its name; "full" is the longest that ships for the space.

    Raises:
        UserError: None ships for the space.
    """
    if isinstance(recipe, Recipe):
        return recipe, f"recipe {recipe.digest}"
    if recipe == FULL:
        own = [(load_recipe(name).epochs, name) for name in recipe_names() if name.startswith(f"{space}-")]
        if not own:
            raise UserError(
                f"No full recipe for {space} comes with us: name one of {', '.join(recipe_names())}, or a "
                "TOML file."
            )
        recipe = max(own)[1]
    return load_recipe(recipe), recipe


def _rival(card: Card, against: str | None, tell: Callable[[str], None]) -> Rival | None:
    """What to compare with: what was given, else that of the card; None where it is the same architecture."""
    parse = get_space(card.space).parse
    rival = Rival(key=parse(against).key, what="the given architecture") if against else card.rival
    if rival is not None and parse(rival.key).id == parse(card.architecture).id:
        tell(f"{rival.what} is the same architecture: there is nothing to compare")
        return None
    return rival


def _on_data(card: Card, dataset: Source | None, split: Split | None) -> Card:
    """The card with what is trained on: facts of the run's data are not those of another data set."""
    facts: dict[str, Any] = {}
    if isinstance(dataset, str):
        named = absolute(dataset) if is_path(dataset) else dataset
        if named != card.dataset:
            facts = {"dataset": named, "data_classes": None, "image_size": None, "split": SPLIT}
    return card.model_copy(update=facts | ({} if split is None else {"split": as_split(split)}))


def _images(card: Card, dataset: Source | None, tell: Callable[[str], None]) -> tuple[Images, str]:
    """What to train and to judge on, and what the scores are then called.

    Args:
        card: With what it is to be trained on.
        dataset: Where that has no name, its images.
        tell: Hears it where there are no images that the search did not see.

    Raises:
        UserError: No data set was said, and the card knows none.
    """
    from vitruvius.generator.evaluation.revealed import reveal_images

    source = card.dataset if dataset is None or isinstance(dataset, str) else dataset
    if isinstance(source, str) and not source:
        raise UserError(
            "The run did not train, so there is no data set to train on: name one, as `--dataset cifar10` or "
            "the path of your images."
        )
    kept = {"classes": card.data_classes, "image_size": card.image_size} if isinstance(source, str) else {}
    final = reveal_images(source, card.split, **kept)
    if final is not None:
        name = source_name(source) if isinstance(source, str) else final.name
        return replace(final, name=name), TEST
    tell(f"the split {card.split} sets no image aside: judged on the validation part, which the search saw")
    return load_images(source, None, card.split, **kept), VALIDATION
