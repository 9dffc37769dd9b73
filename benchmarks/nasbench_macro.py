r"""Search at equal budget in a space described in a file: NAS-Bench-Macro, never looked at while tuning.

Eight layers of three operations each, 6,561 networks, all trained three times on CIFAR-10 (Su et al.,
Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021). The space is no class of ours: a
description and a table are written as a user would write them, then `search.py` runs on them, with the
arguments given here. The last line printed is one JSON object, as there.

    VITRUVIUS_TABLES=FOLDER python benchmarks/nasbench_macro.py --methods vitruvius,random --seeds 30
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import search

from vitruvius.errors import TableError
from vitruvius.generator.evaluation.columns import read_columns, write_columns
from vitruvius.generator.evaluation.table import VARIABLE

NAME = "nasbench-macro"
PLACE = Path("runs") / NAME
OPERATIONS = ("skip", "mb3x3-e3", "mb5x5-e6")
"""What the benchmark calls 0, 1 and 2: identity, and inverted bottlenecks by kernel and expansion."""


def write_files(table: Path, place: Path) -> Path:
    """Write the description, and the benchmark's table with a column for each layer.

    Args:
        table: `nasbench_macro.parquet`: `arch` (eight digits), `mean_acc` in percent, `params` and `flops`.
        place: Folder for both.

    Returns:
        The description.
    """
    columns = read_columns(table, ["arch", "mean_acc", "params", "flops"])
    texts = columns["arch"]
    assert isinstance(texts, list), "eight digits are a text"
    layers = [f"layer{number}" for number in range(1, 9)]
    choices = {name: [OPERATIONS[int(text[i])] for text in texts] for i, name in enumerate(layers)}
    accuracy, params, flops = (columns[name] for name in ("mean_acc", "params", "flops"))
    assert not isinstance(params, list) and not isinstance(flops, list), "numbers"
    costs = {"cifar10_params_m": params / 1e6, "cifar10_flops_m": flops / 1e6}
    write_columns(place / f"{NAME}.parquet", {**choices, "cifar10_valid": accuracy, **costs})
    allowed = ", ".join(f'"{name}"' for name in OPERATIONS)
    lines = [
        f'name = "{NAME}"',
        'description = "eight layers of a small network for CIFAR-10"',
        "[decisions]",
    ]
    lines += [f"{name} = [{allowed}]" for name in layers]
    lines += ["[operations]", 'identity = ["skip"]']
    lines += ["[tasks.cifar10]", 'metric = "accuracy"', 'unit = "%"']
    description = place / f"{NAME}.toml"
    description.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return description


def main() -> None:
    """Write both files, then search."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        sys.exit(f"error: set {VARIABLE} to the folder with nasbench_macro.parquet.")
    try:
        description = write_files(Path(folder) / "nasbench_macro.parquet", PLACE)
    except TableError as error:
        sys.exit(f"error: {error}")
    os.environ[VARIABLE] = str(PLACE)
    sys.argv += ["--task", f"{description}/cifar10"]
    search.main()


if __name__ == "__main__":
    main()
