"""Make media with what is installed.

Owns the choice between the drawing modules, and is the one place that imports
those which need an extra: Pillow (`painting`) and PyAV (`film`). It never
imports them before they are needed, so that an emulator which only echoes starts
fast and needs neither. The models ask it for everything that is seen.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
from types import ModuleType

from attrs import frozen

from falq.emulator.media import plain
from falq.emulator.media.sketch import compose

FILM_WIDTH, FILM_HEIGHT, FILM_RATE = 480, 272, 12
FILM_LENGTH_S = 4
FILM_FRAMES = FILM_LENGTH_S * FILM_RATE


class MediaError(ValueError):
    """A picture that was handed in cannot be worked on."""


class UnreadableError(MediaError):
    """Its bytes are no picture."""


class OversizeError(MediaError):
    """It has more pixels than anybody should decode."""


@frozen(kw_only=True)
class Studio:
    """The drawing modules that may be used.

    Attributes:
        without: Packages to do without although they are installed.

    Example:
        >>> Studio(without=frozenset({"PIL"})).can_enlarge()
        False
    """

    without: frozenset[str] = frozenset()

    def can_enlarge(self) -> bool:
        """Whether pictures can be read and enlarged, which needs Pillow."""
        return self._has("PIL")

    def picture_format(self, asked: str) -> str:
        """Return the format, `jpeg` or `png`, that a picture asked for as `asked` will have."""
        return asked if self._has("PIL") else "png"

    def draw_picture(
        self, prompt: str, *, seed: int, index: int, width: int, height: int, picture_format: str
    ) -> bytes:
        """Return the file of a picture drawn from a prompt."""
        sketch = compose(prompt, seed=seed, index=index, aspect=width / height)
        if not self._has("PIL"):
            return plain.paint(sketch, width, height)
        data: bytes = _load("painting").paint(sketch, width, height, picture_format)
        return data

    def measure(self, data: bytes) -> tuple[int, int]:
        """Return the width and height of a picture; needs Pillow.

        Raises:
            UnreadableError: It is none, or it is cut short.
            OversizeError: It claims more pixels than Pillow decodes.
        """
        painting = _load("painting")
        try:
            width, height = painting.measure(data)
        except painting.ImageSizeError as error:
            raise OversizeError(str(error)) from None
        except painting.UnreadableImageError as error:
            raise UnreadableError(str(error)) from None
        return width, height

    def enlarge(self, data: bytes, *, width: int, height: int) -> bytes:
        """Return a measured picture in another size, as PNG; needs Pillow."""
        enlarged: bytes = _load("painting").enlarge(data, width, height)
        return enlarged

    def film_type(self) -> tuple[str, str] | None:
        """Return content type and file suffix of a film, or None if none can be made."""
        encoding = _load("film").choose_encoding() if self._has("av") else None
        return (encoding.content_type, encoding.suffix) if encoding else None

    def shoot_film(self, prompt: str, *, seed: int) -> bytes:
        """Return a film of a few seconds drawn from a prompt; needs PyAV."""
        film = _load("film")
        painter = _load("painting") if self._has("PIL") else plain
        sketches = (
            compose(
                prompt,
                seed=seed,
                index=0,
                aspect=FILM_WIDTH / FILM_HEIGHT,
                phase=number / FILM_FRAMES,
            )
            for number in range(FILM_FRAMES)
        )
        data: bytes = film.encode(
            (painter.paint_pixels(sketch, FILM_WIDTH, FILM_HEIGHT) for sketch in sketches),
            width=FILM_WIDTH,
            height=FILM_HEIGHT,
            rate=FILM_RATE,
            encoding=film.choose_encoding(),
        )
        return data

    def _has(self, package: str) -> bool:
        return package not in self.without and importlib.util.find_spec(package) is not None


def build_data_url(data: bytes, content_type: str) -> str:
    """Return a `data:` URL that carries a whole file."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"


def _load(room: str) -> ModuleType:
    return importlib.import_module(f"falq.emulator.media.{room}")
