r"""One model for several spaces against one for each: a shared codebook, a shared language model.

    VITRUVIUS_TABLES=FOLDER python benchmarks/joint.py --seeds 3 --work runs/generator

Reconstruction of held-out ids, validity and uniqueness by space (the shared model held to the codes of that
space), and transfer: does what was measured in one space help in another with 50 labels? Models are
fine-tuned on tenths of the labels and asked for the best tenth; what counts is the mean true rank of the
first new architectures. The last line printed is one JSON object; figures are [mean, low, high] over training
seeds (Student, 95 %). Models stay in the work folder, which `generator.py` may share.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _by_score import Truth
from _record import print_record
from _summaries import summarise
from _trained import Work, say
from _union import UnionSpace

from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.language_model import finetune
from vitruvius.generator.position_masks import PositionMasks
from vitruvius.generator.proposers.base import Request
from vitruvius.generator.proposers.transformers import TransformersProposer
from vitruvius.generator.quality import reference_for
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.generator.training import CodecSettings

SPACES = ("nasbench101", "nasbench201", "nasbench-graph", "transnasbench101-micro")
PAIRS = (
    ("nasbench201/cifar10", "transnasbench101-micro/class_scene"),
    ("nasbench201/cifar10", "transnasbench101-micro/autoencoder"),
    ("transnasbench101-micro/class_scene", "nasbench201/cifar100"),
)
"""Source and target of each transfer."""
Found = dict[str, Any]


class Joint:
    """The shared model of one training seed, and the models that it is compared with."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options, self.seed = options, seed
        self.space = UnionSpace(SPACES)
        self.shared = self._work(self.space)
        self.single = {space.name: self._work(space) for space in self.space.members}
        self.rows = self.space.sample(options.corpus, np.random.default_rng([seed, 3]))

    def _work(self, space: SearchSpace) -> Work:
        codec, language = CodecSettings(), LanguageModelSettings()
        if self.options.quick:
            codec = CodecSettings(steps=60, warm=20)
            language = LanguageModelSettings(hidden=64, heads=2, layers=1, steps=20, large=10**9)
        return Work(self.options.work, space, codec, language)

    def reconstruction(self) -> Found:
        """Exact reconstruction of held-out ids, by space, from the shared codebook and from one for each."""
        codec, _ = self.shared.codec("codes", self.seed, 0.9)
        _, held = self.shared.split(self.seed, 0.9)
        back = codec.decode(codec.encode(held))
        good = self.space.valid(back)
        same = good.copy()
        same[good] = (self.space.normalise(back[good]) == held[good]).all(axis=1)
        return {
            space.name: {
                "shared": float(same[held[:, 0] == member].mean()),
                "single": self.single[space.name].codec("codes", self.seed, 0.9)[1]["exact"],
            }
            for member, space in enumerate(self.space.members)
        }

    def drawing(self) -> Found:
        """Strict validity and uniqueness by space, and of the shared model unguided."""
        codec, checkpoint = self._shared_model()
        proposer = TransformersProposer(codec, checkpoint)
        request = Request(self.options.draws, self.seed)
        free = self.space.strict(codec.decode(proposer.draw(request).codes))
        found: Found = {"unguided strict": float(free.mean())}
        for member, space in enumerate(self.space.members):
            request = Request(self.options.draws, self.seed, guide=self._only(codec, member))
            rows = codec.decode(proposer.draw(request).codes)
            here = rows[rows[:, 0] == member]
            reference = reference_for(space)
            single, own = self._single_model(space)
            alone = single.decode(
                TransformersProposer(single, own).draw(Request(self.options.draws, self.seed)).codes
            )
            found[space.name] = {
                "shared": _kept(reference.figures(self.space.lower(member, here), self.options.draws)),
                "single": _kept(reference.figures(alone, self.options.draws)),
                "ceiling": _kept(reference.ceilings(self.options.draws)),
            }
        return found

    def transfer(self, source: Truth, target: Truth) -> Found:
        """Mean true rank of what is written for the best tenth from few labels, with and without a source."""
        runs = [self._one_transfer(source, target, draw) for draw in range(self.options.label_draws)]
        return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}

    def _one_transfer(self, source: Truth, target: Truth, draw: int) -> Found:
        few = target.labelled(self.options.labels, 1000 * self.seed + draw)
        many = source.labelled(self.options.source_labels, 1000 * self.seed + draw)
        single, own = self._single_model(target.space)
        codec, checkpoint = self._shared_model()
        lifted = self._lift(target, few)
        both = np.concatenate([np.repeat(lifted, 4, axis=0), self._lift(source, many)])
        tenths = np.concatenate([np.repeat(_tenths(target, few), 4), _tenths(source, many)])
        say(f"{target.task.name} from {source.task.name}, labels {draw}")
        member = self._member(target.space)
        guide = self._only(codec, member)
        name = f"{source.task.name}-{target.task.name}-{self.seed}-{draw}".replace("/", "_")
        out = self.options.work / "transfer" / name

        def rank(codec: Codec, checkpoint: Path, rows: Choices, tenths: Any, guided: bool) -> float:
            tuned = finetune(checkpoint, codec.encode(rows), tenths, out, seed=draw, steps=100)
            request = Request(self.options.pool, draw, quantile=9, guide=guide if guided else None)
            found = codec.decode(TransformersProposer(codec, tuned).draw(request).codes)
            if guided:
                found = self.space.lower(member, found[self.space.valid(found) & (found[:, 0] == member)])
            found = target.space.normalise(found[target.space.valid(found)])
            new = target.new(target.places(found), few)[: self.options.keep]
            return float(target.ranks[new].mean())

        return {
            "single, target labels": rank(single, own, target.rows[few], _tenths(target, few), False),
            "shared, target labels": rank(codec, checkpoint, lifted, _tenths(target, few), True),
            "shared, with the source": rank(codec, checkpoint, both, tenths, True),
        }

    def _only(self, codec: Codec, member: int) -> PositionMasks:
        """Holds each position, above all the first, to codes that architectures of one space have there."""
        return PositionMasks(codec.encode(self.rows[self.rows[:, 0] == member]), codec.codebook_size)

    def _lift(self, truth: Truth, places: Any) -> Choices:
        return self.space.lift(self._member(truth.space), truth.rows[places])

    def _member(self, space: SearchSpace) -> int:
        return self.space.members.index(space)

    def _shared_model(self) -> tuple[Codec, Path]:
        codec, _ = self.shared.codec("codes", self.seed, 1.0)
        return codec, self.shared.transformer(codec, self.rows, self.seed)

    def _single_model(self, space: SearchSpace) -> tuple[Codec, Path]:
        work = self.single[space.name]
        codec, _ = work.codec("codes", self.seed, 1.0)
        return codec, work.transformer(codec, work.split(self.seed, 1.0)[0], self.seed)


