"""The evaluator that trains: on known data sets or one's own images, in child processes with limits."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.around import Closes
from vitruvius.generator.evaluation.images import SPLIT, Images, Source, Split, as_split, load_images
from vitruvius.generator.evaluation.recipe import Recipe, load_recipe
from vitruvius.generator.evaluation.train_bench import Limits, TrainBench
from vitruvius.generator.evaluation.train_settings import TrainSettings
from vitruvius.generator.networks import check_networks
from vitruvius.generator.space import SearchSpace


class Train(Closes):
    """Measures by training: `Train("mnist")`, `Train(PATH)`, `Train((x, y))`, `Train(my_dataset)`.

    Every candidate is trained in a child process without keys in its environment. A crash, a time-out,
    too small memory or a diverging loss costs that one measurement; the process is started anew.

    Example:
        ```python
        task = vt.Task("nasbench201", evaluator=vt.Train((x, y), name="leaves"))
        ```
    """

    name = "train"
    tabular = False

    def __init__(
        self,
        dataset: Source = "digits",
        *,
        name: str | None = None,
        recipe: Recipe | str | None = None,
        device: str = "auto",
        time_limit: float = 300.0,
        memory: float | None = None,
        workers: int | None = None,
        threads: int = 1,
        pack: int = 1,
        graphs: bool = False,
        deterministic: bool = False,
        split: Split = SPLIT,
        limit: int | None = None,
        classes: int | None = None,
        image_size: int | None = None,
    ) -> None:
        """Describe; nothing is read or started yet.

        Args:
            dataset: "digits", "mnist", "cifar10" or "cifar100"; the path of CIFAR's or ImageNet16's official
                files, of a folder with one folder of images for each class, or of a Parquet file with images;
                "MODULE:NAME", a data set to import; a pair (x, y) with images (n, H, W) or (n, C, H, W) and
                whole-number labels (n,); or a torch data set that gives (image, label).
            name: Name for one's own data; otherwise that of the path, or "data-" and the start of its hash.
            recipe: How to train: a `Recipe`, the name of one (`recipe_names()`), or a TOML file; None is
                "fast", a small network for a few seconds, meant to tell cells apart.
            device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
            time_limit: Seconds that one candidate may take.
            memory: Gigabytes that a training process may take (torch itself takes about half of one), on a
                GPU of the card's memory; None sets no limit.
            workers: Processes that train at the same time; None is one for a GPU, or one for each core.
            threads: CPU threads of each process. Scores are reproducible for a given number.
            pack: Candidates that one process trains side by side.
            graphs: On a GPU, record a step of training once and replay it.
            deterministic: On a GPU, the same score for the same seed as far as torch has kernels for that, at
                some cost; on a CPU it holds anyway.
            split: Shares for training, validation and test. Scores are taken on the validation part, which
                is as large as the training part so that chance decides little; the test part is set aside
                and never handed to a training process. What the data set itself divides is kept.
            limit: Most images for training, and most for validation, as many of each class as of another.
            classes: Take only the first so many classes; 120 for NAS-Bench-201's part of ImageNet16.
            image_size: Height and width that image files, and images of Pillow's, are scaled to.

        Raises:
            UserError: A value that is not allowed.
        """
        self.limits = Limits(device, time_limit, memory, workers, threads, pack, graphs, deterministic)
        self._source, self._name, self._split = dataset, name, as_split(split)
        self._taken = {"limit": limit, "classes": classes, "image_size": image_size}
        _check(self.limits, self._taken, name)
        self.recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
        self._benches: dict[str, TrainBench] = {}
        self._read: list[Images] = []

    @property
    def images(self) -> Images:
        """The data, read and split when first needed, once for all recipes (`with_recipe`)."""
        if not self._read:
            self._read.append(load_images(self._source, self._name, self._split, **self._taken))
        return self._read[0]

    def datasets(self, space: SearchSpace) -> list[str]:
        """The one data set.

        Raises:
            UserError: The space has no networks to train.
        """
        check_networks(space)  # before the images are read, which takes its time
        return [self.images.name]

    def open(self, space: SearchSpace, dataset: str) -> TrainBench:
        """Set up for one space; the same bench, with its warm process, each time.

        Raises:
            UnknownNameError: Another data set than the one given.
            UserError: The space has no networks to train.
        """
        known = self.datasets(space)
        if dataset not in known:
            raise unknown_name("data set", dataset, known)
        if space.name not in self._benches:
            self.recipe.check_size(*self.images.size[1:])
            self._benches[space.name] = TrainBench(space, self.images, self.recipe, self.limits)
        return self._benches[space.name]

    def with_recipe(self, recipe: Recipe) -> Train:
        """The same data and limits with another recipe; it has processes of its own."""
        other = copy.copy(self)  # what is read of the data is shared
        other.recipe, other._benches = recipe, {}
        return other

    def placed(self, *, gpu: bool) -> Train:
        """The same where the device was left open and it is known of which kind it will be."""
        if self.limits.device != "auto":
            return self
        other = copy.copy(self)
        other.limits, other._benches = replace(self.limits, device="cuda" if gpu else "cpu"), {}
        return other

    def close(self) -> None:
        """End all training processes; measuring again starts new ones."""
        for bench in self._benches.values():
            bench.close()

    def __repr__(self) -> str:
        """Data set and recipe."""
        source = self._source if isinstance(self._source, str) else self._name or type(self._source).__name__
        return f"Train({source!r}, recipe={self.recipe.digest})"


def _check(limits: Limits, taken: dict[str, int | None], name: str | None) -> None:
    """Refuse what is not allowed.

    Raises:
        UserError: A value that is not allowed.
    """
    device = limits.device
    if device not in ("auto", "cpu", "cuda") and not device.removeprefix("cuda:").isdecimal():
        raise UserError(f"Unknown device {device!r}; allowed: 'auto', 'cpu', 'cuda', 'cuda:N'.")
    numbers: dict[str, Any] = {
        what: getattr(limits, what) for what in ("time_limit", "memory", "workers", "threads", "pack")
    } | taken
    plain = {what: x.item() if isinstance(x, np.generic) else x for what, x in numbers.items()}
    try:
        TrainSettings.model_validate(plain, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{first['loc'][0]}={first['input']!r} is not allowed: {first['msg']}.") from None
    if name is not None and (not name or "/" in name):
        raise UserError(f"The name {name!r} is not allowed: it must not be empty or hold '/'.")
