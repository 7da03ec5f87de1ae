"""The model that says a text in a voice: F5-TTS.

Owns its fields (fal-wire 12.6, 2026).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from attrs import frozen

from falq.models.base import MediaSource, ModelInput, ModelOutput, OutputPart
from falq.models.media_files import AudioFile


@frozen(kw_only=True)
class SpeechOutput(ModelOutput):
    """The recording.

    Attributes:
        audio_url: The recording: an object in spite of its name.
    """

    audio_url: AudioFile


@frozen(kw_only=True)
class F5Tts(ModelInput[SpeechOutput]):
    """Says a text in the voice of a recording: `fal-ai/f5-tts`.

    Attributes:
        gen_text: What to say.
        ref_audio_url: A recording of the voice: its URL, or a file to upload.
        model_type: Which of the two models speaks.
        ref_text: What the recording says; default is what the server hears.
        remove_silence: Default True.
    """

    endpoint: ClassVar[str] = "fal-ai/f5-tts"
    output: ClassVar[type[OutputPart]] = SpeechOutput

    gen_text: str
    ref_audio_url: MediaSource
    model_type: Literal["F5-TTS", "E2-TTS"]
    ref_text: str | None = None
    remove_silence: bool | None = None