def _tenths(truth: Truth, places: Any) -> Any:
    """The tenth of each label among the labels: (n,)."""
    scores = truth.scores[places]
    return np.argsort(np.argsort(scores, kind="stable"), kind="stable") * 10 // len(scores)


def _kept(figures: dict[str, float | None]) -> Found:
    return {name: figures[name] for name in ("strict", "unique", "coverage")}


def one_seed(options: argparse.Namespace, seed: int) -> Found:
    """Everything for one training seed."""
    joint = Joint(options, seed)
    tasks = sorted({name for pair in PAIRS for name in pair})
    truths = {name: Truth(Task(name)) for name in tasks}
    found: Found = {"reconstruction": joint.reconstruction(), "drawing": joint.drawing(), "transfer": {}}
    for source, target in PAIRS:
        ranks = joint.transfer(truths[source], truths[target])
        ranks["gain of the source"] = ranks["shared, with the source"] - ranks["shared, target labels"]
        ranks["gain over single"] = ranks["shared, with the source"] - ranks["single, target labels"]
        found["transfer"][f"{source} to {target}"] = ranks
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--seeds", type=int, default=3, help="training seeds 0, 1, ...")
    add("--draws", type=int, default=10_000, help="for validity")
    add("--corpus", type=int, default=600_000, help="architectures, all spaces alike, for the language model")
    add("--labels", type=int, default=50)
    add("--source-labels", type=int, default=500)
    add("--label-draws", type=int, default=5, help="sets of labels for each training seed")
    add("--pool", type=int, default=600, help="draws for the ranks")
    add("--keep", type=int, default=100, help="new architectures whose ranks count")
    add("--work", type=Path, default=Path("runs/generator"), help="models, to go on from")
    add("--quick", action="store_true", help="tiny models, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    what = {name: value for name, value in vars(options).items() if name not in ("work", "seeds")}
    work = Work(options.work, UnionSpace(SPACES), CodecSettings(), LanguageModelSettings())
    runs = [
        work.once({"what": "joint", "seed": seed, **what}, lambda seed=seed: one_seed(options, seed))
        for seed in range(options.seeds)
    ]
    print_record("joint", range(options.seeds), what, summarise(runs))


if __name__ == "__main__":
    main()
