"""The options of `vitruvius run`, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Argument(help="Settings file (TOML); everything has a default.")]
Folder = Annotated[Path | None, typer.Option("--run", help="Run folder; by default one under runs/.")]
Task = Annotated[str | None, typer.Option(help="What is searched: SPACE/DATASET, or mine.toml/DATASET.")]
Evaluations = Annotated[int | None, typer.Option(help="Budget: evaluations of the target.")]
Reasoner = Annotated[
    str | None,
    typer.Option(help="statistics, none, openai:MODEL, vllm:PATH-OR-NAME, both:openai:MODEL, FILE.py:NAME."),
]
Proposer = Annotated[str | None, typer.Option(help="auto, vllm, vllm-server, transformers, ngram, uniform.")]
ProposerUrl = Annotated[str | None, typer.Option(help="Address of the server, for vllm-server.")]
Seed = Annotated[int | None, typer.Option(help="All randomness comes from here.")]
Table = Annotated[str | None, typer.Option(help="Benchmark table: Parquet file or folder.")]
Evaluator = Annotated[
    str | None,
    typer.Option(help="table (look up), train, ray (on a cluster), zero-cost (untrained), function (yours)."),
]
Function = Annotated[
    str | None,
    typer.Option(
        help="What function calls with each architecture: FILE.py:NAME, MODULE:NAME. Larger is better; with "
        "--set maximize=false, smaller."
    ),
]
Costs = Annotated[
    str | None,
    typer.Option(help="A function, likewise, that tells params, flops, latency without measuring."),
]
Workers = Annotated[int | None, typer.Option(help="Candidates that are trained side by side.")]
Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: host:6379, auto; without it one on this machine.")
]
Gpus = Annotated[float | None, typer.Option(help="Share of a GPU for each worker of the cluster, as 0.25.")]
Score = Annotated[str | None, typer.Option(help="What zero-cost measures: nwot, synflow, zen, ...")]
Latency = Annotated[int | None, typer.Option(help="Also time passes of so many images on this device.")]
LatencyFile = Annotated[
    list[str] | None,
    typer.Option(help="DEVICE=FILE: from a few timed architectures, predict latency[DEVICE]; repeat it."),
]
Asynchronous = Annotated[
    bool | None,
    typer.Option("--asynchronous", help="Draw whenever a worker is free; batches wait for their slowest."),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="What `--evaluator train` trains on: digits, mnist, cifar10, cifar100, a path, ..."),
]
Recipe = Annotated[str | None, typer.Option(help="How it trains: fast, nasbench201-12, ..., or a TOML file.")]
Device = Annotated[str | None, typer.Option(help="Where it trains: auto, cpu, cuda, cuda:N.")]
Halving = Annotated[
    int | None, typer.Option(help="Search with short training, then train the best longer: 3 is usual.")
]
Hyperband = Annotated[
    bool | None,
    typer.Option("--hyperband", help="With --halving: then some uniform draws begin with longer training."),
]
Where = Annotated[str | None, typer.Option(help='Constraint: "params < 1.0M and latency[pixel3] < 12ms".')]
Objectives = Annotated[
    str | None, typer.Option(help="Costs to be small beside a good score, with commas: latency[pixel3].")
]
Source = Annotated[
    list[str] | None, typer.Option(help="Source task; repeat it. `auto` or `none` as the only one.")
]
Templates = Annotated[str | None, typer.Option(help="Folder with prompt templates of your own.")]
Ledger = Annotated[str | None, typer.Option(help="SQLAlchemy URL of a shared ledger: sqlite:///path.db.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any other setting: NAME=VALUE; repeat it.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only the summary at the end.")]
