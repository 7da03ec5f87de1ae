"""Enlarge the picture that it is given: the clarity upscaler.

Owns its input table (fal-wire 12.4) and what it says of pictures that it cannot
have. It never fetches anything: a picture is one of the emulator's own files or
comes in a `data:` URL; every other address counts as unreachable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from falq.emulator.media.draws import Draws
from falq.emulator.media.studio import OversizeError, Studio, UnreadableError
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace, progress_lines
from falq.emulator.models.pictures import MEGAPIXEL, MOST_PIXELS, name_file
from falq.emulator.models.problems import Problem, build_problem, refuse
from falq.emulator.models.schema import Boolean, Bounds, Field, Integer, Number, Record, Text

CLARITY = Record((
    Field(name="image_url", kind=Text(), required=True),
    Field(name="prompt", kind=Text(), default="masterpiece, best quality, highres"),
    Field(name="upscale_factor", kind=Number(bounds=Bounds(ge=1, le=4)), default=2.0),
    Field(
        name="negative_prompt",
        kind=Text(),
        default="(worst quality, low quality, normal quality:2)",
    ),
    Field(name="creativity", kind=Number(bounds=Bounds(ge=0, le=1)), default=0.35),
    Field(name="resemblance", kind=Number(bounds=Bounds(ge=0, le=1)), default=0.6),
    Field(name="guidance_scale", kind=Number(bounds=Bounds(ge=0, le=20)), default=4.0),
    Field(name="num_inference_steps", kind=Integer(bounds=Bounds(ge=4, le=50)), default=18),
    Field(name="seed", kind=Integer(), nullable=True),
    Field(name="enable_safety_checker", kind=Boolean(), default=True),
))  # fmt: skip


@frozen(kw_only=True)
class UpscaleWork:
    """What the upscaler does.

    Attributes:
        usual: Run time at factor 2 and 18 steps.
        studio: Enlarges the picture.
    """

    usual: Pace = field(factory=lambda: Pace(median_s=12.0))
    studio: Studio = field(factory=Studio)

    def pace(self, values: Mapping[str, Any]) -> Pace:
        """Return run times that grow with the area."""
        area = (values["upscale_factor"] / 2) ** 2
        steps = 0.4 + 0.6 * values["num_inference_steps"] / 18
        return evolve(self.usual, median_s=self.usual.median_s * area * steps)

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the progress bar over the tiles."""
        tiles = max(1, math.ceil(values["upscale_factor"] ** 2))
        duration_s = 0.9 * self.pace(values).median_s
        return ("loading image", *progress_lines(tiles, duration_s=duration_s, unit="tile"))

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:
        """Return a link to the enlarged picture, or the 422 that says why there is none."""
        url, factor = values["image_url"], values["upscale_factor"]
        seed = seed if values["seed"] is None else values["seed"]
        size = self._measure(url, factor, files)
        if isinstance(size, dict):
            return refuse(size)
        width, height = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))

        def draw() -> bytes:
            # Looked up again instead of kept: thousands of waiting jobs would
            # otherwise hold thousands of pictures.
            source = files.find(url)
            if source is None:
                raise LookupError("the picture to enlarge has left the shelf")
            return self.studio.enlarge(source.data, width=width, height=height)

        name = f"{name_file(url, seed, width, height)}.png"
        inference_s = 0.9 * self.pace(values).run_time_s(draw=Draws("timing", seed).draw())
        image = {
            "url": files.add(name=name, content_type="image/png", draw=draw),
            "width": width,
            "height": height,
            "content_type": "image/png",
            "file_name": name,
            "file_size": None,
        }
        return Answer(
            body={"image": image, "seed": seed, "timings": {"inference": inference_s}},
            billable_units=float(math.ceil(width * height / MEGAPIXEL)),
        )

    def _measure(self, url: str, factor: float, files: FileShelf) -> tuple[int, int] | Problem:
        """Return the picture's width and height, or what is wrong with it."""
        location = ("body", "image_url")
        if not self.studio.can_enlarge():
            message = "Enlarging needs Pillow: pip install 'falq[emulator]'"
            return build_problem("feature_not_supported", location, message, url)
        source = files.find(url)
        if source is None:
            message = "Failed to download the file. Check that the URL is public and reachable."
            return build_problem("file_download_error", location, message, url)
        side = int(math.sqrt(MOST_PIXELS) / factor)
        too_large = build_problem(
            "image_too_large",
            location,
            f"Image is too large. At this factor a side may have {side} pixels at most.",
            url,
            max_height=side,
            max_width=side,
        )
        try:
            size = self.studio.measure(source.data)
        except UnreadableError:
            message = "Failed to load the image. Check that it is a complete image file."
            return build_problem("image_load_error", location, message, url)
        except OversizeError:
            return too_large
        return too_large if max(size) > side else size
