"""Write down what was said: Whisper.

Owns its input table (fal-wire 12.7) and its answer. It never listens: the words
follow from the recording's address. Only the length is real, where the recording
is one of the emulator's own WAV files or a `data:` URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from falq.emulator.media.draws import Draws
from falq.emulator.media.speech import measure_wav
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace, progress_lines
from falq.emulator.models.problems import build_problem, refuse
from falq.emulator.models.schema import Boolean, Bounds, Choice, Field, Integer, Record, Text

FORMATS = ("mp3", "mp4", "mpeg", "mpga", "m4a", "wav", "webm")
LANGUAGE_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha he hi "
    "hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl "
    "nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur "
    "uz vi yi yo zh"
)
LANGUAGE = Choice(words=tuple(LANGUAGE_CODES.split()), problem_type="enum")
WHISPER = Record((
    Field(name="audio_url", kind=Text(), required=True),
    Field(name="task", kind=Choice(words=("transcribe", "translate")), default="transcribe"),
    Field(name="language", kind=LANGUAGE, nullable=True),
    Field(name="diarize", kind=Boolean(), default=False),
    Field(
        name="chunk_level", kind=Choice(words=("none", "segment", "word")), default="segment"
    ),
    Field(name="version", kind=Choice(words=("3",)), default="3"),
    Field(name="batch_size", kind=Integer(bounds=Bounds(ge=1, le=64)), default=64),
    Field(name="prompt", kind=Text(), default=""),
    Field(name="num_speakers", kind=Integer(bounds=Bounds(ge=1)), nullable=True),
))  # fmt: skip

STORY = (
    "and then the river turned toward the old town where lamps were lit one after another while "
    "we waited for the last train with a small bag of apples because nobody knew when it would "
    "come but she said it always does on evenings like this so we sat down near the window"
)
WORD_S = 0.36
SEGMENT_WORDS = 11

# Nobody hears more voices than this in a recording, whatever number was given.
MOST_SPEAKERS = 20


@frozen(kw_only=True)
class TranscriptionWork:
    """What Whisper does.

    Attributes:
        usual: Run time of a recording at the usual batch size of 64.
    """

    usual: Pace = field(factory=lambda: Pace(median_s=5.0))

    def pace(self, values: Mapping[str, Any]) -> Pace:
        """Return run times that grow with small batches and with diarization."""
        batches = 1 + 0.5 * (1 - values["batch_size"] / 64)
        voices = 1.6 if values["diarize"] else 1.0
        median_s = self.usual.median_s * batches * voices
        return Pace(median_s=median_s, spread=self.usual.spread)

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what is done with the recording, in order."""
        last = ("running speaker diarization",) if values["diarize"] else ()
        bar = progress_lines(8, duration_s=self.pace(values).median_s, unit="chunk", most=4)
        return ("downloading audio", *bar, *last)

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:  # noqa: ARG002  # the protocol's signature: a recording says the same whatever the seed
        """Return the text with its chunks, or the 422 for a file that is no recording."""
        url = values["audio_url"]
        suffix = _read_suffix(url)
        if suffix and suffix not in FORMATS:
            message = f"Unsupported audio format. Supported formats are {', '.join(FORMATS)}."
            problem = build_problem(
                "unsupported_audio_format",
                ("body", "audio_url"),
                message,
                url,
                supported_formats=list(FORMATS),
            )
            return refuse(problem)
        draws = Draws("recording", url)
        source = files.find(url)
        heard_s = measure_wav(source.data) if source else None
        duration_s = draws.between(8.0, 60.0) if heard_s is None else heard_s
        language = values["language"] or "en"
        words = _time_words(duration_s, draws)
        segments = _group_words(words)
        speakers = _name_speakers(values, len(segments), draws)
        chunks: list[dict[str, Any]] = []
        if values["chunk_level"] == "segment":
            chunks = [
                _build_chunk(segment, speaker)
                for segment, speaker in zip(segments, speakers, strict=True)
            ]
        elif values["chunk_level"] == "word":
            chunks = [
                _build_chunk([word], speaker)
                for segment, speaker in zip(segments, speakers, strict=True)
                for word in segment
            ]
        return Answer(
            body={
                "text": " ".join(word for word, _, _ in words),
                "chunks": chunks,
                "inferred_languages": [language],
                "diarization_segments": [
                    {"timestamp": [segment[0][1], segment[-1][2]], "speaker": speaker}
                    for segment, speaker in zip(segments, speakers, strict=True)
                    if speaker is not None
                ],
            },
            billable_units=round(duration_s, 3),
        )


Timed = tuple[str, float, float]


def _read_suffix(url: str) -> str:
    """Return the lower-case file suffix of a web address; other URLs have none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"}:
        return ""
    return PurePosixPath(parts.path).suffix.removeprefix(".").lower()


def _time_words(duration_s: float, draws: Draws) -> list[Timed]:
    """Return words that fill the recording, each with its start and end in seconds."""
    count = max(1, int(duration_s / WORD_S))
    story = STORY.split()
    first, step = int(draws.between(0, len(story))), duration_s / count
    return [
        (
            story[(first + place) % len(story)],
            round(place * step, 2),
            round((place + 1) * step, 2),
        )
        for place in range(count)
    ]


def _group_words(words: list[Timed]) -> list[list[Timed]]:
    return [words[at : at + SEGMENT_WORDS] for at in range(0, len(words), SEGMENT_WORDS)]


def _name_speakers(values: Mapping[str, Any], segments: int, draws: Draws) -> list[str | None]:
    """Return who speaks in each segment; None throughout if nobody asked."""
    if not values["diarize"]:
        return [None] * segments
    voices = range(min(values["num_speakers"] or 2, MOST_SPEAKERS))
    return [f"SPEAKER_{draws.pick(voices):02d}" for _ in range(segments)]


def _build_chunk(words: list[Timed], speaker: str | None) -> dict[str, Any]:
    return {
        "timestamp": [words[0][1], words[-1][2]],
        "text": " ".join(word for word, _, _ in words),
        "speaker": speaker,
    }
