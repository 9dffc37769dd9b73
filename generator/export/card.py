"""What is known of an exported architecture: `card.md` for people, `card.json` for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import stdtrit

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.images import SPLIT, Split
from vitruvius.generator.files import as_argument
from vitruvius.generator.networks import family
from vitruvius.generator.networks.costs import Shape
from vitruvius.generator.networks.families.base import Family
from vitruvius.generator.space import Architecture, get_space

CARD, RECORD = "card.md", "card.json"
MOST_NAMES = 20
"""Classes that the text of a card lists; the record has all."""


class Rival(BaseModel):
    """What an architecture has to be better than."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    what: str
    """For example "the best of random search at 50 evaluations"."""


class Trained(BaseModel):
    """Scores of one architecture after training with several seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    """Its key."""
    what: str
    """What it is: "the winner", "best of random search"."""
    scores: tuple[float | None, ...]
    """One for each seed; None where training diverged."""
    params: float
    """Millions of parameters."""
    flops: float | None = None
    """Millions of multiply-adds for one image."""

    @property
    def summary(self) -> str:
        """Mean and 95 % interval of the mean over the seeds that have a score."""
        known = tuple(score for score in self.scores if score is not None)
        return with_interval(known) if known else "none"


class Retraining(BaseModel):
    """How the winner and its rival were trained anew, and what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    """Name or file of the recipe."""
    fidelity: str
    """For example "200 epochs"."""
    data: str
    """What it was trained on."""
    part: str
    """What the scores were taken on: "validation accuracy, %"."""
    seeds: tuple[int, ...]
    """Seeds, the same for both."""
    device: str
    """Where it was trained."""
    seconds: float
    """All of it together."""
    mean: tuple[float, ...] = ()
    """Of the images that were trained on, by channel: inputs are standardised with it."""
    deviation: tuple[float, ...] = ()
    """Standard deviation of the same."""
    winner: Trained
    """The exported architecture; the weights in the folder are those of the seed `kept`."""
    rival: Trained | None = None
    """What it was compared with, under the same recipe, data and seeds."""

    @property
    def kept(self) -> int:
        """The seed whose weights are in the folder: the first with which the winner did not diverge."""
        pairs = zip(self.seeds, self.winner.scores, strict=True)
        return next(seed for seed, score in pairs if score is not None)

    @property
    def diverged(self) -> tuple[str, ...]:
        """Which training runs have no score, a sentence for each network."""
        rows = [self.winner, *([self.rival] if self.rival else [])]
        lost = {
            row.what: [s for s, x in zip(self.seeds, row.scores, strict=True) if x is None] for row in rows
        }
        return tuple(
            f"{what} diverged with seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            for what, seeds in lost.items()
            if seeds
        )

    @property
    def verdict(self) -> str:
        """What the comparison says, in a sentence."""
        if self.rival is None:
            return "There was nothing to compare it with."
        pairs = zip(self.winner.scores, self.rival.scores, strict=True)
        differences = tuple(
            ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None
        )
        if not differences:
            return f"No comparison: there is no seed with which neither it nor {self.rival.what} diverged."
        mean, half = _interval(differences)
        told = f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}] points over {len(differences)} seeds"
        if len(differences) < 2:
            return f"One seed cannot tell: {mean:+.2f} points against {self.rival.what}."
        if mean - half > 0:
            return f"Confirmed: better than {self.rival.what} by {told}."
        if mean + half < 0:
            return f"Not confirmed: worse than {self.rival.what} by {told}."
        return f"Cannot be told apart from {self.rival.what}: {told}."


