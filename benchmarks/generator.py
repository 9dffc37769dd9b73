r"""The generator against its controls, by the field's own figures.

    python benchmarks/generator.py --space nasbench201 --seeds 3 --work runs/generator

For each training seed and each share of the ids: the VQ-VAE, then priors on its codes and, as a control, the
same priors on the decisions themselves, without a VQ-VAE; continuous graph VAEs; and the priors again where
they see little data. Nothing that is drawn is rejected or repaired. The last line printed is one JSON object:
every figure is [mean, low, high] over training seeds (Student, 95 %), beside its ceiling. What each figure
is, `generator/quality.py` says. Results and models stay in the work folder; a second run goes on from there.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _by_score import Truth, scores_from_few
from _continuous import NAMES as CONTINUOUS
from _continuous import Continuous, supports
from _convex import LABELS
from _priors import NAMES as PRIORS
from _priors import Ngram, make_prior
from _record import print_record
from _summaries import summarise
from _trained import REPRESENTATIONS, Work, say

from vitruvius.errors import UserError
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.position_masks import PositionMasks
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.quality import Reference, generated, measure, reference_for
from vitruvius.generator.scoring import codec_figures
from vitruvius.generator.space import Choices, get_space
from vitruvius.generator.training import CodecSettings

JUDGED = 2000
"""Architectures at most whose likelihood is taken."""
VALIDATION = 0.2
"""Share of little data that says when to stop."""
Found = dict[str, Any]


class Benchmark:
    """One space: everything that is measured, from the work folder where it was measured before."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.space = options, get_space(options.space)
        codec, language = CodecSettings(), LanguageModelSettings()
        if options.quick:
            codec = replace(codec, steps=60, warm=20)
            language = replace(language, hidden=64, heads=2, layers=1, steps=20, large=10**9)
        self.work = Work(options.work, self.space, codec, language)
        self.reference = lru_cache(maxsize=3)(self._reference)

    def _reference(self, seed: int, fraction: float) -> Reference:
        return reference_for(self.space, self.work.split(seed, fraction)[0])

    def codec(self, seed: int, fraction: float) -> Found:
        """The VQ-VAE: reconstruction of what it never saw (of all where it saw all), and its codes."""

        def compute() -> Found:
            codec, metrics = self.work.codec("codes", seed, fraction)
            shared = codec_figures(codec, seed)
            return metrics | {name: shared[name] for name in ("relabelling", "told")}

        return self.work.once({"what": "codec", "seed": seed, "fraction": fraction}, compute)

    def prior(
        self, name: str, kind: str, seed: int, fraction: float, temperature: float = 1.0, masks: str = ""
    ) -> Found:
        """One prior on codes or decisions: figures of its draws, and nats of what it was not trained on."""
        what: Found = {"what": "prior", "prior": name, "kind": kind, "seed": seed, "fraction": fraction}
        what |= {"masks": masks, "temperature": temperature} | self._effort(name)

        def compute() -> Found:
            say(f"{name} on {kind}, seed {seed}, {fraction:.0%} of the ids, temperature {temperature}")
            rows, rest = self.work.split(seed, fraction)
            codec, _ = self.work.codec(kind, seed, fraction)
            checkpoint = self._checkpoint(name, codec, rows, seed)
            prior = make_prior(name, codec, checkpoint)
            guide = None
            if masks:
                guide = PositionMasks(codec.encode(rows), codec.codebook_size, pairs=masks == "pairs")
            request = Request(what["draws"], seed, temperature, guide=guide)
            found: Found = dict(measure(prior.draw, codec, request, self.reference(seed, fraction)))
            judged = self._some(rest if len(rest) else rows, JUDGED, seed)
            found["nats"] = float(prior.nats(codec.encode(judged)).mean())
            found["training_seconds"] = self.work.seconds(checkpoint)
            return found

        return self.work.once(what, compute)

    def continuous(self, name: str, seed: int, fraction: float) -> Found:
        """A continuous graph VAE: reconstruction and figures of its draws."""
        what = {"what": name, "seed": seed, "fraction": fraction, "draws": self.options.draws}
        if name == "cr-lso":
            what |= {"labels": LABELS, "labels of": self.options.labels_of}

        def compute() -> Found:
            say(f"{name}, seed {seed}, {fraction:.0%} of the ids")
            rows, rest = self.work.split(seed, fraction)
            steps, scores = self.options.continuous_steps, None
            if name == "cr-lso":
                scores = scores_from_few(Truth(Task(self.options.labels_of)), rows, seed)
            model = Continuous(name, self.space, rows, seed=seed, steps=steps, scores=scores)
            drawn = model.draw(self.options.draws, seed)
            found: Found = dict(self.reference(seed, fraction).figures(drawn, self.options.draws))
            found["valid_loose"] = model.loose(self.options.draws, seed)
            return found | {"exact": model.exact(self._some(rest if len(rest) else rows, 20_000, seed))}

        return self.work.once(what | {"steps": self.options.continuous_steps}, compute)

    def little(self, name: str, kind: str, seed: int, size: int) -> Found:
        """A prior that saw few architectures: 80 % to learn from, 20 % to choose the effort by.

        The VQ-VAE has seen the whole space: names are given, what is learned is which of them go together.
        """
        what: Found = {"what": "little", "prior": name, "kind": kind, "seed": seed, "size": size}
        what |= self._effort(name) | ({} if name == "smollm2" else {"steps": list(self.options.little_steps)})

        def compute() -> Found:
            say(f"{name} on {kind}, seed {seed}, {size} architectures")
            everything, _ = self.work.split(seed, 1.0)
            codec, _ = self.work.codec(kind, seed, 1.0)
            rows = self._some(everything, size, seed)
            reference = reference_for(self.space, rows)
            cut = round(VALIDATION * size)
            checkpoint, effort = self._best_effort(name, codec, rows[cut:], rows[:cut], seed)
            prior = (
                Ngram(codec, checkpoint, effort) if name == "ngram" else make_prior(name, codec, checkpoint)
            )
            found: Found = dict(measure(prior.draw, codec, Request(what["draws"], seed), reference))
            known = reference.trained_ids or frozenset()
            others = self._some(everything, 2 * JUDGED, seed + 1)
            fresh = others[[identity not in known for identity in self.space.ids(others)]][:JUDGED]
            found["nats"] = float(prior.nats(codec.encode(fresh)).mean())
            found |= {"effort": effort, "training_seconds": self.work.seconds(checkpoint)}
            return found

        return self.work.once(what, compute)

    def _best_effort(
        self, name: str, codec: Codec, rows: Choices, validation: Choices, seed: int
    ) -> tuple[Path, int]:
        """The checkpoint and the steps (of the n-gram: the order) with the fewest nats in validation."""
        codes = codec.encode(validation)
        if name == "ngram":
            corpus = self.work.transformer(codec, rows, seed, self.options.little_steps[0])
            nats = {order: Ngram(codec, corpus, order).nats(codes).mean() for order in (1, 2, 3, 4)}
            return corpus, min(nats, key=lambda order: float(nats[order]))
        tried: list[tuple[float, int, Path]] = []
        for steps in self.options.pretrained_steps if name == "smollm2" else self.options.little_steps:
            checkpoint = self._checkpoint(name, codec, rows, seed, steps)
            tried.append((float(make_prior(name, codec, checkpoint).nats(codes).mean()), steps, checkpoint))
            say(f"{name}: {steps} steps, {tried[-1][0]:.2f} nats on the validation rows")
        _, steps, checkpoint = min(tried)
        return checkpoint, steps

    def _checkpoint(
        self, name: str, codec: Codec, rows: Choices, seed: int, steps: int | None = None
    ) -> Path:
        if name == "smollm2":
            steps = steps or max(self.options.pretrained_steps)
            return self.work.smollm2(codec, rows, seed, steps, self.options.pretrained_batch)
        return self.work.transformer(codec, rows, seed, steps)

    def _effort(self, name: str) -> Found:
        """What figures depend on besides: draws, and how long a pretrained model is taught."""
        options = self.options
        if name != "smollm2":
            return {"draws": options.draws}
        steps, batch = list(options.pretrained_steps), options.pretrained_batch
        return {"draws": options.pretrained_draws, "steps": steps, "batch": batch}

    def _some(self, rows: Choices, count: int, seed: int) -> Choices:
        """At most so many of the rows, drawn without repeats."""
        return rows[np.random.default_rng([seed, 1]).permutation(len(rows))[:count]]


