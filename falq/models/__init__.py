"""Typed inputs and outputs of models: give one to a session, get a typed result.

    base           what every input and output is
    hints          what the hints of their fields mean
    media_files    pictures, files, recordings, sizes
    pictures       FluxSchnell, FluxDev, FastSdxl
    upscaler       ClarityUpscaler
    video          MinimaxVideo01
    speech         F5Tts
    transcription  Whisper
    typed          handles, outcomes and streams whose results are typed
    checking       arguments against a schema before a submit

Owns the inputs and outputs of seven models. `falq models stub ENDPOINT`
writes a module like these for any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from falq.models.base import InputPart as InputPart
from falq.models.base import MediaSource as MediaSource
from falq.models.base import ModelInput as ModelInput
from falq.models.base import ModelOutput as ModelOutput
from falq.models.base import OutputPart as OutputPart
from falq.models.hints import Range as Range
from falq.models.media_files import AudioFile as AudioFile
from falq.models.media_files import File as File
from falq.models.media_files import Image as Image
from falq.models.media_files import ImageSize as ImageSize
from falq.models.media_files import ImageSizePreset as ImageSizePreset
from falq.models.pictures import Embedding as Embedding
from falq.models.pictures import FastSdxl as FastSdxl
from falq.models.pictures import FluxDev as FluxDev
from falq.models.pictures import FluxSchnell as FluxSchnell
from falq.models.pictures import ImagesOutput as ImagesOutput
from falq.models.pictures import Lora as Lora
from falq.models.speech import F5Tts as F5Tts
from falq.models.speech import SpeechOutput as SpeechOutput
from falq.models.transcription import SpeakerSegment as SpeakerSegment
from falq.models.transcription import TranscriptionChunk as TranscriptionChunk
from falq.models.transcription import TranscriptionOutput as TranscriptionOutput
from falq.models.transcription import Whisper as Whisper
from falq.models.typed import TypedHandle as TypedHandle
from falq.models.typed import TypedOutcome as TypedOutcome
from falq.models.typed import TypedOutcomeStream as TypedOutcomeStream
from falq.models.typed import TypedOutputStream as TypedOutputStream
from falq.models.upscaler import ClarityUpscaler as ClarityUpscaler
from falq.models.upscaler import UpscaleOutput as UpscaleOutput
from falq.models.video import MinimaxVideo01 as MinimaxVideo01
from falq.models.video import VideoOutput as VideoOutput

MODELS: Mapping[str, type[ModelInput[Any]]] = MappingProxyType({
    kind.endpoint: kind
    for kind in (
        FluxSchnell,
        FluxDev,
        FastSdxl,
        ClarityUpscaler,
        MinimaxVideo01,
        F5Tts,
        Whisper,
    )
})  # fmt: skip
"""The typed inputs that come with falq, by full endpoint id."""

__all__ = [
    "MODELS",
    "AudioFile",
    "ClarityUpscaler",
    "Embedding",
    "F5Tts",
    "FastSdxl",
    "File",
    "FluxDev",
    "FluxSchnell",
    "Image",
    "ImageSize",
    "ImageSizePreset",
    "ImagesOutput",
    "InputPart",
    "Lora",
    "MediaSource",
    "MinimaxVideo01",
    "ModelInput",
    "ModelOutput",
    "OutputPart",
    "Range",
    "SpeakerSegment",
    "SpeechOutput",
    "TranscriptionChunk",
    "TranscriptionOutput",
    "TypedHandle",
    "TypedOutcome",
    "TypedOutcomeStream",
    "TypedOutputStream",
    "UpscaleOutput",
    "VideoOutput",
    "Whisper",
]
