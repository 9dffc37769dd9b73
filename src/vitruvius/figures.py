"""Small SVG figures of a report, written by hand: no script, nothing to load, readable in any browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from vitruvius.findings import FrontLine
from vitruvius.knowledge.principle import Effect

if TYPE_CHECKING:
    from vitruvius.generator.portrait import CodeMeaning, Portrait

PALETTE = (
    "#1f5fa8", "#b5541c", "#5a7d2a", "#7a4a9e", "#a83258", "#1d8a8a", "#8a6d1d", "#555555",
    "#c07fb0", "#88a0c0", "#4a4a9e", "#9ea84a",
)  # fmt: skip
"""Of the lines in a figure, and of what codes stand for, in order."""

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 40
"""Space around the plot, in pixels."""


def curves(
    lines: Mapping[str, Sequence[float | None]],
    label: str,
    *,
    maximize: bool = True,
    logarithmic: bool = False,
) -> str:
    """Best score so far over evaluations, one line for each method.

    Args:
        lines: Method -> best so far after each evaluation; None before the first score.
        label: Name and unit of the vertical axis.
        maximize: Whether larger is better. The axis leaves out the worst fifth of the values, which is
            mostly first draws; lines end at the frame, and a note says where the rest is.
        logarithmic: Whether the axis is so, for values above 0; what is not above 0 is drawn at its end.

    Returns:
        An `<svg>` element; empty where no line has a value.
    """
    known = [value for line in lines.values() for value in line if value is not None]
    if logarithmic:
        least = math.log10(min((value for value in known if value > 0), default=1.0))
        known = [math.log10(value) if value > 0 else least for value in known]
    values = sorted(known)
    if not values:
        return ""
    fifth = 0 if logarithmic else len(values) // 5
    low, high = (values[fifth], values[-1]) if maximize else (values[0], values[-1 - fifth])
    margin = (high - low) * 0.05 or abs(high) * 0.01 or 1.0
    low, high = low - margin, high + margin
    longest = max(len(line) for line in lines.values())

    def point(index: int, value: float) -> tuple[float, float]:
        if logarithmic:
            value = math.log10(value) if value > 0 else low
        across = (WIDTH - LEFT - RIGHT) * index / max(longest - 1, 1)
        return across, (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    drawn, names = "", ""
    for row, (name, line) in enumerate(lines.items()):
        colour = PALETTE[row % len(PALETTE)]
        pairs = [point(i, value) for i, value in enumerate(line) if value is not None]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
        drawn += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        column, place = divmod(row, 5)  # names stand where lines seldom are
        down = HEIGHT - BOTTOM - 10 - 16 * place if maximize else TOP + 14 + 16 * place
        names += _text(WIDTH - RIGHT - 4 - 110 * column, down, name, "end", colour)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    cut = f'<svg x="{LEFT}" y="{TOP}" width="{wide}" height="{tall}" overflow="hidden">{drawn}</svg>'
    body = _axes(low, high, longest, label, logarithmic) + cut + _beyond(values, low, high) + names
    return _svg(WIDTH, HEIGHT, f"{label}, best so far", body)


def _beyond(values: Sequence[float], low: float, high: float) -> str:
    """Says that some of the sorted values lie outside of the frame; empty where none does."""
    if values[0] < low:
        return _text(LEFT + 6, TOP + 10, "lower values are below the frame", "start")
    if values[-1] > high:
        return _text(LEFT + 6, HEIGHT - BOTTOM - 6, "higher values are above the frame", "start")
    return ""


def _axes(low: float, high: float, longest: int, label: str, logarithmic: bool) -> str:
    """Frame, up to three marks on each axis, and what they mean."""
    plot = HEIGHT - TOP - BOTTOM
    parts = [
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>',
        _text(LEFT, HEIGHT - 6, f"{label} (vertical) after so many evaluations", "start"),
    ]
    for part in (0.0, 0.5, 1.0):
        value = low + (high - low) * part
        shown = f"{10**value:.2g}" if logarithmic else f"{value:.4g}"
        parts.append(_text(LEFT - 6, TOP + plot * (1 - part) + 4, shown, "end"))
    for count in sorted({1, (longest + 1) // 2, longest}):  # in the middle of an even number: just before it
        across = LEFT + (WIDTH - LEFT - RIGHT) * (count - 1) / max(longest - 1, 1)
        parts.append(_text(across, HEIGHT - BOTTOM + 16, str(count), "middle"))
    return "".join(parts)


def staircase(front: Sequence[FrontLine], label: str, *, maximize: bool = True) -> str:
    """The Pareto front: the best score within each budget of the first cost, and the architectures as dots.

    Where there are more costs, dots below the line are those that are cheap in another.

    Args:
        front: Cheapest first.
        label: Name and unit of the score.
        maximize: Whether larger scores are better.

    Returns:
        An `<svg>` element; empty for an empty front.
    """
    if not front:
        return ""
    name = next(iter(front[0].costs))
    costs, scores = [one.costs[name] for one in front], [one.score for one in front]
    left, low = min(costs), min(scores)
    across, up = max(costs) - left or 1.0, max(scores) - low or 1.0

    def x(cost: float) -> float:
        return LEFT + 8 + (WIDTH - LEFT - RIGHT - 16) * (cost - left) / across

    def y(score: float) -> float:
        return TOP + 8 + (HEIGHT - TOP - BOTTOM - 16) * (1 - (score - low) / up)

    line, best = "", scores[0]
    for cost, score in zip(costs, scores, strict=True):
        line += f"{'H' if line else 'M'}{x(cost):.1f}" + ("" if line else f" {y(score):.1f}")
        best = max(best, score) if maximize else min(best, score)
        line += f"V{y(best):.1f}"
    parts = [
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>',
        f'<path d="{line}H{WIDTH - RIGHT}" fill="none" stroke="{PALETTE[0]}" stroke-width="2"/>',
        _text(LEFT, HEIGHT - 6, f"{label} (vertical) against {name}", "start"),
    ]
    for one, cost, score in zip(front, costs, scores, strict=True):
        about = escape(f"{one.key}: {score:.4g} at {cost:.4g}")
        dot = f'cx="{x(cost):.1f}" cy="{y(score):.1f}" r="4" fill="{PALETTE[0]}"'
        parts.append(f"<circle {dot}><title>{about}</title></circle>")
    for at, text in ((low, f"{low:.4g}"), (max(scores), f"{max(scores):.4g}")):
        parts.append(_text(LEFT - 6, y(at) + 4, text, "end"))
    for at, anchor in ((left, "start"), (max(costs), "end")):
        parts.append(_text(x(at), HEIGHT - BOTTOM + 16, f"{at:.4g}", anchor))
    return _svg(WIDTH, HEIGHT, f"{label} against {name}", "".join(parts))


def as_file(figure: str) -> str:
    """A figure as the content of a file of its own: there, browsers draw it only if it names its language."""
    return figure.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def interval(effect: Effect) -> str:
    """An effect between -1 and 1 with its interval, as a line of 200 pixels with zero in the middle."""

    def x(value: float) -> float:
        return 100 + 95 * min(max(value, -1.0), 1.0)

    colour = "#5a7d2a" if effect.low > 0 else "#a83232" if effect.high < 0 else "#777"
    body = (
        '<path d="M100 2V16" stroke="#bbb"/>'
        f'<path d="M{x(effect.low):.1f} 9H{x(effect.high):.1f}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{x(effect.estimate):.1f}" cy="9" r="3.5" fill="{colour}"/>'
    )
    return _svg(200, 18, f"{effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]", body)


def code_usage(portrait: Portrait) -> str:
    """How often each code is used, most used first, coloured by what it mostly stands for."""
    colours = _label_colours(portrait)
    highest = max(meaning.uses for meaning in portrait.meanings)
    wide = (WIDTH - LEFT - RIGHT) / max(portrait.codebook, 1)
    parts = [f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>']
    for place, meaning in enumerate(portrait.meanings):
        high = (HEIGHT - TOP - BOTTOM) * meaning.uses / highest
        x, y = LEFT + place * wide, HEIGHT - BOTTOM - high
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(wide - 0.5, 0.5):.1f}" height="{high:.1f}" '
            f'fill="{colours[meaning.label]}"><title>{_about(meaning)}</title></rect>'
        )
    parts.append(_text(LEFT - 6, TOP + 8, f"{highest:.1%}", "end"))
    parts.append(_text(LEFT - 6, HEIGHT - BOTTOM, "0", "end"))
    axis = f"share of all codes, for the {len(portrait.meanings)} of {portrait.codebook} codes in use"
    parts.append(_text(LEFT, HEIGHT - 6, axis, "start"))
    return _svg(WIDTH, HEIGHT, "How often each code is used", "".join(parts) + _legend(colours))


def code_map(portrait: Portrait) -> str:
    """The codebook's vectors in the plane in which they vary most; a dot's area is how often it is used."""
    colours = _label_colours(portrait)
    xs, ys = [m.x for m in portrait.meanings], [m.y for m in portrait.meanings]
    left, low = min(xs), min(ys)
    across, up = max(xs) - left or 1.0, max(ys) - low or 1.0
    most = max(meaning.uses for meaning in portrait.meanings)
    parts: list[str] = []
    for meaning in portrait.meanings:
        x = LEFT + (WIDTH - LEFT - RIGHT - 100) * (meaning.x - left) / across
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (meaning.y - low) / up)
        radius = 2 + 7 * (meaning.uses / most) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colours[meaning.label]}" '
            f'fill-opacity="0.75"><title>{_about(meaning)}</title></circle>'
        )
    axis = f"the two main directions of the codebook, {portrait.plane:.0%} of its variance"
    parts.append(_text(LEFT, HEIGHT - 6, axis, "start"))
    return _svg(WIDTH, HEIGHT, "Where the codes lie", "".join(parts) + _legend(colours))


def _label_colours(portrait: Portrait) -> dict[str, str]:
    labels = dict.fromkeys(meaning.label for meaning in portrait.meanings)
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def _legend(colours: Mapping[str, str]) -> str:
    rows = enumerate(colours.items())
    return "".join(
        _text(WIDTH - RIGHT - 4, TOP + 14 + 16 * i, label, "end", colour) for i, (label, colour) in rows
    )


def _about(meaning: CodeMeaning) -> str:
    """What the pointer shows over a code."""
    places = ", ".join(str(position + 1) for position in meaning.positions)
    return escape(
        f"c{meaning.code}: {meaning.label} ({meaning.purity:.0%} of its nodes), at position {places}, "
        f"{meaning.uses:.2%} of all codes"
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#444") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-size="12" '
        f'font-family="sans-serif"><title>{escape(title)}</title>{body}</svg>'
    )
