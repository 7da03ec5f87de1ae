from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq._core import protocol
from falq._core.messages import Verb
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    FalqError,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
    WireError,
)
from falq.model import Completed, EndpointId, InProgress, LogEntry, Queued, Status
from tests.support import a_reply, a_submission, a_ticket

GOLDEN = Path(__file__).parents[2] / "golden"
ID = "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"
ENDPOINT = EndpointId.parse("fal-ai/flux/schnell")
FUZZ = 50_000 if settings.get_current_profile_name() == "deep" else 300
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

# (given, submit path, queue base), from fal-wire 2.1.
ENDPOINTS = [
    ("fal-ai/flux/schnell", "/fal-ai/flux/schnell", "/fal-ai/flux"),
    ("fal-ai/fast-sdxl", "/fal-ai/fast-sdxl", "/fal-ai/fast-sdxl"),
    ("fal-ai/minimax/video-01", "/fal-ai/minimax/video-01", "/fal-ai/minimax"),
    (
        "fal-ai/kling-video/v3/pro/text-to-video",
        "/fal-ai/kling-video/v3/pro/text-to-video",
        "/fal-ai/kling-video",
    ),
    ("workflows/acme/my-flow", "/workflows/acme/my-flow", "/workflows/acme/my-flow"),
    ("workflows/acme/my-flow/sub/x", "/workflows/acme/my-flow/sub/x", "/workflows/acme/my-flow"),
    ("comfy/acme/thing", "/comfy/acme/thing", "/comfy/acme/thing"),
    ("110602490-sd", "/110602490/sd", "/110602490/sd"),
    ("/fal-ai/flux/schnell/", "/fal-ai/flux/schnell", "/fal-ai/flux"),
]


@pytest.mark.parametrize(("text", "full", "app"), ENDPOINTS, ids=[row[0] for row in ENDPOINTS])
def test_every_form_of_an_id_has_its_four_targets(text, full, app):
    ticket = a_ticket(text)
    calls = [
        protocol.build_submit(a_submission(text)),
        protocol.build_status(ticket, logs=False),
        protocol.build_status(ticket, logs=True),
        protocol.build_result(ticket),
        protocol.build_cancel(ticket),
    ]
    assert [(call.verb, call.method, call.target) for call in calls] == [
        (Verb.SUBMIT, "POST", full),
        (Verb.STATUS, "GET", f"{app}/requests/{ID}/status"),
        (Verb.STATUS, "GET", f"{app}/requests/{ID}/status?logs=1"),
        (Verb.RESULT, "GET", f"{app}/requests/{ID}"),
        (Verb.CANCEL, "PUT", f"{app}/requests/{ID}/cancel"),
    ]


def test_a_submit_carries_the_bare_arguments_as_json():
    call = protocol.build_submit(a_submission(arguments={"prompt": "a cät", "n": 2}))
    assert json.loads(call.body) == {"prompt": "a cät", "n": 2}
    assert call.headers == {"Content-Type": "application/json"}


def test_only_a_submit_has_a_body():
    ticket = a_ticket()
    calls = (protocol.build_result(ticket), protocol.build_cancel(ticket))
    assert [call.body for call in calls] == [None, None]


def test_the_webhook_and_the_longest_queue_go_into_the_query_quoted():
    call = protocol.build_submit(
        a_submission(webhook_url="https://me.example/hook?job=1&x=a b", max_queue_length=7)
    )
    assert call.target == (
        "/fal-ai/flux/schnell?fal_webhook=https%3A%2F%2Fme.example%2Fhook%3Fjob%3D1%26x%3Da+b"
        "&fal_max_queue_length=7"
    )


def test_a_session_s_address_is_called_unless_the_submission_names_its_own():
    address = "https://session.example/1"
    call = protocol.build_submit(a_submission(), webhook_url=address)
    assert call.target.endswith("?fal_webhook=https%3A%2F%2Fsession.example%2F1")
    own = protocol.build_submit(a_submission(webhook_url="https://me.example"), webhook_url=address)
    assert own.target.endswith("?fal_webhook=https%3A%2F%2Fme.example")


def test_options_become_headers_of_the_submit():
    call = protocol.build_submit(a_submission(priority="low"))
    assert call.headers["X-Fal-Queue-Priority"] == "low"


@pytest.mark.parametrize(
    "request_id", ["../x", "a/b", "", ".", "..", "a?b", "a#b", "a%2e", "a b", "a\n", "ä", "x" * 513]
)
def test_an_id_that_would_change_the_path_makes_no_ticket(request_id):
    with pytest.raises(ArgumentError):
        protocol.make_ticket(ENDPOINT, request_id)


