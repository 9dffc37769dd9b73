"""Small SVG figures of a report, written by hand: no script, nothing to load, readable in any browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vitruvius.knowledge.principle import Effect

COLOURS = ("#1f5fa8", "#b5541c", "#5a7d2a", "#7a4a9e")
"""Of the lines in a figure, in order."""


def curves(lines: Mapping[str, Sequence[float | None]], label: str, *, maximize: bool = True) -> str:
    """Best score so far over evaluations, one line for each method.

    Args:
        lines: Method -> best so far after each evaluation; None before the first score.
        label: Name and unit of the vertical axis.
        maximize: Whether larger is better. The vertical axis starts at the median first score of the methods
            in the worse direction, so that one poor first draw does not flatten the rest.

    Returns:
        An `<svg>` element; empty where no line has a value.
    """
    values = [value for line in lines.values() for value in line if value is not None]
    if not values:
        return ""
    width, height, left, bottom, top = 640, 300, 60, 36, 14
    low, high = _range(lines, maximize=maximize)
    longest = max(len(line) for line in lines.values())

    def x(index: int) -> float:
        return left + (width - left - 20) * index / max(longest - 1, 1)

    def y(value: float) -> float:
        inside = min(max(value, low), high)
        return top + (height - top - bottom) * (high - inside) / (high - low)

    parts = [_axes(low, high, longest, x, y, left, height - bottom, label)]
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line) if v is not None)
        row = height - bottom - 14 * (len(lines) - list(lines).index(name))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{width - 24}" y="{row}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
        )
    return _svg(width, height, f"{label} over evaluations", "".join(parts))
