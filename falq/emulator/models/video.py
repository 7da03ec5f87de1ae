"""Shoot a film from a prompt: MiniMax video-01.

Owns its input table (fal-wire 12.5) and its answer. It never encodes before the
file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import field, frozen

from falq.emulator.media.studio import FILM_LENGTH_S, Studio
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace, progress_lines
from falq.emulator.models.pictures import name_file
from falq.emulator.models.problems import fail
from falq.emulator.models.schema import Boolean, Field, Record, Text

VIDEO = Record((
    Field(name="prompt", kind=Text(), required=True),
    Field(name="prompt_optimizer", kind=Boolean(), default=True),
))  # fmt: skip


@frozen(kw_only=True)
class VideoWork:
    """What the video model does.

    Attributes:
        usual: Run time of any film.
        studio: Shoots the film.
    """

    usual: Pace = field(factory=lambda: Pace(median_s=150.0, spread=0.2))
    studio: Studio = field(factory=Studio)

    def pace(self, values: Mapping[str, Any]) -> Pace:  # noqa: ARG002  # the protocol's signature
        """Return run times of some minutes."""
        return self.usual

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the progress bar over the whole film."""
        first = ("optimizing prompt",) if values["prompt_optimizer"] else ()
        bar = progress_lines(100, duration_s=self.usual.median_s, unit="%", most=10)
        return (*first, *bar)

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:
        """Return a link to the film, or a 500 if no encoder is installed."""
        film_type = self.studio.film_type()
        if film_type is None:
            return fail(500, "Making a video needs PyAV: pip install 'falq[video]'")
        content_type, suffix = film_type
        name = f"{name_file(values['prompt'], seed)}.{suffix}"
        draw = partial(self.studio.shoot_film, values["prompt"], seed=seed)
        video = {
            "url": files.add(name=name, content_type=content_type, draw=draw),
            "content_type": content_type,
            "file_name": name,
            "file_size": None,
        }
        return Answer(body={"video": video}, billable_units=float(FILM_LENGTH_S))
