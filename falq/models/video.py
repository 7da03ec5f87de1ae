"""The model that shoots a film from a prompt: MiniMax video-01.

Owns its fields (fal-wire 12.5, 2026).
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from falq.models.base import ModelInput, ModelOutput, OutputPart
from falq.models.media_files import File


@frozen(kw_only=True)
class VideoOutput(ModelOutput):
    """The film.

    Attributes:
        video: The film's file.
    """

    video: File


@frozen(kw_only=True)
class MinimaxVideo01(ModelInput[VideoOutput]):
    """Shoots a film of some seconds, in minutes: `fal-ai/minimax/video-01`.

    Attributes:
        prompt: What happens in it.
        prompt_optimizer: Let the server write a better prompt; default True.
    """

    endpoint: ClassVar[str] = "fal-ai/minimax/video-01"
    output: ClassVar[type[OutputPart]] = VideoOutput

    prompt: str
    prompt_optimizer: bool | None = None
