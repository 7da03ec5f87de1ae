from __future__ import annotations

import json

import pytest

from falq._core.direct import (
    build_run,
    build_stream,
    is_concurrency_limit,
    is_event_stream,
    read_output,
    read_part,
    refusal_of,
    request_id_of,
    stream_target,
)
from falq._core.messages import Origin, Reply, Verb
from falq._core.sse import ServerEvent
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    ConcurrencyLimitError,
    InvalidInputError,
    JobFailedError,
    JobInputError,
    RateLimitError,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
    WireError,
)
from falq.model import EndpointId, SubmitOptions

ECHO = EndpointId.parse("acme/echo")
JSON = {"content-type": "application/json"}
LIMIT = {
    "detail": "Reached concurrent requests limit of 20",
    "type": "concurrent_requests_limit",
    "data": {"limit": 20},
}


def a_reply(body: object, code: int = 200, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        code, {**JSON, **{name.replace("_", "-"): one for name, one in headers.items()}}, data
    )


def test_a_run_posts_the_bare_input_to_the_whole_id():
    options = SubmitOptions(start_timeout=5, hint="near")
    call = build_run(
        EndpointId.parse("acme/echo/fast"), b'{"n":1}', options, method="POST", timeout_s=7.0
    )
    assert (call.verb, call.origin, call.method) == (Verb.RUN, Origin.RUN, "POST")
    assert (call.target, call.body, call.timeout_s) == ("/acme/echo/fast", b'{"n":1}', 7.0)
    assert call.headers["X-Fal-Request-Timeout"] == "5.0"
    assert call.headers["X-Fal-Runner-Hint"] == "near"


def test_a_run_by_get_has_no_body():
    call = build_run(ECHO, b"{}", SubmitOptions(), method="GET", timeout_s=None)
    assert call.body is None


def test_a_stream_asks_for_events():
    call = build_stream(ECHO, b"{}", SubmitOptions())
    assert call.headers["Accept"] == "text/event-stream"
    assert (call.method, call.body, call.origin) == ("POST", b"{}", Origin.RUN)


@pytest.mark.parametrize(
    ("endpoint", "path", "target"),
    [
        ("acme/echo", "/stream", "acme/echo/stream"),
        ("acme/echo/stream", "/stream", "acme/echo/stream"),
        ("acme/echo/upstream", "/stream", "acme/echo/upstream/stream"),
        ("acme/echo", "", "acme/echo"),
        ("acme/echo", "/a/b/", "acme/echo/a/b"),
    ],
)
def test_the_path_of_a_stream_is_appended_once(endpoint, path, target):
    assert stream_target(endpoint, path).full == target


def test_a_path_that_leaves_the_endpoint_is_refused():
    with pytest.raises(ArgumentError):
        stream_target("acme/echo", "/../other")


@pytest.mark.parametrize(
    ("content_type", "is_one"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; charset=utf-8", True),
        ("application/json", False),
        ("text/event-streams", False),
    ],
)
def test_event_streams_are_known_by_their_type(content_type, is_one):
    assert is_event_stream({"content-type": content_type}) is is_one
    assert not is_event_stream({})


def test_the_id_is_in_the_headers_or_nowhere():
    assert request_id_of({"x-fal-request-id": "r-1"}) == "r-1"
    assert request_id_of({"x-fal-request-id": "no id\n"}) is None
    assert request_id_of({}) is None


@pytest.mark.parametrize("value", [{"n": 1}, [1], "text", None, 1.5])
def test_an_output_is_any_json_value(value):
    assert read_output(a_reply(value), ECHO) == value


def test_an_output_of_another_type_is_bytes():
    assert read_output(Reply(200, {"content-type": "image/png"}, b"\x89PNG"), ECHO) == b"\x89PNG"


def test_what_says_json_and_is_none_was_billed():
    with pytest.raises(WireError) as caught:
        read_output(a_reply(b"<html>", x_fal_request_id="r-1"), ECHO)
    assert caught.value.possibly_billed
    assert caught.value.request_id == "r-1"


def test_a_body_that_broke_off_was_billed():
    reply = Reply(200, {**JSON, "x-fal-request-id": "r-1"}, b"{", TransportError("it broke"))
    with pytest.raises(TransportError) as caught:
        read_output(reply, ECHO)
    assert caught.value.possibly_billed
    assert (caught.value.endpoint, caught.value.request_id) == ("acme/echo", "r-1")


@pytest.mark.parametrize("code", [200, 429])
def test_the_limit_of_runs_is_told_apart_whatever_its_status(code):
    with pytest.raises(ConcurrencyLimitError) as caught:
        read_output(a_reply(LIMIT, code), ECHO)
    error = caught.value
    assert (error.limit, error.status_code, error.retryable) == (20, code, True)
    assert error.error_type == "concurrent_requests_limit"
    assert not error.possibly_billed


