"""What was used, and what it cost, in a window of time.

Owns the usage call (fal-wire 9.6, 2026), which needs a key with the scope *admin*,
and the fields of its rows. It never adds anything up: fal's summary does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from falq.errors import ArgumentError, WireError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch_pages
from falq.platform.history import read_time, write_time

PATH = "/models/usage"

Timeframe: TypeAlias = Literal["minute", "hour", "day", "week", "month"]
"""Length of one bucket of the series."""

_OWN = frozenset(
    {"endpoint_id", "unit", "quantity", "unit_price", "cost", "currency", "auth_method"}
)


@frozen(kw_only=True)
class UsageRow:
    """What was used of one endpoint.

    Attributes:
        endpoint: Full endpoint id.
        unit: What is counted, such as `megapixels`, if told.
        quantity: How many, if told.
        unit_price: For one, in `currency`, if told.
        cost: For all, in `currency`, if told.
        currency: Such as `USD`, if told.
        auth_method: What the calls authenticated with, if told.
        extra: Whatever else is told.
    """

    endpoint: str
    unit: str | None = None
    quantity: float | None = None
    unit_price: float | None = None
    cost: float | None = None
    currency: str | None = None
    auth_method: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class UsageBucket:
    """What was used in one stretch of time.

    Attributes:
        started_at: Its start, UTC, if told.
        rows: By endpoint.
    """

    started_at: datetime | None
    rows: tuple[UsageRow, ...]


@frozen
class Usage:
    """What was used in a window.

    Attributes:
        summary: For the whole window, by endpoint.
        series: Stretch by stretch.
    """

    summary: tuple[UsageRow, ...]
    series: tuple[UsageBucket, ...]


async def load_usage(
    send: Send,
    start: datetime,
    end: datetime,
    *,
    endpoints: Iterable[EndpointId] = (),
    timeframe: Timeframe | None = None,
    tries: Tries = USUAL_TRIES,
) -> Usage:
    """Return what was used from `start` until before `end`.

    Args:
        send: Carries a call, as `Transport.send` does. A cancelled call leaves
            nothing behind.
        start: With a time zone.
        end: With a time zone; after `start`.
        endpoints: Only these; default is all.
        timeframe: Length of a bucket of the series; default is fal's choice.
        tries: How a page is tried again.

    Raises:
        ArgumentError: The window is none. Nothing was sent.
        AuthenticationError: The key lacks the scope.
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no.
        WireError: The answer is none of usage.
        TransportError: There was no whole answer.
    """
    query = [("start", write_time(start, "start")), ("end", write_time(end, "end"))]
    if start >= end:
        raise ArgumentError("end must come after start", argument="end")
    query += [("endpoint_id", endpoint.full) for endpoint in endpoints]
    query += [("expand", "time_series"), ("expand", "summary")]
    if timeframe is not None:
        query.append(("timeframe", timeframe))
    summary: list[UsageRow] = []
    series: list[UsageBucket] = []
    pages = fetch_pages(send, PATH, query, doing="read the usage", endpoint=None, tries=tries)
    async for page in pages:
        rows, buckets = page.get("summary"), page.get("time_series")
        if not isinstance(rows, list) and not isinstance(buckets, list):
            raise WireError("could not read the usage: the answer has neither series nor summary")
        summary += _read_rows(rows)
        for bucket in buckets if isinstance(buckets, list) else []:
            if isinstance(bucket, dict):
                started_at = read_time(bucket.get("bucket"))
                series.append(UsageBucket(started_at, tuple(_read_rows(bucket.get("results")))))
    return Usage(tuple(summary), tuple(series))


def _read_rows(rows: object) -> list[UsageRow]:
    if not isinstance(rows, list):
        return []
    return [_read_row(row) for row in rows if isinstance(row, dict)]


def _read_row(row: dict[str, Any]) -> UsageRow:
    return UsageRow(
        endpoint=_text(row, "endpoint_id") or "",
        unit=_text(row, "unit"),
        quantity=_number(row, "quantity"),
        unit_price=_number(row, "unit_price"),
        cost=_number(row, "cost"),
        currency=_text(row, "currency"),
        auth_method=_text(row, "auth_method"),
        extra={name: value for name, value in row.items() if name not in _OWN},
    )


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if value is not None and is_number else None