class Card(BaseModel):
    """Everything that the card says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    architecture: str
    """The key."""
    shape: Shape
    """What the network is built for."""
    task: str = ""
    """Task of the run."""
    dataset: str = ""
    """What `retrain` trains on if nothing else is said: a name or path that `Train` knows."""
    data_classes: int | None = None
    """Take only so many of its classes."""
    image_size: int | None = None
    """Height and width that its image files are scaled to."""
    class_names: tuple[str, ...] = ()
    """What the outputs stand for, in order; nothing where that is not known."""
    inputs: str = ""
    """What images the network is given, for people; nothing where that is not known."""
    split: Split = SPLIT
    """Shares that the search trained on, validated on and set aside."""
    measured: tuple[str, ...] = ()
    """Lines: what the search measured."""
    measured_on: Shape | None = None
    """What the network that the search measured was built for; None where that is not known."""
    principles: tuple[str, ...] = ()
    """Sentences of supported principles that it agrees with."""
    rival: Rival | None = None
    """What `retrain` compares it with."""
    trained: bool = False
    """Whether weights are in the folder."""
    retraining: Retraining | None = None
    difference: float = 0.0
    """Largest difference between the outputs of the files and of our network."""
    onnx_difference: float | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What goes into `model.onnx` beside the network: texts, those that are lists in JSON."""
        known = {"architecture": self.architecture, "space": self.space, "inputs": self.inputs}
        lists: dict[str, tuple[object, ...]] = {"classes": self.class_names}
        if self.retraining is not None:
            lists |= {"mean": self.retraining.mean, "deviation": self.retraining.deviation}
        known |= {name: json.dumps(values) for name, values in lists.items() if values}
        return {name: text for name, text in known.items() if text}

    def write(self, folder: Path) -> None:
        """Write `card.md` and `card.json`."""
        (folder / CARD).write_text(self.text(), encoding="utf-8")
        (folder / RECORD).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def text(self) -> str:
        """The text of `card.md`."""
        architecture = get_space(self.space).parse(self.architecture)
        networks = family(architecture.space)
        parts = [
            _title(networks, architecture, self),
            _section("What was measured", _measured(self, networks), "nothing was measured of it in the run"),
            _section("Principles it agrees with", self.principles, "none that the run supported"),
            *([_retrained(self.retraining)] if self.retraining else []),
            _use(self, networks),
        ]
        return "\n\n".join(parts) + "\n"


def read_card(folder: Path) -> Card:
    """The record of an export.

    Raises:
        UserError: The folder is no export, or its record was damaged.
    """
    path = folder / RECORD
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{_no_export(folder)} one that `vitruvius export RUN` wrote, RUN/winner.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{path} cannot be read ({told}): export the architecture again.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): export the architecture again.") from None


def _no_export(folder: Path) -> str:
    """What was given where a folder with a record was needed."""
    if folder.is_dir():
        return f"{folder} is no export, for it has no {RECORD}: give"
    if folder.exists():
        return f"{folder} is a file, and a folder is needed: give"
    return f"There is no folder {folder}: give"


def with_interval(scores: tuple[float, ...]) -> str:
    """Mean of scores over seeds and the 95 % interval of the mean, "93.72 +- 0.31"."""
    mean, half = _interval(scores)
    return f"{mean:.2f}" if len(scores) < 2 else f"{mean:.2f} +- {half:.2f}"


def _interval(values: tuple[float, ...]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; infinite for one value."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, math.inf
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return mean, float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)


def _section(title: str, lines: tuple[str, ...], empty: str) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines or (empty,))])


def _title(networks: Family, architecture: Architecture, card: Card) -> str:
    """Name, drawing, and what the network is."""
    space, shape = architecture.space, card.shape
    costs = networks.costs(space, architecture.row, shape)
    flops = f", {costs['flops'][0]:.3f} M multiply-adds for one image" if "flops" in costs else ""
    lines = [
        space.description,
        *networks.facts(shape),
        f"{costs['params'][0]:.6f} M parameters{flops}",
        f"canonical identity: `{architecture.id}`",
        *([f"inputs: {card.inputs}"] if card.inputs else []),
        *([f"outputs, in order: {_few(card.class_names)}"] if card.class_names else []),
    ]
    told = "\n".join(f"- {line}" for line in lines)
    return (
        f"# {networks.title}: {architecture.key}\n\n```\n{space.draw(architecture)}\n```\n\n"
        f"## What it is\n\n{told}"
    )


