"""The speech model's answer and the recording behind it."""

import io
import wave

from falq.emulator.models import MODELS

MODEL = MODELS["fal-ai/f5-tts"]
BASE = {"ref_audio_url": "https://example.com/voice.wav", "model_type": "F5-TTS"}


def run(shelf, text, **arguments):
    answer = MODEL.run({**BASE, "gen_text": text, **arguments}, seed=1, files=shelf)
    assert answer.status_code == 200
    return answer


def test_the_recording_is_a_wav_file_of_the_told_length_and_size(shelf):
    answer = run(shelf, "Hello world, this is a test.")
    audio = answer.body["audio_url"]
    data = shelf.read(audio["url"])
    with wave.open(io.BytesIO(data)) as reader:
        assert reader.getnchannels() == audio["channels"] == 1
        assert reader.getframerate() == audio["sample_rate"]
        assert reader.getnframes() / reader.getframerate() == audio["duration"]
    assert len(data) == audio["file_size"]
    assert answer.billable_units == round(audio["duration"], 3)
    assert audio["content_type"] == "audio/wav"


def test_a_longer_text_takes_longer_to_say(shelf):
    short = run(shelf, "Hello.").body["audio_url"]["duration"]
    assert run(shelf, "Hello. " * 10).body["audio_url"]["duration"] > 5 * short


def test_removed_silence_makes_the_recording_shorter(shelf):
    text = "One. Two. Three."
    full = run(shelf, text, remove_silence=False).body["audio_url"]["duration"]
    assert run(shelf, text).body["audio_url"]["duration"] < full


def test_another_reference_is_another_voice(shelf):
    one, same, other = (
        shelf.read(run(shelf, "Hello.", ref_audio_url=url).body["audio_url"]["url"])
        for url in ("a", "a", "b")
    )
    assert one == same != other


def test_a_missing_reference_text_is_told_in_the_logs():
    assert "transcribing" in MODEL.logs({**BASE, "gen_text": "a"})[0]
    assert "transcribing" not in MODEL.logs({**BASE, "gen_text": "a", "ref_text": "b"})[0]
