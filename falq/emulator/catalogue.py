"""The catalogue of the emulated Platform API: the models, and their documents.

Owns the entries, the search in them and the tables of the models' outputs (fal-wire
9.1 and 12). It never writes a reply: `platform` does. The echo is behind every
other id and in no catalogue, as a private app would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from attrs import frozen

from falq.emulator.history import BadQueryError, read_endpoints
from falq.emulator.models.pictures import DEV, SCHNELL, SDXL
from falq.emulator.models.schema import Boolean, Field, Integer, ListOf, Number, Record, Text
from falq.emulator.models.speech import SPEECH
from falq.emulator.models.transcription import WHISPER
from falq.emulator.models.upscaler import CLARITY
from falq.emulator.models.video import VIDEO
from falq.emulator.openapi import write_document

_MOST_ENTRIES = 100
_USUAL_ENTRIES = 50
_EXPANSIONS = {"openapi-3.0", "enterprise_status"}
_STATUSES = ("active", "deprecated")


def _file(*more: Field) -> Record:
    return Record((
        Field(name="url", kind=Text(), required=True),
        *more,
        Field(name="content_type", kind=Text(), nullable=True),
        Field(name="file_name", kind=Text(), nullable=True),
        Field(name="file_size", kind=Integer(), nullable=True),
    ))  # fmt: skip


_IMAGE = _file(
    Field(name="width", kind=Integer(), nullable=True),
    Field(name="height", kind=Integer(), nullable=True),
)
_AUDIO = _file(
    Field(name="duration", kind=Number(), nullable=True),
    Field(name="channels", kind=Integer(), nullable=True),
    Field(name="sample_rate", kind=Integer(), nullable=True),
)
_TIMINGS = Field(
    name="timings", kind=Record((Field(name="inference", kind=Number()),)), required=True
)
_PICTURES = Record((
    Field(name="images", kind=ListOf(item=_IMAGE), required=True),
    _TIMINGS,
    Field(name="seed", kind=Integer(), required=True),
    Field(name="has_nsfw_concepts", kind=ListOf(item=Boolean()), required=True),
    Field(name="prompt", kind=Text(), required=True),
))  # fmt: skip
_STAMP = Field(name="timestamp", kind=ListOf(item=Number()), required=True)
_TEXTS = Record((
    Field(name="text", kind=Text(), required=True),
    Field(
        name="chunks",
        kind=ListOf(
            item=Record((
                _STAMP,
                Field(name="text", kind=Text(), required=True),
                Field(name="speaker", kind=Text(), nullable=True),
            ))
        ),
    ),
    Field(name="inferred_languages", kind=ListOf(item=Text())),
    Field(
        name="diarization_segments",
        kind=ListOf(item=Record((_STAMP, Field(name="speaker", kind=Text(), nullable=True)))),
    ),
))  # fmt: skip


@frozen(kw_only=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        name: What it is called.
        category: What it makes of what.
        description: What it does.
        tags: Words that it goes with.
        source: The table of its input.
        answer: The table of its output.
        status: `active` or `deprecated`.
    """

    name: str
    category: str
    description: str
    tags: tuple[str, ...]
    source: Record
    answer: Record
    status: str = "active"