def _few(names: tuple[str, ...]) -> str:
    """Names with commas, of many the first."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMES])}, ... (all {len(names)} in `{RECORD}`)"


def _measured(card: Card, networks: Family) -> tuple[str, ...]:
    """What the search measured; where that was on another network than the card's, it says so."""
    if card.measured_on is None or networks.complete(card.measured_on) == networks.complete(card.shape):
        return card.measured
    other = "; ".join(networks.facts(networks.complete(card.measured_on)))
    told = f"measured on another network than this one: {other}"
    return (*card.measured[:1], told, *card.measured[1:])


def _retrained(retraining: Retraining) -> str:
    """What training it anew brought."""
    rows = [retraining.winner, *([retraining.rival] if retraining.rival else [])]
    table = [
        f"| | {retraining.part} | M parameters | M multiply-adds | each seed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        each = ", ".join("diverged" if score is None else f"{score:.2f}" for score in row.scores)
        flops = "" if row.flops is None else f"{row.flops:.2f}"
        table.append(f"| {row.what} | {row.summary} | {row.params:.4f} | {flops} | {each} |")
    lines = "\n".join(table)
    seeds = ", ".join(map(str, retraining.seeds))
    lost = "".join(f"- {line}\n" for line in retraining.diverged)
    return (
        f"## Trained again\n\n{lines}\n\n{retraining.verdict}\n\n{lost}"
        f"- recipe {retraining.recipe}, {retraining.fidelity}, on {retraining.data}, seeds {seeds}\n"
        f"- on {retraining.device}, {retraining.seconds:.0f} s in all\n"
        "- after +- stands half of the 95 % interval of the mean over seeds"
    )


def _use(card: Card, networks: Family) -> str:
    """How to load it, to train it, and how it was checked."""
    load = ["from model import Network", "", "network = Network()"]
    if card.trained:
        load[0:0] = ["from safetensors.torch import load_file"]
        load.append('network.load_state_dict(load_file("model.safetensors"))')
        seed = f" (seed {card.retraining.kept} above)" if card.retraining else ""
        told = f"Trained weights are in `model.safetensors`{seed}."
    else:
        told = "**Untrained**: no weights are in this folder, `Network()` starts from random ones."
    load.append("network.eval()")
    if card.retraining is not None and card.retraining.mean:
        mean, deviation = (
            f"torch.tensor([{', '.join(f'{one:.6g}' for one in values)}]).view(-1, 1, 1)"
            for values in (card.retraining.mean, card.retraining.deviation)
        )
        load[0:0] = ["import torch"]
        load += [
            "# images (n, C, H, W) with pixels as the data set has them, standardised as in training",
            f"mean, deviation = {mean}, {deviation}",
            "logits = network((images - mean) / deviation)",
        ]
    lines = ["## How to use it", "", told, "", "```python", *load, "```", ""]
    if card.onnx_difference is not None:
        weights = "the trained weights" if card.trained else "random weights, to measure speed with"
        lines += [f"`model.onnx` holds {weights}; any number of inputs can be given at once.", ""]
    if networks.images:
        data = card.dataset or "PATH"
        lines += [
            "To train it, beside what it has to be better than:",
            "",
            "```console",
            f"$ vitruvius retrain FOLDER --dataset {as_argument(data)} --recipe full --seeds 3",
            "```",
            "",
        ]
    lines += [
        "The files were loaded in a process without Vitruvius and compared with the searched network on the",
        f"same weights. Largest difference, as a share of the largest output: {card.difference:.1e}"
        + (f", in ONNX Runtime {card.onnx_difference:.1e}." if card.onnx_difference is not None else "."),
    ]
    return "\n".join(lines)
