"""The evaluator that does not train: a zero-cost score of the untrained network is the measurement."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import UserError, unknown_name
from vitruvius.generator.evaluation.images import SPLIT, Images, Source, Split, load_images
from vitruvius.generator.evaluation.task import Measurement, Metric, Status
from vitruvius.generator.networks import build_network, check_networks, network_costs
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.space import Architecture, Choices, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor, nn

COSTS = ("params", "flops")
"""Scores that are counted by formula, in millions: the controls of all others."""

NAMES = ("nwot", "synflow", "jacov", "snip", "grad_norm", "zen", *COSTS)
"""The scores, as in `zero_cost.SCORES`; named here so that torch need not be loaded to list them."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What networks are built for, and on how many images they are looked at.

    Attributes:
        batch: Images, drawn once from the training part.
        width: Channels of the first stage; 0 takes the benchmark's number.
        cells: Cells in each stage; 0 takes the benchmark's number.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
    """

    batch: int = 64
    width: int = 0
    cells: int = 0
    device: str = "auto"


class ZeroCost:
    """Measures by a zero-cost score: `ZeroCost("nwot")` on digits, or on one's own images as `Train`.

    Example:
        ```python
        task = vt.Task("nasbench201", evaluator=vt.ZeroCost("synflow"))
        ```
    """

    name = "zero-cost"
    tabular = False

    def __init__(
        self,
        score: str = "nwot",
        dataset: Source = "digits",
        *,
        name: str | None = None,
        setup: Setup | None = None,
        split: Split = SPLIT,
        limit: int | None = None,
        classes: int | None = None,
        image_size: int | None = None,
    ) -> None:
        """Describe; nothing is read yet.

        Args:
            score: One of `NAMES`; larger counts as better.
            dataset: As in `Train`.
            name: Name for one's own data.
            setup: Size of the networks and of the batch; None is the benchmark's size and 64 images.
            split: As in `Train`; images are drawn from the training part.
            limit: As in `Train`.
            classes: As in `Train`.
            image_size: As in `Train`.

        Raises:
            UnknownNameError: No such score.
            UserError: A batch of less than 2 images.
        """
        if score not in NAMES:
            raise unknown_name("zero-cost score", score, NAMES)
        self.score, self.setup = score, setup or Setup()
        if self.setup.batch < 2:
            raise UserError(f"batch={self.setup.batch} is not allowed: scores compare images, at least 2.")
        self._source, self._name, self._split = dataset, name, split
        self._taken = {"limit": limit, "classes": classes, "image_size": image_size}

    @cached_property
    def images(self) -> Images:
        """The data, read and split when first needed."""
        return load_images(self._source, self._name, self._split, **self._taken)

    def datasets(self, space: SearchSpace) -> list[str]:
        """The one data set.

        Raises:
            UserError: The space has no networks.
        """
        check_networks(space)
        return [self.images.name]

    def open(self, space: SearchSpace, dataset: str) -> ZeroCostBench:
        """Set up for one space.

        Raises:
            UnknownNameError: Another data set than the one given.
            UserError: The space has no networks.
        """
        known = self.datasets(space)
        if dataset not in known:
            raise unknown_name("data set", dataset, known)
        return ZeroCostBench(space, self.images, self.score, self.setup)


class ZeroCostBench:
    """`ZeroCost` set up for one space; scores in this process, one network after the other."""

    devices: tuple[str, ...] = ()

    def __init__(self, space: SearchSpace, images: Images, score: str, setup: Setup) -> None:
        """Set up; torch is loaded with the first score."""
        self.space, self.images, self.score, self.setup = space, images, score, setup
        unit = "M" if score in ("params", "flops") else "score"
        self.metric = Metric(score, unit, True)
        facts = {"score": score, **asdict(setup), "device": None}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        self.evaluator = f"zero-cost:{digest}"
        self.fingerprint = images.fingerprint
        self.fidelity = f"untrained, {setup.batch} images"

    @cached_property
    def device(self) -> str:
        """Where networks are scored.

        Raises:
            UserError: It is not there.
        """
        from vitruvius.generator.evaluation.latency import find_device

        return find_device(self.setup.device)

    @cached_property
    def _batch(self) -> tuple[Tensor, Tensor]:
        """The images (n, C, H, W), standardised by channel over the training part, and labels (n,)."""
        import torch

        rng = np.random.default_rng(0)
        count = min(self.setup.batch, len(self.images.train_y))
        rows = rng.choice(len(self.images.train_y), size=count, replace=False)
        every = torch.from_numpy(self.images.train_x).float()
        mean, std = every.mean((0, 2, 3), keepdim=True), every.std((0, 2, 3), keepdim=True).clamp_min(1e-6)
        x = (every[rows] - mean) / std
        return x.to(self.device), torch.from_numpy(self.images.train_y[rows]).to(self.device)

    def build(self, architecture: Architecture, seed: int) -> nn.Module:
        """The untrained network, its weights drawn from the seed."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(
                architecture, classes=self.images.classes, in_channels=self.images.size[0],
                width=self.setup.width, cells=self.setup.cells,
            )  # fmt: skip
        return network.to(self.device)

    def scores(
        self, architecture: Architecture, names: Sequence[str] = NAMES, *, seed: int = 0
    ) -> dict[str, float]:
        """Several scores of one architecture, exactly as it is; not-a-number where one is not defined.

        Raises:
            UnknownNameError: No such score.
        """
        from vitruvius.generator.evaluation.zero_cost import score_network

        x, y = self._batch
        asked = [name for name in names if name not in COSTS]
        found = score_network(self.build(architecture, seed), x, y, asked, seed=seed) if asked else {}
        counted = self.costs(architecture.row)
        found |= {name: float(counted[name][0]) for name in names if name in COSTS}
        return {name: found[name] for name in names}

    def representative(self, architecture: Architecture) -> Architecture:
        """The architecture that the identity of the class spells out."""
        return self.space.parse(architecture.id)

    def costs(self, choices: Choices) -> Mapping[str, NDArray[np.float64]]:
        """Parameters and multiply-adds of the networks, in millions."""
        channels, height, width = self.images.size
        shape = Shape(self.images.classes, channels, height, width, self.setup.width, self.setup.cells)
        return network_costs(self.space, choices, shape)

    def measure(self, architectures: Sequence[Architecture], *, seed: int = 0) -> Iterator[Measurement]:
        """Score the representative of each architecture, yielding its measurement as it is done."""
        for architecture in architectures:
            yield self._measurement(self.representative(architecture), seed)

    def _measurement(self, cell: Architecture, seed: int) -> Measurement:
        start = time.monotonic()
        found = self.scores(cell, list(dict.fromkeys((self.score, "params", "flops"))), seed=seed)
        score = found[self.score]
        defined = bool(np.isfinite(score))
        reason = f"{self.score} is not defined: the network's output does not depend on its input."
        return Measurement(
            space=self.space.name, task=f"{self.space.name}/{self.images.name}", key=cell.key, id=cell.id,
            status=Status.OK if defined else Status.INVALID, score=score if defined else None,
            reason="" if defined else reason, seconds=time.monotonic() - start,
            params=found["params"], flops=found["flops"], seed=seed, fidelity=self.fidelity,
            evaluator=self.evaluator, fingerprint=self.fingerprint, device=self.device,
        )  # fmt: skip


__all__ = ["NAMES", "Setup", "ZeroCost", "ZeroCostBench"]
