"""Find what was requested of an endpoint in a window of time.

Owns the query and the fields of fal's request history (fal-wire 9.4, 2026). It
never decides whether a row is the job that somebody looks for. Delivery by
`reconcile` calls it.

What an empty answer means (fal-wire 9.4, promises D1): rows appear late, requests
that still wait may not be listed, and inputs are there only if they were stored.
Absence is no proof.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from falq._core import codec
from falq.errors import ArgumentError, WireError
from falq.model import EndpointId, check_request_id
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch_pages

PATH = "/models/requests/by-endpoint"

RequestStatus: TypeAlias = Literal["success", "error", "user_error"]
"""How a request ended: with a result, by the server's fault, or by the input's."""

PAGE_ITEMS = 100
"""Rows on a page: the most that fal gives."""


@frozen(kw_only=True)
class HistoryItem:
    """One request, as the history tells it.

    Attributes:
        request_id: The server's id.
        endpoint: Full id of the endpoint that it went to.
        sent_at: When the server got it, UTC, if told.
        started_at: When it began to run, UTC; None if it did not, or is not told.
        ended_at: When it ended, UTC; None if it did not, or is not told.
        status_code: HTTP status that it ended with, if it did.
        duration_s: How long it ran, in seconds, if told.
        input: Its input; None if that was not asked for or not stored.
        output: What it ended with; None likewise.
    """

    request_id: str
    endpoint: str
    sent_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status_code: int | None = None
    duration_s: float | None = None
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)


def find_requests(
    send: Send,
    endpoint: EndpointId,
    start: datetime,
    end: datetime,
    *,
    with_payloads: bool,
    status: RequestStatus | None = None,
    request_id: str | None = None,
    tries: Tries = USUAL_TRIES,
) -> AsyncIterator[HistoryItem]:
    """Return the requests of an endpoint that the history has, page by page as it is read.

    Args:
        send: Carries a call, as `Transport.send` does.
        endpoint: Whose requests, with its sub-path.
        start: The window's first instant, with a time zone.
        end: The instant after the window, with a time zone; after `start`.
        with_payloads: Ask for inputs and outputs.
        status: Only requests that ended so; default is all that are listed.
        request_id: Only this request.
        tries: How a page is tried again.

    Returns:
        An iterator. A cancelled or abandoned one leaves nothing behind. It ends
        with all rows seen, or raises.

    Raises:
        ArgumentError: The window or the id is none. Nothing was sent.
        UnsupportedError: The gateway does not reach the Platform API. Raised by
            the iterator, as are those below. Nothing was sent.
        ApiError: The API says no.
        WireError: A page cannot be read, or the list does not end.
        TransportError: There was no whole answer.
    """
    query = [
        ("endpoint_id", str(endpoint)),
        ("start", write_time(start, "start")),
        ("end", write_time(end, "end")),
        ("limit", str(PAGE_ITEMS)),
    ]
    if start >= end:
        raise ArgumentError("end must come after start", argument="end")
    if with_payloads:
        query.append(("expand", "payloads"))
    if status is not None:
        query.append(("status", status))
    if request_id is not None:
        query.append(("request_id", check_request_id(request_id)))
    return _read_all(send, endpoint, query, tries)


async def _read_all(
    send: Send, endpoint: EndpointId, query: list[tuple[str, str]], tries: Tries
) -> AsyncIterator[HistoryItem]:
    pages = fetch_pages(
        send, PATH, query, doing="read the request history", endpoint=endpoint, tries=tries
    )
    seen: set[str] = set()
    async for page in pages:
        for item in _read_page(page, endpoint):
            # A row that moves while pages are read may come twice.
            if item.request_id not in seen:
                seen.add(item.request_id)
                yield item


def write_time(at: datetime, name: str) -> str:
    """Return an instant as the API takes it.

    Args:
        at: With a time zone.
        name: The argument that it came as, for the message.

    Raises:
        ArgumentError: It has no time zone.
    """
    if at.utcoffset() is None:
        raise ArgumentError(
            f"{name} has no time zone; give an aware time, such as datetime.now(UTC)",
            argument=name,
        )
    text = at.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def _read_page(page: codec.JsonObject, endpoint: EndpointId) -> list[HistoryItem]:
    rows = page.get("items")
    try:
        if isinstance(rows, list):
            return [_read_item(row, endpoint) for row in rows]
    except (ArgumentError, AttributeError):
        pass
    # Rows are counted to tell whose a job is: leaving one out could give it away.
    raise WireError(
        "could not read the request history: a page is no list of requests; nothing was taken "
        "from it",
        endpoint=str(endpoint),
    )


def _read_item(row: Any, endpoint: EndpointId) -> HistoryItem:
    name, code, duration_s = row.get("endpoint_id"), row.get("status_code"), row.get("duration")
    return HistoryItem(
        request_id=check_request_id(row.get("request_id")),
        endpoint=name if isinstance(name, str) else str(endpoint),
        sent_at=read_time(row.get("sent_at")),
        started_at=read_time(row.get("started_at")),
        ended_at=read_time(row.get("ended_at")),
        status_code=code if type(code) is int else None,
        duration_s=float(duration_s) if type(duration_s) in {int, float} else None,
        input=row.get("json_input"),
        output=row.get("json_output"),
    )


def read_time(text: object) -> datetime | None:
    """Return an instant that the API told, UTC; None if it told none."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        # fal's log times come without a zone and are UTC; so are these if they do.
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
