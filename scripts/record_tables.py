"""Keep the tables of pages true to the records beside them.

    .venv/bin/python scripts/record_tables.py --update    write them anew
    .venv/bin/python scripts/record_tables.py --check     do the pages show what was recorded? (in the tests)

A table stands below a mark that names its record, what of it, and for which part of a record of several:

    <!-- table: search.json against -->
    <!-- table: search_other.json regret transnasbench101-micro digits=4 -->
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGES = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
MARK = re.compile(r"(?P<mark><!-- table: (?P<words>[^>]+) -->\n)(?P<table>(?:\|.*\n)*)")
SIGNIFICANT = 0.05
NAMES = {
    "vitruvius": "**vitruvius**",
    "evolution": "regularised evolution",
    "local": "local search",
    "gp-hamming": "gp-hamming (sees the whole space)",
    "tpe": "TPE (Optuna)",
    "nas-bowl": "NAS-BOWL",
    "bananas": "BANANAS",
    "ag-net": "AG-Net",
    "nsga2": "NSGA-II (pymoo)",
    "motpe": "MO-TPE (Optuna)",
    "session": "**session**",
    "no-source": "session without a source",
    "lapt-model": "lapt-model (SmolLM2-135M)",
    "fine-tuned": "session, fine-tuned",
    "no-principles": "session without principles",
    "no-pruning": "session without pruning",
    "no-generator": "session without the generator",
    "no-surrogate": "session without the surrogate",
    "no-open-share": "session without the open share",
    "more-neighbours": "session with eight times as many neighbours",
    "no-neighbours": "session without neighbours",
    "no-neighbours-fine-tuned": "session without neighbours, fine-tuned",
}

Record = Mapping[str, Any]


def against(record: Record, *, digits: int = 2, scale: float = 1.0) -> list[list[str]]:
    """Paired differences to each method, and on how many tasks they are significant: better / worse."""
    methods: Record = record["results"]["against"]
    budgets = list(next(iter(methods.values()))["average"])
    rows = [["against", *budgets]]
    for name, found in methods.items():
        cells: list[str] = []
        for budget in budgets:
            told = [task[budget] for task in found["tasks"].values()]
            clear = [one[0] for one in told if one[3] < SIGNIFICANT]
            better, worse = sum(mean < 0 for mean in clear), sum(mean > 0 for mean in clear)
            average = interval(found["average"][budget], digits, scale, signed=True)
            cells.append(f"{average}, {better}/{worse}")
        rows.append([NAMES.get(name, name), *cells])
    return rows


def regret(record: Record, *, digits: int = 3, scale: float = 1.0) -> list[list[str]]:
    """Validation regret of each method on each task."""
    return _by_task(record, "valid_regret", digits, scale)


def test(record: Record, *, digits: int = 2, scale: float = 1.0) -> list[list[str]]:
    """Test metric of what was best by validation."""
    return _by_task(record, "test", digits, scale)


def average(record: Record, *, digits: int = 2, scale: float = 1.0) -> list[list[str]]:
    """Regret of each method with sources, mean over pairs of sources and target."""
    methods: Record = record["results"]["regret"]["average"]
    rows = [["after", *next(iter(methods.values()))]]
    for name, found in methods.items():
        cells = [interval(values, digits, scale) for values in found.values()]
        rows.append([NAMES.get(name, name), *cells])
    return rows


def pairs(record: Record, *, digits: int = 2, scale: float = 1.0) -> list[list[str]]:
    """Mean regret of a session with sources and of one without, for each pair of sources and target."""
    both = ("session", "no-source")
    told = {name: found for name, found in record["results"]["regret"].items() if name != "average"}
    rows = [["sources -> target", "method", *next(iter(told.values()))["session"]]]
    for name, found in told.items():
        for method in both:
            cells = [f"{values[0] * scale:.{digits}f}" for values in found[method].values()]
            rows.append([name, NAMES[method], *cells])
    return rows


def reach(record: Record) -> list[list[str]]:
    """How many evaluations more than one without a session with sources needs to get as far."""
    told: Record = record["results"]["evaluations to reach no-source"]
    budgets = list(next(iter(told.values())))
    cells = {
        name: ["not within" if found[one] is None else f"{found[one]:+d}" for one in budgets]
        for name, found in told.items()
    }
    return [["sources -> target", *budgets], *([name, *row] for name, row in cells.items())]


def shares(record: Record) -> list[list[str]]:
    """Where the evaluations of sessions came from: how many, and how many of these were the best so far."""
    methods: Record = record["results"]["shares"]
    names = list(dict.fromkeys(name for found in methods.values() for name in found))
    rows = [["method", *names]]
    for method, found in methods.items():
        cells = [" / ".join(f"{x:.1f}" for x in found[name]) if name in found else "-" for name in names]
        rows.append([NAMES.get(method, method), *cells])
    return rows


def figures(record: Record) -> list[list[str]]:
    """Named figures of each row of each task, as many digits as they need."""
    tasks: Record = record["results"]
    names = list(next(iter(next(iter(tasks.values())).values())))
    rows = [["task", "", *names]]
    for task, found in tasks.items():
        for row, told in found.items():
            cells = [interval(told[name], 2 if 0 < told[name][0] < 1 else 0, 1.0) for name in names]
            rows.append([task.split("/")[1], row, *cells])
    return rows


def hypervolume(record: Record, *, digits: int = 4) -> list[list[str]]:
    """Hypervolume at the last mark of each method, by task and device, and of everything in the table."""
    tasks = {name: found for name, found in record["results"].items() if "/" in name}
    devices = list(next(iter(tasks.values())))
    rows = [["task", "method", *devices]]
    for name, found in tasks.items():
        task = name.split("/")[1]
        methods = [one for one in found[devices[0]] if one != "attainable"]
        for method in methods:
            last = [list(found[device][method].values())[-1] for device in devices]
            cells = [interval(values, digits, 1.0) for values in last]
            rows.append([task, NAMES.get(method, method), *cells])
        best = [f"{found[device]['attainable']:.{digits}f}" for device in devices]
        rows.append([task, "everything in the table", *best])
    return rows


def differences(record: Record, *, digits: int = 4) -> list[list[str]]:
    """Hypervolume of a session minus that of each other method, seeds on which it is ahead, and Holm's p."""
    compared: Record = record["results"]["compared"]
    methods = list(dict.fromkeys(name.split()[-1] for name in compared))
    seeds = len(record["seeds"])
    rows = [["task, device", *(NAMES.get(method, method) for method in methods)]]
    for where in dict.fromkeys(name.rsplit(" ", 1)[0] for name in compared):
        told = [compared[f"{where} {method}"] for method in methods]
        means = [interval(one["difference"], digits, 1.0, signed=True) for one in told]
        clear = [f"{one['won']}/{seeds}, {one['holm_p']:.2g}" for one in told]
        cells = [f"{mean}, {rest}" for mean, rest in zip(means, clear, strict=True)]
        rows.append([where.split("/")[1].replace(" ", ", "), *cells])
    return rows