ENTRIES: Mapping[str, Entry] = MappingProxyType({
    "fal-ai/flux/schnell": Entry(
        name="FLUX.1 [schnell]",
        category="text-to-image",
        description="Draws pictures from a prompt in 1 to 12 steps.",
        tags=("fast", "picture"),
        source=SCHNELL,
        answer=_PICTURES,
    ),
    "fal-ai/flux/dev": Entry(
        name="FLUX.1 [dev]",
        category="text-to-image",
        description="Draws pictures from a prompt with care.",
        tags=("picture",),
        source=DEV,
        answer=_PICTURES,
    ),
    "fal-ai/fast-sdxl": Entry(
        name="Stable Diffusion XL",
        category="text-to-image",
        description="Draws pictures from a prompt, with LoRAs and embeddings.",
        tags=("picture", "lora"),
        source=SDXL,
        answer=_PICTURES,
    ),
    "fal-ai/clarity-upscaler": Entry(
        name="Clarity Upscaler",
        category="image-to-image",
        description="Enlarges a picture and adds detail.",
        tags=("upscaling", "picture"),
        source=CLARITY,
        answer=Record((
            Field(name="image", kind=_IMAGE, required=True),
            Field(name="seed", kind=Integer(), required=True),
            _TIMINGS,
        )),
    ),
    "fal-ai/minimax/video-01": Entry(
        name="MiniMax (Hailuo AI) Video 01",
        category="text-to-video",
        description="Shoots a film of some seconds from a prompt.",
        tags=("video",),
        source=VIDEO,
        answer=Record((Field(name="video", kind=_file(), required=True),)),
    ),
    "fal-ai/f5-tts": Entry(
        name="F5 TTS",
        category="text-to-audio",
        description="Says a text in the voice of a recording.",
        tags=("speech",),
        source=SPEECH,
        answer=Record((Field(name="audio_url", kind=_AUDIO, required=True),)),
    ),
    "fal-ai/whisper": Entry(
        name="Whisper",
        category="speech-to-text",
        description="Writes down what a recording says.",
        tags=("speech", "transcription"),
        source=WHISPER,
        answer=_TEXTS,
    ),
})  # fmt: skip


def list_models(query: str) -> dict[str, Any]:
    """Return a page of the catalogue.

    Args:
        query: Of the call, as it came.

    Raises:
        BadQueryError: A value in it cannot be used.
    """
    fields = {name: values[-1] for name, values in parse_qs(query).items()}
    expansions = _read_expansions(query)
    limit = _read_limit(fields.get("limit"))
    asked = _read_asked(query)
    found = [
        endpoint
        for endpoint, entry in sorted(ENTRIES.items())
        if (asked is None or endpoint in asked)
        and _fits(endpoint, entry, fields)
        and endpoint > fields.get("cursor", "")
    ]
    shown = found[:limit]
    has_more = len(found) > len(shown)
    return {
        "models": [_write(endpoint, expansions) for endpoint in shown],
        "next_cursor": shown[-1] if has_more else None,
        "has_more": has_more,
    }


def _read_asked(query: str) -> frozenset[str] | None:
    return frozenset(read_endpoints(query)) if "endpoint_id" in parse_qs(query) else None


def _read_expansions(query: str) -> set[str]:
    given = {one for text in parse_qs(query).get("expand", []) for one in text.split(",")}
    if given - _EXPANSIONS:
        raise BadQueryError(f"expand must be one of {', '.join(sorted(_EXPANSIONS))}")
    return given


def _read_limit(text: str | None) -> int:
    if text is None:
        return _USUAL_ENTRIES
    limit = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= limit <= _MOST_ENTRIES:
        raise BadQueryError(f"limit must lie between 1 and {_MOST_ENTRIES}")
    return limit


def _fits(endpoint: str, entry: Entry, fields: Mapping[str, str]) -> bool:
    status = fields.get("status")
    if status is not None and status not in _STATUSES:
        raise BadQueryError(f"status must be one of {', '.join(_STATUSES)}")
    if status not in {None, entry.status}:
        return False
    if fields.get("category", entry.category) != entry.category:
        return False
    text = " ".join((endpoint, entry.name, entry.description, *entry.tags)).lower()
    return all(word in text for word in fields.get("q", "").lower().split())


def _write(endpoint: str, expansions: set[str]) -> dict[str, Any]:
    entry = ENTRIES[endpoint]
    written: dict[str, Any] = {
        "endpoint_id": endpoint,
        "metadata": {
            "display_name": entry.name,
            "category": entry.category,
            "description": entry.description,
            "status": entry.status,
            "tags": list(entry.tags),
            "updated_at": "2026-01-01T00:00:00Z",
            "is_favorited": False,
            "thumbnail_url": None,
            "model_url": f"https://fal.run/{endpoint}",
            "date": "2026-01-01T00:00:00Z",
            "highlighted": False,
            "pinned": False,
        },
    }
    if "openapi-3.0" in expansions:
        written["openapi"] = write_document(
            endpoint,
            title=entry.name,
            category=entry.category,
            source=entry.source,
            answer=entry.answer,
        )
    if "enterprise_status" in expansions:
        written["enterprise_status"] = "ready"
    return written
