"""Draw curves as one SVG file, on logarithmic axes.

Owns the picture and nothing that is measured. The colors are read well by those
who see few colors, and the background is white, so that the file looks the same
in a light and in a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Curves = Mapping[str, Sequence[tuple[float, float]]]

PANEL_WIDTH, PANEL_HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 48
COLUMNS = 2
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, without its yellow."""


def draw_panels(panels: Mapping[str, Curves], *, across: str, up: str) -> str:
    """Return an SVG document with a panel for each set of curves.

    Args:
        panels: Curves by title; a curve is points of two numbers above 0. A curve
            of one point is drawn as a mark.
        across: Label of the horizontal axes.
        up: Label of the vertical axes.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    color_of = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    rows = math.ceil(len(panels) / COLUMNS)
    width, height = COLUMNS * PANEL_WIDTH, rows * PANEL_HEIGHT + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, (title, curves) in enumerate(panels.items()):
        x, y = (index % COLUMNS) * PANEL_WIDTH, (index // COLUMNS) * PANEL_HEIGHT
        parts += [
            f'<g transform="translate({x} {y})">',
            *_panel(title, curves, color_of, across, up),
            "</g>",
        ]
    parts += _legend(color_of, height - 16)
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    title: str, curves: Curves, color_of: Mapping[str, str], across: str, up: str
) -> list[str]:
    points = [point for curve in curves.values() for point in curve]
    horizontal = _Axis([x for x, _ in points], LEFT, PANEL_WIDTH - RIGHT)
    vertical = _Axis([y for _, y in points], PANEL_HEIGHT - BOTTOM, TOP)
    middle = (LEFT + PANEL_WIDTH - RIGHT) / 2
    parts = [
        f'<text x="{middle}" y="18" text-anchor="middle" font-size="13">{escape(title)}</text>'
    ]
    for value in horizontal.ticks():
        at = horizontal.place(value)
        parts += [
            _line([(at, TOP), (at, PANEL_HEIGHT - BOTTOM)], "#dddddd", 1),
            f'<text x="{at:.1f}" y="{PANEL_HEIGHT - BOTTOM + 14}" text-anchor="middle">'
            f"{value:g}</text>",
        ]
    for value in vertical.ticks():
        at = vertical.place(value)
        parts += [
            _line([(LEFT, at), (PANEL_WIDTH - RIGHT, at)], "#dddddd", 1),
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    middle_up = (TOP + PANEL_HEIGHT - BOTTOM) / 2
    parts += [
        f'<text x="{middle}" y="{PANEL_HEIGHT - 14}" text-anchor="middle">{escape(across)}</text>',
        f'<text transform="translate(16 {middle_up}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>",
    ]
    for name, curve in curves.items():
        placed = [(horizontal.place(x), vertical.place(y)) for x, y in sorted(curve)]
        if len(placed) > 1:
            parts.append(_line(placed, color_of[name], 2))
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color_of[name]}"/>'
            for x, y in placed
        ]
    return parts


def _legend(color_of: Mapping[str, str], y: float) -> list[str]:
    parts, x = [], 20.0
    for name, color in color_of.items():
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 9}" y="{y}">{escape(name)}</text>')
        x += 30 + 6.5 * len(name)
    return parts


def _line(points: Sequence[tuple[float, float]], color: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'


class _Axis:
    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.log10(min(values)) - 0.08
        self._high = math.log10(max(values)) + 0.08
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        steps = (1, 2, 5) if self._high - self._low < 2.5 else (1,)
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self._low <= math.log10(value) <= self._high]
