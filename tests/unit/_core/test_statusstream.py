from __future__ import annotations

import json

import pytest

from falq._core.messages import Verb
from falq._core.protocol import make_ticket
from falq._core.sse import ServerEvent
from falq._core.statusstream import build_status_stream, read_status_event
from falq.model import Completed, EndpointId, InProgress, Queued

TICKET = make_ticket(EndpointId.parse("acme/echo/fast"), "r-1")


@pytest.mark.parametrize(("logs", "query"), [(True, "?logs=1"), (False, "")])
def test_the_stream_is_below_the_app_and_not_the_sub_path(logs, query):
    call = build_status_stream(TICKET, logs=logs)
    assert (call.verb, call.method) == (Verb.STREAM, "GET")
    assert call.target == f"/acme/echo/requests/r-1/status/stream{query}"
    assert call.headers == {"Accept": "text/event-stream"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "IN_QUEUE", "queue_position": 3}, Queued),
        ({"status": "IN_PROGRESS", "request_id": "r-1", "logs": None}, InProgress),
        ({"status": "COMPLETED", "request_id": "r-1", "metrics": {}}, Completed),
    ],
)
def test_an_event_is_a_whole_status(body, kind):
    assert isinstance(read_status_event(ServerEvent(json.dumps(body)), TICKET), kind)


@pytest.mark.parametrize(
    "data",
    [
        "no json",
        "[]",
        "{}",
        '{"status": 7}',
        '{"status": ""}',
        '{"status": "COMPLETED", "request_id": "another"}',
    ],
)
def test_what_is_no_status_of_this_request_is_none(data):
    assert read_status_event(ServerEvent(data), TICKET) is None
