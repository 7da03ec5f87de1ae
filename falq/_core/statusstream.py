"""The wire of a status stream: build the call, read an event.

Owns what differs from a status that was asked for: the path, and that each event
brings only the log lines that are new (fal's HTTP reference and fal-js, 2026-09).
It never sends; `_engine.streams` does.
"""

from __future__ import annotations

from falq._core import codec, protocol
from falq._core.messages import Call, Verb
from falq._core.sse import ServerEvent
from falq.model import Status, Ticket


def build_status_stream(ticket: Ticket, *, logs: bool) -> Call:
    """Return the call that opens the stream of a request's statuses."""
    target = f"/{ticket.app}/requests/{ticket.request_id}/status/stream"
    return Call(
        Verb.STREAM,
        "GET",
        f"{target}?logs=1" if logs else target,
        headers={"Accept": "text/event-stream"},
    )


def read_status_event(event: ServerEvent, ticket: Ticket) -> Status | None:
    """Return the status that an event brings; None if it brings none of this request."""
    try:
        body = codec.load_json(event.data.encode())
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    word = body.get("status")
    is_own = body.get("request_id", ticket.request_id) == ticket.request_id
    if not isinstance(word, str) or not word or not is_own:
        return None
    return protocol.status_of(word, body)