def _receipt(status_url: object, **more: object) -> dict[str, object]:
    return {"request_id": ID, "status_url": status_url, "queue_position": 3} | more


OWN = f"/fal-ai/flux/requests/{ID}/status"
URLS = {
    "fal's own": (f"https://queue.fal.run{OWN}", "fal-ai/flux"),
    "foreign host": (f"https://evil.example{OWN}", "fal-ai/flux"),
    "http": (f"http://queue.fal.run{OWN}", "fal-ai/flux"),
    "user name": (f"https://me:secret@queue.fal.run{OWN}", "fal-ai/flux"),
    "other port": (f"https://queue.fal.run:8443{OWN}", "fal-ai/flux"),
    "path alone": (OWN, "fal-ai/flux"),
    "trailing slash": (f"https://queue.fal.run{OWN}/", "fal-ai/flux"),
    "query": (f"https://queue.fal.run{OWN}?logs=1", "fal-ai/flux"),
    "renamed app": (f"https://queue.fal.run/fal-ai/flux-2/requests/{ID}/status", "fal-ai/flux-2"),
    "namespace": (
        f"https://queue.fal.run/workflows/acme/flow/requests/{ID}/status",
        "workflows/acme/flow",
    ),
    "sub-path": (
        f"https://queue.fal.run/fal-ai/flux/schnell/requests/{ID}/status",
        "fal-ai/flux",
    ),
    "other request": ("https://queue.fal.run/fal-ai/x/requests/other/status", "fal-ai/flux"),
    "other verb": (f"https://queue.fal.run/fal-ai/x/requests/{ID}/response", "fal-ai/flux"),
    "dots": (f"https://queue.fal.run/../x/requests/{ID}/status", "fal-ai/flux"),
    "quoted dots": (f"https://queue.fal.run/%2e%2e/x/requests/{ID}/status", "fal-ai/flux"),
    "quoted slash": (f"https://queue.fal.run/a%2Fb/x/requests/{ID}/status", "fal-ai/flux"),
    "quoted traversal": (f"https://queue.fal.run/a/..%2f../requests/{ID}/status", "fal-ai/flux"),
    "quoted twice": (f"https://queue.fal.run/%252e%252e/x/requests/{ID}/status", "fal-ai/flux"),
    "empty part": (f"https://queue.fal.run//x/requests/{ID}/status", "fal-ai/flux"),
    "relative": (f"other/flux/requests/{ID}/status", "fal-ai/flux"),
    "one part": (f"https://queue.fal.run/flux/requests/{ID}/status", "fal-ai/flux"),
    "no app": (f"https://queue.fal.run/requests/{ID}/status", "fal-ai/flux"),
    "line break": (f"https://queue.fal.run/a\n/x/requests/{ID}/status", "a/x"),
    "broken host": (f"https://[queue{OWN}x", "fal-ai/flux"),
    "too long": ("https://queue.fal.run/" + "x" * 3000, "fal-ai/flux"),
    "number": (17, "fal-ai/flux"),
    "missing": (None, "fal-ai/flux"),
}


@pytest.mark.parametrize("kind", URLS)
def test_of_a_url_that_the_server_gives_at_most_the_app_is_used(kind):
    url, app = URLS[kind]
    ticket = protocol.read_ticket(ENDPOINT, a_reply(200, _receipt(url)))
    assert (ticket.app, ticket.request_id, ticket.position) == (app, ID, 3)
    assert protocol.build_status(ticket, logs=False).target == f"/{app}/requests/{ID}/status"


@pytest.mark.slow
@given(url=st.text() | st.from_regex(rf"https?://[^ ]*/requests/{ID}/status", fullmatch=True))
@settings(max_examples=FUZZ)
def test_no_url_that_a_server_gives_leads_to_an_odd_path(url):
    app = protocol.read_ticket(ENDPOINT, a_reply(200, _receipt(url))).app
    parts = app.split("/")
    assert len(parts) == (3 if parts[0] in {"workflows", "comfy"} else 2)
    assert not {"", ".", ".."} & set(parts)
    assert not set("%?#\\ \n\r@:") & set(app)


@pytest.mark.parametrize("position", [-1, 1.5, True, "3", None, [1]], ids=repr)
def test_a_position_that_is_no_count_is_unknown(position):
    reply = a_reply(200, _receipt(None, queue_position=position))
    assert protocol.read_ticket(ENDPOINT, reply).position is None


@pytest.mark.parametrize("name", ["submit.json", "submit_maton.json"])
def test_the_receipts_on_record_are_read(name):
    body = _golden(name)
    ticket = protocol.read_ticket(ENDPOINT, a_reply(200, body))
    assert ticket.request_id == body["request_id"]


