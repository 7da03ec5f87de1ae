"""Sounds that resemble words."""

import array
import io
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq.emulator.media.speech import (
    SAMPLE_RATE,
    measure_speech,
    measure_wav,
    plan_speech,
    render_speech,
)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(text=st.text(max_size=40), pauses=st.booleans())
def test_any_text_becomes_a_wav_file_of_the_planned_length(text, pauses):
    sounds = plan_speech(text, voice="a", pauses=pauses)
    data = render_speech(sounds)
    duration_s, size_bytes = measure_speech(sounds)
    assert len(data) == size_bytes
    assert measure_wav(data) == pytest.approx(duration_s)
    assert duration_s > 0


def test_a_recording_can_be_heard_and_does_not_clip():
    data = render_speech(plan_speech("Hello world, this is a test.", voice="a", pauses=True))
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        assert reader.getframerate() == SAMPLE_RATE
        samples = array.array("h", reader.readframes(reader.getnframes()))
    assert 8_000 < max(samples) < 32_000
    silent = sum(abs(sample) < 50 for sample in samples) / len(samples)
    assert 0.1 < silent < 0.6


def test_speaking_takes_about_as_long_as_people_take():
    text = "The quick brown fox jumps over the lazy dog. " * 10
    duration_s, _ = measure_speech(plan_speech(text, voice="a", pauses=True))
    assert 9 < len(text) / duration_s < 20


def test_a_question_ends_higher_than_a_statement():
    def last_pitch(text):
        return next(
            sound.pitch_hz
            for sound in reversed(plan_speech(text, voice="a", pauses=True))
            if sound.pitch_hz
        )

    assert last_pitch("is it so?") > last_pitch("it is so.")


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no recording at all" * 10])
def test_what_is_no_wav_file_has_no_length(data):
    assert measure_wav(data) is None
