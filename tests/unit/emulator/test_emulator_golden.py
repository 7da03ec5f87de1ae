"""The emulator's answers against the golden payloads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from falq.emulator import App, Scenario
from falq.emulator.models import find_model

from .conftest import Client

GOLDEN = Path(__file__).parents[2] / "golden"
MATON = {"authorization": "Bearer maton-emulator-0123456789abcdef"}


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def shape(value):
    """Return keys and types of a value, in the order of its keys."""
    if isinstance(value, dict):
        return [(key, shape(one)) for key, one in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def body(reply):
    return json.loads(reply.body)


# What the captures and documents say of a running job's way, with the instant of the call.
WAYS = [
    ("submit", {}, {"run_s": 4}, None, 0),
    ("status_in_queue", {"runners": 0}, {"run_s": 4}, "/status", 0),
    ("status_in_progress", {}, {"run_s": 4}, "/status", 1),
    ("status_completed", {}, {"run_s": 4}, "/status", 5),
    (
        "status_completed_failed",
        {},
        {"_emulator": {"fail": "runner_disconnected", "run_s": 2.5}},
        "/status",
        5,
    ),
    ("status_in_progress_logs", {}, {"run_s": 4}, "/status?logs=1", 2),
]


@pytest.mark.parametrize(("name", "settings", "sent", "verb", "now"), WAYS)
def test_a_status_has_the_captured_keys_in_the_captured_order(
    make_app, name, settings, sent, verb, now
):
    client = make_app(advertised="fal", **settings)
    shown = client.submit(sent, endpoint="fal-ai/flux/schnell")
    if verb is not None:
        path, _, query = verb.partition("?")
        shown = body(
            client.about(shown["request_id"], path, app="fal-ai/flux", now=now, query=query)
        )
    expected = golden(name)
    assert shape(shown) == shape(expected)
    assert shown["status"] == expected["status"]
    for key in ("response_url", "status_url", "cancel_url"):
        own = expected[key].replace(expected["request_id"], shown["request_id"])
        assert shown[key] == own
    for key in ("error", "error_type"):
        assert shown.get(key) == expected.get(key)


@pytest.mark.parametrize(
    ("name", "now"), [("status_in_progress_maton", 1), ("status_completed_maton", 5)]
)
def test_a_shortened_status_has_the_keys_of_the_samples(make_app, name, now):
    client = make_app(shown_fields="short")
    ticket = client.submit({"run_s": 4})
    shown = body(client.about(ticket["request_id"], "/status", now=now))
    assert shape(shown) == shape(golden(name))


def test_through_maton_a_submit_has_the_sampled_keys(make_app):
    shown = body(
        make_app().call("POST", "/_maton/fal-ai/fal-ai/flux/schnell", body={}, headers=MATON)
    )
    assert dict(shape(golden("submit_maton"))).items() <= dict(shape(shown)).items()


def test_a_documented_log_entry_has_its_fields(make_app):
    client = make_app(logs_form="A")
    ticket = client.submit({"run_s": 4})
    shown = client.about(ticket["request_id"], "/status", now=2, query="logs=1")
    assert shape(body(shown)["logs"][0]) == shape(golden("log_documented"))


def test_the_list_of_connections_holds_the_sampled_fields(make_app):
    reply = make_app().call("GET", "/_maton/connections", headers=MATON)
    sampled = golden("maton_connection_created")["connection"]
    assert dict(shape(sampled)).items() <= dict(shape(body(reply)["connections"][0])).items()


def cancel_queued(client):
    for _ in range(11):
        ticket = client.submit({"run_s": 9})
    return client.about(ticket["request_id"], "/cancel")


def cancel_then(verb, now=0.0):
    def call(client):
        ticket = client.submit({"run_s": 4})
        client.about(ticket["request_id"], "/cancel", now=now)
        return client.about(ticket["request_id"], verb, now=now)

    return call


def fail(client):
    ticket = client.submit({"_emulator": {"fail": "runner_disconnected", "run_s": 1}})
    return client.about(ticket["request_id"], now=2.0)


def with_key(credential):
    return lambda client: client.call(
        "POST", "/a/b", body={}, headers={"authorization": credential}
    )


TEXTS = [
    ("cancel_requested", {}, 202, cancel_queued),
    ("cancel_removed", {"cancel_queued": "ok"}, 200, cancel_queued),
    ("cancel_already_completed", {}, 400, cancel_then("/cancel", now=9.0)),
    ("not_found", {}, 404, lambda client: client.about("no-such-id", "/cancel")),
    ("result_early", {}, 400, lambda client: client.about(client.submit()["request_id"])),
    ("result_cancelled", {}, 499, cancel_then("")),
    ("error_unknown_key", {}, 401, with_key("Key a:b")),
    ("error_key_format", {}, 401, with_key("Key ab")),
    ("error_locked", {"is_locked": True}, 403, lambda client: client.call("POST", "/a/b")),
    ("error_method_not_allowed", {}, 405, lambda client: client.call("GET", "/a/b")),
    ("error_runner_disconnected", {}, 503, fail),
]


@pytest.mark.parametrize(("name", "settings", "code", "call"), TEXTS, ids=[row[0] for row in TEXTS])
def test_a_refusal_says_what_was_captured_or_documented(make_app, name, settings, code, call):
    reply = call(make_app(**settings))
    assert (reply.status_code, body(reply)) == (code, golden(name))


MODELS = [
    ("result_flux_schnell", "fal-ai/flux/schnell", {"prompt": "a tiny cute cat"}),
    ("result_fast_sdxl", "fal-ai/fast-sdxl", {"prompt": "a futuristic city skyline at night"}),
    ("result_f5_tts", "fal-ai/f5-tts", {"gen_text": "Hello", "model_type": "F5-TTS"}),
    ("result_whisper", "fal-ai/whisper", {}),
    ("result_clarity_upscaler", "fal-ai/clarity-upscaler", {"image_url": "(drawn)"}),
    ("result_minimax_video", "fal-ai/minimax/video-01", {"prompt": "a cat"}),
]


def draw_picture():
    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "PNG")
    return held.getvalue()


def run_model(endpoint, sent):
    """Run one job of a real model and return its result call's reply."""
    app = App(Scenario(speed=float("inf")), find_model=find_model, base_url="http://127.0.0.1:9")
    client = Client(app)
    audio = app.files.add(name="a.wav", content_type="audio/wav", draw=lambda: b"")
    picture = app.files.add(name="a.png", content_type="image/png", draw=draw_picture)
    given = {
        "fal-ai/f5-tts": {"ref_audio_url": audio},
        "fal-ai/whisper": {"audio_url": audio},
        "fal-ai/clarity-upscaler": {"image_url": picture},
    }
    sent = sent | given.get(endpoint, {})
    ticket = client.submit(sent, endpoint=endpoint)
    owner, alias = endpoint.split("/")[:2]
    return client.about(ticket["request_id"], app=f"{owner}/{alias}", now=1.0)


@pytest.mark.parametrize(("name", "endpoint", "sent"), MODELS)
def test_a_model_answers_with_the_documented_fields(name, endpoint, sent):
    reply = run_model(endpoint, sent)
    assert reply.status_code == 200, reply.body
    assert set(golden(name)) <= set(body(reply))


def test_the_quoted_error_of_schnell_comes_back_word_for_word():
    reply = run_model("fal-ai/flux/schnell", {"prompt": "x", "num_inference_steps": 28})
    (expected,) = golden("error_schnell_steps")["detail"]
    (shown,) = body(reply)["detail"]
    assert reply.status_code == 422
    assert expected.items() <= shown.items()


def test_every_payload_has_a_line_in_the_readme():
    readme = (GOLDEN / "README.md").read_text()
    missing = [one.stem for one in GOLDEN.glob("*.json") if f"`{one.stem}`" not in readme]
    assert missing == []
