"""The tables of `docs/benchmarks/generator.md`, from a record: `python benchmarks/_tables.py RECORD.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SHARES = {
    "strict": "strictly valid",
    "valid": "valid, pruned",
    "unique": "unique ids",
    "unique_keys": "unique texts",
    "novel": "novel ids",
    "valid_unique": "valid, unique per draw",
    "coverage": "coverage",
    "operations_distance": "operations",
    "edges_distance": "edges",
}
"""Figures of draws and their headings; shares, shown in percent."""
NOVELTIES = {
    "novel": "ids (ours)",
    "novel_keys": "texts (DiffusionNAG)",
    "novel_repeats": "draws (D-VAE, SVGe)",
}
"""The three ways to count what is new."""
Figures = Mapping[str, Any]


def tables(results: Figures) -> Iterator[str]:
    """Lines of Markdown: VQ-VAE, priors for each share of ids, ways to count, temperatures, little data."""
    yield from _table(
        ["trained on", "exact", "of", "perplexity", "used", "NMI", "told", "seconds"],
        [_codec(fraction, figures) for fraction, figures in results["codec"].items()],
    )
    for fraction in results["priors"]:
        yield from ("", f"Trained on {float(fraction):.0%} of the ids:", "")
        yield from _table(["", *SHARES.values(), "nats", "training, s"], list(_priors(results, fraction)))
    if results["priors"]:
        yield from _novelty_and_temperature(results)
    yield from ("", "Little data:", "")
    yield from _table(
        ["architectures", "prior", "nats of others", "strictly valid", "novel ids", "effort", "training, s"],
        [_little(size, *each) for size, kinds in results["little"].items() for each in _each(kinds)],
    )


def _novelty_and_temperature(results: Figures) -> Iterator[str]:
    """At the smallest share of ids that priors were trained on."""
    lowest = min(results["priors"], key=float)
    rows = [(f"{prior}, {kind}", figures) for kind, prior, figures in _each(results["priors"][lowest])]
    rows.append(("*perfect sampler*", results["ceilings"][lowest]))
    yield from ("", "The same draws, three ways to count novelty:", "")
    yield from _table(["", *NOVELTIES.values()], [[n, *_shares(f, NOVELTIES)] for n, f in rows])
    yield from ("", f"Temperature: transformer on codes, {float(lowest):.0%} of the ids:", "")
    curve = results["temperatures"].items()
    yield from _table(["temperature", *SHARES.values()], [[t, *_shares(f, SHARES)] for t, f in curve])


def _codec(fraction: str, figures: Figures) -> list[str]:
    of = f"{figures['architectures'][0]:,.0f} {'all' if float(fraction) == 1 else 'held-out'}"
    numbers = [("perplexity", 1), ("used", 0), ("relabelling", 3), ("told", 3), ("seconds", 0)]
    exact = share(figures["exact"], 3)
    return [f"{float(fraction):.0%}", exact, of, *(number(figures[name], digits) for name, digits in numbers)]


def _priors(results: Figures, fraction: str) -> Iterator[list[str]]:
    for kind, prior, figures in _each(results["priors"][fraction]):
        effort = [number(figures["nats"], 2), number(figures["training_seconds"], 0)]
        yield [f"{prior}, {kind}", *_shares(figures, SHARES), *effort]
    if fraction == min(results["priors"], key=float):
        for name, figures in results["continuous"].items():
            yield [f"{name}, continuous", *_shares(figures, SHARES), "-", "-"]
    ideal = str(results.get("ideal_nats", "-"))
    yield ["*perfect sampler*", *_shares(results["ceilings"][fraction], SHARES), ideal, "-"]


def _little(size: str, kind: str, prior: str, figures: Figures) -> list[str]:
    shares = [share(figures["strict"]), share(figures["novel"])]
    effort = [number(figures["effort"], 0), number(figures["training_seconds"], 0)]
    return [size, f"{prior}, {kind}", number(figures["nats"], 2), *shares, *effort]


def _each(kinds: Figures) -> Iterator[tuple[str, str, Figures]]:
    """Representation, prior, figures."""
    for kind, priors in kinds.items():
        for prior, figures in priors.items():
            yield kind, prior, figures


def _shares(figures: Figures, names: Mapping[str, str]) -> list[str]:
    return [share(figures.get(name)) for name in names]


def share(interval: Sequence[float | None] | None, digits: int = 2) -> str:
    """A share in percent with the half width of its interval: `73.86 ± 0.21`."""
    return _cell(interval, digits, 100.0)


def number(interval: Sequence[float | None] | None, digits: int) -> str:
    """A number with the half width of its interval."""
    return _cell(interval, digits, 1.0)


def _cell(interval: Sequence[float | None] | None, digits: int, scale: float) -> str:
    if interval is None:
        return "-"
    mean, low, high = interval
    assert mean is not None, "every interval has a mean"
    text = f"{scale * mean:.{digits}f}"
    if low is None or high is None:
        return f"{text} (one seed)"
    half = scale * max(mean - low, high - mean)
    return f"{text} ± {half:.{digits}f}" if half >= 0.5 * 10**-digits else text


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["results"])))
