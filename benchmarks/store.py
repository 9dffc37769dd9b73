"""How long a search over many principles takes: `python benchmarks/store.py --principles 10000`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from vitruvius.knowledge import principle_rows
from vitruvius.knowledge.embedders import get_embedder
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import (
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
    principle_id,
)
from vitruvius.knowledge.store import Store

OPERATIONS = ("conv3x3", "conv1x1", "skip", "avgpool3x3", "none")
TASKS = ("nasbench201/cifar10", "nasbench201/cifar100", "any")
QUESTIONS = (
    "where do skip connections help?",
    "pooling lowers the score",
    "deep networks",
    "convolution after pooling",
)
FILTERS: dict[str, dict[str, object]] = {
    "none": {},
    "space": {"space": "nasbench201"},
    "status and support": {"status": "supported", "min_support": 5},
    "all": {"task": "nasbench201/cifar10", "status": "supported", "about": "skip", "min_support": 3},
}


def make(rng: np.random.Generator) -> Principle:
    """A random principle: two counts joined, some support, some status."""
    parts = [
        {
            "kind": "count",
            "operations": [str(operation)],
            "comparison": str(sign),
            "value": int(rng.integers(0, 7)),
        }
        for operation, sign in zip(
            rng.choice(OPERATIONS, 2, replace=False), rng.choice([">=", "<="], 2), strict=True
        )
    ]
    predicate = {
        "kind": "all",
        "parts": [*parts, {"kind": "depth", "comparison": ">=", "value": int(rng.integers(4))}],
    }
    proposal = Proposal(
        predicate_from_json(predicate).sentence(), predicate, "nasbench201", str(rng.choice(TASKS)),
        direction=int(rng.choice([-1, 1])),
    )  # fmt: skip
    supporting = tuple(f"id{n}" for n in range(rng.integers(10)))
    evidence = Evidence((TaskEvidence(TASKS[0], None, None, supporting),))
    kept = Principle(principle_id(proposal), proposal, Origin("random"), evidence=evidence)
    return dataclasses.replace(
        kept, status=PrincipleStatus(str(rng.choice(["proposed", "supported", "refuted"])))
    )


def fill(ledger: Ledger, n: int, rng: np.random.Generator) -> None:
    """Put n different principles into the ledger, in one transaction."""
    ledger.start_session("s", task=TASKS[0], seed=0, settings={}, labels=[("nasbench201", "cifar10")])
    principles: dict[str, Principle] = {}
    while len(principles) < n:
        each = make(rng)
        principles[each.id] = each
    with ledger._database.write() as connection:  # pyright: ignore[reportPrivateUsage]
        for each in principles.values():
            principle_rows.add(connection, each, "s")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that the work takes by the clock, and of the processor, which others that run do not add to."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Measure, and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--principles", type=int, default=10_000)
    parser.add_argument("--embedder", default="hashing")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    embedder = get_embedder(asked.embedder)
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
        fill(ledger, asked.principles, np.random.default_rng(asked.seed))
        start = time.perf_counter()
        with Store(ledger, Path(folder) / "chroma", embedder=embedder) as store:
            results["build_s"] = round(time.perf_counter() - start, 2)
            store.search("warm up")
            for name, filters in FILTERS.items():
                search = partial(store.search, **filters)  # type: ignore[arg-type]
                texts = [QUESTIONS[n % len(QUESTIONS)] for n in range(asked.repeats)]
                seconds = np.array([timed(partial(search, text)) for text in texts]) * 1000
                median, slow = np.quantile(seconds[:, 0], [0.5, 0.95])
                processor = float(np.median(seconds[:, 1]))
                told = {"median_ms": median, "p95_ms": slow, "processor_ms": processor}
                results[f"filter: {name}"] = {key: round(float(value), 1) for key, value in told.items()}
                print(f"{name:<20} " + "   ".join(f"{key} {value:6.1f}" for key, value in told.items()))
        start = time.perf_counter()
        Store(ledger, Path(folder) / "chroma", embedder=embedder).close()
        results["reopen_s"] = round(time.perf_counter() - start, 2)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    facts = {"benchmark": "store", "commit": commit.stdout.strip(), "device": platform.machine()}
    print(json.dumps(facts | {"seeds": [asked.seed], "settings": vars(asked), "results": results}))


if __name__ == "__main__":
    main()
