"""Choose colors for a prompt.

Owns the moods, which are sets of colors that go together, and the words that
call for one. It never draws; `sketch` asks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import evolve, frozen

from falq.emulator.media.draws import Draws

Color = tuple[int, int, int]


@frozen
class Palette:
    """The colors of one picture, from far to near."""

    sky_top: Color
    sky_middle: Color
    sky_low: Color
    light: Color
    far: Color
    near: Color
    is_dark: bool = False


def parse_color(text: str) -> Color:
    """Return the color that six hexadecimal digits name."""
    return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16))


def mix(first: Color, second: Color, share: float) -> Color:
    """Return the color that lies `share` of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _mood(colors: str, *, is_dark: bool = False) -> Palette:
    top, middle, low, light, far, near = (parse_color(text) for text in colors.split())
    return Palette(top, middle, low, light, far, near, is_dark)


MOODS: Mapping[str, Palette] = MappingProxyType(
    {
        "sunset": _mood("2b1e5e c8446b ffb35c fff1c9 8d4470 1c1238"),
        "dawn": _mood("5b7fc7 f2a8a0 ffe3b8 fffbe8 a08fb8 2d3561"),
        "day": _mood("2f7fd6 8cc8f0 e6f5ff fff8d6 86afcd 1f5145"),
        "night": _mood("050a24 14235a 3f549c f3f0d8 2b3a75 060a1c", is_dark=True),
        "neon": _mood("12052e 5a1a8b ff4fa3 7df9ff 4d1a80 0a0320", is_dark=True),
        "forest": _mood("2c6e6a 8fc7a2 f3f4c9 fffde0 6aa48f 10302a"),
        "ocean": _mood("0f4c81 4fa3c7 d3f0ee fff6d8 4a8fb3 0a2c49"),
        "desert": _mood("d9764a f2b880 fbe6c2 fff6e0 cf946a 642f20"),
        "winter": _mood("6d8fb3 b9d2e6 f4f8fc ffffff a5bcd1 34495e"),
        "rose": _mood("6b2d5c c4628c f7c6c7 fff0ec a85a86 331230"),
        "mint": _mood("1d7874 7cc6b4 e9f7e1 fffceb 6fae9f 0e3b39"),
        "lavender": _mood("5d4e9d a58fd0 f1e3f5 fffdf2 9183c0 2c2453"),
    }
)

# Moods that a prompt without a telling word may get; none is too special.
EVERYDAY = ("sunset", "dawn", "day", "rose", "mint", "lavender", "desert", "night")

PLACES = frozenset({"forest", "ocean", "desert"})

MOOD_WORDS: Mapping[str, str] = MappingProxyType({
    "sunset": "sunset", "dusk": "sunset", "evening": "sunset", "autumn": "sunset",
    "fire": "sunset", "dawn": "dawn", "sunrise": "dawn", "morning": "dawn",
    "day": "day", "summer": "day", "sky": "day", "night": "night", "midnight": "night",
    "moon": "night", "space": "night", "stars": "night", "galaxy": "night", "dark": "night",
    "neon": "neon", "cyberpunk": "neon", "futuristic": "neon", "robot": "neon",
    "forest": "forest", "tree": "forest", "trees": "forest", "jungle": "forest",
    "garden": "forest", "ocean": "ocean", "sea": "ocean", "water": "ocean", "beach": "ocean",
    "lake": "ocean", "desert": "desert", "sand": "desert", "dune": "desert",
    "snow": "winter", "snowy": "winter", "winter": "winter", "ice": "winter", "arctic": "winter",
})  # fmt: skip

TINTS: Mapping[str, Color] = MappingProxyType({
    "red": (214, 48, 49), "blue": (41, 98, 255), "green": (46, 160, 67),
    "yellow": (250, 204, 21), "orange": (247, 127, 0), "purple": (124, 58, 237),
    "pink": (244, 114, 182), "teal": (20, 150, 150), "gold": (212, 160, 23),
    "golden": (212, 160, 23), "white": (245, 245, 245), "black": (24, 24, 32),
    "gray": (128, 132, 140), "grey": (128, 132, 140), "brown": (121, 85, 61),
})  # fmt: skip


def choose_palette(words: Iterable[str], draws: Draws) -> Palette:
    """Return colors for the `words` of a prompt; `draws` decides where they do not.

    The last mood word wins, but an hour or a season goes before a place ("sunset
    over the ocean" is a sunset), and a word for a color tints the whole.
    """
    words = tuple(words)
    everyday = draws.pick(EVERYDAY)
    named = [MOOD_WORDS[word] for word in words if word in MOOD_WORDS]
    named.sort(key=lambda mood: mood not in PLACES)
    palette = MOODS[named[-1] if named else everyday]
    for tint in (TINTS[word] for word in words if word in TINTS):
        palette = evolve(
            palette,
            sky_top=mix(palette.sky_top, tint, 0.35),
            sky_middle=mix(palette.sky_middle, tint, 0.45),
            far=mix(palette.far, tint, 0.5),
            near=mix(palette.near, tint, 0.2),
        )
    return palette
