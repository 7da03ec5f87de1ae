"""The media that models answer with, and the sizes that pictures are asked for in.

Owns the types that several models share (fal-wire 12, common types). What a model
takes or gives beside them is in its own module.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from attrs import frozen

from falq.models.base import InputPart, OutputPart
from falq.models.hints import Range

ImageSizePreset: TypeAlias = Literal[
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"
]
"""Sizes by name, from 512 by 512 (`square`) to 1024 by 1024 (`square_hd`)."""


@frozen(kw_only=True)
class ImageSize(InputPart):
    """A picture's size in pixels.

    Attributes:
        width: 1 to 14142; the model's default is 512.
        height: 1 to 14142; the model's default is 512.
    """

    width: Annotated[int | None, Range(1, 14142)] = None
    height: Annotated[int | None, Range(1, 14142)] = None


@frozen(kw_only=True)
class File(OutputPart):
    """A media file.

    Attributes:
        url: Where it lies: https, or `data:` with `sync_mode`.
        content_type: Such as `video/mp4`, if told.
        file_name: What the model calls it, if it does.
        file_size: In bytes, if told.
    """

    url: str
    content_type: str | None = None
    file_name: str | None = None
    file_size: int | None = None


@frozen(kw_only=True)
class Image(File):
    """A picture.

    Attributes:
        width: In pixels, if told.
        height: In pixels, if told.
    """

    width: int | None = None
    height: int | None = None


@frozen(kw_only=True)
class AudioFile(File):
    """A recording.

    Attributes:
        duration: In seconds, if told.
        channels: 1 is mono, if told.
        sample_rate: In Hz, if told.
        bitrate: As the model writes it, if told.
    """

    duration: float | None = None
    channels: int | None = None
    sample_rate: int | None = None
    bitrate: int | str | None = None