def run(bench: Benchmark) -> Found:
    """Everything that the options ask for, as intervals over seeds."""
    options, space, seeds = bench.options, bench.space, range(bench.options.seeds)
    lowest = min(options.prior_fraction, default=1.0)  # shows uniqueness and novelty at once
    results: Found = {"space": space.name, "generated": generated(space)}
    if space.count is not None:
        results["ideal_nats"] = round(math.log(space.count), 3)
    results["codec"] = {str(f): summarise([bench.codec(s, f) for s in seeds]) for f in options.train_fraction}
    results["ceilings"] = {
        str(f): summarise([dict(bench.reference(s, f).ceilings(options.draws)) for s in seeds])
        for f in options.prior_fraction
    }
    results["priors"] = {str(f): _priors(bench, f) for f in options.prior_fraction}
    results["continuous"] = {
        name: summarise([bench.continuous(name, s, lowest) for s in seeds])
        for name in options.continuous
        if supports(name, space)
    }
    results["temperatures"] = {
        str(t): summarise([bench.prior("transformer", "codes", s, lowest, t) for s in seeds])
        for t in options.temperatures
    }
    results["little"] = {str(size): _little(bench, size) for size in options.sizes}
    return results


def _priors(bench: Benchmark, fraction: float) -> Found:
    """All priors on all representations, and the transformer held to position masks."""
    options = bench.options
    found: Found = {
        kind: {
            name: summarise([bench.prior(name, kind, s, fraction) for s in _seeds(bench, name)])
            for name in options.priors
        }
        for kind in options.representations
    }
    if "transformer" in options.priors and "codes" in found:
        for masks in ("positions", "pairs"):
            masked = [
                bench.prior("transformer", "codes", s, fraction, masks=masks) for s in range(options.seeds)
            ]
            found["codes"][f"transformer, masked {masks}"] = summarise(masked)
    return found