def _golden(name: str):
    recorded = json.loads((GOLDEN / name).read_text())
    return recorded.get("body", recorded)


STATUSES = {
    "queued": (202, {"status": "IN_QUEUE", "queue_position": 3, "logs": None}, Queued(3)),
    "queued without a place": (202, {"status": "IN_QUEUE"}, Queued(None)),
    "queued at a place of text": (202, {"status": "IN_QUEUE", "queue_position": "3"}, Queued()),
    "queued again with logs": (
        202,
        {"status": "IN_QUEUE", "queue_position": 0, "logs": [{"message": "once"}]},
        Queued(0, logs=(LogEntry(message="once"),)),
    ),
    "running": (202, {"status": "IN_PROGRESS", "logs": None, "metrics": {}}, InProgress()),
    "running, told with 200": (200, {"status": "IN_PROGRESS"}, InProgress()),
    "running with logs": (
        202,
        {"status": "IN_PROGRESS", "logs": [{"message": "hi", "level": "INFO"}]},
        InProgress((LogEntry(message="hi", level="INFO"),)),
    ),
    "completed": (
        200,
        {"status": "COMPLETED", "metrics": {"inference_time": 1.5}},
        Completed((), {"inference_time": 1.5}),
    ),
    "completed, told with 202": (202, {"status": "COMPLETED", "metrics": None}, Completed()),
    "failed": (
        200,
        {"status": "COMPLETED", "error": "gone", "error_type": "runner_disconnected"},
        Completed(error="gone", error_type="runner_disconnected"),
    ),
    "failed with an object": (
        200,
        {"status": "COMPLETED", "error": {"code": 1}, "error_type": 7},
        Completed(error='{"code": 1}'),
    ),
    "failed with nothing said": (200, {"status": "COMPLETED", "error": ""}, Completed()),
    "FAILED": (200, {"status": "FAILED"}, Completed(word="FAILED")),
    "ERROR": (200, {"status": "ERROR"}, Completed(word="ERROR")),
    "CANCELLED": (200, {"status": "CANCELLED"}, Completed(word="CANCELLED")),
    "CANCELED": (200, {"status": "CANCELED"}, Completed(word="CANCELED")),
    "unknown word": (200, {"status": "PAUSED", "logs": 7}, Status("PAUSED")),
    "unknown field": (202, {"status": "IN_PROGRESS", "eta": 5}, InProgress(extra={"eta": 5})),
}


@pytest.mark.parametrize("kind", STATUSES)
def test_every_status_is_read_whatever_its_code(kind):
    status_code, body, status = STATUSES[kind]
    assert protocol.read_status(a_reply(status_code, body), a_ticket()) == status


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("status_in_queue.json", Queued),
        ("status_in_progress.json", InProgress),
        ("status_in_progress_logs.json", InProgress),
        ("status_in_progress_maton.json", InProgress),
        ("status_completed.json", Completed),
        ("status_completed_failed.json", Completed),
        ("status_completed_maton.json", Completed),
    ],
)
def test_the_statuses_on_record_are_read(name, kind):
    assert isinstance(protocol.read_status(a_reply(200, _golden(name)), a_ticket()), kind)


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"null", b"7", b"[]", b'"COMPLETED"', b"<html>", b'{"status": ', b"{}", b"\xff\xfe"],
        *[b'{"status": null}', b'{"status": ""}', b'{"status": 7}', b"[" * 200_000],
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_good_answer_that_is_no_status_is_a_wire_error_that_names_the_request(body):
    with pytest.raises(WireError) as caught:
        protocol.read_status(a_reply(200, body), a_ticket())
    assert caught.value.request_id == ID
    assert caught.value.status_code == 200


def test_a_status_whose_body_broke_off_raises_what_broke_it():
    fault = TransportError("cut")
    with pytest.raises(TransportError) as caught:
        protocol.read_status(a_reply(200, b"{}", fault=fault), a_ticket())
    assert caught.value is fault


@pytest.mark.parametrize(
    ("status_code", "kind"),
    [(401, AuthenticationError), (500, ServerError), (302, UnexpectedRedirectError)],
)
def test_a_status_call_answered_no_raises_that(status_code, kind):
    with pytest.raises(kind) as caught:
        protocol.read_status(a_reply(status_code, {"detail": "no"}), a_ticket())
    assert caught.value.request_id == ID


