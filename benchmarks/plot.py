"""A drawing of series over time, as SVG: one panel a figure, one line a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 900, 220
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 30, 30
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b")

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by the name of the line."""


@dataclass(frozen=True)
class Panel:
    """One drawing among others."""

    title: str
    series: Series


def svg(panels: Sequence[Panel], across: str) -> str:
    """Return the drawing.

    :param across: what the horizontal axis is.
    """
    parts = [_panel(panel, number * HEIGHT) for number, panel in enumerate(panels)]
    height = HEIGHT * len(panels) + BOTTOM
    parts.append(_text(WIDTH - RIGHT, height - 8, across, anchor="end"))
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def _panel(panel: Panel, top: int) -> str:
    points = [point for line in panel.series.values() for point in line]
    last = max((x for x, _ in points), default=0) or 1
    most = 1.1 * max((y for _, y in points), default=0) or 1
    right, floor, ceiling = WIDTH - RIGHT, top + HEIGHT - BOTTOM, top + TOP

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / last * (right - LEFT):.1f},{floor - y / most * (floor - ceiling):.1f}"

    parts = [
        _text(LEFT, top + TOP - 10, panel.title),
        f'<path d="M{LEFT},{ceiling} V{floor} H{right}" fill="none" stroke="black"/>',
        _text(LEFT - 6, floor, "0", anchor="end"),
        _text(LEFT - 6, ceiling + 10, f"{most:.4g}", anchor="end"),
        _text(right, floor + 16, f"{last:.0f}", anchor="end"),
    ]
    for number, (name, line) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(right + 10, ceiling + 16 * number + 10, name, colour=colour))
    return "\n".join(parts)


def _text(x: int, y: int, text: str, *, anchor: str = "start", colour: str = "black") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