@pytest.mark.parametrize("data", [None, [], {}, {"limit": "20"}, {"limit": True}])
def test_a_limit_that_is_no_number_is_unknown(data):
    error = refusal_of(a_reply({**LIMIT, "data": data}, 429), ECHO)
    assert isinstance(error, ConcurrencyLimitError)
    assert error.limit is None


@pytest.mark.parametrize("body", [b"slow down", b'{"detail": "too many"}'])
def test_another_429_is_a_plain_one(body):
    error = refusal_of(a_reply(body, 429), ECHO)
    assert type(error) is RateLimitError


@pytest.mark.parametrize("value", [None, [], "x", {"type": "concurrent_requests_limit"}, {"n": 1}])
def test_only_the_whole_form_is_the_limit(value):
    assert not is_concurrency_limit(value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, AuthenticationError), (500, ServerError), (302, UnexpectedRedirectError)],
)
def test_other_refusals_are_those_of_the_tree_and_cost_nothing(code, kind):
    with pytest.raises(kind) as caught:
        read_output(a_reply({"detail": "no"}, code), ECHO)
    assert not caught.value.possibly_billed


@pytest.mark.parametrize(
    ("headers", "billed"), [({}, True), ({"x_fal_billable_units": "0"}, False)]
)
def test_refused_input_may_be_billed_unless_the_answer_says_otherwise(headers, billed):
    detail = [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]
    error = refusal_of(a_reply({"detail": detail}, 422, **headers), ECHO)
    assert isinstance(error, InvalidInputError)
    assert error.problems == (("prompt", "Field required"),)
    assert error.possibly_billed is billed


@pytest.mark.parametrize(("kind", "retryable"), [("user", False), ("infrastructure", True)])
def test_ones_own_start_deadline_is_not_worth_another_try(kind, retryable):
    body = {"detail": "late", "error_type": "request_timeout"}
    error = refusal_of(a_reply(body, 504, x_fal_request_timeout_type=kind), ECHO)
    assert error.retryable is retryable


@pytest.mark.parametrize(
    "value",
    [
        {"n": 1},
        {"images": [], "error": None},
        {"error": "a story about an error", "text": "…"},
        {"detail": "fine", "image": "x"},
        [1, 2],
        "text",
        {"type": "completion", "node_id": "a", "output": {}},
        {"status": "running"},
    ],
)
def test_a_part_is_whatever_is_no_error(value):
    assert read_part(ServerEvent(json.dumps(value)), ECHO, "r-1") == value


@pytest.mark.parametrize(
    ("value", "kind", "code", "said"),
    [
        ({"detail": "CUDA out of memory"}, JobFailedError, None, "CUDA out of memory"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "bad", "type": "enum"}]},
            JobInputError,
            422,
            "n: bad",
        ),
        ({"error": "it failed", "status_code": 503}, JobFailedError, 503, "it failed"),
        (
            {
                "type": "error",
                "node_id": "a",
                "message": "node failed",
                "error": {"status": 422, "body": {"detail": "no prompt"}},
            },
            JobInputError,
            422,
            "no prompt",
        ),
        (
            {"type": "error", "error": {"status": 500, "body": "plain"}},
            JobFailedError,
            500,
            "plain",
        ),
        ({"type": "error", "message": "hm", "code": True}, JobFailedError, None, "hm"),
        ({"detail": "late", "error_type": "request_timeout"}, JobFailedError, None, "late"),
    ],
)
def test_an_error_in_the_stream_is_raised_and_typed(value, kind, code, said):
    with pytest.raises(JobFailedError) as caught:
        read_part(ServerEvent(json.dumps(value)), ECHO, "r-1")
    error = caught.value
    assert type(error) is kind
    assert error.status_code == code
    assert said in str(error)
    assert (error.request_id, error.endpoint) == ("r-1", "acme/echo")
    assert error.possibly_billed
    assert error.error_type == value.get("error_type") or error.error_type in {None, "enum"}
    assert error.retryable is (code is not None and code >= 500)


@pytest.mark.parametrize("data", ["it failed", '"it failed"', '{"reason": "it failed"}'])
def test_an_event_named_error_is_one_whatever_it_holds(data):
    with pytest.raises(JobFailedError, match="it failed"):
        read_part(ServerEvent(data, "error"), ECHO, None)


def test_a_part_that_is_no_json_is_refused():
    with pytest.raises(WireError, match="no JSON") as caught:
        read_part(ServerEvent("[DONE]"), ECHO, None)
    assert caught.value.possibly_billed
