"""Part of `control.py`: the true rank of what is asked for by score, against uniform draws and a process.

Every method sees the same labelled architectures, makes the same number of draws and keeps the same number of
distinct new ones. True scores are looked up afterwards, for the figures alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from _continuous import Continuous
from _convex import LABELS, Steered, pseudo_scores
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from vitruvius.agents.posterior import Posterior, predict
from vitruvius.agents.selection import normal_scores
from vitruvius.generator.evaluation.revealed import true_scores
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.language_model import finetune
from vitruvius.generator.library import CodeModel
from vitruvius.generator.proposers.base import Proposer, Request
from vitruvius.generator.proposers.transformers import TransformersProposer
from vitruvius.knowledge.observations import midranks
from vitruvius.knowledge.steering import guide_towards

Scores = NDArray[np.float64]
Places = NDArray[np.intp]
"""Positions of architectures in the enumerated space."""

STEPS = 3000
"""Batches that CR-LSO's graph VAE learns from."""
FITTED = 400  # as in `predict`: measurements that the plain process learns its length scale from


class Truth:
    """A task's table: what only the judge sees, and the labels that are handed out.

    Attributes:
        rows: (N, D) the whole space.
        scores: (N,) what measuring each would return, larger is better.
        ranks: (N,) mid-rank quantile of each, 1 is best.
        classes: (N,) number of each one's id.
        posteriors: Predictions by number of labels and seed, once made.
        controls: Trained ways of CR-LSO, by name, number of labels and seed.
    """

    def __init__(self, task: Task) -> None:
        """Read the table."""
        self.task, self.space = task, task.space
        self.rows, scores = true_scores(task)
        self.scores = task.better(scores)
        self.ranks: Scores = midranks(self.scores, self.scores)
        self.classes = self.space.classes(self.rows)
        numbers = self.space.numbers(self.rows)
        self.posteriors: dict[tuple[int, int], Posterior] = {}
        self.controls: dict[tuple[str, int, int], Steered] = {}
        self._order = np.argsort(numbers)
        self._numbers = numbers[self._order]

    def labelled(self, count: int, seed: int) -> Places:
        """Positions of so many architectures with different ids, drawn uniformly."""
        first = np.unique(self.classes, return_index=True)[1]
        return np.random.default_rng([seed, count]).permutation(first)[:count]

    def places(self, rows: NDArray[np.int8]) -> Places:
        """Positions of normal rows."""
        return self._order[np.searchsorted(self._numbers, self.space.numbers(rows))]

    def new(self, places: Places, labelled: Places) -> Places:
        """Those with an id that is not labelled, the first of each id, in order."""
        places = places[~np.isin(self.classes[places], self.classes[labelled])]
        return places[np.sort(np.unique(self.classes[places], return_index=True)[1])]


