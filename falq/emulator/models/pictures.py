"""Draw pictures from a prompt: both FLUX models and fast SDXL.

Owns their input tables (fal-wire 12.1 to 12.3) and their common answer. It never
draws before a file is read, except for `sync_mode`, whose answer carries the
picture itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from falq.emulator.media.draws import Draws
from falq.emulator.media.studio import Studio, build_data_url
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace, progress_lines
from falq.emulator.models.problems import fail
from falq.emulator.models.schema import (
    Boolean,
    Bounds,
    Choice,
    Field,
    Integer,
    ListOf,
    Number,
    OneOf,
    Record,
    Text,
)

PRESETS: Mapping[str, tuple[int, int]] = MappingProxyType({
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
})  # fmt: skip
MEGAPIXEL = 1024 * 1024

# The schema allows sides of 14142 pixels, which is 600 MB a picture. A real card
# runs out of memory long before, and so does this one, on purpose.
MOST_PIXELS = 36_000_000

SIDE = Integer(bounds=Bounds(gt=0, le=14142))
IMAGE_SIZE = OneOf(
    kinds=MappingProxyType({
        "ImageSize": Record((
            Field(name="width", kind=SIDE, default=512),
            Field(name="height", kind=SIDE, default=512),
        )),
        "ImageSizePreset": Choice(words=tuple(PRESETS), problem_type="enum"),
    })
)  # fmt: skip
LORA = Record((
    Field(name="path", kind=Text(), required=True),
    Field(name="scale", kind=Number(), default=1.0),
    Field(name="force", kind=Boolean(), default=False),
))  # fmt: skip
EMBEDDING = Record((
    Field(name="path", kind=Text(), required=True),
    Field(name="tokens", kind=ListOf(item=Text()), default=("<s0>", "<s1>")),
))  # fmt: skip
FORMAT = Choice(words=("jpeg", "png"))


def _flux(*, steps: int, most_steps: int) -> Record:
    return Record((
        Field(name="prompt", kind=Text(), required=True),
        Field(name="image_size", kind=IMAGE_SIZE, default="landscape_4_3"),
        Field(
            name="num_inference_steps",
            kind=Integer(bounds=Bounds(ge=1, le=most_steps)),
            default=steps,
        ),
        Field(name="guidance_scale", kind=Number(bounds=Bounds(ge=1, le=20)), default=3.5),
        Field(name="num_images", kind=Integer(bounds=Bounds(ge=1, le=4)), default=1),
        Field(name="seed", kind=Integer(), nullable=True),
        Field(name="enable_safety_checker", kind=Boolean(), default=True),
        Field(name="output_format", kind=FORMAT, default="jpeg"),
        Field(
            name="acceleration",
            kind=Choice(words=("none", "regular", "high")),
            default="none",
        ),
        Field(name="sync_mode", kind=Boolean(), default=False),
    ))  # fmt: skip


SCHNELL = _flux(steps=4, most_steps=12)
DEV = _flux(steps=28, most_steps=50)
SDXL = Record((
    Field(name="prompt", kind=Text(), required=True),
    Field(name="negative_prompt", kind=Text(), default=""),
    Field(name="image_size", kind=IMAGE_SIZE, default="square_hd"),
    Field(name="num_inference_steps", kind=Integer(bounds=Bounds(ge=1, le=50)), default=25),
    Field(name="guidance_scale", kind=Number(bounds=Bounds(ge=0, le=20)), default=7.5),
    Field(name="num_images", kind=Integer(bounds=Bounds(ge=1, le=8)), default=1),
    Field(name="seed", kind=Integer(), nullable=True),
    Field(name="loras", kind=ListOf(item=LORA), default=()),
    Field(name="embeddings", kind=ListOf(item=EMBEDDING), default=()),
    Field(name="enable_safety_checker", kind=Boolean(), default=True),
    Field(name="safety_checker_version", kind=Choice(words=("v1", "v2")), default="v1"),
    Field(name="expand_prompt", kind=Boolean(), default=False),
    # Not `output_format`: this model is older than that name.
    Field(name="format", kind=FORMAT, default="jpeg"),
    Field(name="request_id", kind=Text(), default=""),
    Field(name="sync_mode", kind=Boolean(), default=False),
))  # fmt: skip


@frozen(kw_only=True)
class PictureWork:
    """What the picture models do.

    Attributes:
        usual: Run time of one picture at the usual number of steps.
        usual_steps: That number.
        format_field: Name of the input field that holds the file format.
        studio: Draws the pictures.
    """

    usual: Pace
    usual_steps: int
    format_field: str = "output_format"
    studio: Studio = field(factory=Studio)

    def pace(self, values: Mapping[str, Any]) -> Pace:
        """Return run times that grow with steps and, a little less, with pictures."""
        # A fixed share goes to loading, encoding and upload.
        steps = 0.3 + 0.7 * values["num_inference_steps"] / self.usual_steps
        pictures = 1 + 0.6 * (values["num_images"] - 1)
        return evolve(self.usual, median_s=self.usual.median_s * steps * pictures)

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the progress bar over the steps."""
        duration_s = 0.7 * self.pace(values).median_s
        return progress_lines(values["num_inference_steps"], duration_s=duration_s)

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:
        """Return links to the pictures, or the pictures themselves for `sync_mode`."""
        seed = seed if values["seed"] is None else values["seed"]
        width, height = _read_size(values["image_size"])
        if width * height > MOST_PIXELS:
            return fail(503, "CUDA error: out of memory")
        prompt, count = values["prompt"], values["num_images"]
        picture_format = self.studio.picture_format(values[self.format_field])
        content_type = f"image/{picture_format}"
        images = []
        for index in range(count):
            draw = partial(
                self.studio.draw_picture,
                prompt,
                seed=seed,
                index=index,
                width=width,
                height=height,
                picture_format=picture_format,
            )
            name = f"{name_file(prompt, seed, index, width, height)}.{picture_format}"
            url = _publish(files, name, content_type, draw, is_inline=values["sync_mode"])
            images.append({
                "url": url, "width": width, "height": height, "content_type": content_type
            })  # fmt: skip
        inference_s = 0.7 * self.pace(values).run_time_s(draw=Draws("timing", seed).draw())
        return Answer(
            body={
                "images": images,
                "timings": {"inference": inference_s},
                "seed": seed,
                "has_nsfw_concepts": [False] * count,
                "prompt": prompt,
            },
            # Begun megapixels: the default size of every model counts as one.
            billable_units=float(count * math.ceil(width * height / MEGAPIXEL)),
        )


def name_file(*parts: object) -> str:
    """Return a file name without suffix that follows from `parts`."""
    return Draws("name", *parts).bytes(12).hex()


def _read_size(size: str | Mapping[str, int]) -> tuple[int, int]:
    return PRESETS[size] if isinstance(size, str) else (size["width"], size["height"])


def _publish(
    files: FileShelf, name: str, content_type: str, draw: Callable[[], bytes], *, is_inline: bool
) -> str:
    if is_inline:
        return build_data_url(draw(), content_type)
    return files.add(name=name, content_type=content_type, draw=draw)