FIELDS = st.sampled_from(
    ["status", "queue_position", "logs", "metrics", "error", "error_type", "request_id"]
)
WORDS = st.sampled_from(["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "ODD"])


@pytest.mark.slow
@given(
    status_code=st.integers(100, 599),
    body=st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda fields, word, cut: json.dumps(fields | {"status": word}).encode()[: cut or None],
        st.dictionaries(FIELDS, JSON, max_size=6),
        WORDS | JSON,
        st.sampled_from([0, 0, 0, -1, 5]),
    ),
)
@settings(max_examples=FUZZ)
def test_no_status_body_raises_anything_but_falqs_own_errors(status_code, body):
    try:
        status = protocol.read_status(a_reply(status_code, body), a_ticket())
    except FalqError as error:
        shown, status = str(error), None
    else:
        shown = status.word
        assert 200 <= status_code < 300
    assert status is not None or shown.isprintable()


@pytest.mark.parametrize(
    ("body", "headers", "payload"),
    [
        (b'{"images": []}', {"content-type": "application/json"}, {"images": []}),
        (b"[1, 2]", {"content-type": "application/json; charset=utf-8"}, [1, 2]),
        (b'"text"', {}, "text"),
        (b"\x89PNG\r\n", {"content-type": "image/png"}, b"\x89PNG\r\n"),
        (b"", {"content-type": "application/octet-stream"}, b""),
        (b"<p>", {"content-type": "text/html", "x-fal-request-id": "r"}, b"<p>"),
    ],
    ids=["object", "list", "no type", "picture", "empty", "a model's page"],
)
def test_a_payload_is_json_or_bytes_of_another_type(body, headers, payload):
    assert protocol.read_payload(a_reply(200, body, headers=headers), a_ticket()) == payload


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "application/json"}, {"content-type": "Text/HTML; charset=utf-8"}],
    ids=str,
)
def test_a_payload_that_is_no_json_or_a_proxys_page_is_a_wire_error(headers):
    with pytest.raises(WireError) as caught:
        protocol.read_payload(a_reply(200, b"<html>", headers=headers), a_ticket())
    assert caught.value.excerpt == "<html>"


def test_a_payload_that_broke_off_raises_what_broke_it():
    with pytest.raises(TransportError):
        protocol.read_payload(a_reply(200, b"{}", fault=TransportError("cut")), a_ticket())


@pytest.mark.parametrize(
    ("status_code", "body", "too_early"),
    [
        (400, {"detail": "Request is still in progress"}, True),
        (202, {"status": "IN_PROGRESS"}, True),
        (400, {"detail": "Bad prompt"}, False),
        (400, {"detail": "still in progress" + "x" * 2000}, False),
        (404, {"detail": "Request is still in progress"}, False),
        (200, {}, False),
    ],
)
def test_a_result_asked_for_too_early_is_told_from_an_error(status_code, body, too_early):
    assert protocol.is_not_ready(a_reply(status_code, body)) is too_early


@pytest.mark.parametrize(
    ("status_code", "body", "outcome"),
    [
        (202, {"status": "CANCELLATION_REQUESTED"}, "requested"),
        (200, {"status": "OK"}, "requested"),
        (200, {"success": True}, "requested"),
        (400, {"status": "ALREADY_COMPLETED"}, "already_completed"),
        (400, {"detail": "The request has already completed"}, "already_completed"),
        (400, {"error": "no ACTIVE connection"}, None),
        (400, b"", None),
        (404, {"status": "NOT_FOUND"}, "not_found"),
        (405, b"", None),
        (429, b"", None),
        (500, b"", None),
    ],
)
def test_a_cancels_answer_is_read_by_its_code_and_a_400_by_its_words(status_code, body, outcome):
    assert protocol.read_cancel(a_reply(status_code, body)) == outcome


@pytest.mark.parametrize(
    ("body", "fault", "header_id", "request_id"),
    [
        (b'{"request_id": "abc", "sta', None, None, "abc"),
        (b'{"request_id": "abc", "sta', TransportError("cut"), "other", "abc"),
        (b'{"request_id": "ab', TransportError("cut"), "other", "other"),
        (b'{"request_id": 7}', None, "other", "other"),
        (b"[]", None, "other", "other"),
        (b"<html>", None, None, None),
    ],
    ids=["cut", "broke off", "cut in the id", "odd id", "no object", "nothing"],
)
def test_a_receipt_in_pieces_still_gives_the_id_that_is_in_it(body, fault, header_id, request_id):
    headers = {} if header_id is None else {"X-Fal-Request-Id": header_id}
    ticket = protocol.read_ticket(ENDPOINT, a_reply(200, body, headers=headers, fault=fault))
    assert (ticket and ticket.request_id) == request_id
