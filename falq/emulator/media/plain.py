"""Paint a sketch without Pillow, and write it as a PNG.

Owns a scan-line painter and a PNG writer on the standard library alone, for an
emulator that was installed without extras. It is coarser than `painting` (hard
edges, no caption) and knows one format. Called by `studio`.
"""

from __future__ import annotations

import math
import struct
import zlib

from falq.emulator.media.palette import Color, mix
from falq.emulator.media.sketch import Disc, Dots, Point, Polygon, Sketch


def paint(sketch: Sketch, width: int, height: int) -> bytes:
    """Return the PNG file of a painted sketch."""
    return write_png(paint_pixels(sketch, width, height), width, height)


def write_png(pixels: bytes, width: int, height: int) -> bytes:
    """Return a PNG file of `pixels`, three bytes each, row by row."""
    stride = 3 * width
    # Every row is led by its filter: 0, none.
    rows = b"".join(b"\0" + pixels[at : at + stride] for at in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def paint_pixels(sketch: Sketch, width: int, height: int) -> bytes:
    """Return the painted sketch as three bytes per pixel, row by row."""
    sky = (_blend(sketch.sky, row / max(1, height - 1)) for row in range(height))
    canvas = Canvas(bytearray(b"".join(bytes(color) * width for color in sky)), width, height)
    for element in sketch.elements:
        match element:
            case Disc():
                _paint_disc(canvas, element)
            case Polygon():
                _paint_polygon(canvas, element)
            case Dots():
                _paint_dots(canvas, element)
    return bytes(canvas.pixels)


class Canvas:
    """Pixels that are painted in runs along a row."""

    def __init__(self, pixels: bytearray, width: int, height: int) -> None:
        self.pixels = pixels
        self.width = width
        self.height = height

    def paint_run(self, row: int, left: float, right: float, color: Color) -> None:
        """Paint one row between two columns, as far as they lie on the canvas."""
        first, last = max(0, round(left)), min(self.width, round(right))
        if first < last and 0 <= row < self.height:
            start = 3 * (row * self.width + first)
            self.pixels[start : start + 3 * (last - first)] = bytes(color) * (last - first)

    def read_pixel(self, row: int, column: float) -> Color:
        """Return the color of the pixel nearest to that place."""
        at = min(self.width - 1, max(0, round(column)))
        start = 3 * (min(self.height - 1, max(0, row)) * self.width + at)
        return (self.pixels[start], self.pixels[start + 1], self.pixels[start + 2])


def _paint_disc(canvas: Canvas, disc: Disc) -> None:
    # A glow cannot be painted in runs of one color; a faint disc stands for it.
    opacity = disc.opacity * 0.3 if disc.is_soft else disc.opacity
    radius = disc.radius * min(canvas.width, canvas.height) * (0.5 if disc.is_soft else 1.0)
    middle, center = disc.center[0] * canvas.width, disc.center[1] * canvas.height
    first, last = max(0, math.ceil(center - radius)), min(canvas.height - 1, int(center + radius))
    color = mix(canvas.read_pixel(round(center), middle), disc.color, opacity)
    for row in range(first, last + 1):
        half = math.sqrt(max(0.0, radius**2 - (row - center) ** 2))
        canvas.paint_run(row, middle - half, middle + half, color)


def _paint_polygon(canvas: Canvas, polygon: Polygon) -> None:
    crossings = _find_crossings(canvas, polygon.points)
    if not crossings:
        return
    top, bottom = min(crossings), max(crossings)
    for row, columns in crossings.items():
        columns.sort()
        color = mix(polygon.color, polygon.foot, (row - top) / max(1, bottom - top))
        for left, right in zip(columns[::2], columns[1::2], strict=False):
            canvas.paint_run(row, left, right, color)


def _find_crossings(canvas: Canvas, points: tuple[Point, ...]) -> dict[int, list[float]]:
    """Return where the outline crosses the middle of each row, by row."""
    crossings: dict[int, list[float]] = {}
    scaled = [(x * canvas.width, y * canvas.height) for x, y in points]
    for (x1, y1), (x2, y2) in zip(scaled, scaled[1:] + scaled[:1], strict=True):
        (x1, y1), (x2, y2) = sorted(((x1, y1), (x2, y2)), key=lambda point: point[1])
        for row in range(max(0, math.ceil(y1 - 0.5)), min(canvas.height, math.ceil(y2 - 0.5))):
            share = (row + 0.5 - y1) / (y2 - y1)
            crossings.setdefault(row, []).append(x1 + (x2 - x1) * share)
    return crossings


def _paint_dots(canvas: Canvas, dots: Dots) -> None:
    wide, tall = max(1, dots.width * canvas.width), max(1, round(dots.height * canvas.height))
    for x, y in dots.points:
        for row in range(round(y * canvas.height), round(y * canvas.height) + tall):
            canvas.paint_run(row, x * canvas.width, x * canvas.width + wide, dots.color)


def _blend(colors: tuple[Color, ...], share: float) -> Color:
    place = share * (len(colors) - 1)
    first = min(int(place), len(colors) - 2)
    return mix(colors[first], colors[first + 1], place - first)
