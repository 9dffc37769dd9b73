"""One HTML file about a session: no server, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.figures import code_map, code_usage, curves, interval, staircase
from vitruvius.findings import Summary
from vitruvius.generator.files import write_whole
from vitruvius.knowledge.principle import Effect

if TYPE_CHECKING:
    from vitruvius.generator.portrait import Portrait

TEMPLATE = "report.html.jinja"
FILE = "report.html"


def render(
    summary: Summary, test: Mapping[str, float | None] | None = None, portrait: Portrait | None = None
) -> str:
    """The report as a text.

    Everything that comes from ledger, models or settings is escaped; the page forbids scripts and requests.

    Args:
        summary: What the session found.
        test: Key -> test metric of the best architectures, where it was asked for; a value of None means that
            the task's table does not have it.
        portrait: What the codes of the space stand for, where a trained model is there.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("vitruvius").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    label = f"{summary.metric} {summary.unit}".strip()
    lines = {"vitruvius": summary.curve, **summary.baselines}
    return template.render(
        s=summary,
        test=test,
        portrait=portrait,
        usage=code_usage(portrait) if portrait else "",
        map=code_map(portrait) if portrait else "",
        curve=curves(lines, label, maximize=summary.maximize),
        tradeoff=staircase(summary.front, label, maximize=summary.maximize),
        volumes=curves(summary.volumes, "hypervolume"),
        longest=max(summary.timing.values(), default=1.0) or 1.0,
        number=_number,
        effect=_effect,
        interval=interval,
    )


def write_report(run: str | Path, out: Path | None = None, *, reveal_test: bool = False) -> Path:
    """Write the report of a run folder.

    Args:
        run: The run folder.
        out: File to write; None is `report.html` in the run folder.
        reveal_test: Whether to add the test metric of the best architectures.

    Returns:
        The file.

    Raises:
        UserError: The folder holds no session, or its task has no test metric.
    """
    from vitruvius.summary import summarise

    summary = summarise(run)
    test = test_metric(Path(run), summary) if reveal_test else None
    target = out if out is not None else Path(run) / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, render(summary, test, code_portrait(summary)))
    return target


def code_portrait(summary: Summary) -> Portrait | None:
    """What the codes of the session's space stand for; None where its code model is not in the cache."""
    from vitruvius.errors import CheckpointError
    from vitruvius.generator.library import model_folder, open_model
    from vitruvius.generator.portrait import portrait
    from vitruvius.generator.space import get_space

    space = get_space(summary.task.split("/")[0])
    folder = model_folder(space, seed=0)
    try:
        return portrait(open_model(folder, space).codec) if folder.is_dir() else None
    except CheckpointError:  # trained again, with a warning, by whoever needs it
        return None


def test_metric(run: Path, summary: Summary) -> dict[str, float | None]:
    """Test metric of a run's best architectures, by key; the only place that shows it outside benchmarks.

    Args:
        run: The run folder; its settings name the table.
        summary: What the session found.

    Raises:
        UserError: The task is not measured by a table.
    """
    import math

    from vitruvius.building import build_task
    from vitruvius.config import SETTINGS_FILE, load_settings
    from vitruvius.generator.evaluation.revealed import reveal_test

    settings = run / SETTINGS_FILE
    task = build_task(load_settings(settings if settings.is_file() else None, {"task": summary.task}))
    test = reveal_test(task)
    values = {winner.key: test(task.space.parse(winner.key)) for winner in summary.winners}
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _number(value: float) -> str:
    return f"{value:.4g}"


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return "none"
    return f"{effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"
