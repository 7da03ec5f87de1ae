"""The models that draw pictures from a prompt: both FLUX models and fast SDXL.

Owns their fields (fal-wire 12.1 to 12.3, 2026). Defaults are the server's: a field
that was not said is not sent, and the docstrings tell what happens then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from attrs import field, frozen

from falq.models.base import InputPart, ModelInput, ModelOutput, OutputPart
from falq.models.hints import Range
from falq.models.media_files import Image, ImageSize, ImageSizePreset


@frozen(kw_only=True)
class ImagesOutput(ModelOutput):
    """Pictures and what they were drawn from.

    Attributes:
        images: The pictures.
        seed: The seed that was used; the same one with the same input draws the
            same picture.
        prompt: The prompt that was drawn.
        timings: Seconds by step, such as `inference`.
        has_nsfw_concepts: For each picture, whether the safety checker struck;
            not every answer has it.
    """

    images: tuple[Image, ...]
    seed: int | None = None
    prompt: str | None = None
    timings: Mapping[str, Any] = field(factory=dict)
    has_nsfw_concepts: tuple[bool, ...] = ()


@frozen(kw_only=True)
class FluxSchnell(ModelInput[ImagesOutput]):
    """Draws pictures in a few steps: `fal-ai/flux/schnell`.

    Attributes:
        prompt: What to draw.
        image_size: A preset or an `ImageSize`; default `landscape_4_3`.
        num_inference_steps: 1 to 12; default 4.
        guidance_scale: How closely the prompt is followed; default 3.5.
        num_images: Default 1.
        seed: Default is drawn by the server.
        enable_safety_checker: Default True.
        output_format: Default `jpeg`.
        acceleration: Default `none`.
        sync_mode: Pictures come as `data:` URLs inside the result; default False.
    """

    endpoint: ClassVar[str] = "fal-ai/flux/schnell"
    output: ClassVar[type[OutputPart]] = ImagesOutput

    prompt: str
    image_size: ImageSizePreset | ImageSize | None = None
    num_inference_steps: Annotated[int | None, Range(1, 12)] = None
    guidance_scale: float | None = None
    num_images: int | None = None
    seed: int | None = None
    enable_safety_checker: bool | None = None
    output_format: Literal["jpeg", "png"] | None = None
    acceleration: Literal["none", "regular", "high"] | None = None
    sync_mode: bool | None = None


@frozen(kw_only=True)
class FluxDev(ModelInput[ImagesOutput]):
    """Draws pictures with care: `fal-ai/flux/dev`.

    Attributes:
        prompt: What to draw.
        image_size: A preset or an `ImageSize`; default `landscape_4_3`.
        num_inference_steps: Default 28.
        guidance_scale: How closely the prompt is followed; default 3.5.
        num_images: Default 1.
        seed: Default is drawn by the server.
        enable_safety_checker: Default True.
        output_format: Default `jpeg`.
        acceleration: Default `none`.
        sync_mode: Pictures come as `data:` URLs inside the result; default False.
    """

    endpoint: ClassVar[str] = "fal-ai/flux/dev"
    output: ClassVar[type[OutputPart]] = ImagesOutput

    prompt: str
    image_size: ImageSizePreset | ImageSize | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    num_images: int | None = None
    seed: int | None = None
    enable_safety_checker: bool | None = None
    output_format: Literal["jpeg", "png"] | None = None
    acceleration: Literal["none", "regular", "high"] | None = None
    sync_mode: bool | None = None


@frozen(kw_only=True)
class Lora(InputPart):
    """Weights that change a model's style.

    Attributes:
        path: URL or name of the weights.
        scale: How strongly they count; default 1.
        force: Load them anew; default False.
    """

    path: str
    scale: float | None = None
    force: bool | None = None


@frozen(kw_only=True)
class Embedding(InputPart):
    """Words that a model learned.

    Attributes:
        path: URL or name of the embedding.
        tokens: What the prompt calls it; default `<s0>` and `<s1>`.
    """

    path: str
    tokens: tuple[str, ...] | None = None


@frozen(kw_only=True)
class FastSdxl(ModelInput[ImagesOutput]):
    """Draws pictures with Stable Diffusion XL: `fal-ai/fast-sdxl`.

    Attributes:
        prompt: What to draw.
        negative_prompt: What not to draw; default nothing.
        image_size: A preset or an `ImageSize`; default `square_hd`.
        num_inference_steps: Default 25.
        guidance_scale: How closely the prompt is followed; default 7.5.
        num_images: Default 1.
        seed: Default is drawn by the server.
        loras: Weights to use; default none.
        embeddings: Embeddings to use; default none.
        enable_safety_checker: Default True.
        safety_checker_version: Default `v1`.
        expand_prompt: Let the server write a longer prompt; default False.
        format: Default `jpeg`. FLUX calls this `output_format`.
        request_id: Any text, to find the request by; not the queue's id.
        sync_mode: Pictures come as `data:` URLs inside the result; default False.
    """

    endpoint: ClassVar[str] = "fal-ai/fast-sdxl"
    output: ClassVar[type[OutputPart]] = ImagesOutput

    prompt: str
    negative_prompt: str | None = None
    image_size: ImageSizePreset | ImageSize | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    num_images: int | None = None
    seed: int | None = None
    loras: tuple[Lora, ...] | None = None
    embeddings: tuple[Embedding, ...] | None = None
    enable_safety_checker: bool | None = None
    safety_checker_version: Literal["v1", "v2"] | None = None
    expand_prompt: bool | None = None
    format: Literal["jpeg", "png"] | None = None
    request_id: str | None = None
    sync_mode: bool | None = None