def agreement(records: Record, *, digits: int = 2) -> list[list[str]]:
    """Rank correlations of a cheap score with the table, one column for each record."""
    names = {
        "score": "score", "params": "number of parameters", "flops": "multiply-adds",
        "score minus params": "score minus parameters", "score minus flops": "score minus multiply-adds",
        "score given params": "score, given parameters (partial)",
        "score given flops": "score, given multiply-adds (partial)",
    }  # fmt: skip
    rows = [["Spearman with CIFAR-10 validation accuracy", *records]]
    for name, words in names.items():
        told = [record["results"]["spearman"][name] for record in records.values()]
        signed = "minus" in name
        rows.append([words, *(interval(values, digits, 1.0, signed=signed) for values in told)])
    return rows


KINDS: dict[str, Callable[..., list[list[str]]]] = {
    "against": against, "regret": regret, "test": test, "average": average, "pairs": pairs, "reach": reach,
    "shares": shares, "figures": figures, "hypervolume": hypervolume, "differences": differences,
    "agreement": agreement,
}  # fmt: skip


def interval(values: Sequence[float], digits: int, scale: float, *, signed: bool = False) -> str:
    """Mean [low, high]."""
    mean, low, high = (f"{value * scale:{'+' if signed else ''}.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def table(words: str) -> str:
    """The table that a mark asks for."""
    file, kind, *rest = words.split()
    record: Record = json.loads((PAGES / file).read_text(encoding="utf-8"))
    options: dict[str, Any] = {}
    for word in rest:
        name, given, value = word.partition("=")
        if given:
            options[name] = int(value) if name == "digits" else float(value)
        else:
            record = record[word]
    rows = KINDS[kind](record, **options)
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def renewed(page: str) -> str:
    """A page with all its marked tables written anew."""
    return MARK.sub(lambda found: found["mark"] + table(found["words"]), page)


def stale(*, update: bool) -> list[str]:
    """Names of pages whose tables are not what was recorded; they are with `update`."""
    found: list[str] = []
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        new = renewed(page)
        if new != page:
            found.append(path.name)
            if update:
                path.write_text(new, encoding="utf-8")
    return found


def _by_task(record: Record, what: str, digits: int, scale: float) -> list[list[str]]:
    tasks = {name: methods for name, methods in record["results"].items() if "/" in name}
    budgets = list(next(iter(next(iter(tasks.values())).values())))
    rows = [["task", "method", *budgets]]
    for name, methods in tasks.items():
        for method, found in methods.items():
            cells = [interval(found[budget][what], digits, scale) for budget in budgets]
            rows.append([name.split("/")[1], NAMES.get(method, method), *cells])
    return rows


def main() -> int:
    """Read the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Keep the tables of pages true to their records")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--update", action="store_true")
    group.add_argument("--check", action="store_true")
    given = parser.parse_args()
    found = stale(update=given.update)
    for name in found:
        print(f"{name}: {'renewed' if given.update else 'not what was recorded, see --update'}")
    return 0 if given.update else int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
