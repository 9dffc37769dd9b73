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
from typing import TYPE_CHECKING

import numpy as np

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.images import SPLIT, Images, Source, load_images
from vitruvius.generator.evaluation.recipe import Recipe, load_recipe, recipe_names
from vitruvius.generator.evaluation.sources import source_name
from vitruvius.generator.export import export_card, read_card
from vitruvius.generator.export.card import Card, Retraining, Rival, Trained
from vitruvius.generator.export.finished import Finished, Score
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
    progress: Callable[[str], None] | None = None,
) -> Retraining:
    """Train an exported architecture and its rival, and put weights and results into the folder.

    The networks are as large as the recipe says. They are trained on what the search trained and validated
    on, and judged on what it never saw: the data set's own test part, else the images that were set aside.
    Where there are none they are judged on the validation part, and the card says so.

    Args:
        folder: A folder that `export_card` wrote.
        dataset: What to train on, as for `Train`; None takes that of the run.
        recipe: "full" for that of the space's benchmark, another recipe's name, a TOML file, or a recipe.
        seeds: So many seeds from 0, or the seeds.
        against: Key of the architecture to compare with; None takes that of the card.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: Is told what happened, a line for each network.

    Returns:
        What came out. The weights in the folder are those of the first seed.

    Raises:
        UserError: Networks of this space do not read images, no data set is known, the recipe does not exist,
            or memory does not suffice.
        VitruviusError: A training run diverged, or the new files do not pass their check.
    """
    card = read_card(folder)
    space = get_space(card.space)
    check_networks(space)
    tell = progress or (lambda line: None)
    used, name = _recipe(recipe, card.space)
    rival = Rival(key=space.parse(against).key, what="the given architecture") if against else card.rival
    if rival is not None and space.parse(rival.key).id == space.parse(card.architecture).id:
        tell(f"{rival.what} is the same architecture: there is nothing to compare")
        rival = None
    images, part = _images(card, dataset)
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not numbers:
        raise UserError(f"seeds={seeds} is not allowed: at least one network must be trained.")
    runs = _Runs(folder, images, part, used, device, tell)
    winner, first = runs.train(space.parse(card.architecture), "the winner", numbers)
    other = runs.train(space.parse(rival.key), rival.what, numbers)[0] if rival is not None else None
    retraining = Retraining(
        recipe=name, fidelity=used.fidelity, data=images.name, part=part, seeds=numbers, device=runs.label,
        seconds=runs.seconds, winner=winner, rival=other,
        mean=runs.mean, deviation=runs.deviation,
    )  # fmt: skip
    source = dataset if isinstance(dataset, str) else card.dataset
    changed = {"shape": runs.shape, "retraining": retraining, "rival": rival, "dataset": source}
    export_card(card.model_copy(update=changed), folder, first.float().cpu())
    runs.finished.clear()
    return retraining


class _Runs:
    """Trains architectures one by one on the same images with the same recipe.

    Attributes:
        seconds: How long all training took, that before an interruption too.
        finished: What is not trained again.
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
        from vitruvius.generator.evaluation.latency import find_device

        where = find_device(device)
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
        self._recipe, self._progress, self.seconds = recipe, progress, 0.0
        channels, height, width = images.size
        self.shape = Shape(images.classes, channels, height, width, recipe.width, recipe.cells, recipe.extras)

    def train(
        self, architecture: Architecture, what: str, seeds: Sequence[int]
    ) -> tuple[Trained, torch.nn.Module]:
        """Train with each seed what is not finished; the scores, and the network of the first seed.

        Raises:
            UserError: Memory does not suffice.
            VitruviusError: A training run diverged.
        """
        networks = family(architecture.space)
        shape = networks.complete(self.shape)
        costs = networks.costs(architecture.space, architecture.row, shape)
        build = partial(networks.build, architecture, shape)
        scores: list[float] = []
        first: torch.nn.Module | None = None
        for seed in seeds:
            network, score, again = self._trained_or_kept(architecture.key, what, build, seed)
            scores.append(score.score)
            self.seconds += score.seconds
            first = first or network
            told = "finished before" if again else f"in {score.seconds:.0f} s"
            self._progress(f"{what}, seed {seed}: {score.score:.2f} % {told}")
        summary = Trained(
            architecture=architecture.key, what=what, scores=tuple(scores),
            params=float(costs["params"][0]), flops=float(costs["flops"][0]),
        )  # fmt: skip
        assert first is not None  # `retrain` asks for one seed at least
        return summary, first

    def _trained_or_kept(
        self, key: str, what: str, build: Callable[[], torch.nn.Module], seed: int
    ) -> tuple[torch.nn.Module, Score, bool]:
        """The network, how it ended, and whether it was finished before."""
        kept = self.finished.find(key, seed)
        if kept is not None:
            network = build()
            network.load_state_dict(kept[1])
            return network, kept[0], True
        start = time.monotonic()
        trained = self._once(build, seed)
        if trained.score is None:
            raise VitruviusError(f"{what}, seed {seed}, diverged: {trained.reason}.")
        score = Score(trained.score, time.monotonic() - start)
        self.finished.keep(key, seed, score, trained.network.state_dict())
        return trained.network, score, False

    def _once(self, build: Callable[[], torch.nn.Module], seed: int) -> TrainedNetwork:
        import torch

        from vitruvius.generator.evaluation.engine import train_networks

        try:
            return train_networks([build], self._images, self._recipe, seed)[0]
        except (torch.OutOfMemoryError, MemoryError):
            raise UserError(
                f"Memory of {self.label} does not suffice for batches of {self._recipe.batch}: give a recipe "
                "file with a smaller batch or width."
            ) from None


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


def _images(card: Card, dataset: Source | None) -> tuple[Images, str]:
    """What to train and to judge on, and what the scores are then called.

    Raises:
        UserError: No data set was said, and the card knows none.
    """
    from vitruvius.generator.evaluation.revealed import reveal_images

    source = dataset if dataset is not None else card.dataset
    if isinstance(source, str) and not source:
        raise UserError(
            "The run did not train, so there is no data set to train on: name one, as `--dataset cifar10` or "
            "the path of your images."
        )
    kept = {"classes": card.data_classes, "image_size": card.image_size} if dataset is None else {}
    final = reveal_images(source, SPLIT, **kept)
    if final is not None:
        name = source_name(source) if isinstance(source, str) else final.name
        return replace(final, name=name), TEST
    return load_images(source, None, SPLIT, **kept), VALIDATION