def _little(bench: Benchmark, size: int) -> Found:
    """The priors that learn, after so few architectures; the pretrained one on codes only, for time."""
    options = bench.options
    return {
        kind: {
            name: summarise([bench.little(name, kind, s, size) for s in _seeds(bench, name)])
            for name in options.priors
            if name in ("ngram", "transformer") or (name == "smollm2" and kind == "codes")
        }
        for kind in options.representations
    }


def _seeds(bench: Benchmark, name: str) -> range:
    return range(bench.options.pretrained_seeds if name == "smollm2" else bench.options.seeds)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `--quick` makes everything small, to see that it runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    quick = "--quick" in (sys.argv if arguments is None else arguments)

    def numbers(kind: Any) -> Any:
        return lambda text: tuple(kind(part) for part in text.split(",") if part)

    def names(allowed: Sequence[str]) -> Any:
        def read(text: str) -> tuple[str, ...]:
            found = tuple(part for part in text.split(",") if part)
            if unknown := [name for name in found if name not in allowed]:
                raise argparse.ArgumentTypeError(f"unknown {unknown[0]!r}: allowed are {', '.join(allowed)}")
            return found

        return read

    add = parser.add_argument
    add("--space", required=True)
    add("--draws", type=int, default=500 if quick else 10_000)
    add("--seeds", type=int, default=1 if quick else 3, help="training seeds 0, 1, ...")
    add("--train-fraction", type=numbers(float), default=(1.0, 0.9, 0.5), help="shares of ids for the VQ-VAE")
    add("--prior-fraction", type=numbers(float), default=(1.0, 0.5), help="shares of ids for the priors")
    add("--priors", type=names(PRIORS), default=PRIORS[:-1])
    add("--representations", type=names(REPRESENTATIONS), default=REPRESENTATIONS)
    add("--continuous", type=names(CONTINUOUS), default=CONTINUOUS[:-1], help="cr-lso needs a table")
    add("--labels-of", default="nasbench201/cifar10", help=f"task that cr-lso gets {LABELS} scores of")
    add("--continuous-steps", type=int, default=20 if quick else 5000)
    add("--temperatures", type=numbers(float), default=(0.7,) if quick else (0.4, 0.6, 0.8, 1.0, 1.2, 1.4))
    add("--sizes", type=numbers(int), default=(100,) if quick else (100, 500, 5000), help="of little data")
    add("--little-steps", type=numbers(int), default=(5, 10) if quick else (10, 30, 100, 300))
    add("--pretrained-steps", type=numbers(int), default=(30, 60), help="of smollm2; on all data the most")
    add("--pretrained-batch", type=int, default=16)
    add("--pretrained-draws", type=int, default=1000, help="its shares of distinct ones compare with nothing")
    add("--pretrained-seeds", type=int, default=1, help="smollm2 takes minutes: on so many seeds only")
    add("--work", type=Path, default=Path("runs/generator"), help="results and models, to go on from")
    add("--quick", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    try:
        results = run(Benchmark(options))
    except UserError as error:
        sys.exit(f"error: {error}")
    settings = {name: value for name, value in vars(options).items() if name not in ("work", "seeds")}
    print_record("generator", range(options.seeds), settings, results)


if __name__ == "__main__":
    main()
