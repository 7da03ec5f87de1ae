"""Find the model behind an endpoint id.

Owns the list of models. What belongs where:

- `base`: what the queue asks of a model.
- `schema`, `problems`: input tables, and the errors they give.
- `checked`: a table in front of a model's work; `pace`: run times and progress bars.
- `pictures`, `upscaler`, `video`, `speech`, `transcription`: the models' work.
- `echo`: every id that has no model of its own.

A model is a pure function of input, seed and draw: no clock, sockets or chance of
its own. Run times are believable, not measured; the emulator's `speed` scales
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from falq.emulator.models.base import Model
from falq.emulator.models.checked import Checked
from falq.emulator.models.echo import Echo
from falq.emulator.models.pace import Pace
from falq.emulator.models.pictures import DEV, SCHNELL, SDXL, PictureWork
from falq.emulator.models.speech import SPEECH, SpeechWork
from falq.emulator.models.transcription import WHISPER, TranscriptionWork
from falq.emulator.models.upscaler import CLARITY, UpscaleWork
from falq.emulator.models.video import VIDEO, VideoWork

MODELS: Mapping[str, Model] = MappingProxyType({
    "fal-ai/flux/schnell": Checked(
        record=SCHNELL, work=PictureWork(usual=Pace(median_s=0.6), usual_steps=4)
    ),
    "fal-ai/flux/dev": Checked(
        record=DEV, work=PictureWork(usual=Pace(median_s=3.0), usual_steps=28)
    ),
    "fal-ai/fast-sdxl": Checked(
        record=SDXL,
        work=PictureWork(usual=Pace(median_s=2.0), usual_steps=25, format_field="format"),
    ),
    "fal-ai/clarity-upscaler": Checked(record=CLARITY, work=UpscaleWork()),
    "fal-ai/minimax/video-01": Checked(record=VIDEO, work=VideoWork()),
    "fal-ai/f5-tts": Checked(record=SPEECH, work=SpeechWork()),
    "fal-ai/whisper": Checked(record=WHISPER, work=TranscriptionWork()),
})  # fmt: skip


def find_model(endpoint: str) -> Model:
    """Return the model behind a full endpoint id; the echo if there is none.

    Args:
        endpoint: Id with its sub-path, such as `fal-ai/flux/schnell`.

    Example:
        >>> find_model("fal-ai/flux/schnell") is MODELS["fal-ai/flux/schnell"]
        True
    """
    return MODELS.get(endpoint) or Echo()
