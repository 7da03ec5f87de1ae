"""What passes a proxy for browsers, and what is told of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import falq
from falq._core.messages import Origin, Reply, Verb
from falq.web.proxy import Route, Rules, answer_of, head_of, unanswered

GATEWAY = falq.Fal(key="id:secret")
RULES = Rules(
    GATEWAY, ["fal-ai/flux/schnell", "acme/video/*", "workflows/me/w"], allow_uploads=True
)
QUEUE = "https://queue.fal.run"
SUBMIT = Route(Verb.SUBMIT, "POST", "/acme/video", Origin.QUEUE)
STATUS = Route(Verb.STATUS, "GET", "/acme/video/requests/r/status", Origin.QUEUE)


@pytest.mark.parametrize(
    ("method", "target", "verb", "path"),
    [
        ("POST", f"{QUEUE}/fal-ai/flux/schnell", Verb.SUBMIT, "/fal-ai/flux/schnell"),
        ("POST", f"{QUEUE}/acme/video", Verb.SUBMIT, "/acme/video"),
        ("POST", f"{QUEUE}/acme/video/a/b", Verb.SUBMIT, "/acme/video/a/b"),
        ("POST", f"{QUEUE}/workflows/me/w", Verb.SUBMIT, "/workflows/me/w"),
        ("GET", f"{QUEUE}/fal-ai/flux/requests/r1", Verb.RESULT, "/fal-ai/flux/requests/r1"),
        (
            "GET",
            f"{QUEUE}/fal-ai/flux/requests/r1/status?logs=1",
            Verb.STATUS,
            "/fal-ai/flux/requests/r1/status?logs=1",
        ),
        (
            "GET",
            f"{QUEUE}/acme/video/requests/r1/status/stream",
            Verb.STREAM,
            "/acme/video/requests/r1/status/stream",
        ),
        (
            "PUT",
            f"{QUEUE}/workflows/me/w/requests/r1/cancel",
            Verb.CANCEL,
            "/workflows/me/w/requests/r1/cancel",
        ),
        ("POST", "https://fal.run/fal-ai/flux/schnell", Verb.RUN, "/fal-ai/flux/schnell"),
        ("POST", "https://fal.run/acme/video/stream", Verb.RUN, "/acme/video/stream"),
        (
            "POST",
            "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3",
            Verb.STORAGE,
            "/storage/upload/initiate?storage_type=fal-cdn-v3",
        ),
        (
            "POST",
            "https://rest.fal.ai/storage/upload/initiate-multipart?storage_type=fal-cdn-v3",
            Verb.STORAGE,
            "/storage/upload/initiate-multipart?storage_type=fal-cdn-v3",
        ),
    ],
)
def test_what_fal_js_asks_for_passes(method, target, verb, path):
    route = RULES.read(method, target)
    assert (route.verb, route.method, route.target) == (verb, method, path)


@pytest.mark.parametrize(
    "target",
    [
        "http://queue.fal.run/acme/video",
        "https://evilfal.run/acme/video",
        "https://queue.fal.run.evil.example/acme/video",
        "https://queue.fal.run:443/acme/video",
        "https://queue.fal.run.acme/video",
        "https://queue.fal.run@evil.example/acme/video",
        "https://evil.example/https://queue.fal.run/acme/video",
        "https://queue.fal.run\\@evil.example/acme/video",
        "https://queue.fal.run/../acme/video",
        "https://queue.fal.run//acme/video",
        "https://queue.fal.run/acme/video/",
        "https://queue.fal.run/acme%2Fvideo",
        "https://queue.fal.run/acme/video#x",
        "https://queue.fal.run/acme/video?",
        "https://queue.fal.run/acme/video?fal_webhook=https://evil.example",
        "https://queue.fal.run/acme/video/requests/r1/x",
        "https://queue.fal.run/acme/videos",
        "https://queue.fal.run/acme/video\r\nx: y",
        "https://queue.fal.run/" + "a/" * 2000,
        "https://fal.run/fal-ai/flux/dev",
        "https://fal.run/fal-ai/stream",
        "https://rest.fal.ai/tokens/",
        "https://rest.fal.ai/tokens/realtime",
        "https://rest.fal.ai/storage/upload/initiate-multipart?storage_type=gcs",
        "https://rest.fal.ai/storage/upload/initiate-multipart",
        "https://rest.fal.ai/storage/upload/complete-multipart?storage_type=fal-cdn-v3",
        "https://api.fal.ai/v1/models",
        "https://queue.fal.run",
        "//queue.fal.run/acme/video",
        "",
    ],
)
def test_other_hosts_paths_and_queries_do_not_pass(target):
    assert RULES.read("POST", target) is None


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"{QUEUE}/acme/video"),
        ("GET", "https://fal.run/acme/video"),
        ("POST", f"{QUEUE}/acme/video/requests/r1"),
        ("POST", f"{QUEUE}/acme/video/requests/r1/cancel"),
        ("GET", f"{QUEUE}/acme/video/requests/r1/cancel"),
        ("DELETE", f"{QUEUE}/acme/video/requests/r1"),
        ("GET", f"{QUEUE}/acme/other/requests/r1"),
        ("GET", f"{QUEUE}/acme/video/requests/r1?logs=1"),
        ("GET", f"{QUEUE}/acme/video/requests/r1/status?fal_jwt_token=x"),
        ("GET", "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"),
    ],
)
def test_a_path_passes_with_its_own_method_and_query_only(method, target):
    assert RULES.read(method, target) is None


@given(st.text(max_size=60))
def test_no_text_passes_that_is_no_address_of_the_gateway(text):
    assert RULES.read("POST", text) is None
    assert RULES.read("POST", f"https://{text}.example/acme/video") is None


def test_uploads_do_not_pass_unless_they_are_allowed():
    rules = Rules(GATEWAY, ["acme/video"], allow_uploads=False)
    target = "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"
    assert rules.read("POST", target) is None


def test_calls_go_to_an_origin_of_the_gateway_and_never_to_a_url():
    emulated = falq.Fal(
        key="a:b", queue_url="http://127.0.0.1:9", run_url="http://127.0.0.1:9/_run"
    )
    rules = Rules(emulated, ["acme/video"], allow_uploads=False)
    assert rules.read("POST", f"{QUEUE}/acme/video").origin is Origin.QUEUE
    assert rules.read("POST", "http://127.0.0.1:9/acme/video").origin is Origin.QUEUE
    assert rules.read("POST", "http://127.0.0.1:9/_run/acme/video").origin is Origin.RUN
    assert rules.read("POST", "http://127.0.0.1:8/acme/video") is None


def test_through_maton_the_queue_alone_passes():
    rules = Rules(falq.Maton(key="m"), ["acme/video"], allow_uploads=False)
    assert rules.read("POST", f"{QUEUE}/acme/video").origin is Origin.QUEUE
    assert rules.read("POST", "https://fal.run/acme/video") is None
    with pytest.raises(falq.UnsupportedError):
        Rules(falq.Maton(key="m"), ["acme/video"], allow_uploads=True)


@pytest.mark.parametrize("endpoints", [[], "fal-ai/flux", ["*"], ["fal-ai/*"], ["a b/c"], [None]])
def test_endpoints_are_named_one_by_one(endpoints):
    with pytest.raises(falq.ConfigError, match="endpoints"):
        Rules(GATEWAY, endpoints, allow_uploads=False)


def test_few_headers_of_a_browser_pass():
    headers = {
        "authorization": "Key theirs",
        "cookie": "session=1",
        "host": "app.example",
        "x-fal-webhook": "https://evil.example",
        "x-fal-retry-config": "{}",
        "x-fal-runner-hint": "r",
        "x-fal-object-lifecycle": "{}",
    }
    call = SUBMIT.call(headers, b"{}")
    assert {name.lower() for name in call.headers} == {
        "content-type",
        "x-fal-client-proxy",
        "x-fal-object-lifecycle",
        "x-fal-runner-hint",
    }


def test_few_headers_of_an_answer_pass():
    answer = head_of(
        200,
        {
            "content-type": "application/json; charset=utf-8",
            "set-cookie": "a=b",
            "location": "https://evil.example",
            "content-encoding": "gzip",
            "x-fal-request-id": "r1",
        },
    )
    assert answer.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-fal-request-id": "r1",
    }


@pytest.mark.parametrize(
    ("given_type", "told"),
    [
        ("image/png", "image/png"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/html", "application/octet-stream"),
        ("application/javascript", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_no_page_of_a_model_becomes_one_of_the_app(given_type, told):
    assert head_of(200, {"content-type": given_type}).headers["content-type"] == told


@pytest.mark.parametrize("code", [502, 503, 504])
def test_a_submit_that_may_have_been_received_is_told_with_500(code):
    reply = Reply(code, {"content-type": "application/json"}, b'{"detail":"x"}')
    assert answer_of(SUBMIT, reply).status_code == 500
    assert answer_of(SUBMIT, reply).body == reply.body
    assert answer_of(STATUS, reply).status_code == code


def test_a_redirect_is_not_passed_on():
    reply = Reply(307, {"location": "https://evil.example"}, b"")
    assert answer_of(STATUS, reply).status_code == 502
    assert answer_of(SUBMIT, reply).status_code == 500
    assert "location" not in answer_of(SUBMIT, reply).headers


def test_a_lost_answer_says_whether_a_job_may_run():
    lost = falq.TransportError("cut", request_sent=True)
    never = falq.ConnectError("no", request_sent=False)
    cut = Reply(200, {}, b"{", falq.TransportError("cut"))
    assert unanswered(SUBMIT, lost).status_code == 500
    assert unanswered(SUBMIT, never).status_code == 503
    assert unanswered(STATUS, lost).status_code == 502
    assert answer_of(SUBMIT, cut).status_code == 500
    assert "may run" in json.loads(unanswered(SUBMIT, lost).body)["detail"]
