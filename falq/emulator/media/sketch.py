"""Compose a picture for a prompt, without drawing it.

Owns what stands where: a sky, a light, a landscape that the words of the prompt
steer. It never touches pixels; `painting` and `plain` paint the same sketch,
with Pillow and without.

Positions are shares of the picture's width and height, from the top left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from falq.emulator.media.draws import Draws
from falq.emulator.media.palette import Color, Palette, choose_palette, mix

Point = tuple[float, float]

MOTIF_WORDS: Mapping[str, str] = MappingProxyType({
    "mountain": "mountain", "mountains": "mountain", "alps": "mountain", "peak": "mountain",
    "city": "city", "skyline": "city", "street": "city", "town": "city", "cyberpunk": "city",
    "ocean": "ocean", "sea": "ocean", "beach": "ocean", "lake": "ocean", "waves": "ocean",
    "boat": "ocean", "ship": "ocean", "forest": "forest", "tree": "forest", "trees": "forest",
    "jungle": "forest", "woods": "forest", "cat": "cat", "kitten": "cat", "cats": "cat",
    "fox": "cat", "abstract": "bubbles", "pattern": "bubbles", "balloon": "bubbles",
    "planet": "bubbles", "planets": "bubbles", "space": "bubbles",
})  # fmt: skip
LANDSCAPES = ("mountain", "mountain", "hills", "ocean", "forest", "bubbles")

# No picture is wide enough for more, and prompts may be whole books.
MOST_CAPTION = 400


@frozen(kw_only=True)
class Disc:
    """A filled circle; `radius` is a share of the shorter side."""

    center: Point
    radius: float
    color: Color
    opacity: float = 1.0
    is_soft: bool = False


@frozen(kw_only=True)
class Polygon:
    """A filled outline whose color runs from `color` at its top to `foot` below."""

    points: tuple[Point, ...]
    color: Color
    foot: Color


@frozen(kw_only=True)
class Dots:
    """Small upright boxes of one size; width and height are shares of the picture's."""

    points: tuple[Point, ...]
    width: float
    height: float
    color: Color


Element = Disc | Polygon | Dots


@frozen(kw_only=True)
class Sketch:
    """One composition: colors of the sky from top to bottom, then what lies over it."""

    sky: tuple[Color, ...]
    elements: tuple[Element, ...]
    caption: str


def compose(prompt: str, *, seed: int, index: int, aspect: float, phase: float = 0.0) -> Sketch:
    """Return the composition for a prompt.

    Args:
        prompt: Its words choose motif and colors.
        seed: Another seed is another picture of the same thing.
        index: Number of the picture within one request, from 0.
        aspect: Width divided by height.
        phase: Moment of an animation, from 0 to 1. A still is taken at 0.
    """
    words = re.findall(r"\w+", prompt.lower())
    # The prompt alone chooses motif and mood, so that pictures of one request
    # show the same thing; seed and index move what is in them.
    taste, draws = Draws(prompt), Draws(prompt, seed, index)
    palette = choose_palette(words, taste)
    named = [MOTIF_WORDS[word] for word in words if word in MOTIF_WORDS]
    # The motif that stands nearest to the viewer is drawn over the others.
    motifs = list(dict.fromkeys(named)) or [taste.pick(LANDSCAPES)]
    stage = Stage(palette=palette, draws=draws, aspect=aspect, phase=phase)
    elements = [*stage.stars(), *stage.light()]
    for motif in sorted(motifs, key=tuple(BACKDROPS).index):
        elements += BACKDROPS[motif](stage)
    return Sketch(
        sky=(palette.sky_top, palette.sky_middle, palette.sky_low, palette.far),
        elements=tuple(elements),
        caption=" ".join(prompt[:MOST_CAPTION].split()),
    )


