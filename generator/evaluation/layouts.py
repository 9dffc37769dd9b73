"""Where each benchmark keeps its numbers: files, columns and units, by space.

Only what a search may see stands here; columns with test metrics are named in `revealed` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.task import Metric
from vitruvius.generator.space import SearchSpace
from vitruvius.generator.spaces.described import LISTED, DescribedSpace


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set's numbers stand.

    Attributes:
        file: Name of the Parquet file.
        prefix: What the data set's columns begin with.
        metric: What the scores mean.
    """

    file: str
    prefix: str
    metric: Metric


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of one space.

    Attributes:
        sources: Data set -> where its numbers stand.
        text: Columns that together name the architecture.
        separator: What joins them to the space's text.
        score: Fidelity -> column suffix of the validation metric; the first is the default.
        params: Column suffix of the parameters, in millions.
        flops: Column suffix of the multiply-adds, in millions; None if there is none.
        latency: Column suffix of a latency in seconds, measured where the benchmark ran.
        latency_file: File beside the table with one column of milliseconds for each device.
        seconds: Fidelity -> column suffix of what one evaluation costs, in seconds, where that is known.
        index: Column of the benchmark's own numbering, where it has one.
    """

    sources: Mapping[str, Source]
    text: tuple[str, ...]
    score: Mapping[str, str]
    separator: str = ""
    params: str = "params"
    flops: str | None = None
    latency: str | None = None
    latency_file: str | None = None
    seconds: Mapping[str, str] = field(default_factory=dict[str, str])
    index: str | None = None


_ACCURACY = Metric("validation accuracy", "fraction")
_NODE_CLASSIFICATION = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")

NASBENCH201 = Layout(
    sources={
        name: Source("nasbench201.parquet", f"{name}_", Metric("validation accuracy", "%"))
        for name in ("cifar10", "cifar100", "imagenet16")
    },
    text=("arch_str",),
    score={"200 epochs": "valid", "12 epochs": "valid_12ep", "200 epochs, 1 seed": "valid_1seed"},
    params="params_m",
    flops="flops_m",
    latency="latency",
    latency_file="nasbench201_latency_ms.parquet",
    seconds={"200 epochs": "seconds", "200 epochs, 1 seed": "seconds"},
    index="index",
)

NASBENCH_GRAPH = Layout(
    sources={
        **{name: Source("nasbench_graph.parquet", f"{name}_", _ACCURACY) for name in _NODE_CLASSIFICATION},
        "proteins": Source("nasbench_graph_proteins.parquet", "", Metric("validation ROC-AUC", "")),
    },
    text=("link", "ops"),
    separator=":",
    score={"benchmark recipe": "valid"},
    latency="latency",
)

NASBENCH101 = Layout(
    sources={"cifar10": Source("nasbench101.parquet", "cifar10_", Metric("validation accuracy", "%"))},
    text=("arch",),
    score={
        "108 epochs": "valid",
        "36 epochs": "valid_36ep",
        "12 epochs": "valid_12ep",
        "4 epochs": "valid_4ep",
    },
    params="params_m",
    seconds={
        "108 epochs": "seconds",
        "36 epochs": "seconds_36ep",
        "12 epochs": "seconds_12ep",
        "4 epochs": "seconds_4ep",
    },
)

_TRANS_METRICS = {
    "class_scene": Metric("validation accuracy", "%"),
    "jigsaw": Metric("validation accuracy", "%"),
    "segmentsemantic": Metric("validation pixel accuracy", "%"),
    "autoencoder": Metric("validation SSIM", ""),
}
TRANSNASBENCH101_MICRO = Layout(
    sources={
        name: Source("transnasbench101_micro.parquet", f"{name}_", metric)
        for name, metric in _TRANS_METRICS.items()
    },
    text=("arch_str",),
    score={"benchmark recipe": "valid"},
)

_LAYOUTS: Mapping[str, Layout] = {
    "nasbench101": NASBENCH101,
    "nasbench201": NASBENCH201,
    "nasbench-graph": NASBENCH_GRAPH,
    "transnasbench101-micro": TRANSNASBENCH101_MICRO,
}


def layout_of(space: SearchSpace) -> Layout:
    """The layout of a space's tables.

    Raises:
        UserError: There is no benchmark table for this space, and it is none of the user's own.
    """
    if isinstance(space, DescribedSpace):
        return _own(space)
    if space.name not in _LAYOUTS:
        raise UserError(
            f"There is no benchmark table for the space {space.name!r}: tables exist for "
            f"{', '.join(_LAYOUTS)}; measure other spaces with Train, a function of yours, or ask/tell."
        )
    return _LAYOUTS[space.name]


def own_metrics(space: SearchSpace) -> dict[str, Metric]:
    """The tasks that the description of a space names, and what their scores mean; none without one."""
    if not isinstance(space, DescribedSpace):
        return {}
    tasks = space.given.tasks.items()
    return {name: Metric(one.metric, one.unit, one.maximize) for name, one in tasks}


def _own(space: DescribedSpace) -> Layout:
    """A column for each decision, and the same columns for each of its tasks as other tables have.

    Raises:
        UserError: The description names no tasks.
    """
    if not own_metrics(space):
        raise UserError(
            f"The description of {space.name!r} names no task, so a table has no scores of any: write for "
            'example [tasks.flowers] with metric = "validation accuracy" there.'
        )
    if space.size is None:
        raise UserError(
            f"The space {space.name!r} has {space.count:.3g} architectures, and tables are of spaces that "
            f"can be listed, of up to {LISTED:,}: measure it with a function of yours."
        )
    sources = {
        name: Source(f"{space.name}.parquet", f"{name}_", metric)
        for name, metric in own_metrics(space).items()
    }
    return Layout(
        sources,
        text=tuple(decision.name for decision in space.decisions),
        separator=",",
        score={"as given": "valid"},
        params="params_m",
        flops="flops_m",
        latency="latency",
        seconds={"as given": "seconds"},
    )


def table_spaces() -> list[str]:
    """Names of the spaces that have tables."""
    return list(_LAYOUTS)