@dataclass
class Trial:
    """One set of labels: all methods on it."""

    truth: Truth
    model: CodeModel
    proposer: Proposer
    labelled: Places
    draws: int
    seed: int
    folder: Path

    @cached_property
    def posterior(self) -> Posterior:
        """The product's Gaussian process, fitted to the labels; kept for the next share that is asked for."""
        truth, known = self.truth, self.labelled
        if (key := (len(known), self.seed)) not in truth.posteriors:
            found = predict(truth.space, truth.rows[known], truth.scores[known], truth.rows, seed=self.seed)
            truth.posteriors[key] = found
        return truth.posteriors[key]

    @cached_property
    def plain(self) -> Scores:
        """Predictions (N,) of a process on one-hot decisions: squared exponential, one length scale."""
        truth, known = self.truth, self.labelled
        columns = [np.eye(k)[truth.rows[:, d]] for d, k in enumerate(truth.space.cardinalities)]
        hot, targets = np.concatenate(columns, axis=1), normal_scores(truth.scores[known])
        few = np.random.default_rng(self.seed).permutation(len(known))[:FITTED]
        kernel = ConstantKernel(1.0) * RBF(2.0) + WhiteKernel(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length scale at its bound
            fitted = GaussianProcessRegressor(kernel, random_state=0).fit(hot[known][few], targets[few])
            whole = GaussianProcessRegressor(fitted.kernel_, optimizer=None)  # pyright: ignore[reportArgumentType]
            whole.fit(hot[known], targets)
            parts = [whole.predict(part) for part in np.array_split(hot, 1 + len(hot) // 2000)]
            return np.asarray(np.concatenate(parts), dtype=np.float64)

    def uniform(self) -> Places:
        """The control's draws: from what is not labelled, so that it wastes as few as the guide does."""
        truth, rng = self.truth, np.random.default_rng([self.seed, 7])
        left = np.flatnonzero(~np.isin(truth.classes, truth.classes[self.labelled]))
        return truth.new(rng.choice(left, size=self.draws), self.labelled)

    def guided(
        self, share: float, sharpness: float, proposer: Proposer | None, band: int | None = None
    ) -> Places:
        """What a proposer writes towards the best share."""
        wanted = self.posterior.wanted(share, sharpness)
        wanted[np.isin(self.truth.classes, self.truth.classes[self.labelled])] = 0.0
        guide = guide_towards(self.model.codec, self.truth.space, wanted)
        return self._drawn(
            proposer or self.proposer, Request(self.draws, self.seed, quantile=band, guide=guide)
        )

    def tuned(self, pseudo: bool) -> Proposer:
        """The code model fine-tuned on the tenths of the labels, or on those predicted for all."""
        truth, codec = self.truth, self.model.codec
        places = np.arange(len(truth.rows)) if pseudo else self.labelled
        scores = self.posterior.mean.copy() if pseudo else truth.scores[places]
        tenths = np.argsort(np.argsort(scores, kind="stable"), kind="stable") * 10 // len(scores)
        codes = codec.encode(truth.rows[places])
        out = self.folder / f"{truth.task.dataset}-{len(self.labelled)}-{self.seed}-{pseudo}"
        steps = 300 if pseudo else 100
        checkpoint = finetune(self.model.language_model, codes, tenths, out, seed=self.seed, steps=steps)
        return TransformersProposer(codec, checkpoint)

    def banded(self, proposer: Proposer) -> Places:
        """What a fine-tuned model writes when asked for the best tenth."""
        return self._drawn(proposer, Request(self.draws, self.seed, quantile=9))

    def convex(self, name: str) -> Places:
        """What CR-LSO draws uphill of its predicted score; kept once trained, for the next share."""
        truth, known, seed = self.truth, self.labelled, self.seed
        if (key := (name, len(known), seed)) not in truth.controls:
            scores = pseudo_scores(truth.space, truth.rows[known], truth.scores[known], truth.rows, seed)
            control = Continuous(name, truth.space, truth.rows, seed=seed, steps=STEPS, scores=scores)
            truth.controls[key] = Steered(control)
        rows = truth.controls[key].draw(truth.rows[known], truth.scores[known], self.draws, seed)
        return truth.new(truth.places(truth.space.normalise(rows[truth.space.valid(rows)])), known)

    def _drawn(self, proposer: Proposer, request: Request) -> Places:
        space = self.truth.space
        rows = self.model.codec.decode(proposer.draw(request).codes)
        return self.truth.new(self.truth.places(space.normalise(rows[space.valid(rows)])), self.labelled)

    def rank(self, places: Places, keep: int, by: Scores | None) -> float | None:
        """Mean true rank of the kept: the first, or the best by predictions; None where there are too few."""
        if len(places) < keep:
            return None
        order = np.arange(len(places)) if by is None else np.argsort(-by[places], kind="stable")
        return float(self.truth.ranks[places[order[:keep]]].mean())

    def run(self, share: float, sharpnesses: list[float], tuning: bool) -> dict[str, float | None]:
        """Mean true rank of what each method keeps."""
        keep = max(1, round(share * self.draws))
        control = self.uniform()
        mean = self.posterior.mean
        found: dict[str, float | None] = {
            "uniform": self.rank(control, keep, None),
            "uniform, plain process": self.rank(control, keep, self.plain),
            "uniform, our process": self.rank(control, keep, mean),
        }
        for sharpness in sharpnesses:
            places = self.guided(share, sharpness, None)
            found[f"guide {sharpness:g}"] = self.rank(places, keep, None)
            found[f"guide {sharpness:g}, our process"] = self.rank(places, keep, mean)
            found[f"guide {sharpness:g}, distinct new"] = float(len(places))
        methods: dict[str, Callable[[], Proposer]] = {
            "fine-tuned": lambda: self.tuned(False), "pseudo-labels": lambda: self.tuned(True),
        }  # fmt: skip
        for name, make in methods.items() if tuning else ():
            proposer = make()
            places = self.banded(proposer)
            found[name] = self.rank(places, keep, None)
            found[f"{name}, our process"] = self.rank(places, keep, mean)
            both = self.guided(share, sharpnesses[-1], proposer, band=9)
            found[f"{name} and guide {sharpnesses[-1]:g}"] = self.rank(both, keep, None)
        for name in ("cr-lso", "free") if tuning else ():
            places = self.convex(name)
            found[name] = self.rank(places, keep, None)
            found[f"{name}, our process"] = self.rank(places, keep, mean)
            found[f"{name}, distinct new"] = float(len(places))
        return found


def scores_from_few(truth: Truth, rows: NDArray[np.int8], seed: int) -> Scores:
    """What `LABELS` measurements say about rows (n, D), different architectures among them: (n,), 0 to 1."""
    places = truth.places(rows)
    first = np.unique(truth.classes[places], return_index=True)[1]
    few = np.random.default_rng([seed, LABELS]).permutation(first)[:LABELS]
    return pseudo_scores(truth.space, rows[few], truth.scores[places[few]], rows, seed)
