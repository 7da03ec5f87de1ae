"""The transcription model's answers."""

import pytest

from falq.emulator.media.speech import plan_speech, render_speech
from falq.emulator.models import MODELS

MODEL = MODELS["fal-ai/whisper"]


def run(shelf, url="https://example.com/talk.mp3", **arguments):
    answer = MODEL.run({"audio_url": url, **arguments}, seed=1, files=shelf)
    assert answer.status_code == 200
    return answer


def test_the_answer_has_the_documented_keys(shelf):
    body = run(shelf).body
    assert list(body) == ["text", "chunks", "inferred_languages", "diarization_segments"]
    assert set(body["chunks"][0]) == {"timestamp", "text", "speaker"}
    assert body["inferred_languages"] == ["en"]
    assert body["diarization_segments"] == []


@pytest.mark.parametrize("level", ["segment", "word"])
def test_the_chunks_cover_the_text_in_order(level, shelf):
    body = run(shelf, chunk_level=level).body
    assert " ".join(chunk["text"] for chunk in body["chunks"]) == body["text"]
    times = [time for chunk in body["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times)
    assert times[0] == 0


def test_chunks_of_words_hold_one_word_each(shelf):
    chunks = run(shelf, chunk_level="word").body["chunks"]
    assert all(len(chunk["text"].split()) == 1 for chunk in chunks)


def test_no_chunks_are_told_if_none_were_asked_for(shelf):
    body = run(shelf, chunk_level="none").body
    assert body["chunks"] == []
    assert body["text"]


def test_diarization_names_as_many_speakers_as_were_asked_for(shelf):
    body = run(shelf, "https://example.com/a", diarize=True, num_speakers=2).body
    speakers = {segment["speaker"] for segment in body["diarization_segments"]}
    assert speakers <= {"SPEAKER_00", "SPEAKER_01"}
    assert {chunk["speaker"] for chunk in body["chunks"]} == speakers


def test_the_language_that_was_given_is_the_one_inferred(shelf):
    assert run(shelf, language="de").body["inferred_languages"] == ["de"]


def test_a_recording_of_the_emulators_own_is_as_long_as_it_is(shelf):
    sounds = plan_speech("Hello world, this is a test.", voice="a", pauses=True)
    url = shelf.add(name="a.wav", content_type="audio/wav", draw=lambda: render_speech(sounds))
    answer = run(shelf, url)
    seconds = sum(sound.samples for sound in sounds) / 24_000
    assert answer.billable_units == pytest.approx(seconds, abs=0.001)
    assert answer.body["chunks"][-1]["timestamp"][1] == pytest.approx(seconds, abs=0.01)


def test_the_same_address_says_the_same(shelf):
    assert run(shelf, "a").body == run(shelf, "a").body
    assert run(shelf, "a").body["text"] != run(shelf, "b").body["text"]


def test_a_file_that_is_no_recording_is_refused(shelf):
    arguments = {"audio_url": "https://example.com/notes.TXT?version=2.mp3"}
    answer = MODEL.run(arguments, seed=1, files=shelf)
    (problem,) = answer.body["detail"]
    assert (answer.status_code, problem["type"]) == (422, "unsupported_audio_format")
    assert "wav" in problem["ctx"]["supported_formats"]
