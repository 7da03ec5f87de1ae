"""Typed outputs: tolerant of what is new, missing or odd, and never without `raw`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import WireError
from falq.models import (
    MODELS,
    FluxSchnell,
    Image,
    ImagesOutput,
    ModelOutput,
    SpeechOutput,
    TranscriptionOutput,
    UpscaleOutput,
    VideoOutput,
)

GOLDEN = Path(__file__).parents[2] / "golden"
RECORDED = {
    "result_flux_schnell": "fal-ai/flux/schnell",
    "result_flux_schnell_maton": "fal-ai/flux/schnell",
    "result_fast_sdxl": "fal-ai/fast-sdxl",
    "result_clarity_upscaler": "fal-ai/clarity-upscaler",
    "result_minimax_video": "fal-ai/minimax/video-01",
    "result_f5_tts": "fal-ai/f5-tts",
    "result_whisper": "fal-ai/whisper",
}


def recorded(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "endpoint"), RECORDED.items())
def test_every_recorded_result_is_read_and_nothing_in_it_is_unknown(name, endpoint):
    payload = recorded(name)
    output = MODELS[endpoint].read_output(payload)
    assert type(output) is MODELS[endpoint].output
    assert output.raw == payload
    assert output.extra == {}


def test_the_fields_have_what_came():
    output = ImagesOutput.read(recorded("result_flux_schnell_maton"))
    [image] = output.images
    assert (image.width, image.height, image.content_type) == (1024, 1024, "image/jpeg")
    assert output.prompt == "a tiny cute cat"
    assert isinstance(output.seed, int)
    assert output.has_nsfw_concepts == ()
    assert output.timings["inference"] > 0


def test_the_speech_is_an_object_in_spite_of_its_name():
    output = SpeechOutput.read(recorded("result_f5_tts"))
    assert output.audio_url.url.startswith("https://")


def test_new_fields_survive_at_every_level():
    output = ImagesOutput.read({"images": [{"url": "u", "depth": 8}], "mood": "good"})
    assert output.extra == {"mood": "good"}
    assert output.images[0].extra == {"depth": 8}


@pytest.mark.parametrize(
    ("field_name", "odd", "value"),
    [
        ("seed", "seven", None),
        ("seed", 7.0, 7),
        ("seed", True, None),
        ("seed", None, None),
        ("prompt", 3, None),
        ("has_nsfw_concepts", None, ()),
        ("has_nsfw_concepts", [1], ()),
        ("timings", {"a": 1}, {"a": 1}),
    ],
)
def test_an_odd_field_is_its_default_and_stays_in_raw(field_name, odd, value):
    output = ImagesOutput.read({"images": [], field_name: odd})
    assert getattr(output, field_name) == value
    assert output.raw[field_name] == odd


@pytest.mark.parametrize(
    ("kind", "payload", "place"),
    [
        (ImagesOutput, b"\x89PNG", "the top"),
        (ImagesOutput, None, "the top"),
        (ImagesOutput, {}, "images"),
        (ImagesOutput, {"images": None}, "images"),
        (ImagesOutput, {"images": [{"url": "u"}, {}]}, r"images\[1\].url"),
        (UpscaleOutput, {"image": {"url": 3}}, "image.url"),
        (VideoOutput, {"video": "https://x"}, "video"),
        (SpeechOutput, {}, "audio_url"),
        (TranscriptionOutput, {"chunks": []}, "text"),
    ],
)
def test_without_what_it_is_about_it_is_no_result(kind, payload, place):
    with pytest.raises(WireError, match=rf"no {kind.__name__}: see {place};") as caught:
        kind.read(payload)
    assert caught.value.possibly_billed


def test_a_chunk_without_an_end_keeps_its_start():
    payload = {"text": "hi", "chunks": [{"timestamp": [1.5, None], "text": "hi"}]}
    assert TranscriptionOutput.read(payload).chunks[0].timestamp == (1.5, None)
    assert TranscriptionOutput.read({"text": "", "chunks": None}).chunks == ()


@frozen(kw_only=True)
class Rated(ModelOutput):
    rating: Literal["good", "bad"] | None = None
    class_: str | None = field(default=None, metadata={"wire": "class"})


def test_a_word_that_is_no_choice_yet_is_kept():
    assert Rated.read({"rating": "splendid"}).rating == "splendid"
    assert Rated.read({"rating": 3}).rating == 3


def test_a_field_is_read_by_its_name_on_the_wire():
    output = Rated.read({"class": "a", "class_": "b"})
    assert (output.class_, output.extra) == ("a", {"class_": "b"})


def test_outputs_are_equal_by_what_is_known_of_them():
    assert Image(url="u") == Image.read({"url": "u", "new": 1})


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["images", "url", "seed", "text", "chunks", "timestamp", "image", "video"])


@pytest.mark.slow
@given(st.sampled_from(list(MODELS.values())), st.dictionaries(KEYS, JSON) | JSON)
def test_any_result_is_read_or_refused_and_nothing_is_lost(kind, payload):
    output = None
    with contextlib.suppress(WireError):
        output = kind.read_output(payload)
    assert output is None or output.raw == payload


def test_an_input_reads_its_own_output():
    assert FluxSchnell.read_output({"images": []}) == ImagesOutput(images=())
