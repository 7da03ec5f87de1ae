"""Say a text in a voice: F5-TTS.

Owns its input table (fal-wire 12.6) and its answer. It never listens to the
reference recording: its address alone settles the voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import evolve, field, frozen

from falq.emulator.media.speech import (
    SAMPLE_RATE,
    measure_speech,
    plan_speech,
    render_speech,
)
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace, progress_lines
from falq.emulator.models.pictures import name_file
from falq.emulator.models.schema import Boolean, Choice, Field, Record, Text

SPEECH = Record((
    Field(name="gen_text", kind=Text(max_length=5000), required=True),
    Field(name="ref_audio_url", kind=Text(), required=True),
    Field(name="ref_text", kind=Text(), default=""),
    Field(name="model_type", kind=Choice(words=("F5-TTS", "E2-TTS")), required=True),
    Field(name="remove_silence", kind=Boolean(), default=True),
))  # fmt: skip

# Letters that the model says in one go; longer texts are cut into such pieces.
BATCH_LETTERS = 135


@frozen(kw_only=True)
class SpeechWork:
    """What the speech model does.

    Attributes:
        usual: Run time of a text of one batch.
    """

    usual: Pace = field(factory=lambda: Pace(median_s=4.0))

    def pace(self, values: Mapping[str, Any]) -> Pace:
        """Return run times that grow with the text."""
        batches = len(values["gen_text"]) / BATCH_LETTERS
        return evolve(self.usual, median_s=self.usual.median_s * (0.5 + 0.5 * batches))

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the progress bar over the batches."""
        first = () if values["ref_text"] else ("No reference text, transcribing reference audio",)
        batches = 1 + len(values["gen_text"]) // BATCH_LETTERS
        bar = progress_lines(batches, duration_s=self.pace(values).median_s)
        return (*first, f"Generating audio in {batches} batches", *bar)

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:
        """Return a link to the recording; `audio_url` is an object in spite of its name."""
        text, voice = values["gen_text"], values["ref_audio_url"]
        plan = partial(plan_speech, text, voice=voice, pauses=not values["remove_silence"])
        duration_s, size_bytes = measure_speech(plan())
        name = f"{name_file(text, voice, seed)}.wav"
        audio = {
            "url": files.add(
                name=name, content_type="audio/wav", draw=lambda: render_speech(plan())
            ),
            "content_type": "audio/wav",
            "file_name": name,
            "file_size": size_bytes,
            "duration": duration_s,
            "channels": 1,
            "sample_rate": SAMPLE_RATE,
        }
        return Answer(body={"audio_url": audio}, billable_units=round(duration_s, 3))
