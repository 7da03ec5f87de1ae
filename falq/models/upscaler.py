"""The model that enlarges a picture: the clarity upscaler.

Owns its fields (fal-wire 12.4, 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from falq.models.base import MediaSource, ModelInput, ModelOutput, OutputPart
from falq.models.media_files import Image


@frozen(kw_only=True)
class UpscaleOutput(ModelOutput):
    """The enlarged picture.

    Attributes:
        image: The picture.
        seed: The seed that was used.
        timings: Seconds by step, such as `inference`.
    """

    image: Image
    seed: int | None = None
    timings: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class ClarityUpscaler(ModelInput[UpscaleOutput]):
    """Enlarges a picture and adds detail: `fal-ai/clarity-upscaler`.

    The factor is `upscale_factor`. A `scale`, as some guides write it, is ignored
    by the server, which then enlarges by 2 and bills that.

    Attributes:
        image_url: The picture: its URL, or a file to upload.
        prompt: What it shows; default `masterpiece, best quality, highres`.
        upscale_factor: How often as wide and high; default 2.
        negative_prompt: What it shall not become; default
            `(worst quality, low quality, normal quality:2)`.
        creativity: How much is made up; default 0.35.
        resemblance: How much is kept; default 0.6.
        guidance_scale: How closely the prompt is followed; default 4.
        num_inference_steps: Default 18.
        seed: Default is drawn by the server.
        enable_safety_checker: Default True.
    """

    endpoint: ClassVar[str] = "fal-ai/clarity-upscaler"
    output: ClassVar[type[OutputPart]] = UpscaleOutput

    image_url: MediaSource
    prompt: str | None = None
    upscale_factor: float | None = None
    negative_prompt: str | None = None
    creativity: float | None = None
    resemblance: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    seed: int | None = None
    enable_safety_checker: bool | None = None
