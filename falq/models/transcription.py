"""The model that writes down what a recording says: Whisper.

Owns its fields (fal-wire 12.7, 2026).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from attrs import frozen

from falq.models.base import MediaSource, ModelInput, ModelOutput, OutputPart
from falq.models.hints import Range


@frozen(kw_only=True)
class TranscriptionChunk(OutputPart):
    """A piece of what was said.

    Attributes:
        text: What was said.
        timestamp: Start and end in seconds; either may be None.
        speaker: Who said it, if speakers were told apart.
    """

    text: str
    timestamp: tuple[float | None, ...] = ()
    speaker: str | None = None


@frozen(kw_only=True)
class SpeakerSegment(OutputPart):
    """A time in which one person speaks.

    Attributes:
        speaker: Who.
        timestamp: Start and end in seconds; either may be None.
    """

    speaker: str | None = None
    timestamp: tuple[float | None, ...] = ()


@frozen(kw_only=True)
class TranscriptionOutput(ModelOutput):
    """What the recording says.

    Attributes:
        text: All of it.
        chunks: Its pieces by `chunk_level`; empty with `none`.
        inferred_languages: What languages were heard.
        diarization_segments: Who spoke when, with `diarize`.
    """

    text: str
    chunks: tuple[TranscriptionChunk, ...] = ()
    inferred_languages: tuple[str, ...] = ()
    diarization_segments: tuple[SpeakerSegment, ...] = ()


@frozen(kw_only=True)
class Whisper(ModelInput[TranscriptionOutput]):
    """Writes down a recording: `fal-ai/whisper`.

    Attributes:
        audio_url: The recording: its URL, or a file to upload; mp3, mp4, mpeg,
            mpga, m4a, wav or webm.
        task: `transcribe`, or `translate` into English; default `transcribe`.
        language: Two letters, such as `de`; default is what is heard.
        diarize: Tell speakers apart; default False.
        chunk_level: Default `segment`.
        version: Of Whisper; default `3`.
        batch_size: Default 64.
        prompt: Words that are likely to come; default nothing.
        num_speakers: 1 or more; default is what is heard.
    """

    endpoint: ClassVar[str] = "fal-ai/whisper"
    output: ClassVar[type[OutputPart]] = TranscriptionOutput

    audio_url: MediaSource
    task: Literal["transcribe", "translate"] | None = None
    language: str | None = None
    diarize: bool | None = None
    chunk_level: Literal["none", "segment", "word"] | None = None
    version: Literal["3"] | None = None
    batch_size: int | None = None
    prompt: str | None = None
    num_speakers: Annotated[int | None, Range(least=1)] = None
