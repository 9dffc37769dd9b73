"""Where training happens: on this machine's device, on several of its GPUs, or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.train_settings import TrainSettings

if TYPE_CHECKING:
    from vitruvius.generator.evaluation.pool import Pool
    from vitruvius.generator.evaluation.ray_cluster import Ray


def on_cluster(
    dataset: str, settings: TrainSettings, recipe: Recipe, address: str | None, gpus: float | None
) -> Ray:
    """`Train` on a Ray cluster; each worker trains one pack.

    Args:
        dataset: As in `Train`.
        recipe: How one candidate is trained.
        settings: Everything else; `workers` is the most there may be.
        address: Of the cluster; None starts one on this machine.
        gpus: Share of a GPU for each worker; None is a whole one where there are some.

    Raises:
        UserError: A value that is not allowed.
    """
    from vitruvius.generator.evaluation.ray_cluster import Ray

    return Ray(
        _one(dataset, settings, recipe), address, workers=settings.workers, cpus=settings.threads, gpus=gpus,
        each=settings.pack,
    )  # fmt: skip


def on_gpus(train: Train, dataset: str, settings: TrainSettings) -> Train | Pool:
    """`Train` in a process for each GPU of this machine, or in `workers` that share them; as it is on one."""
    if settings.device not in ("auto", "cuda"):
        return train
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return train
    from vitruvius.generator.evaluation.pool import Pool

    workers = settings.workers or count
    return Pool(
        _one(dataset, settings, train.recipe),
        workers,
        gpus=count,
        threads=settings.threads,
        each=settings.pack,
    )


def _one(dataset: str, settings: TrainSettings, recipe: Recipe) -> Train:
    """What one worker does: one process that trains."""
    given: dict[str, Any] = {**settings.arguments(), "recipe": recipe, "workers": 1}
    return Train(dataset, **given)