@frozen(kw_only=True)
class Stage:
    """What the motifs share while one sketch is composed."""

    palette: Palette
    draws: Draws
    aspect: float
    phase: float

    def stars(self) -> list[Element]:
        """Return a night sky's stars, or nothing by day."""
        # Drawn in any case: the rest of the picture must not depend on the mood.
        points = tuple((self.draws.draw(), self.draws.between(0, 0.6)) for _ in range(70))
        if not self.palette.is_dark:
            return []
        color = mix(self.palette.sky_top, self.palette.light, 0.75)
        small, large = 0.0022, 0.004
        twinkling = points[: 20 + round(20 * math.sin(2 * math.pi * self.phase))]
        return [
            Dots(points=points[20:], width=small / self.aspect, height=small, color=color),
            Dots(points=twinkling, width=large / self.aspect, height=large, color=color),
        ]

    def light(self) -> list[Element]:
        """Return the sun or the moon in its glow."""
        at = (self.draws.between(0.2, 0.8), self.draws.between(0.22, 0.45))
        at = (at[0] + 0.12 * self.phase, at[1] + 0.08 * self.phase)
        radius, color = self.draws.between(0.06, 0.12), self.palette.light
        return [
            Disc(center=at, radius=radius * 5, color=color, opacity=0.55, is_soft=True),
            Disc(center=at, radius=radius, color=color, opacity=0.95),
        ]

    def ridge(self, *, base: float, swing: float, sharp: bool, depth: float) -> Polygon:
        """Return one line of hills.

        Args:
            base: Height of the middle line, from the top.
            swing: How far it rises and falls.
            sharp: Peaks instead of waves.
            depth: 0 for the farthest line, 1 for the nearest.
        """
        waves = [
            (count * self.draws.between(0.8, 1.25), self.draws.draw(), swing / count**0.9)
            for count in (1.3, 2.7, 5.9, 12.0)
        ]
        shift = 0.25 * depth * self.phase
        points = []
        for step in range(97):
            x = step / 96
            height = 0.0
            for count, start, size in waves:
                turn = (count * (x + shift) + start) % 1.0
                wave = 1 - 4 * abs(turn - 0.5) if sharp else math.sin(2 * math.pi * turn)
                height += size * wave
            points.append((x, base - height))
        color = mix(self.palette.far, self.palette.near, depth)
        foot = mix(color, self.palette.sky_low, 0.35 * (1 - depth))
        return Polygon(points=((0.0, 1.0), *points, (1.0, 1.0)), color=color, foot=foot)

    def draw_hills(self) -> list[Element]:
        """Return soft hills in three lines."""
        return [
            self.ridge(base=0.62 + 0.13 * line, swing=0.06, sharp=False, depth=line / 2)
            for line in range(3)
        ]

    def draw_mountain(self) -> list[Element]:
        """Return peaks, with hills before them."""
        return [
            self.ridge(base=0.58, swing=0.13, sharp=True, depth=0.05),
            self.ridge(base=0.68, swing=0.11, sharp=True, depth=0.35),
            self.ridge(base=0.8, swing=0.06, sharp=True, depth=0.68),
            self.ridge(base=0.91, swing=0.035, sharp=False, depth=1.0),
        ]

    def draw_ocean(self) -> list[Element]:
        """Return water up to the horizon, with glints on it."""
        palette, horizon = self.palette, self.draws.between(0.56, 0.64)
        island = self.ridge(base=horizon - 0.002, swing=0.035, sharp=False, depth=0.15)
        deep = mix(palette.sky_top, palette.near, 0.45)
        water = Polygon(
            points=((0.0, 1.0), (0.0, horizon), (1.0, horizon), (1.0, 1.0)),
            color=mix(palette.sky_low, palette.sky_middle, 0.5),
            foot=deep,
        )
        elements: list[Element] = [island, water]
        middle = self.draws.between(0.3, 0.7)
        for row in range(14):
            near = row / 13
            spread = 0.08 + 0.34 * near
            points = []
            for _ in range(7):
                x = middle + self.draws.between(-spread, spread)
                points.append((x + 0.05 * near * math.sin(2 * math.pi * (self.phase + near)), 0.0))
            y = horizon + 0.015 + (0.97 - horizon) * near**1.4
            elements.append(
                Dots(
                    points=tuple((x, y) for x, _ in points),
                    width=0.02 + 0.05 * near,
                    height=0.0025 + 0.004 * near,
                    color=mix(deep, palette.light, 0.75 - 0.45 * near),
                )
            )
        return elements

    def draw_forest(self) -> list[Element]:
        """Return lines of firs."""
        elements: list[Element] = [
            self.ridge(base=0.6, swing=0.08, sharp=False, depth=0.1),
        ]
        for line in range(3):
            depth, count = 0.4 + 0.3 * line, 34 - 9 * line
            points: list[Point] = [(-1.0, 1.0)]
            shift = 0.1 * depth * self.phase
            for tree in range(-4, count + 5):
                x = (tree + self.draws.between(-0.3, 0.3)) / count - shift
                tall = self.draws.between(0.1, 0.2) * (0.7 + 0.25 * line)
                foot, half = 0.7 + 0.12 * line, 0.62 / count
                points += [(x - half, foot), (x - half / 3, foot - tall * 0.5)]
                points += [(x - half / 2, foot - tall * 0.5), (x, foot - tall)]
                points += [(x + half / 2, foot - tall * 0.5), (x + half / 3, foot - tall * 0.5)]
                points.append((x + half, foot))
            color = mix(self.palette.far, self.palette.near, depth)
            foot_color = mix(color, self.palette.sky_low, 0.25 * (1 - depth))
            outline = (*points, (2.0, 1.0))
            elements.append(Polygon(points=outline, color=color, foot=foot_color))
        return elements

    def draw_city(self) -> list[Element]:
        """Return blocks with lit windows."""
        elements: list[Element] = []
        for line in range(3):
            depth, windows = 0.25 + 0.37 * line, []
            points: list[Point] = [(-1.0, 1.0)]
            x = -0.3 - 0.15 * depth * self.phase
            while x < 1.25:
                wide = self.draws.between(0.04, 0.09) * (0.7 + 0.25 * line)
                tall = self.draws.between(0.12, 0.4) * (1.1 - 0.22 * line)
                roof = 0.86 + 0.05 * line - tall
                points += [(x, 0.92), (x, roof), (x + wide, roof), (x + wide, 0.92)]
                lit = [self.draws.draw() for _ in range(24)]
                windows += [
                    (x + wide * (0.18 + 0.22 * (i % 4)), roof + 0.025 + 0.04 * (i // 4))
                    for i in range(24)
                    if lit[i] > 0.55 and roof + 0.025 + 0.04 * (i // 4) < 0.97
                ]
                x += wide + self.draws.between(0.0, 0.012)
            color = mix(self.palette.far, self.palette.near, depth)
            outline = (*points, (2.0, 1.0))
            elements.append(
                Polygon(points=outline, color=color, foot=mix(color, self.palette.far, 0.2))
            )
            glow = mix(color, (255, 214, 120), 0.35 + 0.3 * depth)
            elements.append(Dots(points=tuple(windows), width=0.007, height=0.014, color=glow))
        return elements

    def draw_cat(self) -> list[Element]:
        """Return a sitting cat on a hill, seen from behind."""
        palette, middle = self.palette, self.draws.between(0.35, 0.65)
        hill = self.ridge(base=0.88, swing=0.02, sharp=False, depth=1.0)
        far = self.ridge(base=0.74, swing=0.06, sharp=False, depth=0.3)
        dark = mix(palette.near, (12, 10, 18), 0.45)
        wag = 0.05 * math.sin(4 * math.pi * self.phase)
        tail = [
            (0.13 + 0.11 * math.sin(t * 2.6) + wag * t, 0.02 - 0.2 * t)
            for t in _steps(0.0, 1.0, 14)
        ]
        outlines: list[list[Point]] = [
            _oval((0.0, -0.06), (0.135, 0.19)),
            _oval((0.0, -0.3), (0.1, 0.088)),
            [(-0.096, -0.32), (-0.088, -0.45), (-0.02, -0.375)],
            [(0.096, -0.32), (0.088, -0.45), (0.02, -0.375)],
            [*tail, *((x + 0.03, y + 0.012) for x, y in reversed(tail))],
        ]
        # Feet below the hill's line, and never wider than a narrow picture is.
        scale = min(1.0, self.aspect)
        shapes = [
            Polygon(
                points=tuple((middle + x * scale / self.aspect, 0.84 + y * scale) for x, y in line),
                color=dark,
                foot=dark,
            )
            for line in outlines
        ]
        return [far, *shapes, hill]

    def draw_bubbles(self) -> list[Element]:
        """Return overlapping circles that drift upwards."""
        palette, elements = self.palette, list[Element]()
        colors = (palette.light, palette.far, palette.sky_top, palette.sky_low, palette.near)
        for _ in range(16):
            at = (self.draws.draw(), self.draws.between(-0.1, 1.0) - 0.15 * self.phase)
            radius = 0.04 + 0.24 * self.draws.draw() ** 2
            color = self.draws.pick(colors)
            opacity = self.draws.between(0.25, 0.7)
            elements.append(Disc(center=at, radius=radius, color=color, opacity=opacity))
            shine = (at[0] - radius * 0.3 / max(self.aspect, 1), at[1] - radius * 0.3)
            elements.append(
                Disc(
                    center=shine,
                    radius=radius * 0.6,
                    color=palette.light,
                    opacity=0.3,
                    is_soft=True,
                )
            )
        return elements


# From far to near, the order in which several motifs of one prompt are drawn.
BACKDROPS = MappingProxyType(
    {
        "bubbles": Stage.draw_bubbles,
        "mountain": Stage.draw_mountain,
        "hills": Stage.draw_hills,
        "city": Stage.draw_city,
        "ocean": Stage.draw_ocean,
        "forest": Stage.draw_forest,
        "cat": Stage.draw_cat,
    }
)


def _oval(center: Point, radii: Point) -> list[Point]:
    return [
        (center[0] + radii[0] * math.cos(turn), center[1] + radii[1] * math.sin(turn))
        for turn in _steps(0.0, 2 * math.pi, 36)
    ]


def _steps(low: float, high: float, count: int) -> list[float]:
    return [low + (high - low) * step / count for step in range(count + 1)]
